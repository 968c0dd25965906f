//! Reports of a manager with the embedded store: a file of their own beside that of the
//! declarations, so that neither waits for the other, and a loss of one is no loss of the other.
//!
//! One thread writes. What is brought while it is busy goes into its next transaction together, so
//! that ten thousand devices cost a few commits a second. It also removes what is too old, or too
//! much, a little at a time.
//!
//! Invariants: what was acknowledged survives the end of the process (a power cut may take the last
//! moments); the file stays below its limit, and the oldest reports go first; no report takes the
//! last of a disk, which the declarations beside it need; a file that cannot be
//! read is put aside and begun anew, for no report is worth a manager.

mod add;
mod open;
mod query;
mod rollout;
mod writer;

use super::{Added, NewReport, ReportPage, ReportStore, Retention, Scope, SetAside};
use crate::model::{Declared, Device, DeviceQuery, Disk, ReportQuery, Rollout};
use crate::store::sqlite::{PATIENCE, Pool};
use crate::store::{Cause, StoreError};
use add::Row;
use async_trait::async_trait;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::timeout;
use writer::{Ask, Writer};

/// The file under the data folder.
pub const REPORTS_FILE: &str = "reports.db";
/// How large the file may grow.
pub const MAX_REPORTS_BYTES: u64 = 1 << 30;
/// Connections that read: people and their scripts ask here, devices do not.
const READERS: usize = 2;

/// Reports in a file under the data folder. It is opened when it is first used.
#[derive(Debug)]
pub struct SqliteReports {
    path: PathBuf,
    limits: Limits,
    opened: Mutex<Option<Arc<Opened>>>,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    retention: Retention,
    max_bytes: u64,
    disk: LookAtDisk,
}

/// What is known of the disk under a folder; none when nobody tells.
pub type LookAtDisk = fn(&Path) -> Option<Disk>;

/// It asks the kernel's memory, not the disk, so it does not wait.
fn look_at_disk(folder: &Path) -> Option<Disk> {
    let seen = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(seen.f_frsize);
    Some(Disk { total_bytes: bytes(seen.f_blocks), free_bytes: bytes(seen.f_bavail) })
}

/// An open file.
#[derive(Debug)]
struct Opened {
    writer: Writer,
    readers: Pool,
}

impl SqliteReports {
    /// Reports under a data folder, which is there.
    pub fn new(data_dir: &Path, retention: Retention, max_bytes: u64) -> Self {
        let limits = Limits { retention, max_bytes, disk: look_at_disk };
        Self { path: data_dir.join(REPORTS_FILE), limits, opened: Mutex::default() }
    }

    /// With another way to look at the disk: one that knows of a quota, or of none.
    #[must_use]
    pub fn with_disk(mut self, disk: LookAtDisk) -> Self {
        self.limits.disk = disk;
        self
    }

    async fn opened(&self) -> Result<Arc<Opened>, StoreError> {
        let mut opened = self.opened.lock().await;
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let (path, limits) = (self.path.clone(), self.limits);
        let open = move || {
            let (writer, readers) = open::open(&path, READERS)?;
            let writer = Writer::start(writer, limits, &path)?;
            Ok(Opened { writer, readers: Pool::new(readers) })
        };
        let stopped = |_| Err(StoreError::unavailable("open the reports", Cause::Stopped));
        let new = Arc::new(tokio::task::spawn_blocking(open).await.unwrap_or_else(stopped)?);
        *opened = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Puts a file aside that turned out to be damaged.
    async fn mend<T>(
        &self,
        used: &Arc<Opened>,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Err(error) = &outcome
            && open::is_of_no_use(error)
        {
            let mut opened = self.opened.lock().await;
            // Somebody else may have done so already.
            if opened.take_if(|opened| Arc::ptr_eq(opened, used)).is_some() {
                open::put_aside(&self.path, &error.to_string())?;
            }
        }
        outcome
    }

    async fn write<T: Send>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(Ask<T>) -> writer::Job + Send,
    ) -> Result<T, StoreError> {
        let attempt = async {
            let opened = self.opened().await?;
            let outcome = opened.writer.ask(operation, ask).await;
            self.mend(&opened, outcome).await
        };
        timeout(PATIENCE, attempt)
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable(operation, Cause::TooSlow)))
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let attempt = async {
            let opened = self.opened().await?;
            let outcome = opened
                .readers
                .run(operation, PATIENCE, move |connection| {
                    let moment = connection.transaction();
                    work(&*moment.map_err(|error| StoreError::unavailable(operation, error))?)
                })
                .await;
            self.mend(&opened, outcome).await
        };
        timeout(PATIENCE, attempt)
            .await
            .unwrap_or_else(|_| Err(StoreError::unavailable(operation, Cause::TooSlow)))
    }
}

#[async_trait]
impl ReportStore for SqliteReports {
    async fn add(&self, reports: Vec<NewReport>) -> Result<Added, StoreError> {
        // Made here, for the thread that writes is one and these are many.
        let rows = reports.iter().map(Row::of).collect();
        self.write("keep reports", |answer| writer::Job::Add(rows, answer)).await
    }

    async fn set_aside(&self, messages: Vec<SetAside>) -> Result<(), StoreError> {
        self.write("keep what is no report", |answer| writer::Job::SetAside(messages, answer)).await
    }

    async fn reports(&self, query: &ReportQuery, scope: &Scope) -> Result<ReportPage, StoreError> {
        let (query, scope) = (query.clone(), scope.clone());
        self.read("read reports", move |db| query::reports(db, &query, &scope)).await
    }

    async fn devices(
        &self,
        query: &DeviceQuery,
        scope: &Scope,
        now: i64,
    ) -> Result<Vec<Device>, StoreError> {
        let (query, scope) = (query.clone(), scope.clone());
        self.read("read devices", move |db| query::devices(db, &query, &scope, now)).await
    }

    async fn device(&self, hostname: &str) -> Result<Option<Device>, StoreError> {
        let hostname = hostname.to_owned();
        self.read("read a device", move |db| query::device(db, &hostname)).await
    }

    async fn forget_device(&self, hostname: &str) -> Result<bool, StoreError> {
        let hostname = hostname.to_owned();
        self.write("forget a device", |answer| writer::Job::Forget(hostname, answer)).await
    }

    async fn rollout(&self, declared: &Declared, now: i64) -> Result<Rollout, StoreError> {
        let declared = declared.clone();
        self.read("count devices", move |db| rollout::rollout(db, &declared, now)).await
    }
}
