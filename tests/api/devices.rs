//! The inventory and the status of declarations, as people ask for them.

use crate::harness::{Manager, seed_group, seed_user};
use crate::reports::report;
use serde_json::{Value, json};

async fn bring(manager: &Manager, report: Value) {
    let answer = manager.send("POST", "/reports", json!({ "reports": [report] })).await;
    assert_eq!(answer, (202, json!({ "accepted": 1, "refused": [] })));
}

/// A report of a worker that runs an app.
fn with_app(number: u64, hostname: &str, group: &str, state: &str, app: &Value) -> Value {
    let mut report = report(number, hostname, group);
    report["state"] = json!(state);
    report["revision"] = app["revision"].clone();
    report["apps"] = json!([{
        "app_name": app["app_name"], "app_id": app["app_id"], "uid": app["uid"], "state": state,
        "reason": "`image` cannot be pulled", "image": "nginx:1",
    }]);
    report
}

#[tokio::test]
async fn device_is_known_from_its_report_until_it_is_forgotten() {
    let manager = Manager::start().await;
    let unknown = (403, json!({ "device_exists": false }));
    let hostname = "Kiosk 7/é";
    let path = "/devices/Kiosk%207%2F%C3%A9";
    assert_eq!(manager.get(path).await, unknown);
    let mut told = report(1, hostname, "eu");
    told["state"] = json!("held");
    told["reason"] = json!("`docker` is away");
    told["memory_usage"] = json!({ "total": 1_000 });
    bring(&manager, told).await;
    let (status, device) = manager.get(path).await;
    assert_eq!(status, 200, "{device}");
    let shown =
        ["hostname", "device_group", "state", "reported_state", "reason"].map(|key| &device[key]);
    assert_eq!(shown, [hostname, "eu", "held", "held", "`docker` is away"]);
    assert_eq!(device["memory_usage"], json!({ "total": 1_000 }));
    let mut device = device;
    assert_eq!(device.as_object_mut().unwrap().remove("credential"), Some(Value::Null));
    let (_, list) = manager.get("/devices?state=held&device_group=eu").await;
    assert_eq!(list, json!({ "devices": [device], "after": hostname }));
    let nobody = (200, json!({ "devices": [], "after": null }));
    assert_eq!(manager.get("/devices?state=failed").await, nobody);
    assert_eq!(manager.send("DELETE", path, Value::Null).await, (200, json!({})));
    assert_eq!(manager.get(path).await, unknown);
    assert_eq!(manager.send("DELETE", path, Value::Null).await, unknown);
}

#[tokio::test]
async fn query_of_devices_that_cannot_be_read_is_refused_by_its_key() {
    let manager = Manager::start().await;
    for (query, key) in [
        ("page_size=0", "page_size"),
        ("state=outdated", "state"),
        ("state=well", "state"),
        ("version=3", "version"),
        ("app=a&version=-1", "version"),
        ("seen_since=yesterday", "seen_since"),
        ("colour=red", "colour"),
    ] {
        let (status, answer) = manager.get(&format!("/devices?{query}")).await;
        assert!(status == 400 && answer[key].is_string(), "{query} {answer}");
    }
}

#[tokio::test]
async fn inv_07_devices_of_other_groups_are_as_if_they_were_not_there() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    let grants = json!({
        "group_members": ["ann"], "apps": { "web": "ro" },
        "device_groups": { "eu": "ro", "asia": "rw" },
    });
    seed_group(&*store, "g", grants).await;
    let app = manager.create_app("web").await;
    for (number, group) in [(1, "eu"), (2, "us"), (3, "asia")] {
        manager.create_group(group, &["web"]).await;
        bring(&manager, with_app(number, &format!("in-{group}"), group, "failed", &app)).await;
    }
    let ask = |method, path: &'static str| manager.send_as(&ann, method, path, Value::Null);
    let (_, list) = ask("GET", "/devices").await;
    let names: Vec<&Value> =
        list["devices"].as_array().unwrap().iter().map(|device| &device["hostname"]).collect();
    assert_eq!(names, ["in-asia", "in-eu"]);
    assert_eq!(ask("GET", "/devices?device_group=us").await.1["devices"], json!([]));
    let unknown = (403, json!({ "device_exists": false }));
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(method, "/devices/in-us").await, unknown);
        assert_eq!(ask(method, "/devices/nobody").await, unknown);
    }
    assert_eq!(ask("GET", "/devices/in-eu").await.0, 200);
    let forbidden = (403, json!({ "access_allowed": false }));
    assert_eq!(ask("DELETE", "/devices/in-eu").await, forbidden);
    assert_eq!(ask("DELETE", "/devices/in-asia").await.0, 200);
    assert_eq!(manager.get("/devices/in-eu").await.0, 200);
    assert_eq!(ask("GET", "/device_groups/us/status").await, forbidden);
    // Of an app, what happens on the devices that one may see.
    let (_, status) = ask("GET", "/apps/web/status").await;
    assert_eq!((&status["device_groups"], &status["devices"]), (&json!(["asia", "eu"]), &json!(1)));
    assert_eq!(manager.get("/apps/web/status").await.1["devices"], 2);
}

#[tokio::test]
async fn status_follows_what_is_declared() {
    let manager = Manager::start().await;
    let app = manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let (_, nobody) = manager.get("/device_groups/eu/status").await;
    assert_eq!((&nobody["devices"], &nobody["not_converged"]), (&json!(0), &json!([])));
    let revision = manager.info("eu").await["revision"].clone();
    for (number, state) in [(1, "converged"), (2, "failed")] {
        let mut told = with_app(number, &format!("d{number}"), "eu", state, &app);
        told["revision"] = revision.clone();
        bring(&manager, told).await;
    }
    let states = |status: &Value| {
        ["converged", "failed", "outdated"].map(|word| status["states"][word].as_u64().unwrap())
    };
    let (_, group) = manager.get("/device_groups/eu/status").await;
    assert_eq!((&group["device_group"], &group["revision"]), (&json!("eu"), &revision));
    assert_eq!(states(&group), [1, 1, 0]);
    let (_, of_app) = manager.get("/apps/web/status").await;
    assert_eq!(
        (&of_app["app_name"], &of_app["app_id"], &of_app["uid"]),
        (&app["app_name"], &app["app_id"], &app["uid"])
    );
    assert_eq!(states(&of_app), [1, 1, 0]);
    let line = &of_app["not_converged"][0];
    assert_eq!((&line["hostname"], &line["state"]), (&json!("d2"), &json!("failed")));
    assert_eq!(line["reason"], "`image` cannot be pulled");
    // A change makes all that was said of it old.
    let changed =
        manager.send("PUT", "/apps/web/update", json!({ "docker_image": "nginx:2" })).await;
    assert_eq!(changed.0, 202);
    for path in ["/device_groups/eu/status", "/apps/web/status"] {
        assert_eq!(states(&manager.get(path).await.1), [0, 0, 2], "{path}");
    }
    assert_eq!(manager.get("/apps/none/status").await, (403, json!({ "app_exists": false })));
    let none = (403, json!({ "device_group_exists": false }));
    assert_eq!(manager.get("/device_groups/none/status").await, none);
}
