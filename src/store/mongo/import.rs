//! Taking a batch over from another store.
//!
//! It goes the way of every write (see `write`), with one revision and one note of "everything" for
//! the whole batch: ten thousand objects with a note each would take minutes.
//!
//! A document cannot change its `_id`. One that is replaced by an object of another uid is taken out
//! and put in within a transaction, for devices would stop what is gone for a moment; a lone server,
//! which has none, refuses.

use super::super::transfer::{Import, Imported, Outcome, Refused, Step, There, judge, unwritten};
use super::super::{Kind, Object, StoreError};
use super::connection::{Connection, Prepared, failed, is_duplicate};
use super::documents::{
    ID, REVISION, Tally, collection, keep_unknown_keys, name_key, read, revision_of, signed,
    to_document, to_object, unchanged, write as write_raw,
};
use super::write::{AsyncWork, Touched, Write};
use crate::model::Author;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use std::collections::HashMap;
use std::sync::Arc;

const OPERATION: &str = "import objects";

impl Connection {
    pub(super) async fn import(
        self: &Arc<Self>,
        import: Import,
        author: &Author,
    ) -> Result<Imported, StoreError> {
        self.to_the_end(OPERATION, Take { import, author: author.clone() }).await
    }
}

/// An import that is done to its end.
struct Take {
    import: Import,
    author: Author,
}

impl AsyncWork<Imported> for Take {
    async fn run(self, connection: &Connection) -> Result<Imported, StoreError> {
        let Self { import, author } = self;
        let (prepared, mut session) = connection.begin_reading().await?;
        let mut found = Found::default();
        for kind in Kind::ALL {
            found.read(kind, &import.objects, &prepared, &mut session).await?;
        }
        let can_exchange = prepared.deployment.is_replicated;
        let judged: Vec<(Outcome, Step)> = import
            .objects
            .iter()
            .map(|object| found.judge(&import, object, can_exchange))
            .collect();
        if let Some(imported) = unwritten(&import, &judged) {
            return Ok(imported);
        }
        let mut write = connection.begin_above(import.above).await?;
        let (mut stamped, mut gone, mut tally) = (Vec::new(), Vec::new(), Tally::default());
        let mut made = Vec::new();
        for kind in Kind::ALL {
            let of_kind = import.objects.iter().zip(&judged).filter(|(o, _)| o.kind() == kind);
            let mut work = Work::default();
            for (object, (_, step)) in of_kind {
                work.add(object, *step, found.documents.get(&key(object)), &write)?;
            }
            if work.written.is_empty() {
                continue;
            }
            tally.add(work.tally);
            gone.extend(work.exchanged.iter().filter_map(|(old, _)| old.get_object_id(ID).ok()));
            stamped.push((kind, doc! { ID: { "$in": &work.written } }));
            if kind == Kind::App {
                made = std::mem::take(&mut work.made);
                let there = doc! { ID: { "$in": made.iter().map(id).collect::<Vec<_>>() } };
                write.complete_all(there, false).await?;
            }
            work.run(kind, &mut write).await?;
        }
        write.forget(&gone).await?;
        let touched = Touched::everything(gone, tally, (&made, &author));
        let revision = write.end(connection, &stamped, &touched).await?;
        let outcomes = judged.into_iter().map(|(outcome, _)| outcome).collect();
        Ok(Imported { outcomes, revision: Some(revision) })
    }
}

fn key(object: &Object) -> (Kind, String) {
    (object.kind(), object.name().to_owned())
}

fn id(object: &Object) -> ObjectId {
    object.identity().uid.map_or_else(ObjectId::new, |uid| ObjectId::from_bytes(uid.bytes()))
}

/// What is there of a batch.
#[derive(Default)]
struct Found {
    documents: HashMap<(Kind, String), Document>,
    /// Who has which id.
    holders: HashMap<(Kind, ObjectId), String>,
}

impl Found {
    async fn read(
        &mut self,
        kind: Kind,
        objects: &[Object],
        prepared: &Prepared,
        session: &mut ClientSession,
    ) -> Result<(), StoreError> {
        let of_kind = || objects.iter().filter(|object| object.kind() == kind);
        let names: Vec<&str> = of_kind().map(Object::name).collect();
        let ids: Vec<ObjectId> = of_kind().map(id).collect();
        if names.is_empty() {
            return Ok(());
        }
        let either = [doc! { name_key(kind): { "$in": names } }, doc! { ID: { "$in": ids } }];
        let documents = prepared.collection(collection(kind));
        let found = documents.find(doc! { "$or": either.to_vec() }).session(&mut *session);
        let mut found = found.await.map_err(failed(OPERATION))?;
        let mut found = found.stream(session);
        while let Some(raw) = found.try_next().await.map_err(failed(OPERATION))? {
            let document = read(&raw)?;
            let name = document.get_str(name_key(kind)).unwrap_or_default().to_owned();
            if let Ok(id) = document.get_object_id(ID) {
                self.holders.insert((kind, id), name.clone());
            }
            self.documents.insert((kind, name), document);
        }
        Ok(())
    }

    fn judge(&self, import: &Import, object: &Object, can_exchange: bool) -> (Outcome, Step) {
        let document = self.documents.get(&key(object));
        let there = match document.map(|document| to_object(object.kind(), document.clone())) {
            None => There::Nothing,
            Some(Ok(there)) => There::Object(Box::new(there)),
            Some(Err(_)) => There::Unreadable,
        };
        let holder = self.holders.get(&(object.kind(), id(object)));
        let judged = judge(import, object, &there, holder.map(String::as_str));
        let is_exchange =
            judged.1 == Step::Replace && document.is_some_and(|old| !has_id(old, object));
        if is_exchange && !can_exchange {
            return (Outcome::Refused(Refused::NoExchange), Step::Leave);
        }
        judged
    }
}

fn has_id(document: &Document, object: &Object) -> bool {
    document.get_object_id(ID).is_ok_and(|there| there == id(object))
}

/// What is to be done to one kind's documents.
#[derive(Default)]
struct Work {
    added: Vec<RawDocumentBuf>,
    /// Statements of one update command.
    replaced: Vec<Document>,
    /// Documents that go, each with what takes its place.
    exchanged: Vec<(Document, RawDocumentBuf)>,
    raised: Vec<Bson>,
    /// By how much it changes what there is.
    tally: Tally,
    /// The ids of all that have the write's first revision afterwards.
    written: Vec<Bson>,
    /// What is there otherwise than before.
    made: Vec<Object>,
}

impl Work {
    fn add(
        &mut self,
        object: &Object,
        step: Step,
        there: Option<&Document>,
        write: &Write,
    ) -> Result<(), StoreError> {
        let new = || to_document(object, id(object), write.first);
        match (step, there) {
            (Step::Leave, _) => return Ok(()),
            (Step::Raise, Some(there)) => {
                let id = there.get(ID).cloned().unwrap_or(Bson::Null);
                self.raised.push(id.clone());
                self.written.push(id);
                return Ok(());
            }
            (Step::Replace, Some(there)) if has_id(there, object) => {
                let mut new = new()?;
                keep_unknown_keys(&mut new, there, object.kind());
                let old = unchanged(id(object), revision_of(there));
                self.replaced.push(doc! { "q": old, "u": new });
            }
            (Step::Replace, Some(there)) => {
                let revision = there.get(REVISION).cloned().unwrap_or(Bson::Null);
                let old = doc! { ID: there.get(ID).cloned(), REVISION: revision };
                self.exchanged.push((old, write_raw(&new()?)?));
            }
            (Step::Insert | Step::Replace | Step::Raise, _) => {
                self.added.push(write_raw(&new()?)?);
            }
        }
        if let Some(there) = there {
            self.tally.subtract(Tally::of(object.kind(), there));
        }
        self.tally.add(Tally::of(object.kind(), &new()?));
        self.made.push(object.clone());
        self.written.push(id(object).into());
        Ok(())
    }

    async fn run(self, kind: Kind, write: &mut Write) -> Result<(), StoreError> {
        let documents = write.prepared.collection(collection(kind));
        if !self.added.is_empty() {
            let added = documents.insert_many(self.added).session(&mut write.session).await;
            // Somebody else added one of them meanwhile: to repeat the batch shows it.
            added.map_err(|error| {
                if is_duplicate(&error) { StoreError::Conflict } else { failed(OPERATION)(error) }
            })?;
        }
        if !self.replaced.is_empty() {
            let expected = self.replaced.len();
            let update = doc! {
                "update": collection(kind),
                "updates": self.replaced,
                "writeConcern": { "w": "majority" },
            };
            let done = write.prepared.database.run_command(update).session(&mut write.session);
            let done = done.await.map_err(failed(OPERATION))?;
            let count = done.get("n").map_or(0, super::documents::number);
            if u64::try_from(expected).is_ok_and(|expected| expected != count) {
                return Err(StoreError::Conflict);
            }
        }
        if !self.raised.is_empty() {
            let stamp = doc! { "$set": { REVISION: signed(write.first) } };
            let raised = documents.update_many(doc! { ID: { "$in": self.raised } }, stamp);
            raised.session(&mut write.session).await.map_err(failed(OPERATION))?;
        }
        if self.exchanged.is_empty() {
            return Ok(());
        }
        let (old, new): (Vec<Document>, Vec<RawDocumentBuf>) = self.exchanged.into_iter().unzip();
        write.exchange(kind, old, new).await
    }
}

impl Write {
    /// Takes documents out and puts others in, at one moment.
    async fn exchange(
        &mut self,
        kind: Kind,
        old: Vec<Document>,
        new: Vec<RawDocumentBuf>,
    ) -> Result<(), StoreError> {
        let documents = self.prepared.collection(collection(kind));
        let expected = u64::try_from(old.len()).unwrap_or(u64::MAX);
        self.session.start_transaction().await.map_err(failed(OPERATION))?;
        let deleted = documents.delete_many(doc! { "$or": old }).session(&mut self.session).await;
        let deleted = deleted.map_err(failed(OPERATION))?;
        if deleted.deleted_count != expected {
            // The session's end would do it as well, but later.
            self.session.abort_transaction().await.map_err(failed(OPERATION))?;
            return Err(StoreError::Conflict);
        }
        let added = documents.insert_many(new).session(&mut self.session).await;
        added.map_err(failed(OPERATION))?;
        self.session.commit_transaction().await.map_err(failed(OPERATION))
    }
}
