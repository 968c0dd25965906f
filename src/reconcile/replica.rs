//! Planning one replica: the container it should be, the one it still is, and the way between.

use super::action::{Step, Target};
use super::app::{Phase, Planner, Steps};
use super::hold::Reason;
use super::memory::Gate;
use super::ports::Ports;
use super::update::Update;
use crate::model::{
    App, ContainerSpec, ContainerState, Health, Observed, ObservedContainer, RestartPolicy,
};

/// The containers of one replica.
pub(super) struct Slot<'a> {
    pub(super) update: &'a Update<'a>,
    pub(super) app: &'a App,
    pub(super) replica: u32,
    /// The container of the desired version.
    pub(super) new: Option<&'a ObservedContainer>,
    /// The container that served before it.
    pub(super) old: Option<&'a ObservedContainer>,
    /// Any others: what an interrupted pass left behind.
    pub(super) extra: Vec<&'a ObservedContainer>,
    /// The app's other replicas keep serving while this one changes, and keep their ports.
    pub(super) is_one_by_one: bool,
    /// The old container serves until the new one has come up.
    pub(super) is_start_first: bool,
}

/// How the new container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none.
    Absent,
    /// It runs, is healthy if it has a health check, and has stayed up.
    Up,
    /// It runs, and it is too early to tell.
    Undecided,
    /// Its health check fails.
    Unhealthy,
    /// Its health check does not decide, though it has had the time. Docker before 23.0 runs none
    /// any more for containers that outlived a restart of its daemon (moby#41871).
    Stalled,
    /// Its process ended and Docker starts it again.
    Restarting,
    /// It does not run.
    Down,
    /// Its process ended with this code, and is not to be started again.
    Ended(i64),
    /// It is frozen.
    Paused,
    /// Docker is removing it, or failed to.
    Leaving,
    /// A word that we do not know.
    Unknown,
}

impl<'a> Slot<'a> {
    /// Sorts the containers of one replica.
    pub(super) fn gather(
        update: &'a Update<'a>,
        replica: u32,
        containers: &[&'a ObservedContainer],
    ) -> Self {
        let mut of_replica: Vec<&ObservedContainer> =
            containers.iter().copied().filter(|c| c.replica == Some(replica)).collect();
        // The one that serves best comes first; the id makes the order certain.
        of_replica.sort_by(|a, b| (rank(a), &a.id).cmp(&(rank(b), &b.id)));
        let mut slot = Self {
            update,
            app: update.app,
            replica,
            new: None,
            old: None,
            extra: Vec::new(),
            is_one_by_one: false,
            is_start_first: false,
        };
        for container in of_replica {
            let is_current = container.version.as_ref() == Some(&update.version);
            let place = if is_current { &mut slot.new } else { &mut slot.old };
            match place {
                None => *place = Some(container),
                Some(_) => slot.extra.push(container),
            }
        }
        slot
    }

    /// The subject under which starts of this replica's new container are counted.
    pub(super) fn subject(&self) -> String {
        format!("replica {} {}", self.replica, self.update.version)
    }

    /// Does the container of the version before serve?
    pub(super) fn old_serves(&self) -> bool {
        self.old.is_some_and(|old| old.state == ContainerState::Running)
    }

    /// Would bringing it to the desired version stop a container that serves?
    pub(super) fn would_interrupt(&self) -> bool {
        self.old_serves() && self.new.is_none_or(|new| new.state != ContainerState::Running)
    }

    /// Was the new container started again since we started it? A process that ends quickly is
    /// seldom seen while it is down; that it is younger than its start tells as well. It is
    /// asked while an old container waits to be given up, and no longer: later, a person at the
    /// device may have started it again.
    fn has_flapped(&self, new: &ObservedContainer, elapsed_ms: u64) -> bool {
        let is_watched = self.old.is_some() && elapsed_ms < self.update.monitor_ms + WATCHED_MS;
        is_watched && new.up_seconds.is_some_and(|up| up.saturating_add(2) * 1_000 <= elapsed_ms)
    }

    pub(super) fn standing(&self, planner: &Planner<'_>) -> Standing {
        let Some(new) = self.new else { return Standing::Absent };
        match (new.state, new.health) {
            (ContainerState::Running, Health::Unhealthy) => Standing::Unhealthy,
            (ContainerState::Running, Health::Starting)
                if planner.memory.has_stalled(new, planner.inputs) =>
            {
                // One that nothing stands in for runs, and that is all that can be known of it.
                if self.old.is_some() { Standing::Stalled } else { Standing::Up }
            }
            (ContainerState::Running, Health::Starting) => Standing::Undecided,
            (ContainerState::Running, Health::None | Health::Healthy) => {
                let app = self.app.app_name.as_str();
                let started = planner.memory.attempts(app, &self.subject()).map(|t| t.last_ms);
                match started.and_then(|started| planner.inputs.now_ms.checked_sub(started)) {
                    Some(elapsed) if self.has_flapped(new, elapsed) => Standing::Restarting,
                    Some(elapsed) if elapsed < self.update.monitor_ms => Standing::Undecided,
                    _ => Standing::Up,
                }
            }
            (ContainerState::Restarting, _) => Standing::Restarting,
            (ContainerState::Exited, _) => match new.exit_code.filter(|code| self.may_end(*code)) {
                Some(exit_code) => Standing::Ended(exit_code),
                None => Standing::Down,
            },
            (ContainerState::Created, _) => Standing::Down,
            (ContainerState::Paused, _) => Standing::Paused,
            (ContainerState::Removing | ContainerState::Dead, _) => Standing::Leaving,
            (ContainerState::Unknown, _) => Standing::Unknown,
        }
    }

    /// May its process come to an end with this code and stay so?
    fn may_end(&self, exit_code: i64) -> bool {
        match self.app.restart() {
            RestartPolicy::Always | RestartPolicy::UnlessStopped => false,
            // Docker starts it again; that it is down is somebody's doing.
            RestartPolicy::OnFailure { most: None } => exit_code == 0,
            RestartPolicy::OnFailure { most: Some(_) } | RestartPolicy::No => true,
        }
    }

    /// Does it stand as it is to stay?
    pub(super) fn is_settled(&self, planner: &Planner<'_>) -> bool {
        matches!(self.standing(planner), Standing::Up | Standing::Ended(0))
    }

    fn target(&self, container: &ObservedContainer) -> Target {
        Target::observed(container, &self.subject())
    }

    /// Creates the new container under this name, and joins it to its further networks.
    fn create(&self, name: &str, steps: &mut Steps) -> Target {
        let app = self.app.app_name.as_str();
        let target = Target { id: name.to_owned(), name: name.to_owned(), attempt: self.subject() };
        let image_id = self.update.image_id.map(str::to_owned);
        let spec = self.app.container_spec(self.replica, name.to_owned());
        let spec = Box::new(ContainerSpec { image_id, ..spec });
        let first = spec.network.clone();
        steps.push(Phase::Create, app, &target, Step::Create(spec));
        for network in self.app.networks().into_iter().filter(|network| *network != first) {
            let alias = self.app.alias_on(&network);
            steps.push(Phase::Connect, app, &target, Step::Connect { network, alias });
        }
        target
    }

    /// A name for this replica's container that no other container has: the lasting one, unless it
    /// is taken. By whom does not matter: a container may have been renamed by hand. Whoever is to
    /// be removed before the name is used is passed over.
    fn free_name(&self, observed: &Observed, removed_id: Option<&str>) -> String {
        let is_taken = |name: &str| {
            observed.worker.as_ref().is_some_and(|worker| worker.name == name)
                || observed
                    .containers
                    .iter()
                    .any(|c| c.name == name && Some(c.id.as_str()) != removed_id)
        };
        let mut name = self.app.container_name(self.replica);
        // Updates that follow one another quickly can leave one `-next` behind the other.
        while is_taken(&name) {
            name.push_str(NEXT);
        }
        name
    }
}

const NO_VERDICT: &str = "its health check does not decide";

/// The look at the end of the monitoring may come as much later.
const WATCHED_MS: u64 = 5_000;

/// What a container's name ends in until it has shown that it stays up.
const NEXT: &str = "-next";

/// Smaller serves better. One that was stopped comes before one that runs badly: it is most likely
/// the one that served before, stopped by us to make room.
fn rank(container: &ObservedContainer) -> u8 {
    match (container.state, container.health) {
        (ContainerState::Running, Health::None | Health::Healthy) => 0,
        (ContainerState::Running, Health::Starting) => 1,
        (ContainerState::Paused, _) => 2,
        (ContainerState::Exited, _) => 3,
        (ContainerState::Running, Health::Unhealthy) => 4,
        (ContainerState::Restarting, _) => 5,
        (ContainerState::Created, _) => 6,
        (ContainerState::Unknown, _) => 7,
        (ContainerState::Dead, _) => 8,
        (ContainerState::Removing, _) => 9,
    }
}

impl Planner<'_> {
    /// Plans one replica of an app whose image is there.
    pub(super) fn slot(&mut self, slot: &Slot<'_>, ports: &mut Ports, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        for extra in &slot.extra {
            self.remove(app, extra, Phase::Remove, steps);
        }
        let gate = self.gate(app, &slot.subject());
        match (slot.standing(self), slot.new) {
            (Standing::Absent, _) | (_, None) => self.make(slot, gate, ports, steps),
            (Standing::Up, Some(new)) => self.finish(slot, new, steps),
            (Standing::Undecided, Some(new)) => self.await_standing(slot, new, steps),
            (Standing::Unhealthy, Some(new)) => self.failing(slot, new, gate, steps),
            (Standing::Stalled, Some(new)) => self.restart(slot, new, gate, NO_VERDICT, steps),
            (Standing::Restarting, Some(new)) if self.has_another(slot) => {
                self.failing(slot, new, gate, steps);
            }
            (Standing::Restarting, Some(new)) => self.crashing(slot, new, steps),
            (Standing::Ended(exit_code), Some(new)) => {
                if exit_code != 0 && self.has_another(slot) {
                    return self.failing(slot, new, gate, steps);
                }
                self.plan.hold(app, Some(slot.replica), Reason::Ended { exit_code });
                self.finish(slot, new, steps);
            }
            (Standing::Down, Some(new)) => self.start(slot, new, gate, ports, steps),
            (Standing::Paused, Some(new)) => match gate {
                Gate::Open => {
                    self.memory.count(app, &slot.subject(), self.inputs.now_ms);
                    steps.push(Phase::Start, app, &slot.target(new), Step::Unpause);
                }
                Gate::Wait(wait_ms) => self.wait(slot, wait_ms, steps),
            },
            (Standing::Leaving, Some(new)) => {
                self.remove(app, new, Phase::Remove, steps);
                self.keep_old(slot, steps);
            }
            (Standing::Unknown, Some(new)) => {
                let reason = Reason::UnknownState { name: new.name.clone() };
                self.plan.hold(app, Some(slot.replica), reason);
            }
        }
    }

    /// There is no container of the desired version: make one beside the old, and change over.
    fn make(&mut self, slot: &Slot<'_>, gate: Gate, ports: &mut Ports, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        if let Some(leaving) = slot.old.filter(|old| old.state == ContainerState::Removing) {
            self.plan.recheck(1_000);
            let reason = Reason::BeingRemoved { name: leaving.name.clone() };
            return self.plan.hold(app, Some(slot.replica), reason);
        }
        if let Gate::Wait(wait_ms) = gate {
            return self.wait(slot, wait_ms, steps);
        }
        if let Err(reason) = ports.take(slot) {
            return self.held(slot, reason, steps);
        }
        self.memory.count(app, &slot.subject(), self.inputs.now_ms);
        let target = slot.create(&slot.free_name(self.inputs.observed, None), steps);
        Self::change_over(slot, &target, steps);
    }

    /// The new container is there and does not run.
    fn start(
        &mut self,
        slot: &Slot<'_>,
        new: &ObservedContainer,
        gate: Gate,
        ports: &mut Ports,
        steps: &mut Steps,
    ) {
        let app = slot.app.app_name.as_str();
        if let Gate::Wait(wait_ms) = gate {
            return self.wait(slot, wait_ms, steps);
        }
        if let Err(reason) = ports.take(slot) {
            return self.held(slot, reason, steps);
        }
        let has_failed = self
            .memory
            .attempts(app, &slot.subject())
            .is_some_and(|tried| tried.error.is_some() && !tried.is_crash);
        self.memory.count(app, &slot.subject(), self.inputs.now_ms);
        if has_failed {
            // A container can be beyond starting, for example when a network it was made in was
            // removed and made again. A fresh one is not.
            steps.push(Phase::Clear, app, &slot.target(new), Step::Remove);
            let target = slot.create(&slot.free_name(self.inputs.observed, Some(&new.id)), steps);
            Self::change_over(slot, &target, steps);
        } else {
            self.connect(slot, new, steps);
            Self::change_over(slot, &slot.target(new), steps);
        }
    }

    /// Starts the new container, and stops the old one before where both cannot run.
    fn change_over(slot: &Slot<'_>, new: &Target, steps: &mut Steps) {
        let stays =
            |old: &&ObservedContainer| old.state == ContainerState::Running && slot.is_start_first;
        if let Some(old) = slot.old.filter(|old| !stays(old)) {
            Self::stop(slot, old, steps);
        }
        steps.push(Phase::Start, slot.app.app_name.as_str(), new, Step::Start);
    }

    fn stop(slot: &Slot<'_>, container: &ObservedContainer, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        let target = slot.target(container);
        if container.state == ContainerState::Paused {
            steps.push(Phase::Clear, app, &target, Step::Unpause);
        }
        if matches!(
            container.state,
            ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
        ) {
            steps.push(Phase::Stop, app, &target, Step::Stop);
        }
    }

    /// The new container stays up: give up the old one, and hand over its name.
    pub(super) fn finish(&mut self, slot: &Slot<'_>, new: &ObservedContainer, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        self.forget_old_attempts(slot);
        if let Some(old) = slot.old {
            self.remove(app, old, Phase::Remove, steps);
        }
        self.connect(slot, new, steps);
        let lasting = slot.app.container_name(slot.replica);
        if new.name != lasting {
            self.rename(slot, new, lasting, steps);
        }
    }

    /// Gives a container its lasting name, once nothing else has it. Until then it steps aside:
    /// its own name may be the very one that the holder waits for, when both were renamed by hand.
    fn rename(
        &mut self,
        slot: &Slot<'_>,
        new: &ObservedContainer,
        lasting: String,
        steps: &mut Steps,
    ) {
        let app = slot.app.app_name.as_str();
        let observed = self.inputs.observed;
        let is_workers = observed.worker.as_ref().is_some_and(|worker| worker.name == lasting);
        // A removal in this same plan comes before the renaming.
        let is_held = |c: &ObservedContainer| c.name == lasting && !steps.removes(&c.id);
        let to = if !is_workers && !observed.containers.iter().any(is_held) {
            lasting
        } else if new.name.starts_with(&format!("{lasting}{NEXT}")) {
            let reason = if is_workers {
                Reason::HeldByWorker { name: lasting }
            } else {
                Reason::NameHeld { name: lasting }
            };
            return self.plan.hold(app, Some(slot.replica), reason);
        } else {
            slot.free_name(observed, None)
        };
        let subject = format!("rename {}", new.id);
        match self.gate(app, &subject) {
            Gate::Open => {
                self.memory.count(app, &subject, self.inputs.now_ms);
                let target = Target::observed(new, &subject);
                steps.push(Phase::Rename, app, &target, Step::Rename { to });
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(app, &subject, wait_ms);
                self.plan.hold(app, Some(slot.replica), reason);
            }
        }
    }

    /// It runs, and it is too early to tell whether it stays so.
    fn await_standing(&mut self, slot: &Slot<'_>, new: &ObservedContainer, steps: &mut Steps) {
        let is_done = slot.old.is_none() && new.name == slot.app.container_name(slot.replica);
        self.connect(slot, new, steps);
        // A verdict on health comes as an event, if it comes; the end of the monitoring does not,
        // and other replicas may be waiting for it.
        self.plan.recheck(match new.verdict_ms {
            Some(verdict_ms) => {
                let waited_ms = self.memory.undecided_ms(&new.id, self.inputs.now_ms);
                let most_ms = verdict_ms.saturating_add(self.inputs.policy.verdict_slack_ms);
                most_ms.saturating_sub(waited_ms).saturating_add(1)
            }
            None => self.monitoring_left(slot),
        });
        if !is_done {
            self.plan.hold(slot.app.app_name.as_str(), Some(slot.replica), Reason::Settling);
        }
    }

    /// Until the end of the monitoring of the new container, in ms.
    fn monitoring_left(&self, slot: &Slot<'_>) -> u64 {
        let tried = self.memory.attempts(slot.app.app_name.as_str(), &slot.subject());
        let elapsed = tried.and_then(|tried| self.inputs.now_ms.checked_sub(tried.last_ms));
        slot.update.monitor_ms.saturating_sub(elapsed.unwrap_or(0))
    }

    /// It runs badly. With an old container at hand that one serves again until the next try;
    /// without, it is restarted, with back-off.
    fn failing(&mut self, slot: &Slot<'_>, new: &ObservedContainer, gate: Gate, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        let subject = slot.subject();
        let error = match new.health {
            Health::Unhealthy => "the new container is unhealthy",
            _ => "the new container does not stay up",
        };
        // One that was found like this, and was not started here as far as is known, has its try.
        if self.has_another(slot) && self.memory.attempts(app, &subject).is_some() {
            self.new_failed(slot, error);
        }
        if slot.old.is_some() {
            if self.memory.attempts(app, &subject).is_none() {
                self.memory.count(app, &subject, self.inputs.now_ms);
            }
            let error = format!("{error}; the old one serves again");
            self.memory.failed(app, &subject, &error);
            self.give_up(slot, new, steps);
            return self.keep_old(slot, steps);
        }
        self.restart(slot, new, gate, "its health check fails", steps);
    }

    /// Stops the new container and starts it again, with back-off.
    fn restart(
        &mut self,
        slot: &Slot<'_>,
        new: &ObservedContainer,
        gate: Gate,
        why: &str,
        steps: &mut Steps,
    ) {
        let (app, subject) = (slot.app.app_name.as_str(), slot.subject());
        match gate {
            Gate::Open => {
                self.memory.count(app, &subject, self.inputs.now_ms);
                self.memory.forget_undecided(&new.id);
                Self::stop(slot, new, steps);
                steps.push(Phase::Start, app, &slot.target(new), Step::Start);
            }
            Gate::Wait(wait_ms) => {
                let mut reason = self.backing_off(app, &subject, wait_ms);
                if let Reason::BackingOff { error, .. } = &mut reason {
                    why.clone_into(error);
                }
                self.plan.hold(app, Some(slot.replica), reason);
            }
        }
    }

    /// Its process ends again and again, and there is nothing else to run. Docker starts it again a
    /// few times with short waits; then it is stopped here, so that the waits can grow.
    fn crashing(&mut self, slot: &Slot<'_>, new: &ObservedContainer, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        if new.restarts < self.inputs.policy.restarts_by_docker {
            self.plan.recheck(5_000);
            return self.plan.hold(app, Some(slot.replica), Reason::Restarting);
        }
        let error = match new.exit_code {
            Some(code) => format!("its process ends with code {code} again and again"),
            None => "its process ends again and again".to_owned(),
        };
        self.memory.crashed(app, &slot.subject(), &error, self.inputs.now_ms);
        self.give_up(slot, new, steps);
    }

    /// Stops a new container that failed. A stop that keeps failing backs off like anything else.
    fn give_up(&mut self, slot: &Slot<'_>, new: &ObservedContainer, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        let subject = format!("stop {}", new.id);
        match self.gate(app, &subject) {
            Gate::Open => {
                self.memory.count(app, &subject, self.inputs.now_ms);
                Self::stop(slot, new, steps);
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(app, &subject, wait_ms);
                self.plan.hold(app, Some(slot.replica), reason);
            }
        }
    }

    /// Joins a container to the networks it lacks.
    fn connect(&mut self, slot: &Slot<'_>, new: &ObservedContainer, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        for network in slot.app.networks() {
            if new.networks.contains(&network) || matches!(network.as_str(), "host" | "none") {
                continue;
            }
            let subject = format!("connect {} {network}", new.id);
            match self.gate(app, &subject) {
                Gate::Open => {
                    self.memory.count(app, &subject, self.inputs.now_ms);
                    let target = Target::observed(new, &subject);
                    let alias = slot.app.alias_on(&network);
                    steps.push(Phase::Connect, app, &target, Step::Connect { network, alias });
                }
                Gate::Wait(wait_ms) => {
                    let reason = self.backing_off(app, &subject, wait_ms);
                    self.plan.hold(app, Some(slot.replica), reason);
                }
            }
        }
    }

    fn wait(&mut self, slot: &Slot<'_>, wait_ms: u64, steps: &mut Steps) {
        let reason = self.backing_off(slot.app.app_name.as_str(), &slot.subject(), wait_ms);
        self.held(slot, reason, steps);
    }

    fn held(&mut self, slot: &Slot<'_>, reason: Reason, steps: &mut Steps) {
        self.plan.hold(slot.app.app_name.as_str(), Some(slot.replica), reason);
        self.keep_old(slot, steps);
    }

    /// While the new one is not to be had, the old one serves.
    fn keep_old(&mut self, slot: &Slot<'_>, steps: &mut Steps) {
        if let Some(old) = slot.old {
            self.revive(slot.app.app_name.as_str(), old, steps);
        }
    }

    /// A container that has stayed up long starts with a clean record.
    fn forget_old_attempts(&mut self, slot: &Slot<'_>) {
        let (app, subject) = (slot.app.app_name.as_str(), slot.subject());
        let is_old = self.memory.attempts(app, &subject).is_some_and(|tried| {
            let elapsed = self.inputs.now_ms.saturating_sub(tried.last_ms);
            elapsed >= self.inputs.policy.backoff_forgotten_ms
        });
        if is_old {
            self.memory.forget(app, &subject);
        }
    }
}
