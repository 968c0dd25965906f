//! What survives a restart: the last accepted answer, the planner's memory and the device's own
//! credential.
//!
//! Invariants: a file is replaced whole or not at all, whenever the power is cut; only the owner
//! can read it, because env values are in it; a file that cannot be read is put aside and counts
//! as none, which touches no container; nothing is written unless it changed, because flash wears
//! out.

use super::config::ACCEPTED;
use super::credential::Credentials;
use crate::model::Desired;
use crate::reconcile::Memory;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};

const MEMORY: &str = "memory.json";
const CREDENTIAL: &str = "credential.json";
const LOCK: &str = "worker.lock";

/// Why the folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another worker holds it.
    #[error("another worker runs with the folder `{0}`; give this one a `data_dir` of its own")]
    InUse(PathBuf),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl StateError {
    /// The kind of the cause.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Write { source, .. } => source.kind(),
            Self::InUse(_) => ErrorKind::ResourceBusy,
        }
    }

    /// The cause in words, for a log line.
    pub(super) fn cause(&self) -> String {
        std::error::Error::source(self).map(ToString::to_string).unwrap_or_default()
    }
}

/// The folder, held by this worker alone.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    lock: Option<Arc<File>>,
}

impl State {
    /// Opens the folder and makes it if it is not there. A disk that cannot be written is told
    /// and no more: the device runs on without keeping its state.
    pub(super) fn open(folder: &Path) -> Result<Self, StateError> {
        let opened = private_folder(folder).and_then(|()| {
            File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))
        });
        let lock = match opened {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(Arc::new(file)),
                Err(TryLockError::WouldBlock) => {
                    return Err(StateError::InUse(folder.to_owned()));
                }
                Err(TryLockError::Error(_)) => None,
            },
            Err(error) => {
                warn!(folder = %folder.display(), %error, "state cannot be kept on disk");
                None
            }
        };
        Ok(Self { folder: folder.to_owned(), lock })
    }

    pub(super) fn accepted(&self) -> AcceptedFile {
        AcceptedFile(self.file(ACCEPTED))
    }

    pub(super) fn memory(&self) -> MemoryFile {
        MemoryFile { file: self.file(MEMORY), written: None, told: None }
    }

    pub(super) fn credential(&self) -> CredentialFile {
        CredentialFile(self.file(CREDENTIAL))
    }

    fn file(&self, name: &str) -> WholeFile {
        WholeFile { path: self.folder.join(name), _lock: self.lock.clone() }
    }
}

/// Makes a folder for the owner alone, if it is not there.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file that is only ever replaced whole.
#[derive(Debug)]
struct WholeFile {
    path: PathBuf,
    /// The folder stays ours as long as any of its files is in use.
    _lock: Option<Arc<File>>,
}

impl WholeFile {
    fn write(&self, bytes: &[u8]) -> Result<(), StateError> {
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            // It may have been removed under us.
            private_folder(folder)?;
            // Made for the owner alone, in the same folder so that the rename is atomic.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| StateError::Write { path: self.path.clone(), source })
    }

    fn remove(&self) -> Result<(), StateError> {
        match std::fs::remove_file(&self.path) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StateError::Write { path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// The content, or none when the file is not there or cannot be understood.
    fn read<T>(&self, understand: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %self.path.display(), %error, "state cannot be read");
                return None;
            }
        };
        match understand(&bytes) {
            Ok(content) => Some(content),
            Err(reason) => {
                let aside = self.path.with_extension("unreadable");
                let moved = std::fs::rename(&self.path, &aside).is_ok();
                warn!(file = %self.path.display(), reason, moved, "state is unreadable; put aside");
                None
            }
        }
    }
}

/// An answer to keep.
pub(super) struct Accepted<'a> {
    pub(super) group: &'a str,
    pub(super) etag: Option<&'a str>,
    pub(super) answer: &'a [u8],
}

/// The file's form. The answer is kept as it came, so that a newer worker reads all of it.
#[derive(Serialize, Deserialize)]
struct AcceptedForm<'a> {
    device_group: String,
    etag: Option<String>,
    #[serde(borrow)]
    answer: &'a RawValue,
}

/// The last accepted answer.
#[derive(Debug)]
pub(super) struct AcceptedFile(WholeFile);

impl AcceptedFile {
    pub(super) fn write(&self, accepted: &Accepted<'_>) -> Result<(), StateError> {
        let failed = |source: serde_json::Error| StateError::Write {
            path: self.0.path.clone(),
            source: source.into(),
        };
        let answer: &RawValue = serde_json::from_slice(accepted.answer).map_err(failed)?;
        let form = AcceptedForm {
            device_group: accepted.group.to_owned(),
            etag: accepted.etag.map(str::to_owned),
            answer,
        };
        let bytes = serde_json::to_vec(&form).map_err(failed)?;
        self.0.write(&bytes).or_else(|_| {
            // What is kept is older than what will run, and the next start would go back to it. So
            // it must go; and on a full disk its place may be the one that is needed.
            self.0.remove()?;
            self.0.write(&bytes)
        })
    }

    /// The answer that was kept for this group. One of another group is none of this device's
    /// any more.
    pub(super) fn read(&self, group: &str) -> Option<(Option<String>, Desired)> {
        let (kept_for, etag, desired) = self.0.read(|bytes| {
            let form: AcceptedForm<'_> =
                serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            let desired = Desired::decode(form.answer.get().as_bytes());
            Ok((form.device_group, form.etag, desired.map_err(|error| error.to_string())?))
        })?;
        (kept_for == group).then_some((etag, desired))
    }
}

/// The device's own credential.
#[derive(Debug)]
pub(super) struct CredentialFile(WholeFile);

impl CredentialFile {
    /// None when there is none, or none that can be understood. One that is there and cannot be read
    /// is an error: it is what lets this device in, and must not be written over.
    pub(super) fn read(&self) -> std::io::Result<Option<Credentials>> {
        match File::open(&self.0.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(self.0.read(Credentials::decode)),
        }
    }

    /// When this returns without an error, it is there after a power cut.
    pub(super) fn write(&self, credentials: &Credentials) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(credentials).map_err(|source| StateError::Write {
            path: self.0.path.clone(),
            source: source.into(),
        })?;
        self.0.write(&bytes)
    }
}

/// The planner's memory.
#[derive(Debug)]
pub(super) struct MemoryFile {
    file: WholeFile,
    written: Option<Memory>,
    /// Why it could not be written the last time. A disk stays full for long, and the log may lie
    /// on it as well.
    told: Option<ErrorKind>,
}

impl MemoryFile {
    pub(super) fn read(&mut self) -> Memory {
        let memory: Memory = self
            .file
            .read(|bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string()))
            .unwrap_or_default();
        self.written = Some(memory.clone());
        memory
    }

    /// Writes the memory, if it changed since it was last written.
    pub(super) fn write(&mut self, memory: &Memory) {
        if self.written.as_ref() == Some(memory) {
            return;
        }
        let bytes = serde_json::to_vec(memory).unwrap_or_default();
        match self.file.write(&bytes) {
            Ok(()) => {
                self.written = Some(memory.clone());
                if self.told.take().is_some() {
                    info!("memory is kept on disk again");
                }
            }
            Err(error) => {
                // The cause in words names a file that is another one at each try.
                let kind = error.kind();
                if self.told != Some(kind) {
                    let cause = error.cause();
                    warn!(%error, cause, "memory could not be kept on disk; containers run on");
                    self.told = Some(kind);
                }
            }
        }
    }
}
