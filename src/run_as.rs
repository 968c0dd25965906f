//! Who the process is: leaving root before anything else begins.
//!
//! What it is: the environment's `NEBULA_RUN_AS`, which the image sets. A manager, a reporter or ctl that was started as root
//! goes on as that user and group; what a manager keeps is made theirs before. What it is not: a key of the
//! configuration file, for it is about the process and not about a mode; nor for a worker, which stays
//! what it was started as, because Docker's socket is mostly root's.
//!
//! Invariants: it is called while the process has one thread, for the kernel keeps users by thread; a
//! process that is not root is left as it is; either all rights of root are gone afterwards, but for
//! ports below 1024, or the start is refused.

use crate::config::Environment;
use crate::store::DATA_FILES;
use rustix::process::{DumpableBehavior, Gid, Uid, geteuid, getgid, getuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::ffi::OsStr;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

/// The variable of the environment.
pub const KEY: &str = "NEBULA_RUN_AS";
/// What a disk of its own has before anybody wrote to it.
const OF_THE_DISK: &str = "lost+found";

/// Why the process cannot go on as another user.
#[derive(Debug, thiserror::Error)]
pub enum RunAsError {
    /// The variable says something else.
    #[error(
        "environment NEBULA_RUN_AS: expected numbers as `UID:GID` or `UID`, found `{0}`; `0` or nothing stays root"
    )]
    Malformed(String),
    /// The folder cannot be made the user's.
    #[error(
        "cannot make `{folder}` the folder of user and group `{run_as}`; give it to them, or set NEBULA_RUN_AS to 0"
    )]
    Claim {
        /// The folder, or what is in it.
        folder: PathBuf,
        /// The user and group.
        run_as: RunAs,
        /// Why.
        source: io::Error,
    },
    /// The folder is somebody else's.
    #[error(
        "`{0}` holds files that are not of nebula; give the manager a `data_dir` of its own, or set NEBULA_RUN_AS to 0"
    )]
    NotOurs(PathBuf),
    /// The kernel refuses.
    #[error(
        "cannot go on as user and group `{run_as}`; start the process as that user (docker run --user), or set NEBULA_RUN_AS to 0"
    )]
    Leave {
        /// The user and group.
        run_as: RunAs,
        /// Why.
        source: io::Error,
    },
}

/// A user and a group, by their numbers: an image from nothing knows no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    user: u32,
    group: u32,
}

impl RunAs {
    /// What the environment asks for; none when it asks for nothing, or for root.
    pub fn read(environment: &Environment) -> Result<Option<Self>, RunAsError> {
        let Some(text) = environment.get(KEY).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let malformed = || RunAsError::Malformed(text.clone());
        // The highest number means "leave it as it is" to the kernel.
        let number = |word: &str| word.parse().ok().filter(|number| *number < u32::MAX);
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        let (user, group) = number(user).zip(number(group)).ok_or_else(malformed)?;
        Ok((user != 0).then_some(Self { user, group }))
    }

    /// Makes a folder this user's, with what a manager that was root left there. One that is
    /// somebody's already is left to them: whoever gave it away had a reason.
    pub fn claim(self, folder: &Path) -> Result<(), RunAsError> {
        let failed = |source| RunAsError::Claim { folder: folder.to_owned(), run_as: self, source };
        if !folder.exists() {
            // Whoever is above it must let the user through, so only the last one is for the owner.
            folder.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
            DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
        }
        let owner = std::fs::metadata(folder).map_err(failed)?.uid();
        if owner != 0 && owner != self.user {
            return Ok(());
        }
        let entries: Vec<_> =
            std::fs::read_dir(folder).and_then(Iterator::collect).map_err(failed)?;
        let is_known = |name: &OsStr| DATA_FILES.iter().any(|known| name == OsStr::new(known));
        let is_ours = entries.iter().any(|entry| is_known(&entry.file_name()));
        if owner == 0 && !is_ours && entries.iter().any(|entry| entry.file_name() != OF_THE_DISK) {
            return Err(RunAsError::NotOurs(folder.to_owned()));
        }
        for entry in entries {
            // What cannot be looked at is gone by now. A link is changed itself, not what it names.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() && metadata.uid() == 0 {
                lchown(entry.path(), Some(self.user), Some(self.group)).map_err(failed)?;
            }
        }
        if owner == self.user {
            return Ok(());
        }
        // First, for root in a container may well be forbidden to change what is another's.
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
        chown(folder, Some(self.user), Some(self.group)).map_err(failed)
    }

    /// Goes on as this user, for good.
    fn leave_root(self) -> Result<(), RunAsError> {
        let leave = || -> rustix::io::Result<()> {
            let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
            set_keep_capabilities(true)?;
            set_thread_groups(&[])?;
            set_thread_res_gid(group, group, group)?;
            set_thread_res_uid(user, user, user)?;
            // The contract's port is 80, and not every engine opens it to all users.
            let kept = capabilities(None)?.permitted & CapabilitySet::NET_BIND_SERVICE;
            let inheritable = CapabilitySet::empty();
            let kept = CapabilitySets { effective: kept, permitted: kept, inheritable };
            set_capabilities(None, kept)?;
            set_keep_capabilities(false)?;
            set_no_new_privs(true)?;
            // A process that changed its user may else not read what the kernel tells of it, such as
            // how many files it has open.
            set_dumpable_behavior(DumpableBehavior::Dumpable)
        };
        leave().map_err(|error| RunAsError::Leave { run_as: self, source: error.into() })?;
        let is_left = getuid().as_raw() == self.user
            && geteuid().as_raw() == self.user
            && getgid().as_raw() == self.group;
        let source = || io::Error::other("the kernel kept the user");
        if is_left { Ok(()) } else { Err(RunAsError::Leave { run_as: self, source: source() }) }
    }
}

impl std::fmt::Display for RunAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

/// Leaves root when it is root and the environment asks for it; `folder` is what the user is to own.
/// Gives who it is then, if that changed.
pub fn leave_root(
    environment: &Environment,
    folder: Option<&Path>,
) -> Result<Option<RunAs>, RunAsError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let Some(run_as) = RunAs::read(environment)? else { return Ok(None) };
    folder.map_or(Ok(()), |folder| run_as.claim(folder))?;
    run_as.leave_root()?;
    Ok(Some(run_as))
}
