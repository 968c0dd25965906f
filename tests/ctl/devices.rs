//! `nebula ctl devices` against a manager that keeps an inventory.

use crate::program::User;
use crate::server::{Request, Server, json};
use rstest::rstest;
use serde_json::{Value, json as value};

fn device(hostname: &str, state: &str) -> Value {
    value!({
        "hostname": hostname, "device_group": "shop", "state": state, "reported_state": "failed",
        "reason": "app `web`: no such image", "last_seen": 1_700_000_030,
        "report_creation_time": 1_700_000_029, "revision": 7,
        "credential": { "enrolled_at": 1_690_000_000, "revoked_at": null },
        "apps": [
            {
                "app_name": "web", "app_id": 4, "state": "failed", "reason": "no such image",
                "replicas_up": 2, "replicas_wanted": 3, "running_ids": [3, 4], "image": "nginx:2",
                "restarts": 1,
            },
            {
                "app_name": "db", "app_id": 1, "state": "converged", "replicas_up": 1,
                "replicas_wanted": 1, "running_ids": [1], "image": "db:1", "restarts": 0,
            },
        ],
        "cron_jobs": [
            {
                "cron_job_name": "clean", "cron_job_id": 2, "state": "converged", "image": "c:1",
                "last_runs": [{ "due": 1_700_000_000, "outcome": "ended", "exit_code": 0 }],
            },
            { "cron_job_name": "new", "cron_job_id": 1, "state": "updating" },
        ],
        "worker": { "version": "0.1.0", "uptime_seconds": 90, "address": "10.0.0.7" },
        "docker": { "version": "28.0", "reachable": true },
        "memory_usage": { "total": 2048, "used": 512 },
        "root_disk_usage": { "total": 10000, "used": 2500 },
        "cpu_usage": { "cores": 4, "used_percent": 12.5 },
    })
}

/// A manager with two pages of devices, and `speaker`.
fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match (method, path) {
            ("GET", "/devices") if query.contains("device_group=empty") => {
                json(200, r#"{"devices": [], "after": null}"#)
            }
            ("GET", "/devices") if query.contains("after=") => {
                let odd = value!({ "hostname": "odd" });
                json(200, &value!({ "devices": [odd], "after": null }).to_string())
            }
            ("GET", "/devices") => {
                let devices = [device("kiosk", "away"), device("speaker", "failed")];
                json(200, &value!({ "devices": devices, "after": "speaker" }).to_string())
            }
            ("GET", "/devices/speaker") => json(200, &device("speaker", "failed").to_string()),
            ("GET", "/devices/odd") => json(200, r#"{"hostname": "odd", "apps": "none"}"#),
            ("GET", "/devices/revoked") => {
                let credential = value!({ "enrolled_at": null, "revoked_at": 1_700_000_000 });
                let revoked = value!({ "hostname": "revoked", "credential": credential });
                json(200, &revoked.to_string())
            }
            ("GET", "/devices/plain") => json(200, r#"{"hostname": "plain", "credential": null}"#),
            ("POST", "/devices/speaker/revoke") => {
                json(200, r#"{"hostname": "speaker", "revoked_at": 1700000000}"#)
            }
            ("POST", "/devices/old/revoke") => json(404, "{}"),
            ("DELETE", "/devices/speaker") => json(200, "{}"),
            ("DELETE", "/devices/kiosk") | ("POST", "/devices/kiosk/revoke") => {
                json(403, r#"{"access_allowed": false}"#)
            }
            _ => json(403, r#"{"device_exists": false}"#),
        }
    })
}

#[rstest]
#[case("devices_inventory", &["devices", "list"])]
#[case("devices_of_an_app", &["devices", "list", "--app", "web"])]
#[case("devices_none", &["devices", "list", "--device-group", "empty"])]
#[case("devices_state", &["devices", "list", "--state", "outdated"])]
#[case("devices_version", &["devices", "list", "--version", "3"])]
#[case("devices_seen_since", &["devices", "list", "--seen-since", "lately"])]
#[case("devices_one", &["devices", "info", "speaker"])]
#[case("devices_one_odd", &["devices", "info", "odd"])]
#[case("devices_one_unknown", &["devices", "info", "speeker"])]
#[case("devices_one_revoked", &["devices", "info", "revoked"])]
#[case("devices_one_without_credential", &["devices", "info", "plain"])]
#[case("devices_revoke", &["devices", "revoke", "speaker", "--yes"])]
#[case("devices_revoke_json", &["devices", "revoke", "speaker", "--yes", "-o", "json"])]
#[case("devices_revoke_alone", &["devices", "revoke", "speaker"])]
#[case("devices_revoke_refused", &["devices", "revoke", "kiosk", "--yes"])]
#[case("devices_revoke_unknown_route", &["devices", "revoke", "old", "--yes"])]
#[case("devices_delete", &["devices", "delete", "speaker", "--yes"])]
#[case("devices_delete_alone", &["devices", "delete", "speaker"])]
#[case("devices_delete_refused", &["devices", "delete", "kiosk", "--yes"])]
#[case("devices_delete_unknown", &["devices", "delete", "nobody", "--yes"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    insta::assert_snapshot!(name, User::of(&server).ctl(given).seen());
}

#[rstest]
#[case::nothing(&[], "page_size=500")]
#[case::all(
    &["--device-group", "a b", "--state", "rolled_back", "--app", "web", "--version", "3",
        "--seen-since", "1700000000"],
    "page_size=500&device_group=a+b&state=rolled_back&app=web&version=3&seen_since=1700000000"
)]
fn list_asks_for_what_was_given(#[case] given: &[&str], #[case] query: &str) {
    let server = manager();
    User::of(&server).ctl(&[&["devices", "list"], given].concat()).ok();
    let requests = server.requests();
    assert_eq!(requests[0].line, format!("GET /api/v2/devices?{query}"));
    assert_eq!(requests[1].line, format!("GET /api/v2/devices?{query}&after=speaker"));
    // The model, which the manager reads with, reads the same.
    let url = reqwest::Url::parse(&format!("http://m/?{query}")).expect("a URL");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    nebula::model::DeviceQuery::decode(pairs).expect("a query");
}

#[test]
fn json_is_each_page_as_it_came() {
    let server = manager();
    let user = User::of(&server);
    let out = user.ctl(&["devices", "list", "-o", "json"]).ok();
    let pages: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(pages[0]["devices"][1]["hostname"], "speaker");
    assert_eq!(pages[1], value!({ "devices": [{ "hostname": "odd" }], "after": null }));
    let one = user.ctl(&["devices", "info", "speaker", "-o", "json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(&one).expect("JSON"), device("speaker", "failed"));
}

#[test]
fn a_manager_that_turns_in_a_circle_is_left() {
    let server = Server::start(|_| json(200, r#"{"devices": [], "after": "a"}"#));
    let err = User::of(&server).ctl(&["devices", "list"]).fails(1);
    assert!(err.contains("the same page of devices again"), "{err}");
    assert_eq!(server.requests().len(), 2);
}

#[rstest]
#[case(r#"{"devices": 1, "after": null}"#)]
#[case(r#"{"devices": [1], "after": null}"#)]
#[case(r#"{"devices": [], "after": 1}"#)]
#[case(r#"{"devices": []}"#)]
fn another_shape_is_no_page(#[case] body: &'static str) {
    let server = Server::start(move |_| json(200, body));
    let err = User::of(&server).ctl(&["devices", "list"]).fails(1);
    assert!(err.contains("the answer is not a page of devices"), "{err}");
}
