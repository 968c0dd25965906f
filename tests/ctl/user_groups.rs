//! `nebula ctl user-groups`: one grant changes without the others.

use crate::program::User;
use crate::server::{Answer, Request, Server, json, sent};
use rstest::rstest;

const OPS: &str = r#"{"user_group": "ops", "group_members": ["eve", "bob"], "pruning_allowed":
false, "apps": {"web": "ro", "db": "rw"}, "device_groups": {"shop": "ro"}, "cron_jobs": {},
"admin": false, "uid": "0123456789abcdef01234567", "revision": 7}"#;

fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/user_groups") => json(200, "{\"user_groups\": [\"ops\"]}"),
            ("GET", "/user_groups/ops") => json(200, OPS),
            ("GET", "/users") => json(200, "{\"users\": [\"eve\", \"bob\", \"carol\"]}"),
            ("GET", "/apps") => json(200, "{\"apps\": [\"web\", \"db\", \"lb\"]}"),
            ("GET", "/device_groups") => json(200, "{\"device_groups\": [\"shop\"]}"),
            ("GET", "/cron_jobs") => json(200, "{\"cron_jobs\": [\"clean\"]}"),
            ("POST", "/user_groups/ops") => json(403, "{\"user_group_exists\": true}"),
            ("POST", "/user_groups/new") | ("PATCH", "/user_groups/ops/update") => {
                change(&request.body)
            }
            ("DELETE", "/user_groups/ops") => json(200, "{}"),
            _ => json(403, "{\"user_group_exists\": false}"),
        }
    })
}

/// The group with what is given; its revision rises by more than one, for it is the store's.
fn change(body: &str) -> Answer {
    let mut group: serde_json::Value = serde_json::from_str(OPS).expect("JSON");
    let given: serde_json::Value = serde_json::from_str(body).expect("JSON");
    for (key, value) in given.as_object().expect("an object") {
        group[key] = value.clone();
    }
    group["revision"] = 12.into();
    json(200, &group.to_string())
}

#[rstest]
#[case("list", &["list"])]
#[case("info", &["info", "ops"])]
#[case("delete", &["delete", "ops", "--yes"])]
#[case("create_exists", &["create", "ops"])]
#[case("create_name", &["create", " ops"])]
#[case("create_unknown", &["create", "new", "--member", "carl", "--app", "wbe=ro"])]
#[case("grant_word", &["create", "new", "--app", "web=read"])]
#[case("grant_alone", &["create", "new", "--app", "web"])]
#[case("unknown", &["info", "op"])]
#[case("unknown_update", &["update", "op", "--admin"])]
#[case("update_not_in", &["update", "ops", "--remove-device-group", "site"])]
#[case("update_takes_out", &["update", "ops", "--app", "lb=ro", "--no-members"])]
#[case("update_unknown", &["update", "ops", "--add-member", "carl"])]
#[case("update_nothing", &["update", "ops"])]
#[case("update_both", &["update", "ops", "--no-apps", "--add-app", "web=ro"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    let outcome = User::of(&server).ctl(&[&["user-groups"], given].concat());
    insta::assert_snapshot!(format!("user_groups_{name}"), outcome.seen());
}

#[test]
fn create_sends_what_was_given_in_the_contracts_form() {
    let server = manager();
    let given = "user-groups create new --member eve --member bob --app web=ro --app db=rw \
                 --device-group shop=rw --cron-job clean=ro --admin false --pruning";
    let outcome = User::of(&server).ctl(&given.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.err, "user group `new` created\n");
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /api/v2/user_groups/new");
    let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
    insta::assert_json_snapshot!("user_groups_create_body", body);
}

#[rstest]
#[case::admin(&["--admin"], r#"{"admin": true}"#)]
#[case::no_pruning(&["--pruning", "false"], r#"{"pruning_allowed": false}"#)]
#[case::set(&["--app", "lb=rw"], r#"{"apps": {"lb": "rw"}}"#)]
#[case::raise(&["--add-app", "web=rw"], r#"{"apps": {"web": "rw", "db": "rw"}}"#)]
#[case::add(&["--add-app", "lb=ro"], r#"{"apps": {"web": "ro", "db": "rw", "lb": "ro"}}"#)]
#[case::remove(&["--remove-app", "db"], r#"{"apps": {"web": "ro"}}"#)]
#[case::none(&["--no-apps"], r#"{"apps": {}}"#)]
#[case::group(&["--add-device-group", "shop=rw"], r#"{"device_groups": {"shop": "rw"}}"#)]
#[case::job(&["--add-cron-job", "clean=ro"], r#"{"cron_jobs": {"clean": "ro"}}"#)]
#[case::members(&["--member", "carol"], r#"{"group_members": ["carol"]}"#)]
#[case::exchange(&["--remove-member", "eve", "--add-member", "carol"],
    r#"{"group_members": ["bob", "carol"]}"#)]
fn update_sends_what_changes_alone(#[case] given: &[&str], #[case] body: &str) {
    let server = manager();
    let outcome = User::of(&server).ctl(&[&["user-groups", "update", "ops"], given].concat());
    assert!(!outcome.err.contains("warning"), "{}", outcome.seen());
    let requests = server.requests();
    let update = requests.iter().find(|request| request.line.starts_with("PATCH"));
    let update = update.expect("an update");
    assert_eq!(update.line, "PATCH /api/v2/user_groups/ops/update");
    let sent: serde_json::Value = serde_json::from_str(&update.body).expect("JSON");
    assert_eq!(sent, serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
}

#[test]
fn update_of_rights_alone_reads_nothing_first() {
    let server = manager();
    User::of(&server).ctl(&["user-groups", "update", "ops", "--admin", "false"]).ok();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(sent(&server), serde_json::json!({ "admin": false }));
}

#[test]
fn update_tells_when_somebody_else_changed_the_group() {
    let written = OPS.replace("\"admin\": false", "\"admin\": true");
    let server = Server::with_object(OPS, written);
    let outcome = User::of(&server).ctl(&["user-groups", "update", "ops", "--no-members"]);
    assert!(outcome.err.contains("warning: somebody else changed user group `ops`"));
    assert_eq!(outcome.code, Some(0));
}
