//! Points of time, as people write and read them.

use crate::clock::unix_seconds;

/// Seconds of each unit of an age.
const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// Reads a length of time into seconds, with its unit: `90s`, `24h`.
pub(super) fn length(text: &str) -> Option<i64> {
    UNITS.iter().find_map(|(unit, seconds)| {
        let count: u32 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(i64::from(count) * seconds)
    })
}

/// Reads a point of time into seconds since 1970: those, a date with time and zone, or how long
/// ago.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let ago = length(text).map(|seconds| unix_seconds() - seconds);
    if let Some(seconds) = ago.or_else(|| text.parse().ok()) {
        return Ok(seconds);
    }
    // The database's own type, for the calendar that stands behind it.
    let date = bson::DateTime::parse_rfc3339_str(text);
    date.map(|date| date.timestamp_millis().div_euclid(1_000)).map_err(|_| {
        "expected an age such as `10m`, `2h` or `1d`, a time such as `2026-01-31T12:00:00Z`, or \
         seconds since 1970"
            .to_owned()
    })
}

/// Seconds since 1970 as a person reads them, and as `parse` does.
pub(super) fn shown(seconds: i64) -> String {
    let date = seconds.checked_mul(1_000).map(bson::DateTime::from_millis);
    let text = date.and_then(|date| date.try_to_rfc3339_string().ok());
    text.unwrap_or_else(|| seconds.to_string())
}
