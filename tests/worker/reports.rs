//! What a device tells of itself, and what becomes of it when nobody listens.

use crate::apps::{app, site};
use crate::world::World;
use nebula::bus::{Bus, BusError, Packed};
use nebula::modes::worker::reports::{Outbox, send_all};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A word that must never be told.
const SECRET: &str = "hunter2-of-the-shop";

fn web(id: u64, tag: &str, more: &Value) -> Value {
    let mut web = app("web", id, &json!({"containers_per": {"server": 2}, "revision": 1000 + id}));
    web["docker_image"] = site(tag).into();
    for (key, value) in more.as_object().expect("an object") {
        web[key] = value.clone();
    }
    web
}

/// What a report says of the app `web`.
fn of_web(report: &Value) -> &Value {
    report["apps"].as_array().and_then(|apps| apps.first()).unwrap_or(&Value::Null)
}

fn is(report: &Value, id: u64, state: &str) -> bool {
    of_web(report)["app_id"] == id && of_web(report)["state"] == state
}

#[tokio::test]
async fn a_report_has_the_contracts_keys_and_what_people_ask() {
    let mut world = World::new().await;
    let worker = world.worker();
    world.manager.declare(&[web(3, "1", &json!({"env_vars": {"TOKEN": SECRET}}))]);
    let report = world.manager.is_told("web has converged", |it| is(it, 3, "converged")).await;
    assert_eq!((&report["hostname"], &report["device_group"]), (&json!("till-7"), &json!("tills")));
    let created = report["report_creation_time"].as_u64().expect("whole seconds");
    assert!(created > 1_700_000_000);
    assert!(report["updated"].is_boolean());
    for (key, parts) in [
        ("memory_usage", &["total", "used", "free", "available"][..]),
        ("root_disk_usage", &["total", "used", "free"]),
        ("cpu_usage", &["cores", "used_percent"]),
    ] {
        for part in parts {
            assert!(report[key][part].is_number(), "{key}.{part}: {}", report[key]);
        }
    }
    assert!(report["memory_usage"]["total"].as_u64() > Some(100), "in MB");
    let config = &report["current_device_group_config"];
    assert_eq!(config["apps_list"], json!(["web"]));
    assert_eq!(config["apps"][0]["env_vars"], json!({"TOKEN": "***"}));
    let stats = report["apps_containers"].as_array().expect("a list");
    let mut names: Vec<&str> = stats.iter().filter_map(|it| it["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["/web-1", "/web-2"]);
    assert!(stats[0]["cpu_stats"]["cpu_usage"]["total_usage"].is_number());
    assert!(stats[0]["memory_stats"]["usage"].is_number());
    assert_eq!(report["cron_jobs_containers"], json!([]));
    let of_web = of_web(&report);
    assert_eq!((&of_web["replicas_up"], &of_web["replicas_wanted"]), (&json!(2), &json!(2)));
    assert_eq!(of_web["running_ids"], json!([3]));
    let digest = of_web["image_digest"].as_str().expect("a digest");
    assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest}");
    assert_eq!(report["state"], "converged");
    assert_eq!(report["worker"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["worker"]["address"], "127.0.0.1");
    assert_eq!(report["docker"]["reachable"], true);
    let version = world.docker.run(&["version", "-f", "{{.Server.Version}}"]).await;
    assert_eq!(report["docker"]["version"], version);

    // What processors did is that of the time since the report before.
    let later = |it: &Value| it["sequence"].as_u64() > report["sequence"].as_u64();
    let next = world.manager.is_told("comes later", later).await;
    assert_eq!(next["boot_id"], report["boot_id"]);
    assert_ne!(next["report_id"], report["report_id"]);
    let before = &next["apps_containers"][0]["precpu_stats"]["cpu_usage"]["total_usage"];
    assert!(before.as_u64() > Some(0), "{before}");
    worker.stop().await;
}

#[tokio::test]
async fn inv_30_no_report_holds_the_value_of_a_variable() {
    let mut world = World::new().await;
    let worker = world.worker();
    let secret = json!({"env_vars": {"TOKEN": SECRET, "EXIT_AFTER_MS": "100", "EXIT_CODE": "3"}});
    world.manager.declare(&[web(1, "1", &secret)]);
    world.manager.is_told("web crashes", |it| is(it, 1, "failed")).await;
    // Docker repeats what it refuses.
    let refused =
        json!({"env_vars": {"TOKEN": SECRET}, "command": [SECRET], "entrypoint": [SECRET]});
    world.manager.declare(&[web(2, "1", &refused)]);
    let report = world.manager.is_told("web cannot start", |it| is(it, 2, "failed")).await;
    assert!(of_web(&report)["reason"].as_str().is_some_and(|why| why.contains("***")), "{report}");
    for mut report in world.manager.reports() {
        // Declared in clear, as a command: whoever may read the app sees it there.
        report["current_device_group_config"]["apps"][0]["command"].take();
        report["current_device_group_config"]["apps"][0]["entrypoint"].take();
        assert!(!report.to_string().contains(SECRET), "{report:#}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_result_of_a_change_is_told_soon_and_with_its_reason() {
    let mut world = World::new().await;
    // Not by the next regular report.
    world.extra.insert("NEBULA_MANAGER_CHECK_IN_TIME".to_owned(), "600".to_owned());
    let worker = world.worker();
    world.manager.declare(&[web(1, "watched1", &json!({}))]);
    world.manager.is_told("it runs", |it| is(it, 1, "converged")).await;
    world.manager.declare(&[web(2, "watched2", &json!({}))]);
    let report = world.manager.is_told("it was updated", |it| is(it, 2, "converged")).await;
    assert_eq!(of_web(&report)["running_ids"], json!([2]));
    assert_eq!(report["updated"], true);
    assert_eq!(report["revision"], 1002);
    world.manager.declare(&[web(3, "none", &json!({}))]);
    let report = world.manager.is_told("the tag is bad", |it| is(it, 3, "failed")).await;
    let reason = of_web(&report)["reason"].as_str().expect("a reason");
    assert!(reason.contains("pull of") && reason.contains("site:none"), "{reason}");
    assert_eq!(of_web(&report)["running_ids"], json!([2]), "the old version serves");
    world.manager.declare(&[web(4, "unhealthy", &json!({}))]);
    let report = world.manager.is_told("it went back", |it| is(it, 4, "rolled_back")).await;
    assert_eq!(of_web(&report)["running_ids"], json!([2]));
    assert_eq!(report["state"], "rolled_back");
    worker.stop().await;
}

#[tokio::test]
async fn reports_on_update_only_are_few() {
    let mut world = World::new().await;
    world.extra.insert("REPORT_ON_UPDATE_ONLY".to_owned(), "true".to_owned());
    let worker = world.worker();
    world.manager.declare(&[web(1, "1", &json!({}))]);
    world.manager.is_told("it runs", |it| is(it, 1, "converged")).await;
    let so_far = world.manager.reports().len();
    world.manager.asked_again(4).await;
    assert_eq!(world.manager.reports().len(), so_far, "nothing changed");
    world.manager.declare(&[web(2, "2", &json!({}))]);
    let report = world.manager.is_told("it was updated", |it| is(it, 2, "converged")).await;
    assert_eq!(report["updated"], true);
    worker.stop().await;
}

#[tokio::test]
async fn last_runs_of_a_cron_job_are_told() {
    let mut world = World::new().await;
    let worker = world.worker();
    let job = json!({
        "cron_job_name": "tidy", "cron_job_id": 5, "uid": "5f1e2d3c4b5a69788796a5b5",
        "schedule": "* * * * *", "docker_image": site("job"), "env_vars": {},
        "running": true, "networks": ["none"], "volumes": [], "devices": [], "privileged": false,
    });
    world.manager.declare_cron_jobs(&[job]);
    let ran = |report: &Value| {
        report["cron_jobs"][0]["last_runs"].as_array().is_some_and(|runs| !runs.is_empty())
    };
    // It is due within a minute.
    let report =
        match tokio::time::timeout(Duration::from_secs(30), world.manager.is_told("it ran", ran))
            .await
        {
            Ok(report) => report,
            Err(_) => world.manager.is_told("it ran", ran).await,
        };
    let job = &report["cron_jobs"][0];
    assert_eq!((&job["cron_job_name"], &job["cron_job_id"]), (&json!("tidy"), &json!(5)));
    let run = &job["last_runs"][0];
    assert_eq!((&run["outcome"], &run["exit_code"]), (&json!("ended"), &json!(1)), "{job}");
    assert!(run["due"].as_u64().is_some_and(|due| due % 60 == 0));
    worker.stop().await;
}

/// A way whose answers a test sets, in order; after them it takes everything.
#[derive(Debug, Default)]
struct Way {
    answers: Mutex<Vec<BusError>>,
    /// What was sent, arrived or not.
    tried: Mutex<Vec<Vec<Packed>>>,
    arrived: Mutex<Vec<Packed>>,
    /// The content that is never taken.
    refused: Option<Vec<u8>>,
}

#[async_trait::async_trait]
impl Bus for Way {
    fn batch(&self) -> usize {
        10
    }

    async fn send(&self, reports: &[Packed]) -> Result<(), BusError> {
        self.tried.lock().expect("no panic").push(reports.to_vec());
        if let Some(answer) = self.answers.lock().expect("no panic").pop() {
            return Err(answer);
        }
        if reports.iter().any(|report| Some(&*report.json) == self.refused.as_deref()) {
            return Err(BusError::Never { reason: "odd".to_owned() });
        }
        self.arrived.lock().expect("no panic").extend_from_slice(reports);
        Ok(())
    }

    fn address(&self) -> String {
        "here".to_owned()
    }
}

fn packed(json: String) -> Packed {
    Packed { hostname: "till-7".into(), json: json.into_bytes().into() }
}

fn later() -> BusError {
    BusError::Later { reason: "away".to_owned(), retry_after: None }
}

fn numbers(reports: &[Packed]) -> Vec<u32> {
    reports.iter().map(|it| String::from_utf8_lossy(&it.json).parse().expect("a number")).collect()
}

async fn sent(outbox: Arc<Outbox>, way: Arc<Way>) {
    let shutdown = CancellationToken::new();
    let sending = tokio::spawn(send_all(outbox.clone(), way, Arc::default(), shutdown.clone()));
    let all_is_sent = async {
        while !outbox.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let a_day = Duration::from_secs(24 * 3_600);
    tokio::time::timeout(a_day, all_is_sent).await.expect("all is sent");
    shutdown.cancel();
    sending.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn inv_28_an_outage_keeps_the_newest_reports_in_order_and_counts_the_others() {
    let outbox = Arc::new(Outbox::default());
    let way = Arc::new(Way::default());
    way.answers.lock().expect("no panic").extend((0..8).map(|_| later()));
    for number in 0..300 {
        outbox.push(packed(number.to_string()));
    }
    assert_eq!(outbox.dropped(), 100);
    sent(outbox.clone(), way.clone()).await;
    let arrived = way.arrived.lock().expect("no panic").clone();
    assert_eq!(numbers(&arrived), (100..300).collect::<Vec<_>>());
    assert_eq!(outbox.dropped(), 100, "what arrived was not dropped");
}

#[tokio::test(start_paused = true)]
async fn inv_28_large_reports_are_bounded_by_their_bytes() {
    let outbox = Outbox::default();
    let megabytes = |count: usize| "1".repeat(count << 20);
    outbox.push(packed(megabytes(3)));
    assert_eq!(outbox.dropped(), 0, "the newest is the one that counts");
    outbox.push(packed("7".to_owned()));
    assert_eq!(outbox.dropped(), 1);
    let (_, first) = outbox.first(10).await;
    assert_eq!(numbers(&first), [7]);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_never_taken_does_not_stop_the_others() {
    let outbox = Arc::new(Outbox::default());
    let way = Arc::new(Way { refused: Some(b"13".to_vec()), ..Way::default() });
    for number in 0..25 {
        outbox.push(packed(number.to_string()));
    }
    sent(outbox.clone(), way.clone()).await;
    let arrived = numbers(&way.arrived.lock().expect("no panic"));
    assert_eq!(arrived, (0..25).filter(|number| *number != 13).collect::<Vec<_>>());
    assert_eq!(outbox.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_patience_is_left_alone_for_so_long() {
    let outbox = Arc::new(Outbox::default());
    let way = Arc::new(Way::default());
    let retry_after = Some(Duration::from_secs(90));
    way.answers
        .lock()
        .expect("no panic")
        .push(BusError::Later { reason: "busy".to_owned(), retry_after });
    outbox.push(packed("1".to_owned()));
    let begun = tokio::time::Instant::now();
    sent(outbox, way).await;
    assert!(begun.elapsed() >= Duration::from_secs(90), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn where_no_reports_are_taken_is_asked_again_once_an_hour() {
    let outbox = Arc::new(Outbox::default());
    let way = Arc::new(Way::default());
    let answer = || BusError::NoSuchPlace { reason: "404".to_owned() };
    way.answers.lock().expect("no panic").extend([answer(), answer()]);
    let shutdown = CancellationToken::new();
    let sending =
        tokio::spawn(send_all(outbox.clone(), way.clone(), Arc::default(), shutdown.clone()));
    let begun = tokio::time::Instant::now();
    let mut number = 0;
    while way.arrived.lock().expect("no panic").is_empty() {
        number += 1;
        outbox.push(packed(number.to_string()));
        tokio::time::advance(Duration::from_secs(30)).await;
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(6_000), "{:?}", begun.elapsed());
    assert_eq!(way.tried.lock().expect("no panic").len(), 3);
    shutdown.cancel();
    sending.await.expect("no panic");
}
