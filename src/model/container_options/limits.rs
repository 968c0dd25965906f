//! What a container may use of the device, and switches.

use super::super::decimal::scaled;
use super::super::fields::{Unknown, boolean, clip};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The least part of a processor that Docker takes.
pub const MIN_CPUS: f64 = 0.01;
/// The most processors: more than any device has.
pub const MAX_CPUS: f64 = 1_024.0;
/// The most processes that Linux can count.
pub const MAX_PIDS: i64 = 4_194_304;

/// Processors' time, in billionths of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cpus(pub u64);

impl OptionValue for Cpus {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        const BILLION: u64 = 1_000_000_000;
        let shown = clip(&value.to_string());
        let nanos = match &value {
            Value::Number(number) => number.as_f64().map(nanos_of),
            Value::String(text) => scaled(text, BILLION),
            _ => None,
        };
        let nanos = nanos.ok_or_else(|| format!("must be a number, as in 0.5, got {shown}"))?;
        if !(BILLION / 100..=1_024 * BILLION).contains(&nanos) {
            return Err(format!("must be from {MIN_CPUS} to {MAX_CPUS}, got {shown}"));
        }
        Ok(Self(nanos))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in bounds, and then rounded"
)]
fn nanos_of(cpus: f64) -> u64 {
    // Compared before it is rounded: a bound is the number that it is written as.
    if (MIN_CPUS..=MAX_CPUS).contains(&cpus) { (cpus * 1e9).round() as u64 } else { 0 }
}

/// The most processes; -1 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PidsLimit(pub i64);

impl OptionValue for PidsLimit {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        match value.as_i64() {
            Some(limit) if limit == -1 || (1..=MAX_PIDS).contains(&limit) => Ok(Self(limit)),
            _ => Err(format!(
                "must be a whole number from 1 to {MAX_PIDS}, or -1 for no limit, got {}",
                clip(&value.to_string())
            )),
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Switch(pub bool);

impl OptionValue for Switch {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        boolean(value).map(Self)
    }
}
