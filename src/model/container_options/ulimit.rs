//! The kernel's limits on a process: `{"nofile": 1024}`, `{"nofile": {"soft": 1024, "hard": 2048}}`.

use super::super::fields::{Fields, Unknown, clip, kind, object};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The names that Docker knows.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    NOFILE,
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// The highest limit, exact in every JSON reader.
pub const MAX_LIMIT: i64 = (1 << 53) - 1;
/// Linux refuses more open files than this, "no limit" included.
const MAX_OPEN_FILES: i64 = 2_147_483_584;
const NOFILE: &str = "nofile";

/// A limit that a process may raise by itself, up to the hard one; -1 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// Where it stands.
    pub soft: i64,
    /// How far it may be raised.
    pub hard: i64,
}

/// Limits by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ulimits(pub BTreeMap<String, Ulimit>);

impl OptionValue for Ulimits {
    fn decode(value: Value, unknown: Unknown) -> Result<Self, String> {
        let read = |(name, value): (String, Value)| {
            if !ULIMITS.contains(&name.as_str()) {
                let known = ULIMITS.join(", ");
                return Err(format!("unknown limit `{}`, expected one of {known}", clip(&name)));
            }
            let limit = Ulimit::decode(value, &name, unknown)
                .map_err(|reason| format!("`{name}` {reason}"))?;
            Ok((name, limit))
        };
        object(value)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl Ulimit {
    fn decode(value: Value, name: &str, unknown: Unknown) -> Result<Self, String> {
        let limit = match value {
            Value::Number(_) => number(&value).map(|both| Self { soft: both, hard: both })?,
            Value::Object(_) => {
                let mut fields = Fields::inner(value)?;
                let soft = fields.required("soft", |value| number(&value));
                let hard = fields.required("hard", |value| number(&value));
                fields.finish_inner(unknown, &["soft", "hard"])?;
                let refused = |invalid: super::super::fields::Invalid| invalid.to_string();
                Self { soft: soft.map_err(refused)?, hard: hard.map_err(refused)? }
            }
            other => {
                return Err(format!("must be a number or soft and hard, got {}", kind(&other)));
            }
        };
        if name == NOFILE && !(0..=MAX_OPEN_FILES).contains(&limit.hard) {
            return Err(format!(
                "must be at most {MAX_OPEN_FILES}; Linux knows no \"no limit\" here"
            ));
        }
        let is_unlimited = |limit| limit == -1;
        if !is_unlimited(limit.hard) && (is_unlimited(limit.soft) || limit.soft > limit.hard) {
            return Err("must not have a soft limit above the hard one".to_owned());
        }
        Ok(limit)
    }
}

fn number(value: &Value) -> Result<i64, String> {
    value.as_i64().filter(|limit| (-1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
        let shown = clip(&value.to_string());
        format!("must be a whole number from 0 to {MAX_LIMIT}, or -1 for no limit, got {shown}")
    })
}
