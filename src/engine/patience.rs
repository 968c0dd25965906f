//! A registry that is asked too often, as Docker tells of it.
//!
//! Docker does not pass on the head of a registry's answer, so its `Retry-After` cannot be had
//! through it; what is passed on are words. They are those of the error in the registry's answer
//! (`toomanyrequests: ...`), or Docker's own about an answer that it could not read. Some
//! registries put into their words how long they ask to be left alone.

use super::EngineError;
use std::time::Duration;

/// What every engine from 20.10 on says in one of its ways, in lower case.
const SIGNS: [&str; 4] =
    ["toomanyrequests", "too many requests", "http 429 ", "unexpected http status: 429"];
/// What stands before the wait, where a registry's words tell one.
const RETRY_AFTER: &str = "retry-after:";
/// The longest wait that a registry is believed: the windows that registries count in are hours.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The error of a pull, told apart when it says that the registry is asked too often.
pub(super) fn of(error: EngineError) -> EngineError {
    match error {
        EngineError::Refused { message, .. } if is_asked_too_often(&message) => {
            let retry_after = retry_after(&message);
            EngineError::TooManyRequests { message, retry_after }
        }
        other => other,
    }
}

fn is_asked_too_often(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// The wait in a registry's words: a number of seconds, or one with units (`1m30s`, `985.86µs`).
fn retry_after(message: &str) -> Option<Duration> {
    let at = message.to_ascii_lowercase().find(RETRY_AFTER)? + RETRY_AFTER.len();
    let word = message.get(at..)?.split_whitespace().next()?.trim_end_matches([',', ';', '.']);
    let seconds = word.parse().ok().or_else(|| with_units(word))?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST))
}

fn with_units(mut word: &str) -> Option<f64> {
    let mut seconds = 0.0;
    while !word.is_empty() {
        let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = word.split_at(digits);
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(end);
        let unit = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        word = rest;
    }
    Some(seconds)
}
