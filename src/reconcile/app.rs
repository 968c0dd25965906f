//! Planning one app: how many replicas, whether its image is there, which containers are whose.

use super::action::{Action, Step, Target};
use super::hold::Reason;
use super::memory::{Gate, Memory};
use super::ports::Ports;
use super::pull::Image;
use super::replica::{Slot, Standing};
use super::{Inputs, Plan};
use crate::model::{App, AppVersion, ContainerState, DesiredApp, MAX_REPLICAS, ObservedContainer};
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
            self.remove_all(name, &containers, &mut steps);
            return self.emit(steps);
        }
        let version = app.version();
        match self.readiness(app, &version, &containers) {
            Ok(replicas) => self.replicas(app, &version, replicas, &containers, ports, &mut steps),
            Err(reason) => {
                self.plan.hold(name, None, reason);
                self.keep_alive(app, &version, &containers, &mut steps);
            }
        }
        self.emit(steps);
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
        app: &App,
        version: &AppVersion,
        containers: &[&ObservedContainer],
    ) -> Result<u32, Reason> {
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
        if !(1..=replicas).all(|replica| made.contains(&replica)) {
            let (owner, reference) = (app.app_name.as_str(), &app.spec.container.docker_image);
            self.image(&Image { owner, version, reference, is_made: !made.is_empty() })?;
        }
        Ok(replicas)
    }

    /// The replicas of an app whose image is there.
    fn replicas(
        &mut self,
        app: &App,
        version: &AppVersion,
        replicas: u32,
        containers: &[&ObservedContainer],
        ports: &mut Ports,
        steps: &mut Steps,
    ) {
        let surplus = containers
            .iter()
            .copied()
            .filter(|c| c.replica.is_none_or(|replica| replica == 0 || replica > replicas));
        for container in surplus {
            self.remove(app.app_name.as_str(), container, Phase::Remove, steps);
        }
        let mut slots: Vec<Slot<'_>> =
            (1..=replicas).map(|replica| Slot::gather(app, version, replica, containers)).collect();
        let first = if app.spec.rolling_restart {
            self.goes_first(&slots, ports)
        } else {
            self.canary(&slots, ports)
        };
        for slot in &mut slots {
            slot.is_one_by_one = first.is_some();
        }
        for slot in &slots {
            match first {
                Some(first) if slot.replica != first && slot.would_interrupt() => {
                    // Its own tries are remembered while it waits.
                    self.keep(app.app_name.as_str(), &slot.subject());
                    let reason = Reason::WaitingForReplica { replica: first };
                    self.plan.hold(app.app_name.as_str(), Some(slot.replica), reason);
                    for extra in &slot.extra {
                        self.remove(app.app_name.as_str(), extra, Phase::Remove, steps);
                    }
                }
                _ => self.slot(slot, ports, steps),
            }
        }
    }

    /// Which replica of a rolling app goes first: one that is already down or on its way, so that
    /// no second one is taken down; else the first whose new ports are free. None when nothing is
    /// to be updated, or when no order exists because replicas hold each other's ports in a ring:
    /// such an update can only be made at once.
    fn goes_first(&mut self, slots: &[Slot<'_>], ports: &Ports) -> Option<u32> {
        // The one that is down before one that was tried and serves with its old container again.
        let unsettled = slots.iter().filter(|slot| self.is_unsettled(slot, ports));
        if let Some(slot) = unsettled.min_by_key(|slot| slot.old_serves()) {
            return Some(slot.replica);
        }
        let outdated = || slots.iter().filter(|slot| slot.new.is_none());
        let can_go = |slot: &&Slot<'_>| !Self::waits_for_another(slot, slots, ports);
        outdated()
            .find(|slot| ports.blockers(slot).is_empty())
            .or_else(|| outdated().find(can_go))
            .map(|slot| slot.replica)
    }

    /// A version that failed here, and has not come up anywhere yet, is tried on one replica at a
    /// time, whatever the app asks for: the others serve on with what they have. Those that it was
    /// not tried on come first, because what failed may be one replica's own trouble.
    fn canary(&mut self, slots: &[Slot<'_>], ports: &Ports) -> Option<u32> {
        let standings: Vec<Standing> = slots.iter().map(|slot| slot.standing(self)).collect();
        if standings.contains(&Standing::Up) || !slots.iter().any(|slot| self.has_failed(slot)) {
            return None;
        }
        let on_its_way = standings.iter().position(|standing| *standing == Standing::Undecided);
        let untried = || {
            slots.iter().position(|slot| {
                slot.new.is_none() && !self.has_failed(slot) && ports.blockers(slot).is_empty()
            })
        };
        match on_its_way.or_else(untried) {
            Some(index) => Some(slots[index].replica),
            None => self.goes_first(slots, ports),
        }
    }

    /// Has this version failed on this replica? One that is being tried again has.
    fn has_failed(&self, slot: &Slot<'_>) -> bool {
        self.memory
            .attempts(slot.app.app_name.as_str(), &slot.subject())
            .is_some_and(|tried| tried.error.is_some() || tried.count > 1)
    }

    /// Is this replica on its way, so that the others wait for it? One that waits itself for a port
    /// of another replica does not count, or the two would wait for each other; but before another
    /// one is taken down, its old container is started again.
    fn is_unsettled(&self, slot: &Slot<'_>, ports: &Ports) -> bool {
        let app = slot.app.app_name.as_str();
        if slot.standing(self) == Standing::Up {
            return false;
        }
        let tried = self.memory.attempts(app, &slot.subject()).is_some();
        let is_blocked = ports.blockers(slot).iter().any(|(_, holder)| holder.app == app);
        if is_blocked {
            let revivable = slot.old.filter(|old| {
                let is_down = matches!(
                    old.state,
                    ContainerState::Created | ContainerState::Exited | ContainerState::Paused
                );
                is_down && self.memory.attempts(app, &revive_subject(old)).is_none()
            });
            return revivable.is_some();
        }
        tried || slot.new.is_some() || !slot.old_serves()
    }

    /// Does this replica need a port of one that is still to be updated? What is removed in this
    /// pass anyway does not count.
    fn waits_for_another(slot: &Slot<'_>, slots: &[Slot<'_>], ports: &Ports) -> bool {
        let app = slot.app.app_name.as_str();
        ports.blockers(slot).iter().any(|(_, holder)| {
            holder.app == app
                && slots.iter().any(|other| other.old.is_some_and(|old| old.name == holder.name))
        })
    }

    /// The app may not be changed now, but what it runs is kept running.
    fn keep_alive(
        &mut self,
        app: &App,
        version: &AppVersion,
        containers: &[&ObservedContainer],
        steps: &mut Steps,
    ) {
        let replicas: BTreeSet<u32> = containers.iter().filter_map(|c| c.replica).collect();
        for replica in replicas {
            let slot = Slot::gather(app, version, replica, containers);
            let serving = [slot.new, slot.old].into_iter().flatten().collect::<Vec<_>>();
            if !serving.iter().any(|c| c.state == ContainerState::Running)
                && let Some(container) = serving.last()
            {
                self.revive(app.app_name.as_str(), container, steps);
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
    fn keep(&mut self, app: &str, subject: &str) {
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
fn revive_subject(container: &ObservedContainer) -> String {
    format!("revive {}", container.id)
}

impl Target {
    pub(super) fn observed(container: &ObservedContainer, attempt: &str) -> Self {
        Self { id: container.id.clone(), name: container.name.clone(), attempt: attempt.to_owned() }
    }
}
