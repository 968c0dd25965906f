//! How the replicas of an app are updated on a device, in the words of the Compose specification.
//!
//! Each key may be given or not, and a reply shows those that were given. What is not given
//! follows from the app: see [`UpdateConfig::parallelism`] and the others.

use super::duration::ComposeDuration;
use super::fields::{Fields, Optional, Unknown, unsigned, word};
use serde::Serialize;
use serde_json::Value;

/// The longest `delay` and `monitor`: a change that takes a day a replica is no update any more.
const LONGEST_MS: u64 = 86_400_000;
/// As many replicas as an app can have.
const MOST_AT_ONCE: u64 = 1_000;

const KEYS: [&str; 5] = ["parallelism", "delay", "monitor", "order", "failure_action"];

/// Which of a replica's two containers goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The old one stops before the new one starts.
    StopFirst,
    /// The new one starts beside the old one, unless both need the same port of the device.
    StartFirst,
}

/// What becomes of an update of which a replica failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// All replicas go back to the last version that was healthy on the device.
    #[default]
    Rollback,
    /// The replica goes back, the others stay where they are, and nothing more is updated.
    Pause,
    /// The replica goes back and is tried again later, and the others go on.
    Continue,
}

const ORDERS: [(&str, UpdateOrder); 2] =
    [("stop-first", UpdateOrder::StopFirst), ("start-first", UpdateOrder::StartFirst)];
const FAILURE_ACTIONS: [(&str, FailureAction); 3] = [
    ("pause", FailureAction::Pause),
    ("continue", FailureAction::Continue),
    ("rollback", FailureAction::Rollback),
];

/// How an app's replicas are updated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct UpdateConfig {
    /// How many at once; 0 is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u64>,
    /// How long to wait after one stays up before the next goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<ComposeDuration>,
    /// How long a new container must run, and be healthy, before it counts as staying up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<ComposeDuration>,
    /// Which container goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<UpdateOrder>,
    /// What becomes of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<FailureAction>,
}

impl UpdateConfig {
    /// Reads one.
    pub(super) fn decode(value: Value, unknown: Unknown) -> Result<Self, String> {
        let mut fields = Fields::inner(value)?;
        let decoded = Self {
            parallelism: Optional::take(&mut fields, "parallelism", |v| parallelism(&v))
                .after(None),
            delay: Optional::take(&mut fields, "delay", duration).after(None),
            monitor: Optional::take(&mut fields, "monitor", duration).after(None),
            order: Optional::take(&mut fields, "order", |v| word(v, &ORDERS)).after(None),
            failure_action: Optional::take(&mut fields, "failure_action", |v| {
                word(v, &FAILURE_ACTIONS)
            })
            .after(None),
        };
        fields.finish_inner(unknown, &KEYS)?;
        Ok(decoded)
    }
}

fn parallelism(value: &Value) -> Result<u64, String> {
    let number = unsigned(value)?;
    if number > MOST_AT_ONCE {
        return Err(format!("must be at most {MOST_AT_ONCE}, and 0 for all at once"));
    }
    Ok(number)
}

fn duration(value: Value) -> Result<ComposeDuration, String> {
    ComposeDuration::decode(value, LONGEST_MS)
}
