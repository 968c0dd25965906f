//! Updates by `update_config`: which container goes first, how many at once, what a failure does.

use crate::support::{Fault, Sim, app, desired, ids, only, reasons, serving, with};
use nebula::model::{ContainerState, Desired, Health};
use nebula::reconcile::pretend::{Behaviour, World};
use nebula::reconcile::{Action, Busy, Inputs, Memory, Reason, Step, plan};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const OLD: &str = "site:1";
const NEW: &str = "site:2";
const ALL: [&str; 4] = [OLD, NEW, "site:3", "db:1"];
const A_DAY_MS: u64 = 86_400_000;

fn web(image: &str, id: u64, replicas: u64, keys: &Value) -> Value {
    with(with(app("web", image, replicas), json!({"app_id": id})), keys.clone())
}

fn declared(image: &str, id: u64, replicas: u64, keys: &Value) -> Desired {
    desired(&[web(image, id, replicas, keys)])
}

#[expect(clippy::needless_pass_by_value, reason = "the tables read better without references")]
fn rolling(keys: Value) -> Value {
    json!({"update_config": keys})
}

/// A device that runs version 1, on which nobody may take down what serves.
fn device(replicas: u64, keys: &Value) -> Sim {
    let mut sim = Sim::running(declared(OLD, 1, replicas, keys), &ALL);
    sim.served.insert("web".to_owned(), serving(&sim.observe(), "web"));
    sim
}

/// The replicas that have a container of this app id.
fn at_version(sim: &Sim, app_id: u64) -> BTreeSet<u32> {
    let containers = sim.observe().containers;
    let of = containers.iter().filter(|c| c.version.as_ref().is_some_and(|v| v.app_id == app_id));
    of.filter_map(|c| c.replica).collect()
}

/// Passes until one holds for this reason.
fn until(sim: &mut Sim, is_it: impl Fn(&Reason) -> bool) {
    for _ in 0..200 {
        let made = sim.pass();
        if reasons(&made, "web").iter().any(&is_it) {
            return;
        }
        sim.step_clock(&made);
    }
    panic!("it never came to that:\n{}", sim.look());
}

/// The first replica has come up with the new version, and the second is about to be changed.
fn until_the_second(sim: &mut Sim) {
    for _ in 0..200 {
        if sim.look().to_string().contains("create web-2-next") {
            return;
        }
        let made = sim.pass();
        sim.step_clock(&made);
    }
    panic!("the second never came:\n{}", sim.look());
}

fn steps(sim: &Sim, of: &str) -> Vec<String> {
    sim.world.log.iter().filter(|line| line.starts_with(of)).cloned().collect()
}

#[rstest]
#[case::nothing_shared(json!({}), true)]
#[case::a_port_that_both_need(json!({"starting_ports": [80]}), false)]
#[case::the_order_cannot_share_a_port(
    json!({"starting_ports": [80], "update_config": {"order": "start-first"}}), false
)]
#[case::another_protocol_is_another_port(json!({"starting_ports": [{"80": "80/udp"}]}), false)]
#[case::a_volume_that_is_written(json!({"volumes": ["data:/data"]}), false)]
#[case::a_volume_that_is_read(json!({"volumes": ["data:/data:ro"]}), true)]
#[case::a_volume_and_the_word(
    json!({"volumes": ["data:/data"], "update_config": {"order": "start-first"}}), true
)]
#[case::a_device_file(json!({"devices": ["/dev/snd"]}), false)]
#[case::the_devices_network(json!({"networks": ["host"]}), false)]
#[case::the_word(json!({"update_config": {"order": "stop-first"}}), false)]
fn the_new_container_starts_first_where_both_can_run(#[case] keys: Value, #[case] first: bool) {
    let mut sim = device(3, &keys);
    sim.desired = declared(NEW, 2, 3, &keys);
    sim.converge(80);
    assert_eq!(sim.most_down == 0, first, "{} down\n{}", sim.most_down, sim.world.log.join("\n"));
}

#[test]
fn ports_on_other_addresses_do_not_stop_the_old_container() {
    let on = |address: &str| json!({"starting_ports": [{format!("{address}:80"): "80"}]});
    let mut sim = device(1, &on("10.0.0.1"));
    sim.desired = declared(NEW, 2, 1, &on("10.0.0.2"));
    sim.converge(40);
    assert_eq!(sim.most_down, 0);
}

#[rstest]
fn inv_21_so_many_replicas_change_at_once_as_parallelism_says(
    #[values(1, 2, 3, 5)] parallelism: u64,
    #[values(json!({}), json!({"starting_ports": [80]}))] ports: Value,
) {
    let keys = with(ports.clone(), rolling(json!({"parallelism": parallelism})));
    let mut sim = device(5, &keys);
    sim.desired = declared(NEW, 2, 5, &keys);
    let mut most_new = 0;
    for _ in 0..120 {
        let made = sim.pass();
        let is_new = |a: &&Action| matches!(a, Action::Container { step: Step::Create(_), .. });
        most_new = most_new.max(made.actions.iter().filter(is_new).count());
        sim.step_clock(&made);
    }
    sim.converge(1);
    let most = usize::try_from(parallelism).expect("few");
    assert_eq!(most_new, most, "replicas begun in one pass");
    let down = if ports == json!({}) { 0 } else { most };
    assert_eq!(sim.most_down, down);
}

#[test]
fn zero_is_all_at_once_and_a_config_without_it_is_one_by_one() {
    for (config, begun) in [(json!({"parallelism": 0}), 4), (json!({"delay": "1s"}), 1)] {
        let mut sim = device(4, &rolling(config.clone()));
        sim.desired = declared(NEW, 2, 4, &rolling(config));
        until(&mut sim, |reason| *reason == Reason::Settling);
        assert_eq!(at_version(&sim, 2).len(), begun);
    }
}

#[test]
fn the_next_replica_waits_for_monitor_and_delay() {
    let keys = rolling(json!({"parallelism": 1, "monitor": "20s", "delay": "1m"}));
    let mut sim = device(3, &keys);
    sim.desired = declared(NEW, 2, 3, &keys);
    let mut begun = Vec::new();
    for _ in 0..300 {
        let made = sim.pass();
        let is_new = |a: &Action| matches!(a, Action::Container { step: Step::Create(_), .. });
        if made.actions.iter().any(is_new) {
            begun.push(sim.now_ms);
        }
        sim.step_clock(&made);
    }
    assert_eq!(begun.len(), 3, "{begun:?}");
    for pair in begun.windows(2) {
        let between = pair[1] - pair[0];
        assert!((80_000..82_000).contains(&between), "{between} ms between replicas");
    }
    // The delay is between replicas: what comes up last is done with after the monitoring alone.
    sim.converge(1);
}

#[rstest]
fn inv_21_a_version_that_fails_later_goes_back_everywhere_and_stays_back(
    #[values(Behaviour::Unhealthy, Behaviour::Crashes)] behaviour: Behaviour,
    #[values(json!({}), json!({"starting_ports": [80]}))] ports: Value,
    #[values(2, 4, 6)] to: u64,
) {
    let keys = with(ports, rolling(json!({"parallelism": 1})));
    let mut sim = device(4, &keys);
    sim.desired = declared(NEW, 2, to, &keys);
    // The first replica comes up with it, the next one does not.
    until_the_second(&mut sim);
    sim.behave(NEW, behaviour);
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { failed: 2, to: 1, .. }));
    sim.run_for(600_000);
    let all = 1..=u32::try_from(to).expect("few");
    assert_eq!(at_version(&sim, 1), all.clone().collect(), "all are back, as many as declared");
    assert_eq!(at_version(&sim, 2), BTreeSet::new());
    let names: BTreeSet<String> = ids(&sim.observe(), "web").into_keys().collect();
    assert_eq!(names, all.map(|replica| format!("web-{replica}")).collect());
    assert_eq!(sim.run_for(A_DAY_MS), 0, "it is not tried again");
    assert!(sim.world.images.contains_key(OLD), "its image is kept");
    // A healthy one ends it, and so would any change.
    sim.desired = declared("site:3", 3, to, &keys);
    sim.converge(120);
}

#[rstest]
fn a_failed_update_of_all_at_once_goes_back_as_well(
    #[values(Behaviour::Unhealthy, Behaviour::Crashes)] behaviour: Behaviour,
    #[values(json!({}), json!({"starting_ports": [80]}))] keys: Value,
) {
    let mut sim = device(3, &keys);
    sim.behave(NEW, behaviour);
    sim.desired = declared(NEW, 2, 3, &keys);
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
    sim.run_for(600_000);
    assert_eq!(at_version(&sim, 1), (1..=3).collect());
    assert_eq!(serving(&sim.observe(), "web").len(), 3);
    assert_eq!(sim.run_for(A_DAY_MS), 0);
    if keys == json!({}) {
        assert_eq!(sim.most_down, 0, "the old ones served all the while");
    }
}

#[test]
fn going_back_uses_the_image_that_was_healthy_though_its_tag_has_moved() {
    let mut sim = device(2, &rolling(json!({"parallelism": 1})));
    let first = sim.world.images[OLD].clone();
    sim.world.builds.insert(OLD.to_owned(), "sha256:second".to_owned());
    // A restart: the same declaration, and the tag has a newer build.
    sim.desired = declared(OLD, 2, 2, &rolling(json!({"parallelism": 1})));
    until_the_second(&mut sim);
    sim.behave("sha256:second", Behaviour::Unhealthy);
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
    sim.run_for(600_000);
    // Images that nothing needs go after a week.
    sim.now_ms += 30 * A_DAY_MS;
    sim.run_for(60_000);
    assert_eq!(at_version(&sim, 1), BTreeSet::from([1, 2]));
    let used = sim.observe().used_images;
    assert_eq!(used, BTreeSet::from([first]), "the build that was healthy");
}

#[test]
fn paused_keeps_what_came_up_and_gives_the_rest_its_old_container() {
    let keys = rolling(json!({"parallelism": 1, "failure_action": "pause"}));
    let mut sim = device(4, &keys);
    sim.desired = declared(NEW, 2, 4, &keys);
    until_the_second(&mut sim);
    sim.behave(NEW, Behaviour::Unhealthy);
    until(&mut sim, |reason| matches!(reason, Reason::UpdatePaused { failed: 2, .. }));
    sim.run_for(600_000);
    assert_eq!(at_version(&sim, 2), BTreeSet::from([1]));
    assert_eq!(at_version(&sim, 1), BTreeSet::from([2, 3, 4]));
    assert_eq!(sim.run_for(A_DAY_MS), 0);
    assert_eq!(sim.most_down, 0);
    // What it runs is healed meanwhile.
    sim.world.change("web-3", |c| c.state = ContainerState::Exited);
    sim.world.vanish("web-1");
    sim.behave(NEW, Behaviour::Healthy);
    sim.run_for(600_000);
    assert_eq!(serving(&sim.observe(), "web").len(), 4);
    assert_eq!(at_version(&sim, 2), BTreeSet::from([1]));
}

#[test]
fn continue_tries_the_failed_replica_again_and_goes_on_with_the_others() {
    let keys = rolling(json!({"parallelism": 0, "failure_action": "continue"}));
    let mut sim = device(3, &keys);
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.desired = declared(NEW, 2, 3, &keys);
    sim.run_for(3_600_000);
    assert!(reasons(&sim.look(), "web").iter().all(|r| !matches!(r, Reason::WentBack { .. })));
    assert_eq!(serving(&sim.observe(), "web").len(), 3, "the old ones serve between tries");
    sim.world.behaviours.clear();
    sim.converge(200);
}

#[test]
fn a_first_version_has_nothing_to_go_back_to_and_is_tried_on() {
    let mut sim = Sim::new(declared(NEW, 1, 2, &json!({})), &ALL);
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.run_for(3_600_000);
    assert!(reasons(&sim.look(), "web").iter().all(|r| matches!(r, Reason::BackingOff { .. })));
    sim.world.behaviours.clear();
    sim.converge(200);
}

#[test]
fn a_version_that_was_healthy_here_is_healed_and_never_taken_back() {
    let mut sim = device(2, &json!({}));
    sim.desired = declared(NEW, 2, 2, &json!({}));
    sim.converge(60);
    sim.world.change("web-1", |c| c.health = Health::Unhealthy);
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.run_for(3_600_000);
    assert_eq!(at_version(&sim, 2), BTreeSet::from([1, 2]));
    assert!(steps(&sim, "web: stop web-1").len() > 5, "it is restarted, with growing waits");
}

#[test]
fn a_process_that_ends_between_two_looks_counts_as_not_staying_up() {
    let mut sim = device(1, &rolling(json!({"monitor": "30s"})));
    sim.desired = declared(NEW, 2, 1, &rolling(json!({"monitor": "30s"})));
    until(&mut sim, |reason| *reason == Reason::Settling);
    sim.now_ms += 20_000;
    sim.world.change("web-1-next", |c| c.up_seconds = Some(19));
    assert!(reasons(&sim.look(), "web").contains(&Reason::Settling), "as old as its start");
    sim.world.change("web-1-next", |c| c.up_seconds = Some(3));
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
}

#[test]
fn crash_loops_are_taken_over_from_docker_and_wait_up_to_five_minutes() {
    let mut sim = Sim::new(declared(NEW, 1, 1, &json!({})), &ALL);
    sim.behave(NEW, Behaviour::Crashes);
    sim.run_for(3 * 3_600_000);
    let starts = steps(&sim, "web: start web-1").len();
    assert!((20..60).contains(&starts), "{starts} starts in three hours");
    assert_eq!(steps(&sim, "web: create").len(), 1, "its logs are not thrown away");
    let told = sim.look().to_string();
    assert!(told.contains("its process ends with code 1 again and again"), "{told}");
    sim.world.behaviours.clear();
    sim.run_for(400_000);
    sim.converge(20);
}

#[rstest]
#[case("no", 0, true)]
#[case("no", 3, true)]
#[case("on-failure", 0, true)]
#[case("on-failure:2", 3, true)]
#[case("unless-stopped", 0, false)]
#[case("always", 0, false)]
fn a_process_that_may_end_is_left_at_its_end(
    #[case] restart: &str,
    #[case] code: i64,
    #[case] stays: bool,
) {
    let keys = json!({"restart": restart});
    let mut sim = Sim::new(declared(NEW, 1, 1, &keys), &ALL);
    sim.behave(NEW, Behaviour::Ends(code));
    sim.run_for(3_600_000);
    let starts = steps(&sim, "web: start web-1").len();
    assert_eq!(starts == 1, stays, "{starts} starts");
    let ended = Reason::Ended { exit_code: code };
    assert_eq!(reasons(&sim.look(), "web").contains(&ended), stays);
    if stays {
        // A new version runs to its end once as well; one that fails makes room for the last.
        sim.desired = declared("site:3", 2, 1, &keys);
        sim.behave("site:3", Behaviour::Ends(code));
        sim.run_for(3_600_000);
        let runs = if code == 0 { 2 } else { 1 };
        assert_eq!(sim.observe().containers.len(), 1);
        assert!(steps(&sim, "web: start web-1-next").len() <= runs);
    }
}

#[test]
fn images_of_one_change_are_all_there_before_anything_stops() {
    let both = |image: &str, id: u64| {
        let other = with(app("lb", &image.replace("site", "lb"), 1), json!({"app_id": id}));
        desired(&[web(image, id, 2, &json!({})), other])
    };
    let mut sim = Sim::running(both(OLD, 1), &[OLD, NEW, "lb:1", "lb:2"]);
    sim.desired = both(NEW, 2);
    // The site's image has come, the other's is on its way.
    let (mut memory, mut busy) = (sim.memory.clone(), Busy::default());
    let observed = sim.observe();
    let policy = &sim.policy;
    let idle = Busy::default();
    let now_ms = sim.now_ms;
    let inputs = Inputs { desired: &sim.desired, observed: &observed, busy: &idle, policy, now_ms };
    let mut world: World = sim.world.clone();
    for action in plan(&inputs, &mut memory).actions {
        let Action::Pull { app, version, image } = &action else { panic!("{action}") };
        if app == "web" {
            world.apply(&action).expect("pulled");
            memory.pulled(app, version, image, &world.images[NEW]);
        } else {
            busy.pulls.insert((app.clone(), version.clone()));
        }
    }
    let look = |memory: &Memory, busy: &Busy, now_ms: u64| {
        let observed = world.observe(crate::support::MACHINE);
        let inputs = Inputs { desired: &sim.desired, observed: &observed, busy, policy, now_ms };
        reasons(&plan(&inputs, &mut memory.clone()), "web")
    };
    let waits = vec![Reason::WaitingForImage { owner: "lb".to_owned() }];
    assert_eq!(look(&memory, &busy, sim.now_ms), waits);
    assert_eq!(look(&memory, &busy, sim.now_ms + 700_000), vec![], "but not for ever");
    // A pull that failed holds nobody up (inv 18).
    let lb = busy.pulls.first().expect("one").clone();
    memory.pull_failed(&lb.0, &lb.1, "no such host");
    assert_eq!(look(&memory, &Busy::default(), sim.now_ms), vec![]);
}

#[test]
fn inv_15_death_or_failure_at_every_step_of_going_back_ends_on_the_old_version() {
    for ports in [json!({}), json!({"starting_ports": [80]})] {
        let keys = with(ports, rolling(json!({"parallelism": 1})));
        let mut begin = device(2, &keys);
        begin.behave(NEW, Behaviour::Healthy);
        begin.desired = declared(NEW, 2, 2, &keys);
        until_the_second(&mut begin);
        begin.behave(NEW, Behaviour::Unhealthy);
        for step in 1..=24 {
            for fault in
                [Fault::ErrorBefore, Fault::ErrorAfter, Fault::KillBefore, Fault::KillAfter]
            {
                let mut sim = begin.clone();
                sim.faults.insert(sim.steps + step, fault);
                sim.run_for(400_000);
                let seen = (step, fault, sim.world.log.join("\n"));
                assert_eq!(at_version(&sim, 1), BTreeSet::from([1, 2]), "{seen:?}");
                assert_eq!(sim.observe().containers.len(), 2, "{seen:?}");
                assert_eq!(serving(&sim.observe(), "web").len(), 2, "{seen:?}");
                sim.faults.clear();
                sim.now_ms += A_DAY_MS;
                assert_eq!(sim.run_for(60_000), 0, "{seen:?}");
                assert_eq!(sim.most_down, usize::from(keys["starting_ports"] != Value::Null));
            }
        }
    }
}

#[test]
fn a_worker_that_lost_its_memory_finds_once_more_that_the_version_fails() {
    let mut sim = device(3, &rolling(json!({"parallelism": 1})));
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.desired = declared(NEW, 2, 3, &rolling(json!({"parallelism": 1})));
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
    sim.run_for(60_000);
    sim.memory = Memory::default();
    sim.run_for(600_000);
    assert_eq!(at_version(&sim, 1), (1..=3).collect());
    assert_eq!(sim.most_down, 0);
    assert_eq!(sim.run_for(A_DAY_MS), 0);
}

#[test]
fn an_app_that_is_held_back_can_be_scaled_stopped_and_started_and_a_restart_tries_again() {
    let mut sim = device(3, &json!({}));
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.desired = declared(NEW, 2, 3, &json!({}));
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
    sim.run_for(60_000);
    let tries = steps(&sim, "web: create").len();
    for (id, count) in [(3, 2), (4, 5)] {
        sim.desired = declared(NEW, id, count, &json!({}));
        sim.run_for(60_000);
        assert_eq!(at_version(&sim, 1), (1..=u32::try_from(count).expect("few")).collect());
        assert_eq!(sim.most_down, 0);
    }
    sim.desired = declared(NEW, 5, 5, &json!({"running": false}));
    sim.run_for(60_000);
    assert_eq!(sim.observe().containers.len(), 0);
    sim.desired = declared(NEW, 6, 5, &json!({}));
    sim.run_for(60_000);
    assert_eq!(at_version(&sim, 1), (1..=5).collect());
    let made = steps(&sim, "web: create").len() - tries;
    assert_eq!(made, 3 + 5, "the failed version was not tried: {:#?}", sim.world.log);
    sim.behave(NEW, Behaviour::Healthy);
    sim.desired = declared(NEW, 7, 5, &json!({}));
    sim.converge(60);
}

#[test]
fn memory_of_a_healthy_version_survives_the_disk() {
    let sim = device(2, &rolling(json!({"parallelism": 1, "monitor": "5s"})));
    let kept = serde_json::to_string(&sim.memory).expect("JSON");
    let read: Memory = serde_json::from_str(&kept).expect("the same");
    assert_eq!(read, sim.memory);
    assert!(kept.contains(only(&sim.desired).app_name.as_str()));
    // One that a newer version wrote and this one cannot read costs no more than itself.
    let odd = kept.replace("\"docker_image\":\"site:1\"", "\"docker_image\":7");
    assert!(serde_json::from_str::<Memory>(&odd).is_ok());
}

#[test]
fn inv_25_a_health_check_that_docker_does_not_run_ends_no_update_for_ever() {
    // Docker 20.10 after a restart with live-restore: `starting` for ever, until a start.
    let keys = rolling(json!({"parallelism": 1}));
    let mut sim = device(2, &keys);
    sim.behave(NEW, Behaviour::Healthy);
    sim.desired = declared(NEW, 2, 2, &keys);
    until(&mut sim, |reason| *reason == Reason::Settling);
    let stall = |sim: &mut Sim, name: &str| {
        sim.world.change(name, |c| (c.health, c.verdict_ms) = (Health::Starting, Some(3_000)));
    };
    stall(&mut sim, "web-1-next");
    stall(&mut sim, "web-2");
    sim.pass();
    sim.now_ms += 15_000;
    let made = sim.pass();
    assert!(made.actions.is_empty(), "a check may take its time: {made}");
    assert!(made.recheck_after_ms.is_some_and(|after| after <= 3_001), "and no longer: {made}");
    sim.converge(60);
    assert_eq!(sim.most_down, 0);
    // One that was given up for nothing runs, and is left alone.
    stall(&mut sim, "web-1");
    assert_eq!(sim.run_for(600_000), 0);
    sim.desired = declared("site:3", 3, 2, &keys);
    sim.converge(60);
}

#[test]
fn going_back_pulls_the_image_again_when_somebody_removed_it() {
    let keys = rolling(json!({"parallelism": 1}));
    let mut sim = device(2, &keys);
    sim.policy.pull_spread_ms = 60_000;
    sim.desired = declared(NEW, 2, 2, &keys);
    until_the_second(&mut sim);
    sim.behave(NEW, Behaviour::Unhealthy);
    sim.world.images.remove(OLD);
    until(&mut sim, |reason| matches!(reason, Reason::WentBack { .. }));
    sim.run_for(600_000);
    assert_eq!(at_version(&sim, 1), BTreeSet::from([1, 2]));
    assert_eq!(at_version(&sim, 2), BTreeSet::new());
}
