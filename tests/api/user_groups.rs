//! Every route of user groups, its answer and each refusal. What they permit is in `matrix`.

use crate::harness::Manager;
use serde_json::{Map, Value, json};

const NONE: Value = Value::Null;

#[tokio::test]
async fn a_new_group_permits_nothing_that_is_not_given() {
    let manager = Manager::start().await;
    for (name, body) in [("a", NONE), ("b", json!({}))] {
        let path = format!("/user_groups/{name}");
        let (status, mut group) = manager.send("POST", &path, body).await;
        assert_eq!(status, 200, "{group}");
        assert_eq!(manager.get(&path).await, (200, group.clone()));
        let map = group.as_object_mut().unwrap();
        assert_eq!(map.remove("uid").unwrap().as_str().unwrap().len(), 24);
        assert!(map.remove("revision").unwrap().is_u64());
        let expected = json!({
            "user_group": name, "group_members": [], "pruning_allowed": false, "apps": {},
            "device_groups": {}, "cron_jobs": {}, "admin": false,
        });
        assert_eq!(group, expected);
    }
    assert_eq!(manager.get("/user_groups").await, (200, json!({ "user_groups": ["a", "b"] })));
}

/// Members and names need not exist; a member given twice counts once.
#[tokio::test]
async fn what_was_given_comes_back_and_an_update_changes_only_what_is_given() {
    let manager = Manager::start().await;
    let given = json!({
        "group_members": ["ann", "Jörg K"], "pruning_allowed": true, "apps": { "web": "rw" },
        "device_groups": { "eu": "ro" }, "cron_jobs": { "backup": "rw", "any thing %": "ro" },
        "admin": false,
    });
    let (status, created) = manager.send("POST", "/user_groups/ops", given.clone()).await;
    assert_eq!(status, 200, "{created}");
    for (key, value) in given.as_object().unwrap() {
        assert_eq!(&created[key], value, "{key}");
    }
    let update = "/user_groups/ops/update";
    let members = json!({ "group_members": ["bob", "ann", "bob"] });
    let (status, group) = manager.send("PUT", update, members).await;
    assert_eq!((status, &group["group_members"]), (200, &json!(["bob", "ann"])), "{group}");
    for key in ["pruning_allowed", "apps", "device_groups", "cron_jobs", "admin", "uid"] {
        assert_eq!(group[key], created[key], "{key}");
    }
    assert!(group["revision"].as_u64() > created["revision"].as_u64());
    // A map is replaced, not merged: so a grant can be taken away.
    let (status, group) = manager.send("PATCH", update, json!({ "cron_jobs": {} })).await;
    assert_eq!((status, &group["cron_jobs"], &group["apps"]), (200, &json!({}), &created["apps"]));
    // It may be sent back as it was read.
    let mut read = manager.get("/user_groups/ops").await.1;
    read["_id"] = json!({ "$oid": "x" });
    let (status, again) = manager.send("PUT", update, read).await;
    assert_eq!((status, &again["group_members"]), (200, &group["group_members"]), "{again}");
    assert_eq!(manager.get("/user_groups/ops").await, (200, again));
    assert_eq!(manager.send("DELETE", "/user_groups/ops", NONE).await, (200, json!({})));
    let gone = (403, json!({ "user_group_exists": false }));
    assert_eq!(manager.get("/user_groups/ops").await, gone);
    assert_eq!(manager.send("DELETE", "/user_groups/ops", NONE).await, gone);
    assert_eq!(manager.send("POST", "/user_groups/ops", NONE).await.0, 200, "its name is free");
}

#[tokio::test]
async fn refusals() {
    let manager = Manager::start().await;
    assert_eq!(manager.send("POST", "/user_groups/ops", NONE).await.0, 200);
    let (_, before) = manager.get("/user_groups/ops").await;
    let exists = || json!({ "user_group_exists": true });
    let unknown = || json!({ "user_group_exists": false });
    let nothing = || json!({ "missing_parameters": true });
    let update = "/user_groups/ops/update";
    for (method, path, body, status, answer) in [
        ("POST", "/user_groups/ops", NONE, 403, exists()),
        ("POST", "/user_groups/ops", json!({ "admin": 1 }), 403, exists()),
        ("GET", "/user_groups/none", NONE, 403, unknown()),
        ("DELETE", "/user_groups/none", NONE, 403, unknown()),
        ("PUT", "/user_groups/none/update", NONE, 403, unknown()),
        ("PATCH", "/user_groups/none/update", json!({ "admin": 1 }), 403, unknown()),
        ("PUT", update, NONE, 400, nothing()),
        ("PATCH", update, json!({}), 400, nothing()),
        ("PUT", update, json!({ "user_group": "ops", "uid": "x", "_id": 1 }), 400, nothing()),
    ] {
        let got = manager.send(method, path, body.clone()).await;
        assert_eq!(got, (status, answer), "{method} {path} {body}");
    }
    let many: Map<String, Value> = (0..10_001).map(|i| (format!("n{i}"), json!("ro"))).collect();
    let names: Vec<String> = (0..10_001).map(|i| format!("n{i}")).collect();
    for (field, value) in [
        ("group_members", json!("ann")),
        ("group_members", json!([1])),
        ("group_members", json!({ "ann": "rw" })),
        ("group_members", json!(names)),
        ("pruning_allowed", json!("true")),
        ("admin", json!(1)),
        ("admin", NONE),
        ("apps", json!(["web"])),
        ("apps", json!({ "web": "w" })),
        ("apps", json!({ "web": "RW" })),
        ("apps", json!({ "web": true })),
        ("apps", json!({ "web": NONE })),
        ("apps", Value::Object(many.clone())),
        ("device_groups", json!({ "eu": ["ro"] })),
        ("device_groups", Value::Object(many.clone())),
        ("cron_jobs", json!(NONE)),
        ("cron_jobs", Value::Object(many)),
        ("users", json!({})),
        ("colour", json!("red")),
        ("user_group", json!("other")),
    ] {
        for (method, path) in [("POST", "/user_groups/new"), ("PUT", update), ("PATCH", update)] {
            let mut body = json!({ "pruning_allowed": true });
            body[field] = value.clone();
            let (status, answer) = manager.send(method, path, body).await;
            assert!(status == 400 && answer[field].is_string(), "{method} {field} {answer}");
            assert!(answer.to_string().len() < 1_000);
        }
    }
    for name in ["a%3Ab", "a%2Fb", "%20a", "%FF%00", &"x".repeat(129)] {
        let (status, answer) = manager.send("POST", &format!("/user_groups/{name}"), NONE).await;
        assert!(status == 400 && answer["user_group"].is_string(), "{name} {answer}");
    }
    assert_eq!(manager.get("/user_groups/ops").await, (200, before));
    assert_eq!(manager.get("/user_groups").await.1, json!({ "user_groups": ["ops"] }));
    // The most that is allowed is kept, and read back whole.
    let most: Map<String, Value> = (0..10_000).map(|i| (format!("n{i}"), json!("ro"))).collect();
    let body = json!({ "apps": most, "group_members": names[..10_000] });
    let (status, group) = manager.send("PUT", update, body).await;
    assert_eq!((status, group["apps"].as_object().unwrap().len()), (200, 10_000));
}
