//! Rolling updates: the budget, from any count to any count, over any shift of ports.

use crate::laws::{behaviour, cases};
use crate::support::{OTHER_UID, Sim, app, desired, only, reasons, serving, with};
use nebula::model::{ContainerState, Desired};
use nebula::reconcile::pretend::Behaviour;
use nebula::reconcile::{Memory, Reason};
use proptest::prelude::*;
use serde_json::json;

const OLD: &str = "site:1";
const NEW: &str = "site:2";

fn site(image: &str, id: u64, replicas: u64, port: Option<u16>, is_rolling: bool) -> Desired {
    let ports: Vec<u16> = port.into_iter().collect();
    desired(&[with(
        app("web", image, replicas),
        json!({"app_id": id, "starting_ports": ports, "rolling_restart": is_rolling}),
    )])
}

/// Updates a device that runs `from` replicas.
fn update(mut sim: Sim, from: u64, to: u64, new_port: Option<u16>, is_rolling: bool) {
    sim.desired = site(NEW, 2, to, new_port, is_rolling);
    sim.watch();
    let replicas = usize::try_from(from.max(to)).expect("few");
    let passes = sim.converge(40 + 12 * replicas);
    if is_rolling {
        let what = format!("{from} to {to}, new port {new_port:?}, {passes} passes");
        assert!(sim.most_down <= 1, "law of budget: {} down, {what}", sim.most_down);
    }
}

#[test]
fn inv_21_any_count_to_any_count_ends_right() {
    for from in 0..=20 {
        let begin = Sim::running(site(OLD, 1, from, Some(80), true), &[OLD, NEW]);
        for to in 0..=20 {
            let is_rolling = (from + to) % 2 == 0;
            update(begin.clone(), from, to, Some(80), is_rolling);
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn inv_21_at_most_one_replica_is_down_for_any_shift_of_ports(
        from in 0..=20_u64,
        to in 0..=20_u64,
        old_port in prop::option::of(1_000..1_040_u16),
        new_port in prop::option::of(1_000..1_040_u16),
        is_rolling in prop::bool::weighted(0.8),
    ) {
        let begin = Sim::running(site(OLD, 1, from, old_port, is_rolling), &[OLD, NEW]);
        update(begin, from, to, new_port, is_rolling);
    }

    /// The budget also holds when the new version is broken, when replicas are taken away by hand,
    /// when the worker forgets, and when yet another version comes before the last is done. There
    /// are two layouts of ports: with a third one, replicas can hold each other's ports in a ring.
    #[test]
    fn inv_21_the_budget_holds_in_any_trouble(
        count in 1..6_u64,
        ports in prop::collection::vec(prop::option::of(1_000..1_008_u16), 2),
        behaviours in prop::collection::vec(behaviour(), 3),
        passes in prop::collection::vec(0..9_usize, 3),
        lost in prop::option::of(1..6_u32),
        is_forgetful in any::<bool>(),
    ) {
        let images = ["site:1", "site:2", "site:3", "site:4"];
        let mut sim = Sim::running(site(OLD, 1, count, ports[0], true), &images);
        sim.watch();
        for (step, behaviour) in behaviours.iter().enumerate() {
            sim.behave(images[step + 1], *behaviour);
            sim.desired = site(images[step + 1], 2 + step as u64, count, ports[1], true);
            for _ in 0..passes[step] {
                let made = sim.pass();
                sim.step_clock(&made);
            }
            if let Some(lost) = lost {
                let name = format!("web-{lost}");
                sim.world.vanish(&name);
                sim.served.values_mut().for_each(|served| { served.remove(&lost); });
            }
            if is_forgetful {
                sim.memory = Memory::default();
            }
        }
        prop_assert!(sim.most_down <= 1, "law of budget: {} down", sim.most_down);
        sim.run_for(1_200_000);
        prop_assert!(sim.most_down <= 1, "law of budget: {} down", sim.most_down);
        sim.world.behaviours.clear();
        sim.declare_again();
        sim.converge(300);
    }
}

#[test]
fn inv_21_a_rollout_stops_at_the_first_bad_replica_and_goes_back() {
    for behaviour in [
        Behaviour::Unhealthy,
        Behaviour::Crashes,
        Behaviour::RefusesCreate,
        Behaviour::RefusesStart,
    ] {
        let mut sim = Sim::running(site(OLD, 1, 4, Some(80), true), &[OLD, NEW]);
        sim.behave(NEW, behaviour);
        sim.desired = site(NEW, 2, 4, Some(80), true);
        sim.watch();
        sim.run_for(1_800_000);
        assert!(sim.most_down <= 1, "{behaviour:?}");
        let version = only(&sim.desired).version();
        let touched =
            sim.observe().containers.iter().filter(|c| c.version == Some(version.clone())).count();
        assert!(touched <= 1, "{behaviour:?} reached {touched} replicas");
        assert_eq!(
            serving(&sim.observe(), "web").len(),
            4,
            "{behaviour:?}: all serve between tries"
        );
        // And back to what was: the old image again, under a higher id.
        sim.desired = site(OLD, 3, 4, Some(80), true);
        sim.converge(80);
        assert!(sim.most_down <= 1, "{behaviour:?}");
    }
}

#[test]
fn a_rolling_app_with_all_replicas_down_starts_them_all_at_once() {
    let mut sim = Sim::running(site(OLD, 1, 6, Some(80), true), &[OLD, NEW]);
    for replica in 1..=6 {
        sim.world.change(&format!("web-{replica}"), |c| c.state = ContainerState::Exited);
    }
    let made = sim.pass();
    assert_eq!(made.actions.len(), 6, "{made}");
    sim.converge(20);
}

#[test]
fn a_down_replica_whose_new_port_another_holds_does_not_stop_the_rollout() {
    // Replica 1 wants port 81, which replica 2 holds, and replica 1 itself is gone.
    let mut sim = Sim::running(site(OLD, 1, 3, Some(80), true), &[OLD, NEW]);
    sim.world.vanish("web-1");
    sim.desired = site(NEW, 2, 3, Some(81), true);
    sim.watch();
    sim.served.values_mut().for_each(|served| {
        served.remove(&1);
    });
    sim.converge(80);
    assert!(sim.most_down <= 1);
}

#[test]
fn ports_that_cross_cannot_be_updated_one_by_one_and_are_updated_together() {
    let ports = |ports: [u16; 2], id: u64| {
        desired(&[with(
            app("web", OLD, 3),
            json!({"app_id": id, "starting_ports": ports, "rolling_restart": true}),
        )])
    };
    let mut sim = Sim::running(ports([80, 90], 1), &[OLD]);
    sim.desired = ports([81, 89], 2);
    sim.converge(80);
}

#[test]
fn a_waiting_replica_is_looked_at_again_soon() {
    let mut sim = Sim::running(site(OLD, 1, 2, None, true), &[OLD, NEW]);
    sim.world.vanish("web-1");
    sim.desired = site(NEW, 2, 2, None, true);
    for _ in 0..6 {
        let made = sim.pass();
        let waits =
            reasons(&made, "web").iter().any(|r| matches!(r, Reason::WaitingForReplica { .. }));
        assert!(!waits || !made.actions.is_empty() || made.recheck_after_ms.is_some(), "{made}");
        sim.step_clock(&made);
    }
}

#[test]
fn inv_3_an_app_created_again_with_the_same_id_replaces_the_old() {
    let first = with(app("web", OLD, 2), json!({"starting_ports": [80]}));
    let again = with(first.clone(), json!({"uid": OTHER_UID}));
    let mut sim = Sim::running(desired(&[first]), &[OLD]);
    let before = crate::support::ids(&sim.observe(), "web");
    sim.desired = desired(&[again]);
    sim.converge(40);
    let after = crate::support::ids(&sim.observe(), "web");
    assert!(before.iter().all(|(name, id)| after.get(name) != Some(id)), "{before:?} {after:?}");
}

/// Three layouts of ports at once can leave replicas that hold each other's ports in a ring. No
/// order of single replacements exists then, so the budget cannot be kept; the end is still right.
#[test]
fn overlapping_updates_whose_ports_form_a_ring_end_right() {
    let layouts = [(Some(1_000), 0), (None, 0), (Some(1_003), 4), (Some(1_002), 0)];
    let images = ["site:1", "site:2", "site:3", "site:4"];
    let mut sim = Sim::running(site(OLD, 1, 4, layouts[0].0, true), &images);
    for (id, (image, (port, passes))) in (1..).zip(images.iter().zip(layouts)).skip(1) {
        sim.desired = site(image, id, 4, port, true);
        for _ in 0..passes {
            let made = sim.pass();
            sim.step_clock(&made);
        }
    }
    sim.converge(100);
}
