//! Learning the desired state from the manager.
//!
//! Invariants: only a complete, valid 200 is ever accepted; what was accepted is on disk before it
//! is acted on, if the disk can be written at all; an answer that is older than the accepted one
//! is not acted on before it has stayed older for long ([`judge`]); neither a failure nor the
//! manager's clock changes anything but the wait and the log.

use super::jittered;
use super::state::{Accepted, AcceptedFile};
use super::trouble::{ClockWatch, Failure, Outage};
use crate::client::{Client, Info};
use crate::model::{Desired, Revision};
use crate::reconcile::{Acceptance, judge};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The wait after the first failed check-in; each further failure doubles it up to the check-in
/// time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest that a manager's `Retry-After` is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The desired state, when there is one.
pub(super) type DesiredWatch = watch::Receiver<Option<Arc<Desired>>>;

/// The check-ins of one device.
pub(super) struct CheckIn {
    client: Client,
    group: String,
    interval: Duration,
    file: AcceptedFile,
    accepted: Option<Revision>,
    etag: Option<String>,
    /// Since when every answer has been older than the accepted one.
    older_since: Option<Instant>,
    outage: Outage,
    clock: ClockWatch,
    desired: watch::Sender<Option<Arc<Desired>>>,
    asked: CancellationToken,
}

impl CheckIn {
    /// Begins with what was accepted before the restart.
    pub(super) fn new(
        client: Client,
        group: String,
        interval: Duration,
        file: AcceptedFile,
    ) -> (Self, DesiredWatch) {
        let kept = file.read(&group);
        let (etag, kept) = kept.map_or((None, None), |(etag, desired)| (etag, Some(desired)));
        if let Some(desired) = &kept {
            info!(apps = desired.apps.len(), "last accepted state read from disk");
        }
        let accepted = kept.as_ref().and_then(|desired| desired.revision);
        let (sender, receiver) = watch::channel(kept.map(Arc::new));
        let checkin = Self {
            client,
            group,
            interval,
            file,
            accepted,
            etag,
            older_since: None,
            outage: Outage::default(),
            clock: ClockWatch::default(),
            desired: sender,
            asked: CancellationToken::new(),
        };
        (checkin, receiver)
    }

    /// Is cancelled when the manager was asked for the first time, whatever came of it.
    pub(super) fn asked(&self) -> CancellationToken {
        self.asked.clone()
    }

    /// Checks in until the shutdown.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let checked_in = tokio::select! {
                () = shutdown.cancelled() => return,
                answer = self.client.info_and_clock(&self.group, self.etag.as_deref()) => answer,
            };
            let wait = match checked_in {
                Ok((info, difference)) => {
                    self.clock.compare(difference);
                    self.answered(info)
                }
                Err(error) => {
                    let failure = Failure::of(&error, self.client.url());
                    self.retry(failure, error.retry_after())
                }
            };
            self.asked.cancel();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn answered(&mut self, answer: Info) -> Duration {
        let judged = match answer {
            Info::NotModified => {
                self.older_since = None;
                Ok(())
            }
            Info::Answer { bytes, etag } => self.judge(&bytes, etag),
        };
        if let Err(reason) = judged {
            return self.retry(Failure::of_answer(reason), None);
        }
        self.outage.end();
        jittered(self.interval)
    }

    fn judge(&mut self, bytes: &[u8], etag: Option<String>) -> Result<(), String> {
        let desired = Desired::decode(bytes).map_err(|error| error.to_string())?;
        let older_for = self.older_since.map_or(Duration::ZERO, |since| since.elapsed());
        let older_for_ms = u64::try_from(older_for.as_millis()).unwrap_or(u64::MAX);
        match judge(self.accepted, desired.revision, older_for_ms) {
            Acceptance::Accept => self.accept(bytes, etag, desired),
            Acceptance::KeepNewer => {
                if self.older_since.is_none() {
                    warn!("answer is older than the accepted state and is not acted on yet");
                    self.older_since = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, bytes: &[u8], etag: Option<String>, desired: Desired) {
        self.older_since = None;
        self.accepted = desired.revision;
        info!(
            device_group_id = desired.device_group_id,
            revision = desired.revision.map(|revision| revision.0),
            apps = desired.apps.len(),
            "new desired state accepted"
        );
        let accepted = Accepted { group: &self.group, etag: etag.as_deref(), answer: bytes };
        // A full disk must not stop a device from being changed. The answer is asked for again
        // after a restart, because its tag was not kept either.
        if let Err(error) = self.file.write(&accepted) {
            warn!(%error, cause = error.cause(), "accepted state could not be kept on disk");
        }
        self.etag = etag;
        self.desired.send_replace(Some(Arc::new(desired)));
    }

    /// What runs is kept whatever the reason.
    fn retry(&mut self, failure: Failure, retry_after: Option<Duration>) -> Duration {
        let failures = self.outage.goes_on(failure);
        let doubled = FIRST_RETRY.saturating_mul(1 << failures.min(10));
        let wait = doubled.min(self.interval);
        let wait = retry_after.map_or(wait, |after| after.clamp(wait, LONGEST_RETRY_AFTER));
        jittered(wait)
    }
}
