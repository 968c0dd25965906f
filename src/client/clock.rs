//! How far this machine's clock is from the one of whoever answers, by the reply's `Date`.
//!
//! Invariant: what is told is the least that the two can differ by. The server may have written
//! its date at any moment between the question and the answer, so a slow answer shows no
//! difference that is not there. The time in between is counted by a clock that nobody can set.
//! An answer that took long says too little to be compared: it would make a difference look
//! smaller than the answer before it did.

use chrono::DateTime;
use reqwest::header::{AGE, DATE, HeaderMap};
use std::time::{Duration, Instant, SystemTime};

/// The longest time in which the server may have written its date. Who tells a difference of
/// minutes is not misled by less.
const LONGEST_DOUBT: Duration = Duration::from_secs(60);

/// By how much this machine's clock is ahead of the other, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockDifference {
    /// This machine's clock is later by this much. Zero when they agree.
    Ahead(Duration),
    /// It is earlier by this much.
    Behind(Duration),
}

impl ClockDifference {
    /// Its size.
    pub fn size(self) -> Duration {
        match self {
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }

    /// How far the two differences are from each other.
    pub fn from(self, other: Self) -> Duration {
        match (self, other) {
            (Self::Ahead(a), Self::Ahead(b)) | (Self::Behind(a), Self::Behind(b)) => a.abs_diff(b),
            _ => self.size() + other.size(),
        }
    }

    /// From a reply that has just come and was not written before `since`; none when the reply has
    /// no date, took long, or is a copy that a cache kept.
    pub(super) fn of(headers: &HeaderMap, since: Instant, now: SystemTime) -> Option<Self> {
        let doubt = since.elapsed();
        if doubt > LONGEST_DOUBT || headers.contains_key(AGE) {
            return None;
        }
        let date = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
        let date = SystemTime::from(date);
        // A date has no fractions of its second.
        let earliest = now.checked_sub(doubt + Duration::from_secs(1))?;
        Some(match (earliest.duration_since(date), date.duration_since(now)) {
            (Ok(ahead), _) => Self::Ahead(ahead),
            (_, Ok(behind)) => Self::Behind(behind),
            _ => Self::Ahead(Duration::ZERO),
        })
    }
}
