//! What is told of check-ins and enrollments that fail, and of a clock that is wrong.
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

/// As whom the manager was asked, on which hangs what to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskedAs {
    /// With what the configuration says.
    Configured,
    /// As the device that the certificate names.
    Certificate,
    /// With the credential that the device enrolled.
    Device,
    /// With an enrollment token.
    Enrolling,
    /// Without credentials.
    Nobody,
}

impl AskedAs {
    /// What to do about a refusal.
    fn hint(self, error: &ClientError, group: &str) -> Option<String> {
        let new_token = format!(
            "make a new one with `nebula ctl device-groups enroll {group}` and start the worker with it as \
             `enrollment_token`"
        );
        let status = error.refusal().map(|refusal| refusal.status);
        Some(match (status, self) {
            (Some(401), Self::Enrolling) => format!(
                "the enrollment token is used up, has expired, or is another manager's: {new_token}"
            ),
            (Some(404), Self::Enrolling) => {
                "the manager knows no enrollment; give the device a user's token \
                 (`nebula_manager_auth_token`), or renew the manager"
                    .to_owned()
            }
            (Some(401), Self::Device) => format!(
                "this device's credential is revoked, or is another manager's; to let it in again, \
                 an enrollment token is needed: {new_token}"
            ),
            (Some(401), Self::Certificate) => {
                "this device's certificate is not accepted; is it of an authority in the manager's \
                 `tls_client_ca_file` and, if the device was revoked, issued after that?"
                    .to_owned()
            }
            (Some(403), Self::Device | Self::Certificate) => format!(
                "a device may ask for its own device group alone; is `{group}` the one that it was \
                 enrolled in, or that its certificate names (OU)?"
            ),
            (Some(401), Self::Configured) => {
                "look at `nebula_manager_auth_token`, or at `nebula_manager_auth_user` and its password"
                    .to_owned()
            }
            (Some(401), Self::Nobody) => format!(
                "the manager wants credentials; for one of the device's own, an enrollment token is \
                 needed: {new_token}"
            ),
            _ => return None,
        })
    }
}

/// Why a check-in failed, or an enrollment.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    reason: String,
    hint: Option<String>,
}

impl Failure {
    /// No answer. `url` is the one that was asked, `group` this device's.
    pub(super) fn of(error: &ClientError, url: &str, asked_as: AskedAs, group: &str) -> Self {
        let status = match error {
            ClientError::Redirected { status, .. } | ClientError::NotJson { status, .. } => {
                Some(*status)
            }
            other => other.refusal().map(|refusal| refusal.status),
        };
        let kind = Kind { error: Some(discriminant(error)), status, problem: error.problem() };
        let causes = std::iter::successors(std::error::Error::source(error), |e| e.source());
        let reason = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        let hint = asked_as.hint(error, group).or_else(|| hint(error, url));
        Self { kind, reason, hint }
    }

    /// What is no error of a request, such as a complete answer that cannot be understood.
    pub(super) fn in_words(reason: String) -> Self {
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
            Problem::UnknownAuthority => {
                "set `manager_ca_file` to the PEM file of the authority that the manager's certificate is of"
            }
            Problem::OwnCertificate => {
                "look at `manager_cert_file`: its dates, and whether its authority is in the manager's \
                 `tls_client_ca_file`"
            }
            other => return other.advice(SystemTime::now()),
        },
    };
    Some(hint.to_owned())
}

/// Check-ins or enrollments that fail, from the first of them to the next that works.
#[derive(Debug)]
pub(super) struct Outage {
    /// What fails.
    what: &'static str,
    failures: u32,
    last: Option<Kind>,
    told: HashMap<Kind, Instant>,
}

impl Outage {
    /// There is none yet.
    pub(super) fn of(what: &'static str) -> Self {
        Self { what, failures: 0, last: None, told: HashMap::new() }
    }

    /// One more.
    pub(super) fn goes_on(&mut self, Failure { kind, reason, hint }: Failure) {
        let now = Instant::now();
        let is_new = self.last != Some(kind)
            && self.told.get(&kind).is_none_or(|told| now - *told >= TOLD_AGAIN_AFTER);
        if is_new {
            warn!(reason, hint, "{} failed; what runs is kept", self.what);
            self.told.insert(kind, now);
        } else {
            debug!(reason, failures = self.failures, "{} failed again", self.what);
        }
        self.last = Some(kind);
        self.failures = self.failures.saturating_add(1);
    }

    /// It worked.
    pub(super) fn end(&mut self) {
        if self.failures > 0 {
            info!(failures = self.failures, "{} works again", self.what);
        }
        *self = Self::of(self.what);
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
