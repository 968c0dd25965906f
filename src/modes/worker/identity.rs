//! As whom this device asks the manager: as its configuration says, or with a credential of its own,
//! which it makes and enrolls by a one-time token.
//!
//! What it is not: it decides nothing about what the device runs, and neither a refusal nor a disk
//! that cannot be written ends or stops anything.
//!
//! Invariants: the device's own token is on disk before the manager is asked to accept it, and the
//! same token is asked for until there is an answer, so that the one-time token is used once
//! whenever the worker is killed; a credential that was accepted serves until another one is.

use super::certificates::CertificateWatch;
use super::config::{Config, ManagerCredentials};
use super::credential::{Credential, Credentials};
use super::pace::{Ended, How, Pace};
use super::state::CredentialFile;
use super::trouble::{AskedAs, Failure, Outage};
use crate::client::{self, Client, ClientError};
use crate::model::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// As whom this device asks.
pub(super) struct Identity {
    client: Client,
    certificates: Arc<CertificateWatch>,
    asked_as: AskedAs,
    enrollment: Option<Enrollment>,
    ready: CancellationToken,
}

impl Identity {
    /// Presents what there is, and begins to enroll where that is asked for and was not done.
    pub(super) fn new(
        config: &Config,
        client: &Client,
        certificates: Arc<CertificateWatch>,
        file: CredentialFile,
    ) -> Result<Self, ClientError> {
        let mut identity = Self {
            client: client.clone(),
            certificates,
            asked_as: AskedAs::Configured,
            enrollment: None,
            ready: CancellationToken::new(),
        };
        let configured = match &config.manager_credentials {
            ManagerCredentials::Basic(basic) => Some(client::Credentials::Basic {
                user: basic.user.clone(),
                password: basic.password.clone(),
            }),
            ManagerCredentials::Bearer(token) => Some(client::Credentials::Bearer(token.clone())),
            ManagerCredentials::None | ManagerCredentials::Enroll(_) => None,
        };
        if let Some(credentials) = configured {
            client.present(&credentials)?;
            identity.ready.cancel();
            return Ok(identity);
        }
        let (kept, may_enroll) = match file.read() {
            Ok(kept) => (kept.unwrap_or_default(), true),
            Err(error) => {
                warn!(%error, "this device's credential is there and cannot be read: give it to the worker's user");
                (Credentials::default(), false)
            }
        };
        let hostname = &config.hostname;
        let has_certificate = config.manager_tls.certificate.is_some();
        identity.asked_as = match (&config.manager_credentials, &kept.accepted) {
            (ManagerCredentials::Enroll(_), _) | (_, Some(_)) => AskedAs::Device,
            _ if has_certificate => AskedAs::Certificate,
            _ => AskedAs::Nobody,
        };
        if let Some(accepted) = &kept.accepted {
            client.present(&client::Credentials::Bearer(accepted.token()))?;
            tell_differences(accepted, config);
        }
        let enrollment = match &config.manager_credentials {
            ManagerCredentials::Enroll(token) => Some(token.clone()),
            _ => None,
        };
        let is_done = |token: &Secret<String>| {
            kept.accepted.as_ref().is_some_and(|accepted| accepted.is_for(hostname, token))
        };
        let enrollment = enrollment.filter(|token| may_enroll && !is_done(token));
        if enrollment.is_none() || kept.accepted.is_some() || has_certificate {
            identity.ready.cancel();
        }
        identity.enrollment = enrollment.map(|token| Enrollment {
            token,
            hostname: hostname.clone(),
            device_group: config.device_group.as_str().to_owned(),
            pace: Pace::new(config.check_in_time),
            outage: Outage::of("enrollment"),
            file,
            kept,
        });
        Ok(identity)
    }

    /// What the manager is told of who asks, once it is told anything.
    pub(super) fn asked_as(&self) -> AskedAs {
        self.asked_as
    }

    /// Is cancelled when there is something to ask the manager with, or nothing to wait for.
    pub(super) fn ready(&self) -> CancellationToken {
        self.ready.clone()
    }

    /// Enrolls, for as long as it takes. `asked` is told of the first try, whatever came of it.
    pub(super) async fn run(self, asked: CancellationToken, shutdown: CancellationToken) {
        let Some(mut enrollment) = self.enrollment else { return };
        let mut after = Duration::ZERO;
        loop {
            let Some(()) = shutdown.run_until_cancelled(sleep(after)).await else { return };
            self.certificates.look();
            let tried = shutdown.run_until_cancelled(enrollment.attempt(&self.client)).await;
            let Some(wait) = tried else { return };
            let Some(wait) = wait else {
                self.ready.cancel();
                return;
            };
            after = wait;
            asked.cancel();
        }
    }
}

/// A credential that was enrolled elsewhere, or as another device, is not what the configuration says.
fn tell_differences(accepted: &Credential, config: &Config) {
    let (hostname, group) = (config.hostname.as_str(), config.device_group.as_str());
    if accepted.hostname != hostname {
        warn!(
            enrolled_as = accepted.hostname,
            hostname,
            "this device was enrolled by another hostname and its reports are refused until it enrolls anew: \
             set `enrollment_token` to a new one, or `hostname` as it was"
        );
    }
    if let Some(enrolled_in) = accepted.device_group.as_deref()
        && enrolled_in != group
    {
        warn!(
            enrolled_in,
            device_group = group,
            "this device is enrolled in another device group than it is configured for: set \
             `device_group` to that one, or `enrollment_token` to one of this group"
        );
    }
}

/// An enrollment that is not over.
struct Enrollment {
    token: Secret<String>,
    hostname: String,
    device_group: String,
    pace: Pace,
    outage: Outage,
    file: CredentialFile,
    kept: Credentials,
}

impl Enrollment {
    /// One try. Returns how long to wait before the next one, or nothing when the device is enrolled.
    async fn attempt(&mut self, client: &Client) -> Option<Duration> {
        let begun = Instant::now();
        let (how, failure, retry_after) = match self.prepared() {
            Err(reason) => (How::Failed, Failure::in_words(reason), None),
            Ok(token) => match client.enroll(&self.token, &self.hostname, &token).await {
                Ok(group) => {
                    self.accepted(client, group, &token);
                    return None;
                }
                // The reply may be long lost, and the enrollment token have ended since.
                Err(ClientError::Unauthorized(_))
                    if client.is_enrolled(&self.device_group, &token).await =>
                {
                    self.accepted(client, self.device_group.clone(), &token);
                    return None;
                }
                Err(error) => {
                    let asked_as = AskedAs::Enrolling;
                    let failure = Failure::of(&error, client.url(), asked_as, &self.device_group);
                    (How::of(&error), failure, error.retry_after())
                }
            },
        };
        self.outage.goes_on(failure);
        let ended = Ended { wait: None, lived: begun.elapsed(), how, retry_after };
        Some(self.pace.next(&ended, Instant::now(), rand::random_range(0.0..1.0)).after)
    }

    /// The device's own token, which is on disk. Without that a worker that is killed after the
    /// manager has accepted it would stand there with a one-time token that is used up.
    fn prepared(&mut self) -> Result<Secret<String>, String> {
        let is_for_it = |asked: &&Credential| asked.is_for(&self.hostname, &self.token);
        if let Some(asked) = self.kept.asked.as_ref().filter(is_for_it) {
            return Ok(asked.token());
        }
        let asked = Credential::new(&self.hostname, &self.token);
        let token = asked.token();
        let kept = Credentials { accepted: self.kept.accepted.clone(), asked: Some(asked) };
        self.file.write(&kept).map_err(|error| format!("{error}: {}", error.cause()))?;
        self.kept = kept;
        Ok(token)
    }

    fn accepted(&mut self, client: &Client, group: String, token: &Secret<String>) {
        self.outage.end();
        // The form of our own tokens, which a header can carry.
        if let Err(error) = client.present(&client::Credentials::Bearer(token.clone())) {
            warn!(%error, "the credential cannot be presented");
        }
        let hostname = &self.hostname;
        info!(hostname, device_group = group, "device enrolled; it asks with its own credential");
        if group != self.device_group {
            warn!(
                enrolled_in = group,
                device_group = self.device_group,
                "the enrollment token is of another device group than this device is configured for: \
                 set `device_group` to that one"
            );
        }
        let mut accepted = self.kept.asked.take();
        if let Some(accepted) = &mut accepted {
            accepted.device_group = Some(group);
        }
        self.kept = Credentials { accepted, asked: None };
        // What is on disk serves as well: the next start asks once more and is answered the same.
        if let Err(error) = self.file.write(&self.kept) {
            let cause = error.cause();
            warn!(%error, cause, "the enrollment could not be kept on disk; it is repeated at the next start");
        }
    }
}
