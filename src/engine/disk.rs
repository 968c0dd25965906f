//! The disk under an engine's images, as it is seen from here.

use crate::model::Disk;
use rustix::fs::{StatVfs, statvfs};
use std::path::Path;

/// What tells a process that it runs in one of Docker's containers.
const IN_A_CONTAINER: &str = "/.dockerenv";

/// The disk with Docker's root folder, when Docker answers at an address of this machine. In a
/// container that folder is not seen, but the container's own files lie beneath it, on the same
/// disk. None when it cannot be told. It asks the kernel's memory, not the disk, so it does not wait.
pub(super) fn of(address: &str, root: &str) -> Option<Disk> {
    if !address.starts_with("unix://") {
        return None;
    }
    let is_seen = !root.is_empty() && Path::new(root).is_dir();
    let path = if is_seen {
        root
    } else if Path::new(IN_A_CONTAINER).exists() {
        "/"
    } else {
        return None;
    };
    statvfs(path).ok().as_ref().map(disk)
}

fn disk(seen: &StatVfs) -> Disk {
    let kept_for_root = seen.f_bfree.saturating_sub(seen.f_bavail);
    let blocks = seen.f_blocks.saturating_sub(kept_for_root);
    Disk {
        total_bytes: blocks.saturating_mul(seen.f_frsize),
        free_bytes: seen.f_bavail.saturating_mul(seen.f_frsize),
    }
}
