//! Token buckets by key: how much somebody may do at once and over time. Whoever keeps one knows
//! what it counts.
//!
//! Invariant: there are at most so many buckets, however many keys there are; one that is dropped
//! starts again full.

use moka::sync::Cache;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What one bucket allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// At once.
    pub(super) burst: f64,
    /// And then one in this time, in seconds.
    pub(super) seconds: f64,
}

/// Buckets of many keys.
#[derive(Debug)]
pub(super) struct Buckets {
    buckets: Cache<u64, Arc<Bucket>>,
    hasher: RandomState,
}

/// What is left of one.
#[derive(Debug)]
pub(super) struct Bucket {
    rule: Rule,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    left: f64,
    at: Instant,
}

impl Buckets {
    /// So many at most; one that nobody asked for in this time is full again anyway.
    pub(super) fn new(most: u64, idle: Duration) -> Self {
        let buckets = Cache::builder().max_capacity(most).time_to_idle(idle).build();
        Self { buckets, hasher: RandomState::new() }
    }

    /// The bucket of a key, full at first.
    pub(super) fn of(&self, key: impl Hash, rule: Rule) -> Arc<Bucket> {
        let full = || {
            let level = Level { left: rule.burst, at: Instant::now() };
            Arc::new(Bucket { rule, level: Mutex::new(level) })
        };
        self.buckets.get_with(self.hasher.hash_one(key), full)
    }
}

impl Bucket {
    /// Takes so much, or nothing; then the error is when there will be enough.
    pub(super) fn take(&self, number: f64) -> Result<(), Duration> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.duration_since(level.at).as_secs_f64();
        level.left = (level.left + passed / self.rule.seconds).min(self.rule.burst);
        level.at = now;
        if level.left < number {
            return Err(Duration::from_secs_f64((number - level.left) * self.rule.seconds));
        }
        level.left -= number;
        Ok(())
    }

    /// It was not used after all.
    pub(super) fn give_back(&self, number: f64) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.left = (level.left + number).min(self.rule.burst);
    }
}
