//! What is counted here, as the devices see it.

use super::super::failure::Failure;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest time that is told apart, in microseconds. Longer ones count as this.
const LONGEST_US: u64 = 3_600_000_000;
/// Three digits: a percentile is told to a thousandth.
const DIGITS: u8 = 3;

/// What went wrong for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection came about.
    Connect,
    /// A connection ended before its answer began.
    Reset,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 429.
    TooMany,
    /// 503.
    Unavailable,
    /// Another status.
    Status,
    /// No whole answer in time.
    TimedOut,
    /// An answer broke off.
    Cut,
    /// An answer that is no desired state.
    Invalid,
    /// An answer that is older than what the device has.
    Stale,
}

impl Trouble {
    /// All of them, in the order in which they are told.
    pub(super) const ALL: [Self; 11] = [
        Self::Connect,
        Self::Reset,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TooMany,
        Self::Unavailable,
        Self::Status,
        Self::TimedOut,
        Self::Cut,
        Self::Invalid,
        Self::Stale,
    ];

    /// Its key in JSON.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Unauthorized => "401",
            Self::Forbidden => "403",
            Self::TooMany => "429",
            Self::Unavailable => "503",
            Self::Status => "other_status",
            Self::TimedOut => "timeout",
            Self::Cut => "cut_body",
            Self::Invalid => "invalid_answer",
            Self::Stale => "stale_answer",
        }
    }

    /// As a person reads it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Connect => "no connection",
            Self::Reset => "connection lost",
            Self::Unauthorized => "401, credentials refused",
            Self::Forbidden => "403, not permitted or no such group",
            Self::TooMany => "429, too many requests",
            Self::Unavailable => "503, unavailable",
            Self::Status => "another status",
            Self::TimedOut => "timed out",
            Self::Cut => "answer cut short",
            Self::Invalid => "answer is no desired state",
            Self::Stale => "answer older than the one before",
        }
    }
}

/// The counters of a run.
#[derive(Debug)]
pub(super) struct Figures {
    /// Devices that have had an answer.
    pub(super) ready: AtomicU64,
    /// Connections that are open.
    pub(super) open: AtomicU64,
    /// Connections ever made.
    pub(super) connections: AtomicU64,
    /// Whole answers, and their bytes.
    pub(super) whole: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Answers that said that nothing changed.
    pub(super) not_modified: AtomicU64,
    /// Containers that were started and stopped on all devices.
    pub(super) started: AtomicU64,
    pub(super) stopped: AtomicU64,
    /// Answers that the planner could not carry out.
    pub(super) unsettled: AtomicU64,
    /// Answers that were read and planned, and not known from another device.
    pub(super) plans: AtomicU64,
    errors: [AtomicU64; Trouble::ALL.len()],
    times: Mutex<Times>,
}

/// How long things took.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// From dialling to a connection on which can be asked.
    pub(super) connect: Histogram<u64>,
    /// From asking to the whole answer, of requests that were not parked.
    pub(super) check_in: Histogram<u64>,
    /// From sending a change to having read its 2xx.
    pub(super) change: Histogram<u64>,
    /// From having read a change's 2xx to a device's having read its whole new answer.
    pub(super) to_device: Histogram<u64>,
    /// The same from sending the change.
    pub(super) since_sent: Histogram<u64>,
}

impl Figures {
    pub(super) fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        let histogram = histogram.map_err(|error| Failure::new("cannot count").because(error))?;
        let times = Times {
            connect: histogram.clone(),
            check_in: histogram.clone(),
            change: histogram.clone(),
            to_device: histogram.clone(),
            since_sent: histogram,
        };
        Ok(Self {
            ready: AtomicU64::new(0),
            open: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            whole: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            not_modified: AtomicU64::new(0),
            started: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            unsettled: AtomicU64::new(0),
            plans: AtomicU64::new(0),
            errors: Default::default(),
            times: Mutex::new(times),
        })
    }

    pub(super) fn count(&self, trouble: Trouble) {
        let place = Trouble::ALL.iter().position(|known| *known == trouble);
        if let Some(counter) = place.and_then(|place| self.errors.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The errors that came about, with their numbers.
    pub(super) fn errors(&self) -> Vec<(Trouble, u64)> {
        let counts = self.errors.iter().map(|counter| counter.load(Relaxed));
        Trouble::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn connected(&self, took: Duration) {
        self.open.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
        record(&mut self.times().connect, took);
    }

    pub(super) fn checked_in(&self, took: Duration) {
        record(&mut self.times().check_in, took);
    }

    pub(super) fn changed(&self, took: Duration) {
        record(&mut self.times().change, took);
    }

    pub(super) fn arrived(&self, since_answered: Duration, since_sent: Duration) {
        let mut times = self.times();
        record(&mut times.to_device, since_answered);
        record(&mut times.since_sent, since_sent);
    }

    pub(super) fn planned(&self) {
        self.plans.fetch_add(1, Relaxed);
    }

    pub(super) fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(histogram: &mut Histogram<u64>, took: Duration) {
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(LONGEST_US);
    histogram.saturating_record(microseconds.max(1));
}
