//! Learning the desired state from the manager.
//!
//! What it is not: when the manager is asked, and whether it is to wait for news, is [`super::pace`]'s.
//!
//! Invariants: only a complete, valid 200 is ever accepted; what was accepted is on disk before it
//! is acted on, if the disk can be written at all; an answer that is older than the accepted one
//! is not acted on before it has stayed older for long ([`judge`]); neither a failure nor the
//! manager's clock changes anything but the wait and the log.

use super::certificates::CertificateWatch;
use super::monitor::Monitor;
use super::pace::{Ended, How, Next, Pace};
use super::state::{Accepted, AcceptedFile};
use super::trouble::{AskedAs, ClockWatch, Failure, Outage};
use crate::client::{CheckedIn, Client, ClientError, Info};
use crate::model::{Desired, Revision};
use crate::reconcile::{Acceptance, judge};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The desired state, when there is one.
pub(super) type DesiredWatch = watch::Receiver<Option<Arc<Desired>>>;

/// The check-ins of one device.
pub(super) struct CheckIn {
    client: Client,
    certificates: Arc<CertificateWatch>,
    asked_as: AskedAs,
    group: String,
    pace: Pace,
    file: AcceptedFile,
    accepted: Option<Revision>,
    etag: Option<String>,
    /// False when the disk could not be written.
    is_on_disk: bool,
    /// Since when every answer has been older than the accepted one.
    older_since: Option<Instant>,
    outage: Outage,
    /// Whether an outage goes on.
    is_away: Arc<AtomicBool>,
    clock: ClockWatch,
    desired: watch::Sender<Option<Arc<Desired>>>,
    asked: CancellationToken,
}

impl CheckIn {
    /// Begins with what was accepted before the restart.
    pub(super) fn new(
        client: Client,
        certificates: Arc<CertificateWatch>,
        asked_as: AskedAs,
        (group, check_in_time): (String, Duration),
        file: AcceptedFile,
    ) -> (Self, DesiredWatch) {
        let kept = file.read(&group);
        let (etag, kept) = kept.map_or((None, None), |(etag, desired)| (etag, Some(desired)));
        if let Some(desired) = &kept {
            info!(apps = desired.apps.len(), "last accepted state read from disk");
        }
        let accepted = kept.as_ref().and_then(|desired| desired.revision);
        let is_on_disk = kept.is_some();
        let (sender, receiver) = watch::channel(kept.map(Arc::new));
        let checkin = Self {
            client,
            certificates,
            asked_as,
            group,
            pace: Pace::new(check_in_time),
            file,
            accepted,
            etag,
            is_on_disk,
            older_since: None,
            outage: Outage::of("check-in"),
            is_away: Arc::default(),
            clock: ClockWatch::default(),
            desired: sender,
            asked: CancellationToken::new(),
        };
        (checkin, receiver)
    }

    /// True while check-ins fail, which they tell.
    pub(super) fn is_away(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_away)
    }

    /// Is cancelled when the manager was asked for the first time, whatever came of it.
    pub(super) fn asked(&self) -> CancellationToken {
        self.asked.clone()
    }

    /// Checks in from `ready` until the shutdown, which ends a check-in that waits as well.
    pub(super) async fn run(
        mut self,
        ready: CancellationToken,
        monitor: &Monitor,
        shutdown: CancellationToken,
    ) {
        let Some(()) = shutdown.run_until_cancelled(ready.cancelled()).await else { return };
        let mut next = Next::default();
        loop {
            let Some(()) = shutdown.run_until_cancelled(sleep(next.after)).await else { return };
            // Without a tag there is nothing to wait with.
            let wait = next.wait.filter(|_| self.etag.is_some());
            self.certificates.look();
            let begun = Instant::now();
            let asked = self.client.check_in(&self.group, self.etag.as_deref(), wait);
            let Some(answer) = shutdown.run_until_cancelled(asked).await else { return };
            let ended = self.ended(answer, wait, begun.elapsed());
            let limit = self.pace.limit();
            next = self.pace.next(&ended, Instant::now(), rand::random_range(0.0..1.0));
            tell_limit(limit, self.pace.limit());
            self.asked.cancel();
            monitor.checked_in();
        }
    }

    fn ended(
        &mut self,
        answer: Result<CheckedIn, ClientError>,
        wait: Option<Duration>,
        lived: Duration,
    ) -> Ended {
        let (retry_after, heard) = match answer {
            Ok(CheckedIn { info, clock, retry_after }) => {
                self.clock.compare(clock);
                let heard = self.heard(info);
                (retry_after, heard.map_err(|why| (How::Failed, Failure::in_words(why))))
            }
            Err(error) => {
                let failure = Failure::of(&error, self.client.url(), self.asked_as, &self.group);
                (error.retry_after(), Err((How::of(&error), failure)))
            }
        };
        let how = heard.as_ref().map_or_else(|(how, _)| *how, |how| *how);
        let ended = Ended { wait, lived, how, retry_after };
        self.is_away.store(heard.is_err() && ended.is_trouble(), Ordering::Relaxed);
        match heard {
            Ok(_) => self.outage.end(),
            // What runs is kept whatever the reason.
            Err((_, failure)) if ended.is_trouble() => self.outage.goes_on(failure),
            Err((_, failure)) => debug!(?failure, ?lived, "a check-in that waited broke"),
        }
        ended
    }

    fn heard(&mut self, answer: Info) -> Result<How, String> {
        match answer {
            Info::NotModified => {
                self.older_since = None;
                Ok(How::Unchanged)
            }
            Info::Answer { bytes, etag } => self.judge(&bytes, etag),
        }
    }

    fn judge(&mut self, bytes: &[u8], etag: Option<String>) -> Result<How, String> {
        let desired = Desired::decode(bytes).map_err(|error| error.to_string())?;
        let older_for = self.older_since.map_or(Duration::ZERO, |since| since.elapsed());
        let older_for_ms = u64::try_from(older_for.as_millis()).unwrap_or(u64::MAX);
        match judge(self.accepted, desired.revision, older_for_ms) {
            Acceptance::Accept => {
                let is_news = etag.is_some() && etag != self.etag;
                self.accept(bytes, etag, desired);
                Ok(if is_news { How::News } else { How::Repeated })
            }
            Acceptance::KeepNewer => {
                if self.older_since.is_none() {
                    warn!("answer is older than the accepted state and is not acted on yet");
                    self.older_since = Some(Instant::now());
                }
                Ok(How::Older)
            }
        }
    }

    fn accept(&mut self, bytes: &[u8], etag: Option<String>, desired: Desired) {
        self.older_since = None;
        // A manager that gives no tags says the same each time.
        let is_known = self.desired.borrow().as_deref() == Some(&desired) && self.etag == etag;
        if is_known && self.is_on_disk {
            return;
        }
        self.accepted = desired.revision;
        if !is_known {
            info!(
                device_group_id = desired.device_group_id,
                revision = desired.revision.map(|revision| revision.0),
                apps = desired.apps.len(),
                "new desired state accepted"
            );
        }
        let accepted = Accepted { group: &self.group, etag: etag.as_deref(), answer: bytes };
        // A full disk must not stop a device from being changed. The answer is asked for again
        // after a restart, because its tag was not kept either.
        let kept = self.file.write(&accepted);
        self.is_on_disk = kept.is_ok();
        if let Err(error) = kept {
            warn!(%error, cause = error.cause(), "accepted state could not be kept on disk");
        }
        self.etag = etag;
        self.desired.send_replace(Some(Arc::new(desired)));
    }
}

impl How {
    /// What an error says of the way to the manager.
    pub(super) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::Unreachable,
            // 408 is a proxy's word for a wait that was too long.
            ClientError::Refused(refusal) if refusal.status != 408 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Tells once what becomes of waiting, which no check-in shows.
fn tell_limit(before: Option<Duration>, now: Option<Duration>) {
    match now {
        _ if before == now => {}
        None => info!("the manager can be waited at for the whole check-in time again"),
        Some(Duration::ZERO) => {
            info!("something on the way to the manager cuts check-ins that wait; it is polled");
        }
        Some(limit) => info!(
            seconds = limit.as_secs(),
            "something on the way to the manager cuts check-ins that wait; they wait shorter"
        ),
    }
}
