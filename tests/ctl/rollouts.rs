//! `--wait`, and `status` of apps and device groups, against a manager whose devices do what the
//! test says.

use crate::program::User;
use crate::server::{Answer, Request, Server, json, reply};
use rstest::rstest;
use serde_json::{Value, json as value};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What devices are, in the words of the API.
fn states(counts: &[(&str, u64)]) -> Value {
    let mut states = value!({
        "converged": 0, "updating": 0, "outdated": 0, "held": 0, "rolled_back": 0, "failed": 0,
        "away": 0, "unknown": 0,
    });
    for (word, count) in counts {
        states[*word] = (*count).into();
    }
    states
}

fn rollout(counts: &[(&str, u64)]) -> Value {
    let line = |(index, (word, _)): (usize, &(&str, u64))| {
        let mut line = value!({
            "hostname": format!("device-{index}"), "device_group": "shop", "state": word,
            "last_seen": 1_700_000_000,
        });
        if *word == "failed" {
            line["reason"] = "no such image".into();
        }
        line
    };
    let late = counts.iter().filter(|(word, _)| *word != "converged");
    let lines: Vec<Value> = late.enumerate().map(line).collect();
    let devices: u64 = counts.iter().map(|(_, count)| count).sum();
    value!({ "devices": devices, "states": states(counts), "not_converged": lines })
}

/// How far devices are with version 4 of the app `web`.
fn app(counts: &[(&str, u64)]) -> Value {
    let mut body = rollout(counts);
    body["app_name"] = "web".into();
    body["app_id"] = 4.into();
    body["device_groups"] = value!(["shop"]);
    body
}

/// The same of another version.
fn version(app_id: u64, mut body: Value) -> Value {
    body["app_id"] = app_id.into();
    body
}

/// The same of the device group `shop` at a revision.
fn group(revision: u64, counts: &[(&str, u64)]) -> Value {
    let mut body = rollout(counts);
    body["device_group"] = "shop".into();
    body["revision"] = revision.into();
    body
}

/// One answer: a status and a body, of which text stands for HTML.
type Told = (u16, Value);

fn ok(bodies: Vec<Value>) -> Vec<Told> {
    bodies.into_iter().map(|body| (200, body)).collect()
}

/// A manager that takes each change and then tells of devices one of these after the other; the
/// last one for ever.
fn manager(told: Vec<Told>) -> Server {
    let next = AtomicUsize::new(0);
    Server::start(move |request: &Request| {
        if !request.line.ends_with("/status") {
            let body = value!({
                "app_id": 4, "app_name": "web", "device_group": "shop", "revision": 70,
                "apps": ["web"], "cron_jobs": [],
            });
            return json(202, &body.to_string());
        }
        let index = next.fetch_add(1, Ordering::SeqCst).min(told.len() - 1);
        answer(&told[index])
    })
}

fn answer((status, body): &Told) -> Answer {
    match body {
        Value::String(page) => reply(*status, "Content-Type: text/html\r\n", page),
        body => json(*status, &body.to_string()),
    }
}

const UPDATE: [&str; 6] = ["apps", "update", "web", "--image", "nginx:2", "--wait"];

#[rstest]
#[case("wait_converges", ok(vec![
    app(&[("outdated", 2)]),
    app(&[("converged", 1), ("updating", 1)]),
    app(&[("converged", 2)]),
]))]
#[case("wait_fails", ok(vec![
    app(&[("updating", 3)]),
    app(&[("converged", 1), ("failed", 1), ("rolled_back", 1), ("away", 1)]),
]))]
#[case("wait_held", ok(vec![app(&[("held", 1)])]))]
#[case("wait_silent", ok(vec![app(&[("converged", 1), ("away", 1), ("unknown", 2)])]))]
#[case("wait_all_silent", ok(vec![app(&[("away", 2)])]))]
#[case("wait_no_device", ok(vec![app(&[])]))]
#[case("wait_no_group", ok(vec![{
    let mut body = app(&[]);
    body["device_groups"] = value!([]);
    body
}]))]
#[case("wait_away", vec![
    (503, value!({ "error": "the store could not read an object" })),
    (502, "<h1>Bad Gateway</h1>".into()),
    (200, app(&[("converged", 1)])),
])]
// Another manager has not heard of the change yet: what it says is of the version before.
#[case("wait_behind", ok(vec![
    version(3, app(&[("converged", 1)])),
    version(3, app(&[("converged", 1)])),
    app(&[("updating", 1)]),
    version(3, app(&[("converged", 1)])),
    app(&[("failed", 1)]),
]))]
#[case("wait_changed_again", ok(vec![
    app(&[("converged", 1)]),
    version(5, app(&[("updating", 1)])),
    version(5, app(&[("converged", 1)])),
]))]
// Between two reports it looked like the end.
#[case("wait_flickers", ok(vec![
    app(&[("converged", 2)]),
    app(&[("converged", 1), ("updating", 1)]),
    app(&[("converged", 1), ("failed", 1)]),
]))]
#[case("wait_newer_words", ok(vec![{
    let mut body = app(&[("converged", 1)]);
    body["states"]["confused"] = 1.into();
    body
}]))]
#[case("wait_not_permitted", vec![(403, value!({ "access_allowed": false }))])]
#[case("wait_no_route", vec![(404, "<h1>Not Found</h1>".into())])]
#[case("wait_deleted", vec![
    (200, app(&[("updating", 1)])), (403, value!({ "app_exists": false })),
])]
#[case("wait_other_shape", vec![(200, value!({ "devices": 1 }))])]
fn waiting_for_an_app(#[case] name: &str, #[case] told: Vec<Told>) {
    let server = manager(told);
    insta::assert_snapshot!(name, User::of(&server).ctl(&UPDATE).seen());
}

#[test]
fn the_end_comes_in_time() {
    let server = manager(ok(vec![app(&[("converged", 1), ("outdated", 1), ("failed", 1)])]));
    let given = [&UPDATE[..], &["--timeout", "1"]].concat();
    insta::assert_snapshot!("wait_timeout", User::of(&server).ctl(&given).seen());
    // Of a manager that is never there as well, and of one that takes requests and says nothing.
    let server = manager(vec![(503, value!({ "error": "the store is away" }))]);
    insta::assert_snapshot!("wait_timeout_away", User::of(&server).ctl(&given).seen());
    let server = Server::start(|request| {
        if request.line.ends_with("/status") { Answer::Silence } else { json(202, "{}") }
    });
    let err = User::of(&server).ctl(&given).fails(1);
    assert!(err.contains("within 1 s the manager did not tell"), "{err}");
}

#[rstest]
#[case("apps create web --image a --wait", "/apps/web/status")]
#[case("apps start web --wait", "/apps/web/status")]
#[case("apps stop web --wait", "/apps/web/status")]
#[case("apps restart web --wait", "/apps/web/status")]
#[case("apps rollback web --wait", "/apps/web/status")]
#[case("device-groups create shop --app web --wait", "/device_groups/shop/status")]
#[case("device-groups update shop --app web --wait", "/device_groups/shop/status")]
fn every_change_can_be_waited_for(#[case] given: &str, #[case] path: &str) {
    let bodies = if path.contains("device_groups") {
        // The second is of what was declared before.
        vec![
            group(70, &[("updating", 1)]),
            group(69, &[("converged", 1)]),
            group(71, &[("failed", 1)]),
        ]
    } else {
        vec![app(&[("updating", 1)]), app(&[("failed", 1)])]
    };
    let server = manager(ok(bodies));
    let given: Vec<&str> = given.split_whitespace().collect();
    let err = User::of(&server).ctl(&given).fails(1);
    assert!(err.contains("has not converged on 1 of 1 device"), "{err}");
    let last = server.requests().last().expect("asked").line.clone();
    assert_eq!(last, format!("GET /api/v2{path}"));
    // Nobody waits who did not ask for it.
    let server = manager(ok(vec![app(&[("failed", 1)])]));
    User::of(&server).ctl(&given[..given.len() - 1]).ok();
    assert!(server.requests().iter().all(|request| !request.line.ends_with("/status")));
}

#[test]
fn stdout_is_the_reply_of_the_change() {
    let server = manager(ok(vec![app(&[("converged", 1)])]));
    let outcome = User::of(&server).ctl(&[&UPDATE[..], &["-o", "json"]].concat());
    let out: Value = serde_json::from_str(&outcome.out).expect("one reply");
    assert_eq!((outcome.code, &out["app_id"]), (Some(0), &value!(4)));
    assert_eq!(outcome.err, "app `web`: 1 converged\napp `web` has converged on 1 device\n");
}

#[test]
fn ctrl_c_ends_the_waiting_alone() {
    let (asked, is_asked) = std::sync::mpsc::channel();
    let server = Server::start(move |request: &Request| {
        if request.line.ends_with("/status") {
            asked.send(()).expect("the test listens");
            return json(200, &app(&[("updating", 1)]).to_string());
        }
        json(202, r#"{"app_id": 4}"#)
    });
    let user = User::of(&server);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
    command.env_clear().env("HOME", user.home()).envs(user.environment()).arg("ctl").args(UPDATE);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
    is_asked.recv().expect("it waits");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let code = child.wait().expect("it ends").code();
    let mut err = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    assert_eq!(code, Some(130), "{err}");
    let words = "not waiting any more; app `web` stays changed, and its devices go on\n";
    assert!(err.ends_with(words), "{err}");
}

#[rstest]
#[case("status_app", &["apps", "status", "web"], (200, app(&[("converged", 3), ("failed", 1), ("away", 200)])))]
#[case("status_app_of_no_group", &["apps", "status", "web"], (200, {
    let mut body = app(&[]);
    body["device_groups"] = value!([]);
    body
}))]
#[case("status_group", &["device-groups", "status", "shop"], (200, group(7, &[("converged", 2), ("updating", 1)])))]
#[case("status_group_not_permitted", &["device-groups", "status", "shop"], (403, value!({ "access_allowed": false })))]
#[case("status_no_route", &["apps", "status", "web"], (404, "<h1>Not Found</h1>".into()))]
#[case("status_away", &["apps", "status", "web"], (503, value!({ "error": "the store is away" })))]
#[case("status_timeout_alone", &["apps", "stop", "web", "--timeout", "3"], (200, value!({})))]
#[case("status_timeout_zero", &["apps", "stop", "web", "--wait", "--timeout", "0"], (200, value!({})))]
fn what_people_see(#[case] name: &str, #[case] given: &[&str], #[case] told: Told) {
    let server = manager(vec![told]);
    insta::assert_snapshot!(name, User::of(&server).ctl(given).seen());
}

#[test]
fn json_is_the_reply_as_it_came() {
    let server = manager(ok(vec![app(&[("converged", 1)])]));
    let out = User::of(&server).ctl(&["apps", "status", "web", "-o", "json"]).ok();
    assert_eq!(out, format!("{}\n", app(&[("converged", 1)])));
}

#[test]
fn a_watch_shows_each_change_once_and_survives_a_manager_that_is_away() {
    let server = manager(vec![
        (200, group(7, &[("updating", 1)])),
        (200, group(7, &[("updating", 1)])),
        (503, value!({ "error": "the store is away" })),
        (200, group(7, &[("converged", 1)])),
        (403, value!({ "device_group_exists": false })),
    ]);
    let outcome = User::of(&server).ctl(&["device-groups", "status", "shop", "--watch"]);
    insta::assert_snapshot!("status_watch", outcome.seen());
}
