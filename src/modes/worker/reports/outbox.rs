//! Reports that wait to be sent: few, in order, and the oldest make room.
//!
//! They are kept in memory alone. A report is of the moment, the next one says more, and a device's
//! flash is not worn out for them.

use crate::bus::Packed;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// So many reports at most: an hour and a half of them at the usual check-in time.
const MAX_REPORTS: usize = 200;
/// So many bytes at most: a device has little memory, and its apps need it.
const MAX_BYTES: usize = 1 << 20;

/// The reports that wait. Whoever sends empties it, and removes only what has arrived.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By number, rising.
    reports: VecDeque<(u64, Packed)>,
    bytes: usize,
    last: u64,
    dropped: u64,
    /// Nobody takes reports: the newest is enough.
    is_idle: bool,
}

impl Outbox {
    /// Adds a report. Those that no longer fit go, the oldest first, and are counted.
    pub fn push(&self, report: Packed) {
        let mut waiting = self.lock();
        waiting.last += 1;
        waiting.bytes += report.json.len();
        let number = waiting.last;
        waiting.reports.push_back((number, report));
        // The newest stays whatever its size: it is the one that counts.
        let most = if waiting.is_idle { 1 } else { MAX_REPORTS };
        while waiting.reports.len() > 1
            && (waiting.reports.len() > most || waiting.bytes > MAX_BYTES)
        {
            waiting.remove_first();
            waiting.dropped += 1;
        }
        drop(waiting);
        self.came.notify_one();
    }

    /// The first ones, at most so many, with the number of the last of them; waits until there is
    /// one.
    pub async fn first(&self, most: usize) -> (u64, Vec<Packed>) {
        loop {
            let came = self.came.notified();
            {
                let waiting = self.lock();
                let first: Vec<&(u64, Packed)> = waiting.reports.iter().take(most.max(1)).collect();
                if let Some((number, _)) = first.last() {
                    return (*number, first.iter().map(|(_, report)| report.clone()).collect());
                }
            }
            came.await;
        }
    }

    /// They arrived, up to the one with this number.
    pub fn arrived(&self, number: u64) {
        self.lock().remove_up_to(number);
    }

    /// Nobody will ever take them, up to the one with this number.
    pub fn give_up(&self, number: u64) {
        let mut waiting = self.lock();
        waiting.dropped += waiting.remove_up_to(number);
    }

    /// Whether there is nobody who takes reports. Then no more than the newest is kept.
    pub fn set_idle(&self, is_idle: bool) {
        self.lock().is_idle = is_idle;
    }

    /// How many were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().reports.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Removes them up to this number, and tells how many they were.
    fn remove_up_to(&mut self, number: u64) -> u64 {
        let mut removed = 0;
        while self.reports.front().is_some_and(|(first, _)| *first <= number) {
            self.remove_first();
            removed += 1;
        }
        removed
    }

    fn remove_first(&mut self) {
        if let Some((_, report)) = self.reports.pop_front() {
            self.bytes = self.bytes.saturating_sub(report.json.len());
        }
    }
}
