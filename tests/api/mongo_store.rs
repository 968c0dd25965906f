//! The store in `MongoDB`: its contract on a replica set and on a lone server, and what an existing
//! database and other writers may hold for it.

use crate::harness::{Manager, PATIENCE, config};
use crate::mongo_servers::{MongoServers, fresh_database_name, shared_url};
use crate::store_contract::{
    a_snapshot_is_one_moment, a_user_is_read_at_one_moment, app, contract,
};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, Collection, Database, IndexModel};
use nebula::config::Mongo;
use nebula::config::Secret;
use nebula::model::{App, Author, DeviceGroup, Revision};
use nebula::modes::manager::config::Config;
use nebula::modes::manager::{Dependencies, Limits, Stores, open_stores};
use nebula::store::transfer::Exported;
use nebula::store::{Kind, MongoSettings, MongoStore, Noun, Store, StoreError, Told};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, interval};

/// Between two looks.
const EACH: Duration = Duration::from_millis(20);

fn settings(url: &str, database: &str) -> MongoSettings {
    let url = Secret::new(url.to_owned());
    MongoSettings { url, database: database.to_owned(), max_pool_size: 10 }
}

fn open(url: &str, database: &str) -> Arc<dyn Store> {
    Arc::new(MongoStore::new(settings(url, database)))
}

fn open_fresh() -> Arc<dyn Store> {
    open(&shared_url(), &fresh_database_name())
}

async fn database(url: &str, name: &str) -> Database {
    Client::with_uri_str(url).await.unwrap().database(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    contract(open_fresh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_snapshot_holds_what_existed_together() {
    a_snapshot_is_one_moment(open_fresh()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_user_and_its_groups_are_read_together() {
    a_user_is_read_at_one_moment(open_fresh()).await;
}

/// A server without replication has no sessions that show one moment and tells no changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_server_keeps_the_contract() {
    let lone = MongoServers::start("lone", &["--standalone"]).await;
    contract(open(lone.url(), "contract")).await;
    a_snapshot_is_one_moment(open(lone.url(), "snapshot")).await;
    a_user_is_read_at_one_moment(open(lone.url(), "user")).await;
    let url = lone.url().to_owned();
    foreign_writes_are_shown(&url, "poll").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_original_writes_is_shown_and_ordered() {
    foreign_writes_are_shown(&shared_url(), "stream").await;
}

/// A database as the original leaves it: no revisions, sparse indexes by the original's names, one
/// of them on a key that users do not have, keys of another version, keys that are not there.
async fn originals(database: &Database) {
    let collections = [
        ("nebula_apps", "app_name"),
        ("nebula_device_groups", "device_group"),
        ("nebula_cron_jobs", "cron_job_name"),
        ("nebula_users", "user_group"),
        ("nebula_user_groups", "user_group"),
    ];
    for (collection, key) in collections {
        let name = format!("{key}_index");
        let options = IndexOptions::builder().name(name).unique(true).sparse(true).build();
        let index = IndexModel::builder().keys(doc! { key: 1 }).options(options).build();
        let collection: Collection<Document> = database.collection(collection);
        collection.create_index(index).await.unwrap();
    }
    let insert = async |collection: &str, document: Document| {
        database.collection::<Document>(collection).insert_one(document).await.unwrap();
    };
    insert(
        "nebula_apps",
        doc! {
            "app_id": 7, "app_name": "web", "starting_ports": [{ "80": "80" }, 81],
            "containers_per": { "server": 1 }, "env_vars": [], "docker_image": "nginx",
            "running": true, "networks": ["nebula", "bridge"], "volumes": [], "devices": [],
            "privileged": false, "rolling_restart": false, "written_by": "a plugin",
        },
    )
    .await;
    // A shell writes numbers as doubles.
    insert("nebula_apps", doc! { "app_id": 2.0, "app_name": "db", "docker_image": "redis:7" })
        .await;
    insert(
        "nebula_device_groups",
        doc! {
            "device_group_id": 3, "device_group": "eu", "apps": ["web", "gone"], "prune_id": 4,
            "cron_jobs": [],
        },
    )
    .await;
}

async fn index_keys(database: &Database, collection: &str) -> Vec<(String, bool)> {
    let collection: Collection<Document> = database.collection(collection);
    let indexes: Vec<IndexModel> =
        futures_util::TryStreamExt::try_collect(collection.list_indexes().await.unwrap())
            .await
            .unwrap();
    let mut keys: Vec<(String, bool)> = (indexes.iter())
        .map(|index| {
            let is_unique =
                index.options.as_ref().is_some_and(|options| options.unique == Some(true));
            (index.keys.keys().cloned().collect::<Vec<_>>().join("+"), is_unique)
        })
        .collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn database_of_the_original_works_as_it_is() {
    let (url, name) = (shared_url(), fresh_database_name());
    let database = database(&url, &name).await;
    originals(&database).await;
    let store = open(&url, &name);
    assert_eq!(store.names(Kind::App).await.unwrap(), ["db", "web"]);
    let web = store.find::<App>("web").await.unwrap().unwrap();
    assert_eq!(web.app_id, 7);
    assert_eq!(store.find::<App>("db").await.unwrap().unwrap().app_id, 2);
    let snapshot = store.group_snapshot("eu").await.unwrap().unwrap();
    assert_eq!((snapshot.group.device_group_id, snapshot.group.prune_id), (3, 4));
    assert_eq!(snapshot.apps.len(), 1);
    // It is changed as any other, and keeps what this version does not know.
    let written = store
        .update(App { app_id: 8, ..web.clone() }, web.revision(), &Author::elsewhere())
        .await
        .unwrap();
    assert_eq!(written.object.identity.uid, web.identity.uid);
    assert_eq!(written.device_groups, ["eu"]);
    let apps = database.collection::<Document>("nebula_apps");
    let kept = apps.find_one(doc! { "app_name": "web" }).await.unwrap().unwrap();
    assert_eq!(kept.get_i32("app_id").unwrap(), 8);
    assert_eq!(kept.get_str("written_by").unwrap(), "a plugin");
    assert!(matches!(
        store.create(app("web"), &Author::elsewhere()).await,
        Err(StoreError::AlreadyExists)
    ));
    // The wrong index is gone: a second user has a place.
    let expected = [("_id", false), ("token_id", false), ("user_name", true)];
    let users = index_keys(&database, "nebula_users").await;
    let users: Vec<(&str, bool)> = users.iter().map(|(key, unique)| (&**key, *unique)).collect();
    assert_eq!(users, expected);
    let apps = index_keys(&database, "nebula_apps").await;
    assert_eq!(apps, [("_id".to_owned(), false), ("app_name".to_owned(), true)]);
    let history = index_keys(&database, "nebula_history").await;
    assert_eq!(history, [("_id".to_owned(), false), ("uid".to_owned(), false)]);
}

/// The ids and kinds of an app's versions, the newest first.
async fn versions(store: &dyn Store, app: &str) -> Vec<(u64, String)> {
    let history = store.history(app).await.unwrap().unwrap();
    let entries = history.entries().iter();
    entries.map(|entry| (entry.app.app_id, entry.author.what.clone())).collect()
}

#[tokio::test]
async fn versions_that_others_wrote_can_be_gone_back_to() {
    let (url, name) = (shared_url(), fresh_database_name());
    let database = database(&url, &name).await;
    let store = open(&url, &name);
    let apps = database.collection::<Document>("nebula_apps");
    let of = |versions: &[(u64, &str)]| -> Vec<(u64, String)> {
        versions.iter().map(|(id, what)| (*id, (*what).to_owned())).collect()
    };
    let create = Author::new("ann", "create");
    let web = store.create(app("web"), &create).await.unwrap();
    // A person at a shell, who does not raise the id.
    let edit = |image: &str| doc! { "$set": { "docker_image": image } };
    apps.update_one(doc! { "app_name": "web" }, edit("nginx:2")).await.unwrap();
    assert_eq!(versions(&*store, "web").await, of(&[(1, "elsewhere"), (1, "create")]));
    let there = store.find::<App>("web").await.unwrap().unwrap();
    let next = App { app_id: 2, ..there.clone() };
    let update = Author::new("ann", "update");
    let written = store.update(next.clone(), web.revision, &update).await.unwrap();
    let expected = of(&[(2, "update"), (1, "elsewhere"), (1, "create")]);
    assert_eq!(versions(&*store, "web").await, expected);
    let history = store.history("web").await.unwrap().unwrap();
    assert_eq!(history.entries()[1].app.spec, there.spec);
    // A manager that died after the change itself, before it said so: whoever is next keeps it.
    let half = written.revision.0 + 1;
    let half_done = doc! { "$set": {
        "docker_image": "nginx:3", "app_id": 3, "revision": i64::try_from(half).unwrap(),
    } };
    apps.update_one(doc! { "app_name": "web" }, half_done).await.unwrap();
    let last = store.find::<App>("web").await.unwrap().unwrap();
    assert_eq!(last.revision().0, half);
    let next = App { app_id: 4, ..last };
    store.update(next, Revision(half), &update).await.unwrap();
    let expected = of(&[(4, "update"), (3, "elsewhere"), (2, "update")]);
    assert_eq!(versions(&*store, "web").await[..3], expected);
}

/// Foreign writes are put in order, with their versions, and histories of deleted apps go.
#[tokio::test]
async fn putting_in_order_keeps_what_others_wrote_once() {
    let (url, name) = (shared_url(), fresh_database_name());
    let database = database(&url, &name).await;
    originals(&database).await;
    let history = database.collection::<Document>("nebula_history");
    let gone = ObjectId::new();
    let left_over = |time: i64| {
        doc! {
            "_id": { "uid": gone, "revision": time }, "uid": gone, "revision": time, "app_id": 1,
            "time": time, "who": "", "what": "create", "body": "{}",
        }
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    history.insert_many([left_over(1_000), left_over(now)]).await.unwrap();
    let store = open(&url, &name);
    let ordered = async || {
        let mut changes = store.changes(None, Duration::from_millis(50)).await.unwrap().unwrap();
        let before = match changes.next().await.unwrap() {
            Told::Everything { revision } => revision,
            other @ Told::Write { .. } => panic!("{other:?}"),
        };
        let told = tokio::time::timeout(PATIENCE, async {
            loop {
                let told = changes.next().await.unwrap();
                if told.revision() > before {
                    return told;
                }
            }
        });
        told.await.unwrap()
    };
    ordered().await;
    let kept = async |app_id: i64| {
        history.count_documents(doc! { "app_id": app_id, "uid": { "$ne": gone } }).await.unwrap()
    };
    assert_eq!((kept(7).await, kept(2).await), (1, 1), "of `web` and of `db`");
    assert_eq!(history.count_documents(doc! { "uid": gone }).await.unwrap(), 1, "the old one goes");
    // Once more, because one has no revision: what is kept is not kept again.
    let apps = database.collection::<Document>("nebula_apps");
    let foreign = doc! { "$set": { "app_id": 3 }, "$unset": { "revision": 1 } };
    apps.update_one(doc! { "app_name": "db" }, foreign).await.unwrap();
    ordered().await;
    assert_eq!((kept(7).await, kept(2).await, kept(3).await), (1, 1, 1));
    let of_db = versions(&*store, "db").await;
    assert_eq!(of_db, [(3, "elsewhere".to_owned()), (2, "elsewhere".to_owned())]);
}

#[tokio::test]
async fn twins_that_refuse_an_index_stop_nobody() {
    let (url, name) = (shared_url(), fresh_database_name());
    let database = database(&url, &name).await;
    let apps = database.collection::<Document>("nebula_apps");
    let twin = || doc! { "app_id": 1, "app_name": "twin", "docker_image": "a" };
    apps.insert_many([twin(), twin()]).await.unwrap();
    let store = open(&url, &name);
    store.create(app("other"), &Author::elsewhere()).await.unwrap();
    assert!(matches!(
        store.create(app("other"), &Author::elsewhere()).await,
        Err(StoreError::AlreadyExists)
    ));
    // Of two with one name the second is told, and everything else is exported.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
    store.export(sender).await.unwrap();
    let (mut names, mut told) = (Vec::new(), 0);
    while let Some(exported) = receiver.recv().await {
        match exported {
            Exported::Object(object) => names.push(object.name().to_owned()),
            Exported::Unreadable(_) => told += 1,
        }
    }
    assert_eq!((names, told), (vec!["twin".to_owned(), "other".to_owned()], 1));
}

/// A manager over a database, which hears of others' writes within two seconds in any case.
async fn manager_over(url: &str, database: &str, folder: &TempDir) -> Manager {
    let MongoSettings { url, database, max_pool_size } = settings(url, database);
    let mongo = Some(Mongo { url, database, max_pool_size });
    let config = Config { mongo, cache_time: Duration::from_secs(1), ..config(folder.path()) };
    let Stores { store, reports } = open_stores(&config).await.unwrap();
    Manager::with(config, Dependencies { store, reports, limits: Limits::default() }).await
}

/// Asks for a group's answer until it is as expected; its revision.
async fn until_info(manager: &Manager, what: &str, is: impl Fn(&Value) -> bool) -> u64 {
    let (begun, mut ticks) = (Instant::now(), interval(EACH));
    loop {
        ticks.tick().await;
        let info = manager.info("eu").await;
        if is(&info) {
            return info["revision"].as_u64().unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {info}");
    }
}

async fn foreign_writes_are_shown(url: &str, by: &str) {
    let name = fresh_database_name();
    let database = database(url, &name).await;
    originals(&database).await;
    let folder = TempDir::new().unwrap();
    let manager = manager_over(url, &name, &folder).await;
    let app_is = |id: u64| move |info: &Value| info["apps"][0]["app_id"] == id;
    let first = until_info(&manager, "as the original left it", |info| {
        // Everything has a revision soon after the start.
        app_is(7)(info) && info["revision"].as_u64() > Some(0)
    })
    .await;
    let followed = |by: &str| format!("nebula_store_followed{{by=\"{by}\"}} 1");
    let metrics = manager.client.get(manager.url("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(&followed(by)), "{metrics}");
    // As the original changes, makes and deletes.
    let apps = database.collection::<Document>("nebula_apps");
    let change = doc! { "$set": { "running": false }, "$inc": { "app_id": 1 } };
    apps.update_one(doc! { "app_name": "web" }, change).await.unwrap();
    let second = until_info(&manager, "changed", app_is(8)).await;
    let third =
        until_info(&manager, "ordered", |info| info["revision"].as_u64() > Some(first)).await;
    assert!(third >= second);
    let made = doc! { "app_id": 1, "app_name": "gone", "docker_image": "nginx" };
    apps.insert_one(made).await.unwrap();
    let fourth = until_info(&manager, "made", |info| {
        info["apps_list"] == json!(["web", "gone"]) && info["revision"].as_u64() > Some(third)
    })
    .await;
    apps.delete_one(doc! { "app_name": "web" }).await.unwrap();
    until_info(&manager, "deleted", |info| {
        info["apps_list"] == json!(["gone"]) && info["revision"].as_u64() > Some(fourth)
    })
    .await;
    let group = manager.get("/device_groups/eu").await.1;
    assert_eq!(group["device_group_id"], 3, "only what orders it changed");
}

/// What cannot be read harms nobody else.
#[tokio::test]
async fn broken_documents_lock_nobody_out_and_hold_no_prune_up() {
    let (url, name, folder) = (shared_url(), fresh_database_name(), TempDir::new().unwrap());
    let database = database(&url, &name).await;
    let manager = manager_over(&url, &name, &folder).await;
    manager.create_group("eu", &[]).await;
    // A user with a token of the original's form stands behind one that cannot be read.
    let given = json!({ "token": "of-the-original", "password": "p" });
    assert_eq!(manager.send("POST", "/users/dev", given).await.0, 200);
    let grants = json!({ "group_members": ["dev"], "device_groups": { "eu": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/devices", grants).await.0, 200);
    let users = database.collection::<Document>("nebula_users");
    users.insert_one(doc! { "user_name": "broken", "password": 5 }).await.unwrap();
    let groups = database.collection::<Document>("nebula_device_groups");
    let odd = doc! { "device_group": "odd", "device_group_id": 1, "prune_id": "1", "apps": [], "cron_jobs": [] };
    groups.insert_one(odd).await.unwrap();
    let path = "/api/v2/device_groups/eu/info";
    let right = manager.request_as("Bearer of-the-original", "GET", path).send().await.unwrap();
    assert_eq!(right.status(), 200);
    let wrong = manager.request_as("Bearer x", "GET", path).send().await.unwrap();
    let (status, answer) = crate::harness::read(wrong).await;
    assert_eq!(status, 401);
    assert!(!answer.to_string().contains("broken"), "{answer}");
    let (status, pruned) = manager.send("POST", "/prune", Value::Null).await;
    assert_eq!((status, &pruned["prune_ids"]), (202, &json!({ "eu": 2 })));
}

#[tokio::test]
async fn environment_values_of_any_type_are_texts() {
    let (url, name) = (shared_url(), fresh_database_name());
    let apps = database(&url, &name).await.collection::<Document>("nebula_apps");
    let env = doc! { "PORT": 8080, "RATE": 0.5, "ON": true, "NAME": "x" };
    let app = doc! { "app_id": 1, "app_name": "web", "docker_image": "a", "env_vars": env };
    apps.insert_one(app).await.unwrap();
    let app = open(&url, &name).find::<App>("web").await.unwrap().unwrap();
    let body = serde_json::to_value(&app).unwrap();
    let expected = json!({ "PORT": "8080", "RATE": "0.5", "ON": "True", "NAME": "x" });
    assert_eq!(body["env_vars"], expected);
}

/// A collection that is dropped under a manager is being restored: devices are told of all of it or
/// nothing.
#[tokio::test]
async fn inv_20_dropped_collection_empties_no_device() {
    let (url, name, folder) = (shared_url(), fresh_database_name(), TempDir::new().unwrap());
    let manager = manager_over(&url, &name, &folder).await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let before = until_info(&manager, "made", |info| info["apps_list"] == json!(["web"])).await;
    let apps = database(&url, &name).await.collection::<Document>("nebula_apps");
    let web = apps.find_one(doc! {}).await.unwrap().unwrap();
    apps.drop().await.unwrap();
    let (begun, mut ticks) = (Instant::now(), interval(EACH));
    let is_whole = |info: &Value| info["apps_list"] == json!(["web"]);
    // For as long as a manager takes to put in order what was written without it, and longer.
    while begun.elapsed() < Duration::from_secs(7) {
        ticks.tick().await;
        let answer = manager.request("GET", "/api/v2/device_groups/eu/info").send().await.unwrap();
        let (status, info) = crate::harness::read(answer).await;
        assert!(status == 503 || is_whole(&info), "{status} {info}");
    }
    apps.insert_one(web).await.unwrap();
    let (begun, mut ticks) = (Instant::now(), interval(EACH));
    loop {
        ticks.tick().await;
        let answer = manager.request("GET", "/api/v2/device_groups/eu/info").send().await.unwrap();
        let (status, info) = crate::harness::read(answer).await;
        assert!(status == 503 || is_whole(&info), "{status} {info}");
        if status == 200 && info["revision"].as_u64() > Some(before) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "restored: {info}");
    }
}

#[tokio::test]
async fn backup_of_a_database_is_somebody_elses() {
    let (folder, name) = (TempDir::new().unwrap(), fresh_database_name());
    let manager = manager_over(&shared_url(), &name, &folder).await;
    let (status, answer) = manager.get("/backup").await;
    assert_eq!(status, 501);
    assert!(answer["error"].as_str().unwrap().contains("mongodump"), "{answer}");
}

/// A database that is away, and was read before: devices and their users are served, by a manager
/// that starts in that time as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_09_manager_that_starts_without_its_database_serves_what_it_kept() {
    let away = MongoServers::start("away", &[]).await;
    let folder = TempDir::new().unwrap();
    let manager = manager_over(away.url(), "nebula", &folder).await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    let (status, ann) = manager.send("POST", "/users/ann", json!({})).await;
    assert_eq!(status, 200);
    let token = format!("Bearer {}", ann["generated"]["token"].as_str().unwrap());
    let grants = json!({ "group_members": ["ann"], "device_groups": { "eu": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/devices", grants).await.0, 200);
    let path = "/api/v2/device_groups/eu/info";
    let ask = async |manager: &Manager, who: &str, path: &str| {
        let answer = manager.request_as(who, "GET", path).send().await.unwrap();
        crate::harness::read(answer).await
    };
    let before = ask(&manager, &token, path).await;
    assert_eq!((before.0, &before.1["apps_list"]), (200, &json!(["web"])));
    let kept = folder.path().join(nebula::store::KEPT_FILE);
    let is_kept = || {
        let file = rusqlite::Connection::open(&kept).unwrap();
        let count = "SELECT count(DISTINCT kind) FROM kept";
        file.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap() == 3
    };
    let (begun, mut ticks) = (Instant::now(), interval(EACH));
    while !is_kept() {
        assert!(begun.elapsed() < PATIENCE, "the group, the user and its group are kept");
        ticks.tick().await;
    }
    away.kill(0).await;
    assert_eq!(ask(&manager, &token, path).await, before, "from memory");
    manager.stop().await;
    let manager = manager_over(away.url(), "nebula", &folder).await;
    assert_eq!(ask(&manager, &token, path).await, before, "from disk");
    assert_eq!(ask(&manager, &crate::harness::basic(), path).await, before);
    let (status, _) = ask(&manager, &token, "/api/v2/device_groups/us/info").await;
    assert_eq!(status, 403, "no right to another group");
    let wrong = ask(&manager, "Bearer 0000000000000000.wrong", path).await;
    assert_ne!(wrong.0, 200);
    let begun = Instant::now();
    let (status, _) = manager.send("POST", "/apps/web/restart", Value::Null).await;
    assert_eq!(status, 503);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(manager.client.get(manager.url("/readyz")).send().await.unwrap().status(), 503);
    assert_eq!(manager.client.get(manager.url("/healthz")).send().await.unwrap().status(), 200);
    // It is back, and everything is as ever.
    away.start_again(0).await;
    let begun = Instant::now();
    while manager.send("POST", "/apps/web/restart", Value::Null).await.0 != 202 {
        assert!(begun.elapsed() < PATIENCE, "writes are taken again");
    }
    let after = ask(&manager, &token, path).await;
    assert!(after.1["revision"].as_u64() > before.1["revision"].as_u64());
    assert_eq!(after.1["apps"][0]["app_id"], 2);
    manager.stop().await;
}

/// What others wrote is told in order, with what it touched, and from where one left off.
#[tokio::test]
async fn changes_of_others_are_told_and_caught_up_with() {
    let (url, name) = (shared_url(), fresh_database_name());
    let (here, there) = (open(&url, &name), open(&url, &name));
    let poll = Duration::from_secs(1);
    let mut changes = here.changes(None, poll).await.unwrap().unwrap();
    let first = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    assert!(matches!(first, Told::Everything { .. }));
    let group =
        DeviceGroup { apps: vec!["web".to_owned()], ..crate::store_contract::group("eu", &[]) };
    let made = there.create(group, &Author::elsewhere()).await.unwrap();
    let web = there.create(app("web"), &Author::elsewhere()).await.unwrap();
    let gone = there.delete(Kind::App, "web").await.unwrap();
    let expected = |kind, name: &str, revision: Revision| Told::Write {
        kind,
        name: name.to_owned(),
        device_groups: vec!["eu".to_owned()],
        revision,
    };
    let all = [
        expected(Kind::DeviceGroup, "eu", made.revision),
        expected(Kind::App, "web", web.revision),
        expected(Kind::App, "web", gone.revision),
    ];
    for expected in &all {
        let told = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
        assert_eq!(told, *expected);
    }
    drop(changes);
    let mut changes = here.changes(Some(made.revision), poll).await.unwrap().unwrap();
    let mut told = Vec::new();
    while told.last() != Some(&all[2]) {
        told.push(tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap());
    }
    assert!(told.contains(&all[1]), "{told:?}");
}
