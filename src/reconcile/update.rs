//! Updating the replicas of an app: which version they run, which of them may change now, and what
//! a failure does.
//!
//! A new container has failed when its health check fails or it does not stay up. The replica goes
//! back to its old container at once. What then becomes of the version on this device is the
//! declaration's to say: by default it is held back until the declaration changes, and every
//! replica runs the last version that was healthy here. A step that Docker refused (a volume, a
//! device, a port that a stranger has) says nothing of the version, and is tried again.

use super::Policy;
use super::app::{Phase, Planner, Steps, revive_subject};
use super::hold::Reason;
use super::memory::Healthy;
use super::ports::Ports;
use super::replica::{Slot, Standing};
use crate::model::{
    App, AppVersion, ComposeDuration, ContainerState, FailureAction, HostPort, NetworkName,
    ObservedContainer, UpdateOrder,
};
use std::collections::BTreeMap;

/// What the replicas are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// The declared version.
    Declared,
    /// The declared version, which failed here: what has it stays with it, and no more follow.
    Paused,
    /// The last version that was healthy, because the declared one failed here.
    WentBack,
}

/// An app at the version that it is to run, and how it is brought there.
#[derive(Debug)]
pub(super) struct Update<'a> {
    pub(super) app: &'a App,
    pub(super) version: AppVersion,
    pub(super) course: Course,
    /// The image, where it is not the one that its name stands for by now.
    pub(super) image_id: Option<&'a str>,
    /// How many replicas at once; none is all of them.
    parallelism: Option<usize>,
    delay_ms: u64,
    /// How long a new container must run, and be healthy, before it counts as staying up.
    pub(super) monitor_ms: u64,
    order: Option<UpdateOrder>,
    failure_action: FailureAction,
}

impl<'a> Update<'a> {
    fn of(app: &'a App, course: Course, policy: &Policy) -> Self {
        let config = app.spec.update_config.as_ref();
        let is_rolling = app.spec.rolling_restart || config.is_some();
        let given = config.and_then(|config| config.parallelism);
        let parallelism = given.unwrap_or(u64::from(is_rolling));
        let ms = |duration: Option<&ComposeDuration>| duration.map(ComposeDuration::as_ms);
        let monitor_ms = ms(config.and_then(|config| config.monitor.as_ref()));
        Self {
            app,
            version: app.version(),
            course,
            image_id: None,
            parallelism: usize::try_from(parallelism).ok().filter(|count| *count > 0),
            delay_ms: ms(config.and_then(|config| config.delay.as_ref())).unwrap_or(0),
            monitor_ms: monitor_ms.unwrap_or(policy.settle_ms),
            order: config.and_then(|config| config.order),
            failure_action: config.and_then(|config| config.failure_action).unwrap_or_default(),
        }
    }

    /// Do new containers start beside the old ones? They do unless both need one port of the
    /// device, or share what two programs rarely can: the device's own network, a volume that is
    /// written to, a device file. In the latter cases the declaration may ask for it.
    fn is_start_first(&self, replicas: u32, containers: &[&ObservedContainer]) -> bool {
        let container = &self.app.spec.container;
        let shares = container.privileged
            || !container.devices.is_empty()
            || container.networks.iter().any(NetworkName::is_exclusive)
            || container.volumes.iter().any(|volume| !volume.is_read_only());
        let wants = match self.order {
            Some(order) => order == UpdateOrder::StartFirst,
            None => !shares,
        };
        // Also of other replicas: one whose port moves to another one must give way to it.
        let old = containers.iter().filter(|c| c.version.as_ref() != Some(&self.version));
        let mut held: BTreeMap<_, Vec<HostPort>> = BTreeMap::new();
        for port in old.flat_map(|c| &c.host_ports) {
            held.entry((port.port, port.protocol)).or_default().push(*port);
        }
        let mut needed = (1..=replicas).flat_map(|replica| self.app.host_ports(replica));
        let is_held = |port: HostPort| {
            let same = held.get(&(port.port, port.protocol));
            same.is_some_and(|same| same.iter().any(|bound| bound.collides(&port)))
        };
        wants && !needed.any(is_held)
    }
}

/// Which replicas may be changed in this pass.
enum MayGo {
    /// All.
    All,
    /// These; the others wait for the first of them.
    Only(Vec<u32>),
    /// None before the delay between them is over, in ms.
    After(u64),
}

impl Planner<'_> {
    /// Chooses the version that an app runs here, and plans it.
    pub(super) fn version_to_run(
        &mut self,
        app: &App,
        containers: &[&ObservedContainer],
        ports: &mut Ports,
        steps: &mut Steps,
    ) {
        let name = app.app_name.as_str();
        let policy = self.inputs.policy;
        let declared = Update::of(app, Course::Declared, policy);
        let error = self.memory.held_back(app, &declared.version).map(str::to_owned);
        let Some(error) = error else {
            return self.run(&declared, containers, ports, steps);
        };
        let failed = app.app_id;
        let is_other = |kept: &&Healthy| kept.version != declared.version;
        let healthy = self.memory.healthy(name).filter(is_other);
        let rolls_back = declared.failure_action == FailureAction::Rollback;
        let Some(mut healthy) = healthy.filter(|_| rolls_back).cloned() else {
            self.plan.hold(name, None, Reason::UpdatePaused { failed, error });
            let paused = Update { course: Course::Paused, ..declared };
            return self.run(&paused, containers, ports, steps);
        };
        // How many there are is as declared: that says nothing of what failed.
        healthy.app.spec.containers_per.clone_from(&app.spec.containers_per);
        let reason = Reason::WentBack { failed, to: healthy.app.app_id, error };
        self.plan.hold(name, None, reason);
        let is_lost = |id: &&str| self.has_lost_name(&healthy.app, id);
        let image_id = healthy.image_id.as_deref().filter(is_lost);
        let back = Update { image_id, ..Update::of(&healthy.app, Course::WentBack, policy) };
        self.run(&back, containers, ports, steps);
    }

    /// Is an image here that its app's name for it does not stand for any more? A newer build was
    /// pulled under the same tag.
    fn has_lost_name(&self, app: &App, id: &str) -> bool {
        let observed = self.inputs.observed;
        let named = observed.image(&app.spec.container.docker_image.familiar());
        named.is_none_or(|named| named.id != id) && observed.images.iter().any(|it| it.id == id)
    }

    /// The replicas of an app whose image is there.
    pub(super) fn replicas(
        &mut self,
        update: &Update<'_>,
        replicas: u32,
        containers: &[&ObservedContainer],
        ports: &mut Ports,
        steps: &mut Steps,
    ) {
        let app = update.app.app_name.as_str();
        let surplus = containers
            .iter()
            .copied()
            .filter(|c| c.replica.is_none_or(|replica| replica == 0 || replica > replicas));
        for container in surplus {
            self.remove(app, container, Phase::Remove, steps);
        }
        let mut slots: Vec<Slot<'_>> =
            (1..=replicas).map(|replica| Slot::gather(update, replica, containers)).collect();
        let may_go = self.may_go(update, &slots, ports);
        let is_start_first = update.is_start_first(replicas, containers);
        for slot in &mut slots {
            slot.is_one_by_one = !matches!(may_go, MayGo::All);
            slot.is_start_first = is_start_first;
        }
        for slot in &slots {
            if update.course == Course::Paused && slot.old.is_some() {
                self.paused(slot, steps);
                continue;
            }
            let wait = match &may_go {
                MayGo::All => None,
                MayGo::Only(first) if first.contains(&slot.replica) => None,
                MayGo::Only(first) => {
                    first.first().map(|first| Reason::WaitingForReplica { replica: *first })
                }
                MayGo::After(wait_ms) => Some(Reason::Delayed { wait_ms: *wait_ms }),
            };
            match wait.filter(|_| slot.would_interrupt()) {
                Some(reason) => self.wait_for_turn(slot, reason, steps),
                None => self.slot(slot, ports, steps),
            }
        }
        self.keep_if_healthy(update, &slots);
    }

    /// A replica that waits for others keeps what serves it.
    fn wait_for_turn(&mut self, slot: &Slot<'_>, reason: Reason, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        // Its own tries are remembered while it waits.
        self.keep(app, &slot.subject());
        self.plan.hold(app, Some(slot.replica), reason);
        for extra in &slot.extra {
            self.remove(app, extra, Phase::Remove, steps);
        }
        if let Some(old) = slot.old {
            self.keep(app, &revive_subject(old));
            self.tend(app, old, steps);
        }
    }

    /// A replica of a paused update that has an old container: the new one stays if it has come
    /// up, and otherwise the old one serves.
    fn paused(&mut self, slot: &Slot<'_>, steps: &mut Steps) {
        let app = slot.app.app_name.as_str();
        for extra in &slot.extra {
            self.remove(app, extra, Phase::Remove, steps);
        }
        self.keep(app, &slot.subject());
        match (slot.is_settled(self), slot.new, slot.old) {
            (true, Some(new), _) => self.finish(slot, new, steps),
            (_, new, Some(old)) => {
                if let Some(new) = new {
                    self.remove(app, new, Phase::Remove, steps);
                }
                self.tend(app, old, steps);
            }
            _ => {}
        }
    }

    /// A version of which every replica has come up is what a later one that fails goes back to.
    fn keep_if_healthy(&mut self, update: &Update<'_>, slots: &[Slot<'_>]) {
        let all_up = slots.iter().all(|slot| slot.is_settled(self));
        if update.course == Course::Declared && all_up && !slots.is_empty() {
            let name = update.app.spec.container.docker_image.familiar();
            let image = self.inputs.observed.image(&name).map(|image| image.id.as_str());
            self.memory.keep_healthy(update.app, &update.version, image);
        }
    }

    /// A new container failed: the version is held back, if there is another to run instead.
    pub(super) fn new_failed(&mut self, slot: &Slot<'_>, error: &str) {
        let update = slot.update;
        let is_declared = update.course == Course::Declared;
        if is_declared && update.failure_action != FailureAction::Continue {
            self.memory.hold_back(slot.app, &update.version, error);
            // From the next pass on it is another version that is planned.
            self.plan.recheck(0);
        }
    }

    /// Is there a version that this replica could run instead?
    pub(super) fn has_another(&self, slot: &Slot<'_>) -> bool {
        let healthy = self.memory.healthy(slot.app.app_name.as_str());
        let is_other = healthy.is_some_and(|kept| kept.version != slot.update.version);
        slot.old.is_some() || (slot.update.course == Course::Declared && is_other)
    }

    fn may_go(&mut self, update: &Update<'_>, slots: &[Slot<'_>], ports: &Ports) -> MayGo {
        let Some(most) = update.parallelism.filter(|most| *most < slots.len().max(2)) else {
            return match self.canary(slots, ports) {
                Some(replica) => MayGo::Only(vec![replica]),
                None => MayGo::All,
            };
        };
        let first = self.go_first(slots, ports, most);
        let are_begun = |first: &[u32]| {
            let chosen = slots.iter().filter(|slot| first.contains(&slot.replica));
            chosen.into_iter().all(|slot| self.is_unsettled(slot, ports))
        };
        match self.delay_left(update, slots) {
            _ if first.is_empty() => MayGo::All,
            Some(wait_ms) if !are_begun(&first) => {
                self.plan.recheck(wait_ms);
                MayGo::After(wait_ms)
            }
            _ => MayGo::Only(first),
        }
    }

    /// How long it is until the delay after the last replica that has come up is over.
    fn delay_left(&self, update: &Update<'_>, slots: &[Slot<'_>]) -> Option<u64> {
        let app = update.app.app_name.as_str();
        let started = slots
            .iter()
            .filter(|slot| slot.new.is_some())
            .filter_map(|slot| Some(self.memory.attempts(app, &slot.subject())?.last_ms))
            .max()?;
        let elapsed = self.inputs.now_ms.checked_sub(started)?;
        (update.monitor_ms + update.delay_ms)
            .checked_sub(elapsed)
            .filter(|left| *left > 0 && update.delay_ms > 0)
    }

    /// Which replicas go first when so many may at once: those that are already down or on their
    /// way, so that no further one is taken down; else those whose new ports are free. None when
    /// nothing is to be updated, or when no order exists because replicas hold each other's ports
    /// in a ring: such an update can only be made at once.
    fn go_first(&mut self, slots: &[Slot<'_>], ports: &Ports, most: usize) -> Vec<u32> {
        // The ones that are down before one that was tried and serves with its old container again.
        let mut unsettled: Vec<&Slot<'_>> =
            slots.iter().filter(|slot| self.is_unsettled(slot, ports)).collect();
        unsettled.sort_by_key(|slot| slot.old_serves());
        let mut first: Vec<u32> = unsettled.iter().take(most).map(|slot| slot.replica).collect();
        let outdated = || slots.iter().filter(|slot| slot.new.is_none());
        for slot in outdated().filter(|slot| ports.blockers(slot).is_empty()) {
            if first.len() < most && !first.contains(&slot.replica) {
                first.push(slot.replica);
            }
        }
        let can_go = |slot: &&Slot<'_>| !Self::waits_for_another(slot, slots, ports);
        if first.is_empty() {
            first.extend(outdated().find(can_go).map(|slot| slot.replica));
        }
        first
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
            None => self.go_first(slots, ports, 1).first().copied(),
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
        if slot.is_settled(self) {
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
}
