//! `nebula ctl users`: secrets are shown once, and taken from everywhere but the command line.

use crate::program::User;
use crate::server::{Request, Server, json, sent};
use rstest::rstest;

const EVE: &str = r#"{"user_name": "eve", "password": "$2b$12$passwordhash", "token":
"$2b$12$tokenhash", "token_id": "0123456789abcdef", "uid": "0123456789abcdef01234567",
"revision": 7}"#;

fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/users") => json(200, "{\"users\": [\"eve\", \"mallory\"]}"),
            ("GET", "/users/eve") | ("PATCH", "/users/eve/update") => json(200, EVE),
            ("GET", "/user_groups") => json(200, "{\"user_groups\": [\"ops\", \"all\"]}"),
            ("GET", "/user_groups/ops") => {
                json(200, "{\"user_group\": \"ops\", \"group_members\": [\"eve\"]}")
            }
            ("GET", "/user_groups/all") => {
                json(200, "{\"user_group\": \"all\", \"group_members\": [\"eve\", \"gone\"]}")
            }
            ("POST", "/users/eve") => json(403, "{\"user_exists\": true}"),
            ("POST", "/users/eve/refresh") => json(200, "{\"token\": \"nebula_new-token\"}"),
            ("POST", _) if path.ends_with("refresh") => json(403, "{\"user_name\": false}"),
            ("POST", _) => created(&request.body),
            ("DELETE", "/users/eve") => json(200, "{}"),
            ("PATCH", _) => json(403, "{\"user_name\": false}"),
            _ => json(403, "{\"user_exists\": false}"),
        }
    })
}

/// The user, with what was not given.
fn created(body: &str) -> crate::server::Answer {
    let given: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let mut generated = serde_json::Map::new();
    for (key, secret) in [("password", "made-password"), ("token", "nebula_made-token")] {
        if given.get(key).is_none() {
            generated.insert(key.to_owned(), secret.into());
        }
    }
    let mut user: serde_json::Value = serde_json::from_str(EVE).expect("JSON");
    if !generated.is_empty() {
        user["generated"] = generated.into();
    }
    json(200, &user.to_string())
}

#[rstest]
#[case("list", &["list"])]
#[case("info", &["info", "eve"])]
#[case("unknown", &["info", "evee"])]
#[case("create", &["create", "new"])]
#[case("create_exists", &["create", "eve"])]
#[case("create_name", &["create", "a:b"])]
#[case("refresh", &["refresh", "eve"])]
#[case("refresh_unknown", &["refresh", "malory"])]
#[case("update_unknown", &["update", "malory", "--new-password-file", "-"])]
#[case("update_nothing", &["update", "eve"])]
#[case("delete", &["delete", "eve", "--yes"])]
#[case("no_file", &["create", "new", "--new-token-file", "missing"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    let outcome = User::of(&server).ctl_with(&[&["users"], given].concat(), "new-secret\n");
    insta::assert_snapshot!(format!("users_{name}"), outcome.seen());
}

#[test]
fn json_is_the_reply_as_it_came() {
    let server = manager();
    let user = User::of(&server);
    assert_eq!(user.ctl(&["users", "info", "eve", "-o", "json"]).ok(), format!("{EVE}\n"));
    // The groups are the table's alone.
    assert_eq!(server.requests().len(), 1);
    let refreshed = user.ctl(&["users", "refresh", "eve", "-o", "json"]);
    assert_eq!(refreshed.out, "{\"token\": \"nebula_new-token\"}\n");
    let created = user.ctl(&["users", "create", "new", "-o", "json"]).ok();
    assert!(created.contains("\"generated\":{\"password\":\"made-password\""), "{created}");
}

#[test]
fn create_sends_nothing_that_was_not_given() {
    let server = manager();
    User::of(&server).ctl(&["users", "create", "new"]).ok();
    assert_eq!(server.requests()[0].line, "POST /api/v2/users/new");
    assert_eq!(sent(&server), serde_json::json!({}));
}

#[test]
fn create_takes_secrets_from_files_without_their_last_line_break() {
    let server = manager();
    let user = User::of(&server);
    std::fs::write(user.path("password"), "pass word \r\n").expect("written");
    std::fs::write(user.path("token"), "t0ken").expect("written");
    let files = ["--new-password-file", "password", "--new-token-file", "token"];
    let outcome = user.ctl(&[&["users", "create", "new"], &files[..]].concat());
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("", "user `new` created\n"));
    assert_eq!(sent(&server), serde_json::json!({ "password": "pass word ", "token": "t0ken" }));
}

#[test]
fn create_takes_secrets_from_a_pipe_a_line_each() {
    let server = manager();
    let pipes = ["users", "create", "new", "--new-password-file", "-", "--new-token-file", "-"];
    User::of(&server).ctl_with(&pipes, "pw\nt0ken\n").ok();
    assert_eq!(sent(&server), serde_json::json!({ "password": "pw", "token": "t0ken" }));
}

#[test]
fn create_shows_what_was_made_alone() {
    let server = manager();
    let given = ["users", "create", "new", "--new-password-file", "-"];
    let outcome = User::of(&server).ctl_with(&given, "pw\n");
    assert_eq!(outcome.out, "token     nebula_made-token\n");
    assert!(outcome.err.contains("the token will not be shown again"), "{}", outcome.seen());
}

#[test]
fn create_tells_when_the_manager_shows_nothing() {
    let server = Server::start(|_| json(200, EVE));
    let outcome = User::of(&server).ctl(&["users", "create", "eve"]);
    assert!(outcome.err.contains("warning: the manager shows no password"), "{}", outcome.seen());
    assert!(!outcome.seen().contains("hash"), "{}", outcome.seen());
}

#[test]
fn update_sends_the_new_secret_and_asks_as_who_the_connection_says() {
    let server = manager();
    let user = User::of(&server);
    std::fs::write(user.path("mine"), "my-own").expect("written");
    std::fs::write(user.path("new"), "new-token").expect("written");
    let given = "users update eve --username admin --password-file mine --new-token-file new";
    let outcome = user.ctl(&given.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.err, "user `eve` updated\n");
    let request = &server.requests()[0];
    assert_eq!(request.line, "PATCH /api/v2/users/eve/update");
    assert_eq!(request.header("authorization"), Some("Basic YWRtaW46bXktb3du"));
    assert_eq!(sent(&server), serde_json::json!({ "token": "new-token" }));
}

#[rstest]
#[case::empty("--new-password-file", "\n", "the new password: must not be empty")]
#[case::long("--new-password-file", &"s3cret".repeat(13), "the new password: must be at most 72")]
#[case::odd("--new-token-file", "s3crét", "the new token: must hold only visible ASCII")]
fn a_secret_that_no_manager_takes_fails_unseen_and_before_any_request(
    #[case] flag: &str,
    #[case] secret: &str,
    #[case] reason: &str,
) {
    let server = manager();
    let err = User::of(&server).ctl_with(&["users", "update", "eve", flag, "-"], secret).fails(2);
    assert!(err.contains(reason) && !err.contains("s3cr"), "{err}");
    assert!(server.requests().is_empty());
}

#[test]
fn list_and_info_do_without_user_groups_that_cannot_be_read() {
    let server = Server::start(|request| match request.line.as_str() {
        "GET /api/v2/users" => json(200, "{\"users\": [\"eve\"]}"),
        "GET /api/v2/users/eve" => json(200, EVE),
        _ => json(403, "{\"access_allowed\": false}"),
    });
    let user = User::of(&server);
    for given in [["users", "list", "-o", "table"], ["users", "info", "eve", "-otable"]] {
        let outcome = user.ctl(&given);
        assert_eq!(outcome.code, Some(0), "{}", outcome.seen());
        assert!(outcome.out.contains("eve"), "{}", outcome.seen());
        assert_eq!(outcome.err, "user groups are not shown: they cannot be read\n");
    }
}
