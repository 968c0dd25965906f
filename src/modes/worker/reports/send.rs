//! Sending what waits, for as long as it takes.
//!
//! Invariants: nothing of it reaches workloads or check-ins; a trouble is told when it begins and
//! when it ends; what is given up is counted.

use super::super::jittered;
use super::outbox::Outbox;
use crate::bus::{Bus, BusError, Packed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// The waits between tries. The longest is what a manager that came back waits for at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// So often in a row nobody takes them before that is told: by then check-ins have told of a manager that
/// is away.
const TRIES: u32 = 6;
/// After how long one that takes no reports is asked again: it may have been replaced by a newer
/// version.
const NO_SUCH_PLACE_RETRY: Duration = Duration::from_secs(3_600);
/// How long a place may ask to be left alone; longer than this is a mistake somewhere.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// How long what waits may take to leave at shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends from the outbox until the shutdown, and then once more.
/// `is_told_elsewhere` is true while somebody else tells why nobody takes them.
pub async fn run(
    outbox: Arc<Outbox>,
    bus: Arc<dyn Bus>,
    is_told_elsewhere: Arc<AtomicBool>,
    shutdown: CancellationToken,
) {
    let mut sender = Sender { outbox, bus, is_told_elsewhere, failures: 0, told: None };
    while let Some(wait) = shutdown.run_until_cancelled(sender.round()).await {
        if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
            break;
        }
    }
    let farewell = async { while !sender.outbox.is_empty() && sender.round().await.is_zero() {} };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        debug!("reports were still waiting to be sent");
    }
}

struct Sender {
    outbox: Arc<Outbox>,
    bus: Arc<dyn Bus>,
    is_told_elsewhere: Arc<AtomicBool>,
    failures: u32,
    /// The trouble that was told last.
    told: Option<String>,
}

impl Sender {
    /// Sends the first ones that wait. Returns how long to wait before the next round.
    async fn round(&mut self) -> Duration {
        let (number, reports) = self.outbox.first(self.bus.batch()).await;
        match self.bus.send(&reports).await {
            Ok(()) => {
                self.outbox.arrived(number);
                self.works();
                Duration::ZERO
            }
            Err(BusError::Never { .. }) if reports.len() > 1 => {
                self.one_by_one(number, &reports).await
            }
            Err(error) => self.failed(number, &error),
        }
    }

    /// One of several is never taken: the others may be.
    async fn one_by_one(&mut self, last: u64, reports: &[Packed]) -> Duration {
        // Numbers are in a row, except where the oldest had to make room meanwhile, and those are
        // gone anyhow.
        let first = last.saturating_sub(reports.len() as u64 - 1);
        for (number, report) in (first..=last).zip(reports) {
            match self.bus.send(std::slice::from_ref(report)).await {
                Ok(()) => self.outbox.arrived(number),
                Err(error @ BusError::Never { .. }) => {
                    self.failed(number, &error);
                }
                Err(error) => return self.failed(number, &error),
            }
        }
        Duration::ZERO
    }

    fn works(&mut self) {
        self.failures = 0;
        self.outbox.set_idle(false);
        if self.told.take().is_some() {
            info!(to = self.bus.address(), "reports are taken again");
        }
    }

    fn failed(&mut self, number: u64, error: &BusError) -> Duration {
        self.outbox.set_idle(matches!(error, BusError::NoSuchPlace { .. }));
        let (reason, wait) = match error {
            BusError::Later { reason, retry_after } => {
                let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
                self.failures = self.failures.saturating_add(1);
                let wait = jittered(wait.min(LONGEST_RETRY));
                (reason, retry_after.map_or(wait, |after| wait.max(after.min(LONGEST_RETRY_AFTER))))
            }
            BusError::Never { reason } => {
                self.outbox.give_up(number);
                (reason, Duration::ZERO)
            }
            BusError::NoSuchPlace { reason } => {
                self.outbox.give_up(u64::MAX);
                (reason, jittered(NO_SUCH_PLACE_RETRY))
            }
        };
        let is_later = matches!(error, BusError::Later { .. });
        let is_told_elsewhere = self.is_told_elsewhere.load(Ordering::Relaxed);
        if is_told_elsewhere || (is_later && self.failures < TRIES) {
            debug!(reason, "reports are not taken");
        } else if self.told.as_ref() != Some(reason) {
            let to = self.bus.address();
            match error {
                BusError::Later { .. } => warn!(to, reason, "reports wait; they are sent later"),
                BusError::Never { .. } => warn!(to, reason, "a report was refused and is dropped"),
                BusError::NoSuchPlace { .. } => info!(to, reason, "no reports are taken there"),
            }
            self.told = Some(reason.clone());
        }
        wait
    }
}
