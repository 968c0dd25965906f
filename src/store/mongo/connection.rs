//! The way to the database: one client, made and prepared when it is first needed.

use super::super::{Kind, StoreError};
use super::changes::Settled;
use super::prepare::{Deployment, look, make_indexes};
use super::{MongoSettings, PATIENCE};
use mongodb::bson::{RawDocumentBuf, Timestamp};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{
    ClientOptions, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, ClientSession, Collection, Database};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How long a member is looked for. An election takes about this long on a good network, and a
/// call must end soon after.
const SELECTION: Duration = Duration::from_secs(3);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);
/// How often each member is asked whether it lives.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// After a drop, or the last of what is restored, when the database counts as whole.
const CALM: Duration = Duration::from_secs(4);
/// A key that is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// A shared client.
#[derive(Debug)]
pub(in crate::store) struct Connection {
    settings: MongoSettings,
    client: OnceCell<Client>,
    deployment: OnceCell<Deployment>,
    /// Whether the database is made ready.
    is_ready: OnceCell<()>,
    /// One write at a time: they take turns at the revision anyway.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// When the last write of this process was acknowledged, in the database's own time.
    written: Mutex<Option<Timestamp>>,
    /// From where what others write is followed again.
    settled: Mutex<Option<Settled>>,
    restored: Mutex<Restored>,
}

/// What is known of collections that were dropped.
#[derive(Debug, Default)]
struct Restored {
    /// Those of which nothing is back.
    missing: HashSet<Kind>,
    /// Until when more may come of what is being restored.
    until: Option<Instant>,
}

/// A database that was found, and what it can do.
#[derive(Debug, Clone)]
pub(in crate::store) struct Prepared {
    pub(in crate::store) database: Database,
    /// The same, for sessions that show one moment: the driver lets a read concern of the
    /// database's own stand before the session's, and each read would show a moment of its own.
    one_moment: Database,
    pub(super) deployment: Deployment,
}

impl Prepared {
    /// A collection, in bytes: read by way of serde, a map with a key like `$oid` would turn into
    /// what that key means in extended JSON.
    pub(in crate::store) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    /// A collection for sessions that show one moment.
    pub(super) fn collection_at_one_moment(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.one_moment.collection(name)
    }
}

impl Connection {
    pub(in crate::store) fn new(settings: MongoSettings) -> Self {
        Self {
            settings,
            client: OnceCell::new(),
            deployment: OnceCell::new(),
            is_ready: OnceCell::new(),
            writing: tokio::sync::Mutex::new(()),
            written: Mutex::new(None),
            settled: Mutex::new(None),
            restored: Mutex::default(),
        }
    }

    /// The client. The names in its connection string may have to be looked up, which may fail now
    /// and succeed later.
    async fn client(&self) -> Result<&Client, StoreError> {
        let connect = async {
            let mut options = ClientOptions::parse(self.settings.url.expose().as_str())
                .await
                .map_err(failed("be found"))?;
            options.app_name.get_or_insert_with(|| "nebula".to_owned());
            options.max_pool_size = Some(self.settings.max_pool_size);
            options.server_selection_timeout = Some(SELECTION);
            options.connect_timeout = Some(CONNECT);
            options.heartbeat_freq = Some(HEARTBEAT);
            options.retry_reads = Some(true);
            options.retry_writes = Some(true);
            // Whatever the connection string says: a write that could be rolled back, or a read
            // that could, would break what the API promises.
            options.read_concern = Some(ReadConcern::majority());
            options.write_concern = Some(WriteConcern::majority());
            options.selection_criteria =
                Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
            Client::with_options(options).map_err(failed("be used"))
        };
        self.client.get_or_try_init(|| connect).await
    }

    /// The database, looked at and made ready once.
    pub(super) async fn prepared(&self) -> Result<Prepared, StoreError> {
        let found = self.as_it_is().await?;
        self.is_ready.get_or_try_init(|| make_indexes(&found.database)).await?;
        Ok(found)
    }

    /// The database, looked at once and not touched.
    pub(in crate::store) async fn as_it_is(&self) -> Result<Prepared, StoreError> {
        let client = self.client().await?.clone();
        let database = client.database(&self.settings.database);
        let deployment = *self.deployment.get_or_try_init(|| look(&database)).await?;
        let options = DatabaseOptions::builder().read_concern(ReadConcern::snapshot()).build();
        let one_moment = client.database_with_options(&self.settings.database, options);
        Ok(Prepared { database, one_moment, deployment })
    }

    /// The database, and a session to read it.
    pub(super) async fn begin_reading(&self) -> Result<(Prepared, ClientSession), StoreError> {
        Ok((self.prepared().await?, self.session().await?))
    }

    /// A session whose reads show at least what this process wrote, also on a new primary.
    pub(super) async fn session(&self) -> Result<ClientSession, StoreError> {
        let session = self.client().await?.start_session().await;
        let mut session = session.map_err(failed("begin"))?;
        let written = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = written {
            session.advance_operation_time(written);
        }
        Ok(session)
    }

    /// A session whose reads all show one moment.
    pub(super) async fn snapshot_session(&self) -> Result<ClientSession, StoreError> {
        let session = self.client().await?.start_session().snapshot(true).await;
        session.map_err(failed("begin"))
    }

    /// A write of this session was acknowledged.
    pub(super) fn acknowledged(&self, session: &ClientSession) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written = (*written).max(session.operation_time());
    }

    /// Where nothing was half done when changes were last followed.
    pub(super) fn settled(&self) -> Option<Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn settle(&self, settled: Option<Settled>) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
    }

    /// A collection was dropped. Nobody who declares does that; whoever restores a dump does.
    pub(super) fn dropped(&self, kind: Kind) {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        restored.missing.insert(kind);
        restored.until = Some(Instant::now() + CALM);
    }

    /// Something of a kind was written: when a dump is being restored, more may come for a moment.
    pub(super) fn written(&self, kind: Kind) {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let is_back = restored.missing.remove(&kind);
        if is_back || restored.until.is_some_and(|until| Instant::now() < until) {
            restored.until = Some(Instant::now() + CALM);
        }
    }

    /// The kinds of which everything was dropped and nothing is back.
    pub(super) fn missing(&self) -> HashSet<Kind> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner).missing.clone()
    }

    /// Whether what there is may be a part of what there will be. Devices that were told of a part
    /// would stop the rest.
    pub(super) fn is_restoring(&self) -> bool {
        let restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        restored.until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits for a turn to write, but not for long.
    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, StoreError> {
        let turn = tokio::time::timeout(PATIENCE, self.writing.lock()).await;
        turn.map_err(|_| StoreError::unavailable("write", super::super::Cause::TooSlow))
    }
}

/// An error of the driver as one of the store.
pub(in crate::store) fn failed(operation: &'static str) -> impl Fn(Error) -> StoreError {
    move |error| StoreError::unavailable(operation, Box::new(error))
}

/// The number of a server's error, if it is one.
pub(in crate::store) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::InsertMany(many) => {
            many.write_errors.as_deref().and_then(<[_]>::first).map(|write| write.code)
        }
        _ => None,
    }
}

/// Whether a write failed because what it would add is there already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}
