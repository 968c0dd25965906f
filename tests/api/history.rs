//! The versions that an app has had, and going back to one.

use crate::harness::{Manager, bearer, seed_group, seed_user};
use nebula::model::MAX_VERSIONS;
use nebula::store::Store;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const NONE: Value = Value::Null;

impl Manager {
    /// What the history of an app says of each version under these keys.
    async fn history(&self, app: &str) -> Vec<Value> {
        let (status, history) = self.get(&format!("/apps/{app}/history")).await;
        assert_eq!(status, 200, "{history}");
        history["history"].as_array().unwrap().clone()
    }

    /// Sends a change that must be taken, and hands over the app.
    async fn changed(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, app) = self.send(method, path, body).await;
        assert_eq!(status, 202, "{app}");
        app
    }
}

#[tokio::test]
async fn every_change_is_told_with_who_made_it_and_no_secret() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    seed_group(&*store, "editors", json!({ "group_members": ["ann"], "apps": { "web": "rw" } }))
        .await;
    let ann = seed_user(&*store, "ann").await;
    let env = |value: &str| json!({ "env_vars": { "KEY": value, "OTHER": "of-all" } });
    let (status, _) = manager.send_as(&ann, "PUT", "/apps/web/update", env("hunter1")).await;
    assert_eq!(status, 202);
    let with_token = bearer("ann-token");
    let (status, _) =
        manager.send_as(&with_token, "PATCH", "/apps/web/update", env("hunter2")).await;
    assert_eq!(status, 202);
    for change in ["stop", "start", "restart"] {
        manager.changed("POST", &format!("/apps/web/{change}"), NONE).await;
    }
    let last = manager.changed("POST", "/apps/web/update", json!({ "docker_image": "b:2" })).await;
    let history = manager.history("web").await;
    let told = |key: &str| -> Vec<Value> { history.iter().map(|one| one[key].clone()).collect() };
    assert_eq!(told("app_id"), [7, 6, 5, 4, 3, 2, 1]);
    let admin = "local:nebula";
    assert_eq!(told("who"), [admin, admin, admin, admin, "ann", "ann", admin]);
    let what = ["replace", "restart", "start", "stop", "update", "update", "create"];
    assert_eq!(told("what"), what);
    assert_eq!(history[0]["revision"], last["revision"]);
    let names = json!(["KEY", "OTHER"]);
    let replaced = json!([
        { "key": "docker_image", "from": "nginx:1", "to": "b:2" },
        { "key": "env_vars", "from": names, "to": [], "changed_variables": [] },
    ]);
    assert_eq!(history[0]["changed"], replaced);
    assert_eq!(history[1]["changed"], json!([]), "a restart changes nothing");
    assert_eq!(history[3]["changed"], json!([{ "key": "running", "from": true, "to": false }]));
    let variables = json!([
        { "key": "env_vars", "from": names, "to": names, "changed_variables": ["KEY"] },
    ]);
    assert_eq!(history[4]["changed"], variables);
    let text = json!(history).to_string();
    assert!(!text.contains("hunter") && !text.contains("of-all"), "{text}");
}

#[tokio::test]
async fn a_rollback_brings_all_back_but_whether_it_runs() {
    let manager = Manager::start().await;
    let first = json!({
        "docker_image": "a:1", "env_vars": { "A": "secret" }, "volumes": ["/a:/b"],
        "mem_limit": "64m",
    });
    let (_, made) = manager.send("POST", "/apps/web", first).await;
    manager.create_group("eu", &["web"]).await;
    manager.changed("POST", "/apps/web/update", json!({ "docker_image": "a:2" })).await;
    manager.changed("POST", "/apps/web/stop", NONE).await;
    let back = manager.changed("POST", "/apps/web/rollback", NONE).await;
    let mut expected = made.clone();
    expected["app_id"] = 4.into();
    expected["running"] = false.into();
    expected["revision"] = back["revision"].clone();
    assert_eq!(back, expected);
    assert!(back["revision"].as_u64() > made["revision"].as_u64());
    assert_eq!(manager.info("eu").await["apps"][0], back, "its devices are told");
    // To go back from that is to undo it.
    let again = manager.changed("POST", "/apps/web/rollback", json!({})).await;
    assert_eq!((&again["docker_image"], &again["app_id"]), (&json!("a:2"), &json!(5)));
    let by_id = manager.changed("POST", "/apps/web/rollback", json!({ "app_id": 1 })).await;
    assert_eq!((&by_id["docker_image"], &by_id["app_id"]), (&json!("a:1"), &json!(6)));
    assert_eq!(manager.history("web").await[0]["what"], "rollback");
}

#[tokio::test]
async fn refusals() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    let unknown = (403, json!({ "app_exists": false }));
    assert_eq!(manager.get("/apps/none/history").await, unknown);
    assert_eq!(manager.send("POST", "/apps/none/rollback", NONE).await, unknown);
    let image = |image: &str| json!({ "docker_image": image });
    for version in 2..=u64::try_from(MAX_VERSIONS).unwrap() + 2 {
        let body = image(&format!("a:{version}"));
        manager.changed("PUT", "/apps/web/update", body).await;
    }
    assert_eq!(manager.history("web").await.len(), MAX_VERSIONS);
    let gone = "2 is not among the last 50 versions, which are all that is kept";
    let whole = "must be the id of a version, a whole number above 0";
    for (body, field, reason) in [
        (json!({ "app_id": 2 }), "app_id", gone),
        (json!({ "app_id": 52 }), "app_id", "52 is the present version"),
        (json!({ "app_id": "3" }), "app_id", whole),
        (json!({ "app_id": 0 }), "app_id", whole),
        (json!({ "app_id": 3.5 }), "app_id", whole),
        (json!({ "to": 3 }), "to", "unknown key"),
    ] {
        let (status, answer) = manager.send("POST", "/apps/web/rollback", body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer[field].as_str().unwrap().starts_with(reason), "{body}: {answer}");
    }
    manager.changed("POST", "/apps/web/rollback", json!({ "app_id": 3 })).await;
    manager.create_app("new").await;
    let (status, answer) = manager.send("POST", "/apps/new/rollback", json!({})).await;
    assert_eq!((status, answer["app_id"].is_string()), (400, true), "{answer}");
    // A stopped version is no other one.
    manager.changed("POST", "/apps/new/stop", NONE).await;
    assert_eq!(manager.send("POST", "/apps/new/rollback", json!({})).await.0, 400);
}

#[tokio::test]
async fn a_rollback_takes_the_write_that_came_in_between_for_the_present() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    let image = |image: &str| json!({ "docker_image": image });
    manager.changed("PUT", "/apps/web/update", image("a:2")).await;
    // The history is read, and before the app is, somebody else changes it.
    store.gate.store(true, Ordering::SeqCst);
    let rollback = manager.request("POST", "/api/v2/apps/web/rollback");
    let rollback = tokio::spawn(rollback.send());
    store.arrived.notified().await;
    manager.changed("PUT", "/apps/web/update", image("a:3")).await;
    store.open.notify_one();
    let (status, app) = crate::harness::read(rollback.await.unwrap().unwrap()).await;
    assert_eq!((status, &app["docker_image"], &app["app_id"]), (202, &json!("a:2"), &json!(4)));
    // It was deleted and made anew: what the other one was is not this one's.
    store.gate.store(true, Ordering::SeqCst);
    let rollback = manager.request("POST", "/api/v2/apps/web/rollback");
    let rollback = tokio::spawn(rollback.send());
    store.arrived.notified().await;
    assert_eq!(manager.send("DELETE", "/apps/web", NONE).await.0, 200);
    manager.create_app("web").await;
    store.open.notify_one();
    let (status, answer) = crate::harness::read(rollback.await.unwrap().unwrap()).await;
    assert_eq!((status, answer["app_id"].is_string()), (400, true), "{answer}");
}

#[tokio::test]
async fn competing_rollbacks_and_updates_lose_none() {
    const EACH: u64 = 10;
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.changed("PUT", "/apps/web/update", json!({ "docker_image": "a:0" })).await;
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..EACH {
        let image = json!({ "docker_image": format!("b:{round}") });
        let update = manager.request("PUT", "/api/v2/apps/web/update").json(&image);
        tasks.spawn(update.send());
        tasks.spawn(manager.request("POST", "/api/v2/apps/web/rollback").send());
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap().unwrap().status(), 202);
    }
    let history = manager.history("web").await;
    let ids: Vec<u64> = history.iter().map(|one| one["app_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=2 * EACH + 2).rev().collect::<Vec<_>>());
    let rollbacks = history.iter().filter(|one| one["what"] == "rollback").count();
    assert_eq!(rollbacks, usize::try_from(EACH).unwrap());
}

#[tokio::test]
async fn an_import_is_one_version() {
    let manager = Manager::start().await;
    let uid = "0102030405060708090a0b0c";
    let app = json!({ "app_name": "web", "app_id": 5, "docker_image": "a:5", "uid": uid });
    let app = json!({ "kind": "app", "object": app });
    let (status, answer) = manager.send("POST", "/import", json!({ "objects": [app] })).await;
    assert_eq!(status, 200, "{answer}");
    let history = manager.history("web").await;
    let [only] = history.as_slice() else { panic!("{history:?}") };
    assert_eq!((&only["app_id"], &only["what"]), (&json!(5), &json!("import")));
    assert_eq!(only["who"], "local:nebula");
}

#[tokio::test]
async fn an_unreachable_store_is_told() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    store.is_down.store(true, Ordering::SeqCst);
    assert!(store.history("web").await.is_err());
    assert_eq!(manager.get("/apps/web/history").await.0, 503);
    assert_eq!(manager.send("POST", "/apps/web/rollback", NONE).await.0, 503);
}
