//! What is told of check-ins that fail, and of a clock that is wrong.
//!
//! What it is not: it acts on nothing. A device that cannot reach its manager for a week keeps
//! what it runs, and its log on flash tells each reason, not each try.
//!
//! Invariants: within one outage a reason that lasts is told once, and one that comes back among
//! others is told again after [`TOLD_AGAIN_AFTER`] at the earliest, so that a bad line does not
//! fill the disk; what is remembered is bounded by the kinds of failure there are.

use crate::client::{ClientError, ClockDifference, Problem, in_words};
use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// When a reason that alternates with others is told again. An hour of a bad line is one story.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(3_600);
/// From which difference on a clock is wrong. Slow networks and clocks without a time server stay
/// under it; certificates and cron jobs do not mind it.
const WRONG_CLOCK: Duration = Duration::from_secs(300);
/// Under which difference a clock is right again, lower so that one at the limit is told once.
const RIGHT_CLOCK: Duration = Duration::from_secs(240);

/// What makes two failures the same: not their text, which may hold a page with a number of its
/// own for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    /// None where the answer came whole and could not be understood.
    error: Option<Discriminant<ClientError>>,
    status: Option<u16>,
    problem: Option<Problem>,
}

/// Why a check-in failed.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    reason: String,
    hint: Option<String>,
}

impl Failure {
    /// No answer. `url` is the one that was asked.
    pub(super) fn of(error: &ClientError, url: &str) -> Self {
        let status = match error {
            ClientError::Redirected { status, .. } | ClientError::NotJson { status, .. } => {
                Some(*status)
            }
            other => other.refusal().map(|refusal| refusal.status),
        };
        let kind = Kind { error: Some(discriminant(error)), status, problem: error.problem() };
        let causes = std::iter::successors(std::error::Error::source(error), |e| e.source());
        let reason = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Self { kind, reason, hint: hint(error, url) }
    }

    /// A complete answer that cannot be understood.
    pub(super) fn of_answer(reason: String) -> Self {
        let kind = Kind { error: None, status: None, problem: None };
        Self { kind, reason, hint: None }
    }
}

/// What to do about it, in this mode's keys.
fn hint(error: &ClientError, url: &str) -> Option<String> {
    let is_plain = url.starts_with("http://");
    let hint = match error {
        ClientError::Redirected { .. } => {
            "credentials are not sent there; if that is the manager, set it as `nebula_manager_uri`"
        }
        ClientError::NotJson { .. } => {
            "a network that asks for a login, or another service at the manager's address"
        }
        // Web servers answer so on their TLS port.
        ClientError::Refused(refusal) if is_plain && refusal.status == 400 => {
            "if the manager speaks TLS, set `nebula_manager_protocol` to `https`"
        }
        _ => match error.problem()? {
            Problem::NotTls => {
                "if the manager does not speak TLS, set `nebula_manager_protocol` to `http`"
            }
            Problem::NotHttp if is_plain => {
                "if the manager speaks TLS, set `nebula_manager_protocol` to `https`"
            }
            other => return other.advice(SystemTime::now()),
        },
    };
    Some(hint.to_owned())
}

/// Check-ins that fail, from the first of them to the next that works.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u32,
    last: Option<Kind>,
    told: HashMap<Kind, Instant>,
}

impl Outage {
    /// One more.
    pub(super) fn goes_on(&mut self, Failure { kind, reason, hint }: Failure) {
        let now = Instant::now();
        let is_new = self.last != Some(kind)
            && self.told.get(&kind).is_none_or(|told| now - *told >= TOLD_AGAIN_AFTER);
        if is_new {
            warn!(reason, hint, "check-in failed; what runs is kept");
            self.told.insert(kind, now);
        } else {
            debug!(reason, failures = self.failures, "check-in failed again");
        }
        self.last = Some(kind);
        self.failures = self.failures.saturating_add(1);
    }

    /// A check-in worked.
    pub(super) fn end(&mut self) {
        if self.failures > 0 {
            info!(failures = self.failures, "check-in works again");
        }
        *self = Self::default();
    }
}

/// The device's clock beside the manager's. Which of the two is right cannot be known here, so
/// the difference is told, and nothing follows from it.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    told: Option<ClockDifference>,
}

impl ClockWatch {
    /// Tells a difference when it begins, when it becomes another one, and when it ends.
    pub(super) fn compare(&mut self, difference: Option<ClockDifference>) {
        let Some(difference) = difference else { return };
        let size = difference.size();
        match self.told {
            Some(_) if size < RIGHT_CLOCK => {
                info!("the device's clock agrees with the manager's again");
                self.told = None;
            }
            _ if size <= WRONG_CLOCK => {}
            Some(told) if difference.from(told) <= WRONG_CLOCK => {}
            _ => {
                let direction = match difference {
                    ClockDifference::Ahead(_) => "ahead",
                    ClockDifference::Behind(_) => "behind",
                };
                warn!(
                    seconds = size.as_secs(),
                    direction,
                    device_clock = in_words(SystemTime::now()),
                    "the device's clock differs from the manager's; cron jobs follow the device's"
                );
                self.told = Some(difference);
            }
        }
    }
}
