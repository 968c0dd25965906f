//! How it is found out whether a container is well. What is not given is the image's.

use super::super::duration::ComposeDuration;
use super::super::fields::{Fields, Unknown, boolean, clip, unsigned};
use super::OptionValue;
use super::command::word_list;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// The longest interval, timeout or start period: a check less often than once a day is none.
pub const MAX_CHECK_SECONDS: u64 = 86_400;
/// The most failures in a row before a container counts as unhealthy.
pub const MAX_RETRIES: u64 = 1_000;
const KEYS: [&str; 7] =
    ["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"];

/// A health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", command]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// From one check to the next.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "length")]
    pub interval: Option<ComposeDuration>,
    /// How long one may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "length")]
    pub timeout: Option<ComposeDuration>,
    /// How many failures in a row make it unhealthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// How long after the start failures do not count.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "length")]
    pub start_period: Option<ComposeDuration>,
    /// From one check to the next in that time.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "length")]
    pub start_interval: Option<ComposeDuration>,
}

impl OptionValue for HealthCheck {
    fn decode(value: Value, unknown: Unknown) -> Result<Self, String> {
        if value.as_object().is_some_and(Map::is_empty) {
            return Err(format!("must set one of {}", KEYS.join(", ")));
        }
        let mut fields = Fields::inner(value)?;
        let check = Self {
            test: fields.take("test", test),
            interval: fields.take("interval", interval),
            timeout: fields.take("timeout", interval),
            retries: fields.take("retries", |value| retries(&value)),
            start_period: fields.take("start_period", start_period),
            start_interval: fields.take("start_interval", interval),
        };
        let is_disabled = fields.take("disable", boolean).unwrap_or(false);
        fields.finish_inner(unknown, &KEYS)?;
        match (is_disabled, &check.test) {
            (true, Some(_)) => Err("must not have a test and be disabled: take one out".to_owned()),
            (true, None) => Ok(Self { test: Some(vec!["NONE".to_owned()]), ..check }),
            (false, _) => Ok(check),
        }
    }
}

fn duration(value: Value) -> Result<ComposeDuration, String> {
    ComposeDuration::decode(value, MAX_CHECK_SECONDS * 1_000)
}

/// Docker takes none at all, or one of a millisecond and more.
fn start_period(value: Value) -> Result<ComposeDuration, String> {
    let duration = duration(value)?;
    if duration.as_ms() == 0 && duration.as_microseconds() > 0 {
        return Err("must be `0s` or at least `1ms`".to_owned());
    }
    Ok(duration)
}

/// One that Docker does not take for "as the image says".
fn interval(value: Value) -> Result<ComposeDuration, String> {
    let duration = duration(value)?;
    if duration.as_ms() == 0 {
        return Err("must be at least `1ms`; left out, it is the image's".to_owned());
    }
    Ok(duration)
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn length<S: Serializer>(
    duration: &Option<ComposeDuration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => duration.serialize_length(serializer),
        None => serializer.serialize_none(),
    }
}

fn retries(value: &Value) -> Result<u32, String> {
    let retries = unsigned(value)?;
    u32::try_from(retries)
        .ok()
        .filter(|_| (1..=MAX_RETRIES).contains(&retries))
        .ok_or_else(|| format!("must be from 1 to {MAX_RETRIES}, got {retries}"))
}

/// A string is a command for the shell of the container.
fn test(value: Value) -> Result<Vec<String>, String> {
    let value = match value {
        Value::String(command) => serde_json::json!(["CMD-SHELL", command]),
        other => other,
    };
    let words = word_list(value)?;
    let words_after =
        |kind: &str| words.first().filter(|first| *first == kind).map(|_| &words[1..]);
    let fits = words_after("NONE").is_some_and(<[String]>::is_empty)
        || words_after("CMD").is_some_and(|rest| rest.first().is_some_and(|word| !word.is_empty()))
        || words_after("CMD-SHELL")
            .is_some_and(|rest| matches!(rest, [command] if !command.trim().is_empty()));
    if fits {
        return Ok(words);
    }
    let shown = clip(words.first().map_or("", String::as_str));
    Err(format!(
        "must be a command, or a list: [\"NONE\"], [\"CMD\", words...] or \
         [\"CMD-SHELL\", command], got one that begins with `{shown}`"
    ))
}
