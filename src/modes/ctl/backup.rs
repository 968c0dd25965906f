//! `backup FILE`.

use super::failure::Failure;
use super::new_file::NewFile;
use super::output;
use super::session::Session;
use clap::Args;
use rusqlite::{Connection, OpenFlags};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What every `SQLite` file starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Copy the manager's whole embedded store into a file
#[derive(Debug, Args)]
#[command(after_help = "\
The manager goes on working, and the copy shows one moment. The file holds every secret of the
store, and only you can read it. To restore, put it as nebula.db into an empty data folder, and
start a manager there.")]
pub(super) struct Backup {
    /// Where to write the copy
    file: PathBuf,
    /// Replace the file when it is there
    #[arg(long)]
    force: bool,
}

impl Backup {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        // SIGINT must not leave a half copy behind: dropped, the temporary file is removed. Listened
        // for first, so that no moment is left in which the signal would end the process at once.
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
            done = self.copy(session) => done,
        }
    }

    async fn copy(&self, session: &Session) -> Result<(), Failure> {
        if self.file.as_os_str() == "-" {
            return Err(Failure::new("`-` is no file: a backup is verified before it is kept")
                .hint("name a file, or `./-` for one of that name"));
        }
        let to = NewFile::new(&self.file, self.force)?;
        let copy = to.begin()?;
        let handle = copy.reopen().map_err(|error| to.cannot_write(error))?;
        let mut handle = tokio::fs::File::from_std(handle);
        let bytes = session.client().backup(&mut handle).await;
        let bytes = bytes.map_err(|error| session.explain(&error))?;
        handle.sync_all().await.map_err(|error| to.cannot_write(error))?;
        check(copy.path(), bytes)?;
        to.keep(copy)?;
        output::say(&format!("{bytes} bytes written to {}", to.display()));
        Ok(())
    }
}

/// Refuses what is not a whole and sound `SQLite` file.
fn check(file: &Path, bytes: u64) -> Result<(), Failure> {
    let refuse = |what: &str| {
        Failure::new(format!("what the manager sent is not a whole backup: {what}"))
            .hint("nothing was kept; try again")
    };
    let mut start = [0; 32];
    std::fs::File::open(file)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .map_err(|error| refuse("it is too short").because(error))?;
    if !start.starts_with(MAGIC) {
        return Err(refuse("it is no SQLite file"));
    }
    // The header's page size (1 stands for 65536) and count of pages, both big-endian.
    let page_size = match u16::from_be_bytes([start[16], start[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([start[28], start[29], start[30], start[31]]);
    if page_size * u64::from(pages) != bytes {
        return Err(refuse("its length is not what its header says"));
    }
    match integrity(file) {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(refuse(&verdict)),
        Err(error) => Err(refuse("SQLite cannot read it").because(error)),
    }
}

/// `SQLite`'s own check. `immutable` keeps it from looking for, or making, files beside this one.
fn integrity(file: &Path) -> rusqlite::Result<String> {
    let mut uri = String::from("file:");
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}
