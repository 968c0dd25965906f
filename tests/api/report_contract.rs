//! What every store of reports must do. Each implementation runs it.

use nebula::model::{
    Comparison, Declared, Device, DeviceQuery, DeviceState, MAX_LINES, Report, ReportQuery,
    Revision, Standing, Uid,
};
use nebula::store::reports::{Added, NewReport, ReportStore, Scope, SetAside};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// When most reports of a test come, in seconds since 1970.
/// By any clock it is not yet, so that nobody has been away for long.
const NOW: i64 = 2_100_000_000;

/// A uid of this number; they sort as their numbers do.
pub(crate) fn uid(number: u64) -> Uid {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Uid::from_bytes(bytes)
}

/// A report with these keys beside what each has.
pub(crate) fn report(id: u64, hostname: &str, group: &str, more: Value) -> NewReport {
    let body = json!({
        "hostname": hostname, "device_group": group, "report_creation_time": NOW, "updated": false,
    });
    let (Value::Object(mut body), Value::Object(more)) = (body, more) else { unreachable!() };
    body.extend(more);
    let may_leave = Arc::new(Scope::All);
    // As a manager has them from a request's list, and as a reporter has them from Kafka.
    let report = if id.is_multiple_of(2) {
        Report::read(body).unwrap()
    } else {
        Report::decode(&serde_json::to_vec(&body).unwrap()).unwrap()
    };
    NewReport { id: uid(id), seen: NOW, report, may_leave }
}

/// A report as the original's workers send it.
pub(crate) fn originals() -> Value {
    json!({
        "hostname": "rpi-1", "device_group": "original", "report_creation_time": NOW,
        "updated": true,
        "current_device_group_config": {
            "apps": [{
                "app_id": 1, "app_name": "web", "starting_ports": [{ "80": "80" }, 81],
                "containers_per": { "server": 1 }, "env_vars": { "A": "***" },
                "docker_image": "nginx", "running": true, "networks": ["nebula", "bridge"],
                "volumes": [], "devices": [], "privileged": false, "rolling_restart": false,
            }],
            "apps_list": ["web"], "prune_id": 1, "device_group_id": 2,
        },
        "memory_usage": { "total": 7_976, "used": 2_043, "free": 4_223, "available": 5_669 },
        "root_disk_usage": { "total": 28_000, "used": 9_000, "free": 18_000 },
        "cpu_usage": { "cores": 4, "used_percent": 12.5 },
        "apps_containers": [{
            "read": "2023-11-14T22:13:20.123456789Z", "name": "/web-1", "id": "abc",
            "memory_stats": { "limit": 18_446_744_073_709_551_615_u64, "usage": 9_000_000_000_u64 },
            "cpu_stats": { "cpu_usage": { "percpu_usage": [1, 2, 3], "total_usage": 0 } },
            "networks": null, "blkio_stats": { "io_service_bytes_recursive": [] },
        }],
        "cron_jobs_containers": [],
    })
}

async fn add(store: &dyn ReportStore, reports: Vec<NewReport>) -> Added {
    store.add(reports).await.unwrap()
}

fn all_added(added: u64) -> Added {
    Added { added, ..Added::default() }
}

async fn ids(store: &dyn ReportStore, query: ReportQuery, scope: &Scope) -> Vec<String> {
    let page = store.reports(&query, scope).await.unwrap();
    page.reports.iter().map(|report| report["_id"]["$oid"].as_str().unwrap().to_owned()).collect()
}

fn hex(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|number| uid(number).to_string()).collect()
}

/// Runs on an empty store.
pub(crate) async fn report_contract(store: Arc<dyn ReportStore>) {
    is_empty_at_first(&*store).await;
    keeps_reports_as_they_came(&*store).await;
    keeps_each_report_once(&store).await;
    pages_through_what_is_asked_for(&*store).await;
    knows_the_newest_of_each_device(&*store).await;
    a_report_that_comes_again_does_not_go_back(&*store).await;
    a_clock_that_was_ahead_ends_nothing(&*store).await;
    a_device_is_moved_by_those_who_may(&*store).await;
    a_forgotten_device_is_known_when_it_is_heard_of(&*store).await;
    finds_devices(&*store).await;
    refuses_what_it_cannot_keep_alone(&*store).await;
    keeps_a_device_of_any_size(&*store).await;
    counts_a_group(&*store).await;
    counts_an_app(&*store).await;
    takes_a_thousand_devices_at_once(&*store).await;
    sets_aside_what_is_no_report(&*store).await;
}

async fn is_empty_at_first(store: &dyn ReportStore) {
    let page = store.reports(&ReportQuery::default(), &Scope::All).await.unwrap();
    assert!(page.reports.is_empty() && page.last_id.is_none());
    assert!(store.devices(&DeviceQuery::default(), &Scope::All, NOW).await.unwrap().is_empty());
    assert_eq!(store.device("nobody").await.unwrap(), None);
    assert!(!store.forget_device("nobody").await.unwrap());
    let declared = Declared::Group { name: "nobody".to_owned(), revision: Revision(1) };
    let rollout = store.rollout(&declared, NOW).await.unwrap();
    assert!(rollout.total() == 0 && rollout.devices.is_empty());
    assert_eq!(add(store, Vec::new()).await, Added::default());
    store.set_aside(Vec::new()).await.unwrap();
}

async fn keeps_reports_as_they_came(store: &dyn ReportStore) {
    let odd = json!({
        "a.b": { "$set": 1, "": [], "x.y.z": { "$oid": "no id" } },
        "$where": "1", "größe": "naïve 🦀 \u{7f}", "\u{1}": "\t", "empty": {},
        "numbers": [0, -1, 2_147_483_648_i64, i64::MIN, i64::MAX, 0.5, -1e300],
        "deep": [[[[{ "a": [{ "b": null }] }]]]],
    });
    let Value::Object(original) = originals() else { unreachable!() };
    let original = NewReport {
        report: Report::read(original).unwrap(),
        ..report(2, "rpi-1", "original", json!({}))
    };
    let given = [report(1, "odd $name.", "kept", odd), original];
    assert_eq!(add(store, given.to_vec()).await, all_added(2));
    for (given, id) in given.iter().zip([1, 2]) {
        let query = ReportQuery {
            hostname: Some(given.report.hostname.clone()),
            device_group: Some(given.report.device_group.clone()),
            ..ReportQuery::default()
        };
        let page = store.reports(&query, &Scope::All).await.unwrap();
        assert_eq!(page.last_id, Some(uid(id)));
        let mut kept = page.reports[0].clone();
        assert_eq!(kept.shift_remove("_id").unwrap(), json!({ "$oid": uid(id) }));
        let date = kept.shift_remove("report_insert_date").unwrap();
        assert!(date["$date"].as_i64().unwrap() > 1_700_000_000_000, "{date}");
        let Ok(Value::Object(mut expected)) = serde_json::to_value(&given.report) else {
            unreachable!()
        };
        if id == 2 {
            // Beyond what a document counts to, a number may lose its last digits.
            let limit = "/memory_stats/limit";
            let number = |report: &Map<String, Value>| {
                report["apps_containers"][0].pointer(limit).unwrap().as_f64().unwrap()
            };
            assert_eq!(number(&kept).to_bits(), number(&expected).to_bits());
            for report in [&mut kept, &mut expected] {
                *report["apps_containers"][0].pointer_mut(limit).unwrap() = Value::Null;
            }
        }
        assert_eq!(kept.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert_eq!(Value::Object(kept), Value::Object(expected));
    }
    // The original's reports do not say how the device is.
    let device = store.device("rpi-1").await.unwrap().unwrap();
    assert_eq!((device.state, device.revision), (DeviceState::Unknown, None));
    assert_eq!(device.device_group, "original");
    assert_eq!(device.facts["cpu_usage"], json!({ "cores": 4, "used_percent": 12.5 }));
    assert_eq!(device.away_at, NOW + 120);
}

async fn keeps_each_report_once(store: &Arc<dyn ReportStore>) {
    let reports: Vec<NewReport> =
        (100..150).map(|id| report(id, &format!("once-{}", id % 7), "once", json!({}))).collect();
    // Many bring the same, and each piece of it again with something new.
    let mut bringing = JoinSet::new();
    for _ in 0..8 {
        let (store, reports) = (Arc::clone(store), reports.clone());
        bringing.spawn(async move { store.add(reports).await.unwrap() });
    }
    let brought = bringing.join_all().await;
    assert_eq!(brought.iter().map(|added| added.added).sum::<u64>(), 50);
    assert_eq!(brought.iter().map(|added| added.known).sum::<u64>(), 350);
    let mut again = reports[40..].to_vec();
    again.push(report(150, "once-0", "once", json!({})));
    again.push(report(150, "once-0", "once", json!({})));
    assert_eq!(add(&**store, again).await, Added { added: 1, known: 11, refused: Vec::new() });
    let query = ReportQuery {
        device_group: Some("once".to_owned()),
        page_size: 1_000,
        ..ReportQuery::default()
    };
    assert_eq!(ids(&**store, query, &Scope::All).await, hex(100..=150));
}

async fn pages_through_what_is_asked_for(store: &dyn ReportStore) {
    let reports = (200..230).map(|id| {
        let number = id - 200;
        let group = if number % 2 == 0 { "even" } else { "odd" };
        let mut report = report(id, &format!("paged-{}", number % 3), group, json!({}));
        let time = json!(NOW + i64::try_from(number).unwrap());
        report.report.body["report_creation_time"] = time;
        report.report.body["updated"] = json!(number % 5 == 0);
        NewReport { report: Report::read(report.report.body).unwrap(), ..report }
    });
    // In no order: pages come by id.
    let mut reports: Vec<NewReport> = reports.collect();
    reports.rotate_left(11);
    reports.reverse();
    assert_eq!(add(store, reports).await, all_added(30));
    let groups = Scope::Groups(vec!["even".to_owned(), "odd".to_owned()]);
    let all = || ReportQuery { page_size: 100, ..ReportQuery::default() };
    assert_eq!(ids(store, all(), &groups).await, hex(200..230));
    // Ten by ten, as clients do when they say nothing.
    let mut query = ReportQuery::default();
    let mut seen = Vec::new();
    loop {
        let page = store.reports(&query, &groups).await.unwrap();
        if page.reports.is_empty() {
            assert_eq!(page.last_id, None);
            break;
        }
        assert_eq!(page.reports.len(), 10);
        seen.extend(page.reports.iter().map(|report| report["_id"]["$oid"].clone()));
        query.last_id = page.last_id;
    }
    assert_eq!(seen, hex(200..230));
    let every = |test: fn(u64) -> bool| hex((200..230).filter(|id| test(id - 200)));
    let hostname = Some("paged-1".to_owned());
    assert_eq!(ids(store, ReportQuery { hostname, ..all() }, &groups).await, every(|n| n % 3 == 1));
    let device_group = Some("odd".to_owned());
    let odd = ReportQuery { device_group, ..all() };
    assert_eq!(ids(store, odd.clone(), &groups).await, every(|n| n % 2 == 1));
    let updated = Some(true);
    assert_eq!(ids(store, ReportQuery { updated, ..all() }, &groups).await, every(|n| n % 5 == 0));
    let updated = Some(false);
    let still = ReportQuery { updated, ..odd.clone() };
    assert_eq!(ids(store, still, &groups).await, every(|n| n % 2 == 1 && n % 5 != 0));
    for (comparison, test) in [
        (Comparison::Eq, (|n| n == 7) as fn(u64) -> bool),
        (Comparison::Ne, |n| n != 7),
        (Comparison::Gt, |n| n > 7),
        (Comparison::Gte, |n| n >= 7),
        (Comparison::Lt, |n| n < 7),
        (Comparison::Lte, |n| n <= 7),
    ] {
        let report_creation_time = Some((comparison, NOW + 7));
        let query = ReportQuery { report_creation_time, ..all() };
        assert_eq!(ids(store, query, &groups).await, every(test), "{comparison:?}");
    }
    // Who may not see a group sees none of it, whatever they ask.
    let odd_only = Scope::Groups(vec!["odd".to_owned()]);
    assert_eq!(ids(store, all(), &odd_only).await, every(|n| n % 2 == 1));
    let even = ReportQuery { device_group: Some("even".to_owned()), ..all() };
    assert!(ids(store, even, &odd_only).await.is_empty());
    assert!(ids(store, all(), &Scope::Groups(Vec::new())).await.is_empty());
}

fn life(boot: &str, sequence: u64) -> Value {
    json!({ "boot_id": boot, "sequence": sequence })
}

async fn knows_the_newest_of_each_device(store: &dyn ReportStore) {
    let told = async |id: u64, more: Value, time: i64| {
        let mut more = more;
        more["report_creation_time"] = json!(time);
        assert_eq!(add(store, vec![report(id, "newest", "inventory", more)]).await, all_added(1));
        let device = store.device("newest").await.unwrap().unwrap();
        (device.order, device.report_creation_time)
    };
    let order = |boot: &str, number| Some((boot.to_owned(), number));
    // Of workers that give no numbers, clocks tell.
    assert_eq!(told(300, json!({}), NOW).await, (None, NOW));
    assert_eq!(told(301, json!({}), NOW - 5).await, (None, NOW));
    assert_eq!(told(302, json!({}), NOW + 5).await, (None, NOW + 5));
    // A worker with numbers follows, whatever its clock says; within its life its numbers tell.
    assert_eq!(told(303, life("a", 5), NOW - 99).await, (order("a", 5), NOW - 99));
    assert_eq!(told(304, life("a", 4), NOW + 99).await, (order("a", 5), NOW - 99));
    assert_eq!(told(305, life("a", 5), NOW).await, (order("a", 5), NOW));
    assert_eq!(told(306, life("a", 6), NOW - 9).await, (order("a", 6), NOW - 9));
    // Another life, then the original's worker: the order in which they come.
    assert_eq!(told(307, life("b", 1), NOW - 9).await, (order("b", 1), NOW - 9));
    assert_eq!(told(308, json!({}), NOW - 99).await, (None, NOW - 99));
    // Of one batch too.
    let batch =
        [(309, life("c", 9)), (310, life("c", 10)), (311, life("c", 2)), (312, life("c", 3))];
    let batch = batch.map(|(id, more)| report(id, "newest", "elsewhere", more)).to_vec();
    assert_eq!(add(store, batch).await, all_added(4));
    let device = store.device("newest").await.unwrap().unwrap();
    assert_eq!((device.order, &*device.device_group), (order("c", 10), "elsewhere"));
    // A number that no database counts to is none that ends anything.
    assert_eq!(told(313, life("d", u64::MAX), NOW).await.1, NOW);
    assert_eq!(told(314, life("$boot_id", 1), NOW).await.0, order("$boot_id", 1));
}

async fn a_report_that_comes_again_does_not_go_back(store: &dyn ReportStore) {
    let at = |seen: i64, id: u64, boot: &str| NewReport {
        seen,
        ..report(id, "again", "inventory", life(boot, 1))
    };
    let boot = async || store.device("again").await.unwrap().unwrap().order.unwrap().0;
    let (old, new) = (at(NOW, 320, "old"), at(NOW + 30, 321, "new"));
    assert_eq!(add(store, vec![old.clone()]).await, all_added(1));
    assert_eq!(add(store, vec![new.clone()]).await, all_added(1));
    let known = Added { known: 1, ..Added::default() };
    assert_eq!(add(store, vec![old.clone()]).await, known);
    assert_eq!(boot().await, "new");
    // What was added and did not reach the inventory does so when it comes again.
    assert!(store.forget_device("again").await.unwrap());
    assert_eq!(add(store, vec![new]).await, known);
    assert_eq!(boot().await, "new");
}

async fn a_clock_that_was_ahead_ends_nothing(store: &dyn ReportStore) {
    let told = async |id: u64, created: i64, seen: i64| {
        let more = json!({ "report_creation_time": created, "away_after_seconds": 60 });
        let report = NewReport { seen, ..report(id, "clock", "inventory", more) };
        assert_eq!(add(store, vec![report]).await, all_added(1));
        let device = store.device("clock").await.unwrap().unwrap();
        (device.report_creation_time, device.last_seen, device.away_at)
    };
    let ahead = NOW + 9_000;
    assert_eq!(told(340, ahead, NOW).await, (ahead, NOW, NOW + 60));
    // An older one changes nothing but that the device was there.
    assert_eq!(told(341, ahead - 600, NOW + 5).await, (ahead, NOW + 5, NOW + 65));
    assert_eq!(told(342, ahead - 1, NOW + 4).await, (ahead, NOW + 5, NOW + 65));
    assert_eq!(told(343, ahead - 601, NOW + 6).await, (ahead - 601, NOW + 6, NOW + 66));
    assert_eq!(told(344, NOW, NOW + 7).await, (NOW, NOW + 7, NOW + 67));
    let both = [(345, NOW + 50, NOW + 8), (346, NOW + 40, NOW + 9)].map(|(id, created, seen)| {
        let more = json!({ "report_creation_time": created });
        NewReport { seen, ..report(id, "clock", "inventory", more) }
    });
    assert_eq!(add(store, both.to_vec()).await, all_added(2));
    let device = store.device("clock").await.unwrap().unwrap();
    assert_eq!((device.report_creation_time, device.last_seen), (NOW + 50, NOW + 9));
}

async fn a_device_is_moved_by_those_who_may(store: &dyn ReportStore) {
    let may = |groups: &[&str]| {
        Arc::new(Scope::Groups(groups.iter().map(|&group| group.to_owned()).collect()))
    };
    let told = async |id: u64, group: &str, seen: i64, may_leave: &Arc<Scope>| {
        let report = report(id, "moved", group, json!({ "away_after_seconds": 60 }));
        let report = NewReport { seen, may_leave: Arc::clone(may_leave), ..report };
        assert_eq!(add(store, vec![report]).await, all_added(1));
        let device = store.device("moved").await.unwrap().unwrap();
        (device.device_group, device.last_seen)
    };
    let at = |group: &str, seen: i64| (group.to_owned(), seen);
    let (hers, his) = (may(&["hers"]), may(&["his", "$hers"]));
    assert_eq!(told(350, "hers", NOW, &hers).await, at("hers", NOW));
    assert_eq!(told(351, "his", NOW + 59, &his).await, at("hers", NOW));
    assert_eq!(told(352, "hers", NOW + 1, &hers).await, at("hers", NOW + 1));
    // A device that is away is whoever's comes next; then it is theirs.
    assert_eq!(told(353, "$hers", NOW + 61, &his).await, at("$hers", NOW + 61));
    assert_eq!(told(354, "hers", NOW + 62, &hers).await, at("$hers", NOW + 61));
    assert_eq!(told(355, "his", NOW + 63, &his).await, at("his", NOW + 63));
    assert_eq!(told(356, "hers", NOW + 64, &Arc::new(Scope::All)).await, at("hers", NOW + 64));
    let scope = Scope::Groups(vec!["hers".to_owned(), "his".to_owned(), "$hers".to_owned()]);
    let query = ReportQuery { hostname: Some("moved".to_owned()), ..ReportQuery::default() };
    assert_eq!(ids(store, query, &scope).await, hex(350..=356));
}

async fn a_forgotten_device_is_known_when_it_is_heard_of(store: &dyn ReportStore) {
    let report = |id| report(id, "forgotten", "inventory", json!({}));
    assert_eq!(add(store, vec![report(330)]).await, all_added(1));
    assert!(store.forget_device("forgotten").await.unwrap());
    assert_eq!(store.device("forgotten").await.unwrap(), None);
    assert!(!store.forget_device("forgotten").await.unwrap());
    assert_eq!(add(store, vec![report(331)]).await, all_added(1));
    assert!(store.device("forgotten").await.unwrap().is_some());
}

fn entry(app: &str, id: u64, state: &str, up: &[u64]) -> Value {
    json!({ "app_name": app, "app_id": id, "state": state, "running_ids": up, "image": "a:1" })
}

async fn finds_devices(store: &dyn ReportStore) {
    let says = |id, name: &str, group: &str, state: &str, apps: Value, seen: i64| NewReport {
        seen,
        ..report(id, name, group, json!({ "state": state, "apps": apps, "away_after_seconds": 60 }))
    };
    let web =
        |state, up: &[u64]| json!([entry("db", 1, "converged", &[1]), entry("web", 3, state, up)]);
    let told = vec![
        says(400, "found-é", "found-1", "converged", web("converged", &[3]), NOW),
        says(401, "found-a", "found-1", "updating", web("updating", &[2, 3]), NOW),
        says(402, "found-b", "found-2", "failed", web("failed", &[]), NOW - 30),
        says(403, "found-c", "found-2", "converged", json!([]), NOW - 60),
        says(404, "Found", "found-2", "what", web("held", &[3]), NOW),
    ];
    assert_eq!(add(store, told).await, all_added(5));
    let scope = Scope::Groups(vec!["found-1".to_owned(), "found-2".to_owned()]);
    let names = async |query: &str, scope: &Scope| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let query = DeviceQuery::decode(pairs).unwrap();
        let devices = store.devices(&query, scope, NOW).await.unwrap();
        devices.into_iter().map(|device| device.hostname).collect::<Vec<_>>().join(" ")
    };
    let seen_since = format!("seen_since={}", NOW - 30);
    for (query, found) in [
        ("", "Found found-a found-b found-c found-é"),
        ("page_size=2", "Found found-a"),
        ("page_size=2&after=found-a", "found-b found-c"),
        ("after=found-é", ""),
        ("device_group=found-1", "found-a found-é"),
        ("device_group=else", ""),
        ("state=converged", "found-é"),
        ("state=away", "found-c"),
        ("state=failed", "found-b"),
        ("state=unknown", "Found"),
        (&seen_since, "Found found-a found-b found-é"),
        ("app=web", "Found found-a found-b found-é"),
        ("app=web&version=3", "Found found-a found-é"),
        ("app=web&version=2", "found-a"),
        ("app=web&version=1", ""),
        ("app=web&state=held", "Found"),
        ("app=web&state=converged", "found-é"),
        ("app=db&state=converged", "Found found-a found-b found-é"),
        ("app=db&state=away", ""),
        ("app=web&version=3&state=updating&device_group=found-1", "found-a"),
        ("app=$apps", ""),
    ] {
        assert_eq!(names(query, &scope).await, found, "{query}");
    }
    let second = Scope::Groups(vec!["found-2".to_owned()]);
    assert_eq!(names("", &second).await, "Found found-b found-c");
    assert_eq!(names("device_group=found-1", &second).await, "");
    assert_eq!(names("", &Scope::Groups(Vec::new())).await, "");
    // All of a device comes back.
    let device = store.device("found-a").await.unwrap().unwrap();
    let Value::Object(body) = json!({
        "hostname": "found-a", "device_group": "found-1", "report_creation_time": NOW,
        "updated": false, "state": "updating", "apps": web("updating", &[2, 3]),
        "away_after_seconds": 60,
    }) else {
        unreachable!()
    };
    assert_eq!(device, Device::of(&Report::read(body).unwrap(), NOW));
}

async fn refuses_what_it_cannot_keep_alone(store: &dyn ReportStore) {
    let large = "x".repeat(17 << 20);
    let reports = vec![
        report(500, "refused-1", "refused", json!({})),
        report(501, "refused-2", "refused", json!({ "large": large })),
        report(502, "refused-3", "refused", json!({})),
        report(500, "refused-1", "refused", json!({})),
    ];
    let added = add(store, reports).await;
    assert_eq!((added.added, added.known, added.refused.len()), (2, 1, 1));
    assert!(added.refused[0].0 == 1 && added.refused[0].1.contains("larger"), "{added:?}");
    assert_eq!(store.device("refused-2").await.unwrap(), None);
    assert!(store.device("refused-3").await.unwrap().is_some());
}

async fn keeps_a_device_of_any_size(store: &dyn ReportStore) {
    let apps: Vec<Value> =
        (0..900).map(|number| json!({ "app_name": "x".repeat(5_000), "app_id": number })).collect();
    let large = report(510, "large", "large", json!({ "state": "held", "apps": apps }));
    assert_eq!(add(store, vec![large]).await, all_added(1));
    let device = store.device("large").await.unwrap().unwrap();
    assert_eq!((device.state, device.apps.len()), (DeviceState::Held, 0));
    // What only fills the inventory is left out of it, and the rest is there.
    let runs: Vec<Value> = (0..30).map(|due| json!({ "due": due, "outcome": "ended" })).collect();
    let long = json!({
        "state": "held", "reason": "é".repeat(9_000), "worker": { "version": "x".repeat(20_000) },
        "docker": { "version": "28" },
        "apps": [{ "app_name": "é".repeat(900), "app_id": 1, "reason": "r".repeat(9_000) }],
        "cron_jobs": [{ "cron_job_name": "job", "cron_job_id": 1, "last_runs": runs }],
    });
    assert_eq!(add(store, vec![report(511, "long", "large", long)]).await, all_added(1));
    let device = store.device("long").await.unwrap().unwrap();
    assert_eq!(device.reason.unwrap(), "é".repeat(500));
    assert_eq!(device.facts.keys().collect::<Vec<_>>(), ["docker"]);
    assert_eq!(device.apps[0].app_name, "é".repeat(255));
    assert_eq!(device.apps[0].reason.as_ref().unwrap().len(), 500);
    let due: Vec<u64> = device.cron_jobs[0].last_runs.iter().map(|run| run.due).collect();
    assert_eq!(due, (20..30).collect::<Vec<u64>>());
}

fn states(pairs: &[(&str, u64)]) -> BTreeMap<Standing, u64> {
    pairs.iter().map(|(word, count)| (Standing::parse(word).unwrap(), *count)).collect()
}

async fn counts_a_group(store: &dyn ReportStore) {
    let says = |id, name: &str, state: &str, revision: Option<u64>, seen: i64| {
        let mut more = json!({ "state": state, "away_after_seconds": 60, "reason": "$state" });
        if let Some(revision) = revision {
            more["revision"] = json!(revision);
        }
        NewReport { seen, ..report(id, name, "counted", more) }
    };
    let told = vec![
        says(600, "g-converged", "converged", Some(7), NOW),
        says(601, "g-newer", "converged", Some(8), NOW),
        says(602, "g-updating", "updating", Some(7), NOW),
        says(603, "g-held", "held", Some(7), NOW),
        says(604, "g-rolled", "rolled_back", Some(7), NOW),
        says(605, "g-failed", "failed", Some(7), NOW),
        says(606, "g-older", "failed", Some(6), NOW),
        says(607, "g-says-no-revision", "converged", None, NOW),
        says(608, "g-unknown", "unknown", Some(7), NOW),
        says(609, "g-word", "magnificent", Some(6), NOW),
        says(610, "g-away", "failed", Some(7), NOW - 60),
        says(611, "g-away-and-unknown", "unknown", None, NOW - 61),
    ];
    assert_eq!(add(store, told).await, all_added(12));
    let declared = Declared::Group { name: "counted".to_owned(), revision: Revision(7) };
    let rollout = store.rollout(&declared, NOW).await.unwrap();
    assert_eq!(
        rollout.states,
        states(&[
            ("converged", 2),
            ("updating", 1),
            ("held", 1),
            ("rolled_back", 1),
            ("failed", 1),
            ("outdated", 2),
            ("unknown", 2),
            ("away", 2),
        ])
    );
    let lines: Vec<String> = (rollout.devices.iter())
        .map(|line| {
            assert_eq!(line.device_group, "counted");
            format!("{} {} {}", line.hostname, line.state, line.reason.as_deref().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "g-failed failed $state",
            "g-rolled rolled_back $state",
            "g-held held $state",
            "g-older outdated -",
            "g-says-no-revision outdated -",
            "g-updating updating $state",
            "g-away away -",
            "g-away-and-unknown away -",
            "g-unknown unknown $state",
            "g-word unknown $state",
        ]
    );
    assert_eq!(rollout.devices[6].last_seen, NOW - 60);
}

async fn counts_an_app(store: &dyn ReportStore) {
    let (this, other) = (uid(1).to_string(), uid(2).to_string());
    let says = |id, name: &str, group: &str, state: &str, apps: Value| {
        let more = json!({ "state": state, "away_after_seconds": 60, "apps": apps });
        report(id, name, group, more)
    };
    let web = |id, state: &str, uid: Option<&str>| {
        let mut entry = entry("web", id, state, &[id]);
        entry["reason"] = json!(format!("of {state}"));
        if let Some(uid) = uid {
            entry["uid"] = json!(uid);
        }
        json!([self::entry("db", 3, "converged", &[]), entry])
    };
    let told = vec![
        says(700, "a-converged", "app-1", "failed", web(3, "converged", Some(&this))),
        says(701, "a-without-uid", "app-2", "failed", web(3, "held", None)),
        says(702, "a-failed", "app-2", "failed", web(3, "failed", Some(&this))),
        says(703, "a-other-uid", "app-1", "converged", web(3, "converged", Some(&other))),
        says(704, "a-older", "app-1", "converged", web(2, "converged", Some(&this))),
        says(705, "a-newer", "app-1", "converged", web(4, "converged", Some(&this))),
        says(706, "a-none", "app-1", "converged", json!([])),
        says(707, "a-original", "app-1", "", json!([])),
        says(708, "a-unknown-but-app", "app-1", "", web(3, "updating", Some(&this))),
        says(709, "a-elsewhere", "app-3", "failed", web(3, "failed", Some(&this))),
        NewReport {
            seen: NOW - 100,
            ..says(710, "a-away", "app-1", "failed", web(3, "failed", Some(&this)))
        },
    ];
    assert_eq!(add(store, told).await, all_added(11));
    let declared = |uid| Declared::App {
        name: "web".to_owned(),
        uid,
        app_id: 3,
        device_groups: vec!["app-1".to_owned(), "app-2".to_owned()],
    };
    let rollout = store.rollout(&declared(Some(uid(1))), NOW).await.unwrap();
    assert_eq!(
        rollout.states,
        states(&[
            ("converged", 1),
            ("held", 1),
            ("failed", 1),
            ("outdated", 4),
            ("unknown", 1),
            ("updating", 1),
            ("away", 1),
        ])
    );
    let lines: Vec<String> = (rollout.devices.iter())
        .map(|line| {
            let reason = line.reason.as_deref().unwrap_or("-");
            format!("{} {} {} {reason}", line.hostname, line.device_group, line.state)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "a-failed app-2 failed of failed",
            "a-without-uid app-2 held of held",
            "a-newer app-1 outdated -",
            "a-none app-1 outdated -",
            "a-older app-1 outdated -",
            "a-other-uid app-1 outdated -",
            "a-unknown-but-app app-1 updating of updating",
            "a-away app-1 away -",
            "a-original app-1 unknown -",
        ]
    );
    // Without a uid on this side, the id alone tells.
    let rollout = store.rollout(&declared(None), NOW).await.unwrap();
    assert_eq!(rollout.count(Standing::Says(DeviceState::Converged)), 2);
    let nowhere =
        Declared::App { name: "web".to_owned(), uid: None, app_id: 3, device_groups: Vec::new() };
    assert_eq!(store.rollout(&nowhere, NOW).await.unwrap().total(), 0);
}

async fn takes_a_thousand_devices_at_once(store: &dyn ReportStore) {
    let many = (0..1_000).map(|number| {
        let more = json!({ "state": "failed", "revision": 1, "reason": "r".repeat(3_000) });
        report(10_000 + number, &format!("many-{number:04}"), "many", more)
    });
    assert_eq!(add(store, many.collect()).await, all_added(1_000));
    let declared = Declared::Group { name: "many".to_owned(), revision: Revision(1) };
    let rollout = store.rollout(&declared, NOW).await.unwrap();
    assert_eq!(rollout.states, states(&[("failed", 1_000)]));
    assert_eq!(rollout.devices.len(), MAX_LINES);
    assert_eq!(rollout.devices[99].hostname, "many-0099");
    assert_eq!(rollout.devices[0].reason.as_ref().unwrap().len(), 500);
    let scope = Scope::Groups(vec!["many".to_owned()]);
    let query = DeviceQuery { page_size: 1_000, ..DeviceQuery::default() };
    let devices = store.devices(&query, &scope, NOW).await.unwrap();
    assert_eq!(devices.len(), 1_000);
    // A page ends before it fills anybody's memory; all of it is there.
    let large = (0..40).map(|number| {
        report(20_000 + number, "large", "pages", json!({ "large": "x".repeat(1 << 20) }))
    });
    assert_eq!(add(store, large.collect()).await, all_added(40));
    let scope = Scope::Groups(vec!["pages".to_owned()]);
    let mut query = ReportQuery { page_size: 1_000, ..ReportQuery::default() };
    let mut sizes = Vec::new();
    loop {
        let page = store.reports(&query, &scope).await.unwrap();
        let Some(last) = page.last_id else { break };
        sizes.push(page.reports.len());
        query.last_id = Some(last);
    }
    assert!(sizes.iter().all(|size| *size <= 17), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 40);
}

async fn sets_aside_what_is_no_report(store: &dyn ReportStore) {
    let message = |id| SetAside {
        id: uid(id),
        topic: "nebula-reports".to_owned(),
        partition: 3,
        offset: 1 << 40,
        reason: "is not JSON".to_owned(),
        payload: vec![0xff; 2 << 20],
    };
    store.set_aside(vec![message(1), message(2)]).await.unwrap();
    store.set_aside(vec![message(2), message(3)]).await.unwrap();
    // It is nobody's report.
    let query = ReportQuery { page_size: 1, last_id: Some(uid(0)), ..ReportQuery::default() };
    assert_eq!(ids(store, query, &Scope::All).await, hex([1]));
}
