//! The file of reports: opening it, and putting aside one that is of no use.
//!
//! Invariant: whatever the file holds, a manager starts and reports are kept; only a disk that
//! takes no file keeps them away, for as long as it takes none.

use crate::store::sqlite::open::{BUSY_TIMEOUT, LOG_LIMIT_BYTES, flags, private_file, with_suffix};
use crate::store::{Cause, StoreError};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Says in the file's header that it is ours: `nebr` in ASCII.
const APPLICATION_ID: i64 = 0x6e65_6272;
/// A database and its log, by what their names end with.
const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// The schema's steps. A file's `user_version` says how many it has taken; a step that was
/// released is never changed, the next one mends it.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE reports (
        place INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        -- When it was taken, in ms since 1970.
        inserted INTEGER NOT NULL,
        hostname TEXT NOT NULL,
        device_group TEXT NOT NULL,
        -- As the device gave it: whole seconds, or with a fraction.
        created ANY NOT NULL,
        updated INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX reports_by_time ON reports (inserted);
    -- With the id behind: pages come by id.
    CREATE INDEX reports_by_hostname ON reports (hostname, id);
    CREATE INDEX reports_by_group ON reports (device_group, id);
    CREATE TABLE devices (
        hostname TEXT PRIMARY KEY,
        device_group TEXT NOT NULL,
        state TEXT NOT NULL,
        last_seen INTEGER NOT NULL,
        away_at INTEGER NOT NULL,
        revision INTEGER,
        boot_id TEXT,
        sequence INTEGER,
        created INTEGER NOT NULL,
        kept TEXT NOT NULL
    ) STRICT;
    CREATE INDEX devices_by_group ON devices (device_group, hostname);
    CREATE TABLE set_aside (
        place INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        inserted INTEGER NOT NULL,
        topic TEXT NOT NULL,
        part INTEGER NOT NULL,
        start INTEGER NOT NULL,
        reason TEXT NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE INDEX set_aside_by_time ON set_aside (inserted);
",
    "CREATE INDEX devices_by_away_at ON devices (away_at);",
];

/// One writer and some readers of the file.
pub(super) fn open(
    path: &Path,
    readers: usize,
) -> Result<(Connection, Vec<Connection>), StoreError> {
    let failed = |error: rusqlite::Error| StoreError::unavailable("open the reports", error);
    let writer = match writer(path) {
        Err(error) if is_of_no_use(&error) => {
            put_aside(path, &error.to_string())?;
            writer(path)
        }
        outcome => outcome,
    };
    let writer = writer?;
    let reader = |_| {
        let reader = Connection::open_with_flags(path, flags())?;
        settings(&reader)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(reader)
    };
    let readers = (0..readers).map(reader).collect::<Result<_, _>>().map_err(failed)?;
    Ok((writer, readers))
}

/// Whether an error says that the file holds no reports, or none that can be read.
pub(super) fn is_of_no_use(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    match source {
        Cause::Sqlite(error) => matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        ),
        Cause::Io(error) => error.kind() == ErrorKind::InvalidData,
        _ => false,
    }
}

/// Files that are kept aside: the last ones, for what goes wrong again and again fills a disk.
const MAX_ASIDE: usize = 3;

/// Makes room for a new file. The one before is kept, for people to look at, and older ones beside
/// it by their number.
pub(super) fn put_aside(path: &Path, why: &str) -> Result<(), StoreError> {
    let aside = aside(path, 1);
    for number in (1..MAX_ASIDE).rev() {
        rename(&self::aside(path, number), &self::aside(path, number + 1))?;
    }
    tracing::warn!(file = %path.display(), aside = %aside.display(), why, "reports cannot be read; the file is put aside and begun anew");
    rename(path, &aside)
}

/// Where a file is put; the last one has the first number.
fn aside(path: &Path, number: usize) -> PathBuf {
    let numbered = if number == 1 { String::new() } else { format!(".{number}") };
    with_suffix(path, &format!(".put-aside{numbered}"))
}

/// Renames a database with its log.
fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    for suffix in FILES {
        match std::fs::rename(with_suffix(from, suffix), with_suffix(to, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A log of an earlier one would be taken for this one's.
                let _ = std::fs::remove_file(with_suffix(to, suffix));
            }
            Err(error) => return Err(StoreError::unavailable("put the reports aside", error)),
        }
    }
    Ok(())
}

fn writer(path: &Path) -> Result<Connection, StoreError> {
    let operation = "open the reports";
    let failed = |error: rusqlite::Error| StoreError::unavailable(operation, error);
    // Made here rather than by SQLite, so that nobody else can read it from the first moment on.
    private_file(path).map_err(|error| StoreError::unavailable(operation, error))?;
    let mut db = Connection::open_with_flags(path, flags()).map_err(failed)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    recognise(&db)?;
    // Before the first table: what reports leave is given back to the disk.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(failed)?;
    settings(&db).map_err(failed)?;
    migrate(&mut db).map_err(failed)?;
    Ok(db)
}

/// Refuses what is another program's, or a newer release's. It is not read through: that takes as
/// long as all of it is large, and damage shows when it is met.
fn recognise(db: &Connection) -> Result<(), StoreError> {
    let operation = "open the reports";
    let failed = |error: rusqlite::Error| StoreError::unavailable(operation, error);
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(failed)?;
    let version = number("user_version").map_err(failed)?;
    let tables: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let is_new = application == 0 && version == 0 && tables == 0;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let problem = match () {
        () if !is_new && application != APPLICATION_ID => "it is not a file of Nebula's reports",
        () if version > known => "it was written by a newer Nebula",
        () => return Ok(()),
    };
    let error = std::io::Error::new(ErrorKind::InvalidData, problem);
    Err(StoreError::unavailable(operation, error))
}

fn settings(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // A power cut may take the last reports, which their devices send again or follow up; waiting
    // for the disk at each would make a fleet's reports cost more than its declarations.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    // A container from scratch has no /tmp.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "journal_size_limit", LOG_LIMIT_BYTES)?;
    db.pragma_update(None, "trusted_schema", false)
}

/// Takes the steps that the file has not taken, each wholly or not at all.
fn migrate(db: &mut Connection) -> Result<(), rusqlite::Error> {
    let taken: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(taken as usize) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(index + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
    }
    Ok(())
}
