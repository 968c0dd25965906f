//! `nebula ctl cron-jobs` against a manager that says what the contract says.

use crate::program::User;
use crate::server::{Request, Server, json, sent};
use rstest::rstest;

const CLEAN: &str = r#"{"cron_job_id": 3, "cron_job_name": "clean", "schedule": "0 * * * *",
"docker_image": "cleaner:1", "env_vars": {"MODE": "all", "KEY": "s3cret"}, "running": true,
"networks": ["nebula", "bridge"], "volumes": ["/var/run/docker.sock:/var/run/docker.sock"],
"devices": [], "privileged": false, "uid": "0123456789abcdef01234567", "revision": 7}"#;

/// A manager with the cron job `clean`, and `hidden` that the user may not read.
fn manager() -> Server {
    Server::start(|request: &Request| {
        let (method, path) = request.line.split_once(" /api/v2").expect("a path");
        match (method, path) {
            ("GET", "/cron_jobs") => json(200, "{\"cron_jobs\": [\"clean\", \"hidden\"]}"),
            ("GET", "/cron_jobs/hidden") => json(403, "{\"access_allowed\": false}"),
            ("DELETE", "/cron_jobs/clean") => json(200, "{}"),
            ("POST", "/cron_jobs/clean") => json(403, "{\"cron_job_exists\": true}"),
            ("GET", "/cron_jobs/clean") | ("POST", "/cron_jobs/new") => json(200, CLEAN),
            ("PATCH", "/cron_jobs/clean/update") => {
                json(202, &CLEAN.replace("\"cron_job_id\": 3", "\"cron_job_id\": 4"))
            }
            _ => json(403, "{\"cron_job_exists\": false}"),
        }
    })
}

#[rstest]
#[case("list", &["list"])]
#[case("info", &["info", "clean"])]
#[case("delete", &["delete", "clean", "--yes"])]
#[case("delete_alone", &["delete", "clean"])]
#[case("unknown", &["info", "claen"])]
#[case("unknown_update", &["update", "nothing-like-it", "--running", "false"])]
#[case("exists", &["create", "clean", "--image", "a", "--schedule", "@daily"])]
#[case("no_schedule", &["create", "new", "--image", "a"])]
#[case("no_image", &["create", "new", "--schedule", "@daily"])]
#[case("schedule_fields", &["create", "new", "--image", "a", "--schedule", "0 * * *"])]
#[case("schedule_never", &["update", "clean", "--schedule", "0 0 31 feb *"])]
#[case("name", &["create", "a b", "--image", "a", "--schedule", "@daily"])]
#[case("nothing", &["update", "clean"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    let outcome = User::of(&server).ctl(&[&["cron-jobs"], given].concat());
    insta::assert_snapshot!(format!("cron_jobs_{name}"), outcome.seen());
}

#[test]
fn list_of_nothing_says_how_to_begin() {
    let server = Server::start(|_| json(200, "{\"cron_jobs\": []}"));
    let outcome = User::of(&server).ctl(&["cron-jobs", "list"]);
    assert_eq!(outcome.err, "none yet; make one: nebula ctl cron-jobs create NAME\n");
}

#[test]
fn json_is_the_reply_as_it_came() {
    let server = manager();
    let out = User::of(&server).ctl(&["cron-jobs", "info", "clean", "-o", "json"]).ok();
    assert_eq!(out, format!("{CLEAN}\n"));
}

#[test]
fn create_sends_what_was_given_in_the_contracts_form() {
    let server = manager();
    let given = "cron-jobs create new --image reg:5000/cleaner:1 --env A=1 --volume /a:/b:ro \
                 --network nebula --device /dev/snd --privileged --running false --schedule";
    let given: Vec<&str> = given.split_whitespace().chain(["*/5 0-6 * jan mon"]).collect();
    User::of(&server).ctl(&given).ok();
    assert_eq!(server.requests()[0].line, "POST /api/v2/cron_jobs/new");
    insta::assert_json_snapshot!("cron_jobs_create_body", sent(&server));
}

#[rstest]
#[case::schedule(&["--schedule", "@hourly"], r#"{"schedule": "@hourly"}"#)]
#[case::stop(&["--running", "false"], r#"{"running": false}"#)]
#[case::image(&["--image", "cleaner:2"], r#"{"docker_image": "cleaner:2"}"#)]
#[case::no_lists(&["--no-volumes", "--no-networks", "--no-devices"],
    r#"{"volumes": [], "networks": [], "devices": []}"#)]
#[case::env_merges(&["--env", "NEW=1", "--unset-env", "MODE"],
    r#"{"env_vars": {"KEY": "s3cret", "NEW": "1"}}"#)]
#[case::env_none(&["--no-env"], r#"{"env_vars": {}}"#)]
fn update_sends_what_changes_alone(#[case] given: &[&str], #[case] body: &str) {
    let server = manager();
    let outcome = User::of(&server).ctl(&[&["cron-jobs", "update", "clean"], given].concat());
    assert_eq!(outcome.err, "cron job `clean` updated\n");
    let requests = server.requests();
    let last = requests.last().expect("a request");
    assert_eq!(last.line, "PATCH /api/v2/cron_jobs/clean/update");
    assert_eq!(sent(&server), serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
}

#[test]
fn update_of_variables_tells_when_somebody_else_changed_the_cron_job() {
    let written = CLEAN.replace("\"cron_job_id\": 3", "\"cron_job_id\": 5");
    let server = Server::with_object(CLEAN, written);
    let outcome = User::of(&server).ctl(&["cron-jobs", "update", "clean", "--env", "A=1"]);
    assert!(outcome.err.contains("warning: somebody else changed cron job `clean`"));
}

#[rstest]
#[case::port(&["--port", "80"])]
#[case::per(&["--per", "server=2"])]
#[case::rolling(&["--rolling"])]
fn a_cron_job_has_no_replicas(#[case] given: &[&str]) {
    let server = manager();
    let err = User::of(&server).ctl(&[&["cron-jobs", "update", "clean"], given].concat()).fails(2);
    assert!(err.contains("unexpected argument"), "{err}");
}

#[rstest]
#[case(
    "schedule_refused_with_a_reason",
    r#"{"schedule_valid": false, "schedule": "must have five fields, this has 6"}"#
)]
#[case("schedule_refused_without_one", r#"{"schedule_valid": false}"#)]
#[case("parameters_missing", r#"{"missing_parameters": ["docker_image", "schedule"]}"#)]
fn a_refusal_is_said_in_words(#[case] name: &str, #[case] body: &'static str) {
    // As of a manager that knows fewer schedules than this program.
    let server = Server::start(move |_| json(400, body));
    let outcome = User::of(&server).ctl(&["cron-jobs", "update", "clean", "--schedule", "@daily"]);
    insta::assert_snapshot!(format!("cron_jobs_{name}"), outcome.seen());
}
