//! The wall clock, as it is written down and sent: counted from 1970, in UTC.
//!
//! What it is not: a measure of time that passes. It is set and corrected under our feet; waits and
//! ages use `Instant`. The planner reads no clock at all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970; never negative.
pub fn unix_seconds() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Now, in milliseconds since 1970; never negative.
pub fn unix_ms() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

/// Now, as a time since 1970. A clock before that counts as 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
