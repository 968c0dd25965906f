//! Every route of cron jobs, its answer and each refusal.

use crate::harness::Manager;
use serde_json::{Value, json};

const NONE: Value = Value::Null;

fn minimal() -> Value {
    json!({ "docker_image": "job:1", "schedule": "0 * * * *" })
}

fn minimal_with(key: &str, value: &Value) -> Value {
    let mut body = minimal();
    body[key] = value.clone();
    body
}

#[tokio::test]
async fn a_new_cron_job_has_defaults_for_all_that_is_not_given() {
    let manager = Manager::start().await;
    let (status, mut job) = manager.send("POST", "/cron_jobs/backup", minimal()).await;
    assert_eq!(status, 200, "{job}");
    assert_eq!(manager.get("/cron_jobs/backup").await, (200, job.clone()));
    assert_eq!(manager.get("/cron_jobs").await, (200, json!({ "cron_jobs": ["backup"] })));
    let map = job.as_object_mut().unwrap();
    assert_eq!(map.remove("uid").unwrap().as_str().unwrap().len(), 24);
    assert!(map.remove("revision").unwrap().as_u64().unwrap() > 1_600_000_000_000);
    let expected = json!({
        "cron_job_id": 1, "cron_job_name": "backup", "schedule": "0 * * * *", "env_vars": {},
        "docker_image": "job:1", "running": true, "networks": ["nebula", "bridge"],
        "volumes": [], "devices": [], "privileged": false,
    });
    assert_eq!(job, expected);
}

#[tokio::test]
async fn what_was_given_comes_back_as_it_was_given() {
    let manager = Manager::start().await;
    let given = json!({
        "docker_image": "registry.example:5000/job:2", "schedule": " 0-30/10  22-2 * jan fri-mon ",
        "env_vars": { "A": "b" }, "running": false, "networks": ["nebula"], "privileged": true,
        "volumes": ["/var/run/docker.sock:/var/run/docker.sock:rw"], "devices": ["/dev/snd"],
    });
    let (status, job) = manager.send("POST", "/cron_jobs/speaker_cron", given.clone()).await;
    assert_eq!(status, 200, "{job}");
    for (key, value) in given.as_object().unwrap() {
        assert_eq!(&job[key], value, "{key}");
    }
    // And may be sent back as it was read, by each kind of update.
    let mut job = job;
    job["_id"] = json!({ "$oid": "x" });
    for (index, method) in ["PUT", "PATCH", "POST"].into_iter().enumerate() {
        let path = "/cron_jobs/speaker_cron/update";
        let (status, again) = manager.send(method, path, job.clone()).await;
        assert_eq!((status, &again["cron_job_id"]), (202, &json!(index + 2)), "{method} {again}");
        assert_eq!((&again["schedule"], &again["uid"]), (&given["schedule"], &job["uid"]));
    }
}

/// Method, path, body, status and answer, on a manager that has the cron job `backup`.
#[tokio::test]
async fn refusals() {
    let manager = Manager::start().await;
    let before = manager.create_job("backup").await;
    let exists = || json!({ "cron_job_exists": true });
    let unknown = || json!({ "cron_job_exists": false });
    let missing = |fields: &[&str]| json!({ "missing_parameters": fields });
    let nothing = || json!({ "missing_parameters": true });
    let (one, update, none) = ("/cron_jobs/backup", "/cron_jobs/backup/update", "/cron_jobs/none");
    let cases = [
        // whether it exists comes before what the body holds
        ("POST", one, NONE, 403, exists()),
        ("POST", one, minimal(), 403, exists()),
        ("POST", one, json!({ "schedule": 7, "colour": 1 }), 403, exists()),
        ("GET", none, NONE, 403, unknown()),
        ("DELETE", none, NONE, 403, unknown()),
        ("DELETE", "/cron_jobs/%20", NONE, 403, unknown()),
        ("GET", "/cron_jobs/%FF%00", NONE, 403, unknown()),
        ("POST", "/cron_jobs/none/update", NONE, 403, unknown()),
        ("POST", "/cron_jobs/none/update", json!({ "schedule": "x" }), 403, unknown()),
        ("PUT", "/cron_jobs/none/update", NONE, 403, unknown()),
        ("PATCH", "/cron_jobs/none/update", json!({ "schedule": "x" }), 403, unknown()),
        // what is missing is told before what is there is looked at
        ("POST", "/cron_jobs/new", NONE, 400, missing(&["docker_image", "schedule"])),
        ("POST", "/cron_jobs/new", json!({}), 400, missing(&["docker_image", "schedule"])),
        ("POST", "/cron_jobs/new", json!({ "schedule": "x" }), 400, missing(&["docker_image"])),
        ("POST", "/cron_jobs/new", json!({ "docker_image": "A B" }), 400, missing(&["schedule"])),
        ("POST", update, NONE, 400, nothing()),
        ("POST", update, json!({}), 400, nothing()),
        ("POST", update, json!({ "docker_image": "job:2" }), 400, nothing()),
        ("POST", update, json!({ "schedule": "x", "running": 1 }), 400, nothing()),
        ("PUT", update, NONE, 400, nothing()),
        ("PATCH", update, json!({}), 400, nothing()),
        // read-only keys alone change nothing
        ("PUT", update, json!({ "cron_job_id": 9, "cron_job_name": "backup" }), 400, nothing()),
        ("PATCH", update, json!({ "uid": "x", "revision": 1, "_id": 1 }), 400, nothing()),
    ];
    for (method, path, body, status, answer) in cases {
        let got = manager.send(method, path, body.clone()).await;
        assert_eq!(got, (status, answer), "{method} {path} {body}");
    }
    assert_eq!(manager.get(one).await, (200, before));
    assert_eq!(manager.get("/cron_jobs").await.1, json!({ "cron_jobs": ["backup"] }));
}

/// What could not run on a device is refused with the field's name, on create and all updates.
#[tokio::test]
async fn inv_13_what_could_not_run_is_refused_by_field() {
    let manager = Manager::start().await;
    let before = manager.create_job("backup").await;
    let cases = [
        ("docker_image", json!("Not A Reference")),
        ("docker_image", NONE),
        ("env_vars", json!({ "A": 1 })),
        ("env_vars", json!({ "A=B": "1" })),
        ("running", json!("yes")),
        ("networks", json!(["host", "nebula"])),
        ("networks", json!("nebula")),
        ("volumes", json!(["no-colon"])),
        ("volumes", json!(["/a:/x", "/b:/x"])),
        ("devices", json!(["relative"])),
        ("privileged", json!(1)),
        ("schedule", NONE),
        ("schedule", json!(5)),
        ("schedule", json!(["0 * * * *"])),
        ("schedule", json!("")),
        // keys of apps, of nobody, and a name that contradicts the path
        ("starting_ports", json!([80])),
        ("containers_per", json!({ "server": 1 })),
        ("rolling_restart", json!(true)),
        ("colour", json!("red")),
        ("cron_job_name", json!("other")),
        ("cron_job_name", json!(7)),
    ];
    for (field, value) in cases {
        for (method, path) in [
            ("POST", "/cron_jobs/new"),
            ("POST", "/cron_jobs/backup/update"),
            ("PUT", "/cron_jobs/backup/update"),
            ("PATCH", "/cron_jobs/backup/update"),
        ] {
            let (status, answer) = manager.send(method, path, minimal_with(field, &value)).await;
            assert_eq!(status, 400, "{method} {field}: {value} {answer}");
            assert!(answer[field].is_string(), "{method} {field}: {answer}");
            let schedule_valid = answer.get("schedule_valid");
            let expected = (field == "schedule").then_some(&Value::Bool(false));
            assert_eq!(schedule_valid, expected, "{method} {field}: {answer}");
        }
    }
    // Several at once are all told.
    let bad = json!({ "docker_image": "A B", "schedule": "x", "running": 1, "colour": 2 });
    let (_, answer) = manager.send("POST", "/cron_jobs/new", bad).await;
    let told: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(told, ["colour", "docker_image", "running", "schedule", "schedule_valid"]);
    for name in ["-web", "a%20b", "a%2Fb", "%C3%A4", "%FF", &"x".repeat(129)] {
        let (status, answer) = manager.send("POST", &format!("/cron_jobs/{name}"), minimal()).await;
        assert!(status == 400 && answer["cron_job_name"].is_string(), "{name} {answer}");
    }
    assert_eq!(manager.get("/cron_jobs/backup").await, (200, before));
    assert_eq!(manager.get("/cron_jobs").await.1, json!({ "cron_jobs": ["backup"] }));
}

/// A few of each sort; the whole table is the model's (`tests/reconcile/model_jobs.rs`).
#[tokio::test]
async fn inv_13_schedules_that_never_run_or_cannot_be_read_are_refused() {
    let manager = Manager::start().await;
    manager.create_job("backup").await;
    for (schedule, is_valid) in [
        ("* * * * *", true),
        ("@daily", true),
        ("0 0 29 2 *", true),
        ("0 0 30 2 mon", true),
        ("0 0 30 2 *", false),
        ("60 * * * *", false),
        ("* * * * * *", false),
        ("@reboot", false),
        ("every day", false),
    ] {
        for (method, path) in [
            ("POST", "/cron_jobs/new"),
            ("POST", "/cron_jobs/backup/update"),
            ("PUT", "/cron_jobs/backup/update"),
            ("PATCH", "/cron_jobs/backup/update"),
        ] {
            let body = minimal_with("schedule", &json!(schedule));
            let (status, answer) = manager.send(method, path, body).await;
            if is_valid {
                assert!((200..300).contains(&status), "{method} {schedule} {answer}");
                assert_eq!(answer["schedule"], json!(schedule));
            } else {
                assert_eq!(status, 400, "{method} {schedule} {answer}");
                assert_eq!(answer["schedule_valid"], json!(false));
            }
        }
        manager.send("DELETE", "/cron_jobs/new", NONE).await;
    }
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_a_replacement_all() {
    let manager = Manager::start().await;
    let body = json!({
        "docker_image": "job:1", "schedule": "0 * * * *", "env_vars": { "A": "b" },
        "running": false, "networks": ["nebula"], "volumes": ["/a:/b"], "privileged": true,
    });
    let created = manager.send("POST", "/cron_jobs/backup", body).await.1;
    let update = "/cron_jobs/backup/update";

    let (status, job) = manager.send("PUT", update, json!({ "schedule": "@daily" })).await;
    assert_eq!((status, &job["cron_job_id"], &job["schedule"]), (202, &json!(2), &json!("@daily")));
    for key in ["docker_image", "env_vars", "running", "networks", "volumes", "privileged", "uid"] {
        assert_eq!(job[key], created[key], "{key}");
    }
    assert!(job["revision"].as_u64() > created["revision"].as_u64());

    let (status, job) = manager.send("PATCH", update, json!({ "env_vars": {} })).await;
    assert_eq!((status, &job["cron_job_id"], &job["env_vars"]), (202, &json!(3), &json!({})));
    assert_eq!(job["schedule"], json!("@daily"));

    let (status, job) = manager.send("POST", update, minimal()).await;
    assert_eq!((status, &job["cron_job_id"]), (202, &json!(4)));
    assert_eq!((&job["schedule"], &job["running"]), (&json!("0 * * * *"), &json!(true)));
    assert_eq!(job["networks"], json!(["nebula", "bridge"]));
    assert_eq!((&job["volumes"], &job["privileged"]), (&json!([]), &json!(false)));
    assert!(job["env_vars"].as_object().is_none_or(serde_json::Map::is_empty));
    assert_eq!(manager.get("/cron_jobs/backup").await, (200, job));
}

#[tokio::test]
async fn a_deleted_cron_job_is_gone_and_its_name_free() {
    let manager = Manager::start().await;
    let first = manager.create_job("backup").await;
    assert_eq!(manager.send("DELETE", "/cron_jobs/backup", NONE).await, (200, json!({})));
    let gone = (403, json!({ "cron_job_exists": false }));
    assert_eq!(manager.get("/cron_jobs/backup").await, gone);
    assert_eq!(manager.send("DELETE", "/cron_jobs/backup", NONE).await, gone);
    let second = manager.create_job("backup").await;
    assert_eq!(second["cron_job_id"], json!(1));
    assert_ne!(second["uid"], first["uid"]);
    assert!(second["revision"].as_u64() > first["revision"].as_u64(), "inv 3");
    // Apps and cron jobs share no names.
    manager.create_app("backup").await;
}
