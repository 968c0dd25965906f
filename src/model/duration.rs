//! Durations as the Compose specification writes them: `10s`, `1m30s`, `500ms`, `2h`, `2.5s`.

use super::decimal::scaled;
use super::fields::{clip, string};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The units, with how many microseconds each has.
const UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

/// The longest text: each unit once with all digits of use is shorter.
const MAX_LENGTH: usize = 100;

/// A checked duration. It prints as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeDuration {
    given: String,
    microseconds: u64,
}

impl ComposeDuration {
    /// Reads a duration of at most this many ms.
    pub(super) fn decode(value: Value, most_ms: u64) -> Result<Self, String> {
        let given = string(value).map_err(|reason| format!("{reason}; write `30s` or `1m30s`"))?;
        let Some(microseconds) = parse(&given) else {
            let form = "a duration like `10s`, `1m30s` or `500ms`";
            return Err(format!("`{}` is not {form}", clip(&given)));
        };
        if microseconds > most_ms.saturating_mul(1_000) {
            return Err(format!("`{}` is longer than {} s", clip(&given), most_ms / 1_000));
        }
        Ok(Self { given, microseconds })
    }

    /// In ms, rounded down.
    pub fn as_ms(&self) -> u64 {
        self.microseconds / 1_000
    }

    /// In microseconds.
    pub fn as_microseconds(&self) -> u64 {
        self.microseconds
    }

    /// In seconds, a begun one counted whole.
    pub fn as_seconds_up(&self) -> u64 {
        self.microseconds.div_ceil(1_000_000)
    }

    /// For a hash: how long it is, however it was written.
    pub(super) fn serialize_length<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.microseconds)
    }
}

impl Serialize for ComposeDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.given)
    }
}

/// Numbers with units, one after the other. A zero needs no unit.
fn parse(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    if text.len() > MAX_LENGTH {
        return None;
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let per_unit = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, per_unit)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}
