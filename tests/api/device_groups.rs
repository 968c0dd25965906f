//! Every route of device groups, its answer and each refusal.

use crate::harness::Manager;
use serde_json::{Value, json};

const NONE: Value = Value::Null;

#[tokio::test]
async fn a_group_starts_at_one_and_lists_default_to_empty() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    for (name, body, apps) in [
        ("a", NONE, json!([])),
        ("b", json!({}), json!([])),
        ("c", json!({ "apps": ["web"], "cron_jobs": [] }), json!(["web"])),
    ] {
        let path = format!("/device_groups/{name}");
        let (status, group) = manager.send("POST", &path, body).await;
        assert_eq!(status, 200, "{group}");
        assert_eq!((&group["device_group"], &group["apps"]), (&json!(name), &apps));
        assert_eq!((&group["device_group_id"], &group["prune_id"]), (&json!(1), &json!(1)));
        assert_eq!(group["cron_jobs"], json!([]));
        assert_eq!(manager.get(&path).await, (200, group));
    }
    let names = json!({ "device_groups": ["a", "b", "c"] });
    assert_eq!(manager.get("/device_groups").await, (200, names));
}

#[tokio::test]
async fn refusals() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let unknown = || json!({ "device_group_exists": false });
    let no_app = || json!({ "app_exists": false });
    let no_job = || json!({ "cron_job_exists": false });
    let no_apps_list = || json!({ "apps_is_list": false });
    let no_jobs_list = || json!({ "cron_jobs_is_list": false });
    let mut cases = vec![
        ("POST", "/device_groups/eu", NONE, 403, json!({ "device_group_exists": true })),
        (
            "POST",
            "/device_groups/eu",
            json!({ "apps": 1 }),
            403,
            json!({ "device_group_exists": true }),
        ),
        ("GET", "/device_groups/none", NONE, 403, unknown()),
        ("GET", "/device_groups/none/info", NONE, 403, unknown()),
        ("GET", "/device_groups/%FF/info", NONE, 403, unknown()),
        ("DELETE", "/device_groups/none", NONE, 403, unknown()),
        ("PUT", "/device_groups/none/update", NONE, 403, unknown()),
        ("PATCH", "/device_groups/none/update", json!({ "apps": 1 }), 403, unknown()),
        // the original's word for an unknown group here
        ("POST", "/device_groups/none/update", NONE, 403, no_app()),
        ("POST", "/device_groups/none/prune", NONE, 403, no_app()),
        ("PUT", "/device_groups/eu/update", NONE, 400, json!({ "missing_parameters": true })),
        (
            "PATCH",
            "/device_groups/eu/update",
            json!({}),
            400,
            json!({ "missing_parameters": true }),
        ),
    ];
    for (method, path) in [
        ("POST", "/device_groups/new"),
        ("POST", "/device_groups/eu/update"),
        ("PUT", "/device_groups/eu/update"),
        ("PATCH", "/device_groups/eu/update"),
    ] {
        cases.extend([
            (method, path, json!({ "apps": "web" }), 400, no_apps_list()),
            (method, path, json!({ "apps": null }), 400, no_apps_list()),
            (method, path, json!({ "cron_jobs": {} }), 400, no_jobs_list()),
            (method, path, json!({ "apps": ["web", "none"] }), 403, no_app()),
            (method, path, json!({ "apps": ["none"], "cron_jobs": 1 }), 400, no_jobs_list()),
            (method, path, json!({ "cron_jobs": ["none"] }), 403, no_job()),
        ]);
    }
    for (method, path, body, status, answer) in cases {
        let got = manager.send(method, path, body.clone()).await;
        assert_eq!(got, (status, answer), "{method} {path} {body}");
    }
    for (body, field) in [
        (json!({ "apps": [1] }), "apps"),
        (json!({ "colour": 1 }), "colour"),
        (json!({ "device_group": "other" }), "device_group"),
    ] {
        let (status, answer) = manager.send("PUT", "/device_groups/eu/update", body).await;
        assert!(status == 400 && answer[field].is_string(), "{answer}");
    }
    let (status, answer) = manager.send("POST", "/device_groups/a%20b", NONE).await;
    assert!(status == 400 && answer["device_group"].is_string(), "{answer}");
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_a_replacement_all() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_app("db").await;
    manager.create_group("eu", &["web"]).await;
    let cases = [
        ("PUT", json!({ "apps": ["db", "web"] }), json!(["db", "web"])),
        ("PATCH", json!({ "cron_jobs": [] }), json!(["db", "web"])),
        ("POST", json!({ "apps": ["web"] }), json!(["web"])),
        ("POST", NONE, json!([])),
    ];
    for (index, (method, body, apps)) in cases.into_iter().enumerate() {
        let (status, group) = manager.send(method, "/device_groups/eu/update", body).await;
        assert_eq!(status, 202, "{group}");
        assert_eq!((&group["device_group_id"], &group["apps"]), (&json!(index + 2), &apps));
    }
}

#[tokio::test]
async fn pruning_makes_the_prune_id_one_higher_and_nothing_else() {
    let manager = Manager::start().await;
    manager.create_group("eu", &[]).await;
    manager.create_group("us", &[]).await;
    let (status, group) = manager.send("POST", "/device_groups/eu/prune", NONE).await;
    assert_eq!((status, &group["prune_id"]), (202, &json!(2)));
    assert_eq!(group["device_group_id"], json!(1));
    let all = json!({ "prune_ids": { "eu": 3, "us": 2 } });
    assert_eq!(manager.send("POST", "/prune", NONE).await, (202, all));
    assert_eq!(manager.info("us").await["prune_id"], json!(2));
}

#[tokio::test]
async fn a_deleted_group_is_gone_and_its_name_free() {
    let manager = Manager::start().await;
    let first = manager.create_group("eu", &[]).await;
    assert_eq!(manager.info("eu").await["device_group_id"], json!(1));
    assert_eq!(manager.send("DELETE", "/device_groups/eu", NONE).await, (200, json!({})));
    for path in ["/device_groups/eu", "/device_groups/eu/info"] {
        assert_eq!(manager.get(path).await, (403, json!({ "device_group_exists": false })));
    }
    let second = manager.create_group("eu", &[]).await;
    assert!(second["revision"].as_u64() > first["revision"].as_u64());
    assert_eq!(manager.info("eu").await["revision"], second["revision"]);
}

#[tokio::test]
async fn a_group_with_a_deleted_member_can_be_read_edited_and_sent_back() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_app("gone").await;
    manager.create_group("eu", &["web", "gone"]).await;
    assert_eq!(manager.send("DELETE", "/apps/gone", NONE).await.0, 200);
    let (_, group) = manager.get("/device_groups/eu").await;
    let (status, group) = manager.send("PUT", "/device_groups/eu/update", group).await;
    assert_eq!((status, &group["apps"]), (202, &json!(["web", "gone"])));
    let fewer = json!({ "apps": ["gone"] });
    assert_eq!(manager.send("PATCH", "/device_groups/eu/update", fewer).await.0, 202);
    // Taken out, it is unknown like any other.
    assert_eq!(
        manager.send("PATCH", "/device_groups/eu/update", json!({ "apps": [] })).await.0,
        202
    );
    let again = json!({ "apps": ["gone"] });
    let answer = manager.send("PATCH", "/device_groups/eu/update", again).await;
    assert_eq!(answer, (403, json!({ "app_exists": false })));
}

#[tokio::test]
async fn read_only_keys_alone_are_no_change() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let nothing = || (400, json!({ "missing_parameters": true }));
    for body in [json!({ "app_id": 99 }), json!({ "app_name": "web", "uid": "x", "revision": 1 })] {
        assert_eq!(manager.send("PUT", "/apps/web/update", body).await, nothing());
    }
    let body = json!({ "device_group": "eu", "prune_id": 7 });
    assert_eq!(manager.send("PUT", "/device_groups/eu/update", body).await, nothing());
    assert_eq!(manager.get("/apps/web").await.1["app_id"], 1);
}

#[tokio::test]
async fn cron_jobs_are_members_like_apps() {
    let manager = Manager::start().await;
    for name in ["backup", "clean", "gone"] {
        manager.create_job(name).await;
    }
    manager.create_app("web").await;
    let body = json!({ "apps": ["web"], "cron_jobs": ["clean", "gone", "clean", "backup"] });
    let (status, group) = manager.send("POST", "/device_groups/eu", body).await;
    assert_eq!(status, 200, "{group}");
    assert_eq!(group["cron_jobs"], json!(["clean", "gone", "backup"]), "each once, in their order");
    // An app is no cron job, nor the other way round.
    for (body, flag) in [
        (json!({ "cron_jobs": ["web"] }), "cron_job_exists"),
        (json!({ "apps": ["backup"] }), "app_exists"),
        (json!({ "apps": ["web"], "cron_jobs": ["backup", "web"] }), "cron_job_exists"),
    ] {
        for method in ["POST", "PUT", "PATCH"] {
            let got = manager.send(method, "/device_groups/eu/update", body.clone()).await;
            assert_eq!(got, (403, json!({ flag: false })), "{method} {body}");
        }
    }
    // Deleted, it stays in the list, may be sent back, and once out is unknown.
    assert_eq!(manager.send("DELETE", "/cron_jobs/gone", NONE).await.0, 200);
    let (_, group) = manager.get("/device_groups/eu").await;
    assert_eq!(group["cron_jobs"], json!(["clean", "gone", "backup"]));
    let (status, group) = manager.send("PUT", "/device_groups/eu/update", group).await;
    assert_eq!((status, &group["device_group_id"]), (202, &json!(2)));
    let fewer = json!({ "cron_jobs": ["backup"] });
    let (status, group) = manager.send("PATCH", "/device_groups/eu/update", fewer).await;
    assert_eq!((status, &group["apps"]), (202, &json!(["web"])));
    let again = json!({ "cron_jobs": ["backup", "gone"] });
    let got = manager.send("PATCH", "/device_groups/eu/update", again).await;
    assert_eq!(got, (403, json!({ "cron_job_exists": false })));
    // Not given to a replacement, the list becomes empty.
    let (status, group) =
        manager.send("POST", "/device_groups/eu/update", json!({ "apps": ["web"] })).await;
    assert_eq!((status, &group["cron_jobs"]), (202, &json!([])));
}
