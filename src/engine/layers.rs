//! The layers of an image that is being pulled, and whether there is room for them.
//!
//! The registry is not asked for the sizes: that would count against its limits, and would pass by
//! the mirrors and proxies that Docker knows. Docker tells the size of each layer as its download
//! begins, and from then on the room for it is counted: once as it comes, compressed, and once more
//! unpacked beside it. How much it grows by unpacking nobody knows before, so what is left free is
//! looked at as well, all the while.

use crate::model::Disk;
use bollard::models::CreateImageInfo;
use std::collections::HashMap;

/// By how much a layer may grow by being unpacked, at most: what is more is no reason to hold a
/// pull back that could fit.
const LARGEST_GROWTH: u64 = 12;
/// What Docker's own words for a full disk hold.
const DISK_FULL: &str = "no space left on device";

#[derive(Debug, Default)]
struct Layer {
    /// Its compressed size, once it is known.
    total: u64,
    fetched: u64,
    /// How much of the compressed bytes is unpacked.
    unpacked: u64,
}

/// The layers of one pull.
#[derive(Debug, Default)]
pub(super) struct Layers(HashMap<String, Layer>);

/// Why a pull is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// What must be free for it before it begins.
    pub(super) needed_bytes: u64,
}

impl Layers {
    /// Takes in a line of Docker's progress.
    pub(super) fn note(&mut self, line: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&line.id, line.status.as_deref()) else { return };
        let detail = line.progress_detail.as_ref();
        let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
        let current = bytes(detail.and_then(|detail| detail.current)).unwrap_or(0);
        let total = bytes(detail.and_then(|detail| detail.total)).unwrap_or(0);
        match status {
            "Downloading" => {
                let layer = self.0.entry(id.clone()).or_default();
                layer.total = total.max(layer.total);
                layer.fetched = current.max(layer.fetched);
            }
            "Verifying Checksum" | "Download complete" => {
                if let Some(layer) = self.0.get_mut(id) {
                    layer.fetched = layer.total;
                }
            }
            "Extracting" => {
                if let Some(layer) = self.0.get_mut(id) {
                    layer.fetched = layer.total;
                    layer.unpacked = current.min(layer.total).max(layer.unpacked);
                }
            }
            "Pull complete" => {
                if let Some(layer) = self.0.get_mut(id) {
                    layer.fetched = layer.total;
                    layer.unpacked = layer.total;
                }
            }
            _ => {}
        }
    }

    /// Does what is still to come fit? `before` is the disk as it was when the pull began.
    pub(super) fn check(&self, before: Disk, now: Disk) -> Result<(), TooLarge> {
        let to_come: u64 = self.0.values().map(|l| 2 * l.total - l.fetched - l.unpacked).sum();
        if to_come == 0 {
            return Ok(());
        }
        let reserve = now.reserve_bytes();
        if now.free_bytes < reserve {
            return Err(self.overflown(before));
        }
        if to_come > now.free_bytes - reserve {
            return Err(TooLarge { needed_bytes: 2 * self.total() + reserve });
        }
        Ok(())
    }

    /// The disk is full although what is known of the layers would fit: they grow more by being
    /// unpacked, or there are more of them. More than there was is needed; how much is not known.
    pub(super) fn overflown(&self, before: Disk) -> TooLarge {
        let known = 2 * self.total() + before.reserve_bytes();
        let most = LARGEST_GROWTH * self.total() + before.reserve_bytes();
        TooLarge { needed_bytes: (before.free_bytes + self.total()).min(most).max(known) }
    }

    fn total(&self) -> u64 {
        self.0.values().map(|layer| layer.total).sum()
    }
}

/// Does Docker say that the disk is full?
pub(super) fn is_disk_full(message: &str) -> bool {
    message.contains(DISK_FULL)
}
