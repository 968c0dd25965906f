//! Reading everything, of a database that was never ours as well.
//!
//! Invariant: nothing is written, no index and no revision: whoever looks at the original's database
//! need not have the right to change it.

use super::super::transfer::{Exported, Unreadable};
use super::super::{Cause, Kind, StoreError};
use super::changes::count;
use super::connection::{Connection, failed};
use super::documents::{ID, collection, name_key, read, to_object};
use super::snapshot::Reading;
use super::within;
use crate::model::{Invalid, Revision};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use std::collections::HashSet;
use tokio::sync::mpsc::Sender;

const OPERATION: &str = "export itself";

impl Connection {
    pub(super) async fn export(&self, to: &Sender<Exported>) -> Result<Revision, StoreError> {
        let found = within(OPERATION, self.as_it_is()).await?;
        let mut reading = within(OPERATION, self.reading_of(found.clone())).await?;
        let shows_one_moment = found.deployment.has_snapshots;
        let before = if shows_one_moment { None } else { Some(count(&found).await?) };
        let revision = within(OPERATION, reading.revision()).await?;
        for kind in Kind::EXPORTED {
            reading.send_all(kind, to).await?;
        }
        if shows_one_moment {
            return Ok(revision);
        }
        // The original takes no revisions: what it wrote meanwhile shows in the sums alone.
        let after = Some(within(OPERATION, count(&found)).await?);
        let is_same = after == before && within(OPERATION, reading.revision()).await? == revision;
        if is_same { Ok(revision) } else { Err(StoreError::Conflict) }
    }
}

impl Reading {
    /// All objects of a kind.
    async fn send_all(&mut self, kind: Kind, to: &Sender<Exported>) -> Result<(), StoreError> {
        let objects = self.documents(collection(kind));
        let found = objects.find(doc! {}).sort(doc! { ID: 1 }).session(&mut self.session);
        let found = within(OPERATION, async { found.await.map_err(failed(OPERATION)) });
        let mut found = found.await?;
        let mut found = found.stream(&mut self.session);
        let mut names = HashSet::new();
        loop {
            let next = async { found.try_next().await.map_err(failed(OPERATION)) };
            let Some(raw) = within(OPERATION, next).await? else { return Ok(()) };
            let mut exported = exported(kind, read(&raw)?)?;
            // A database that was made without an index may hold twins. The first one counts, as it
            // does for whoever asks for the name.
            if let Exported::Object(object) = &exported
                && !names.insert(object.name().to_owned())
            {
                let why = Invalid::field(name_key(kind), "is that of another one in the database");
                exported = Exported::Unreadable(Unreadable::new(kind, object.name(), &why));
            }
            let gone = |_| StoreError::unavailable(OPERATION, Cause::Stopped);
            to.send(exported).await.map_err(gone)?;
        }
    }
}

fn exported(kind: Kind, document: Document) -> Result<Exported, StoreError> {
    let id = document.get(ID).map(Bson::to_string).unwrap_or_default();
    match to_object(kind, document) {
        Ok(object) => Ok(Exported::Object(Box::new(object))),
        Err(StoreError::Unreadable { name, source, .. }) => {
            let name = if name.is_empty() { id } else { name };
            Ok(Exported::Unreadable(Unreadable::new(kind, &name, &source)))
        }
        Err(error) => Err(error),
    }
}
