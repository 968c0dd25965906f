//! The loop: observe, plan, set to work, and look again when anything happens.
//!
//! Invariants: the loop itself waits for nothing but a wake-up; a wake-up carries no content, so
//! that a pass always acts on the whole of what is there; the memory is on disk before the steps
//! that it counts are begun.

use super::checkin::DesiredWatch;
use super::execute::{Executor, Outcome, Work};
use super::jittered;
use super::monitor::Monitor;
use super::reports::{Seen, SeenContainer, SeenWatch};
use super::state::MemoryFile;
use super::ticker::{Alarm, Ticker};
use crate::clock::unix_ms;
use crate::engine::{ContainerEngine, EngineError};
use crate::model::{AppVersion, ContainerState, Desired, ImageReference, NEBULA_NETWORK, Observed};
use crate::reconcile::{
    Busy, Hold, Inputs, Memory, Plan, Policy, Reason, Recorded, Status, check, plan, status,
    status_changes_after_ms, status_without_engine, wanted_images,
};
use futures_util::StreamExt;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// A pass is made at least this often, for what no event tells.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// The waits while the engine is away, and between tries to hear its events.
const FIRST_ENGINE_RETRY: Duration = Duration::from_millis(500);
const LONGEST_ENGINE_RETRY: Duration = Duration::from_secs(15);
/// How long after the last of a burst of events the world is looked at once more, and again: Docker
/// lists a container as ended only when its network is taken down, which takes longer with each
/// port that it published.
const AFTERLOOKS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// A hold that ended and is back within this time is not told again.
const TOLD_FOR: Duration = Duration::from_secs(600);
/// How long begun steps may take to end at shutdown. They are taken up again at the next start.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// A piece of work under way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Network,
    App(String),
    Pull(String, AppVersion),
    Images,
}

/// The reconciling half of a worker.
pub(super) struct Reconciler {
    engine: Arc<dyn ContainerEngine>,
    executor: Executor,
    policy: Policy,
    memory: Memory,
    memory_file: MemoryFile,
    desired: DesiredWatch,
    tasks: JoinSet<Outcome>,
    pieces: HashMap<Id, (Piece, AbortHandle)>,
    /// What was told, and when it was last so.
    told: HashMap<(String, Option<u32>, String), Instant>,
    engine_failures: u32,
    alarm: Alarm,
    seen: watch::Sender<Option<Arc<Seen>>>,
}

impl Reconciler {
    pub(super) fn new(
        engine: Arc<dyn ContainerEngine>,
        executor: Executor,
        policy: Policy,
        mut memory_file: MemoryFile,
        desired: DesiredWatch,
    ) -> Self {
        let memory = memory_file.read();
        Self {
            engine,
            executor,
            policy,
            memory,
            memory_file,
            desired,
            tasks: JoinSet::new(),
            pieces: HashMap::new(),
            told: HashMap::new(),
            engine_failures: 0,
            alarm: Alarm::default(),
            seen: watch::Sender::default(),
        }
    }

    /// What passes see, for reports.
    pub(super) fn seen(&self) -> SeenWatch {
        self.seen.subscribe()
    }

    /// Reconciles until the shutdown.
    pub(super) async fn run(mut self, monitor: &Monitor, shutdown: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let listening = listen(self.engine.clone(), changed.clone());
        let mut listening = std::pin::pin!(listening);
        let mut ticker =
            Ticker::new(self.alarm.clone(), changed.clone(), || unix_ms().cast_unsigned());
        // The sender lives as long as the check-ins; after it only the shutdown is left to come.
        let mut is_declared = true;
        loop {
            // A hanging engine must not hang the shutdown. Nothing is begun before the pass's one
            // wait is over, so it can be left there.
            let look_again = tokio::select! {
                () = shutdown.cancelled() => break,
                look_again = self.pass() => look_again,
            };
            monitor.passed();
            // Without it a clock that is set is seen half a minute later, by the next look.
            if self.has_cron_jobs()
                && let Err(error) = ticker.start().await
            {
                warn!(%error, "the clock is not watched; tried again at the next look");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = &mut listening => {}
                () = changed.notified() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.record(ended),
                changed = self.desired.changed(), if is_declared => is_declared = changed.is_ok(),
                () = tokio::time::sleep(look_again) => {}
            }
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.record(ended);
            }
        }
        if let Err(error) = ticker.stop().await {
            debug!(%error, "the watch of the clock did not end");
        }
        self.drain().await;
    }

    fn has_cron_jobs(&self) -> bool {
        self.desired.borrow().as_ref().is_some_and(|desired| !desired.cron_jobs.is_empty())
    }

    /// One pass: observe, plan, set to work. Returns when to look again at the latest.
    async fn pass(&mut self) -> Duration {
        let Some(desired) = self.desired.borrow_and_update().clone() else {
            return LONGEST_LOOK;
        };
        let began = std::time::Instant::now();
        let observed = match self.engine.observe().await {
            Ok(observed) => observed,
            Err(error) => return self.engine_is_away(&desired, &error),
        };
        if self.engine_failures > 0 {
            info!(failures = self.engine_failures, "docker answers again");
            self.engine_failures = 0;
        }
        self.abandon_pulls(&desired);
        let busy = self.busy();
        let inputs = Inputs {
            desired: &desired,
            observed: &observed,
            busy: &busy,
            policy: &self.policy,
            now_ms: unix_ms().cast_unsigned(),
        };
        let plan = plan(&inputs, &mut self.memory);
        let wrong = check(&inputs, &plan);
        if !wrong.is_empty() {
            // A plan that breaks a rule is a fault of ours. What runs is worth more than the plan.
            error!(?wrong, "plan refused by its check; nothing is done");
            return LONGEST_LOOK;
        }
        self.memory_file.write(&self.memory);
        let status = status(&inputs, &plan, &self.memory);
        self.tell(&plan.holds);
        for Recorded { cron_job, record } in &plan.recorded {
            let (due, outcome) = (record.due, &record.outcome);
            info!(cron_job, due, %outcome, "run dealt with");
        }
        debug!(
            actions = plan.actions.len(),
            holds = plan.holds.len(),
            microseconds = began.elapsed().as_micros(),
            "pass made"
        );
        let told_anew = status_changes_after_ms(&observed);
        let told_anew = told_anew.map_or(LONGEST_LOOK, Duration::from_millis);
        self.show(&desired, &observed, status);
        self.set_to_work(plan).min(told_anew)
    }

    /// Shows what was seen, when it is something else than before.
    fn show(&self, desired: &Arc<Desired>, observed: &Observed, status: Status) {
        let is_up = |state: ContainerState| state == ContainerState::Running;
        let replicas = observed.containers.iter().filter(|c| is_up(c.state));
        let replicas = replicas.map(|c| SeenContainer {
            id: c.id.clone(),
            app: Some(c.app.clone()),
            is_young: c.up_seconds.is_some(),
        });
        let runs = observed.runs.iter().filter(|run| is_up(run.state));
        let runs = runs.map(|run| SeenContainer { id: run.id.clone(), app: None, is_young: false });
        let containers = replicas.chain(runs).collect();
        let cores = observed.machine.cores;
        let desired = Arc::clone(desired);
        self.publish(Seen { desired, status, containers, cores, problem: None });
    }

    fn publish(&self, now: Seen) {
        self.seen.send_if_modified(|seen| {
            let is_same = seen.as_deref() == Some(&now);
            if !is_same {
                *seen = Some(Arc::new(now));
            }
            !is_same
        });
    }

    fn set_to_work(&mut self, plan: Plan) -> Duration {
        let look_again = plan.recheck_after_ms.map(Duration::from_millis);
        self.alarm.set(
            plan.recheck_after_ms
                .map_or(0, |after| unix_ms().cast_unsigned().saturating_add(after)),
        );
        if !plan.actions.is_empty() {
            info!(actions = plan.actions.len(), "plan made");
            debug!(%plan, "plan in words");
        }
        let work = Work::of(plan.actions);
        for name in work.networks {
            if !self.pieces.values().any(|(piece, _)| *piece == Piece::Network) {
                let task = self.tasks.spawn(self.executor.clone().network(name));
                self.pieces.insert(task.id(), (Piece::Network, task));
            }
        }
        for (app, version, image) in work.pulls {
            let piece = Piece::Pull(app.clone(), version.clone());
            let task = self.tasks.spawn(self.executor.clone().pull(app, version, image));
            self.pieces.insert(task.id(), (piece, task));
        }
        if !work.images.is_empty() {
            let task = self.tasks.spawn(self.executor.clone().images(work.images));
            self.pieces.insert(task.id(), (Piece::Images, task));
        }
        for (app, steps) in work.apps {
            let task = self.tasks.spawn(self.executor.clone().steps(app.clone(), steps));
            self.pieces.insert(task.id(), (Piece::App(app), task));
        }
        look_again.map_or(LONGEST_LOOK, |after| after.min(LONGEST_LOOK))
    }

    fn busy(&self) -> Busy {
        let mut busy = Busy::default();
        for (piece, _) in self.pieces.values() {
            match piece {
                Piece::Network => busy.network = true,
                Piece::Images => busy.images = true,
                Piece::App(app) => {
                    busy.apps.insert(app.clone());
                }
                Piece::Pull(app, version) => {
                    busy.pulls.insert((app.clone(), version.clone()));
                }
            }
        }
        busy
    }

    /// A pull that nobody wants any more makes room for one that somebody does.
    fn abandon_pulls(&self, desired: &Desired) {
        if !self.pieces.values().any(|(piece, _)| matches!(piece, Piece::Pull(..))) {
            return;
        }
        let wanted: BTreeSet<_> =
            wanted_images(desired).map(|(owner, version, _)| (owner, version)).collect();
        for (piece, task) in self.pieces.values() {
            if let Piece::Pull(app, version) = piece
                && !wanted.contains(&(app.clone(), version.clone()))
                && !self.memory.may_go_back_to(app, version)
            {
                task.abort();
            }
        }
    }

    /// Remembers what came of a piece of work.
    fn record(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(failed) => {
                if failed.is_panic() {
                    error!(piece = ?self.pieces.get(&failed.id()), "a step panicked");
                }
                (failed.id(), None)
            }
        };
        self.pieces.remove(&id);
        match outcome {
            Some(Outcome::Steps { app, results, not_made }) => {
                for subject in not_made {
                    self.memory.not_made(&app, &subject);
                }
                for (subject, result) in results {
                    match result {
                        Ok(()) => self.memory.done(&app, &subject, unix_ms().cast_unsigned()),
                        Err(error) => {
                            warn!(app, %error, "step failed");
                            self.memory.done(&app, &subject, unix_ms().cast_unsigned());
                            self.memory.failed(&app, &subject, &error.to_string());
                        }
                    }
                }
            }
            Some(Outcome::Pull { app, version, image, result: Ok(id) }) => {
                info!(app, %image, "image pulled");
                self.memory.pulled(&app, &version, &image, &id);
            }
            Some(Outcome::Pull { app, version, image, result: Err(error) }) => {
                warn!(app, %image, %error, "pull failed");
                self.pull_failed(&app, &version, &image, &error);
            }
            Some(Outcome::Images { results }) => {
                for (id, result) in results {
                    if let Err(error) = result {
                        warn!(image = id, %error, "image not removed");
                        self.memory.image_kept(&id, &error.to_string());
                    }
                }
            }
            Some(Outcome::Network { name, result: Err(error) }) => {
                warn!(network = name, %error, "network could not be created");
                self.memory.network_failed(&name, &error.to_string());
            }
            Some(Outcome::Network { result: Ok(()), .. }) | None => {}
        }
    }

    fn pull_failed(
        &mut self,
        app: &str,
        version: &AppVersion,
        image: &ImageReference,
        error: &EngineError,
    ) {
        let words = error.to_string();
        match error {
            EngineError::TooManyRequests { retry_after, .. } => {
                let retry_after_ms = retry_after
                    .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1_000));
                self.memory.registry_is_busy(
                    image,
                    retry_after_ms,
                    &words,
                    unix_ms().cast_unsigned(),
                );
            }
            EngineError::NoRoom { needed_bytes, .. } => {
                self.memory.needs_room(app, version, *needed_bytes);
            }
            _ => {}
        }
        self.memory.pull_failed(app, version, &words);
    }

    /// Docker is away: what runs goes on without us. It is told once.
    fn engine_is_away(&mut self, desired: &Arc<Desired>, error: &EngineError) -> Duration {
        let cores = self.seen.borrow().as_ref().map_or(0, |seen| seen.cores);
        let problem = error.to_string();
        self.publish(Seen {
            desired: Arc::clone(desired),
            status: status_without_engine(desired, &problem),
            containers: Vec::new(),
            cores,
            problem: Some(problem),
        });
        if self.engine_failures == 0 {
            warn!(%error, "docker does not answer; what runs is kept");
        }
        let wait = FIRST_ENGINE_RETRY.saturating_mul(1 << self.engine_failures.min(10));
        self.engine_failures = self.engine_failures.saturating_add(1);
        jittered(wait.min(LONGEST_ENGINE_RETRY))
    }

    /// Tells each hold when it begins and when its reason changes, not in every pass, and not anew when
    /// it was away for a moment: while steps of its app are under way, or between two crashes.
    fn tell(&mut self, holds: &[Hold]) {
        let now = Instant::now();
        for hold in holds {
            let key = (hold.app.clone(), hold.replica, hold.reason.without_waits());
            if !self.told.contains_key(&key) {
                let reason = hold.reason.to_string();
                if is_passing(&hold.reason) {
                    debug!(app = hold.app, replica = hold.replica, reason, "held");
                } else {
                    warn!(app = hold.app, replica = hold.replica, reason, "held");
                }
            }
            self.told.insert(key, now);
        }
        self.told.retain(|_, seen| now.duration_since(*seen) < TOLD_FOR);
    }

    /// Lets begun steps end; pulls are begun again at the next start.
    async fn drain(mut self) {
        for (piece, task) in self.pieces.values() {
            if matches!(piece, Piece::Pull(..)) {
                task.abort();
            }
        }
        let drained = timeout(DRAIN_LIMIT, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.record(ended);
            }
        });
        if drained.await.is_err() {
            warn!("steps were still under way; the next start takes them up");
        }
        self.memory_file.write(&self.memory);
    }
}

/// Reasons that are part of any change and end by themselves in moments.
fn is_passing(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Busy
            | Reason::Pulling { .. }
            | Reason::Settling
            | Reason::WaitingForReplica { .. }
            | Reason::WaitingForImage { .. }
            | Reason::Delayed { .. }
            | Reason::Ended { exit_code: 0 }
            | Reason::Restarting
            | Reason::BeingRemoved { .. }
    ) || matches!(reason, Reason::NetworkMissing { network } if network == NEBULA_NETWORK)
}

/// Wakes the loop at each of the engine's events, for ever. Events that were missed while it did
/// not listen do no harm: each time it begins to listen it wakes the loop as well.
async fn listen(engine: Arc<dyn ContainerEngine>, changed: Arc<Notify>) {
    let mut failures = 0_u32;
    loop {
        match engine.changes().await {
            Ok(mut events) => {
                changed.notify_one();
                while let Some(Ok(())) = events.next().await {
                    failures = 0;
                    changed.notify_one();
                    let mut looks = AFTERLOOKS.iter();
                    while let Some(wait) = looks.next() {
                        match timeout(*wait, events.next()).await {
                            // Another one: from here on, the looks begin again.
                            Ok(Some(Ok(()))) => looks = AFTERLOOKS.iter(),
                            Ok(_) => break,
                            Err(_) => {}
                        }
                        changed.notify_one();
                    }
                }
                debug!("docker's events ended");
            }
            Err(error) => debug!(%error, "docker's events cannot be heard"),
        }
        let wait = FIRST_ENGINE_RETRY.saturating_mul(1 << failures.min(10));
        failures = failures.saturating_add(1);
        tokio::time::sleep(jittered(wait.min(LONGEST_ENGINE_RETRY))).await;
        changed.notify_one();
    }
}
