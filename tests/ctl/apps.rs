//! `nebula ctl apps` against a manager that says what the contract says.

use crate::program::User;
use crate::server::{Answer, Request, Server, json, sent};
use rstest::rstest;

const WEB: &str = r#"{"app_id": 3, "app_name": "web", "docker_image": "nginx:1.27",
"starting_ports": [{"80": "8080"}, 443], "containers_per": {"cpu": 0.5}, "env_vars":
{"MODE": "prod", "KEY": "s3cret"}, "running": true, "networks": ["nebula", "bridge"],
"volumes": [], "devices": [], "privileged": false, "rolling_restart": true,
"uid": "0123456789abcdef01234567", "revision": 7}"#;
const DB: &str = r#"{"app_id": 1, "app_name": "db", "docker_image": "reg:5000/db",
"starting_ports": [], "containers_per": {"server": 1}, "env_vars": [], "running": false,
"networks": ["nebula", "bridge"], "volumes": ["data:/data"], "devices": [], "privileged": false,
"rolling_restart": false}"#;
const UNKNOWN: &str = "{\"app_exists\": false}";

/// A manager with the apps `web` and `db`, and `hidden` that the user may not read.
fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/apps") => json(200, "{\"apps\": [\"web\", \"db\", \"hidden\", \"gone\"]}"),
            ("GET", "/apps/hidden") => json(403, "{\"access_allowed\": false}"),
            ("POST", "/apps/web") => json(403, "{\"app_exists\": true}"),
            ("POST", "/apps/db/restart") => json(403, "{\"running_before_restart\": false}"),
            (_, path) if path.starts_with("/apps/web") => app(method, WEB),
            (_, path) if path.starts_with("/apps/db") => app(method, DB),
            ("POST", "/apps/new") => json(200, DB),
            _ => json(403, UNKNOWN),
        }
    })
}

/// The app; one higher when it was changed.
fn app(method: &str, object: &str) -> Answer {
    match method {
        "GET" => json(200, object),
        "DELETE" => json(200, "{}"),
        _ => json(202, &object.replace("\"app_id\": 3", "\"app_id\": 4")),
    }
}

#[test]
fn list_shows_what_each_app_is() {
    let server = manager();
    insta::assert_snapshot!("apps_list", User::of(&server).ctl(&["apps", "list"]).seen());
}

#[test]
fn list_of_nothing_says_how_to_begin() {
    let server = Server::start(|_| json(200, "{\"apps\": []}"));
    insta::assert_snapshot!("apps_list_empty", User::of(&server).ctl(&["apps", "list"]).seen());
}

#[test]
fn info_shows_every_field() {
    let server = manager();
    insta::assert_snapshot!("apps_info", User::of(&server).ctl(&["apps", "info", "web"]).seen());
}

#[test]
fn info_cannot_steer_the_terminal() {
    let server = Server::start(|_| json(200, r#"{"app_name": "a\u001b[2Jb"}"#));
    let out = User::of(&server).ctl(&["apps", "info", "a"]).ok();
    assert!(!out.contains('\x1b') && out.contains("\\u{1b}[2Jb"), "{out}");
}

#[test]
fn json_is_the_reply_as_it_came() {
    let server = manager();
    let user = User::of(&server);
    assert_eq!(user.ctl(&["apps", "info", "web", "-o", "json"]).ok(), format!("{WEB}\n"));
    assert_eq!(user.ctl(&["-o", "json", "apps", "delete", "web", "--yes"]).ok(), "{}\n");
    let list = user.ctl(&["apps", "list", "-o", "json"]).ok();
    assert_eq!(list, "{\"apps\": [\"web\", \"db\", \"hidden\", \"gone\"]}\n");
    // The list itself was enough: no app was asked for.
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn changes_say_what_was_done_on_stderr_alone() {
    let server = manager();
    let user = User::of(&server);
    for (arguments, words) in [
        (vec!["apps", "create", "new", "--image", "db"], "app `new` created\n"),
        (vec!["apps", "update", "web", "--image", "nginx:2"], "app `web` updated\n"),
        (vec!["apps", "delete", "web", "--yes"], "app `web` deleted\n"),
        (vec!["apps", "start", "web"], "app `web` started\n"),
        (vec!["apps", "stop", "web"], "app `web` stopped\n"),
        (vec!["apps", "restart", "web"], "app `web` restarted\n"),
    ] {
        let outcome = user.ctl(&arguments);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""), "{}", outcome.seen());
        assert_eq!(outcome.err, words);
    }
    let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    assert_eq!(lines[1], "PATCH /api/v2/apps/web/update");
    assert_eq!(lines[3], "POST /api/v2/apps/web/start");
}

#[test]
fn create_sends_what_was_given_in_the_contracts_form() {
    let server = manager();
    let user = User::of(&server);
    let env_file = "# comment\n\n  A=from file\nB=\"quoted\"\nC=x=y\n";
    std::fs::write(user.path("vars"), env_file).expect("written");
    let given = "apps create new --image reg:5000/speaker:1 --port 80 --port 81:8081 --per cpu=0.5 \
                 --env A=1 --env E= --env-file vars --volume /a:/b:ro --volume data:/c \
                 --network nebula --network bridge --device /dev/snd --privileged \
                 --rolling false --running=false";
    user.ctl(&given.split_whitespace().collect::<Vec<_>>()).ok();
    insta::assert_json_snapshot!("apps_create_body", sent(&server));
}

#[test]
fn create_sends_nothing_that_was_not_given() {
    let server = manager();
    User::of(&server).ctl(&["apps", "create", "new", "--image", "db"]).ok();
    assert_eq!(sent(&server), serde_json::json!({ "docker_image": "db" }));
}

#[rstest]
#[case::list(&["--port", "81"], r#"{"starting_ports": [81]}"#)]
#[case::no_list(&["--no-volumes", "--no-ports"], r#"{"starting_ports": [], "volumes": []}"#)]
#[case::off(&["--privileged", "false"], r#"{"privileged": false}"#)]
#[case::on(&["--rolling"], r#"{"rolling_restart": true}"#)]
#[case::env_merges(&["--env", "MODE=test", "--env", "NEW=1"],
    r#"{"env_vars": {"MODE": "test", "KEY": "s3cret", "NEW": "1"}}"#)]
#[case::env_unset(&["--unset-env", "KEY"], r#"{"env_vars": {"MODE": "prod"}}"#)]
#[case::env_anew(&["--no-env", "--env", "A=1"], r#"{"env_vars": {"A": "1"}}"#)]
#[case::env_none(&["--no-env"], r#"{"env_vars": {}}"#)]
fn update_sends_what_changes_alone(#[case] given: &[&str], #[case] body: &str) {
    let server = manager();
    User::of(&server).ctl(&[&["apps", "update", "web"], given].concat()).ok();
    assert_eq!(sent(&server), serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
}

#[test]
fn update_of_variables_tells_when_somebody_else_changed_the_app() {
    let written = WEB.replace("\"app_id\": 3", "\"app_id\": 5");
    let server = Server::with_object(WEB, written);
    let outcome = User::of(&server).ctl(&["apps", "update", "web", "--env", "A=1"]);
    assert!(outcome.err.contains("warning: somebody else changed app `web`"), "{}", outcome.seen());
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn update_with_nothing_to_change_asks_nobody() {
    let server = manager();
    let err = User::of(&server).ctl(&["apps", "update", "web"]).fails(2);
    assert!(err.contains("nothing to change"), "{err}");
    assert!(server.requests().is_empty());
}

#[rstest]
#[case("port_range", &["--port", "99999"])]
#[case("port_words", &["--port", "http"])]
#[case("port_zero", &["--port", "80:0"])]
#[case("port_three", &["--port", "1:2:3"])]
#[case("per_key", &["--per", "core=1"])]
#[case("per_number", &["--per", "server=many"])]
#[case("per_zero_memory", &["--per", "memory=0"])]
#[case("env", &["--env", "NOVALUE"])]
#[case("env_name", &["--env", "=value"])]
#[case("volume", &["--volume", "/data"])]
#[case("network", &["--network", "a b"])]
#[case("device", &["--device", "snd"])]
#[case("image", &["--image", "Nginx:latest!"])]
#[case("running", &["--running", "maybe"])]
#[case("no_env_file", &["--env-file", "missing"])]
#[case("both", &["--port", "80", "--no-ports"])]
#[case("host_and_other", &["--network", "host", "--network", "bridge"])]
#[case("unknown", &["--volumes", "a:/b"])]
fn a_flag_that_no_manager_takes_fails_before_any_request(
    #[case] name: &str,
    #[case] given: &[&str],
) {
    let server = manager();
    let outcome = User::of(&server).ctl(&[&["apps", "update", "web"], given].concat());
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{}", outcome.seen());
    assert!(server.requests().is_empty(), "{}", outcome.seen());
    insta::assert_snapshot!(format!("apps_flag_{name}"), outcome.err);
}

#[test]
fn create_checks_fields_that_depend_on_each_other() {
    let server = manager();
    let given = ["apps", "create", "new", "--image", "db", "--per", "server=3", "--port", "80"];
    let err = User::of(&server).ctl(&[&given[..], &["--port", "81"]].concat()).fails(2);
    assert!(err.contains("--port: 3 containers from port 80 up reach port 81"), "{err}");
    let err = User::of(&server).ctl(&["apps", "create", "-bad", "--image", "db"]).fails(2);
    assert!(!err.is_empty() && server.requests().is_empty());
}

#[test]
fn an_env_file_that_cannot_be_read_names_the_line_and_not_the_value() {
    let server = manager();
    let user = User::of(&server);
    std::fs::write(user.path("vars"), "A=1\ns3cret\n").expect("written");
    let err = user.ctl(&["apps", "update", "web", "--env-file", "vars"]).fails(2);
    assert!(err.contains("vars line 2: expected NAME=VALUE"), "{err}");
    assert!(!err.contains("s3cret"), "{err}");
}

#[rstest]
#[case::exists(&["create", "web", "--image", "db"])]
#[case::unknown(&["info", "nothing-like-it"])]
#[case::nearly(&["info", "wbe"])]
#[case::unknown_update(&["update", "wen", "--env", "A=1"])]
#[case::unknown_delete(&["delete", "nobody", "--yes"])]
#[case::stopped(&["restart", "db"])]
#[case::forbidden(&["info", "hidden"])]
#[case::no_variable(&["update", "web", "--unset-env", "NONE"])]
#[case::delete_without_a_terminal(&["delete", "web"])]
fn a_refusal_is_said_in_words(#[case] given: &[&str]) {
    let server = manager();
    let user = User::of(&server).with("NEBULA_USERNAME", "eve").with("NEBULA_PASSWORD", "x");
    let outcome = user.ctl(&[&["apps"], given].concat());
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{}", outcome.seen());
    let name = format!("apps_refused_{}_{}", given[0], given[1]);
    insta::assert_snapshot!(name, outcome.err);
}

#[test]
fn delete_without_a_terminal_and_without_yes_deletes_nothing() {
    let server = manager();
    let outcome = User::of(&server).ctl_with(&["apps", "delete", "web"], "y\n");
    assert_eq!(outcome.code, Some(1), "{}", outcome.seen());
    assert!(server.requests().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let names: Vec<String> = (0..20_000).map(|index| format!("\"app-{index}\"")).collect();
    let body = format!("{{\"apps\": [{}]}}", names.join(", "));
    let server = Server::start(move |_| json(200, &body));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_nebula"))
        .args(["ctl", "apps", "list", "-o", "json", "--url", &server.url])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    // Closed before a byte is read; the reply is longer than a pipe holds.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
