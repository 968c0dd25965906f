//! The store for many managers: a `MongoDB` database, by the names and in the form of the original.
//!
//! One object is one document, so each write of one is whole or absent. The order of writes is kept
//! without transactions, which a lone server does not have and which hold locks for a minute when
//! their manager dies: a write takes a revision, changes its document if that still has the
//! revision by which it was read, takes a second revision and stamps the document with it, and
//! notes in `nebula_changes` what it touched. Whoever sees the second revision sees the change. The
//! version of an app that it makes is kept in between (see `history`).
//!
//! Invariants: what was acknowledged is on the disks of most members; a read never shows less than
//! what this process wrote before; a [`GroupSnapshot`] is one moment; a write that its manager did
//! not end, and one that is not ours, is noted by another manager (see `changes`); a call ends
//! within [`PATIENCE`] whatever the network does.

mod changes;
pub(super) mod connection;
mod documents;
mod export;
mod history;
mod import;
mod prepare;
mod snapshot;
mod write;

use super::transfer::{Exported, Import, Imported};
use super::{
    Changes, GroupSnapshot, Kind, KnownGroups, Object, OpenError, Store, StoreError, UserSnapshot,
    Written,
};
use crate::config::Mongo;
use crate::model::{AppHistory, Author, DeviceGroup, Revision, Secret};
use async_trait::async_trait;
use connection::{Connection, Prepared, failed};
pub(super) use documents::write as write_document;
use documents::{ID, collection, list_key, name_key, named, read, to_object};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ConnectionString;
use mongodb::{ClientSession, Collection};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

/// The longest that any call takes. A write must be refused within five seconds; this leaves a
/// margin.
const PATIENCE: Duration = Duration::from_secs(4);
/// Names that are listed at most: a fleet has thousands.
const MAX_NAMES: i64 = 1_000_000;

/// Where the database is and how it is used.
#[derive(Debug, Clone)]
pub struct MongoSettings {
    /// The connection string, with its credentials.
    pub url: Secret<String>,
    /// The database.
    pub database: String,
    /// Connections at most.
    pub max_pool_size: u32,
}

impl From<Mongo> for MongoSettings {
    fn from(mongo: Mongo) -> Self {
        let Mongo { url, database, max_pool_size } = mongo;
        Self { url, database, max_pool_size }
    }
}

impl MongoSettings {
    /// Refuses a connection string that will never do, without asking anybody.
    pub fn check(&self) -> Result<(), OpenError> {
        let parsed = ConnectionString::parse(self.url.expose());
        parsed.map(|_| ()).map_err(|error| OpenError::Url(Box::new(error)))
    }
}

/// A store in a `MongoDB` database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MongoStore {
    connection: Arc<Connection>,
}

impl MongoStore {
    /// A store that connects when it is first used, for the database may be away when a manager
    /// starts.
    pub fn new(settings: MongoSettings) -> Self {
        Self { connection: Arc::new(Connection::new(settings)) }
    }

    /// Its way to the database, for what is kept beside the declarations.
    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

/// Ends what takes too long.
pub(super) async fn within<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let outcome = timeout(PATIENCE, work).await;
    outcome.unwrap_or_else(|_| Err(StoreError::unavailable(operation, super::Cause::TooSlow)))
}

/// The texts under one key of some documents, sorted.
async fn texts(
    documents: &Collection<RawDocumentBuf>,
    filter: Document,
    key: &'static str,
    session: &mut ClientSession,
) -> Result<Vec<String>, StoreError> {
    let failed = failed("list names");
    let only = doc! { ID: 0, key: 1 };
    let found = documents.find(filter).projection(only).sort(doc! { key: 1 }).limit(MAX_NAMES);
    let mut found = found.session(&mut *session).await.map_err(&failed)?;
    let mut found = found.stream(session);
    let mut texts = Vec::new();
    while let Some(document) = found.try_next().await.map_err(&failed)? {
        texts.extend(document.get_str(key).ok().map(str::to_owned));
    }
    Ok(texts)
}

/// The device groups whose devices are told of an object.
async fn groups_of(
    prepared: &Prepared,
    kind: Kind,
    name: &str,
    session: &mut ClientSession,
) -> Result<Vec<String>, StoreError> {
    let list = match (kind, list_key(kind)) {
        (Kind::DeviceGroup, _) => return Ok(vec![name.to_owned()]),
        (_, None) => return Ok(Vec::new()),
        (_, Some(list)) => list,
    };
    let groups = prepared.collection(collection(Kind::DeviceGroup));
    texts(&groups, doc! { list: name }, name_key(Kind::DeviceGroup), session).await
}

#[async_trait]
impl Store for MongoStore {
    async fn ping(&self) -> Result<(), StoreError> {
        within("answer", async {
            let (prepared, mut session) = self.connection.begin_reading().await?;
            // Not a mere ping: a member that sees no majority answers those as well.
            let meta = prepared.collection(write::META);
            let read = meta.find_one(doc! {}).session(&mut session);
            read.await.map(|_| ()).map_err(failed("answer"))
        })
        .await
    }

    async fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        within("list names", async {
            let (prepared, mut session) = self.connection.begin_reading().await?;
            let objects = prepared.collection(collection(kind));
            texts(&objects, doc! {}, name_key(kind), &mut session).await
        })
        .await
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, StoreError> {
        within("read an object", async {
            let (prepared, mut session) = self.connection.begin_reading().await?;
            let objects = prepared.collection(collection(kind));
            let found = objects.find_one(named(kind, name)).session(&mut session).await;
            let found = found.map_err(failed("read an object"))?;
            found.map(|raw| to_object(kind, read(&raw)?)).transpose()
        })
        .await
    }

    async fn insert(&self, object: Object, author: &Author) -> Result<Written, StoreError> {
        self.connection.insert(object, author).await
    }

    async fn replace(
        &self,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.connection.replace(object, expected, author).await
    }

    async fn history(&self, app: &str) -> Result<Option<AppHistory>, StoreError> {
        within("read a history", self.connection.history(app)).await
    }

    async fn delete(&self, kind: Kind, name: &str) -> Result<Written<()>, StoreError> {
        self.connection.delete(kind, name).await
    }

    async fn prune_all(&self) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        self.connection.prune_all().await
    }

    async fn group_snapshot(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        within("read a group", self.connection.group_snapshot(name)).await
    }

    async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        within("read a user", self.connection.user_snapshot(name, known)).await
    }

    async fn groups_of(&self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError> {
        within("find an object's groups", async {
            let (prepared, mut session) = self.connection.begin_reading().await?;
            groups_of(&prepared, kind, name, &mut session).await
        })
        .await
    }

    async fn token_owners(&self, token_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        within("find a token's user", async {
            let (prepared, mut session) = self.connection.begin_reading().await?;
            let users = prepared.collection(collection(Kind::User));
            // `null` is also found where there is no such key.
            let filter = doc! { "token_id": token_id };
            texts(&users, filter, name_key(Kind::User), &mut session).await
        })
        .await
    }

    async fn changes(
        &self,
        since: Option<Revision>,
        poll: Duration,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        changes::open(Arc::clone(&self.connection), since, poll).await.map(Some)
    }

    async fn backup(&self, _path: &Path) -> Result<(), StoreError> {
        Err(StoreError::Elsewhere {
            what: "a copy of the database",
            instead: "make it with `mongodump`, or take `nebula ctl export`",
        })
    }

    async fn export(&self, to: Sender<Exported>) -> Result<Revision, StoreError> {
        self.connection.export(&to).await
    }

    async fn import(&self, import: Import, author: &Author) -> Result<Imported, StoreError> {
        self.connection.import(import, author).await
    }
}
