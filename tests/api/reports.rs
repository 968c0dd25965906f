//! The routes of reports: who may bring and see them, how many, and what becomes of what is none.

use crate::harness::{Manager, Moody, config, embedded_reports, read, seed_group, seed_user};
use crate::report_contract::originals;
use async_trait::async_trait;
use flate2::Compression;
use flate2::write::GzEncoder;
use nebula::model::{Declared, Device, DeviceQuery, ReportQuery, Rollout};
use nebula::modes::manager::{Dependencies, Limits};
use nebula::store::reports::{Added, NewReport, ReportPage, ReportStore, Scope, SetAside};
use nebula::store::{SqliteStore, StoreError};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use tempfile::TempDir;

/// A report of a worker, whose number is its id.
pub(crate) fn report(number: u64, hostname: &str, group: &str) -> Value {
    json!({
        "hostname": hostname, "device_group": group, "report_creation_time": 1_700_000_000,
        "updated": false, "report_id": format!("{number:024x}"),
    })
}

async fn bring(manager: &Manager, reports: Value) -> (u16, Value) {
    manager.send("POST", "/reports", json!({ "reports": reports })).await
}

fn all(accepted: u64) -> (u16, Value) {
    (202, json!({ "accepted": accepted, "refused": [] }))
}

#[tokio::test]
async fn a_page_without_reports_has_the_form_of_the_last_one() {
    let manager = Manager::start().await;
    let empty = (200, json!({ "data": null, "last_id": null }));
    for query in [
        "",
        "?",
        "?page_size=1",
        "?page_size=1000",
        "?hostname=speaker-1&device_group=eu",
        "?hostname=&device_group=",
        "?hostname=%C3%A4%20b%26c",
        "?report_creation_time=1700000000",
        "?report_creation_time=-5&report_creation_time_filter=gte",
        "?report_creation_time_filter=ne",
        "?updated=True",
        "?updated=False",
        "?updated=true",
        "?last_id=0123456789abcdefABCDEF01",
    ] {
        assert_eq!(manager.get(&format!("/reports{query}")).await, empty, "{query}");
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_by_its_key() {
    let manager = Manager::start().await;
    let long = format!("?{}=1", "k".repeat(5_000));
    for (query, key) in [
        ("?page_size=0", "page_size"),
        ("?page_size=1001", "page_size"),
        ("?page_size=-1", "page_size"),
        ("?page_size=ten", "page_size"),
        ("?page_size=", "page_size"),
        ("?page_size=99999999999999999999", "page_size"),
        ("?page_size=5&page_size=6", "page_size"),
        ("?report_creation_time=now", "report_creation_time"),
        ("?report_creation_time=1.5", "report_creation_time"),
        ("?report_creation_time=1&report_creation_time_filter=like", "report_creation_time_filter"),
        ("?updated=1", "updated"),
        ("?updated=TRUE", "updated"),
        ("?last_id=xyz", "last_id"),
        ("?last_id=0123456789abcdef0123456", "last_id"),
        ("?colour=red", "colour"),
        ("?hostname=a&hostname=b", "hostname"),
        (&long, &format!("{}…", "k".repeat(100))),
    ] {
        let (status, answer) = manager.get(&format!("/reports{query}")).await;
        assert!(status == 400 && answer[key].is_string(), "{query} {answer}");
    }
    // Bytes that are no UTF-8 end nothing.
    assert_eq!(manager.get("/reports?hostname=%FF%00").await.0, 200);
}

#[tokio::test]
async fn what_devices_bring_is_kept_once_and_shown_page_by_page() {
    let manager = Manager::start().await;
    let hundred: Vec<Value> =
        (0..100).map(|number| report(number, &format!("rpi-{}", number % 4), "eu")).collect();
    assert_eq!(bring(&manager, json!(hundred)).await, all(100));
    // Its worker did not hear of it.
    assert_eq!(bring(&manager, json!(hundred[..20])).await, all(20));
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let (status, page) = manager.get(&format!("/reports?page_size=7{next}")).await;
        assert_eq!(status, 200);
        let Some(reports) = page["data"].as_array() else {
            assert_eq!(page, json!({ "data": null, "last_id": null }));
            break;
        };
        seen.extend(reports.iter().map(|report| report["_id"]["$oid"].clone()));
        next = format!("&last_id={}", page["last_id"]["$oid"].as_str().unwrap());
    }
    let ids: Vec<String> = (0..100).map(|number: u64| format!("{number:024x}")).collect();
    assert_eq!(seen, ids);
    // Those of the original's workers come back as they came.
    assert_eq!(bring(&manager, json!([originals()])).await, all(1));
    let (_, page) = manager.get("/reports?hostname=rpi-1&device_group=original&updated=True").await;
    let mut kept = page["data"][0].clone();
    let kept = kept.as_object_mut().unwrap();
    assert!(
        kept.shift_remove("_id").is_some() && kept.shift_remove("report_insert_date").is_some()
    );
    assert_eq!(Value::Object(kept.clone()), originals());
    let metrics = manager.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nebula_reports_accepted_total 121\n"), "{metrics}");
}

#[tokio::test]
async fn one_bad_report_keeps_no_good_one_away() {
    let manager = Manager::start().await;
    let mut no_group = report(2, "a", "eu");
    no_group.as_object_mut().unwrap().shift_remove("device_group");
    let odd = json!([report(1, "a", "eu"), no_group, "text", null, report(3, "b", "eu"),
        { "hostname": "s3cret", "device_group": "eu", "report_creation_time": "s3cret" },
        report(4, "..", "eu"), report(5, ".", "eu"), report(6, "a\u{1b}[2J", "eu"),
        report(7, "a\nb", "eu"), report(8, "a", "eu\u{85}")]);
    let (status, answer) = bring(&manager, odd).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(2)));
    let refused = answer["refused"].as_array().unwrap();
    let places: Vec<u64> = refused.iter().map(|one| one["index"].as_u64().unwrap()).collect();
    assert_eq!(places, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    assert_eq!(refused[0]["problem"], "`device_group` is missing");
    assert_eq!(refused[4]["problem"], "`hostname` must not be `.` or `..`");
    assert_eq!(refused[6]["problem"], "`hostname` must not contain control characters");
    assert!(!answer.to_string().contains("s3cret"), "{answer}");
}

#[tokio::test]
async fn body_that_holds_no_reports_is_refused() {
    let manager = Manager::start().await;
    let many: Vec<Value> = (0..101).map(|number| report(number, "a", "eu")).collect();
    for (body, field) in [
        (json!({}), "missing_parameters"),
        (json!({ "reports": {} }), "reports"),
        (json!({ "reports": many }), "reports"),
        (json!({ "reports": [], "colour": 1 }), "colour"),
        (json!([]), "error"),
    ] {
        let (status, answer) = manager.send("POST", "/reports", body.clone()).await;
        assert!(status == 400 && !answer[field].is_null(), "{body} {answer}");
    }
    let raw = async |body: Vec<u8>| {
        let request = manager.request("POST", "/api/v2/reports").body(body);
        read(request.send().await.unwrap()).await.0
    };
    assert_eq!(raw(b"{\"reports\": [".to_vec()).await, 400);
    assert_eq!(raw(vec![0xff; 100]).await, 400);
    assert_eq!(raw(b"[".repeat(1 << 20)).await, 400);
    assert_eq!(raw(vec![b' '; (2 << 20) + 1]).await, 413);
    manager.assert_alive().await;
}

#[tokio::test]
async fn packed_reports_are_taken_and_what_swells_in_memory_is_not() {
    let manager = Manager::start().await;
    let pack = |body: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(body).unwrap();
        packer.finish().unwrap()
    };
    let send = async |body: Vec<u8>, encoding: &str| {
        let request = manager.request("POST", "/api/v2/reports").body(body);
        let request = request.header("content-encoding", encoding);
        read(request.send().await.unwrap()).await
    };
    let body = json!({ "reports": [report(1, "a", "eu"), report(2, "b", "eu")] }).to_string();
    assert_eq!(send(pack(body.as_bytes()), "gzip").await, all(2));
    assert_eq!(send(pack(body.as_bytes()), "GZIP").await, all(2), "known again");
    assert_eq!(send(body.clone().into_bytes(), "identity").await, all(2));
    for (body, encoding, status) in [
        (pack(body.as_bytes()), "br", 400),
        (pack(body.as_bytes()), "identity", 400),
        (body.into_bytes(), "gzip", 400),
        (pack(&vec![b' '; 1 << 20]), "gzip", 413),
        (pack(&pack(&vec![b' '; 64 << 20])), "gzip", 413),
    ] {
        let (answered, words) = send(body, encoding).await;
        assert_eq!(answered, status, "{encoding} {words}");
    }
    let mut cut = pack(&vec![b' '; 1 << 10]);
    cut.truncate(cut.len() - 4);
    assert_eq!(send(cut, "gzip").await.0, 400);
    manager.assert_alive().await;
}

#[tokio::test]
async fn inv_07_reports_are_brought_and_shown_only_where_their_group_may_be_read() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    let grants = json!({ "group_members": ["ann"], "device_groups": { "eu": "ro" } });
    seed_group(&*store, "g", grants).await;
    let bring_as_ann =
        |reports: Value| manager.send_as(&ann, "POST", "/reports", json!({ "reports": reports }));
    assert_eq!(bring_as_ann(json!([report(1, "a", "eu")])).await, all(1));
    let forbidden = (403, json!({ "access_allowed": false }));
    let mixed = json!([report(2, "a", "eu"), report(3, "b", "us")]);
    assert_eq!(bring_as_ann(mixed).await, forbidden);
    assert_eq!(bring(&manager, json!([report(4, "b", "us")])).await, all(1));
    let ids = async |query: &str| {
        let (_, page) =
            manager.send_as(&ann, "GET", &format!("/reports{query}"), Value::Null).await;
        page["data"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((ids("").await, ids("?device_group=us").await, ids("?hostname=b").await), (1, 0, 0));
    let (_, page) = manager.get("/reports").await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn inv_11_a_device_that_never_stops_is_told_when_to_go_on() {
    let manager = Manager::start().await;
    let batch = |from: u64, hostname: &str| {
        json!((from..from + 100).map(|number| report(number, hostname, "eu")).collect::<Vec<_>>())
    };
    assert_eq!(bring(&manager, batch(0, "mad")).await, all(100));
    let body = json!({ "reports": batch(100, "mad") });
    let request = manager.request("POST", "/api/v2/reports").json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 429);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=100).contains(&wait), "{wait}");
    // Nobody else is kept away, and what was refused used up nothing of theirs.
    assert_eq!(bring(&manager, batch(200, "calm")).await, all(100));
    assert_eq!(bring(&manager, json!([report(300, "mad", "eu")])).await, all(1));
}

#[tokio::test]
async fn nobody_takes_a_device_or_its_pace_from_a_group_they_may_not_read() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    let grants = json!({ "group_members": ["ann"], "device_groups": { "eu": "ro" } });
    seed_group(&*store, "g", grants).await;
    let group = async || manager.get("/devices/camera").await.1["device_group"].clone();
    assert_eq!(bring(&manager, json!([report(1, "camera", "us")])).await, all(1));
    let hundred: Vec<Value> = (100..200).map(|number| report(number, "camera", "eu")).collect();
    let body = json!({ "reports": hundred });
    assert_eq!(manager.send_as(&ann, "POST", "/reports", body.clone()).await, all(100));
    assert_eq!(manager.send_as(&ann, "POST", "/reports", body).await.0, 429);
    assert_eq!(group().await, "us");
    let hundred: Vec<Value> = (200..300).map(|number| report(number, "camera", "us")).collect();
    assert_eq!(bring(&manager, json!(hundred)).await, all(100));
    // Who may read all may move all.
    assert_eq!(bring(&manager, json!([report(2, "camera", "asia")])).await, all(1));
    assert_eq!(group().await, "asia");
}

/// A store of reports that is away.
#[derive(Debug)]
struct Away;

impl Away {
    fn failed<T>() -> Result<T, StoreError> {
        let secret = std::io::Error::other("mongodb://nebula:s3cret@db");
        Err(StoreError::unavailable("keep reports", secret))
    }
}

#[async_trait]
impl ReportStore for Away {
    async fn add(&self, _: Vec<NewReport>) -> Result<Added, StoreError> {
        Self::failed()
    }

    async fn set_aside(&self, _: Vec<SetAside>) -> Result<(), StoreError> {
        Self::failed()
    }

    async fn reports(&self, _: &ReportQuery, _: &Scope) -> Result<ReportPage, StoreError> {
        Self::failed()
    }

    async fn devices(&self, _: &DeviceQuery, _: &Scope, _: i64) -> Result<Vec<Device>, StoreError> {
        Self::failed()
    }

    async fn device(&self, _: &str) -> Result<Option<Device>, StoreError> {
        Self::failed()
    }

    async fn forget_device(&self, _: &str) -> Result<bool, StoreError> {
        Self::failed()
    }

    async fn rollout(&self, _: &Declared, _: i64) -> Result<Rollout, StoreError> {
        Self::failed()
    }
}

#[tokio::test]
async fn store_of_reports_that_is_away_is_told_and_devices_go_on() {
    let folder = TempDir::new().unwrap();
    let store = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let dependencies = Dependencies { store, reports: Arc::new(Away), limits: Limits::default() };
    let manager = Manager::with(config(folder.path()), dependencies).await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    for (method, path) in [
        ("GET", "/reports"),
        ("GET", "/devices"),
        ("GET", "/devices/a"),
        ("DELETE", "/devices/a"),
        ("GET", "/device_groups/eu/status"),
        ("GET", "/apps/web/status"),
        ("POST", "/reports"),
    ] {
        let request = manager.request(method, &format!("/api/v2{path}"));
        let body = json!({ "reports": [report(1, "a", "eu")] });
        let request = if method == "POST" { request.json(&body) } else { request };
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("retry-after"), "{method} {path}");
        let (status, answer) = read(response).await;
        assert!(status == 503 && !answer.to_string().contains("s3cret"), "{path} {answer}");
    }
    manager.info("eu").await;
}

/// A fleet whose devices all report at one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_come_at_once_are_all_heard() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let reports = embedded_reports(folder.path());
    let dependencies = Dependencies { store, reports, limits: Limits::default() };
    let manager = Arc::new(Manager::with(config(folder.path()), dependencies).await);
    let mut coming = tokio::task::JoinSet::new();
    for number in 0..200 {
        let manager = Arc::clone(&manager);
        coming.spawn(async move {
            let one = report(number, &format!("device-{number}"), "eu");
            assert_eq!(bring(&manager, json!([one])).await, all(1));
        });
    }
    coming.join_all().await;
    let (_, page) = manager.get("/devices?page_size=1000").await;
    assert_eq!(page["devices"].as_array().unwrap().len(), 200);
}
