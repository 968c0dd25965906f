//! A look at the wall clock, each second.
//!
//! Timers count the time that passes and do not see a clock that is set: one that jumps ahead,
//! because a device without a battery has found a time server, makes cron jobs due that a timer
//! would still wait for. So each second the clock is compared with the next due time, and the loop
//! is woken when it has come. The comparison is one atomic read; a pass is made only when
//! something is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

const EACH: Duration = Duration::from_secs(1);

/// When the loop is to be woken at the latest, in ms since 1970.
#[derive(Debug, Clone, Default)]
pub(super) struct Alarm(Arc<AtomicU64>);

impl Alarm {
    /// Sets it; 0 is never.
    pub(super) fn set(&self, at_ms: u64) {
        self.0.store(at_ms, Ordering::Relaxed);
    }

    /// True once, when the time has come.
    fn rings(&self, now_ms: u64) -> bool {
        let at = self.0.load(Ordering::Relaxed);
        at != 0 && at <= now_ms && self.0.swap(0, Ordering::Relaxed) == at
    }
}

/// Ticks until what it gives back is shut down.
pub(super) async fn start(
    alarm: Alarm,
    wake: Arc<Notify>,
    clock: fn() -> u64,
) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let tick = Job::new_repeated_async(EACH, move |_, _| {
        if alarm.rings(clock()) {
            wake.notify_one();
        }
        Box::pin(std::future::ready(()))
    })?;
    scheduler.add(tick).await?;
    scheduler.start().await?;
    Ok(scheduler)
}
