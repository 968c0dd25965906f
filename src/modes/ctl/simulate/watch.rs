//! A look at every manager, and at this process, once a second.

use super::Shared;
use super::metrics::{Sample, Scrape};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);
/// How long managers have to take notice of connections that were closed.
const AFTER: Duration = Duration::from_secs(2);
/// Of one core. Above it what is measured may be the wait for this process.
const BUSY: f64 = 0.9;

/// What was seen of one manager.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) before: Option<Sample>,
    /// When all devices were connected, and parked where they park.
    pub(super) parked: Option<Sample>,
    /// At the end, with the devices still there.
    pub(super) during: Option<Sample>,
    pub(super) after: Option<Sample>,
    pub(super) peak_resident_bytes: f64,
    pub(super) peak_parked: f64,
    /// Processor time of the busiest second, in cores.
    pub(super) peak_cores: f64,
    last: Option<Sample>,
}

/// What was seen of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Simulator {
    /// Processor time of the busiest second, in cores.
    pub(super) peak_cores: f64,
    pub(super) cpu_seconds: f64,
    pub(super) seconds: u32,
    pub(super) busy_seconds: u32,
}

#[derive(Debug, Default)]
pub(super) struct View {
    managers: Mutex<Vec<Seen>>,
    simulator: Mutex<Simulator>,
}

/// The looks, until it is finished.
pub(super) struct Watch {
    eyes: Arc<Eyes>,
    looks: JoinHandle<()>,
}

/// One connection to each manager, kept from the start: one that has no place left for devices
/// would refuse a new one.
struct Eyes {
    shared: Arc<Shared>,
    view: Arc<View>,
    scrapes: Vec<tokio::sync::Mutex<Scrape>>,
}

impl View {
    fn managers(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.managers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn simulator(&self) -> MutexGuard<'_, Simulator> {
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that are parked at all managers more than before the run.
    pub(super) fn parked_more(&self) -> u64 {
        let parked =
            |sample: &Option<Sample>| sample.and_then(|sample| sample.parked).unwrap_or(0.0);
        let more: f64 =
            self.managers().iter().map(|seen| parked(&seen.last) - parked(&seen.before)).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole count"
        )]
        let more = more.max(0.0) as u64;
        more
    }
}

impl Watch {
    /// Looks once before anything happens, and from then on each second.
    pub(super) async fn start(shared: Arc<Shared>) -> Self {
        let view = Arc::new(View::default());
        *view.managers() = vec![Seen::default(); shared.managers.len()];
        let scrapes = shared.managers.iter().map(|_| tokio::sync::Mutex::new(Scrape::new()));
        let scrapes = scrapes.collect();
        let eyes = Arc::new(Eyes { shared, view, scrapes });
        eyes.mark(|seen, sample| seen.before = Some(sample)).await;
        let of_looks = Arc::clone(&eyes);
        let looks = tokio::spawn(async move { of_looks.look_each_second().await });
        Self { eyes, looks }
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.eyes.view)
    }

    pub(super) fn parked_more(&self) -> u64 {
        self.eyes.view.parked_more()
    }

    /// Keeps the figures of now as those with all devices there.
    pub(super) async fn all_parked(&self) {
        self.eyes.mark(|seen, sample| seen.parked = Some(sample)).await;
    }

    /// Keeps the figures of now as the last with devices.
    pub(super) async fn during_is_over(&self) {
        self.eyes.mark(|seen, sample| seen.during = Some(sample)).await;
    }

    pub(super) fn simulator(&self) -> Simulator {
        *self.eyes.view.simulator()
    }

    /// Looks for the last time.
    pub(super) async fn finish(self) -> Vec<Seen> {
        tokio::time::sleep(AFTER).await;
        self.looks.abort();
        self.eyes.mark(|seen, sample| seen.after = Some(sample)).await;
        self.eyes.view.managers().clone()
    }
}

impl Eyes {
    /// Looks now, and keeps what was seen in a place of its own.
    async fn mark(&self, keep: impl Fn(&mut Seen, Sample)) {
        self.look().await;
        for seen in self.view.managers().iter_mut() {
            if let Some(sample) = seen.last {
                keep(seen, sample);
            }
        }
    }

    async fn look(&self) {
        for (place, (manager, scrape)) in self.shared.managers.iter().zip(&self.scrapes).enumerate()
        {
            let sample = scrape.lock().await.sample(manager).await;
            if let (Some(sample), Some(seen)) = (sample, self.view.managers().get_mut(place)) {
                seen.look(sample);
            }
        }
    }

    async fn look_each_second(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = (Instant::now(), cpu_time());
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let now = (Instant::now(), cpu_time());
            self.view.simulator().look(now.0 - last.0, now.1.saturating_sub(last.1));
            last = now;
            self.look().await;
        }
    }
}

/// The processor time of this process so far.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

impl Simulator {
    fn look(&mut self, passed: Duration, used: Duration) {
        let cores = used.as_secs_f64() / passed.as_secs_f64().max(0.001);
        self.peak_cores = self.peak_cores.max(cores);
        self.cpu_seconds += used.as_secs_f64();
        self.seconds += 1;
        self.busy_seconds += u32::from(cores > BUSY);
    }
}

impl Seen {
    fn look(&mut self, sample: Sample) {
        self.peak_resident_bytes =
            self.peak_resident_bytes.max(sample.resident_bytes.unwrap_or(0.0));
        self.peak_parked = self.peak_parked.max(sample.parked.unwrap_or(0.0));
        if let Some(last) = self.last
            && sample.at > last.at + EVERY / 2
            && let (Some(now), Some(before)) = (sample.cpu_seconds, last.cpu_seconds)
        {
            let passed = (sample.at - last.at).as_secs_f64();
            self.peak_cores = self.peak_cores.max((now - before) / passed);
        }
        self.last = Some(sample);
    }

    /// Whether one and the same process was asked all the time.
    pub(super) fn is_one_process(&self) -> bool {
        let start = |sample: Option<Sample>| sample.and_then(|sample| sample.start_time);
        match (start(self.before), start(self.after)) {
            // Two looks at one clock may differ by its adjustment.
            (Some(before), Some(after)) => (before - after).abs() < 1.0,
            _ => true,
        }
    }
}
