//! The disk that images, containers and the worker's own files share.

/// A disk, by what is free for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What is used and what is free, in bytes; the part that is kept for root counts as neither.
    pub total_bytes: u64,
    /// What is free, in bytes.
    pub free_bytes: u64,
}

impl Disk {
    /// What must stay free whatever is pulled, in bytes, so that running containers can write: a
    /// fiftieth, and no more than a gigabyte on a large disk nor less than 16 MB on a small one.
    pub fn reserve_bytes(&self) -> u64 {
        (self.total_bytes / 50).clamp(16 << 20, 1 << 30)
    }

    /// How many bytes are used beyond so many percent.
    pub fn used_beyond(&self, percent: u64) -> u64 {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        let allowed = u128::from(self.total_bytes) * u128::from(percent.min(100)) / 100;
        used.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX))
    }
}
