//! The embedded store: one `SQLite` file under the data folder.
//!
//! One connection writes, a few read, all on the blocking pool: a slow disk never blocks the
//! threads that serve. The write-ahead log lets reads go on beside the writer and gives each read
//! transaction one state; `synchronous=FULL` puts a commit on disk before it returns.
//!
//! Invariants: one process at a time has the file (a lock file beside it says so); whoever waits
//! for a connection waits a bounded time; a closure that began runs to its end even when nobody
//! waits for it any more, so no write is ever half done.

mod documents;
mod history;
pub(super) mod open;
mod transfer;

pub use open::{DATABASE_FILE, OpenError};

use super::transfer::{Exported, Import, Imported};
use super::{
    Cause, Changes, GroupSnapshot, Kind, KnownGroups, Object, Store, StoreError, UserSnapshot,
    Written,
};
use crate::model::{AppHistory, Author, DeviceGroup, Revision};
use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;

/// Connections that read. Reads are short and mostly served from memory: a few keep every core
/// busy, and each costs a cache of its own.
const READERS: usize = 4;
/// The longest wait for a connection and for its answer together. A write must be refused within
/// five seconds; this leaves a margin.
pub(in crate::store) const PATIENCE: Duration = Duration::from_secs(4);
/// A backup reads everything; it gets as long as a large file on a slow disk takes.
const BACKUP_PATIENCE: Duration = Duration::from_secs(600);

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    readers: Pool,
    writer: Pool,
    /// Backups run for long; a connection of their own keeps the readers free.
    copier: Pool,
    /// Last, so that the lock is given back after every connection is closed.
    _lock: Closer,
}

impl SqliteStore {
    /// Opens the store of a data folder, and makes folder and file when they are not there.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let data_dir = data_dir.to_owned();
        let task = tokio::task::spawn_blocking(move || Self::open_blocking(&data_dir));
        task.await.map_err(|_| OpenError::Stopped)?
    }

    fn open_blocking(data_dir: &Path) -> Result<Self, OpenError> {
        let opened = open::open(data_dir, READERS)?;
        Ok(Self {
            writer: Pool::new(vec![opened.writer]),
            readers: Pool::new(opened.readers),
            copier: Pool::new(vec![opened.copier]),
            _lock: Closer { path: opened.path, _lock: opened.lock },
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers
            .run(operation, PATIENCE, move |connection| {
                // Deferred, so that all statements of one read see one state.
                let transaction = connection
                    .transaction()
                    .map_err(|error| StoreError::unavailable(operation, error))?;
                work(&transaction)
            })
            .await
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer
            .run(operation, PATIENCE, move |connection| {
                // Immediate: the lock is taken before anything is read, so what is read cannot
                // change before it is written. A transaction that is dropped is rolled back.
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .map_err(|error| StoreError::unavailable(operation, error))?;
                let done = work(&transaction)?;
                transaction.commit().map_err(|error| StoreError::unavailable(operation, error))?;
                Ok(done)
            })
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.read("answer", |db| documents::last_revision(db).map(|_| ())).await
    }

    async fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        self.read("list names", move |db| documents::names(db, kind)).await
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, StoreError> {
        let name = name.to_owned();
        self.read("read an object", move |db| documents::get(db, kind, &name)).await
    }

    async fn insert(&self, object: Object, author: &Author) -> Result<Written, StoreError> {
        let author = author.clone();
        self.write("add an object", move |db| documents::insert(db, object, &author)).await
    }

    async fn replace(
        &self,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError> {
        let author = author.clone();
        self.write("replace an object", move |db| documents::replace(db, object, expected, &author))
            .await
    }

    async fn history(&self, app: &str) -> Result<Option<AppHistory>, StoreError> {
        let app = app.to_owned();
        self.read("read a history", move |db| history::read(db, &app)).await
    }

    async fn delete(&self, kind: Kind, name: &str) -> Result<Written<()>, StoreError> {
        let name = name.to_owned();
        self.write("delete an object", move |db| documents::delete(db, kind, &name)).await
    }

    async fn group_snapshot(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        let name = name.to_owned();
        self.read("read a group", move |db| documents::group_snapshot(db, &name)).await
    }

    async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        let (name, known) = (name.to_owned(), known.clone());
        self.read("read a user", move |db| documents::user_snapshot(db, &name, &known)).await
    }

    async fn groups_of(&self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError> {
        let name = name.to_owned();
        self.read("find an object's groups", move |db| documents::groups_of(db, kind, &name)).await
    }

    async fn token_owners(&self, token_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        let token_id = token_id.map(str::to_owned);
        self.read("find a token's user", move |db| documents::token_owners(db, token_id.as_deref()))
            .await
    }

    async fn prune_all(&self) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        self.write("prune all", documents::prune_all).await
    }

    async fn changes(
        &self,
        _since: Option<Revision>,
        _poll: Duration,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        // The file's lock keeps everybody else out.
        Ok(None)
    }

    async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.copier
            .run("copy itself", BACKUP_PATIENCE, move |db| documents::backup(db, &path))
            .await
    }

    async fn export(&self, to: Sender<Exported>) -> Result<Revision, StoreError> {
        let operation = "export itself";
        self.copier
            .run(operation, BACKUP_PATIENCE, move |db| {
                let moment = db.transaction();
                let moment = moment.map_err(|error| StoreError::unavailable(operation, error))?;
                transfer::export(&moment, &to)
            })
            .await
    }

    async fn import(&self, import: Import, author: &Author) -> Result<Imported, StoreError> {
        let author = author.clone();
        self.write("import objects", move |db| transfer::import(db, &import, &author)).await
    }
}

/// Connections that are lent to the blocking pool one at a time.
#[derive(Debug)]
pub(in crate::store) struct Pool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(in crate::store) fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { idle: Arc::new(Mutex::new(connections)), permits }
    }

    pub(in crate::store) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        patience: Duration,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |cause: Cause| StoreError::unavailable(operation, cause);
        let attempt = async {
            let permit = Arc::clone(&self.permits)
                .acquire_owned()
                .await
                .map_err(|_| failed(Cause::Stopped))?;
            let idle = Arc::clone(&self.idle);
            let task = tokio::task::spawn_blocking(move || {
                let lent = Lent::take(&idle);
                let outcome = lent.map(|mut lent| lent.with(work));
                drop(permit);
                outcome
            });
            match task.await {
                Ok(Some(outcome)) => outcome,
                Ok(None) | Err(_) => Err(failed(Cause::Stopped)),
            }
        };
        let outcome = tokio::time::timeout(patience, attempt).await;
        outcome.unwrap_or_else(|_| Err(failed(Cause::TooSlow)))
    }
}

/// A connection on loan; it goes back when this is dropped, after a panic as well.
struct Lent<'a> {
    idle: &'a Mutex<Vec<Connection>>,
    connection: Option<Connection>,
}

impl<'a> Lent<'a> {
    fn take(idle: &'a Mutex<Vec<Connection>>) -> Option<Self> {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        connection.map(|connection| Self { idle, connection: Some(connection) })
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut self.connection {
            Some(connection) => work(connection),
            None => Err(StoreError::unavailable("find a connection", Cause::Stopped)),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let idle = self.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

/// Ends the write-ahead log when the store is closed. It is dropped after the pools, and before
/// the lock it holds.
#[derive(Debug)]
struct Closer {
    path: std::path::PathBuf,
    _lock: std::fs::File,
}

impl Drop for Closer {
    fn drop(&mut self) {
        // A failure costs nothing: the log is replayed at the next start.
        if let Err(error) = open::end_log(&self.path) {
            tracing::debug!(%error, "the log was left for the next start");
        }
    }
}
