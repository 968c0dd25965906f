//! Trouble that lasts: what serves goes on serving, tries get rarer, and the rest is left alone.

use crate::support::{Sim, app, desired, ids, only, reasons, serving, with};
use nebula::model::{ContainerState, Health, HostPort, Observed};
use nebula::reconcile::pretend::{Behaviour, World};
use nebula::reconcile::{Action, Memory, Reason, Step};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OLD: &str = "site:1";
const NEW: &str = "site:2";
const ALL: [&str; 3] = [OLD, NEW, "db:1"];

fn web(image: &str, id: u64) -> Value {
    with(app("web", image, 3), json!({"app_id": id, "starting_ports": [80]}))
}

fn db() -> Value {
    with(app("db", "db:1", 1), json!({"starting_ports": [5432]}))
}

/// Three replicas of `web` and one `db`, running.
fn device() -> Sim {
    Sim::running(desired(&[web(OLD, 1), db()]), &ALL)
}

fn old_ones(observed: &Observed, sim: &Sim) -> BTreeSet<u32> {
    let new = only(&sim.desired).version();
    let old =
        observed.containers.iter().filter(|c| c.app == "web" && c.version != Some(new.clone()));
    old.filter(|c| c.state == ContainerState::Running).filter_map(|c| c.replica).collect()
}

#[test]
fn inv_18_an_image_that_never_arrives_keeps_the_old_containers_and_starts_them_again() {
    let mut sim = device();
    let before = ids(&sim.observe(), "web");
    sim.world.registry.remove(NEW);
    sim.desired = desired(&[web(NEW, 2), db()]);
    sim.run_for(600_000);
    assert_eq!(ids(&sim.observe(), "web"), before);
    sim.world.change("web-2", |c| c.state = ContainerState::Exited);
    sim.world.change("web-3", |c| c.state = ContainerState::Paused);
    let made = sim.pass();
    assert_eq!(serving(&sim.observe(), "web").len(), 3, "{made}");
    assert!(matches!(reasons(&made, "web")[0], Reason::PullFailed { .. }), "{made}");
    assert_eq!(ids(&sim.observe(), "web"), before);
    // It arrives at last.
    sim.world.registry.insert(NEW.to_owned());
    sim.converge(60);
}

#[rstest]
#[case(Behaviour::Unhealthy)]
#[case(Behaviour::Crashes)]
#[case(Behaviour::RefusesCreate)]
#[case(Behaviour::RefusesStart)]
fn inv_18_a_broken_new_version_leaves_the_old_one_serving_between_tries(#[case] broken: Behaviour) {
    let mut sim = device();
    let (web_before, db_before) = (ids(&sim.observe(), "web"), ids(&sim.observe(), "db"));
    sim.behave(NEW, broken);
    sim.desired = desired(&[web(NEW, 2), db()]);
    let (mut whole, mut passes, mut tries) = (0_u32, 0_u32, 0_u32);
    let end = sim.now_ms + 7_200_000;
    while sim.now_ms < end {
        let made = sim.pass();
        let starts = |a: &&Action| matches!(a, Action::Container { target, step: Step::Start, .. } if target.name.ends_with("-next"));
        tries += u32::try_from(made.actions.iter().filter(starts).count()).expect("few");
        if made.actions.is_empty() {
            passes += 1;
            whole += u32::from(old_ones(&sim.observe(), &sim).len() == 3);
        }
        sim.step_clock(&made);
        assert_eq!(serving(&sim.observe(), "db"), BTreeSet::from([1]));
        assert!(tries <= 3 * 34, "a circle: {tries} tries");
    }
    assert_eq!(whole, passes, "between tries all old ones serve");
    // 1, 2, 4 ... 256 s and then every 300 s: at most 34 tries of each replica in two hours.
    assert!(tries <= 3 * 34, "{tries} tries");
    let after = ids(&sim.observe(), "web");
    assert!(web_before.iter().all(|(name, id)| after.get(name) == Some(id)), "{after:?}");
    assert_eq!(ids(&sim.observe(), "db"), db_before);
    sim.world.behaviours.clear();
    sim.declare_again();
    sim.converge(80);
}

#[test]
fn a_verdict_that_comes_late_is_followed_by_the_whole_wait() {
    // The health check takes 90 s to fail; the old container must serve for the wait after it.
    // The ports make the two exclude each other.
    let ports = json!({"starting_ports": [80], "update_config": {"failure_action": "continue", "parallelism": 0}});
    let mut sim = Sim::running(desired(&[with(app("web", OLD, 1), ports.clone())]), &ALL);
    sim.desired = desired(&[with(with(app("web", NEW, 1), ports), json!({"app_id": 2}))]);
    for doublings in 0..10 {
        let begin = sim.now_ms;
        while !runs(&sim, "web-1-next") {
            let made = sim.pass();
            if !runs(&sim, "web-1-next") {
                sim.step_clock(&made);
            }
        }
        if doublings > 0 {
            let wait_ms = (1_000_u64 << (doublings - 1)).min(300_000);
            assert!(sim.now_ms - begin >= wait_ms, "served {} ms", sim.now_ms - begin);
        }
        sim.world.change("web-1-next", |c| c.health = Health::Starting);
        sim.now_ms += 90_000;
        sim.world.change("web-1-next", |c| c.health = Health::Unhealthy);
        sim.pass();
        assert!(runs(&sim, "web-1"), "the old one serves again at once");
    }
}

fn runs(sim: &Sim, name: &str) -> bool {
    let containers = sim.observe().containers;
    containers.iter().any(|c| c.name == name && c.state == ContainerState::Running)
}

#[test]
fn a_fallback_that_served_is_not_given_up_for_one_that_crashes() {
    // 1 serves, 2 crashes, and 3, which is broken too, arrives before 1 is back.
    let mut sim = Sim::running(desired(&[app("web", OLD, 1)]), &[OLD, NEW, "site:3"]);
    let good = ids(&sim.observe(), "web");
    sim.behave(NEW, Behaviour::Crashes);
    sim.behave("site:3", Behaviour::Crashes);
    sim.desired = desired(&[with(app("web", NEW, 1), json!({"app_id": 2}))]);
    sim.pass();
    sim.now_ms += 20;
    sim.pass();
    sim.desired = desired(&[with(app("web", "site:3", 1), json!({"app_id": 3}))]);
    sim.run_for(600_000);
    let kept = ids(&sim.observe(), "web");
    assert_eq!(kept.get("web-1"), good.get("web-1"), "{kept:?}");
    assert_eq!(serving(&sim.observe(), "web").len(), 1);
}

#[test]
fn inv_18_broken_apps_change_nothing_for_the_others() {
    let mut sim = device();
    let before = ids(&sim.observe(), "db");
    sim.behave(NEW, Behaviour::RefusesStart);
    let bad: Vec<Value> = vec![
        web(NEW, 2),
        db(),
        with(app("no-network", OLD, 2), json!({"networks": ["absent"]})),
        app("no-image", "nowhere:1", 1),
        with(app("same-port", OLD, 1), json!({"starting_ports": [5432]})),
        with(app("too-many", OLD, 1), json!({"containers_per": {"memory": 1}})),
        json!({"app_name": "odd", "app_id": 1, "docker_image": "UPPER"}),
    ];
    sim.desired = desired(&bad);
    sim.run_for(1_800_000);
    assert_eq!(ids(&sim.observe(), "db"), before);
    assert_eq!(serving(&sim.observe(), "web").len(), 3);
    let made = sim.look();
    for app in ["no-network", "no-image", "same-port", "too-many", "odd"] {
        assert!(made.holds.iter().any(|hold| hold.app == app), "{app} is held\n{made}");
    }
}

#[test]
fn a_port_that_a_stranger_holds_leaves_the_old_one_serving() {
    let mut sim = device();
    sim.world.foreign.push(("nginx".to_owned(), BTreeSet::from([HostPort::tcp(90)])));
    sim.desired = desired(&[with(web(OLD, 2), json!({"starting_ports": [90]})), db()]);
    let steps = sim.run_for(3_600_000);
    assert!(steps < 3 * 22 * 8, "{steps} steps");
    assert!(old_ones(&sim.observe(), &sim).contains(&1));
    sim.world.foreign.clear();
    sim.converge(80);
}

#[test]
fn a_name_that_a_stranger_holds_is_waited_for_without_a_circle() {
    let mut sim = Sim::new(desired(&[web(OLD, 1)]), &ALL);
    sim.world.foreign.push(("web-1".to_owned(), BTreeSet::new()));
    let steps = sim.run_for(3_600_000);
    assert!(steps < 200, "{steps} steps");
    assert_eq!(serving(&sim.observe(), "web").len(), 2);
    sim.world.foreign.clear();
    sim.converge(80);
}

/// Neither may take the other's port while that one serves, so both are held and say why; as soon
/// as one of them is stopped for a moment, both get there.
#[test]
fn two_apps_that_swap_ports_are_held_until_one_gives_way() {
    let apps = |a: u16, b: u16, id: u64| {
        let one =
            |name, port| with(app(name, OLD, 1), json!({"starting_ports": [port], "app_id": id}));
        desired(&[one("a", a), one("b", b)])
    };
    let mut sim = Sim::running(apps(80, 81, 1), &ALL);
    sim.desired = apps(81, 80, 2);
    let steps = sim.run_for(600_000);
    assert!(steps <= 2, "only the pulls: {steps}");
    assert_eq!(sim.look().holds.len(), 2);
    sim.world.vanish("a-1");
    sim.converge(80);
}

#[test]
fn a_port_that_moves_from_app_to_app_is_taken_over() {
    let apps = |a: u16, b: u16, id: u64| {
        let one =
            |name, port| with(app(name, OLD, 2), json!({"starting_ports": [port], "app_id": id}));
        desired(&[one("a", a), one("b", b)])
    };
    for (a, b) in [(81, 84), (82, 86), (84, 80), (90, 80)] {
        let mut sim = Sim::running(apps(80, 82, 1), &ALL);
        if a + 2 > b && b + 2 > a {
            continue;
        }
        sim.desired = apps(a, b, 2);
        sim.converge(120);
    }
    // An app that goes leaves its port to the next.
    let mut sim = Sim::running(apps(80, 90, 1), &ALL);
    sim.desired = desired(&[with(app("c", OLD, 2), json!({"starting_ports": [80]}))]);
    sim.converge(60);
}

#[test]
fn containers_that_swapped_names_by_hand_swap_back() {
    let mut sim = device();
    let before = ids(&sim.observe(), "web");
    sim.world.change("web-1", |c| "x".clone_into(&mut c.name));
    sim.world.change("web-2", |c| "web-1".clone_into(&mut c.name));
    sim.world.change("x", |c| "web-2".clone_into(&mut c.name));
    sim.converge(40);
    assert_eq!(ids(&sim.observe(), "web"), before, "nothing was created anew");
}

#[test]
fn inv_24_a_clock_that_jumps_a_day_either_way_holds_nothing_up() {
    for jump in [-86_400_000_i64, 86_400_000] {
        let mut sim = device();
        sim.behave(NEW, Behaviour::RefusesStart);
        sim.desired = desired(&[web(NEW, 2), db()]);
        sim.run_for(60_000);
        sim.now_ms = sim.now_ms.saturating_add_signed(jump);
        let steps = sim.run_for(3_600_000);
        assert!(steps < 3 * 22 * 8, "{steps} steps after a jump of {jump}");
        sim.world.behaviours.clear();
        sim.declare_again();
        let begin = sim.now_ms;
        sim.quiet(80);
        assert!(sim.now_ms - begin < 700_000, "mended within the longest wait");
    }
}

#[test]
fn a_network_that_cannot_be_made_is_not_tried_in_a_circle() {
    let mut sim = Sim::new(desired(&[web(OLD, 1)]), &ALL);
    for step in 1..2_000 {
        sim.faults.insert(step, crate::support::Fault::ErrorBefore);
    }
    let steps = sim.run_for(3_600_000);
    assert!(steps < 60, "{steps} steps");
    sim.faults.clear();
    sim.converge(80);
}

#[test]
fn memory_of_apps_and_containers_that_are_gone_is_dropped() {
    let mut sim = device();
    for id in 2..200 {
        sim.behave(NEW, if id % 2 == 0 { Behaviour::RefusesStart } else { Behaviour::Crashes });
        sim.desired = desired(&[web(NEW, id), db()]);
        sim.run_for(3_000);
    }
    let size = serde_json::to_string(&sim.memory).expect("memory prints").len();
    assert!(size < 6_000, "{size} bytes");
    sim.desired = desired(&[]);
    sim.quiet(80);
    sim.now_ms += 1_000;
    sim.pass();
    assert_eq!(serde_json::to_value(&sim.memory).expect("memory prints")["attempts"], json!({}));
}

#[test]
fn inv_20_an_app_that_cannot_be_read_keeps_its_containers() {
    let mut sim = device();
    let before = ids(&sim.observe(), "web");
    sim.desired = desired(&[with(web(OLD, 2), json!({"docker_image": "///"})), db()]);
    sim.run_for(600_000);
    assert_eq!(ids(&sim.observe(), "web"), before);
    assert_eq!(serving(&sim.observe(), "web").len(), 3);
}

#[test]
fn a_restart_of_an_image_built_by_hand_needs_no_registry() {
    let mut sim = Sim::new(desired(&[web(OLD, 1)]), &[]);
    sim.world.add_image(OLD, &World::built(OLD));
    sim.converge(40);
    sim.desired = desired(&[web(OLD, 2)]);
    sim.converge(60);
}

#[test]
fn inv_16_a_worker_that_lost_its_memory_changes_nothing() {
    let mut sim = device();
    let before = (ids(&sim.observe(), "web"), ids(&sim.observe(), "db"));
    sim.memory = Memory::default();
    sim.world.registry.clear();
    sim.world.images.clear();
    for _ in 0..3 {
        let made = sim.pass();
        assert!(made.actions.is_empty() && made.holds.is_empty(), "{made}");
        sim.now_ms += 30_000;
    }
    assert_eq!((ids(&sim.observe(), "web"), ids(&sim.observe(), "db")), before);
}
