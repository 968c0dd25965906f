//! Opening the file: whose it is, which version it has, and that nobody else has it.

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store's file under the data folder.
pub const DATABASE_FILE: &str = "nebula.db";
/// The file whose lock says that a manager runs on this folder. It is a file of its own because
/// closing any handle of the database file would drop `SQLite`'s own locks on it.
pub(in crate::store) const LOCK_FILE: &str = "nebula.lock";
/// Says in the file's header that it is ours: `nebu` in ASCII.
const APPLICATION_ID: i32 = 0x6e65_6275;
/// How long a statement waits for a lock. Only a person's `sqlite3` holds one for long.
pub(in crate::store) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// The log is cut back to this after a burst.
pub(in crate::store) const LOG_LIMIT_BYTES: i64 = 64 << 20;

/// The schema's steps. A file's `user_version` says how many it has taken; a step that was
/// released is never changed, the next one mends it.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE documents (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        uid BLOB NOT NULL,
        revision INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    -- Which groups list an app, so that a write finds them without reading every group.
    CREATE TABLE members (
        app TEXT NOT NULL,
        device_group TEXT NOT NULL,
        PRIMARY KEY (app, device_group)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX members_by_group ON members (device_group);
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        revision INTEGER NOT NULL
    ) STRICT;
    INSERT INTO meta VALUES (1, 0);
",
    "
    -- Members of every kind: apps and cron jobs in device groups, users in user groups.
    CREATE TABLE memberships (
        kind TEXT NOT NULL,
        member TEXT NOT NULL,
        owner_kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        PRIMARY KEY (kind, member, owner_kind, owner)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX memberships_by_owner ON memberships (owner_kind, owner);
    INSERT INTO memberships SELECT 'app', app, 'device_group', device_group FROM members;
    DROP TABLE members;
    -- Whose token a token is, as far as it says so itself.
    ALTER TABLE documents ADD COLUMN token_id TEXT;
    CREATE INDEX token_owners ON documents (token_id, name) WHERE kind = 'user';
",
    "
    -- The last versions of each app, as they were written, and by whom.
    CREATE TABLE history (
        uid BLOB NOT NULL,
        revision INTEGER NOT NULL,
        app_id INTEGER NOT NULL,
        time INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (uid, revision)
    ) STRICT, WITHOUT ROWID;
",
];

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection string of a database elsewhere.
    #[error("`mongo_url` is no connection string that can be used")]
    Url(#[source] Box<mongodb::error::Error>),
    /// Another process has the lock.
    #[error("another manager runs on this data folder: it has locked `{}`", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A database, but not Nebula's.
    #[error("`{}` is not a store of Nebula", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// Written by a newer release.
    #[error(
        "`{}` was written by a newer Nebula: it has schema version {found}, this one knows up to {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: usize,
    },
    /// Damaged.
    #[error("`{}` is damaged ({what}): restore a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check found.
        what: String,
    },
    /// The database refused.
    #[error("cannot open `{}`", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The thread that opened it ended early.
    #[error("the opening of the store stopped half-way")]
    Stopped,
}

/// An open store.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) lock: File,
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
    pub(super) copier: Connection,
}

/// Opens the store of a folder with one writer and some readers.
pub(super) fn open(data_dir: &Path, readers: usize) -> Result<Opened, OpenError> {
    let make = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    make.map_err(|source| OpenError::Folder { path: data_dir.to_owned(), source })?;
    let lock = lock(&data_dir.join(LOCK_FILE))?;
    let path = data_dir.join(DATABASE_FILE);
    // Made here rather than by SQLite, so that nobody else can read it from the first moment on;
    // the log and the shared-memory file take over its mode.
    private_file(&path).map_err(|source| OpenError::Folder { path: path.clone(), source })?;
    sync_entries(data_dir);
    set_foreign_log_aside(&path)?;
    let mut writer = recognise(&path)?;
    let refused = |source| refusal(&path, source);
    settings(&writer).map_err(refused)?;
    migrate(&mut writer, &path)?;
    let another = || {
        let connection = Connection::open_with_flags(&path, flags())?;
        settings(&connection)?;
        Ok(connection)
    };
    let reader = |_| {
        let reader = another()?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(reader)
    };
    let readers = (0..readers).map(reader).collect::<Result<_, _>>().map_err(refused)?;
    // It only reads as well, but SQLite takes the writing of a copy for a write.
    let copier = another().map_err(refused)?;
    Ok(Opened { path, lock, writer, readers, copier })
}

/// Turns the write-ahead log back into a plain file when the store is closed.
///
/// The file then says in its header that it has no log. So does every backup. A log that lies
/// beside such a file is left from another one, see [`set_foreign_log_aside`].
pub(super) fn end_log(path: &Path) -> Result<(), rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags())?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "DELETE")
}

pub(in crate::store) fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file =
        private_file(path).map_err(|source| OpenError::Folder { path: path.to_owned(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => {
            Err(OpenError::Folder { path: path.to_owned(), source })
        }
    }
}

pub(in crate::store) fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Puts the names of new files and folders on disk: a commit in a file whose name a power cut took
/// away is lost. Some file systems cannot, and need not.
fn sync_entries(data_dir: &Path) {
    for folder in [Some(data_dir), data_dir.parent()].into_iter().flatten() {
        if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
            tracing::debug!(folder = %folder.display(), %error, "folder was not synced");
        }
    }
}

/// Puts a log aside that belongs to another file.
///
/// Whoever restores a backup puts it in the place of a file whose manager may have died and left
/// its log behind. `SQLite` would replay that log into the restored file and damage it. A file
/// that has a log of its own says so in its header (write version 2); a backup, and the file of a
/// store that was closed, say 1.
fn set_foreign_log_aside(path: &Path) -> Result<(), OpenError> {
    const VERSION_OFFSET: usize = 18;
    const NO_LOG: u8 = 1;
    let mut header = [0; VERSION_OFFSET + 1];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    // An empty file has no header; SQLite itself drops a log beside it.
    if read.is_err() || header[VERSION_OFFSET] != NO_LOG {
        return Ok(());
    }
    for suffix in ["-wal", "-shm"] {
        let beside = with_suffix(path, suffix);
        match std::fs::rename(&beside, with_suffix(path, &format!("{suffix}.foreign"))) {
            Ok(()) => tracing::warn!(file = %beside.display(), "log of another store put aside"),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Folder { path: beside, source }),
        }
    }
    Ok(())
}

pub(in crate::store) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the file and refuses one that is not ours, of a newer release, or damaged, before
/// anything in it is changed.
fn recognise(path: &Path) -> Result<Connection, OpenError> {
    let refused = |source| refusal(path, source);
    let db = Connection::open_with_flags(path, flags()).map_err(refused)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(refused)?;
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(refused)?;
    let version = number("user_version").map_err(refused)?;
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(refused)?;
    let is_new = application == 0 && version == 0 && tables == 0;
    if !is_new && application != i64::from(APPLICATION_ID) {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    if version > i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX) {
        let known = MIGRATIONS.len();
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    let check: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refused)?;
    if check != "ok" {
        return Err(OpenError::Damaged { path: path.to_owned(), what: check });
    }
    Ok(db)
}

fn refusal(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotOurs { path },
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, what: source.to_string() }
        }
        _ => OpenError::Sqlite { path, source },
    }
}

fn settings(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: a commit is on disk before it returns. NORMAL would lose the last ones in a power cut.
    db.pragma_update(None, "synchronous", "FULL")?;
    // A container from scratch has no /tmp.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "journal_size_limit", LOG_LIMIT_BYTES)?;
    db.pragma_update(None, "trusted_schema", false)
}

/// Takes the steps that the file has not taken, each wholly or not at all.
fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let mut run = || {
        let taken: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for (index, step) in MIGRATIONS.iter().enumerate().skip(taken as usize) {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let version = i64::try_from(index + 1).unwrap_or(i64::MAX);
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
        Ok(())
    };
    run().map_err(|source| refusal(path, source))
}
