//! Who may do what: every operation that the API describes, for everybody who may ask.
//!
//! The table here is written by hand from the contract, not made from the router. An operation
//! that it lacks, and one that it has and the API has not, both fail the test.

use crate::enrollment::{device_token, enrolled_device, enrollment};
use crate::harness::{Manager, Moody, basic, basic_of, bearer, read, seed_group, seed_user, user};
use crate::harness::{TOKEN, cheap_hash, user_group};
use crate::store_contract::{app, cron_job, group};
use nebula::model::Author;
use nebula::store::{Kind, Object, Store};
use reqwest::Response;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NONE: Value = Value::Null;
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];
const REVOKE: &str = "POST /api/v2/devices/{name}/revoke";
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What an operation needs, by the contract.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Credentials,
    Admin,
    Pruning,
    Read(&'static str),
    Write(&'static str),
    /// Read access to a device group, or being a device of it.
    CheckIn,
    /// Any credentials of a user or a device.
    Report,
    /// An enrollment token.
    Enroll,
    /// What only the route finds, in the description's words. Everybody gets as far as that there
    /// is none.
    Found(&'static str),
}

impl Needs {
    /// What the description says of it.
    fn in_words(self) -> Value {
        let noun = |kind: &str| kind.trim_end_matches('s').replace('_', " ");
        match self {
            Self::Nothing => NONE,
            Self::Credentials => {
                "any valid credentials; only what the user may read is shown".into()
            }
            Self::Found(words) => words.into(),
            Self::CheckIn => {
                "ro on the device group, or a device's own credentials for its group".into()
            }
            Self::Report => {
                "ro on the device group of each report, or a device's own credentials for its own"
                    .into()
            }
            Self::Enroll => "an enrollment token".into(),
            Self::Admin => "admin".into(),
            Self::Pruning => "pruning_allowed".into(),
            Self::Read(kind) => format!("ro on the {}", noun(kind)).into(),
            Self::Write(kind) => format!("rw on the {}", noun(kind)).into(),
        }
    }
}

/// A body by which a device enrolls.
fn new_device() -> Value {
    json!({ "hostname": "new", "token": device_token("new") })
}

/// An operation; whether its object is there when it is asked by somebody who may; and what it then
/// answers.
struct Row {
    operation: &'static str,
    needs: Needs,
    is_there: bool,
    body: Value,
    status: u16,
}

fn rows() -> Vec<Row> {
    use Needs::{
        Admin, CheckIn, Credentials, Enroll, Found, Nothing, Pruning, Read, Report, Write,
    };
    let (apps, jobs, groups) = ("apps", "cron_jobs", "device_groups");
    let image = || json!({ "docker_image": "a:2" });
    let job = || json!({ "docker_image": "a:2", "schedule": "@daily" });
    // Refused after it was permitted, so that no hash is computed.
    let odd = || json!({ "colour": 1 });
    let list = || json!({ "apps": [] });
    [
        ("GET /healthz", Nothing, true, NONE, 200),
        ("GET /readyz", Nothing, true, NONE, 200),
        ("GET /metrics", Nothing, true, NONE, 200),
        ("GET /api/openapi.json", Credentials, true, NONE, 200),
        ("GET /api/v2/status", Credentials, true, NONE, 200),
        ("GET /api/v2/reports", Credentials, true, NONE, 200),
        ("POST /api/v2/reports", Report, true, json!({ "reports": [] }), 202),
        ("GET /api/v2/devices", Credentials, true, NONE, 200),
        ("GET /api/v2/devices/{name}", Found("ro on the device's group"), false, NONE, 403),
        ("DELETE /api/v2/devices/{name}", Found("rw on the device's group"), false, NONE, 403),
        (REVOKE, Found("rw on the device's group"), false, NONE, 403),
        ("POST /api/v2/enroll", Enroll, true, new_device(), 200),
        ("POST /api/v2/device_groups/{name}/enroll", Write(groups), true, NONE, 200),
        ("GET /api/v2/apps/{name}/status", Read(apps), true, NONE, 200),
        ("GET /api/v2/device_groups/{name}/status", Read(groups), true, NONE, 200),
        ("GET /api/v2/backup", Admin, true, NONE, 200),
        ("GET /api/v2/export", Admin, true, NONE, 200),
        ("POST /api/v2/import", Admin, true, json!({ "objects": [] }), 200),
        ("POST /api/v2/prune", Pruning, true, NONE, 202),
        ("GET /api/v2/apps", Credentials, true, NONE, 200),
        ("GET /api/v2/apps/{name}", Read(apps), true, NONE, 200),
        ("POST /api/v2/apps/{name}", Write(apps), false, image(), 200),
        ("DELETE /api/v2/apps/{name}", Write(apps), true, NONE, 200),
        ("POST /api/v2/apps/{name}/update", Write(apps), true, image(), 202),
        ("PUT /api/v2/apps/{name}/update", Write(apps), true, image(), 202),
        ("PATCH /api/v2/apps/{name}/update", Write(apps), true, image(), 202),
        ("POST /api/v2/apps/{name}/start", Write(apps), true, NONE, 202),
        ("POST /api/v2/apps/{name}/stop", Write(apps), true, NONE, 202),
        ("POST /api/v2/apps/{name}/restart", Write(apps), true, NONE, 202),
        ("GET /api/v2/apps/{name}/history", Read(apps), true, NONE, 200),
        // Refused after it was permitted: it has no other version.
        ("POST /api/v2/apps/{name}/rollback", Write(apps), true, NONE, 400),
        ("GET /api/v2/cron_jobs", Credentials, true, NONE, 200),
        ("GET /api/v2/cron_jobs/{name}", Read(jobs), true, NONE, 200),
        ("POST /api/v2/cron_jobs/{name}", Write(jobs), false, job(), 200),
        ("DELETE /api/v2/cron_jobs/{name}", Write(jobs), true, NONE, 200),
        ("POST /api/v2/cron_jobs/{name}/update", Write(jobs), true, job(), 202),
        ("PUT /api/v2/cron_jobs/{name}/update", Write(jobs), true, image(), 202),
        ("PATCH /api/v2/cron_jobs/{name}/update", Write(jobs), true, image(), 202),
        ("GET /api/v2/device_groups", Credentials, true, NONE, 200),
        ("GET /api/v2/device_groups/{name}", Read(groups), true, NONE, 200),
        ("GET /api/v2/device_groups/{name}/info", CheckIn, true, NONE, 200),
        ("POST /api/v2/device_groups/{name}", Write(groups), false, NONE, 200),
        ("DELETE /api/v2/device_groups/{name}", Write(groups), true, NONE, 200),
        ("POST /api/v2/device_groups/{name}/update", Write(groups), true, list(), 202),
        ("PUT /api/v2/device_groups/{name}/update", Write(groups), true, list(), 202),
        ("PATCH /api/v2/device_groups/{name}/update", Write(groups), true, list(), 202),
        ("POST /api/v2/device_groups/{name}/prune", Pruning, true, NONE, 202),
        ("GET /api/v2/users", Credentials, true, NONE, 200),
        ("GET /api/v2/users/{name}", Admin, true, NONE, 200),
        ("POST /api/v2/users/{name}", Admin, false, odd(), 400),
        ("DELETE /api/v2/users/{name}", Admin, true, NONE, 200),
        ("PUT /api/v2/users/{name}/update", Admin, true, odd(), 400),
        ("PATCH /api/v2/users/{name}/update", Admin, true, odd(), 400),
        // 403 for its flag: a user who is there would be hashed for
        ("POST /api/v2/users/{name}/refresh", Admin, false, NONE, 403),
        ("GET /api/v2/user_groups", Credentials, true, NONE, 200),
        ("GET /api/v2/user_groups/{name}", Admin, true, NONE, 200),
        ("POST /api/v2/user_groups/{name}", Admin, false, NONE, 200),
        ("DELETE /api/v2/user_groups/{name}", Admin, true, NONE, 200),
        ("PUT /api/v2/user_groups/{name}/update", Admin, true, json!({ "apps": {} }), 200),
        ("PATCH /api/v2/user_groups/{name}/update", Admin, true, json!({ "apps": {} }), 200),
    ]
    .map(|(operation, needs, is_there, body, status)| Row {
        operation,
        needs,
        is_there,
        body,
        status,
    })
    .into()
}

/// Whoever asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    /// No valid credentials.
    Nobody,
    /// Granted other objects.
    Other,
    ReadOnly,
    ReadWrite,
    /// `rw` on one kind's objects alone.
    Of(&'static str),
    Pruner,
    Admin,
    /// A device of the group `x`, with credentials of its own.
    Device,
    /// Somebody with an enrollment token.
    Enrolling,
}

impl Who {
    fn may(self, needs: Needs) -> bool {
        match (self, needs) {
            (_, Needs::Nothing)
            | (Self::Enrolling, Needs::Enroll)
            | (Self::Device, Needs::CheckIn | Needs::Report) => true,
            (Self::Nobody | Self::Device | Self::Enrolling, _) | (_, Needs::Enroll) => false,
            (Self::Admin, _)
            | (_, Needs::Credentials | Needs::Report | Needs::Found(_))
            | (Self::ReadOnly, Needs::Read(_) | Needs::CheckIn)
            | (Self::ReadWrite, Needs::Read(_) | Needs::CheckIn | Needs::Write(_))
            | (Self::Pruner, Needs::Pruning) => true,
            (Self::Of(kind), Needs::Read(of) | Needs::Write(of)) => kind == of,
            (Self::Of(kind), Needs::CheckIn) => kind == "device_groups",
            _ => false,
        }
    }
}

/// Everybody with their header, put into the store. Objects are called `x`, and `ghost` when there
/// is none.
async fn everybody(store: &dyn Store) -> Vec<(Who, Option<String>)> {
    let mut all = vec![
        (Who::Nobody, None),
        (Who::Nobody, Some("Basic !!!".to_owned())),
        (Who::Nobody, Some(basic_of("admin", "wrong"))),
        (Who::Nobody, Some(bearer("wrong"))),
        (Who::Admin, Some(basic())),
        (Who::Admin, Some(bearer(TOKEN))),
    ];
    let device = enrolled_device("till", "x");
    store.create(device, &Author::elsewhere()).await.unwrap();
    all.push((Who::Device, Some(bearer(&device_token("till")))));
    let (enrollment, token) = enrollment("x", 1);
    store.create(enrollment, &Author::elsewhere()).await.unwrap();
    all.push((Who::Enrolling, Some(bearer(&token))));
    let on = |access: &str| json!({ "x": access, "ghost": access });
    let every =
        |grants: Value| json!({ "apps": grants, "device_groups": grants, "cron_jobs": grants });
    let near = json!({
        "other": "rw", "X": "rw", "x2": "rw", "": "rw", "*": "rw", "x ": "rw", "%78": "rw",
        "ghos": "rw",
    });
    for (who, name, rights) in [
        (Who::Other, "lonely", NONE),
        (Who::Other, "other", every(near)),
        (Who::ReadOnly, "ro", every(on("ro"))),
        (Who::ReadWrite, "rw", every(on("rw"))),
        (Who::Of("apps"), "of-apps", json!({ "apps": on("rw") })),
        (Who::Of("cron_jobs"), "of-jobs", json!({ "cron_jobs": on("rw") })),
        (Who::Of("device_groups"), "of-groups", json!({ "device_groups": on("rw") })),
        (Who::Pruner, "pruner", json!({ "pruning_allowed": true })),
        (Who::Admin, "admin", json!({ "admin": true })),
    ] {
        all.push((who, Some(seed_user(store, name).await)));
        if let Value::Object(mut rights) = rights {
            rights.insert("group_members".to_owned(), json!([name]));
            seed_group(store, &format!("{name}s"), rights.into()).await;
        }
    }
    all
}

/// Makes the object of a path be there or not.
async fn put(store: &dyn Store, path: &str, name: &str, is_there: bool) {
    let Some((collection, _)) = path.trim_start_matches("/api/v2/").split_once("/{name}") else {
        return;
    };
    let object: Object = match collection {
        // Nobody declares a device.
        "devices" => return,
        "apps" => app(name).into(),
        "cron_jobs" => cron_job(name).into(),
        "device_groups" => group(name, &["x"]).into(),
        "users" => user(name, cheap_hash("p"), cheap_hash("t"), "t").into(),
        "user_groups" => user_group(name, json!({})).into(),
        other => panic!("`{other}` is no collection"),
    };
    let kind = object.kind();
    let _ = store.delete(kind, name).await;
    if is_there {
        store.insert(object, &Author::elsewhere()).await.unwrap();
    }
}

async fn everything(store: &dyn Store) -> Vec<Object> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for name in store.names(kind).await.unwrap() {
            all.push(store.get(kind, &name).await.unwrap().unwrap());
        }
    }
    all
}

async fn ask(manager: &Manager, row: &Row, name: &str, header: Option<&String>) -> Response {
    let (method, path) = row.operation.split_once(' ').unwrap();
    let url = manager.url(&path.replace("{name}", name));
    let request = manager.client.request(method.parse().unwrap(), url);
    let request = match header {
        Some(header) => request.header("authorization", header),
        None => request,
    };
    let request = if row.body.is_null() { request } else { request.json(&row.body) };
    request.send().await.unwrap()
}

/// A refusal to the letter, for those without credentials or for those without permission.
async fn assert_refused(response: Response, has_credentials: bool, context: &str) {
    let challenge = response.headers().get("www-authenticate").cloned();
    assert_eq!(response.headers()["cache-control"], "no-store", "{context}");
    assert!(!response.headers().contains_key("etag"), "{context}");
    let got = read(response).await;
    if has_credentials {
        assert_eq!(got, (403, json!({ "access_allowed": false })), "{context}");
        assert_eq!(challenge, None, "{context}");
    } else {
        assert_eq!(got, (401, json!({ "error": "valid credentials are required" })), "{context}");
        assert_eq!(challenge.unwrap(), "Basic realm=\"nebula\"", "{context}");
    }
}

#[tokio::test]
async fn every_described_operation_is_in_the_table_and_says_what_it_needs() {
    let manager = Manager::start().await;
    let response = manager.request("GET", "/api/openapi.json").send().await.unwrap();
    let (status, description) = read(response).await;
    assert_eq!(status, 200);
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let key = format!("{} {path}", method.to_uppercase());
            let is_open = OPEN.contains(&path.as_str());
            let has_permission = operation["x-permission"].is_string();
            assert_ne!(is_open, has_permission, "{key} is open or needs something");
            assert_eq!(is_open, operation.get("security") == Some(&json!([])), "{key}");
            described.insert(key);
        }
    }
    let rows = rows();
    let known: BTreeSet<String> = rows.iter().map(|row| row.operation.to_owned()).collect();
    assert_eq!(known.len(), rows.len(), "each once");
    assert_eq!(described, known);
    for row in rows {
        let (method, path) = row.operation.split_once(' ').unwrap();
        let operation = &description["paths"][path][method.to_lowercase()];
        assert_eq!(operation["x-permission"], row.needs.in_words(), "{}", row.operation);
    }
}

#[tokio::test]
async fn inv_07_the_refused_get_one_answer_whether_or_not_there_is_an_object() {
    let (manager, store) = Manager::moody().await;
    let everybody = everybody(&*store).await;
    for path in ["apps", "cron_jobs", "device_groups", "users", "user_groups"] {
        put(&*store, &format!("/api/v2/{path}/{{name}}"), "x", true).await;
    }
    // The answer of the hot path is ready.
    assert_eq!(manager.get("/device_groups/x/info").await.0, 200);
    let before = everything(&*store).await;
    for row in rows() {
        for (who, header) in &everybody {
            if who.may(row.needs) {
                continue;
            }
            for name in ["x", "ghost"] {
                let response = ask(&manager, &row, name, header.as_ref()).await;
                let context = format!("{} of {name} by {who:?} {header:?}", row.operation);
                assert_refused(response, *who != Who::Nobody, &context).await;
            }
        }
    }
    assert!(everything(&*store).await == before, "something was changed");
}

#[tokio::test]
async fn whoever_may_gets_through() {
    let (manager, store) = Manager::moody().await;
    let everybody = everybody(&*store).await;
    for row in rows() {
        let (_, path) = row.operation.split_once(' ').unwrap();
        for (who, header) in &everybody {
            if !who.may(row.needs) {
                continue;
            }
            put(&*store, path, "x", row.is_there).await;
            let response = ask(&manager, &row, "x", header.as_ref()).await;
            let status = response.status().as_u16();
            let body = response.bytes().await.unwrap();
            let text = String::from_utf8_lossy(&body);
            let context = format!("{} by {who:?} {header:?}: {text:.200}", row.operation);
            // Only they can say that a device is theirs that nobody knows.
            let is_admins = row.operation == REVOKE && *who == Who::Admin;
            assert_eq!(status, if is_admins { 200 } else { row.status }, "{context}");
            assert_ne!(text, "{\"access_allowed\":false}", "{context}");
        }
    }
}

/// Every path of the description and some that are none, with every method.
#[tokio::test]
async fn inv_07_no_path_and_no_method_answers_without_valid_credentials() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    put(&*store, "/api/v2/device_groups/{name}", "x", true).await;
    assert_eq!(manager.get("/device_groups/x/info").await.0, 200);
    let mut paths: BTreeSet<String> = rows()
        .iter()
        .map(|row| row.operation.split_once(' ').unwrap().1.replace("{name}", "x"))
        .collect();
    let no_paths = [
        "/",
        "/api",
        "/api/v2",
        "/api/v2/",
        "/api/v1/apps",
        "/favicon.ico",
        "/metrics/",
        "/healthz/x",
        "//healthz",
        "/%68ealthz",
        "/api/v2/device_groups/%78/info",
        "/api/v2/%61pps",
    ];
    paths.extend(no_paths.map(str::to_owned));
    let headers = [
        None,
        Some("Basic".to_owned()),
        Some(basic_of("ann", "wrong")),
        Some(basic_of("nobody", "ann-password")),
        Some(bearer("wrong")),
    ];
    for path in &paths {
        for method in METHODS {
            for header in &headers {
                let request = manager.client.request(method.parse().unwrap(), manager.url(path));
                let request = match header {
                    Some(header) => request.header("authorization", header),
                    None => request,
                };
                let response = request.send().await.unwrap();
                let context = format!("{method} {path} {header:?}");
                let status = response.status().as_u16();
                if OPEN.contains(&path.as_str()) {
                    assert!(status == 200 || status == 405, "{context}: {status}");
                    continue;
                }
                assert!(!response.headers().contains_key("allow"), "{context}");
                if method == "HEAD" {
                    assert_eq!(status, 401, "{context}");
                    assert_eq!(response.headers()["cache-control"], "no-store");
                    assert_eq!(response.headers()["www-authenticate"], "Basic realm=\"nebula\"");
                } else {
                    assert_refused(response, false, &context).await;
                }
            }
        }
    }
}

/// The store and a manager with apps, cron jobs and device groups of some names.
async fn with_objects(names: &[&str]) -> (Manager, std::sync::Arc<Moody>) {
    let (manager, store) = Manager::moody().await;
    for name in names {
        for collection in ["apps", "cron_jobs", "device_groups"] {
            put(&*store, &format!("/api/v2/{collection}/{{name}}"), name, true).await;
        }
    }
    (manager, store)
}

#[tokio::test]
async fn lists_show_what_may_be_read_and_no_more() {
    let (manager, store) = with_objects(&["a", "b", "c"]).await;
    let ann = seed_user(&*store, "ann").await;
    let bob = seed_user(&*store, "bob").await;
    let root = seed_user(&*store, "root").await;
    let apps = json!({ "group_members": ["ann"], "apps": { "a": "ro", "ghost": "rw" } });
    seed_group(&*store, "g1", apps).await;
    let more = json!({
        "group_members": ["ann"], "apps": { "c": "rw" }, "cron_jobs": { "b": "ro" },
        "device_groups": { "c": "ro" },
    });
    seed_group(&*store, "g2", more).await;
    seed_group(&*store, "g3", json!({ "group_members": ["root"], "admin": true })).await;
    let all = json!(["a", "b", "c"]);
    let users = json!(["ann", "bob", "root"]);
    let groups = json!(["g1", "g2", "g3"]);
    for (collection, seen_by_ann, seen_by_root) in [
        ("apps", json!(["a", "c"]), &all),
        ("cron_jobs", json!(["b"]), &all),
        ("device_groups", json!(["c"]), &all),
        ("users", json!([]), &users),
        ("user_groups", json!([]), &groups),
    ] {
        let path = format!("/{collection}");
        for (who, seen) in [(&ann, &seen_by_ann), (&bob, &json!([])), (&root, seen_by_root)] {
            let got = manager.send_as(who, "GET", &path, NONE).await;
            assert_eq!(got, (200, json!({ collection: seen })), "{collection} {who}");
        }
    }
}

/// Reads, writes and what is granted to them, through one group or several.
#[tokio::test]
async fn the_stronger_of_two_grants_wins_and_groups_add_up() {
    let (manager, store) = with_objects(&["a", "b"]).await;
    let ann = seed_user(&*store, "ann").await;
    let stop = || manager.send_as(&ann, "POST", "/apps/a/stop", NONE);
    let show = |name: &'static str| {
        let (manager, ann) = (&manager, &ann);
        async move { manager.send_as(ann, "GET", &format!("/apps/{name}"), NONE).await.0 }
    };
    let group = async |method: &str, name: &str, body: Value| {
        let update = if method == "PUT" { "/update" } else { "" };
        let path = format!("/user_groups/{name}{update}");
        assert_eq!(manager.send(method, &path, body).await.0, 200, "{method} {name}");
    };
    let refused = (403, json!({ "access_allowed": false }));
    let ann_in = |grants: Value| json!({ "group_members": ["x", "ann"], "apps": grants });
    assert_eq!((show("a").await, stop().await), (403, refused.clone()), "in no group");
    group("POST", "weak", ann_in(json!({ "a": "ro" }))).await;
    assert_eq!((show("a").await, stop().await), (200, refused.clone()));
    group("POST", "strong", ann_in(json!({ "a": "rw" }))).await;
    assert_eq!((show("a").await, stop().await.0), (200, 202), "rw beside ro");
    group("DELETE", "weak", NONE).await;
    assert_eq!((show("a").await, stop().await.0), (200, 202), "rw alone reads as well");
    group("POST", "more", ann_in(json!({ "a": "ro", "b": "ro" }))).await;
    assert_eq!((show("b").await, stop().await.0), (200, 202), "the union");
    group("DELETE", "strong", NONE).await;
    assert_eq!((show("a").await, stop().await), (200, refused.clone()), "the rest is left");
    group("PUT", "more", json!({ "apps": { "b": "ro" } })).await;
    assert_eq!((show("a").await, show("b").await), (403, 200), "a grant taken away");
    group("PUT", "more", json!({ "group_members": ["annie", "an", "ANN"] })).await;
    assert_eq!((show("a").await, show("b").await), (403, 403), "a member taken out");
}

/// Whoever puts something into a device group must be able to read it; what it is not told is
/// whether that exists.
#[tokio::test]
async fn a_member_that_one_may_not_read_is_not_put_into_a_group() {
    let (manager, store) = with_objects(&["a", "secret"]).await;
    let ann = seed_user(&*store, "ann").await;
    let grants = json!({
        "group_members": ["ann"], "device_groups": { "eu": "rw", "new": "rw" },
        "apps": { "a": "ro", "gone": "ro" },
        // of the other kind
        "cron_jobs": { "a": "rw", "gone": "rw", "only-job": "ro" },
    });
    seed_group(&*store, "g", grants).await;
    store.inner.create(group("eu", &["secret"]), &Author::elsewhere()).await.unwrap();
    let forbidden = || json!({ "access_allowed": false });
    let routes = [
        ("POST", "/device_groups/new"),
        ("POST", "/device_groups/eu/update"),
        ("PUT", "/device_groups/eu/update"),
        ("PATCH", "/device_groups/eu/update"),
    ];
    let before = everything(&*store).await;
    for (method, path) in routes {
        for (body, status, answer) in [
            (json!({ "apps": ["hidden"] }), 403, forbidden()),
            (json!({ "apps": ["a", "hidden"] }), 403, forbidden()),
            (json!({ "apps": ["only-job"] }), 403, forbidden()),
            (json!({ "cron_jobs": ["secret"] }), 403, forbidden()),
            (json!({ "cron_jobs": ["hidden"] }), 403, forbidden()),
            (json!({ "apps": ["a"], "cron_jobs": ["hidden"] }), 403, forbidden()),
            (
                json!({ "apps": ["hidden"], "cron_jobs": 1 }),
                400,
                json!({ "cron_jobs_is_list": false }),
            ),
            // granted, so its absence is no secret
            (json!({ "apps": ["gone"] }), 403, json!({ "app_exists": false })),
            (json!({ "cron_jobs": ["gone"] }), 403, json!({ "cron_job_exists": false })),
            (json!({ "apps": ["gone", "hidden"] }), 403, json!({ "app_exists": false })),
        ] {
            let got = manager.send_as(&ann, method, path, body.clone()).await;
            assert_eq!(got, (status, answer), "{method} {path} {body}");
        }
    }
    let got = manager.send_as(&ann, "POST", "/device_groups/new", json!({ "apps": ["secret"] }));
    assert_eq!(got.await, (403, forbidden()), "there is one, and the answer is the same");
    assert!(everything(&*store).await == before, "something was changed");
    // What others put there may stay, and be taken out, but not be put back.
    let change = async |apps: Value| {
        let body = json!({ "apps": apps });
        manager.send_as(&ann, "PUT", "/device_groups/eu/update", body).await
    };
    let (status, changed) = change(json!(["a", "secret"])).await;
    assert_eq!((status, &changed["apps"]), (202, &json!(["a", "secret"])));
    assert_eq!(change(json!(["a"])).await.0, 202);
    assert_eq!(change(json!(["a", "secret"])).await, (403, forbidden()));
    let body = json!({ "apps": ["a"], "cron_jobs": ["a"] });
    assert_eq!(manager.send_as(&ann, "POST", "/device_groups/new", body).await.0, 200);
}

/// A name is what it is after decoding, in a path and nowhere else.
#[tokio::test]
async fn a_path_s_percents_change_neither_what_is_permitted_nor_what_is_not() {
    let (manager, store) = with_objects(&["eu"]).await;
    let ann = seed_user(&*store, "ann").await;
    let bob = seed_user(&*store, "bob").await;
    let of = |who: &str, name: &str| {
        let grants = json!({ name: "rw" });
        json!({ "group_members": [who], "apps": grants, "device_groups": grants })
    };
    seed_group(&*store, "g1", of("ann", "eu")).await;
    seed_group(&*store, "g2", of("bob", "%65u")).await;
    let refused = (403, json!({ "access_allowed": false }));
    for path in ["/apps/%65u", "/device_groups/%65%75", "/device_groups/%65u/info"] {
        for _ in 0..2 {
            assert_eq!(manager.send_as(&ann, "GET", path, NONE).await.0, 200, "{path}");
            assert_eq!(manager.send_as(&bob, "GET", path, NONE).await, refused, "{path}");
            // The plain form is ready in memory from here on.
            assert_eq!(manager.get("/device_groups/eu/info").await.0, 200);
        }
    }
    for path in ["/apps/eu", "/device_groups/eu", "/device_groups/eu/info"] {
        assert_eq!(manager.send_as(&ann, "GET", path, NONE).await.0, 200, "{path}");
        assert_eq!(manager.send_as(&bob, "GET", path, NONE).await, refused, "{path}");
    }
}
