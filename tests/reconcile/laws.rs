//! The planner's laws over random desired states, beginnings, memories and faults.
//!
//! Determinism, ownership, explained and clean are asserted at every pass of every test by
//! [`Sim`]; the properties here drive it through as many odd worlds as possible, and add fixpoint,
//! history-free and no going back. The worlds are the same ones in each run, so that a test that fails
//! says something of the change that is tested; with `PROPTEST_CASES`, which sets how many each property
//! sees, they are new ones.

use crate::support::{
    Fault, MACHINE, OTHER_UID, START_MS, Sim, app, desired, readable, shape, with,
};
use nebula::model::{App, ContainerState, Health, HostPort, Revision};
use nebula::reconcile::pretend::{Behaviour, World};
use nebula::reconcile::{Acceptance, Action, Memory, PATIENCE_MS, Step, Target, judge};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// New cases, as many as the variable says, else so many that are always the same.
pub(crate) fn cases(default: u32) -> ProptestConfig {
    let base =
        ProptestConfig { failure_persistence: None, max_shrink_iters: 5_000, ..Default::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return base;
    }
    ProptestConfig { cases: default, rng_seed: RngSeed::Fixed(1), ..base }
}

/// Names chosen to get in each other's way: replicas of `web` and of `web-1` look alike.
const NAMES: [&str; 4] = ["web", "web-1", "db.x", "job_9"];
const IMAGES: [&str; 4] = ["site:1", "site:2", "r.example:5000/team/db:3", "busybox:latest"];

/// What an app is to be, or was.
#[derive(Debug, Clone)]
struct AppPlan {
    image: usize,
    id: u64,
    is_recreated: bool,
    replicas: u64,
    ports: Vec<u16>,
    is_rolling: bool,
    is_running: bool,
    networks: usize,
}

impl AppPlan {
    /// Each app has ports of its own: two apps that want one port are another test.
    fn wire(&self, index: usize) -> Value {
        let base = 2_000 + 1_000 * u16::try_from(index).expect("few apps");
        let ports: Vec<u16> =
            self.ports.iter().zip([0, 300]).map(|(shift, block)| base + block + shift).collect();
        let networks: &[&str] =
            [&["nebula", "bridge"][..], &["extra"], &["host"], &[]][self.networks];
        let wire = with(
            app(NAMES[index], IMAGES[self.image], self.replicas),
            json!({
                "app_id": self.id, "starting_ports": ports, "rolling_restart": self.is_rolling,
                "running": self.is_running, "networks": networks,
            }),
        );
        if self.is_recreated { with(wire, json!({"uid": OTHER_UID})) } else { wire }
    }

    fn app(&self, index: usize) -> App {
        crate::support::only(&desired(&[self.wire(index)])).clone()
    }
}

prop_compose! {
    fn app_plan()(
        image in 0..IMAGES.len(),
        id in 1..4_u64,
        is_recreated in prop::bool::weighted(0.2),
        replicas in prop_oneof![4 => 0..4_u64, 1 => 0..=20_u64],
        ports in prop::collection::vec(0..25_u16, 0..3),
        is_rolling in any::<bool>(),
        is_running in prop::bool::weighted(0.85),
        networks in 0..4_usize,
    ) -> AppPlan {
        AppPlan { image, id, is_recreated, replicas, ports, is_rolling, is_running, networks }
    }
}

/// A container that somehow came to be there.
#[derive(Debug, Clone)]
struct Stray {
    app: usize,
    /// The desired version, or another.
    made_from: Option<AppPlan>,
    replica: u32,
    name: usize,
    is_legacy: bool,
    has_no_replica: bool,
    was_started: bool,
    state: Option<ContainerState>,
    health: Health,
}

fn state() -> impl Strategy<Value = Option<ContainerState>> {
    prop::option::of(prop::sample::select(vec![
        ContainerState::Paused,
        ContainerState::Restarting,
        ContainerState::Exited,
        ContainerState::Removing,
        ContainerState::Dead,
    ]))
}

fn health() -> impl Strategy<Value = Health> {
    prop::sample::select(vec![Health::None, Health::None, Health::Healthy, Health::Unhealthy])
}

prop_compose! {
    fn stray()(
        // Crowded on purpose: several containers of one replica are the telling beginnings.
        app in prop_oneof![Just(0), 0..NAMES.len()],
        made_from in prop::option::weighted(0.4, app_plan()),
        replica in prop_oneof![3 => 1..3_u32, 1 => 0..6_u32],
        name in 0..6_usize,
        is_legacy in prop::bool::weighted(0.2),
        has_no_replica in prop::bool::weighted(0.1),
        was_started in prop::bool::weighted(0.7),
        state in state(),
        health in health(),
    ) -> Stray {
        Stray { app, made_from, replica, name, is_legacy, has_no_replica, was_started, state, health }
    }
}

/// One remembered attempt: app, subject, count, ms ago (may lie ahead), error.
type Tried = (usize, usize, u32, i64, Option<String>);

/// Everything a life of the worker begins with.
#[derive(Debug, Clone)]
struct Beginning {
    apps: Vec<AppPlan>,
    strays: Vec<Stray>,
    tried: Vec<Tried>,
    has_fetched: bool,
    images: BTreeSet<usize>,
    has_network: bool,
    faults: Vec<(usize, Fault)>,
    is_forgetful: bool,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::KillBefore,
        Fault::KillAfter,
    ])
}

prop_compose! {
    fn beginning()(
        apps in prop::collection::vec(app_plan(), 0..4),
        strays in prop::collection::vec(stray(), 0..9),
        tried in prop::collection::vec(
            (0..NAMES.len(), 0..9_usize, 0..40_u32, -90_000_000..90_000_000_i64, prop::option::of("[a-z]{1,5}")),
            0..6,
        ),
        has_fetched in any::<bool>(),
        images in prop::collection::btree_set(0..IMAGES.len(), 0..=IMAGES.len()),
        has_network in any::<bool>(),
        faults in prop::collection::vec((1..60_usize, fault()), 0..6),
        is_forgetful in any::<bool>(),
    ) -> Beginning {
        Beginning { apps, strays, tried, has_fetched, images, has_network, faults, is_forgetful }
    }
}

/// Puts images on the device.
fn put_images(sim: &mut Sim, images: impl IntoIterator<Item = usize>) {
    for image in images {
        sim.world.add_image(IMAGES[image], &World::built(IMAGES[image]));
    }
}

impl Beginning {
    fn sim(&self) -> Sim {
        let wires: Vec<Value> = self.apps.iter().enumerate().map(|(i, app)| app.wire(i)).collect();
        let mut sim = Sim::new(desired(&wires), &IMAGES);
        sim.declares_again = 2 * self.apps.len();
        sim.world.networks.insert("nebula".to_owned());
        put_images(&mut sim, 0..IMAGES.len());
        sim.world.foreign.push(("foreign".to_owned(), BTreeSet::from([HostPort::tcp(22)])));
        for stray in &self.strays {
            self.place(stray, &mut sim.world);
        }
        sim.world.images.clear();
        put_images(&mut sim, self.images.iter().copied());
        if !self.has_network && sim.observe().containers.is_empty() {
            sim.world.networks.remove("nebula");
        }
        sim.memory = self.memory(&sim);
        sim.faults = self.faults.iter().copied().collect();
        sim
    }

    /// Puts a stray on the device, if Docker would have let it be there.
    fn place(&self, stray: &Stray, world: &mut World) {
        let current = self.apps.get(stray.app).cloned();
        let Some(from) = stray.made_from.clone().or(current) else { return };
        let app = from.app(stray.app);
        let lasting = app.container_name(stray.replica);
        let other = app.container_name(stray.replica + 1);
        let name = match stray.name {
            0..3 => lasting,
            3 => format!("{lasting}-next"),
            4 => format!("{lasting}-next-next"),
            // Renamed by hand to what another replica is called.
            _ => other,
        };
        let mut spec = app.container_spec(stray.replica, name.clone());
        if stray.is_legacy {
            spec.labels.retain(|label, _| !label.starts_with("nebula."));
        }
        if stray.has_no_replica {
            spec.labels.insert("nebula.replica".to_owned(), "first".to_owned());
        }
        let target = Target { id: name.clone(), name: name.clone(), attempt: String::new() };
        let act = |step| Action::Container {
            app: app.app_name.as_str().to_owned(),
            target: target.clone(),
            step,
        };
        if world.apply(&act(Step::Create(Box::new(spec)))).is_err() {
            return;
        }
        if stray.was_started && world.apply(&act(Step::Start)).is_ok() {
            world.change(&name, |c| {
                c.health = stray.health;
                c.state = stray.state.unwrap_or(c.state);
            });
        }
    }

    fn memory(&self, sim: &Sim) -> Memory {
        let mut memory = json!({"fetched": {}, "attempts": {}});
        let containers = sim.observe().containers;
        for (index, of_app) in self.apps.iter().enumerate() {
            let app = of_app.app(index);
            let (name, version) = (app.app_name.as_str(), app.version());
            if self.has_fetched {
                memory["fetched"][name] = json!(version);
            }
            for (_, subject, count, ago, error) in self.tried.iter().filter(|t| t.0 == index) {
                let id = containers.get(*subject).map_or("none", |c| c.id.as_str());
                let subject = match subject {
                    0 => format!("pull {version}"),
                    1..4 => format!("replica {subject} {version}"),
                    4 => format!("remove {id}"),
                    5 => format!("revive {id}"),
                    6 => format!("rename {id}"),
                    7 => format!("connect {id} bridge"),
                    _ => format!("stop {id}"),
                };
                let last_ms = START_MS.saturating_add_signed(-ago);
                memory["attempts"][name][subject] =
                    json!({"count": count, "last_ms": last_ms, "error": error});
            }
        }
        serde_json::from_value(memory).expect("memory is read back")
    }
}

proptest! {
    #![proptest_config(cases(100))]

    /// Fixpoint: from anywhere, through faults, to exactly what is desired, and then nothing.
    #[test]
    fn inv_15_22_any_beginning_ends_as_desired_and_stays(beginning in beginning()) {
        let mut sim = beginning.sim();
        if beginning.is_forgetful {
            // Killed with its disk lost, in the middle of what the faults left.
            sim.pass();
            sim.memory = Memory::default();
        }
        sim.converge(400);
        prop_assert_eq!(&sim.world.foreign, &[("foreign".to_owned(), BTreeSet::from([HostPort::tcp(22)]))]);
        prop_assert!(!sim.world.log.iter().any(|line| line.contains("foreign")));
    }

    /// History-free: the same beginning ends the same, whatever is remembered.
    #[test]
    fn inv_23_the_end_does_not_depend_on_memory(beginning in beginning()) {
        let mut remembers = beginning.sim();
        remembers.faults.clear();
        let mut forgets = remembers.clone();
        forgets.memory = Memory::default();
        for sim in [&mut remembers, &mut forgets] {
            sim.quiet(400);
            // What is remembered may hold an app back, until somebody declares it again: in both as often.
            while sim.declares_again > 0 {
                sim.declares_again -= 1;
                sim.declare_again();
                sim.quiet(400);
            }
        }
        prop_assert_eq!(shape(&remembers.observe()), shape(&forgets.observe()));
    }

    /// One plan is enough of a beginning for determinism, clean, ownership and explained, also with
    /// words that Docker does not know today and a clock that jumps.
    #[test]
    fn laws_of_one_plan_hold_for_unknown_states_and_jumping_clocks(
        beginning in beginning(),
        unknown in 0..9_usize,
        jump in -86_400_000..86_400_000_i64,
    ) {
        let mut sim = beginning.sim();
        if let Some(container) = sim.observe().containers.get(unknown) {
            sim.world.change(&container.name, |c| c.state = ContainerState::Unknown);
        }
        sim.pass();
        sim.now_ms = sim.now_ms.saturating_add_signed(jump);
        for _ in 0..6 {
            let made = sim.pass();
            sim.step_clock(&made);
        }
    }

    /// Changes one upon another, each before the last one is done, end in the last.
    #[test]
    fn changes_that_overtake_each_other_end_in_the_last(
        changes in prop::collection::vec((prop::collection::vec(app_plan(), 0..4), 0..5_usize), 1..6),
    ) {
        let mut sim = Sim::new(desired(&[]), &IMAGES);
        for (apps, passes) in changes {
            let wires: Vec<Value> = apps.iter().enumerate().map(|(i, app)| app.wire(i)).collect();
            sim.desired = desired(&wires);
            for _ in 0..passes {
                let made = sim.pass();
                sim.step_clock(&made);
            }
        }
        sim.converge(400);
    }

    /// By hand, anything may be removed, stopped, frozen or renamed at any time: it is undone.
    #[test]
    fn inv_19_what_is_done_by_hand_is_undone(
        apps in prop::collection::vec(app_plan(), 1..4),
        hands in prop::collection::vec((0..30_usize, 0..4_u8, 0..3_usize), 1..8),
    ) {
        let wires: Vec<Value> = apps.iter().enumerate().map(|(i, app)| app.wire(i)).collect();
        let mut sim = Sim::running(desired(&wires), &IMAGES);
        for (which, what, passes) in hands {
            let containers = sim.observe().containers;
            let Some(container) = containers.get(which % containers.len().max(1)) else { continue };
            match what {
                0 => sim.world.vanish(&container.name),
                1 => sim.world.change(&container.name, |c| c.state = ContainerState::Exited),
                2 if container.state == ContainerState::Running => {
                    sim.world.change(&container.name, |c| c.state = ContainerState::Paused);
                }
                _ => sim.world.change(&container.name, |c| c.name.push_str("-by-hand")),
            }
            for _ in 0..passes {
                let made = sim.pass();
                sim.step_clock(&made);
            }
        }
        sim.converge(400);
    }
}

proptest! {
    // Each case lives through an hour of tries.
    #![proptest_config(cases(24))]

    /// Whatever is broken, a device does not run in a circle, its other apps are as desired, its
    /// memory stays small, and once the fault is mended all is as desired.
    #[test]
    fn inv_18_broken_images_neither_spin_nor_spread(
        beginning in beginning(),
        broken in prop::collection::vec(behaviour(), IMAGES.len()),
        is_registry_down in prop::bool::weighted(0.3),
    ) {
        let mut sim = beginning.sim();
        for (image, behaviour) in IMAGES.iter().zip(&broken) {
            sim.behave(image, *behaviour);
        }
        if is_registry_down {
            sim.world.registry.clear();
        }
        sim.run_for(120_000);
        let containers: u64 = readable(&sim.desired)
            .map(|app| app.spec.containers_per.replicas(MACHINE))
            .sum::<u64>() + 12;
        let tries = sim.run_for(3_600_000);
        // An hour has at most 20 tries of a broken replica (1, 2, 4 ... 300 s), a try eight steps.
        prop_assert!(tries as u64 <= containers * 160, "{tries} steps for {containers} containers");
        let size = serde_json::to_string(&sim.memory).expect("memory prints").len() as u64;
        prop_assert!(size < 2_000 * (containers + 4), "memory of {size} bytes");
        sim.world.behaviours.clear();
        sim.declare_again();
        sim.world.registry = IMAGES.iter().map(|image| (*image).to_owned()).collect();
        sim.converge(400);
    }
}

pub(crate) fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop::sample::select(vec![
        Behaviour::Runs,
        Behaviour::Healthy,
        Behaviour::Unhealthy,
        Behaviour::Crashes,
        Behaviour::RefusesCreate,
        Behaviour::RefusesStart,
    ])
}

proptest! {
    #![proptest_config(cases(500))]

    /// No going back: a lower revision is taken only when it has been the only one for long.
    #[test]
    fn inv_6_a_stale_answer_never_undoes_a_newer_one(
        accepted in prop::option::of(0..100_u64),
        answered in prop::option::of(0..100_u64),
        lower_for_ms in 0..2 * PATIENCE_MS,
    ) {
        let taken = judge(accepted.map(Revision), answered.map(Revision), lower_for_ms);
        let is_older = matches!((accepted, answered), (Some(a), Some(b)) if b < a);
        let expected = if is_older && lower_for_ms < PATIENCE_MS {
            Acceptance::KeepNewer
        } else {
            Acceptance::Accept
        };
        prop_assert_eq!(taken, expected);
    }

    /// A fresh manager and a stale one in turn: the device stays with the fresh one for ever.
    #[test]
    fn inv_6_mixed_answers_never_go_backwards(
        answers in prop::collection::vec((90..110_u64, 0..40_000_u64), 1..200),
    ) {
        let (mut accepted, mut lower_since, mut now) = (None, None, 0_u64);
        for (revision, later) in answers {
            now += later;
            let lower_for = lower_since.map_or(0, |since| now - since);
            match judge(accepted, Some(Revision(revision)), lower_for) {
                Acceptance::Accept => {
                    let went_back = accepted.is_some_and(|old: Revision| old.0 > revision);
                    prop_assert!(!went_back || lower_for >= PATIENCE_MS);
                    accepted = Some(Revision(revision));
                    lower_since = None;
                }
                Acceptance::KeepNewer => {
                    lower_since.get_or_insert(now);
                }
            }
        }
    }
}
