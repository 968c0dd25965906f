//! Telling what this device runs: what was seen is collected into reports, which wait in the
//! [`outbox`] until [`send`] has handed them over.
//!
//! What it is not: it changes nothing on the device. The loop that does shows what it saw and goes
//! on; nothing here can hold it up, fail it or fill its memory.
//!
//! A report is made each check-in time, and soon after something changed: a person waits for the
//! result of a change.

mod document;
mod host;
mod outbox;
mod send;

pub use outbox::Outbox;
pub use send::run as send_all;

use super::jittered;
use crate::bus::{Bus, Packed};
use crate::clock::unix_seconds;
use crate::engine::ContainerEngine;
use crate::model::Desired;
use crate::reconcile::Status;
use document::Parts;
use futures_util::StreamExt;
use futures_util::stream;
use host::CpuTimes;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long after a change a report is made: what belongs together comes together.
const SETTLE: Duration = Duration::from_millis(200);
/// From one report to the next at least, when a state changed.
const NEXT_STATE: Duration = Duration::from_secs(1);
/// The same, when no more than details did; it doubles with each, up to the check-in time.
const NEXT_DETAIL: Duration = Duration::from_secs(2);
/// Containers that are measured for one report, at most, and at once.
const MEASURED: usize = 100;
const MEASURED_AT_ONCE: usize = 4;
/// How long all measuring may take. A hanging engine must not keep a report from saying so.
const MEASURING: Duration = Duration::from_secs(10);
/// A device that was not heard of for three check-ins is away.
const AWAY_CHECK_INS: u64 = 3;
/// Beyond that, for what is slow.
const AWAY_SLACK_SECONDS: u64 = 15;
/// For how long a device is not away that reports only what changes: nobody can know.
const AWAY_WHEN_SILENT_SECONDS: u64 = 4 * 24 * 3_600;
/// After how long the device's address is looked up again.
const ADDRESS_KEPT: Duration = Duration::from_secs(600);

/// What one pass of the reconciler saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) desired: Arc<Desired>,
    pub(super) status: Status,
    pub(super) containers: Vec<SeenContainer>,
    pub(super) cores: u32,
    /// Why the engine does not answer; what was seen is from before.
    pub(super) problem: Option<String>,
}

/// A container that is ours and runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenContainer {
    pub(super) id: String,
    /// The app; none when it is the run of a cron job.
    pub(super) app: Option<String>,
    /// Its process has run for less than a minute: it may have been started again.
    pub(super) is_young: bool,
}

/// What was seen, when something was.
pub(super) type SeenWatch = watch::Receiver<Option<Arc<Seen>>>;

/// As whom reports are made, and how often.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) hostname: String,
    pub(super) device_group: String,
    pub(super) check_in_time: Duration,
    pub(super) on_update_only: bool,
    /// What is reached when the device's address is asked for.
    pub(super) towards: (String, u16),
    /// True while somebody else tells why reports are not taken.
    pub(super) is_told_elsewhere: Arc<AtomicBool>,
}

/// Makes and sends reports until the shutdown.
pub(super) async fn run(
    settings: Settings,
    engine: Arc<dyn ContainerEngine>,
    bus: Arc<dyn Bus>,
    seen: SeenWatch,
    shutdown: CancellationToken,
) {
    let outbox = Arc::new(Outbox::default());
    let is_told_elsewhere = Arc::clone(&settings.is_told_elsewhere);
    let collector = Collector {
        hostname: settings.hostname.as_str().into(),
        settings,
        engine,
        outbox: Arc::clone(&outbox),
        boot_id: format!("{:016x}", rand::random::<u64>()),
        sequence: 0,
        started: Instant::now(),
        cpu: CpuTimes::now(),
        before: HashMap::new(),
        told: None,
        address: None,
    };
    tokio::join!(
        collector.run(seen, shutdown.clone()),
        send::run(outbox, bus, is_told_elsewhere, shutdown)
    );
}

/// What one report leaves for the next one to know of a container.
#[derive(Debug, Default)]
struct Before {
    /// What its processors had done, and when that was.
    cpu: Option<(Value, Value)>,
    /// How often it was started again; it need not be asked for while the container is not young.
    restarts: Option<u64>,
}

/// What one container takes, and how often it was started again.
struct Measured {
    container: SeenContainer,
    stats: Map<String, Value>,
    restarts: Option<u64>,
}

struct Collector {
    settings: Settings,
    hostname: Arc<str>,
    engine: Arc<dyn ContainerEngine>,
    outbox: Arc<Outbox>,
    boot_id: String,
    sequence: u64,
    started: Instant,
    cpu: CpuTimes,
    /// By container: what the last report knew of it.
    before: HashMap<String, Before>,
    /// What the last report was about.
    told: Option<Arc<Seen>>,
    address: Option<(IpAddr, Instant)>,
}

impl Collector {
    async fn run(mut self, mut seen: SeenWatch, shutdown: CancellationToken) {
        // Until the first pass there is nothing to tell.
        let first = seen.wait_for(Option::is_some);
        if !matches!(shutdown.run_until_cancelled(first).await, Some(Ok(_))) {
            return;
        }
        // Devices that were started together spread.
        let mut regular = Instant::now() + SETTLE.mul_f64(rand::random_range(1.0..5.0));
        let mut last = Instant::now();
        let mut next_detail = NEXT_DETAIL;
        let mut changed_at: Option<Instant> = None;
        loop {
            let due = changed_at.map_or(regular, |changed| changed.min(regular));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(due) => {}
                changed = seen.changed() => {
                    // The reconciler ends with the shutdown.
                    if changed.is_err() {
                        return;
                    }
                    let latest = seen.borrow_and_update().clone();
                    let both = self.told.as_ref().zip(latest);
                    let news = both.and_then(|(told, latest)| News::of(told, &latest));
                    let Some(news) = news else { continue };
                    let gap = if news == News::State { NEXT_STATE } else { next_detail };
                    let due = (Instant::now() + SETTLE).max(last + gap);
                    changed_at = Some(changed_at.map_or(due, |earlier| earlier.min(due)));
                    continue;
                }
            }
            let is_regular = Instant::now() >= regular;
            let Some(latest) = seen.borrow_and_update().clone() else { continue };
            let is_first = self.told.is_none();
            let is_updated =
                self.told.as_ref().is_some_and(|told| News::of(told, &latest).is_some());
            next_detail = if is_updated && !is_regular {
                (next_detail * 2).min(self.settings.check_in_time.max(NEXT_DETAIL))
            } else {
                NEXT_DETAIL
            };
            if is_updated || is_first || !self.settings.on_update_only {
                self.report(latest, is_updated).await;
            }
            last = Instant::now();
            changed_at = None;
            regular = last + jittered(self.settings.check_in_time);
        }
    }

    async fn report(&mut self, seen: Arc<Seen>, is_updated: bool) {
        let measured = self.measure(&seen.containers).await;
        let (mut app_stats, mut job_stats, mut restarts) = (Vec::new(), Vec::new(), HashMap::new());
        for Measured { container, stats, restarts: again } in measured {
            match container.app {
                Some(app) => {
                    *restarts.entry(app).or_insert(0) += again.unwrap_or_default();
                    app_stats.push(stats);
                }
                None => job_stats.push(stats),
            }
        }
        let mut status = seen.status.clone();
        for app in &mut status.apps {
            app.restarts = restarts.get(&app.app_name).copied().unwrap_or_default();
        }
        let address = self.address().await;
        let docker = match &seen.problem {
            Some(problem) => json!({ "reachable": false, "problem": problem }),
            None => json!({ "reachable": true, "version": self.docker_version().await }),
        };
        self.sequence += 1;
        let cpu = CpuTimes::now();
        let parts = Parts {
            hostname: &self.settings.hostname,
            device_group: &self.settings.device_group,
            report_id: bson::oid::ObjectId::new().to_hex(),
            boot_id: &self.boot_id,
            sequence: self.sequence,
            now: unix_seconds().cast_unsigned(),
            updated: is_updated,
            desired: &seen.desired,
            status,
            memory: host::memory(),
            root_disk: host::root_disk(),
            cpu: host::cpu(seen.cores, cpu, self.cpu),
            app_stats,
            job_stats,
            worker: json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_seconds": self.started.elapsed().as_secs(),
                "address": address,
            }),
            docker,
            away_after_seconds: self.away_after_seconds(),
            dropped: self.outbox.dropped(),
        };
        let json = document::bytes(parts).into();
        self.outbox.push(Packed { hostname: Arc::clone(&self.hostname), json });
        self.cpu = cpu;
        self.told = Some(seen);
    }

    fn away_after_seconds(&self) -> u64 {
        if self.settings.on_update_only {
            return AWAY_WHEN_SILENT_SECONDS;
        }
        self.settings.check_in_time.as_secs().saturating_mul(AWAY_CHECK_INS) + AWAY_SLACK_SECONDS
    }

    /// What containers take. One that cannot be measured is left out.
    async fn measure(&mut self, containers: &[SeenContainer]) -> Vec<Measured> {
        let first = containers.iter().take(MEASURED).map(|container| {
            let before = self.before.get(&container.id).and_then(|before| before.restarts);
            (container.clone(), before.filter(|_| !container.is_young))
        });
        let first: Vec<(SeenContainer, Option<u64>)> = first.collect();
        let engine = Arc::clone(&self.engine);
        let one = move |(container, restarts)| measured(Arc::clone(&engine), container, restarts);
        let mut all = stream::iter(first).map(one).buffer_unordered(MEASURED_AT_ONCE);
        let mut measured = Vec::new();
        let collected = timeout(MEASURING, async {
            while let Some(one) = all.next().await {
                measured.extend(one);
            }
        });
        if collected.await.is_err() {
            tracing::debug!(measured = measured.len(), "not all containers could be measured");
        }
        drop(all);
        measured.sort_by(|a, b| a.container.id.cmp(&b.container.id));
        let before = std::mem::take(&mut self.before);
        for one in &mut measured {
            let after = compare(one, before.get(&one.container.id));
            self.before.insert(one.container.id.clone(), after);
        }
        measured
    }

    async fn docker_version(&self) -> Option<String> {
        timeout(MEASURING, self.engine.version()).await.ok()?.ok()
    }

    async fn address(&mut self) -> Option<IpAddr> {
        if let Some((address, looked)) = self.address
            && looked.elapsed() < ADDRESS_KEPT
        {
            return Some(address);
        }
        let (host, port) = &self.settings.towards;
        let address = timeout(MEASURING, host::address_towards(host, *port)).await.ok()??;
        self.address = Some((address, Instant::now()));
        Some(address)
    }
}

async fn measured(
    engine: Arc<dyn ContainerEngine>,
    container: SeenContainer,
    restarts: Option<u64>,
) -> Option<Measured> {
    let stats = engine.stats(&container.id).await.ok()??;
    let restarts = match restarts {
        Some(known) => Some(known),
        None if container.app.is_some() => engine.restarts(&container.id).await.ok()?,
        None => None,
    };
    Some(Measured { container, stats, restarts })
}

/// Docker compares what a container's processors did with the moment before. Here that is the last
/// report, so that the share that people compute is that of the whole time between.
fn compare(measured: &mut Measured, before: Option<&Before>) -> Before {
    let Measured { stats, restarts, .. } = measured;
    let now = stats.get("cpu_stats").cloned().zip(stats.get("read").cloned());
    if let Some((cpu, read)) = before.and_then(|before| before.cpu.clone()) {
        stats.insert("precpu_stats".to_owned(), cpu);
        stats.insert("preread".to_owned(), read);
    }
    Before { cpu: now, restarts: *restarts }
}

/// What changed from one look to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// The state of something, or what is desired.
    State,
    /// Reasons, replicas, runs.
    Detail,
}

impl News {
    fn of(before: &Seen, now: &Seen) -> Option<Self> {
        let states = |seen: &Seen| {
            let Status { state, apps, cron_jobs, .. } = &seen.status;
            let apps = apps.iter().map(|app| (app.uid, app.app_id, app.state));
            let jobs = cron_jobs.iter().map(|job| (job.uid, job.cron_job_id, job.state));
            (seen.desired.revision, *state, apps.chain(jobs).collect::<Vec<_>>())
        };
        if before.problem != now.problem || states(before) != states(now) {
            return Some(Self::State);
        }
        (before.status != now.status).then_some(Self::Detail)
    }
}
