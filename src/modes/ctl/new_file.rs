//! A file that is written whole or not at all, for its user alone.

use super::failure::Failure;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, PersistError};

/// Where a file is to be.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    /// One that is there is replaced.
    force: bool,
}

impl NewFile {
    /// A link is followed, so that it still points to the newest one; a device or a pipe cannot be
    /// replaced by a file without breaking what uses it.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self, Failure> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(Failure::new(format!("`{}` is no regular file", path.display()))
                .hint("choose another file"));
        }
        let file = Self { path, force };
        if !force && file.path.symlink_metadata().is_ok() {
            return Err(file.is_there());
        }
        Ok(file)
    }

    /// What its bytes are written into first: in the same folder, so that the rename is one step.
    /// Only the user can read it.
    pub(super) fn begin(&self) -> Result<NamedTempFile, Failure> {
        let begun = tempfile::Builder::new().prefix(".nebula-").tempfile_in(self.folder());
        begun.map_err(|error| self.cannot_write(error))
    }

    /// Gives it its name, which a power cut cannot take back.
    pub(super) fn keep(&self, written: NamedTempFile) -> Result<(), Failure> {
        let kept = if self.force {
            written.persist(&self.path)
        } else {
            written.persist_noclobber(&self.path)
        };
        match kept {
            Ok(_) => {}
            Err(PersistError { error, .. }) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(self.is_there());
            }
            Err(PersistError { error, .. }) => return Err(self.cannot_write(error)),
        }
        std::fs::File::open(self.folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.cannot_write(error))
    }

    pub(super) fn cannot_write(&self, error: std::io::Error) -> Failure {
        Failure::new(format!("cannot write `{}`", self.path.display())).because(error)
    }

    pub(super) fn display(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    fn is_there(&self) -> Failure {
        Failure::new(format!("`{}` is there already", self.display()))
            .hint("choose another file, or replace it with --force")
    }
}
