//! What a pass says of apps and cron jobs, for reports.

use crate::support::{MACHINE, Sim, app, desired, with};
use nebula::model::{AppReport, DeviceState, NEBULA_NETWORK};
use nebula::reconcile::pretend::Behaviour;
use nebula::reconcile::{Status, status, status_changes_after_ms};
use serde_json::{Value, json};

const ALL: [&str; 4] = ["site:1", "site:2", "site:3", "db:1"];

fn web(image: &str, id: u64, keys: Value) -> Value {
    with(with(app("web", image, 3), json!({"app_id": id})), keys)
}

/// What the device says before its next pass.
fn look(sim: &Sim) -> Status {
    let observed = sim.observe();
    sim.with_inputs(&observed, |inputs| {
        let mut memory = sim.memory.clone();
        let made = nebula::reconcile::plan(inputs, &mut memory);
        status(inputs, &made, &memory)
    })
}

fn only(status: &Status) -> &AppReport {
    assert_eq!(status.apps.len(), 1);
    &status.apps[0]
}

/// The states that an app goes through until nothing is left to do, each once.
fn course(sim: &mut Sim, for_ms: u64) -> Vec<DeviceState> {
    let end = sim.now_ms + for_ms;
    let mut states = Vec::new();
    while sim.now_ms < end {
        let state = look(sim).state;
        if states.last() != Some(&state) {
            states.push(state);
        }
        let made = sim.pass();
        sim.step_clock(&made);
    }
    states
}

#[test]
fn a_device_that_runs_what_is_declared_says_so() {
    let sim = Sim::running(desired(&[web("site:1", 4, json!({}))]), &ALL);
    let said = look(&sim);
    assert_eq!((said.state, &said.reason), (DeviceState::Converged, &None));
    let app = only(&said);
    assert_eq!((app.app_id, app.state), (4, DeviceState::Converged));
    assert_eq!((app.replicas_up, app.replicas_wanted), (3, 3));
    assert_eq!((app.running_ids.as_slice(), app.image.as_str()), (&[4][..], "site:1"));
}

#[test]
fn a_stopped_app_has_converged_with_no_replicas() {
    let mut sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &ALL);
    sim.desired = desired(&[web("site:1", 2, json!({"running": false}))]);
    assert_eq!(look(&sim).state, DeviceState::Updating);
    sim.converge(20);
    let said = look(&sim);
    assert_eq!(said.state, DeviceState::Converged);
    assert_eq!((only(&said).replicas_up, only(&said).replicas_wanted), (0, 0));
}

#[test]
fn an_update_goes_from_updating_to_converged() {
    for keys in [json!({}), json!({"rolling_restart": true})] {
        let mut sim = Sim::running(desired(&[web("site:1", 1, keys.clone())]), &ALL);
        sim.desired = desired(&[web("site:2", 2, keys)]);
        let states = course(&mut sim, 60_000);
        assert_eq!(states, [DeviceState::Updating, DeviceState::Converged]);
        assert_eq!(only(&look(&sim)).running_ids, [2]);
    }
}

#[test]
fn a_tag_that_does_not_exist_fails_and_names_the_pull() {
    let mut sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &ALL);
    sim.desired = desired(&[web("site:none", 2, json!({}))]);
    let states = course(&mut sim, 60_000);
    assert_eq!(states, [DeviceState::Updating, DeviceState::Failed]);
    let said = look(&sim);
    let reason = said.reason.as_deref().expect("a reason");
    assert!(reason.starts_with("web: pull of `site:none` failed: "), "{reason}");
    assert_eq!(only(&said).running_ids, [1], "the old version runs on");
    assert_eq!(only(&said).replicas_up, 3);
}

#[test]
fn a_version_that_fails_is_rolled_back_and_stays_so() {
    let mut sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &ALL);
    sim.behave("site:2", Behaviour::Unhealthy);
    let goes_back = json!({"update_config": {"failure_action": "rollback"}});
    sim.desired = desired(&[web("site:2", 2, goes_back)]);
    let states = course(&mut sim, 600_000);
    assert_eq!(states, [DeviceState::Updating, DeviceState::RolledBack]);
    let said = look(&sim);
    assert_eq!((only(&said).app_id, only(&said).running_ids.as_slice()), (2, &[1][..]));
    let reason = said.reason.expect("a reason");
    assert!(reason.contains("version 2 failed and version 1 runs"), "{reason}");
}

#[test]
fn a_paused_update_has_failed() {
    let pauses = json!({"update_config": {"failure_action": "pause"}});
    let mut sim = Sim::running(desired(&[web("site:1", 1, pauses.clone())]), &ALL);
    sim.behave("site:2", Behaviour::Unhealthy);
    sim.desired = desired(&[web("site:2", 2, pauses)]);
    let states = course(&mut sim, 600_000);
    assert_eq!(states.last(), Some(&DeviceState::Failed), "{states:?}");
    assert!(look(&sim).reason.expect("a reason").contains("paused"));
}

#[test]
fn a_crash_loop_fails_and_does_not_waver_between_tries() {
    let mut sim = Sim::new(desired(&[web("site:1", 1, json!({}))]), &ALL);
    sim.behave("site:1", Behaviour::Crashes);
    let states = course(&mut sim, 1_800_000);
    assert_eq!(states, [DeviceState::Updating, DeviceState::Failed]);
}

#[test]
fn what_somebody_else_must_end_is_held() {
    let elsewhere = json!({"networks": ["nebula", "office"]});
    let mut sim = Sim::new(desired(&[web("site:1", 1, elsewhere)]), &ALL);
    let states = course(&mut sim, 60_000);
    assert_eq!(states.last(), Some(&DeviceState::Held), "{states:?}");
    assert!(look(&sim).reason.expect("a reason").contains("`office` does not exist"));
}

#[test]
fn our_own_network_on_its_way_is_no_hold() {
    let sim = Sim::new(desired(&[web("site:1", 1, json!({}))]), &ALL);
    assert!(!sim.world.networks.contains(NEBULA_NETWORK));
    assert_eq!(look(&sim).state, DeviceState::Updating);
}

#[test]
fn the_worst_of_all_apps_is_the_devices_state() {
    let lost = with(app("db", "db:none", 1), json!({"app_id": 7}));
    let mut sim = Sim::new(desired(&[web("site:1", 1, json!({})), lost]), &ALL);
    course(&mut sim, 120_000);
    let said = look(&sim);
    assert_eq!(said.state, DeviceState::Failed);
    assert!(said.reason.expect("a reason").starts_with("db: pull of `db:none`"));
    let states: Vec<DeviceState> = said.apps.iter().map(|app| app.state).collect();
    assert_eq!(states, [DeviceState::Converged, DeviceState::Failed]);
}

#[test]
fn a_reason_holds_no_value_of_a_variable() {
    // An engine that repeats what it was given: the name of the image is a variable's value.
    let keys = json!({"env_vars": {"TOKEN": "hunter2!", "A": "e"}});
    let mut sim = Sim::new(desired(&[web("site:hunter2", 1, keys.clone())]), &ALL);
    let keys = with(keys, json!({"env_vars": {"TOKEN": "hunter2", "A": "e"}}));
    sim.desired = desired(&[web("site:hunter2", 2, keys)]);
    course(&mut sim, 60_000);
    let said = look(&sim);
    let reason = only(&said).reason.clone().expect("a reason");
    assert!(!reason.contains("hunter2"), "{reason}");
    assert!(reason.contains("pull of `site:***` failed"), "short values are words: {reason}");
}

#[test]
fn replicas_wanted_follow_the_machine() {
    let keys = json!({"containers_per": {"cpu": 1}});
    let sim = Sim::running(desired(&[web("site:1", 1, keys)]), &ALL);
    assert_eq!(only(&look(&sim)).replicas_wanted, u64::from(MACHINE.cores));
}

#[test]
fn an_app_that_cannot_be_read_is_held_and_keeps_its_name() {
    let odd = with(app("odd", "site:1", 1), json!({"containers_per": {"planet": 1}}));
    let sim = Sim::new(desired(&[odd]), &ALL);
    let said = look(&sim);
    assert_eq!((only(&said).app_name.as_str(), only(&said).state), ("odd", DeviceState::Held));
    assert!(said.reason.expect("a reason").contains("containers_per"));
}

#[test]
fn what_a_report_tells_of_the_declaration_has_no_values_of_variables() {
    let keys = json!({
        "env_vars": {"TOKEN": "hunter2"},
        "logging": {"driver": "json-file", "options": {"max-size": "10m"}},
    });
    let told = desired(&[web("site:1", 1, keys)]).masked();
    assert!(!told.to_string().contains("hunter2"));
    assert_eq!(told["apps"][0]["env_vars"], json!({"TOKEN": "***"}));
    assert_eq!(told["apps"][0]["logging"]["options"], json!({"max-size": "***"}));
    assert_eq!(told["apps_list"], json!(["web"]));
    assert_eq!((&told["prune_id"], &told["device_group_id"]), (&json!(1), &json!(1)));
}

#[test]
fn a_device_whose_engine_does_not_answer_has_failed_with_all_that_it_runs() {
    let two = with(app("db", "db:1", 1), json!({"app_id": 9}));
    let told = desired(&[web("site:1", 4, json!({})), two]);
    let said = nebula::reconcile::status_without_engine(&told, "docker is away");
    assert_eq!((said.state, said.reason.as_deref()), (DeviceState::Failed, Some("docker is away")));
    let apps = said.apps.iter().map(|app| (app.app_id, app.state, app.reason.as_deref()));
    let failed = |id| (id, DeviceState::Failed, Some("docker is away"));
    assert_eq!(apps.collect::<Vec<_>>(), [failed(4), failed(9)]);
}

#[test]
fn a_container_without_a_health_check_has_to_stay_up_before_it_counts() {
    let sim = Sim::running(desired(&[web("site:1", 1, json!({}))]), &ALL);
    let said_at = |seconds: Option<u64>| {
        let mut observed = sim.observe();
        observed.containers[0].up_seconds = seconds;
        sim.with_inputs(&observed, |inputs| {
            let mut memory = sim.memory.clone();
            let made = nebula::reconcile::plan(inputs, &mut memory);
            (status(inputs, &made, &memory).state, status_changes_after_ms(&observed))
        })
    };
    for (seconds, state, again) in [
        (Some(0), DeviceState::Updating, Some(10_000)),
        (Some(9), DeviceState::Updating, Some(1_000)),
        (Some(10), DeviceState::Converged, None),
        (None, DeviceState::Converged, None),
    ] {
        assert_eq!(said_at(seconds), (state, again), "{seconds:?}");
    }
}
