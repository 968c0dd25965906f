//! Many at once.

use crate::harness::Manager;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

const NONE: Value = Value::Null;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_of_many_creations_exactly_one_wins() {
    let manager = Arc::new(Manager::start().await);
    for (path, flag) in [("/apps/web", "app_exists"), ("/device_groups/eu", "device_group_exists")]
    {
        let mut tasks = JoinSet::new();
        for _ in 0..32 {
            let manager = Arc::clone(&manager);
            tasks.spawn(async move {
                let body =
                    if flag == "app_exists" { json!({ "docker_image": "nginx" }) } else { NONE };
                manager.send("POST", path, body).await
            });
        }
        let answers = tasks.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(code, _)| *code == 200);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|(code, body)| (*code, body) == (403, &json!({ flag: true }))));
        assert_eq!(manager.get(path).await.1, won[0].1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_no_update_is_lost() {
    let manager = Arc::new(Manager::start().await);
    manager.create_app("web").await;
    manager.create_group("eu", &[]).await;
    let mut tasks = JoinSet::new();
    for index in 0..24 {
        let manager = Arc::clone(&manager);
        tasks.spawn(async move {
            // Each changes another field: all of them must be there in the end.
            let body = match index % 3 {
                0 => json!({ "privileged": true }),
                1 => json!({ "rolling_restart": true }),
                _ => json!({ "env_vars": { "A": "b" } }),
            };
            let (status, app) = manager.send("PUT", "/apps/web/update", body).await;
            assert_eq!(status, 202, "{app}");
            let (status, _) = manager.send("POST", "/device_groups/eu/prune", NONE).await;
            assert_eq!(status, 202);
            app["app_id"].as_u64().unwrap()
        });
    }
    let ids: BTreeSet<u64> = tasks.join_all().await.into_iter().collect();
    assert_eq!(ids, (2..26).collect(), "each acknowledged change has an id of its own");
    let app = manager.get("/apps/web").await.1;
    assert_eq!((&app["privileged"], &app["rolling_restart"]), (&json!(true), &json!(true)));
    assert_eq!((&app["env_vars"], &app["app_id"]), (&json!({ "A": "b" }), &json!(25)));
    assert_eq!(manager.get("/device_groups/eu").await.1["prune_id"], json!(25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_creations_and_deletions_never_leave_two_or_half_of_one() {
    let manager = Arc::new(Manager::start().await);
    let mut tasks = JoinSet::new();
    for index in 0..8 {
        let manager = Arc::clone(&manager);
        tasks.spawn(async move {
            for _ in 0..10 {
                let (method, body) = if index % 2 == 0 {
                    ("POST", json!({ "docker_image": "nginx" }))
                } else {
                    ("DELETE", NONE)
                };
                let (status, answer) = manager.send(method, "/apps/web", body).await;
                let known = json!({ "app_exists": index % 2 == 0 });
                assert!(status == 200 || (status, &answer) == (403, &known), "{answer}");
            }
        });
    }
    tasks.join_all().await;
    let (status, _) = manager.get("/apps/web").await;
    let names = manager.get("/apps").await.1["apps"].as_array().unwrap().len();
    assert_eq!(names, usize::from(status == 200));
}

/// Users are hashed first, so few of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_of_many_creations_of_the_other_kinds_exactly_one_wins() {
    let manager = Arc::new(Manager::start().await);
    let job = json!({ "docker_image": "job:1", "schedule": "@daily" });
    for (path, flag, body, many) in [
        ("/cron_jobs/job", "cron_job_exists", job, 32),
        ("/user_groups/ops", "user_group_exists", NONE, 32),
        ("/users/ann", "user_exists", json!({ "password": "p", "token": "t" }), 3),
    ] {
        let mut tasks = JoinSet::new();
        for _ in 0..many {
            let (manager, body) = (Arc::clone(&manager), body.clone());
            tasks.spawn(async move { manager.send("POST", path, body).await });
        }
        let answers = tasks.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(code, _)| *code == 200);
        assert_eq!(won.len(), 1, "{path}");
        assert!(lost.iter().all(|(code, body)| (*code, body) == (403, &json!({ flag: true }))));
        assert_eq!(manager.get(path).await.1, won[0].1);
    }
}

/// The commit is done, its answer was never heard: repeated, it is told that there is one.
#[tokio::test]
async fn inv_02_a_creation_that_timed_out_may_be_repeated() {
    let (manager, store) = Manager::moody().await;
    let job = json!({ "docker_image": "job:1", "schedule": "@daily" });
    for (path, flag, body) in [
        ("/apps/web", "app_exists", json!({ "docker_image": "nginx" })),
        ("/cron_jobs/job", "cron_job_exists", job),
        ("/device_groups/eu", "device_group_exists", json!({})),
        ("/user_groups/ops", "user_group_exists", json!({ "admin": true })),
        ("/users/ann", "user_exists", json!({ "password": "p", "token": "t" })),
    ] {
        store.gate.store(true, Ordering::SeqCst);
        let request = manager.request("POST", &format!("/api/v2{path}")).json(&body);
        let impatient = tokio::spawn(request.send());
        store.arrived.notified().await;
        impatient.abort();
        assert!(impatient.await.is_err());
        let again = manager.send("POST", path, body.clone()).await;
        assert_eq!(again, (403, json!({ flag: true })), "{path}");
        store.open.notify_one();
        let (collection, name) = path[1..].split_once('/').unwrap();
        let names = manager.get(&format!("/{collection}")).await.1;
        assert_eq!(names, json!({ collection: [name] }));
        assert_eq!(manager.get(path).await.0, 200);
        assert_eq!(manager.send("POST", path, body).await, (403, json!({ flag: true })));
    }
}

/// Two who change one user group at once: neither's change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_no_update_of_a_cron_job_or_a_user_group_is_lost() {
    let manager = Arc::new(Manager::start().await);
    manager.create_job("job").await;
    assert_eq!(manager.send("POST", "/user_groups/ops", NONE).await.0, 200);
    let mut tasks = JoinSet::new();
    for index in 0..12 {
        let manager = Arc::clone(&manager);
        tasks.spawn(async move {
            let (job, group) = match index % 3 {
                0 => (json!({ "privileged": true }), json!({ "apps": { "a": "ro" } })),
                1 => (json!({ "running": false }), json!({ "pruning_allowed": true })),
                _ => (json!({ "schedule": "@daily" }), json!({ "group_members": ["ann"] })),
            };
            let (status, job) = manager.send("PUT", "/cron_jobs/job/update", job).await;
            assert_eq!(status, 202, "{job}");
            assert_eq!(manager.send("PATCH", "/user_groups/ops/update", group).await.0, 200);
            job["cron_job_id"].as_u64().unwrap()
        });
    }
    let ids: BTreeSet<u64> = tasks.join_all().await.into_iter().collect();
    assert_eq!(ids, (2..14).collect(), "each acknowledged change has an id of its own");
    let job = manager.get("/cron_jobs/job").await.1;
    assert_eq!((&job["privileged"], &job["running"]), (&json!(true), &json!(false)));
    assert_eq!((&job["schedule"], &job["cron_job_id"]), (&json!("@daily"), &json!(13)));
    let group = manager.get("/user_groups/ops").await.1;
    assert_eq!((&group["apps"], &group["pruning_allowed"]), (&json!({ "a": "ro" }), &json!(true)));
    assert_eq!(group["group_members"], json!(["ann"]));
}

/// A writer changes `a`, then `b`, then `a` again: at every moment `a` is as new as `b` or one
/// step ahead. A third changes the group. No reader may see anything else, and no reader may see
/// time go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_an_answer_never_mixes_states() {
    let manager = Arc::new(Manager::start().await);
    manager.create_app("a").await;
    manager.create_app("b").await;
    manager.create_group("eu", &["a", "b"]).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let (manager, done) = (Arc::clone(&manager), Arc::clone(&done));
        readers.spawn(async move {
            let (mut seen, mut last) = (BTreeSet::new(), 0);
            while !done.load(Ordering::SeqCst) {
                let info = manager.info("eu").await;
                let (a, b) = (&info["apps"][0]["app_id"], &info["apps"][1]["app_id"]);
                let (a, b) = (a.as_u64().unwrap(), b.as_u64().unwrap());
                assert!(a == b || a == b + 1, "a is {a}, b is {b}");
                let revision = info["revision"].as_u64().unwrap();
                assert!(revision >= last, "it went back");
                last = revision;
                seen.insert(revision);
            }
            seen.len()
        });
    }
    let (pruning, until) = (Arc::clone(&manager), Arc::clone(&done));
    let pruner = tokio::spawn(async move {
        while !until.load(Ordering::SeqCst) {
            assert_eq!(pruning.send("POST", "/device_groups/eu/prune", NONE).await.0, 202);
        }
    });
    for _ in 0..100 {
        for app in ["a", "b"] {
            let (status, _) = manager.send("POST", &format!("/apps/{app}/restart"), NONE).await;
            assert_eq!(status, 202);
        }
    }
    done.store(true, Ordering::SeqCst);
    pruner.await.unwrap();
    let seen = readers.join_all().await;
    assert!(seen.iter().all(|states| *states > 1), "the readers saw changes: {seen:?}");
}
