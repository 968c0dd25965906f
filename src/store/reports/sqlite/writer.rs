//! The thread that writes: many requests in one transaction, and between them the removal of what
//! is too old or too much.

use super::super::{FORGOTTEN_AFTER, Foreign};
use super::add::{self, Row};
use super::{Added, Limits, SetAside};
use crate::clock::unix_ms;
use crate::store::{Cause, StoreError};
use rusqlite::{Connection, TransactionBehavior, params};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests that wait for the thread at most. More is refused at once, so that whoever sends learns
/// of it before they give up.
const MAX_WAITING: usize = 1_000;
/// Reports of one transaction, about: a commit costs as much as some dozens of them.
const MAX_TOGETHER: usize = 2_000;
/// Rows that are removed at once: a few milliseconds.
const SWEPT_AT_ONCE: i64 = 500;
/// More devices than one manager with one file serves; beyond it, those that are away for longest
/// are forgotten.
const MAX_DEVICES: i64 = 200_000;
/// Of a disk that is full.
const SWEPT_WHEN_SCARCE: i64 = 20;
/// Between two looks for what is too old; a tenth of what reports live, where that is less.
const LONGEST_BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
const SHORTEST_BETWEEN_SWEEPS: Duration = Duration::from_millis(100);
/// Free pages that are given back to the disk at once, 4 kB each.
const GIVEN_BACK_AT_ONCE: i64 = 2_000;

/// Where an answer goes.
pub(super) type Ask<T> = oneshot::Sender<Result<T, StoreError>>;

/// One thing to write.
pub(super) enum Job {
    Add(Vec<Row>, Ask<Added>),
    SetAside(Vec<SetAside>, Ask<()>),
    Forget(String, Ask<bool>),
}

/// The way to the thread. It ends when this is dropped, after what it was given.
#[derive(Debug)]
pub(super) struct Writer(SyncSender<Job>);

impl Writer {
    /// Starts the thread.
    pub(super) fn start(db: Connection, limits: Limits, path: &Path) -> Result<Self, StoreError> {
        let (jobs, waiting) = sync_channel(MAX_WAITING);
        let folder = path.parent().unwrap_or(path).to_owned();
        let thread = std::thread::Builder::new().name("reports".to_owned());
        let thread = thread.spawn(move || {
            Thread { db, limits, folder, foreign: Foreign::default() }.run(&waiting);
        });
        thread.map_err(|error| StoreError::unavailable("open the reports", error))?;
        Ok(Self(jobs))
    }

    /// Brings a job and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        operation: &'static str,
        job: impl FnOnce(Ask<T>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let failed = |cause| StoreError::unavailable(operation, cause);
        self.0.try_send(job(answer)).map_err(|error| match error {
            TrySendError::Full(_) => failed(Cause::TooSlow),
            TrySendError::Disconnected(_) => failed(Cause::Stopped),
        })?;
        answered.await.unwrap_or_else(|_| Err(failed(Cause::Stopped)))
    }
}

impl Job {
    fn size(&self) -> usize {
        match self {
            Self::Add(rows, _) => rows.len(),
            Self::SetAside(messages, _) => messages.len(),
            Self::Forget(..) => 1,
        }
    }

    /// What it may take of a disk, about: once in the log and once in the file, with its indexes.
    fn bytes(&self) -> u64 {
        let bytes: usize = match self {
            Self::Add(rows, _) => rows.iter().map(Row::size).sum(),
            Self::SetAside(messages, _) => messages.iter().map(|one| one.payload.len()).sum(),
            Self::Forget(..) => 0,
        };
        bytes as u64 * 3
    }

    /// Does it, inside a transaction.
    fn run(&self, db: &Connection, foreign: &Foreign) -> Result<Done, rusqlite::Error> {
        Ok(match self {
            Self::Add(rows, _) => Done::Added(add::add(db, rows, foreign)?),
            Self::SetAside(messages, _) => {
                add::set_aside(db, messages)?;
                Done::SetAside
            }
            Self::Forget(hostname, _) => {
                let mut forget = db.prepare_cached("DELETE FROM devices WHERE hostname = ?")?;
                Done::Forgot(forget.execute([hostname])? > 0)
            }
        })
    }

    /// Tells whoever waits; they may have gone.
    fn answer(self, outcome: Result<Done, Cause>) {
        fn to<T>(ask: Ask<T>, operation: &'static str, outcome: Result<Option<T>, Cause>) {
            let outcome = outcome.map_err(|error| StoreError::unavailable(operation, error));
            let _ = ask.send(outcome.and_then(|done| {
                done.ok_or_else(|| StoreError::unavailable(operation, Cause::Stopped))
            }));
        }
        match self {
            Self::Add(_, ask) => to(ask, "keep reports", outcome.map(Done::added)),
            Self::SetAside(_, ask) => {
                to(ask, "keep what is no report", outcome.map(|_| Some(())));
            }
            Self::Forget(_, ask) => to(ask, "forget a device", outcome.map(Done::forgot)),
        }
    }
}

/// What came of a job.
enum Done {
    Added(Added),
    SetAside,
    Forgot(bool),
}

impl Done {
    fn added(self) -> Option<Added> {
        if let Self::Added(added) = self { Some(added) } else { None }
    }

    fn forgot(self) -> Option<bool> {
        if let Self::Forgot(forgot) = self { Some(forgot) } else { None }
    }
}

struct Thread {
    db: Connection,
    limits: Limits,
    /// The one with the file, and with the declarations.
    folder: PathBuf,
    foreign: Foreign,
}

impl Thread {
    fn run(mut self, waiting: &Receiver<Job>) {
        let tenth = Duration::from_secs(self.limits.retention.seconds.into()) / 10;
        let between = tenth.clamp(SHORTEST_BETWEEN_SWEEPS, LONGEST_BETWEEN_SWEEPS);
        let mut due = Instant::now();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            match waiting.recv_timeout(wait) {
                Ok(job) => self.write(gather(job, waiting)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if due <= Instant::now() {
                let is_swept = self.sweep().unwrap_or_else(|error| {
                    tracing::warn!(%error, "old reports could not be removed");
                    true
                });
                // The next part of much at once, after what was brought meanwhile.
                due = Instant::now() + if is_swept { between } else { Duration::ZERO };
            }
        }
    }

    /// All in one transaction; if that does not do, each in its own.
    fn write(&mut self, jobs: Vec<Job>) {
        match self.together(&jobs) {
            Ok(done) => {
                for (job, done) in jobs.into_iter().zip(done) {
                    job.answer(Ok(done));
                }
            }
            Err(_) => {
                for job in jobs {
                    let outcome = self.together(std::slice::from_ref(&job));
                    job.answer(outcome.and_then(|mut done| done.pop().ok_or(Cause::Stopped)));
                }
            }
        }
    }

    fn together(&mut self, jobs: &[Job]) -> Result<Vec<Done>, Cause> {
        self.leave_room(jobs)?;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = jobs
            .iter()
            .map(|job| job.run(&transaction, &self.foreign))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(done)
    }

    /// Declarations are worth more than reports: the last of the disk is theirs.
    fn leave_room(&self, jobs: &[Job]) -> Result<(), Cause> {
        let bytes: u64 = jobs.iter().map(Job::bytes).sum();
        let Some(disk) = (self.limits.disk)(&self.folder).filter(|_| bytes > 0) else {
            return Ok(());
        };
        let (free, reserve) = (disk.free_bytes, disk.reserve_bytes());
        if free.saturating_sub(bytes) >= reserve {
            return Ok(());
        }
        let problem = format!(
            "{free} bytes of the disk are free, of which {reserve} are kept for declarations; make \
             room on it"
        );
        Err(std::io::Error::new(ErrorKind::StorageFull, problem).into())
    }

    /// Whether there is so little room that reports make some: half of what is kept for declarations.
    fn is_scarce(&self) -> bool {
        (self.limits.disk)(&self.folder)
            .is_some_and(|disk| disk.free_bytes < disk.reserve_bytes() / 2)
    }

    /// Removes the oldest reports a few at a time, for the log takes room before the file gives it,
    /// and gives it back at once. True when nothing is left to remove.
    fn make_room(&self) -> Result<bool, rusqlite::Error> {
        let mut removed = 0;
        for table in ["reports", "set_aside"] {
            // The names are the two above.
            let oldest = format!(
                "DELETE FROM {table} WHERE place IN
                 (SELECT place FROM {table} ORDER BY inserted LIMIT {SWEPT_WHEN_SCARCE})"
            );
            removed += self.db.prepare_cached(&oldest)?.execute([])?;
        }
        self.db.execute_batch(&format!(
            "PRAGMA incremental_vacuum({GIVEN_BACK_AT_ONCE}); PRAGMA wal_checkpoint(TRUNCATE)"
        ))?;
        Ok(removed == 0)
    }

    /// Removes a part of what is too old, or too much. True when nothing is left to remove.
    fn sweep(&self) -> Result<bool, rusqlite::Error> {
        if self.is_scarce() {
            return self.make_room();
        }
        let kept_ms = i64::from(self.limits.retention.seconds) * 1_000;
        let before = unix_ms() - kept_ms;
        let mut removed = 0;
        for table in ["reports", "set_aside"] {
            // The names are the two above.
            let expired = format!(
                "DELETE FROM {table} WHERE place IN
                 (SELECT place FROM {table} WHERE inserted <= ? ORDER BY inserted LIMIT ?)"
            );
            removed += self.db.prepare_cached(&expired)?.execute(params![before, SWEPT_AT_ONCE])?;
        }
        removed += self.forget_devices(unix_ms() / 1_000 - FORGOTTEN_AFTER, SWEPT_AT_ONCE)?;
        let count = "SELECT count(*) FROM devices";
        let devices: i64 = self.db.prepare_cached(count)?.query_row([], |row| row.get(0))?;
        removed += self.forget_devices(i64::MAX, (devices - MAX_DEVICES).min(SWEPT_AT_ONCE))?;
        let max_bytes = self.limits.max_bytes;
        if self.bytes()?.used > max_bytes {
            // The inventory is not counted against the reports: it would keep them all away.
            let inventory = self.device_bytes()?;
            let too_much = inventory.saturating_sub(max_bytes / 2);
            // As many as are too much, if all are alike.
            let most = (too_much * devices.unsigned_abs()).div_ceil(inventory.max(1));
            let most = i64::try_from(most).unwrap_or(SWEPT_AT_ONCE).min(SWEPT_AT_ONCE);
            removed += self.forget_devices(i64::MAX, most)?;
            if self.bytes()?.used.saturating_sub(inventory) > max_bytes {
                let mut oldest = self.db.prepare_cached(
                    "DELETE FROM reports WHERE place IN
                     (SELECT place FROM reports ORDER BY inserted LIMIT ?)",
                )?;
                removed += oldest.execute([SWEPT_AT_ONCE])?;
            }
        }
        let bytes = self.bytes()?;
        let is_loose = bytes.free > 0 && (removed > 0 || bytes.used + bytes.free > max_bytes);
        if is_loose {
            let give_back = format!("PRAGMA incremental_vacuum({GIVEN_BACK_AT_ONCE})");
            self.db.execute_batch(&give_back)?;
        }
        Ok(removed == 0 && !is_loose)
    }

    /// Removes devices that are away since then or longer, those that went first, so many at most.
    fn forget_devices(&self, away_at: i64, most: i64) -> Result<usize, rusqlite::Error> {
        if most <= 0 {
            return Ok(0);
        }
        let mut forget = self.db.prepare_cached(
            "DELETE FROM devices WHERE hostname IN
             (SELECT hostname FROM devices WHERE away_at <= ? ORDER BY away_at LIMIT ?)",
        )?;
        forget.execute(params![away_at, most])
    }

    /// What the file is made of.
    fn bytes(&self) -> Result<Bytes, rusqlite::Error> {
        let number =
            |pragma: &str| self.db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (pages, free) = (number("page_count")?, number("freelist_count")?);
        let size = number("page_size")?.unsigned_abs();
        Ok(Bytes { used: (pages - free).unsigned_abs() * size, free: free.unsigned_abs() * size })
    }

    /// What the inventory takes of the file, about: pages are not full, and it has indexes.
    fn device_bytes(&self) -> Result<u64, rusqlite::Error> {
        let sum = "SELECT ifnull(sum(octet_length(kept) * 3 / 2 + 300), 0) FROM devices";
        let bytes: i64 = self.db.prepare_cached(sum)?.query_row([], |row| row.get(0))?;
        Ok(bytes.unsigned_abs())
    }
}

/// Of a file.
struct Bytes {
    used: u64,
    /// In pages that nothing is in.
    free: u64,
}

/// A job and those that wait behind it, up to a number of reports.
fn gather(first: Job, waiting: &Receiver<Job>) -> Vec<Job> {
    let mut size = first.size();
    let mut jobs = vec![first];
    while size < MAX_TOGETHER
        && let Ok(job) = waiting.try_recv()
    {
        size += job.size();
        jobs.push(job);
    }
    jobs
}
