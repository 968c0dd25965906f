//! The stores of reports: their contract on the embedded one and in `MongoDB`, how long each keeps
//! them, and what each finds when it begins.

use crate::harness::PATIENCE;
use crate::mongo_servers::{fresh_database_name, shared_url};
use crate::report_contract::{report, report_contract, uid};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, Database, IndexModel};
use nebula::config::Secret;
use nebula::model::{Disk, ReportQuery, Uid};
use nebula::store::MongoSettings;
use nebula::store::reports::{
    Documents, MAX_REPORTS_BYTES, MongoReports, NewReport, REPORTS_FILE, ReportStore, Retention,
    Scope, SetAside, SqliteReports, Unheard,
};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

const HOUR: Retention = Retention { seconds: 3_600, is_firm: true };

fn embedded(folder: &Path) -> SqliteReports {
    SqliteReports::new(folder, HOUR, MAX_REPORTS_BYTES)
}

fn mongo(database: &str, retention: Retention) -> MongoReports {
    let url = Secret::new(shared_url());
    let settings = MongoSettings { url, database: database.to_owned(), max_pool_size: 10 };
    MongoReports::new(settings, retention)
}

async fn database(name: &str) -> Database {
    Client::with_uri_str(shared_url()).await.unwrap().database(name)
}

async fn count(store: &dyn ReportStore) -> usize {
    let query = ReportQuery { page_size: 1_000, ..ReportQuery::default() };
    store.reports(&query, &Scope::All).await.unwrap().reports.len()
}

/// Waits until a store shows so many reports.
async fn until(store: &dyn ReportStore, is_so: impl Fn(usize) -> bool) {
    let mut ticks = interval(Duration::from_millis(20));
    let waited = timeout(PATIENCE, async {
        while !is_so(count(store).await) {
            ticks.tick().await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_reports_keep_the_contract() {
    let folder = TempDir::new().unwrap();
    report_contract(Arc::new(embedded(folder.path()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_in_mongodb_keep_the_contract() {
    report_contract(Arc::new(mongo(&fresh_database_name(), HOUR))).await;
}

#[tokio::test]
async fn inventory_in_mongodb_follows_many_writes_at_once_with_the_last_of_each_device() {
    let store = mongo(&fresh_database_name(), HOUR);
    let said = |id, hostname, sequence| {
        report(id, hostname, "eu", json!({ "boot_id": "b", "sequence": sequence, "apps": [{}, 7] }))
    };
    let mut unheard = Unheard::default();
    for written in [
        vec![said(1, "a", 1), said(2, "b", 1), said(3, "a", 2)],
        vec![said(4, "b", 3), said(5, "b", 2)],
        // Written before, and read again.
        vec![said(1, "a", 1), said(6, "c", 1)],
    ] {
        let (added, heard) = store.keep(Documents::of(written)).await.unwrap();
        assert!(added.refused.is_empty());
        unheard.take_in_all(heard);
    }
    assert_eq!(count(&store).await, 6);
    let known = async |hostname| store.device(hostname).await.unwrap();
    assert!(known("a").await.is_none(), "the inventory follows when it is told to");
    assert_eq!(unheard.len(), 3);
    store.hear(&mut unheard, 2).await.unwrap();
    assert_eq!(unheard.len(), 1, "in parts, those that are done are out");
    assert!(known("c").await.is_none());
    store.hear(&mut unheard, 2).await.unwrap();
    assert!(unheard.is_empty());
    for (hostname, sequence) in [("a", 2), ("b", 3), ("c", 1)] {
        let order = known(hostname).await.unwrap().order;
        assert_eq!(order, Some(("b".to_owned(), sequence)), "{hostname}");
    }
}

#[tokio::test]
async fn embedded_reports_outlive_their_process_and_nobody_else_reads_them() {
    let folder = TempDir::new().unwrap();
    let first = embedded(folder.path());
    first.add(vec![report(1, "a", "eu", json!({}))]).await.unwrap();
    let file = folder.path().join(REPORTS_FILE);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // As it is on disk, with the first one still open: that is what a kill leaves.
    let second = embedded(folder.path());
    assert_eq!(count(&second).await, 1);
    assert!(second.device("a").await.unwrap().is_some());
}

#[tokio::test]
async fn embedded_reports_go_when_their_time_is_up_and_devices_stay() {
    let folder = TempDir::new().unwrap();
    let second = Retention { seconds: 1, is_firm: true };
    let store = SqliteReports::new(folder.path(), second, MAX_REPORTS_BYTES);
    // More than goes at once.
    let many = (0..1_200).map(|id| report(id, "a", "eu", json!({}))).collect();
    store.add(many).await.unwrap();
    until(&store, |count| count == 0).await;
    assert!(store.device("a").await.unwrap().is_some());
}

#[tokio::test]
async fn embedded_reports_stay_below_their_limit_and_the_oldest_go_first() {
    const MIB: u64 = 1 << 20;
    let folder = TempDir::new().unwrap();
    let few = Retention { seconds: 60, is_firm: true };
    let limit = 8 * MIB;
    let store = SqliteReports::new(folder.path(), few, limit);
    let large = json!({ "text": "x".repeat(10_000) });
    for batch in 0..4 {
        let reports =
            (batch * 500..(batch + 1) * 500).map(|id| report(id, "a", "eu", large.clone()));
        store.add(reports.collect()).await.unwrap();
    }
    let file = folder.path().join(REPORTS_FILE);
    assert!(file.metadata().unwrap().len() > limit || count(&store).await < 1_000);
    // Twenty megabytes came, and eight may stay.
    until(&store, |count| count < 900).await;
    let last = ReportQuery { last_id: Some(uid(1_998)), ..ReportQuery::default() };
    assert_eq!(store.reports(&last, &Scope::All).await.unwrap().last_id, Some(uid(1_999)));
    let first = store.reports(&ReportQuery::default(), &Scope::All).await.unwrap();
    assert!(first.last_id > Some(uid(500)));
}

#[tokio::test]
async fn invented_devices_do_not_keep_reports_away() {
    const MIB: u64 = 1 << 20;
    let folder = TempDir::new().unwrap();
    let short = Retention { seconds: 3_600, is_firm: true };
    let store = SqliteReports::new(folder.path(), short, 8 * MIB);
    let apps: Vec<_> = (0..200)
        .map(|id| json!({ "app_name": "x".repeat(200), "app_id": id, "reason": "r".repeat(400) }))
        .collect();
    for batch in 0..6 {
        let reports = (batch * 100..(batch + 1) * 100)
            .map(|id| report(id, &format!("invented-{id}"), "eu", json!({ "apps": apps })));
        store.add(reports.collect()).await.unwrap();
    }
    // A hundred megabytes came; of devices and of reports some stay.
    until(&store, |count| count < 80).await;
    let ten = (1_000..1_010).map(|id| report(id, "true", "eu", json!({})));
    store.add(ten.collect()).await.unwrap();
    let file = folder.path().join(REPORTS_FILE);
    let mut ticks = interval(Duration::from_millis(20));
    let small = timeout(PATIENCE, async {
        while file.metadata().unwrap().len() > 16 * MIB {
            ticks.tick().await;
        }
    });
    small.await.unwrap();
    assert!(count(&store).await >= 10);
    assert!(store.device("true").await.unwrap().is_some());
}

/// What is free of a disk of ten gigabytes, of which a fiftieth is kept for declarations.
static FREE: AtomicU64 = AtomicU64::new(u64::MAX);

#[tokio::test]
async fn reports_leave_the_last_of_a_disk_to_declarations() {
    const RESERVE: u64 = 200_000_000;
    let folder = TempDir::new().unwrap();
    let short = Retention { seconds: 60, is_firm: true };
    let store = SqliteReports::new(folder.path(), short, MAX_REPORTS_BYTES).with_disk(|_| {
        Some(Disk { total_bytes: RESERVE * 50, free_bytes: FREE.load(Ordering::Relaxed) })
    });
    let hundred = |from: u64| {
        (from..from + 100).map(|id| report(id, "a", "eu", json!({ "t": "x".repeat(9_000) })))
    };
    store.add(hundred(0).collect()).await.unwrap();
    FREE.store(RESERVE + 1_000_000, Ordering::Relaxed);
    let error = store.add(hundred(100).collect()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("make room"), "{cause}");
    // A little still goes in, and what is there stays; then nothing does.
    store.add(hundred(100).take(1).collect()).await.unwrap();
    FREE.store(RESERVE - 1, Ordering::Relaxed);
    assert!(store.add(hundred(200).take(1).collect()).await.is_err());
    assert_eq!(count(&store).await, 101);
    assert!(store.forget_device("a").await.unwrap());
    // What others took of the reserve, reports give back.
    FREE.store(RESERVE / 2 - 1, Ordering::Relaxed);
    let begun = Instant::now();
    until(&store, |count| count == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "not because their time was up");
    FREE.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(store.add(hundred(300).collect()).await.unwrap().added, 100);
}

#[tokio::test]
async fn devices_that_are_away_for_long_are_forgotten() {
    let folder = TempDir::new().unwrap();
    let second = Retention { seconds: 1, is_firm: true };
    let embedded = SqliteReports::new(folder.path(), second, MAX_REPORTS_BYTES);
    let old = NewReport { seen: 1_700_000_000, ..report(1, "old", "eu", json!({})) };
    embedded.add(vec![old.clone(), report(2, "new", "eu", json!({}))]).await.unwrap();
    until(&embedded, |count| count == 0).await;
    assert!(embedded.device("old").await.unwrap().is_none());
    assert!(embedded.device("new").await.unwrap().is_some());
    let name = fresh_database_name();
    let store = mongo(&name, HOUR);
    store.add(vec![old, report(2, "new", "eu", json!({}))]).await.unwrap();
    assert!(store.device("old").await.unwrap().is_some());
    // Whoever prepares the indexes sees to it.
    let next = mongo(&name, HOUR);
    assert!(next.device("old").await.unwrap().is_none());
    assert!(next.device("new").await.unwrap().is_some());
}

#[tokio::test]
async fn file_of_reports_that_cannot_be_read_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(REPORTS_FILE);
    let aside = folder.path().join(format!("{REPORTS_FILE}.put-aside"));
    let foreign = || {
        let other = rusqlite::Connection::open(&file).unwrap();
        other.execute_batch("CREATE TABLE holidays (day TEXT)").unwrap();
    };
    let newer = || {
        let _ = std::fs::remove_file(&file);
        let other = rusqlite::Connection::open(&file).unwrap();
        other.pragma_update(None, "application_id", 0x6e65_6272).unwrap();
        other.pragma_update(None, "user_version", 99).unwrap();
    };
    let garbage = || std::fs::write(&file, "no database, but long enough ".repeat(1_000)).unwrap();
    for damage in [&foreign as &dyn Fn(), &newer, &garbage] {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path().join(format!("{REPORTS_FILE}{suffix}")));
        }
        let _ = std::fs::remove_file(&file);
        let _ = std::fs::remove_file(&aside);
        damage();
        let store = embedded(folder.path());
        let added = store.add(vec![report(1, "a", "eu", json!({}))]).await.unwrap();
        assert_eq!(added.added, 1);
        assert!(aside.exists());
        assert_eq!(count(&store).await, 1);
    }
}

#[tokio::test]
async fn files_that_are_put_aside_one_after_the_other_are_all_kept_up_to_three() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(REPORTS_FILE);
    for damage in 1..=5 {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path().join(format!("{REPORTS_FILE}{suffix}")));
        }
        // A new one: whoever still closes the last one must not write into this.
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, format!("damage {damage} ").repeat(1_000)).unwrap();
        let store = embedded(folder.path());
        store.add(vec![report(1, "a", "eu", json!({}))]).await.unwrap();
    }
    let mut aside = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("put-aside"))
        .map(|path| String::from_utf8(std::fs::read(path).unwrap()).unwrap()[..8].to_owned())
        .collect::<Vec<_>>();
    aside.sort();
    assert_eq!(aside, ["damage 3", "damage 4", "damage 5"]);
}

#[tokio::test]
async fn file_of_reports_that_is_damaged_while_it_is_used_is_begun_anew() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(REPORTS_FILE);
    {
        let store = embedded(folder.path());
        let many = (0..500).map(|id| report(id, "a", "eu", json!({ "t": "x".repeat(2_000) })));
        store.add(many.collect()).await.unwrap();
    }
    // All pages but the first, of a file whose log is in it.
    let db = rusqlite::Connection::open(&file).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    let mut bytes = std::fs::read(&file).unwrap();
    let schema = 4_096 * 2;
    bytes[schema..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let store = embedded(folder.path());
    let one = || vec![report(9_999, "b", "eu", json!({}))];
    let mut ticks = interval(Duration::from_millis(20));
    let kept = timeout(PATIENCE, async {
        while store.add(one()).await.is_err() {
            ticks.tick().await;
        }
    });
    kept.await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn folder_that_takes_no_file_keeps_reports_away_only_as_long() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("later");
    let store = embedded(&missing);
    assert!(store.add(vec![report(1, "a", "eu", json!({}))]).await.is_err());
    std::fs::create_dir(&missing).unwrap();
    assert_eq!(store.add(vec![report(1, "a", "eu", json!({}))]).await.unwrap().added, 1);
}

/// The indexes of a collection: keys, and what else they are.
async fn indexes(database: &Database, collection: &str) -> Vec<(String, Option<u64>, bool)> {
    let found = database.collection::<Document>(collection).list_indexes().await.unwrap();
    let found: Vec<IndexModel> = found.try_collect().await.unwrap();
    let mut indexes: Vec<_> = (found.into_iter())
        .map(|index| {
            let options = index.options.unwrap_or_default();
            let keys = index.keys.keys().cloned().collect::<Vec<_>>().join("+");
            let after = options.expire_after.map(|after| after.as_secs());
            (keys, after, options.unique == Some(true))
        })
        .collect();
    indexes.sort();
    indexes
}

fn expires(after: u64) -> (String, Option<u64>, bool) {
    ("report_insert_date".to_owned(), Some(after), false)
}

#[tokio::test]
async fn database_of_the_original_loses_no_reports_and_shows_its_own() {
    let name = fresh_database_name();
    let database = database(&name).await;
    let reports = database.collection::<Document>("nebula_reports");
    let options = IndexOptions::builder()
        .name("report_insert_date_index".to_owned())
        .unique(true)
        .expire_after(Duration::from_secs(3_600))
        .build();
    let index = IndexModel::builder().keys(doc! { "report_insert_date": 1 }).options(options);
    reports.create_index(index.build()).await.unwrap();
    let now = bson::DateTime::now();
    reports
        .insert_one(doc! {
            "hostname": "rpi", "device_group": "eu", "report_creation_time": 1, "updated": true,
            "cpu_usage": { "cores": 4, "used_percent": 5.0 }, "report_insert_date": now,
        })
        .await
        .unwrap();
    let store = mongo(&name, Retention { seconds: 3_600, is_firm: false });
    let two = vec![report(1, "a", "eu", json!({})), report(2, "b", "eu", json!({}))];
    assert_eq!(store.add(two).await.unwrap().added, 2);
    let page = store.reports(&ReportQuery::default(), &Scope::All).await.unwrap();
    assert_eq!(page.reports.len(), 3);
    let theirs = page.reports.iter().find(|report| report["hostname"] == "rpi").unwrap();
    assert_eq!(theirs["cpu_usage"], json!({ "cores": 4, "used_percent": 5.0 }));
    assert_eq!(theirs["report_insert_date"], json!({ "$date": now.timestamp_millis() }));
    assert!(Uid::parse(theirs["_id"]["$oid"].as_str().unwrap()).is_some());
    let found = indexes(&database, "nebula_reports").await;
    assert!(found.contains(&expires(3_600)), "{found:?}");
    // Ours are as the original writes them.
    let ours = reports.find_one(doc! { "hostname": "a" }).await.unwrap().unwrap();
    let keys: Vec<&String> = ours.keys().collect();
    let first = ["_id", "hostname", "device_group", "report_creation_time", "updated"];
    assert_eq!(keys, [&first[..], &["report_insert_date"]].concat());
    assert!(
        matches!(ours["_id"], Bson::ObjectId(_))
            && matches!(ours["report_creation_time"], Bson::Int32(_))
    );
    assert!(matches!(ours["report_insert_date"], Bson::DateTime(_)));
}

/// The original makes its index whenever it starts, also while ours run.
#[tokio::test]
async fn unique_index_that_comes_back_loses_no_reports() {
    let name = fresh_database_name();
    let database = database(&name).await;
    let store = mongo(&name, HOUR);
    let hundred = |from: u64| {
        (from..from + 100).map(|id| report(id, "a", "eu", json!({ "number": id }))).collect()
    };
    assert_eq!(count(&store).await, 0);
    let unique = async |keys: Document, name: &str| {
        let options = IndexOptions::builder().name(name.to_owned()).unique(true).build();
        let index = IndexModel::builder().keys(keys).options(options).build();
        database.collection::<Document>("nebula_reports").create_index(index).await.unwrap();
    };
    let reports = database.collection::<Document>("nebula_reports");
    reports.drop_indexes().await.unwrap();
    unique(doc! { "report_insert_date": 1 }, "report_insert_date_index").await;
    let added = store.add(hundred(0)).await.unwrap();
    assert_eq!((added.added, added.known, &*added.refused), (100, 0, &[][..]));
    assert_eq!(count(&store).await, 100);
    // One that nobody of ours knows is told of, and what it keeps away is not lost as known.
    reports.delete_many(doc! {}).await.unwrap();
    unique(doc! { "hostname": 1 }, "odd index").await;
    let error = store.add(hundred(200)).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("unique index odd index") && cause.contains("drop it"), "{cause}");
    reports.drop_index("odd index").await.unwrap();
    let added = store.add(hundred(200)).await.unwrap();
    assert_eq!((added.added + added.known, count(&store).await), (100, 100));
}

#[tokio::test]
async fn reports_in_mongodb_are_kept_as_long_as_somebody_asked() {
    let name = fresh_database_name();
    let database = database(&name).await;
    let first = mongo(&name, Retention { seconds: 100, is_firm: false });
    assert_eq!(count(&first).await, 0);
    for collection in ["nebula_reports", "nebula_reports_set_aside"] {
        assert!(indexes(&database, collection).await.contains(&expires(100)), "{collection}");
    }
    // Who only has a default changes nothing; who was told so does.
    let second = mongo(&name, Retention { seconds: 200, is_firm: false });
    assert_eq!(count(&second).await, 0);
    assert!(indexes(&database, "nebula_reports").await.contains(&expires(100)));
    let third = mongo(&name, Retention { seconds: 300, is_firm: true });
    assert_eq!(count(&third).await, 0);
    for collection in ["nebula_reports", "nebula_reports_set_aside"] {
        let found = indexes(&database, collection).await;
        assert!(found.contains(&expires(300)), "{collection} {found:?}");
    }
    let group = "device_group+_id".to_owned();
    assert!(indexes(&database, "nebula_devices").await.contains(&(group, None, false)));
}

#[tokio::test]
async fn what_is_no_report_is_set_aside_in_mongodb() {
    let name = fresh_database_name();
    let store = mongo(&name, HOUR);
    let message = SetAside {
        id: uid(7),
        topic: "reports".to_owned(),
        partition: 2,
        offset: 9,
        reason: "is not JSON".to_owned(),
        payload: vec![0; 3 << 20],
    };
    store.set_aside(vec![message.clone(), message]).await.unwrap();
    let kept = database(&name).await.collection::<Document>("nebula_reports_set_aside");
    let kept: Vec<Document> = kept.find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].get_str("reason").unwrap(), "is not JSON");
    assert_eq!(kept[0].get_i64("offset").unwrap(), 9);
    assert_eq!(kept[0].get_binary_generic("payload").unwrap().len(), 1 << 20);
    assert!(kept[0].get_datetime("report_insert_date").is_ok());
}

/// What JSON can hold and a document cannot.
#[tokio::test]
async fn report_that_no_document_can_hold_is_refused_alone() {
    let store = mongo(&fresh_database_name(), HOUR);
    let mut deep = json!(1);
    for _ in 0..110 {
        deep = json!([deep]);
    }
    let mut nearly = json!(1);
    for _ in 0..95 {
        nearly = json!({ "a": nearly });
    }
    let reports = vec![
        report(1, "a", "eu", json!({ "a\u{0}b": 1 })),
        report(2, "b", "eu", json!({ "deep": deep })),
        report(3, "c", "eu", json!({ "nearly": nearly })),
    ];
    let added = store.add(reports).await.unwrap();
    assert_eq!(added.added, 1, "{added:?}");
    let places: Vec<usize> = added.refused.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [0, 1]);
    assert!(
        store.device("c").await.unwrap().is_some() && store.device("a").await.unwrap().is_none()
    );
}
