//! `nebula ctl device-groups enroll`: the token alone where a script reads, words beside it.

use crate::program::User;
use crate::server::{Request, Server, json, sent};
use rstest::rstest;
use serde_json::{Value, json as value};

/// A manager that makes tokens for the group `shop`.
fn manager() -> Server {
    Server::start(|request: &Request| match request.line.as_str() {
        "POST /api/v2/device_groups/shop/enroll" => {
            let asked: Value = serde_json::from_str(&request.body).expect("JSON");
            let devices = asked.get("devices").cloned().unwrap_or_else(|| value!(1));
            let made = value!({
                "device_group": "shop", "enrollment_token": "nebula_enroll_s3cret",
                "devices": devices, "expires_at": 1_700_000_000,
            });
            json(200, &made.to_string())
        }
        "POST /api/v2/device_groups/hidden/enroll" => json(403, r#"{"access_allowed": false}"#),
        "POST /api/v2/device_groups/odd/enroll" => json(200, r#"{"device_group": "odd"}"#),
        "POST /api/v2/device_groups/old/enroll" => json(404, "{}"),
        "GET /api/v2/device_groups" => json(200, r#"{"device_groups": ["shop"]}"#),
        _ => json(403, r#"{"device_group_exists": false}"#),
    })
}

#[rstest]
#[case("enroll_one", &["shop"])]
#[case("enroll_many", &["shop", "--devices", "20", "--ttl", "7d"])]
#[case("enroll_json", &["shop", "-o", "json"])]
#[case("enroll_unknown", &["shpo"])]
#[case("enroll_hidden", &["hidden"])]
#[case("enroll_odd", &["odd"])]
#[case("enroll_old_manager", &["old"])]
#[case("enroll_too_many", &["shop", "--devices", "1001"])]
#[case("enroll_too_long", &["shop", "--ttl", "31d"])]
#[case("enroll_no_unit", &["shop", "--ttl", "24"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    let seen = User::of(&server).ctl(&[&["device-groups", "enroll"], given].concat()).seen();
    insta::assert_snapshot!(name, seen);
}

#[rstest]
#[case(&[], value!({}))]
#[case(&["--devices", "20"], value!({"devices": 20}))]
#[case(&["--ttl", "90s"], value!({"ttl_seconds": 90}))]
#[case(&["--ttl", "30d", "--devices", "1000"], value!({"devices": 1000, "ttl_seconds": 2_592_000}))]
fn what_is_given_is_asked_for(#[case] given: &[&str], #[case] body: Value) {
    let server = manager();
    User::of(&server).ctl(&[&["device-groups", "enroll", "shop"], given].concat()).ok();
    assert_eq!(sent(&server), body);
}
