//! Durations as the Compose specification writes them: `10s`, `1m30s`, `500ms`, `2h`, `2.5s`.

use super::fields::{clip, string};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The units, with how many microseconds each has.
const UNITS: [(&str, u64); 5] =
    [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

/// A checked duration. It prints as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeDuration {
    given: String,
    microseconds: u64,
}

impl ComposeDuration {
    /// Reads a duration of at most this many ms.
    pub(super) fn decode(value: Value, most_ms: u64) -> Result<Self, String> {
        let given = string(value)?;
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

/// A decimal number times a unit, without the rounding of floats.
fn scaled(number: &str, per_unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Nine digits are finer than any unit needs.
    let fraction = &fraction[..fraction.len().min(9)];
    let digits = u32::try_from(fraction.len()).ok()?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = u64::try_from(part * u128::from(per_unit) / 10_u128.pow(digits)).ok()?;
    whole.checked_mul(per_unit)?.checked_add(part)
}
