//! A look at the wall clock, each second.
//!
//! Timers count the time that passes and do not see a clock that is set: one that jumps ahead,
//! because a device without a battery has found a time server, makes cron jobs due that a timer
//! would still wait for. So each second the clock is compared with the next due time, and the loop
//! is woken when it has come. The comparison is one atomic read; a pass is made only when
//! something is due.
//!
//! It is not for devices without cron jobs: what they wait for is a length of time, and the looks at
//! the clock would be most of what such a device does at rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

const EACH: Duration = Duration::from_secs(1);

/// Wakes the loop at a time of the wall clock.
pub(super) struct Ticker {
    alarm: Alarm,
    wake: Arc<Notify>,
    clock: fn() -> u64,
    /// There once it was started, until the end: ended ones would leave tasks behind.
    scheduler: Option<JobScheduler>,
}

impl Ticker {
    /// One that stands still.
    pub(super) fn new(alarm: Alarm, wake: Arc<Notify>, clock: fn() -> u64) -> Self {
        Self { alarm, wake, clock, scheduler: None }
    }

    /// Has it tick, if it does not.
    pub(super) async fn start(&mut self) -> Result<(), JobSchedulerError> {
        if self.scheduler.is_some() {
            return Ok(());
        }
        let (alarm, wake, clock) = (self.alarm.clone(), Arc::clone(&self.wake), self.clock);
        let tick = Job::new_repeated_async(EACH, move |_, _| {
            if alarm.rings(clock()) {
                wake.notify_one();
            }
            Box::pin(std::future::ready(()))
        })?;
        let scheduler = JobScheduler::new().await?;
        scheduler.add(tick).await?;
        scheduler.start().await?;
        self.scheduler = Some(scheduler);
        Ok(())
    }

    /// Ends it.
    pub(super) async fn stop(self) -> Result<(), JobSchedulerError> {
        match self.scheduler {
            Some(mut scheduler) => scheduler.shutdown().await,
            None => Ok(()),
        }
    }
}

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
