//! `nebula ctl apps history` and `rollback`.

use crate::program::User;
use crate::server::{Request, Server, json, sent};
use rstest::rstest;
use serde_json::json as value;

/// A manager with the app `web`, which has three versions, and `one`, which has one.
fn manager() -> Server {
    let history = value!({ "history": [
        {
            "app_id": 3, "revision": 1_700_000_002_000_u64, "time": 1_700_000_002, "who": "ann",
            "what": "update",
            "changed": [
                { "key": "docker_image", "from": "nginx:1", "to": "nginx:2" },
                { "key": "mem_limit", "to": "1g" },
                {
                    "key": "env_vars", "from": ["A", "B", "C"], "to": ["B", "C", "D"],
                    "changed_variables": ["C"],
                },
            ],
        },
        {
            "app_id": 2, "revision": 1_700_000_001_000_u64, "time": 1_700_000_001, "who": "",
            "what": "elsewhere", "changed": [{ "key": "running", "from": true, "to": false }],
        },
        {
            "app_id": 1, "revision": 1_700_000_000_000_u64, "time": 1_700_000_000,
            "who": "local:\u{1b}[2Jnebula", "what": "create", "changed": [],
        },
    ] });
    Server::start(move |request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/apps/web/history") => json(200, &history.to_string()),
            ("POST", "/apps/web/rollback") => {
                json(202, r#"{"app_id": 4, "app_name": "web", "revision": 9}"#)
            }
            ("POST", "/apps/one/rollback") => {
                json(400, r#"{"app_id": "no kept version differs from the present one"}"#)
            }
            ("GET", "/apps") => json(200, r#"{"apps": ["web", "one"]}"#),
            _ => json(403, r#"{"app_exists": false}"#),
        }
    })
}

#[rstest]
#[case("apps_history", &["apps", "history", "web"])]
#[case("apps_history_unknown", &["apps", "history", "wbe"])]
#[case("apps_rollback", &["apps", "rollback", "web"])]
#[case("apps_rollback_refused", &["apps", "rollback", "one", "--to", "7"])]
#[case("apps_rollback_unknown", &["apps", "rollback", "wbe"])]
#[case("apps_rollback_zero", &["apps", "rollback", "web", "--to", "0"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    insta::assert_snapshot!(name, User::of(&server).ctl(given).seen());
}

#[rstest]
#[case(&[], value!({}))]
#[case(&["--to", "2"], value!({ "app_id": 2 }))]
fn a_rollback_sends_the_version(#[case] given: &[&str], #[case] body: serde_json::Value) {
    let server = manager();
    User::of(&server).ctl(&[&["apps", "rollback", "web"], given].concat()).ok();
    assert_eq!(sent(&server), body);
}

#[test]
fn json_is_the_reply_as_it_came() {
    let server = manager();
    let user = User::of(&server);
    let out = user.ctl(&["apps", "history", "web", "-o", "json"]).ok();
    assert!(out.starts_with(r#"{"history":[{"app_id":3,"revision":1700000002000"#), "{out}");
    let out = user.ctl(&["apps", "rollback", "web", "-o", "json"]).ok();
    assert_eq!(out, "{\"app_id\": 4, \"app_name\": \"web\", \"revision\": 9}\n");
}
