//! How a container is asked to end: by a signal, by name or number (`SIGTERM`, `quit`, `15`, `RTMIN+3`),
//! and how long it has before it is killed.

use super::super::duration::ComposeDuration;
use super::super::fields::{Unknown, clip, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The longest grace of a stop: whoever waits for a stop waits for no longer.
pub const MAX_GRACE_SECONDS: u64 = 3_600;

/// How long a container has to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct GracePeriod(
    #[serde(serialize_with = "ComposeDuration::serialize_length")] pub ComposeDuration,
);

impl OptionValue for GracePeriod {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        ComposeDuration::decode(value, MAX_GRACE_SECONDS * 1_000).map(Self)
    }
}

/// Linux's signals up to 31, by number less one; two have a second name.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const SECOND_NAMES: [(&str, &str); 4] =
    [("IOT", "ABRT"), ("POLL", "IO"), ("CLD", "CHLD"), ("UNUSED", "SYS")];
/// The first and the last of the real-time ones that are a program's to use.
const REAL_TIME: std::ops::RangeInclusive<u8> = 34..=64;

/// A signal by its number, which every engine reads alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StopSignal(pub u8);

impl OptionValue for StopSignal {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let text = string(value).map_err(|reason| format!("{reason}; write `\"SIGTERM\"`"))?;
        number(&text).map(Self).ok_or_else(|| {
            let shown = clip(&text);
            format!("must be a signal of Linux, as in SIGTERM, SIGRTMIN+3 or 15, got `{shown}`")
        })
    }
}

fn number(text: &str) -> Option<u8> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=*REAL_TIME.end()).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok(),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let number = REAL_TIME.start().checked_add(offset(rest, '+')?)?;
        return REAL_TIME.contains(&number).then_some(number);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let number = REAL_TIME.end().checked_sub(offset(rest, '-')?)?;
        return REAL_TIME.contains(&number).then_some(number);
    }
    let name =
        SECOND_NAMES.iter().find(|(second, _)| *second == name).map_or(name, |(_, first)| first);
    let index = SIGNALS.iter().position(|known| *known == name)?;
    u8::try_from(index + 1).ok()
}
