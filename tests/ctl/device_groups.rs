//! `nebula ctl device-groups` and `prune`.

use crate::program::User;
use crate::server::{Request, Server, json, sent};
use rstest::rstest;

const SPEAKERS: &str = r#"{"device_group": "speakers", "device_group_id": 2, "prune_id": 5,
"apps": ["web", "db"], "cron_jobs": ["clean"]}"#;

fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/apps") => json(200, "{\"apps\": [\"web\", \"db\", \"lb\"]}"),
            ("GET", "/cron_jobs") => json(200, "{\"cron_jobs\": [\"clean\", \"hourly\"]}"),
            ("GET", "/device_groups") => json(200, "{\"device_groups\": [\"speakers\"]}"),
            ("GET", "/device_groups/speakers") => json(200, SPEAKERS),
            ("POST", "/device_groups/speakers") => json(403, "{\"device_group_exists\": true}"),
            ("POST", "/device_groups/speakers/prune") => json(202, SPEAKERS),
            ("DELETE", "/device_groups/speakers") => json(200, "{}"),
            ("POST", "/prune") => json(202, "{\"prune_ids\": {\"speakers\": 6, \"site\": 2}}"),
            ("PATCH" | "POST", "/device_groups/speakers/update" | "/device_groups/new") => {
                change(&request.body)
            }
            (_, path) if path.ends_with("/prune") => json(403, "{\"app_exists\": false}"),
            _ => json(403, "{\"device_group_exists\": false}"),
        }
    })
}

/// The group with the given lists; `wbe` is no app, and `hourlie` no cron job.
fn change(body: &str) -> crate::server::Answer {
    if body.contains("wbe") {
        return json(403, "{\"app_exists\": false}");
    }
    if body.contains("hourlie") {
        return json(403, "{\"cron_job_exists\": false}");
    }
    let mut group: serde_json::Value = serde_json::from_str(SPEAKERS).expect("JSON");
    let given: serde_json::Value = serde_json::from_str(body).expect("JSON");
    for (key, value) in given.as_object().expect("an object") {
        group[key] = value.clone();
    }
    group["device_group_id"] = 3.into();
    json(202, &group.to_string())
}

#[rstest]
#[case("list", &["device-groups", "list"])]
#[case("info", &["device-groups", "info", "speakers"])]
#[case("prune_all", &["prune", "all"])]
#[case("prune_group", &["prune", "device-group", "speakers"])]
#[case("delete", &["device-groups", "delete", "speakers", "--yes"])]
#[case("create_exists", &["device-groups", "create", "speakers"])]
#[case("create_unknown_app", &["device-groups", "create", "new", "--app", "db", "--app", "wbe"])]
#[case("update_unknown_job", &["device-groups", "update", "speakers", "--add-cron-job", "hourlie"])]
#[case("create_unknown_job", &["device-groups", "create", "new", "--cron-job", "hourlie"])]
#[case("update_takes_out", &["device-groups", "update", "speakers", "--app", "lb"])]
#[case("update_not_in", &["device-groups", "update", "speakers", "--remove-app", "lb"])]
#[case("update_nothing", &["device-groups", "update", "speakers"])]
#[case("unknown", &["device-groups", "info", "speaker"])]
#[case("prune_unknown", &["prune", "device-group", "speaker"])]
#[case("create_name", &["device-groups", "create", "a b"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    insta::assert_snapshot!(format!("device_groups_{name}"), User::of(&server).ctl(given).seen());
}

#[test]
fn create_sends_the_members() {
    let server = manager();
    let given =
        ["device-groups", "create", "new", "--app", "web", "--app", "db", "--cron-job", "c"];
    User::of(&server).ctl(&given).ok();
    assert_eq!(sent(&server), serde_json::json!({ "apps": ["web", "db"], "cron_jobs": ["c"] }));
}

#[rstest]
#[case::set(&["--app", "lb"], r#"{"apps": ["lb"]}"#)]
#[case::add(&["--add-app", "lb", "--add-app", "web"], r#"{"apps": ["web", "db", "lb"]}"#)]
#[case::remove(&["--remove-app", "web"], r#"{"apps": ["db"]}"#)]
#[case::exchange(&["--remove-app", "web", "--add-app", "lb"], r#"{"apps": ["db", "lb"]}"#)]
#[case::empty(&["--no-apps"], r#"{"apps": []}"#)]
#[case::job(&["--cron-job", "hourly"], r#"{"cron_jobs": ["hourly"]}"#)]
#[case::remove_job(&["--remove-cron-job", "clean"], r#"{"cron_jobs": []}"#)]
#[case::no_jobs(&["--no-cron-jobs"], r#"{"cron_jobs": []}"#)]
#[case::both(&["--add-app", "lb", "--add-cron-job", "hourly"],
    r#"{"apps": ["web", "db", "lb"], "cron_jobs": ["clean", "hourly"]}"#)]
#[case::add_job(&["--add-cron-job", "hourly"], r#"{"cron_jobs": ["clean", "hourly"]}"#)]
fn update_sends_the_lists_that_change_alone(#[case] given: &[&str], #[case] body: &str) {
    let server = manager();
    User::of(&server).ctl(&[&["device-groups", "update", "speakers"], given].concat()).ok();
    assert_eq!(sent(&server), serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
}

#[test]
fn update_tells_when_somebody_else_changed_the_group() {
    let written = SPEAKERS.replace("\"device_group_id\": 2", "\"device_group_id\": 4");
    let server = Server::with_object(SPEAKERS, written);
    let outcome = User::of(&server).ctl(&["device-groups", "update", "speakers", "--app", "lb"]);
    assert!(outcome.err.contains("warning: somebody else changed device group `speakers`"));
}

#[test]
fn a_member_that_is_gone_already_is_not_blamed_for_a_new_one() {
    // `web` was deleted, which its group may still list; what is refused is `wbe`.
    let server = Server::start(|request| match request.line.as_str() {
        "GET /api/v2/device_groups/speakers" => json(200, SPEAKERS),
        "GET /api/v2/apps" => json(200, "{\"apps\": [\"db\"]}"),
        _ => json(403, "{\"app_exists\": false}"),
    });
    let given = ["device-groups", "update", "speakers", "--add-app", "wbe"];
    let err = User::of(&server).ctl(&given).fails(1);
    assert!(err.contains("app `wbe` does not exist"), "{err}");
}

#[test]
fn a_member_that_is_taken_out_cannot_steer_the_terminal() {
    let before = r#"{"device_group": "speakers", "apps": ["a\u001b[2Jb"], "cron_jobs": []}"#;
    let server = Server::with_object(before, SPEAKERS.to_owned());
    let outcome = User::of(&server).ctl(&["device-groups", "update", "speakers", "--no-apps"]);
    assert!(outcome.err.contains("a\\u{1b}[2Jb` was taken out"), "{}", outcome.seen());
    assert!(!outcome.err.contains('\x1b'), "{}", outcome.seen());
}
