//! What the tests share: desired states as the wire gives them, and a worker of the mind that
//! observes, plans, checks and carries out on a pretended device.

use nebula::model::{
    App, ContainerState, Desired, DesiredApp, DeviceState, Health, Labels, Machine, NEBULA_NETWORK,
    Observed, ObservedContainer,
};
use nebula::reconcile::pretend::{Behaviour, World};
use nebula::reconcile::{
    Action, Busy, Hold, Inputs, Memory, Plan, Policy, Reason, Status, Step, check, plan, status,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The device of all tests.
pub(crate) const MACHINE: Machine = Machine { cores: 4, memory_mb: 8192 };
/// A uid for an app that was created again.
pub(crate) const OTHER_UID: &str = "bbbbbbbbbbbbbbbbbbbbbbbb";
const UID: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
/// Any time will do; this one leaves room to go back a day.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// An app of the wire, to be changed by the test.
pub(crate) fn app(name: &str, image: &str, replicas: u64) -> Value {
    json!({
        "app_name": name, "app_id": 1, "uid": UID, "docker_image": image, "starting_ports": [],
        "containers_per": {"server": replicas}, "env_vars": {}, "running": true,
        "networks": ["nebula", "bridge"], "volumes": [], "devices": [], "privileged": false,
        "rolling_restart": false,
    })
}

/// The same app with some keys set.
pub(crate) fn with(mut app: Value, keys: Value) -> Value {
    if let (Some(app), Value::Object(keys)) = (app.as_object_mut(), keys) {
        app.extend(keys);
    }
    app
}

/// The answer of a manager that tells these apps.
pub(crate) fn answer(apps: &[Value]) -> Value {
    let names: Vec<&Value> = apps.iter().map(|app| &app["app_name"]).collect();
    json!({
        "apps": apps, "apps_list": names, "cron_jobs": [], "cron_jobs_list": [],
        "prune_id": 1, "device_group_id": 1,
    })
}

/// The desired state of these apps, by way of the wire.
pub(crate) fn desired(apps: &[Value]) -> Desired {
    Desired::decode(answer(apps).to_string().as_bytes()).expect("the answer is whole")
}

/// The apps that can be read.
pub(crate) fn readable(desired: &Desired) -> impl Iterator<Item = &App> {
    desired.apps.iter().filter_map(|app| match app {
        DesiredApp::Readable(app) => Some(app.as_ref()),
        DesiredApp::Unreadable { .. } => None,
    })
}

/// The one app of a desired state.
pub(crate) fn only(desired: &Desired) -> &App {
    readable(desired).next().expect("there is an app")
}

/// What is reported is what is planned: nothing to do and nothing held is converged, and whatever
/// is neither converged nor on its way has a reason.
fn assert_told(told: &Status, made: &Plan) {
    let is_quiet = made.actions.is_empty() && made.holds.is_empty();
    // There is nothing to do about a health check that has not decided, but to wait for it.
    let is_checked = told.apps.iter().any(|app| app.replicas_up < app.replicas_wanted);
    let is_due = is_quiet && !is_checked;
    assert!(!is_due || told.state == DeviceState::Converged, "law of told: {told:?}");
    for app in &told.apps {
        let is_moved = |action: &Action| matches!(action, Action::Container { app: moved, .. } if *moved == app.app_name);
        let is_well = app.state == DeviceState::Converged;
        assert!(!is_well || !made.actions.iter().any(is_moved), "law of told: {app:?}\n{made}");
        let is_clear = matches!(app.state, DeviceState::Converged | DeviceState::Updating);
        assert!(is_clear || app.reason.is_some(), "law of told: {app:?}\n{made}");
    }
}

/// What goes wrong at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The engine refuses; nothing happened.
    ErrorBefore,
    /// The engine did it, and the answer was lost.
    ErrorAfter,
    /// The worker dies before the step.
    KillBefore,
    /// The worker dies after it.
    KillAfter,
}

/// A worker and its device.
#[derive(Debug, Clone)]
pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) desired: Desired,
    pub(crate) memory: Memory,
    pub(crate) policy: Policy,
    pub(crate) now_ms: u64,
    /// What goes wrong, by the number of the step over all passes.
    pub(crate) faults: BTreeMap<usize, Fault>,
    /// Steps tried so far.
    pub(crate) steps: usize,
    /// Replicas of rolling apps that served, and that nobody but us may take down.
    pub(crate) served: BTreeMap<String, BTreeSet<u32>>,
    /// The most of them that were down at once.
    pub(crate) most_down: usize,
    /// How often somebody declares again what was held back, as odd beginnings can make it be.
    pub(crate) declares_again: usize,
}

impl Sim {
    /// A new device whose registry has these images.
    pub(crate) fn new(desired: Desired, registry: &[&str]) -> Self {
        let mut world = World::new();
        world.registry = registry.iter().map(|image| (*image).to_owned()).collect();
        world.networks.insert("extra".to_owned());
        Self {
            world,
            desired,
            memory: Memory::default(),
            policy: Policy::default(),
            now_ms: START_MS,
            faults: BTreeMap::new(),
            steps: 0,
            served: BTreeMap::new(),
            most_down: 0,
            declares_again: 0,
        }
    }

    /// A device that runs this already.
    pub(crate) fn running(desired: Desired, registry: &[&str]) -> Self {
        let mut sim = Self::new(desired, registry);
        sim.converge(60);
        sim
    }

    /// Sets how containers of an image behave.
    pub(crate) fn behave(&mut self, image: &str, behaviour: Behaviour) {
        self.world.behaviours.insert(image.to_owned(), behaviour);
    }

    pub(crate) fn observe(&self) -> Observed {
        self.world.observe(MACHINE)
    }

    /// Plans without doing anything.
    pub(crate) fn look(&self) -> Plan {
        self.plan_with(&mut self.memory.clone())
    }

    /// Works with what a pass is given.
    pub(crate) fn with_inputs<T>(
        &self,
        observed: &Observed,
        work: impl FnOnce(&Inputs<'_>) -> T,
    ) -> T {
        work(&Inputs {
            desired: &self.desired,
            observed,
            busy: &Busy::default(),
            policy: &self.policy,
            now_ms: self.now_ms,
        })
    }

    fn plan_with(&self, memory: &mut Memory) -> Plan {
        let observed = self.observe();
        let mut twin = memory.clone();
        let made = self.with_inputs(&observed, |inputs| {
            let made = plan(inputs, memory);
            assert_eq!(made, plan(inputs, &mut twin), "law of determinism");
            let wrong = check(inputs, &made);
            assert!(wrong.is_empty(), "law of clean: {wrong:?}\n{made}\n{observed:#?}");
            assert_told(&status(inputs, &made, memory), &made);
            made
        });
        assert_eq!(*memory, twin, "law of determinism, memory");
        assert_owned(&observed, &made);
        assert_explained(&self.desired, &observed, &made);
        made
    }

    /// One pass: plan, keep the memory, carry out as the worker does.
    pub(crate) fn pass(&mut self) -> Plan {
        let mut memory = self.memory.clone();
        let made = self.plan_with(&mut memory);
        self.memory = memory;
        let kept = self.memory.clone();
        let mut broken: BTreeSet<String> = BTreeSet::new();
        for action in &made.actions {
            if let Action::Container { app, .. } = action
                && broken.contains(app)
            {
                continue;
            }
            self.steps += 1;
            let fault = self.faults.remove(&self.steps);
            if fault == Some(Fault::KillBefore) {
                self.memory = kept;
                return made;
            }
            let result = match fault {
                Some(Fault::ErrorBefore) => Err("injected, nothing was done".to_owned()),
                Some(Fault::ErrorAfter) => {
                    let _ = self.world.apply(action);
                    Err("injected, it was done".to_owned())
                }
                _ => self.world.apply(action),
            };
            self.count_down();
            if fault == Some(Fault::KillAfter) {
                self.memory = kept;
                return made;
            }
            self.record(action, result, &mut broken);
        }
        made
    }

    /// What the worker remembers of a step.
    fn record(
        &mut self,
        action: &Action,
        result: Result<(), String>,
        broken: &mut BTreeSet<String>,
    ) {
        match (action, result) {
            (Action::CreateNetwork { .. } | Action::RemoveImage { .. }, Ok(())) => {}
            (Action::CreateNetwork { name }, Err(error)) => {
                self.memory.network_failed(name, &error);
            }
            (Action::Pull { app, version, image }, Ok(())) => {
                let id = &self.world.images[&image.familiar()];
                self.memory.pulled(app, version, image, id);
            }
            (Action::RemoveImage { id, .. }, Err(error)) => self.memory.image_kept(id, &error),
            (Action::Pull { app, version, .. }, Err(error)) => {
                self.memory.pull_failed(app, version, &error);
            }
            (Action::Container { app, target, .. }, Ok(())) => {
                self.memory.done(app, &target.attempt, self.now_ms);
            }
            (Action::Container { app, target, .. }, Err(error)) => {
                self.memory.failed(app, &target.attempt, &error);
                broken.insert(app.clone());
            }
        }
    }

    /// Somebody changes every app once more: what failed before is tried again.
    pub(crate) fn declare_again(&mut self) {
        for app in &mut self.desired.apps {
            if let DesiredApp::Readable(app) = app {
                app.app_id += 100;
            }
        }
    }

    /// Passes with time going by as for a real worker: at once after a pass that did something,
    /// else when the plan says, else at the next check-in. Docker does its own part meanwhile.
    pub(crate) fn step_clock(&mut self, made: &Plan) {
        if made.actions.is_empty() {
            self.finish_removals();
            self.world.restart_what_ended();
        }
        self.now_ms += if made.actions.is_empty() {
            made.recheck_after_ms.unwrap_or(30_000).min(30_000)
        } else {
            20
        };
    }

    /// Runs until nothing is left to do, and proves that it is what was desired. Gives the passes.
    pub(crate) fn converge(&mut self, most: usize) -> usize {
        let passes = self.quiet(most);
        assert_desired(&self.desired, &self.observe());
        for _ in 0..3 {
            self.now_ms += 3_600_000;
            let made = self.pass();
            assert!(made.actions.is_empty(), "law of fixpoint, an hour later:\n{made}");
        }
        passes
    }

    /// Runs until a pass has neither action nor hold.
    pub(crate) fn quiet(&mut self, most: usize) -> usize {
        for passes in 0..most {
            let made = self.pass();
            if made.actions.is_empty() && made.holds.is_empty() {
                return passes;
            }
            let is_held_back = |hold: &Hold| {
                matches!(hold.reason, Reason::WentBack { .. } | Reason::UpdatePaused { .. })
            };
            if self.declares_again > 0 && made.holds.iter().any(is_held_back) {
                self.declares_again -= 1;
                self.declare_again();
            }
            self.step_clock(&made);
        }
        let last = self.look();
        let log = &self.world.log;
        let tail = log[log.len().saturating_sub(40)..].join("\n");
        panic!("law of fixpoint: not quiet after {most} passes\nlast plan:\n{last}\nlog:\n{tail}");
    }

    /// Runs for a while. Gives the number of steps tried, so that a circle shows.
    pub(crate) fn run_for(&mut self, duration_ms: u64) -> usize {
        let (end, before) = (self.now_ms + duration_ms, self.steps);
        let mut passes = 0_usize;
        while self.now_ms < end {
            let made = self.pass();
            self.step_clock(&made);
            passes += 1;
            assert!(passes < 3_000, "a circle: 3000 passes\n{made}");
        }
        self.steps - before
    }

    /// What Docker was removing is gone after a while.
    fn finish_removals(&mut self) {
        for container in self.observe().containers {
            if container.state == ContainerState::Removing {
                self.world.vanish(&container.name);
            }
        }
    }

    /// From here on, whichever replica of a rolling app serves is watched.
    pub(crate) fn watch(&mut self) {
        for app in readable(&self.desired) {
            if app.spec.rolling_restart && app.spec.running {
                let name = app.app_name.as_str();
                self.served.insert(name.to_owned(), serving(&self.observe(), name));
            }
        }
    }

    fn count_down(&mut self) {
        if self.served.is_empty() {
            return;
        }
        let observed = self.observe();
        for app in readable(&self.desired) {
            let name = app.app_name.as_str();
            let Some(served) = self.served.get_mut(name) else { continue };
            let count = app.spec.containers_per.replicas(MACHINE);
            let now = serving(&observed, name);
            served.extend(&now);
            served.retain(|replica| u64::from(*replica) <= count);
            self.most_down = self.most_down.max(served.difference(&now).count());
        }
    }
}

/// The replicas of an app that have a running container.
pub(crate) fn serving(observed: &Observed, app: &str) -> BTreeSet<u32> {
    let up = |c: &&ObservedContainer| {
        c.app == app && c.state == ContainerState::Running && c.health != Health::Unhealthy
    };
    observed.containers.iter().filter(up).filter_map(|c| c.replica).collect()
}

/// Which containers of an app run which version: name, id.
pub(crate) fn ids(observed: &Observed, app: &str) -> BTreeMap<String, String> {
    let of_app = observed.containers.iter().filter(|c| c.app == app);
    of_app.map(|c| (c.name.clone(), c.id.clone())).collect()
}

/// Law of ownership: a step names what was observed as ours, under its own app, or what this same
/// plan created.
fn assert_owned(observed: &Observed, made: &Plan) {
    let mut known: BTreeMap<&str, &str> =
        observed.containers.iter().map(|c| (c.id.as_str(), c.app.as_str())).collect();
    for action in &made.actions {
        let Action::Container { app, target, step } = action else { continue };
        if let Step::Create(spec) = step {
            let labels = spec.labels.clone().into_iter().collect();
            let read = Labels::read(&labels, &spec.name).expect("what we create is labelled");
            assert_eq!(&read.0, app, "law of ownership: {action}");
            known.insert(&target.id, app);
        }
        assert_eq!(
            known.get(target.id.as_str()).copied(),
            Some(app.as_str()),
            "law of ownership: {action}"
        );
    }
}

/// Law of explained: each replica that is not as desired, and each container too many, has an
/// action of its own or a hold.
fn assert_explained(desired: &Desired, observed: &Observed, made: &Plan) {
    let held = |app: &str, replica: Option<u32>| {
        let fits = |of: Option<u32>| of.is_none() || of == replica;
        made.holds.iter().any(|hold| hold.app == app && fits(hold.replica))
    };
    let acts_on = |id: &str| {
        made.actions
            .iter()
            .any(|action| matches!(action, Action::Container { target, .. } if target.id == id))
    };
    let creates = |app: &str, replica: u32| {
        made.actions.iter().any(|action| match action {
            Action::Container { app: of, step: Step::Create(spec), .. } => {
                of == app && spec.labels.get("nebula.replica") == Some(&replica.to_string())
            }
            _ => false,
        })
    };
    for drift in drifts(desired, observed) {
        let explained = match &drift {
            Drift::Replica(app, replica, name) => {
                held(app, Some(*replica))
                    || creates(app, *replica)
                    || observed.containers.iter().any(|c| c.name == *name && acts_on(&c.id))
                    || observed
                        .containers
                        .iter()
                        .any(|c| c.app == *app && c.replica == Some(*replica) && acts_on(&c.id))
            }
            // An old container may still be needed: its replica is on its way.
            Drift::Surplus(app, replica, id) => {
                let of_replica = |c: &&ObservedContainer| c.app == *app && c.replica == *replica;
                acts_on(id)
                    || held(app, *replica)
                    || replica.is_some_and(|replica| creates(app, replica))
                    || observed.containers.iter().filter(of_replica).any(|c| acts_on(&c.id))
            }
        };
        assert!(explained, "law of explained: {drift:?}\n{made}\n{observed:#?}");
    }
}

/// A difference from what is desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Drift {
    /// A replica is missing, outdated, down or misnamed.
    Replica(String, u32, String),
    /// A container that should not be.
    Surplus(String, Option<u32>, String),
}

/// All differences, found without the planner's help.
pub(crate) fn drifts(desired: &Desired, observed: &Observed) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let mut right: BTreeSet<&str> = BTreeSet::new();
    for app in readable(desired).filter(|app| app.spec.running) {
        let name = app.app_name.as_str();
        let count = app.spec.containers_per.replicas(MACHINE);
        for replica in (1..=count).filter_map(|replica| u32::try_from(replica).ok()) {
            let lasting = format!("{name}-{replica}");
            let found = observed.containers.iter().find(|c| {
                c.app == name
                    && c.replica == Some(replica)
                    && c.name == lasting
                    && c.version.as_ref() == Some(&app.version())
                    && c.state == ContainerState::Running
                    && c.host_ports == app.host_ports(replica).into_iter().collect()
                    && app.networks().iter().all(|network| c.networks.contains(network))
            });
            match found {
                Some(container) => {
                    right.insert(&container.id);
                }
                None => drifts.push(Drift::Replica(name.to_owned(), replica, lasting)),
            }
        }
    }
    let unreadable: BTreeSet<&str> = desired
        .apps
        .iter()
        .filter(|app| matches!(app, DesiredApp::Unreadable { .. }))
        .map(DesiredApp::name)
        .collect();
    for container in &observed.containers {
        let is_kept = unreadable.contains(container.app.as_str());
        if !right.contains(container.id.as_str()) && !is_kept {
            let id = container.id.clone();
            drifts.push(Drift::Surplus(container.app.clone(), container.replica, id));
        }
    }
    drifts
}

/// The device is what was desired: count, names, versions, ports, networks, and nothing besides.
pub(crate) fn assert_desired(desired: &Desired, observed: &Observed) {
    let drifts = drifts(desired, observed);
    assert!(drifts.is_empty(), "not as desired: {drifts:#?}\n{observed:#?}");
    assert!(observed.networks.contains(NEBULA_NETWORK));
}

/// What of a device shows from outside: everything but the engine's ids.
pub(crate) fn shape(observed: &Observed) -> BTreeSet<String> {
    observed
        .containers
        .iter()
        .map(|c| {
            let version = c.version.as_ref().map(ToString::to_string);
            format!("{} {:?} {version:?} {:?} {:?}", c.name, c.replica, c.state, c.host_ports)
        })
        .collect()
}

/// The reasons of a plan's holds for an app.
pub(crate) fn reasons(made: &Plan, app: &str) -> Vec<Reason> {
    made.holds.iter().filter(|h| h.app == app).map(|h| h.reason.clone()).collect()
}
