//! What devices ask for: its form, its tag, and that it follows every change at once.

use crate::harness::{Manager, Moody, PATIENCE, basic, config};
use nebula::modes::manager::Limits;
use nebula::store::SqliteStore;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const NONE: Value = Value::Null;
const PATH: &str = "/api/v2/device_groups/eu/info";

#[tokio::test]
async fn it_holds_the_group_s_apps_in_its_order_and_the_highest_revision() {
    let manager = Manager::start().await;
    let web = manager.create_app("web").await;
    let db = manager.create_app("db").await;
    manager.create_app("other").await;
    let group = manager.create_group("eu", &["web", "db"]).await;
    let expected = json!({
        "apps": [web, db], "apps_list": ["web", "db"], "cron_jobs": [], "cron_jobs_list": [],
        "prune_id": 1, "device_group_id": 1, "revision": group["revision"],
    });
    assert_eq!(manager.info("eu").await, expected);
    let info = nebula::model::Desired::decode(expected.to_string().as_bytes()).unwrap();
    assert_eq!(info.apps.len(), 2, "a worker can read it");
    let db = manager.send("POST", "/apps/db/stop", NONE).await.1;
    let info = manager.info("eu").await;
    assert_eq!((&info["revision"], &info["apps"][1]), (&db["revision"], &db));
}

#[tokio::test]
async fn inv_03_its_revision_never_falls() {
    let manager = Manager::start().await;
    manager.create_app("a").await;
    manager.create_app("b").await;
    manager.create_group("eu", &["a", "b"]).await;
    let image = json!({ "docker_image": "nginx:2" });
    let mut last = manager.info("eu").await["revision"].as_u64().unwrap();
    for (method, path, body) in [
        ("PUT", "/apps/b/update", image.clone()),
        ("DELETE", "/apps/b", NONE),
        ("POST", "/apps/b", image.clone()),
        ("DELETE", "/apps/b", NONE),
        ("POST", "/device_groups/eu/update", json!({ "apps": ["a"] })),
        ("POST", "/device_groups/eu/prune", NONE),
        ("DELETE", "/apps/a", NONE),
        ("DELETE", "/device_groups/eu", NONE),
        ("POST", "/device_groups/eu", NONE),
    ] {
        let (status, answer) = manager.send(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path} {answer}");
        if method == "DELETE" && path.starts_with("/device_groups") {
            continue;
        }
        let revision = manager.info("eu").await["revision"].as_u64().unwrap();
        assert!(revision > last, "{method} {path}");
        last = revision;
    }
}

#[tokio::test]
async fn a_member_that_was_deleted_is_left_out_until_it_comes_back() {
    let manager = Manager::start().await;
    manager.create_app("a").await;
    manager.create_app("b").await;
    manager.create_group("eu", &["a", "b"]).await;
    assert_eq!(manager.send("DELETE", "/apps/a", NONE).await.0, 200);
    let info = manager.info("eu").await;
    assert_eq!((&info["apps_list"], &info["device_group_id"]), (&json!(["b"]), &json!(1)));
    assert_eq!(manager.get("/device_groups/eu").await.1["apps"], json!(["a", "b"]));
    manager.create_app("a").await;
    assert_eq!(manager.info("eu").await["apps_list"], json!(["a", "b"]));
}

/// Whole cron jobs, in the group's order; each change of one shows at once and makes the revision
/// rise.
#[tokio::test]
async fn inv_03_it_follows_the_group_s_cron_jobs() {
    let manager = Manager::start().await;
    let clean = manager.create_job("clean").await;
    let backup = manager.create_job("backup").await;
    manager.create_job("other").await;
    manager.create_app("web").await;
    let body = json!({ "cron_jobs": ["clean", "backup"] });
    let group = manager.send("POST", "/device_groups/eu", body).await.1;
    let expected = json!({
        "apps": [], "apps_list": [], "cron_jobs": [clean, backup],
        "cron_jobs_list": ["clean", "backup"], "prune_id": 1, "device_group_id": 1,
        "revision": group["revision"],
    });
    assert_eq!(manager.info("eu").await, expected);
    let info = nebula::model::Desired::decode(expected.to_string().as_bytes()).unwrap();
    let names: Vec<&str> = info.cron_jobs.iter().map(nebula::model::DesiredCronJob::name).collect();
    assert_eq!(names, ["clean", "backup"], "a worker can read it");
    let job = || json!({ "docker_image": "job:2", "schedule": "@daily" });
    let mut last = group["revision"].as_u64().unwrap();
    for (method, path, body, listed) in [
        (
            "PUT",
            "/cron_jobs/backup/update",
            json!({ "running": false }),
            json!(["clean", "backup"]),
        ),
        ("POST", "/cron_jobs/clean/update", job(), json!(["clean", "backup"])),
        ("DELETE", "/cron_jobs/clean", NONE, json!(["backup"])),
        ("DELETE", "/cron_jobs/backup", NONE, json!([])),
        ("POST", "/cron_jobs/clean", job(), json!(["clean"])),
        ("POST", "/cron_jobs/backup", job(), json!(["clean", "backup"])),
        (
            "PATCH",
            "/device_groups/eu/update",
            json!({ "cron_jobs": ["backup", "clean"] }),
            json!(["backup", "clean"]),
        ),
        ("DELETE", "/cron_jobs/backup", NONE, json!(["clean"])),
    ] {
        let (status, answer) = manager.send(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path} {answer}");
        let info = manager.info("eu").await;
        assert_eq!(info["cron_jobs_list"], listed, "{method} {path}");
        let revision = info["revision"].as_u64().unwrap();
        assert!(revision > last, "{method} {path}");
        last = revision;
        if path.starts_with("/cron_jobs") && method != "DELETE" {
            let shown = info["cron_jobs"].as_array().unwrap();
            assert!(shown.contains(&answer), "{method} {path}: the whole job as it is now");
        }
    }
    // What is no member touches nothing.
    let before = manager.info("eu").await;
    for (method, path) in
        [("POST", "/apps/web/stop"), ("DELETE", "/cron_jobs/other"), ("DELETE", "/apps/web")]
    {
        manager.send(method, path, NONE).await;
    }
    assert_eq!(manager.info("eu").await, before);
}

#[tokio::test]
async fn inv_05_every_change_shows_at_once() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    for round in 0..100 {
        let image = json!({ "docker_image": format!("nginx:{round}") });
        let (_, app) = manager.send("PUT", "/apps/web/update", image).await;
        assert_eq!(manager.info("eu").await["apps"][0], app);
        assert_eq!(manager.get("/apps/web").await.1, app);
    }
}

/// The build read the old state, then a write came and was acknowledged, then the build ended.
#[tokio::test]
async fn inv_05_a_build_that_raced_a_write_is_not_served_after_it() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Arc::new(Manager::over(config(folder.path()), store, Limits::default()).await);
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    moody.gate.store(true, Ordering::SeqCst);
    let asking = Arc::clone(&manager);
    let slow = tokio::spawn(async move { asking.info("eu").await });
    moody.arrived.notified().await;
    let (_, app) = manager.send("POST", "/apps/web/stop", NONE).await;
    moody.open.notify_one();
    slow.await.unwrap();
    assert_eq!(manager.info("eu").await["apps"][0], app);
}

/// A client that goes away between the commit and its answer must not leave old bytes behind.
#[tokio::test]
async fn inv_05_a_write_whose_client_went_away_shows_as_well() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    assert_eq!(manager.info("eu").await["apps"][0]["running"], json!(true));
    moody.gate.store(true, Ordering::SeqCst);
    let request = manager.request("POST", "/api/v2/apps/web/stop");
    let impatient = tokio::spawn(request.send());
    moody.arrived.notified().await;
    impatient.abort();
    assert!(impatient.await.is_err());
    // The manager has seen the closed connection when it answers on another one.
    manager.assert_alive().await;
    moody.open.notify_one();
    let seen = async { while manager.info("eu").await["apps"][0]["running"] == json!(true) {} };
    tokio::time::timeout(PATIENCE, seen).await.expect("the change must show");
}

#[tokio::test]
async fn a_device_that_has_it_is_told_304() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let response = manager.request("GET", PATH).send().await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() == 34);
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
    let known =
        [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag} , \"y\""), "*".to_owned()];
    for given in known {
        let asked = manager.request("GET", PATH).header("if-none-match", &given);
        let response = asked.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{given}");
        assert_eq!(response.headers()["etag"], etag.as_str());
        assert_eq!(response.headers()["cache-control"], "private, no-cache");
        assert!(response.bytes().await.unwrap().is_empty());
    }
    for given in ["\"x\"", "", "x,,,", etag.trim_matches('"')] {
        let asked = manager.request("GET", PATH).header("if-none-match", given);
        assert_eq!(asked.send().await.unwrap().status(), StatusCode::OK, "{given}");
    }
    manager.send("POST", "/apps/web/restart", NONE).await;
    let asked = manager.request("GET", PATH).header("if-none-match", &etag);
    let response = asked.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_ne!(response.headers()["etag"], etag.as_str());
}

#[tokio::test]
async fn the_same_content_has_the_same_tag_on_another_manager() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let mut tags = Vec::new();
    for _ in 0..2 {
        let store = Arc::clone(&store);
        let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
        if tags.is_empty() {
            manager.create_group("eu", &[]).await;
        }
        let response = manager.request("GET", PATH).send().await.unwrap();
        tags.push(response.headers()["etag"].clone());
    }
    assert_eq!(tags[0], tags[1]);
}

/// Far more groups than there is memory for, each still right.
#[tokio::test]
async fn more_groups_than_memory_holds_are_all_served() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let mut config = config(folder.path());
    config.cache_max_size = 1;
    let manager = Manager::over(config, store, Limits::default()).await;
    let env: serde_json::Map<String, Value> =
        (0..60).map(|i| (format!("V{i}"), "x".repeat(1000).into())).collect();
    let body = json!({ "docker_image": "nginx", "env_vars": env });
    assert_eq!(manager.send("POST", "/apps/big", body).await.0, 200);
    for index in 0..8 {
        manager.create_group(&format!("g{index}"), &["big"]).await;
    }
    for round in 1..4 {
        for index in 0..8 {
            let info = manager.info(&format!("g{index}")).await;
            assert_eq!(info["apps"][0]["app_id"], json!(round));
        }
        manager.send("POST", "/apps/big/restart", NONE).await;
    }
}

/// Known groups are answered from memory while the store is away; writes are refused.
#[tokio::test]
async fn inv_09_a_store_that_is_down_spares_the_devices() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    manager.create_group("eu", &[]).await;
    let info = manager.info("eu").await;
    moody.is_down.store(true, Ordering::SeqCst);
    assert_eq!(manager.info("eu").await, info);
    let answer = manager.request("POST", "/api/v2/apps/web").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let (status, answer) = crate::harness::read(answer).await;
    assert_eq!(status, 503);
    assert_eq!(answer, json!({ "error": "the store could not try" }));
    moody.is_down.store(false, Ordering::SeqCst);
    manager.create_app("web").await;
}

/// Nobody reads so much, and a few of them would fill the manager's memory.
#[tokio::test]
async fn inv_08_a_group_whose_answer_is_too_large_is_told_so_and_harms_no_other() {
    let manager = Manager::start().await;
    let names: Vec<String> = (0..18).map(|index| format!("app{index}")).collect();
    for name in &names {
        let variables: serde_json::Map<String, Value> =
            (0..8).map(|index| (format!("V{index}"), "x".repeat(120_000).into())).collect();
        let body = json!({ "docker_image": "nginx", "env_vars": variables });
        assert_eq!(manager.send("POST", &format!("/apps/{name}"), body).await.0, 200);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    manager.create_group("small", &names[..1]).await;
    manager.create_group("large", &names).await;
    let (status, answer) = manager.get("/device_groups/large/info").await;
    let why = "what the device group runs is larger than 16777216 bytes together";
    assert_eq!((status, answer), (500, json!({ "error": why })));
    assert_eq!(manager.info("small").await["apps_list"], json!(["app0"]));
}

/// Asks with what is known already, and waits.
fn parked(manager: &Manager, who: &str, etag: &str, seconds: &str) -> reqwest::RequestBuilder {
    let path = format!("/api/v2/device_groups/eu/info?wait={seconds}");
    manager.request_as(who, "GET", &path).header("if-none-match", etag)
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_the_answer_is_another_one() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let first = manager.request("GET", "/api/v2/device_groups/eu/info").send().await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    // Its time is up.
    let quiet = parked(&manager, &basic(), &etag, "1").send().await.unwrap();
    assert_eq!(
        (quiet.status(), quiet.headers()["etag"].to_str().unwrap()),
        (StatusCode::NOT_MODIFIED, &*etag)
    );
    // Nothing to wait for: it knows another one, or none.
    let other = parked(&manager, &basic(), "\"other\"", "300").send().await.unwrap();
    assert_eq!(other.status(), 200);
    // A change while it waits, of a member that the group has.
    let waiting = tokio::spawn(parked(&manager, &basic(), &etag, "300").send());
    until_parked(&manager, 1).await;
    assert_eq!(manager.send("POST", "/apps/web/restart", Value::Null).await.0, 202);
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.headers()["etag"].to_str().unwrap(), etag);
    for wrong in ["", "x", "-1", "301", "1&wait=2"] {
        let refused = parked(&manager, &basic(), &etag, wrong).send().await.unwrap();
        let (status, body) = crate::harness::read(refused).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(body["wait"].is_string(), "{body}");
    }
}

/// A manager with more devices than places for them serves all of them, at a pace.
#[tokio::test]
async fn inv_11_crowded_manager_parks_nobody_and_says_when_to_come_back() {
    let limits = Limits { connections: 20, parking_percent: 10, ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    manager.create_group("eu", &[]).await;
    let first = manager.request("GET", "/api/v2/device_groups/eu/info").send().await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    // Two connections of twenty, this one and the one that looks, are no crowd.
    let waiting = tokio::spawn(parked(&manager, &basic(), &etag, "300").send());
    until_parked(&manager, 1).await;
    let another = crate::harness::client();
    let crowded = parked(&manager, &basic(), &etag, "300").build().unwrap();
    let answer = another.execute(crowded).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(answer.headers()["connection"], "close");
    let pace: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((30..90).contains(&pace), "{pace}");
    // News are given to whoever comes, and to whoever has a place.
    assert_eq!(manager.send("POST", "/device_groups/eu/prune", Value::Null).await.0, 202);
    let news = parked(&manager, &basic(), &etag, "300").build().unwrap();
    assert_eq!(crate::harness::client().execute(news).await.unwrap().status(), 200);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn inv_12_a_client_that_waits_is_let_go_when_it_may_no_longer() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("eu", &[]).await;
    let ann = crate::harness::seed_user(&*store, "ann").await;
    let grant = json!({ "group_members": ["ann"], "device_groups": { "eu": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/g", grant).await.0, 200);
    let path = "/api/v2/device_groups/eu/info";
    let first = manager.request_as(&ann, "GET", path).send().await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let waiting = tokio::spawn(parked(&manager, &ann, &etag, "300").send());
    until_parked(&manager, 1).await;
    // A change of others wakes it, and it waits on.
    assert_eq!(manager.send("POST", "/user_groups/others", Value::Null).await.0, 200);
    assert_eq!(manager.send("DELETE", "/user_groups/g", Value::Null).await.0, 200);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 403);
    let grant = json!({ "group_members": ["ann"], "device_groups": { "eu": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/g", grant).await.0, 200);
    let waiting = tokio::spawn(parked(&manager, &ann, &etag, "300").send());
    until_parked(&manager, 1).await;
    assert_eq!(manager.send("DELETE", "/users/ann", Value::Null).await.0, 200);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 401);
}

/// Until a request waits.
pub(crate) async fn until_parked(manager: &Manager, number: usize) {
    let count = async || {
        let metrics = manager.client.get(manager.url("/metrics")).send().await.unwrap();
        metrics.text().await.unwrap()
    };
    let parked = async { while !count().await.contains(&format!("\nnebula_parked {number}\n")) {} };
    tokio::time::timeout(PATIENCE, parked).await.expect("a request waits");
}
