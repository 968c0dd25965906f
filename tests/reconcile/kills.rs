//! Invariant 15, enumerated: for each telling scenario, the worker dies or the engine fails at
//! every single step, in each way there is, with its memory and without.

use crate::support::{Fault, OTHER_UID, Sim, app, desired, ids, with};
use nebula::model::Desired;
use nebula::reconcile::Memory;
use nebula::reconcile::pretend::Behaviour;
use serde_json::{Value, json};

const IMAGES: [&str; 4] = ["site:1", "site:2", "site:3", "db:1"];

fn web(image: &str, id: u64, replicas: u64, keys: Value) -> Value {
    with(with(app("web", image, replicas), json!({"app_id": id})), keys)
}

/// An app that nobody changes: its containers must be the same at the end.
fn db() -> Value {
    with(app("db", "db:1", 2), json!({"starting_ports": [5432]}))
}

/// The name, the beginning and what it is changed to.
fn scenarios() -> Vec<(&'static str, Vec<Value>, Vec<Value>)> {
    let none = || json!({});
    let port = |port: u16| json!({"starting_ports": [port]});
    let rolling = |port: u16| json!({"starting_ports": [port], "rolling_restart": true});
    vec![
        ("create", vec![], vec![web("site:1", 1, 2, port(80))]),
        ("update", vec![web("site:1", 1, 2, port(80))], vec![web("site:2", 2, 2, port(80))]),
        ("restart", vec![web("site:1", 1, 2, none())], vec![web("site:1", 2, 2, none())]),
        (
            "shift ports up",
            vec![web("site:1", 1, 3, port(80))],
            vec![web("site:1", 2, 3, port(81))],
        ),
        ("rolling", vec![web("site:1", 1, 3, rolling(80))], vec![web("site:2", 2, 3, rolling(80))]),
        (
            "rolling shift",
            vec![web("site:1", 1, 3, rolling(80))],
            vec![web("site:1", 2, 3, rolling(81))],
        ),
        ("more", vec![web("site:1", 1, 1, none())], vec![web("site:1", 2, 3, none())]),
        ("fewer", vec![web("site:1", 1, 3, port(80))], vec![web("site:1", 2, 1, port(80))]),
        (
            "stop",
            vec![web("site:1", 1, 2, none())],
            vec![web("site:1", 2, 2, json!({"running": false}))],
        ),
        ("delete", vec![web("site:1", 1, 2, none())], vec![]),
        (
            "again",
            vec![web("site:1", 1, 2, none())],
            vec![web("site:1", 1, 2, json!({"uid": OTHER_UID}))],
        ),
        (
            "network",
            vec![web("site:1", 1, 2, none())],
            vec![web("site:1", 2, 2, json!({"networks": ["extra", "bridge"]}))],
        ),
    ]
}

fn device(from: &[Value]) -> Sim {
    let mut apps = from.to_vec();
    apps.push(db());
    Sim::running(desired(&apps), &IMAGES)
}

fn target(to: &[Value]) -> Desired {
    let mut apps = to.to_vec();
    apps.push(db());
    desired(&apps)
}

const FAULTS: [Fault; 4] =
    [Fault::ErrorBefore, Fault::ErrorAfter, Fault::KillBefore, Fault::KillAfter];

/// Runs one scenario with one fault, and proves that it ends as desired with `db` untouched.
fn survive(begin: &Sim, to: &Desired, step: usize, fault: Fault, forgets: bool) -> usize {
    let mut sim = begin.clone();
    let before = ids(&sim.observe(), "db");
    sim.desired = to.clone();
    let first = sim.steps;
    sim.faults.insert(first + step, fault);
    for _ in 0..40 {
        let made = sim.pass();
        if sim.faults.is_empty() {
            break;
        }
        sim.step_clock(&made);
    }
    if forgets {
        sim.memory = Memory::default();
    }
    sim.faults.clear();
    sim.converge(120);
    assert_eq!(ids(&sim.observe(), "db"), before, "an unchanged app was touched");
    sim.steps - first
}

#[test]
fn inv_15_death_or_failure_at_every_step_of_every_scenario_converges() {
    for (name, from, to) in scenarios() {
        let begin = device(&from);
        let to = target(&to);
        let whole = survive(&begin, &to, usize::MAX / 2, Fault::KillBefore, false);
        assert!(whole >= 4, "{name} has {whole} steps");
        for step in 1..=whole + 2 {
            for fault in FAULTS {
                // Only a death can lose the memory as well.
                let may_forget = matches!(fault, Fault::KillBefore | Fault::KillAfter);
                for forgets in [false, true].into_iter().filter(|forgets| !forgets || may_forget) {
                    survive(&begin, &to, step, fault, forgets);
                }
            }
        }
    }
}

#[test]
fn inv_15_two_faults_at_every_pair_of_steps_of_an_update_converge() {
    let begin = device(&[web("site:1", 1, 2, json!({"starting_ports": [80]}))]);
    let to = target(&[web("site:2", 2, 2, json!({"starting_ports": [80]}))]);
    for first in 1..=14 {
        for second in first + 1..=first + 6 {
            for fault in FAULTS {
                let mut sim = begin.clone();
                sim.desired = to.clone();
                let at = sim.steps;
                sim.faults.insert(at + first, fault);
                sim.faults.insert(at + second, Fault::KillAfter);
                sim.converge(160);
            }
        }
    }
}

#[test]
fn inv_15_a_third_version_after_death_at_every_step_converges() {
    let begin = device(&[web("site:1", 1, 2, json!({"starting_ports": [80]}))]);
    let second = target(&[web("site:2", 2, 2, json!({"starting_ports": [80]}))]);
    let third = target(&[web("site:3", 3, 2, json!({"starting_ports": [81]}))]);
    for behaviour in [Behaviour::Runs, Behaviour::Unhealthy, Behaviour::Crashes] {
        for step in 1..=16 {
            let mut sim = begin.clone();
            sim.behave("site:2", behaviour);
            sim.desired = second.clone();
            sim.faults.insert(sim.steps + step, Fault::KillAfter);
            for _ in 0..60 {
                if sim.faults.is_empty() {
                    break;
                }
                let made = sim.pass();
                sim.step_clock(&made);
            }
            sim.faults.clear();
            sim.desired = third.clone();
            sim.converge(120);
        }
    }
}
