//! Images that go: by order, by age and for room; and never one that is needed (inv 27). And what
//! pulls wait for.

use crate::laws::cases;
use crate::support::{Fault, Sim, answer, app, desired, only, reasons, with};
use nebula::model::{AppVersion, Desired, DesiredApp, Disk, ImageReference, NEBULA_NETWORK};
use nebula::reconcile::pretend::{Behaviour, World};
use nebula::reconcile::{Action, Memory, Plan, Reason};
use proptest::prelude::*;
use serde_json::{Value, json};

const HOUR_MS: u64 = 3_600_000;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;
const SITES: [&str; 4] = ["site:1", "site:2", "site:3", "db:1"];
const ONE: u64 = 100 << 20;

fn web(image: &str, id: u64, keys: Value) -> Value {
    with(with(app("web", image, 2), json!({"app_id": id})), keys)
}

/// A group's state with an order to prune.
fn ordered(apps: &[Value], prune_id: u64) -> Desired {
    let answer = with(answer(apps), json!({"prune_id": prune_id}));
    Desired::decode(answer.to_string().as_bytes()).expect("the answer is whole")
}

/// A device that ran the first image and runs the second.
fn updated() -> Sim {
    let mut sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &SITES);
    sim.world.image_bytes = ONE;
    sim.desired = desired(&[web("site:2", 2, json!({}))]);
    sim.quiet(60);
    sim
}

fn removed(plan: &Plan) -> Vec<&str> {
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::RemoveImage { id, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect()
}

/// Law of images: none goes that a container uses, or that anything declared names.
/// `memory` is that of the plan: with it an app goes back to another version than before.
fn assert_needed_stay(sim: &Sim, memory: &Memory, plan: &Plan) {
    let observed = sim.observe();
    for name_or_id in memory.kept_images() {
        let kept = sim.world.images.get(&name_or_id).unwrap_or(&name_or_id);
        assert!(!removed(plan).contains(&kept.as_str()), "inv 27, kept: {plan}");
    }
    for id in removed(plan) {
        assert!(!observed.used_images.contains(id), "inv 27, in use: {plan}");
        for desired in &sim.desired.apps {
            if let DesiredApp::Readable(app) = desired {
                let name = app.spec.container.docker_image.familiar();
                assert_ne!(sim.world.images.get(&name).map(String::as_str), Some(id), "{plan}");
            }
        }
    }
}

#[test]
fn image_that_was_replaced_goes_after_a_week_and_the_new_one_stays() {
    let mut sim = updated();
    sim.now_ms += WEEK_MS - HOUR_MS;
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new(), "not before");
    sim.now_ms += HOUR_MS;
    assert_eq!(removed(&sim.pass()), [World::built("site:1")]);
    assert_eq!(sim.world.images.keys().collect::<Vec<_>>(), ["site:2"]);
    sim.quiet(10);
}

#[test]
fn image_that_is_used_again_begins_its_week_anew() {
    let mut sim = updated();
    sim.now_ms += WEEK_MS - HOUR_MS;
    sim.desired = desired(&[web("site:1", 3, json!({}))]);
    sim.quiet(60);
    sim.desired = desired(&[web("site:2", 4, json!({}))]);
    sim.quiet(60);
    sim.now_ms += WEEK_MS - HOUR_MS;
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new());
}

#[test]
fn build_that_lost_its_name_to_a_newer_one_goes_after_a_week() {
    let mut sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &SITES);
    sim.world.builds.insert("site:1".to_owned(), "sha256:newer".to_owned());
    sim.desired = desired(&[web("site:1", 2, json!({}))]);
    sim.quiet(60);
    assert_eq!(sim.world.nameless.iter().collect::<Vec<_>>(), [&World::built("site:1")]);
    sim.now_ms += WEEK_MS;
    assert_eq!(removed(&sim.pass()), [World::built("site:1")]);
    assert_eq!(sim.world.images["site:1"], "sha256:newer");
}

#[test]
fn clock_that_nobody_set_ages_no_image_and_one_that_is_set_begins_then() {
    let mut sim = updated();
    sim.now_ms = 0;
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new());
    sim.now_ms = 2_000_000_000_000;
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new(), "it was not unused since 1970");
    sim.now_ms += WEEK_MS;
    assert_eq!(removed(&sim.pass()), [World::built("site:1")]);
}

#[test]
fn looks_that_find_nothing_new_change_no_memory() {
    let mut sim = updated();
    sim.now_ms += HOUR_MS;
    sim.pass();
    let before = sim.memory.clone();
    sim.now_ms += HOUR_MS;
    sim.pass();
    assert_eq!(sim.memory, before, "flash wears out");
}

#[test]
fn full_disk_removes_the_oldest_unused_image_at_once_and_stops_when_there_is_room() {
    let mut sim = updated();
    sim.desired = desired(&[web("site:3", 3, json!({}))]);
    sim.now_ms += HOUR_MS;
    sim.quiet(60);
    sim.world.disk = Some(Disk { total_bytes: 10 * ONE, free_bytes: ONE });
    let made = sim.pass();
    assert_eq!(removed(&made), [World::built("site:1")], "one is enough: 15 % are free after it");
    sim.quiet(10);
    assert!(sim.world.images.contains_key("site:2"));
}

#[test]
fn image_that_a_failed_version_goes_back_to_stays() {
    let mut sim = updated();
    sim.behave("site:3", Behaviour::Unhealthy);
    let keys = json!({"update_config": {"failure_action": "rollback"}});
    sim.desired = ordered(&[web("site:3", 3, keys)], 2);
    sim.run_for(HOUR_MS);
    assert!(sim.memory.kept_images().contains("site:2"));
    assert!(sim.world.images.contains_key("site:2") && sim.world.images.contains_key("site:3"));
    assert!(!sim.world.images.contains_key("site:1"), "the order was carried out");
}

#[test]
fn order_to_prune_removes_what_nothing_uses_once() {
    let mut sim = updated();
    let apps = [web("site:2", 2, json!({}))];
    sim.world.add_image("person:1", "sha256:person");
    sim.world.add_image("in-use:1", "sha256:in-use");
    sim.world.foreign_images.insert("sha256:in-use".to_owned());
    sim.desired = ordered(&apps, 2);
    let mut gone: Vec<String> = removed(&sim.pass()).into_iter().map(str::to_owned).collect();
    gone.sort();
    assert_eq!(gone, ["sha256:person", "sha256:site:1"]);
    sim.quiet(10);
    sim.world.add_image("person:1", "sha256:person");
    sim.now_ms += HOUR_MS;
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new(), "the order was carried out");
    sim.desired = ordered(&apps, 3);
    assert_eq!(removed(&sim.pass()), ["sha256:person"]);
}

#[test]
fn lower_order_is_where_counting_goes_on() {
    let mut sim = updated();
    let apps = [web("site:2", 2, json!({}))];
    sim.desired = ordered(&apps, 9);
    sim.quiet(10);
    sim.world.add_image("person:1", "sha256:person");
    sim.desired = ordered(&apps, 1);
    assert_eq!(removed(&sim.pass()), Vec::<&str>::new(), "the group was made anew");
    sim.desired = ordered(&apps, 2);
    assert_eq!(removed(&sim.pass()), ["sha256:person"]);
}

#[test]
fn image_that_docker_does_not_let_go_ends_the_order_after_three_tries() {
    let mut sim = updated();
    sim.desired = ordered(&[web("site:2", 2, json!({}))], 2);
    let first = sim.steps;
    for step in 1..=20 {
        sim.faults.insert(first + step, Fault::ErrorBefore);
    }
    sim.run_for(HOUR_MS);
    assert_eq!(sim.steps - first, 3);
    assert!(sim.look().holds.is_empty());
}

/// Invariant 15 for images: the worker dies or the engine fails at each removal.
#[test]
fn inv_15_prune_and_collection_survive_death_and_failure_at_every_step() {
    let apps = [web("site:3", 3, json!({}))];
    let mut begin = updated();
    begin.desired = desired(&apps);
    begin.quiet(60);
    let mut pruned = begin.clone();
    pruned.desired = ordered(&apps, 2);
    let mut aged = begin.clone();
    aged.now_ms += WEEK_MS;
    let mut full = begin;
    full.world.disk = Some(Disk { total_bytes: 10 * ONE, free_bytes: 0 });
    for (name, begin, left) in [("prune", pruned, 1), ("age", aged, 1), ("disk", full, 1)] {
        for step in 1..=3 {
            for fault in
                [Fault::ErrorBefore, Fault::ErrorAfter, Fault::KillBefore, Fault::KillAfter]
            {
                let mut sim = begin.clone();
                sim.faults.insert(sim.steps + step, fault);
                sim.run_for(HOUR_MS);
                assert_eq!(sim.world.images.len(), left, "{name}, {fault:?} at {step}");
                assert!(sim.world.images.contains_key("site:3"));
                sim.faults.clear();
                sim.converge(10);
            }
        }
    }
}

/// What happens in a random world.
#[derive(Debug, Clone)]
enum Event {
    /// The app is declared with this image, running or not.
    Declare(usize, bool),
    /// The app is out of every list.
    Forget,
    /// The registry has a new build under this name.
    Build(usize),
    /// Somebody gives an image another name.
    Tag(usize),
    /// Somebody's container uses an image.
    Use(usize),
    /// An order to prune.
    Prune,
    /// The disk fills to so many tenths.
    Fill(u64),
    /// Time goes by, in hours.
    Wait(u64),
    /// Something goes wrong soon.
    Fail(usize, Fault),
    /// The memory is lost.
    Lose,
}

fn event() -> impl Strategy<Value = Event> {
    let image = 0..SITES.len();
    let fault = prop_oneof![
        Just(Fault::ErrorBefore),
        Just(Fault::ErrorAfter),
        Just(Fault::KillBefore),
        Just(Fault::KillAfter)
    ];
    prop_oneof![
        4 => (image.clone(), prop::bool::weighted(0.8)).prop_map(|(i, runs)| Event::Declare(i, runs)),
        1 => Just(Event::Forget),
        2 => image.clone().prop_map(Event::Build),
        1 => image.clone().prop_map(Event::Tag),
        1 => image.prop_map(Event::Use),
        2 => Just(Event::Prune),
        2 => (0..=10_u64).prop_map(Event::Fill),
        2 => (1..=200_u64).prop_map(Event::Wait),
        2 => (1..6_usize, fault).prop_map(|(step, fault)| Event::Fail(step, fault)),
        1 => Just(Event::Lose),
    ]
}

fn happen(sim: &mut Sim, event: &Event, number: u64, prune_id: &mut u64) {
    match event {
        Event::Declare(image, runs) => {
            let keys = json!({"running": runs});
            sim.desired = ordered(&[web(SITES[*image], number, keys)], *prune_id);
        }
        Event::Forget => sim.desired = ordered(&[], *prune_id),
        Event::Build(image) => {
            let build = format!("sha256:{}-{number}", SITES[*image]);
            sim.world.builds.insert(SITES[*image].to_owned(), build);
        }
        Event::Tag(image) => {
            if let Some(id) = sim.world.images.get(SITES[*image]).cloned() {
                sim.world.add_image(&format!("also:{number}"), &id);
            }
        }
        Event::Use(image) => {
            sim.world.foreign_images.extend(sim.world.images.get(SITES[*image]).cloned());
        }
        Event::Prune => {
            *prune_id += 1;
            sim.desired.prune_id = *prune_id;
        }
        Event::Fill(tenths) => {
            let free_bytes = (10 - tenths) * ONE;
            sim.world.disk = Some(Disk { total_bytes: 10 * ONE, free_bytes });
        }
        Event::Wait(hours) => sim.now_ms += hours * HOUR_MS,
        Event::Fail(step, fault) => {
            sim.faults.insert(sim.steps + step, *fault);
        }
        Event::Lose => sim.memory = Memory::default(),
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn inv_27_never_removes_an_image_in_use(events in prop::collection::vec((event(), 0..6_usize), 1..24)) {
        let mut sim = Sim::new(ordered(&[], 1), &SITES);
        sim.world.image_bytes = ONE;
        let mut prune_id = 1;
        for (number, (event, passes)) in (1..).zip(&events) {
            happen(&mut sim, event, number, &mut prune_id);
            for _ in 0..*passes {
                let before = sim.clone();
                let made = sim.pass();
                assert_needed_stay(&before, &sim.memory, &made);
                sim.step_clock(&made);
            }
        }
        sim.faults.clear();
        sim.quiet(200);
    }
}

/// A device with the network and nothing else.
fn bare(registry: &[&str]) -> Sim {
    let mut sim = Sim::new(desired(&[web("site:1", 1, json!({}))]), registry);
    sim.world.networks.insert(NEBULA_NETWORK.to_owned());
    sim
}

fn version(desired: &Desired) -> AppVersion {
    only(desired).version()
}

#[test]
fn turn_is_waited_for_once_a_version_whatever_fails_and_restarts() {
    let mut sim = bare(&[]);
    sim.policy.pull_spread_ms = HOUR_MS;
    let begun = sim.now_ms;
    let turn = match reasons(&sim.pass(), "web").first() {
        Some(Reason::TakingTurns { wait_ms, .. }) => *wait_ms,
        other => panic!("{other:?}"),
    };
    assert!(turn > 0 && turn < HOUR_MS);
    sim.now_ms += turn / 2;
    sim.policy.jitter_seed = "another process".to_owned();
    let after_restart = sim.pass();
    let wait_ms = match reasons(&after_restart, "web").first() {
        Some(Reason::TakingTurns { wait_ms, .. }) => *wait_ms,
        None | Some(_) => 0,
    };
    assert!(sim.now_ms + wait_ms <= begun + HOUR_MS, "the wait is not begun anew");
    sim.now_ms = begun + HOUR_MS;
    sim.pass();
    // The registry lacks it; the next try does not wait for a turn again.
    sim.now_ms += 2_000;
    let retried = sim.pass();
    assert!(matches!(retried.actions.as_slice(), [Action::Pull { .. }]), "{retried}");
    // Another version takes its own turn.
    sim.desired = desired(&[web("site:2", 2, json!({}))]);
    let other = reasons(&sim.pass(), "web");
    assert!(matches!(other.first(), Some(Reason::TakingTurns { .. })), "{other:?}");
}

#[test]
fn registry_that_keeps_refusing_is_asked_ever_more_rarely_from_minutes_up() {
    let image = ImageReference::parse("site:1").expect("an image");
    let mut sim = bare(&[]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let made = sim.pass();
        let pulls = made.actions.iter().any(|action| matches!(action, Action::Pull { .. }));
        assert!(pulls, "{made}");
        // Three pulls that ran side by side say the same.
        for _ in 0..3 {
            sim.memory.registry_is_busy(&image, None, "toomanyrequests: slow down", sim.now_ms);
        }
        let wait = match reasons(&sim.pass(), "web").first() {
            Some(Reason::RegistryBusy { wait_ms, .. }) => *wait_ms,
            other => panic!("{other:?}"),
        };
        waits.push(wait);
        sim.now_ms += wait;
    }
    assert!(waits[0] >= 120_000, "{waits:?}");
    assert!(waits.is_sorted_by(|a, b| a < b || *b >= HOUR_MS), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= HOUR_MS * 6 / 5), "{waits:?}");
    // Once it gives an image it is trusted again.
    let version = version(&sim.desired);
    sim.memory.pulled("web", &version, &image, "sha256:x");
    sim.memory.registry_is_busy(&image, None, "toomanyrequests: slow down", sim.now_ms);
    let again = reasons(&sim.pass(), "web");
    assert!(
        matches!(again.first(), Some(Reason::RegistryBusy { wait_ms, .. }) if *wait_ms < 150_000),
        "{again:?}"
    );
}

#[test]
fn clock_that_goes_back_holds_no_pull() {
    let image = ImageReference::parse("site:1").expect("an image");
    let mut sim = bare(&SITES);
    sim.memory.registry_is_busy(&image, Some(HOUR_MS), "slow down", sim.now_ms);
    assert!(sim.pass().actions.iter().all(|action| !matches!(action, Action::Pull { .. })));
    sim.now_ms -= 24 * HOUR_MS;
    let made = sim.pass();
    assert!(made.actions.iter().any(|action| matches!(action, Action::Pull { .. })), "{made}");
}
