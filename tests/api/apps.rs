//! Every route of apps, its answer and each refusal.

use crate::harness::Manager;
use serde_json::{Value, json};

const NONE: Value = Value::Null;

#[tokio::test]
async fn a_new_app_has_defaults_for_all_that_is_not_given() {
    let manager = Manager::start().await;
    let (status, mut app) =
        manager.send("POST", "/apps/web", json!({ "docker_image": "nginx" })).await;
    assert_eq!(status, 200);
    assert_eq!(app["uid"].as_str().unwrap().len(), 24);
    assert!(app["revision"].as_u64().unwrap() > 1_600_000_000_000);
    let shown = app.clone();
    let map = app.as_object_mut().unwrap();
    map.remove("uid");
    map.remove("revision");
    let expected = json!({
        "app_id": 1, "app_name": "web", "docker_image": "nginx", "starting_ports": [],
        "containers_per": { "server": 1 }, "env_vars": {}, "running": true,
        "networks": ["nebula", "bridge"], "volumes": [], "devices": [], "privileged": false,
        "rolling_restart": false,
    });
    assert_eq!(app, expected);
    assert_eq!(manager.get("/apps/web").await, (200, shown));
    assert_eq!(manager.get("/apps").await, (200, json!({ "apps": ["web"] })));
}

#[tokio::test]
async fn what_was_given_comes_back_as_it_was_given() {
    let manager = Manager::start().await;
    let given = json!({
        "docker_image": "registry.example:5000/speaker:2", "starting_ports": [80, { "81": "8080" }],
        "containers_per": { "cpu": 0.5 }, "env_vars": { "A": "b" }, "running": false,
        "networks": ["nebula"], "volumes": ["/tmp:/tmp/1:rw"], "devices": ["/dev/snd"],
        "privileged": true, "rolling_restart": true,
    });
    let (status, app) = manager.send("POST", "/apps/speaker", given.clone()).await;
    assert_eq!(status, 200, "{app}");
    for (key, value) in given.as_object().unwrap() {
        assert_eq!(&app[key], value, "{key}");
    }
}

/// Method, path, body, status and answer, on a manager that has the app `web` and the stopped app
/// `off`.
#[tokio::test]
async fn refusals() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_app("off").await;
    assert_eq!(manager.send("POST", "/apps/off/stop", NONE).await.0, 202);
    let image = || json!({ "docker_image": "nginx" });
    let with = |key: &str, value: Value| json!({ "docker_image": "nginx", key: value });
    let exists = || json!({ "app_exists": true });
    let unknown = || json!({ "app_exists": false });
    let missing = || json!({ "missing_parameters": ["docker_image"] });
    let form = || json!({ "starting_ports": "can only be a list containing integers or dicts" });
    let range = || json!({ "starting_ports": "invalid port" });
    let cases = [
        // whether it exists comes before what the body holds
        ("POST", "/apps/web", NONE, 403, exists()),
        ("POST", "/apps/web", image(), 403, exists()),
        ("POST", "/apps/web", json!({ "starting_ports": "x" }), 403, exists()),
        ("POST", "/apps/none/update", NONE, 403, unknown()),
        ("POST", "/apps/none/update", json!({ "starting_ports": "x" }), 403, unknown()),
        ("PUT", "/apps/none/update", NONE, 403, unknown()),
        ("PATCH", "/apps/none/update", json!({}), 403, unknown()),
        ("GET", "/apps/none", NONE, 403, unknown()),
        ("DELETE", "/apps/none", NONE, 403, unknown()),
        ("POST", "/apps/none/start", NONE, 403, unknown()),
        ("POST", "/apps/none/stop", NONE, 403, unknown()),
        ("POST", "/apps/none/restart", NONE, 403, unknown()),
        ("POST", "/apps/off/restart", NONE, 403, json!({ "running_before_restart": false })),
        // a name that cannot be is merely not found
        ("GET", "/apps/..%2fetc", NONE, 403, unknown()),
        ("GET", "/apps/%FF%00", NONE, 403, unknown()),
        ("DELETE", "/apps/%20", NONE, 403, unknown()),
        // nothing given
        ("POST", "/apps/new", NONE, 400, missing()),
        ("POST", "/apps/new", json!({}), 400, missing()),
        ("POST", "/apps/new", json!({ "starting_ports": "x" }), 400, missing()),
        ("POST", "/apps/web/update", NONE, 400, missing()),
        ("POST", "/apps/web/update", json!({}), 400, missing()),
        ("POST", "/apps/web/update", json!({ "running": true }), 400, missing()),
        ("PUT", "/apps/web/update", NONE, 400, json!({ "missing_parameters": true })),
        ("PATCH", "/apps/web/update", json!({}), 400, json!({ "missing_parameters": true })),
        // ports
        ("POST", "/apps/new", with("starting_ports", json!("80")), 403, form()),
        ("POST", "/apps/new", with("starting_ports", json!(["x"])), 403, form()),
        ("POST", "/apps/new", with("starting_ports", json!([80.5])), 403, form()),
        ("POST", "/apps/new", with("starting_ports", json!([0])), 400, range()),
        ("POST", "/apps/new", with("starting_ports", json!([65536])), 400, range()),
        ("PUT", "/apps/web/update", json!({ "starting_ports": [{ "80": "99999" }] }), 400, range()),
        ("PUT", "/apps/web/update", json!({ "starting_ports": { "80": "80" } }), 403, form()),
        ("POST", "/apps/web/update", with("starting_ports", json!([-1])), 400, range()),
    ];
    for (method, path, body, status, answer) in cases {
        let got = manager.send(method, path, body.clone()).await;
        assert_eq!(got, (status, answer), "{method} {path} {body}");
    }
    assert_eq!(manager.get("/apps").await, (200, json!({ "apps": ["off", "web"] })));
}

/// What could not run on a device is refused with the field's name, on create and both updates.
#[tokio::test]
async fn inv_13_what_could_not_run_is_refused_by_field() {
    let manager = Manager::start().await;
    let before = manager.create_app("web").await;
    let cases = [
        ("docker_image", json!("Not A Reference")),
        ("docker_image", json!(7)),
        ("docker_image", NONE),
        ("containers_per", json!({ "rack": 1 })),
        ("containers_per", json!({ "server": 1, "cpu": 1 })),
        ("containers_per", json!({ "memory": 0 })),
        ("containers_per", json!({ "server": -1 })),
        ("containers_per", json!(3)),
        ("env_vars", json!({ "A": 1 })),
        ("env_vars", json!("A=b")),
        ("running", json!("yes")),
        ("networks", json!(["host", "nebula"])),
        ("networks", json!("nebula")),
        ("volumes", json!(["no-colon"])),
        ("devices", json!(["relative"])),
        ("privileged", json!(1)),
        ("rolling_restart", json!([])),
        ("colour", json!("red")),
        ("app_name", json!("other")),
    ];
    for (field, value) in cases {
        for (method, path) in [
            ("POST", "/apps/new"),
            ("POST", "/apps/web/update"),
            ("PUT", "/apps/web/update"),
            ("PATCH", "/apps/web/update"),
        ] {
            let mut body = json!({ "docker_image": "nginx" });
            body[field] = value.clone();
            let (status, answer) = manager.send(method, path, body).await;
            assert_eq!(status, 400, "{method} {field}: {value}");
            assert!(answer[field].is_string(), "{method} {field}: {answer}");
        }
    }
    assert_eq!(manager.get("/apps/web").await, (200, before));
    assert_eq!(manager.get("/apps").await.1, json!({ "apps": ["web"] }));
}

#[tokio::test]
async fn inv_13_a_new_app_needs_a_name_that_docker_takes() {
    let manager = Manager::start().await;
    let long = "x".repeat(129);
    for name in ["-web", "a%20b", "a%2Fb", "%C3%A4", "%FF", long.as_str()] {
        let body = json!({ "docker_image": "nginx" });
        let (status, answer) = manager.send("POST", &format!("/apps/{name}"), body).await;
        assert_eq!(status, 400, "{name}");
        assert!(answer["app_name"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_a_replacement_all() {
    let manager = Manager::start().await;
    let body = json!({ "docker_image": "nginx:1", "env_vars": { "A": "b" }, "running": false });
    let created = manager.send("POST", "/apps/web", body).await.1;

    let (status, app) =
        manager.send("PUT", "/apps/web/update", json!({ "docker_image": "nginx:2" })).await;
    assert_eq!(status, 202);
    assert_eq!((&app["app_id"], &app["docker_image"]), (&json!(2), &json!("nginx:2")));
    assert_eq!((&app["env_vars"], &app["running"]), (&json!({ "A": "b" }), &json!(false)));
    assert_eq!(app["uid"], created["uid"]);
    assert!(app["revision"].as_u64() > created["revision"].as_u64());

    let (status, app) =
        manager.send("PATCH", "/apps/web/update", json!({ "privileged": true })).await;
    assert_eq!((status, &app["app_id"], &app["privileged"]), (202, &json!(3), &json!(true)));

    let (status, app) =
        manager.send("POST", "/apps/web/update", json!({ "docker_image": "nginx:3" })).await;
    assert_eq!((status, &app["app_id"]), (202, &json!(4)));
    assert_eq!((&app["env_vars"], &app["running"]), (&json!([]), &json!(true)));
    assert_eq!(app["privileged"], json!(false));
    assert_eq!(manager.get("/apps/web").await, (200, app));
}

#[tokio::test]
async fn an_app_may_be_sent_back_as_it_was_read() {
    let manager = Manager::start().await;
    let mut app = manager.create_app("web").await;
    app["_id"] = json!({ "$oid": "x" });
    for method in ["PUT", "POST"] {
        assert_eq!(manager.send(method, "/apps/web/update", app.clone()).await.0, 202);
    }
}

#[tokio::test]
async fn start_stop_and_restart_make_the_id_one_higher() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    for (verb, id, running) in [("stop", 2, false), ("start", 3, true), ("restart", 4, true)] {
        let (status, app) = manager.send("POST", &format!("/apps/web/{verb}"), NONE).await;
        assert_eq!((status, &app["app_id"]), (202, &json!(id)), "{verb}");
        assert_eq!(app["running"], json!(running), "{verb}");
    }
}

#[tokio::test]
async fn a_deleted_app_is_gone_and_its_name_free() {
    let manager = Manager::start().await;
    let first = manager.create_app("web").await;
    assert_eq!(manager.send("DELETE", "/apps/web", NONE).await, (200, json!({})));
    assert_eq!(manager.get("/apps/web").await, (403, json!({ "app_exists": false })));
    let second = manager.create_app("web").await;
    assert_eq!(second["app_id"], json!(1));
    assert_ne!(second["uid"], first["uid"]);
    // The id starts again at 1; the revision tells which is newer.
    assert!(second["revision"].as_u64() > first["revision"].as_u64(), "inv 3");
}
