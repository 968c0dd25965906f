//! Byte values: `512m`, `1gb`, `1.5 GiB`, or a number of bytes. As in Compose, every unit is a power
//! of 1024.

use super::super::decimal::scaled;
use super::super::fields::{Unknown, clip};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The most bytes of any value, a pebibyte: far beyond any device, and exact in every JSON reader.
pub const MAX_BYTES: u64 = 1 << 50;
/// The least memory that Docker starts a container with.
pub const MIN_MEMORY_BYTES: u64 = 6 << 20;

const EXPECTED: &str = "a number of bytes, or one with a unit, as in `512m` or `1gb`";

/// The most memory of a container, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MemoryLimit(pub u64);

impl OptionValue for MemoryLimit {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let bytes = bytes(&value)?;
        if bytes < MIN_MEMORY_BYTES {
            return Err(format!("must be at least `6m`, the least Docker takes, got {value}"));
        }
        Ok(Self(bytes))
    }
}

/// The size of `/dev/shm`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ShmSize(pub u64);

impl OptionValue for ShmSize {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        match bytes(&value)? {
            0 => Err("must be more than 0; `null` is Docker's default, 64m".to_owned()),
            bytes => Ok(Self(bytes)),
        }
    }
}

/// Reads a byte value of at most [`MAX_BYTES`].
fn bytes(value: &Value) -> Result<u64, String> {
    let bytes = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => parse(text, 1024),
        _ => None,
    };
    let shown = clip(&value.to_string());
    let bytes = bytes.ok_or_else(|| format!("must be {EXPECTED}, got {shown}"))?;
    if bytes > MAX_BYTES {
        return Err(format!("must be at most 1024 TB, got {shown}"));
    }
    Ok(bytes)
}

/// Reads an amount with or without a unit, of powers of `base`. The form is the one that Docker's
/// own tools read.
pub(super) fn parse(text: &str, base: u64) -> Option<u64> {
    let amount_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (amount, unit) = text.split_at(amount_end);
    if !amount.starts_with(|c: char| c.is_ascii_digit()) || amount.ends_with('.') {
        return None;
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 1,
        "m" | "mb" | "mi" | "mib" => 2,
        "g" | "gb" | "gi" | "gib" => 3,
        "t" | "tb" | "ti" | "tib" => 4,
        "p" | "pb" | "pi" | "pib" => 5,
        _ => return None,
    };
    scaled(amount, base.checked_pow(power)?)
}
