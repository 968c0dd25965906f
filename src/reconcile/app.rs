//! Planning one app: how many replicas, whether its image is there, which containers are whose.

use super::action::{Action, Step, Target};
use super::hold::Reason;
use super::memory::{Gate, Memory};
use super::ports::Ports;
use super::pull::Image;
use super::replica::Slot;
use super::update::{Course, Update};
use super::{Inputs, Plan};
use crate::model::{App, ContainerState, DesiredApp, Health, MAX_REPLICAS, ObservedContainer};
use std::collections::{BTreeMap, BTreeSet};

/// The order in which an app's steps are done. Everything is created before anything stops, and
/// everything that gives way has stopped before anything starts, so that ports can move between
/// replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Remove what stands in the way of a create.
    Clear,
    Create,
    Connect,
    Stop,
    /// Start again what served before: it comes before new containers, whose failure ends the
    /// app's steps.
    Revive,
    Start,
    Remove,
    Rename,
}

/// Attempts at what belongs to no app are kept under a name that no app can have.
pub(super) const NO_APP: &str = "";

/// The planner of a pass: its inputs, what it remembers and what it has planned so far.
pub(super) struct Planner<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) memory: &'a mut Memory,
    pub(super) plan: &'a mut Plan,
    pub(super) seen: &'a mut BTreeSet<(String, String)>,
}

/// The steps of one app, kept by phase until all are known.
#[derive(Debug, Default)]
pub(super) struct Steps(BTreeMap<Phase, Vec<Action>>);

impl Steps {
    pub(super) fn push(&mut self, phase: Phase, app: &str, target: &Target, step: Step) {
        self.0.entry(phase).or_default().push(Action::Container {
            app: app.to_owned(),
            target: target.clone(),
            step,
        });
    }

    /// True when the container is removed by these steps.
    pub(super) fn removes(&self, id: &str) -> bool {
        self.0.values().flatten().any(|action| {
            matches!(action, Action::Container { target, step: Step::Remove, .. } if target.id == id)
        })
    }
}

impl Planner<'_> {
    /// Creates a network that is ours. Apps that need it are held until it is there.
    pub(super) fn network(&mut self, name: &str) {
        let subject = format!("network {name}");
        match self.gate(NO_APP, &subject) {
            _ if self.inputs.busy.network => self.plan.hold(&subject, None, Reason::Busy),
            Gate::Open => {
                self.memory.count(NO_APP, &subject, self.inputs.now_ms);
                self.plan.actions.push(Action::CreateNetwork { name: name.to_owned() });
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(NO_APP, &subject, wait_ms);
                self.plan.hold(&subject, None, reason);
            }
        }
    }

    /// Plans one app of the desired state.
    pub(super) fn app(&mut self, app: &App, ports: &mut Ports) {
        let name = app.app_name.as_str();
        if self.inputs.busy.apps.contains(name) {
            self.plan.hold(name, None, Reason::Busy);
            return;
        }
        let containers: Vec<&ObservedContainer> =
            self.inputs.observed.containers.iter().filter(|c| c.app == name).collect();
        let mut steps = Steps::default();
        if !app.spec.running {
            // One that is stopped while it is held back is so when it starts again.
            self.memory.held_back(app, &app.version());
            self.remove_all(name, &containers, &mut steps);
            return self.emit(steps);
        }
        self.version_to_run(app, &containers, ports, &mut steps);
        self.emit(steps);
    }

    /// Runs one version of an app, as far as it may be changed now.
    pub(super) fn run(
        &mut self,
        update: &Update<'_>,
        containers: &[&ObservedContainer],
        ports: &mut Ports,
        steps: &mut Steps,
    ) {
        match self.readiness(update, containers) {
            Ok(replicas) => self.replicas(update, replicas, containers, ports, steps),
            Err(reason) => {
                self.plan.hold(update.app.app_name.as_str(), None, reason);
                self.keep_alive(update, containers, steps);
            }
        }
    }

    /// Removes the containers of apps that are in no list any more.
    pub(super) fn leftovers(&mut self) {
        let desired: BTreeSet<&str> =
            self.inputs.desired.apps.iter().map(DesiredApp::name).collect();
        let mut gone: BTreeMap<&str, Vec<&ObservedContainer>> = BTreeMap::new();
        for container in &self.inputs.observed.containers {
            if !desired.contains(container.app.as_str()) {
                gone.entry(&container.app).or_default().push(container);
            }
        }
        for (app, containers) in gone {
            if self.inputs.busy.apps.contains(app) {
                self.plan.hold(app, None, Reason::Busy);
                continue;
            }
            let mut steps = Steps::default();
            self.remove_all(app, &containers, &mut steps);
            self.emit(steps);
        }
    }

    /// How many replicas to run, or why nothing may be replaced now.
    fn readiness(
        &mut self,
        update: &Update<'_>,
        containers: &[&ObservedContainer],
    ) -> Result<u32, Reason> {
        let (app, version) = (update.app, &update.version);
        let counted = app.spec.containers_per.replicas(self.inputs.observed.machine);
        let replicas = u32::try_from(counted)
            .ok()
            .filter(|replicas| *replicas <= MAX_REPLICAS)
            .ok_or(Reason::TooManyReplicas { replicas: counted, limit: MAX_REPLICAS })?;
        app.spec
            .starting_ports
            .check(replicas)
            .map_err(|why| Reason::PortsDoNotFit { replicas: counted, why })?;
        let known = &self.inputs.observed.networks;
        if let Some(network) = app.networks().iter().find(|network| !known.contains(*network)) {
            return Err(Reason::NetworkMissing { network: network.clone() });
        }
        let is_current = |c: &&&ObservedContainer| c.version.as_ref() == Some(version);
        let made: BTreeSet<u32> =
            containers.iter().filter(is_current).filter_map(|c| c.replica).collect();
        if update.image_id.is_none() && !(1..=replicas).all(|replica| made.contains(&replica)) {
            let (owner, reference) = (app.app_name.as_str(), &app.spec.container.docker_image);
            // What went back goes back to what is here, whatever its registry has by now.
            let is_made = !made.is_empty() || update.course == Course::WentBack;
            self.image(&Image { owner, version, reference, is_made })?;
        }
        let replaces = containers
            .iter()
            .any(|c| c.version.as_ref() != Some(version) && c.state == ContainerState::Running);
        if replaces
            && update.course == Course::Declared
            && let Some(owner) = self.first_pull_under_way(app)
        {
            return Err(Reason::WaitingForImage { owner });
        }
        Ok(replicas)
    }

    /// The app may not be changed now, but what it runs is kept running.
    fn keep_alive(
        &mut self,
        update: &Update<'_>,
        containers: &[&ObservedContainer],
        steps: &mut Steps,
    ) {
        let replicas: BTreeSet<u32> = containers.iter().filter_map(|c| c.replica).collect();
        for replica in replicas {
            let slot = Slot::gather(update, replica, containers);
            let serving = [slot.new, slot.old].into_iter().flatten().collect::<Vec<_>>();
            let running = serving.iter().find(|c| c.state == ContainerState::Running);
            if let Some(container) = running.or(serving.last()) {
                self.tend(update.app.app_name.as_str(), container, steps);
            }
        }
    }

    /// Sees to it that a container runs and is well, whatever its version.
    pub(super) fn tend(&mut self, app: &str, container: &ObservedContainer, steps: &mut Steps) {
        if (container.state, container.health) != (ContainerState::Running, Health::Unhealthy) {
            return self.revive(app, container, steps);
        }
        let subject = revive_subject(container);
        match self.gate(app, &subject) {
            Gate::Open => {
                self.memory.count(app, &subject, self.inputs.now_ms);
                let target = Target::observed(container, &subject);
                steps.push(Phase::Stop, app, &target, Step::Stop);
                steps.push(Phase::Revive, app, &target, Step::Start);
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(app, &subject, wait_ms);
                self.plan.hold(app, container.replica, reason);
            }
        }
    }

    fn remove_all(&mut self, app: &str, containers: &[&ObservedContainer], steps: &mut Steps) {
        for container in containers {
            self.remove(app, container, Phase::Remove, steps);
        }
    }

    /// Stops and removes a container. A removal that keeps failing backs off like anything else.
    pub(super) fn remove(
        &mut self,
        app: &str,
        container: &ObservedContainer,
        phase: Phase,
        steps: &mut Steps,
    ) {
        let subject = format!("remove {}", container.id);
        let hold = match (container.state, self.gate(app, &subject)) {
            (ContainerState::Removing, _) => {
                self.plan.recheck(1_000);
                Some(Reason::BeingRemoved { name: container.name.clone() })
            }
            (ContainerState::Unknown, _) => {
                Some(Reason::UnknownState { name: container.name.clone() })
            }
            (_, Gate::Wait(wait_ms)) => Some(self.backing_off(app, &subject, wait_ms)),
            (_, Gate::Open) => None,
        };
        if let Some(reason) = hold {
            return self.plan.hold(app, container.replica, reason);
        }
        self.memory.count(app, &subject, self.inputs.now_ms);
        let target = Target::observed(container, &subject);
        if container.state == ContainerState::Paused {
            steps.push(Phase::Clear, app, &target, Step::Unpause);
        }
        if !matches!(
            container.state,
            ContainerState::Created | ContainerState::Exited | ContainerState::Dead
        ) {
            steps.push(Phase::Stop.min(phase), app, &target, Step::Stop);
        }
        steps.push(phase, app, &target, Step::Remove);
    }

    /// Starts a container as it is, with back-off of its own.
    pub(super) fn revive(&mut self, app: &str, container: &ObservedContainer, steps: &mut Steps) {
        let subject = revive_subject(container);
        let step = match container.state {
            ContainerState::Created | ContainerState::Exited => Step::Start,
            ContainerState::Paused => Step::Unpause,
            _ => return,
        };
        match self.gate(app, &subject) {
            Gate::Open => {
                self.memory.count(app, &subject, self.inputs.now_ms);
                let target = Target::observed(container, &subject);
                steps.push(Phase::Revive, app, &target, step);
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(app, &subject, wait_ms);
                self.plan.hold(app, container.replica, reason);
            }
        }
    }

    /// Keeps the memory of tries that this pass has no other use for.
    pub(super) fn keep(&mut self, app: &str, subject: &str) {
        self.seen.insert((app.to_owned(), subject.to_owned()));
    }

    /// May this be tried now? Asking keeps the memory of it.
    pub(super) fn gate(&mut self, app: &str, subject: &str) -> Gate {
        self.keep(app, subject);
        self.memory.gate(app, subject, self.inputs.now_ms, self.inputs.policy)
    }

    /// The reason for waiting, with a look at the clock when the wait ends.
    pub(super) fn backing_off(&mut self, app: &str, subject: &str, wait_ms: u64) -> Reason {
        self.plan.recheck(wait_ms);
        let tried = self.memory.attempts(app, subject);
        let error = tried.and_then(|tried| tried.error.clone());
        Reason::BackingOff {
            attempts: tried.map_or(0, |tried| tried.count),
            wait_ms,
            error: error.unwrap_or_else(|| {
                "the last attempt was cut short, or what it started ended".to_owned()
            }),
        }
    }

    pub(super) fn emit(&mut self, steps: Steps) {
        self.plan.actions.extend(steps.0.into_values().flatten());
    }
}

/// The subject under which starts of a container as it is are counted.
pub(super) fn revive_subject(container: &ObservedContainer) -> String {
    format!("revive {}", container.id)
}

impl Target {
    pub(super) fn observed(container: &ObservedContainer, attempt: &str) -> Self {
        Self { id: container.id.clone(), name: container.name.clone(), attempt: attempt.to_owned() }
    }
}
