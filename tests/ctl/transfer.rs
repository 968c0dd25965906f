//! `nebula ctl export` and `import`, between embedded stores, managers and `MongoDB`, the original's
//! database among them.

use crate::program::User;
use crate::real::{Manager, object};
use crate::server::{Answer, Server, reply};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, Database, IndexModel};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

fn mongo_url() -> String {
    std::env::var("NEBULA_TEST_MONGO_URL").expect("scripts/with-services mongo")
}

fn fresh_database_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ctl-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// What a command line has for a database.
fn database<'a>(url: &'a str, name: &'a str) -> [&'a str; 4] {
    ["--mongo-url", url, "--schema-name", name]
}

/// A manager on a store of its own, with one of everything.
fn full_manager() -> (TempDir, Manager, User) {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    for line in [
        "apps create web --image nginx:1 --port 80:8080 --env A=s3cret --mem-limit 64m",
        "apps create db --image db:1 --running false",
        "apps update db --image db:2",
        "cron-jobs create clean --image cleaner:1 --schedule @daily --timezone Europe/Berlin",
        "device-groups create shop --app web --app db --cron-job clean",
        "device-groups create empty",
        "prune device-group shop",
        "users create ann",
        "user-groups create staff --member ann --app web=rw --device-group shop=ro",
    ] {
        user.ctl(&line.split_whitespace().collect::<Vec<_>>()).ok();
    }
    (folder, manager, user)
}

/// The objects of an export, without their revisions, which each store gives anew.
fn objects(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("an export");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut objects: Vec<Value> = lines.filter(|line| line.get("kind").is_some()).collect();
    for object in &mut objects {
        object["object"].as_object_mut().expect("an object").remove("revision");
    }
    objects
}

fn highest_revision(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).expect("an export");
    let end: Value = serde_json::from_str(text.lines().last().expect("an end")).expect("JSON");
    end["end"]["revision"].as_u64().expect("a revision")
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn everything_goes_round_by_a_file_and_mongodb_and_comes_back_equal() {
    let (_folder, manager, user) = full_manager();
    let outcome = user.ctl(&["export", "first.jsonl"]);
    assert_eq!(outcome.err, "7 objects written to first.jsonl\n", "{}", outcome.seen());
    let first = user.path("first.jsonl");
    assert_eq!(std::fs::metadata(&first).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(objects(&first).len(), 7);
    let printed = user.ctl(&["export"]).ok();
    assert_eq!(printed.lines().count(), 9, "{printed}");
    let (url, name) = (mongo_url(), fresh_database_name());
    let to = database(&url, &name);
    let told = user.ctl(&[&["import", "first.jsonl", "-o", "json"], &to[..]].concat()).ok();
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["dry_run"], false);
    let added = |added| json!({ "added": added, "equal": 0, "replaced": 0, "skipped": 0 });
    for (kind, count) in
        [("app", 2), ("cron_job", 1), ("device_group", 2), ("user", 1), ("user_group", 1)]
    {
        assert_eq!(told["objects"][kind], added(count), "{told}");
    }
    user.ctl(&[&["export", "second.jsonl"], &to[..]].concat()).ok();
    let second = user.path("second.jsonl");
    assert_eq!(objects(&second), objects(&first), "uids and ids too");
    assert!(highest_revision(&second) > highest_revision(&first));
    // And into an embedded store on which no manager runs yet.
    let data_dir = tempfile::tempdir().expect("a folder");
    let data_dir = path(data_dir.path());
    let outcome = user.ctl(&["import", "second.jsonl", "--data-dir", &data_dir]);
    insta::assert_snapshot!("import", mask(&outcome.seen()));
    user.ctl(&["export", "third.jsonl", "--data-dir", &data_dir]).ok();
    assert_eq!(objects(&user.path("third.jsonl")), objects(&first));
    let second = Manager::start(Path::new(&data_dir));
    let (here, there) = (object(&user, "apps", "db"), object(&second.admin(), "apps", "db"));
    assert_eq!((&here["uid"], &here["app_id"]), (&there["uid"], &json!(2)));
    assert!(here["revision"].as_u64() < there["revision"].as_u64(), "{here} {there}");
    drop(manager);
}

/// Without what differs from run to run.
fn mask(text: &str) -> String {
    let masked = text.lines().map(|line| match line.strip_prefix("from ") {
        Some(_) => "from SOURCE, TIME, Nebula VERSION",
        None => line,
    });
    masked.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn everything_goes_from_one_manager_to_another_and_only_once() {
    let (_folder, manager, user) = full_manager();
    user.ctl(&["export", "all.jsonl"]).ok();
    let folder = tempfile::tempdir().expect("a folder");
    let second = Manager::start(folder.path());
    let other = second.admin();
    let file = path(&user.path("all.jsonl"));
    let dry = other.ctl(&["import", &file, "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.seen());
    assert!(dry.err.ends_with("nothing was written\n"), "{}", dry.seen());
    assert_eq!(other.ctl(&["apps", "list", "-o", "json"]).ok(), "{\"apps\":[]}\n");
    // As if the first try had been interrupted after a few objects.
    let text = std::fs::read_to_string(&file).expect("an export");
    let lines: Vec<&str> = text.lines().collect();
    let end = json!({ "end": { "objects": 2, "unreadable": 0, "revision": 0 } }).to_string();
    let begun = [&lines[..3], &[end.as_str(), ""]].concat().join("\n");
    let count = |out: String, kind: &str, way: &str| -> u64 {
        let told: Value = serde_json::from_str(&out).expect("JSON");
        told["objects"][kind][way].as_u64().expect("a number")
    };
    let out = other.ctl_with(&["import", "-", "-o", "json"], &begun).ok();
    assert_eq!(count(out, "app", "added"), 2);
    let out = other.ctl(&["import", &file, "-o", "json"]).ok();
    assert_eq!((count(out.clone(), "app", "equal"), count(out, "user", "added")), (2, 1));
    let again = other.ctl(&["import", &file, "-o", "json"]).ok();
    assert_eq!((count(again.clone(), "app", "equal"), count(again, "user", "equal")), (2, 1));
    other.ctl(&["export", "back.jsonl"]).ok();
    assert_eq!(objects(&other.path("back.jsonl")), objects(&user.path("all.jsonl")));
    // What differs is refused as a whole, kept or replaced.
    other.ctl(&["apps", "update", "web", "--image", "nginx:2"]).ok();
    other.ctl(&["apps", "delete", "db", "--yes"]).ok();
    insta::assert_snapshot!("import_refused", mask(&other.ctl(&["import", &file]).seen()));
    other.ctl(&["apps", "info", "db"]).fails(1);
    other.ctl(&["import", &file, "--skip-existing"]).ok();
    assert_eq!(object(&other, "apps", "web")["docker_image"], "nginx:2");
    assert_eq!(object(&other, "apps", "db")["uid"], object(&user, "apps", "db")["uid"]);
    other.ctl(&["import", &file, "--replace"]).ok();
    assert_eq!(object(&other, "apps", "web")["docker_image"], "nginx:1");
    drop(manager);
}

/// Waits for what is asked for.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(work)
}

/// A database as the original leaves it: no revisions, an empty list for no variables, keys of its
/// own and keys that are missing, its indexes, the one on users under a wrong key.
async fn original(database: &Database) -> ObjectId {
    let container = doc! {
        "docker_image": "nginx:1", "starting_ports": [{ "80": "80" }, 443],
        "containers_per": { "server": 1 }, "env_vars": [], "running": true,
        "networks": ["nebula"], "volumes": [], "devices": [], "privileged": false,
        "rolling_restart": false,
    };
    let mut web = doc! { "app_name": "web", "app_id": 7, "their_own": { "x": 1 } };
    web.extend(container.clone());
    let apps = database.collection::<Document>("nebula_apps");
    let uid = apps.insert_one(web).await.expect("written").inserted_id;
    let old = doc! { "app_name": "old", "app_id": 1, "docker_image": "old:1", "running": false };
    apps.insert_one(old).await.expect("written");
    let broken = doc! { "app_name": "broken", "app_id": 1, "docker_image": 5 };
    apps.insert_one(broken).await.expect("written");
    let groups = database.collection::<Document>("nebula_device_groups");
    let shop = doc! { "device_group": "shop", "device_group_id": 4, "prune_id": 9, "apps": ["web", "gone"] };
    groups.insert_one(shop).await.expect("written");
    let users = database.collection::<Document>("nebula_users");
    let hash = "$2b$12$abcdefghijklmnopqrstuuJ5mK1YpN7vS1v5nT1v5nT1v5nT1v5nTa";
    let ann = doc! { "user_name": "ann", "password": hash, "token": hash };
    users.insert_one(ann).await.expect("written");
    for (collection, key) in [
        ("nebula_apps", "app_name"),
        ("nebula_device_groups", "device_group"),
        ("nebula_users", "user_group"),
    ] {
        let options = IndexOptions::builder().unique(true).name(format!("{key}_index")).build();
        let index = IndexModel::builder().keys(doc! { key: 1 }).options(options).build();
        let collection = database.collection::<Document>(collection);
        collection.create_index(index).await.expect("an index");
    }
    let Bson::ObjectId(uid) = uid else { panic!("{uid}") };
    uid
}

/// All that could be seen of a change: documents and indexes.
async fn seen(database: &Database) -> Vec<String> {
    let mut seen = database.list_collection_names().await.expect("names");
    seen.sort();
    for name in seen.clone() {
        let collection = database.collection::<Document>(&name);
        seen.push(format!("{:?}", collection.list_index_names().await.expect("indexes")));
        let mut all = collection.find(doc! {}).sort(doc! { "_id": 1 }).await.expect("documents");
        while all.advance().await.expect("a document") {
            seen.push(format!("{:?}", all.deserialize_current().expect("a document")));
        }
    }
    seen
}

#[test]
fn the_originals_database_is_exported_untouched_and_imported() {
    let (url, name) = (mongo_url(), fresh_database_name());
    let connect = async || Client::with_uri_str(&url).await.expect("a client").database(&name);
    let (uid, before) = block_on(async {
        let database = connect().await;
        (original(&database).await, seen(&database).await)
    });
    let user = User::new();
    let from = database(&url, &name);
    let outcome = user.ctl(&[&["export", "all.jsonl"], &from[..]].concat());
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("left out: app `broken`: `docker_image`: "), "{}", outcome.seen());
    let skipping = ["export", "all.jsonl", "--force", "--skip-unreadable"];
    user.ctl(&[&skipping, &from[..]].concat()).ok();
    assert_eq!(block_on(async { seen(&connect().await).await }), before, "nothing was changed");
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let other = manager.admin();
    let outcome = other.ctl(&["import", &path(&user.path("all.jsonl"))]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.seen());
    for words in [
        "warning: not in the file: app `broken`: `docker_image`: ",
        "warning: device group `shop` lists app `gone`, which is not there",
    ] {
        assert!(outcome.err.contains(words), "{words}: {}", outcome.seen());
    }
    let web = object(&other, "apps", "web");
    assert_eq!((&web["uid"], &web["app_id"]), (&json!(uid.to_hex()), &json!(7)), "{web}");
    assert_eq!((&web["env_vars"], web.get("their_own")), (&json!([]), None), "{web}");
    assert_eq!(object(&other, "apps", "old")["containers_per"], json!({ "server": 1 }));
    // Taken back into the original's own, as its first use by Nebula: what is equal stays, with
    // what is not ours in it, and takes a revision; an index that harms makes room.
    let back = [&["import", "all.jsonl", "-o", "json"], &from[..]].concat();
    let told: Value = serde_json::from_str(&user.ctl(&back).ok()).expect("JSON");
    assert_eq!(told["objects"]["app"]["equal"], 2, "{told}");
    let (web, indexes) = block_on(async {
        let database = connect().await;
        let apps = database.collection::<Document>("nebula_apps");
        let web = apps.find_one(doc! { "app_name": "web" }).await.expect("read").expect("there");
        let users = database.collection::<Document>("nebula_users");
        (web, users.list_index_names().await.expect("indexes"))
    });
    assert!(web.get_i64("revision").is_ok() && web.contains_key("their_own"), "{web}");
    assert!(indexes.contains(&"user_name_1".to_owned()), "{indexes:?}");
    assert!(!indexes.contains(&"user_group_index".to_owned()), "{indexes:?}");
    let shop = object(&other, "device-groups", "shop");
    assert_eq!((&shop["prune_id"], &shop["device_group_id"]), (&json!(9), &json!(4)), "{shop}");
    assert_eq!((&shop["apps"], &shop["cron_jobs"]), (&json!(["web", "gone"]), &json!([])));
}

#[test]
fn a_file_that_is_not_whole_or_not_right_changes_nothing() {
    let (_folder, manager, user) = full_manager();
    user.ctl(&["export", "all.jsonl"]).ok();
    let text = std::fs::read_to_string(user.path("all.jsonl")).expect("an export");
    let folder = tempfile::tempdir().expect("a folder");
    let second = Manager::start(folder.path());
    let other = second.admin();
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| format!("{}\n", lines.join("\n"));
    let without = |index: usize| {
        let mut left = lines.clone();
        left.remove(index);
        joined(&left)
    };
    let newer = text.replacen("\"format_version\":1", "\"format_version\":2", 1);
    let wrong = text.replacen("\"docker_image\":\"nginx:1\"", "\"docker_image\":\"a b\"", 1);
    let twice = joined(&[&lines[..2], &lines[1..]].concat());
    for (text, words) in [
        (joined(&lines[..5]), "the end is missing: the file was cut off"),
        (text[..text.len() / 2].to_owned(), "is not JSON"),
        (without(0), "line 1 must say what the file is"),
        (without(3), "6 objects stand in it and its end says 7"),
        (newer, "is in version 2 of the format, and this Nebula reads up to version 1"),
        (wrong, "app `web`: `docker_image`: "),
        (twice, "line 3: app `web`: its name is that of a line above"),
        (format!("{text}{{}}\n"), "line 10 stands after the end"),
        (String::new(), "the end is missing"),
        ("x".repeat(3 << 20), "line 1 is longer than 2097152 bytes"),
    ] {
        let err = other.ctl_with(&["import", "-"], &text).fails(1);
        assert!(err.contains(words), "{words}: {err}");
        assert!(err.starts_with("error: stdin is no export that can be read\n"), "{err}");
    }
    assert_eq!(other.ctl(&["apps", "list", "-o", "json"]).ok(), "{\"apps\":[]}\n");
    drop(manager);
}

#[test]
fn places_that_cannot_be_used_are_told() {
    let (folder, manager, user) = full_manager();
    let busy = path(folder.path());
    for command in [["export", "out.jsonl"], ["import", "-"]] {
        let outcome = user.ctl_with(&[&command[..], &["--data-dir", &busy]].concat(), EMPTY);
        assert_eq!(outcome.code, Some(1), "{}", outcome.seen());
        assert!(
            outcome.err.contains("another manager runs on this data folder"),
            "{}",
            outcome.seen()
        );
    }
    let err = user.ctl(&["export", "--data-dir", "nowhere"]).fails(1);
    assert!(err.contains("there is no store in `nowhere`"), "{err}");
    assert!(!user.path("nowhere").exists() && !user.path("out.jsonl").exists());
    let nowhere = "mongodb://root:s3cret@127.0.0.1:1/?serverSelectionTimeoutMS=100";
    let err = user.ctl(&["export", "--mongo-url", nowhere]).fails(1);
    assert!(
        err.contains("the MongoDB database `nebula` failed") && !err.contains("s3cret"),
        "{err}"
    );
    user.ctl(&["export", "--mongo-url", nowhere, "--data-dir", "x"]).fails(2);
    user.ctl(&["users", "create", "bob", "--password-file", "/dev/null"]);
    let bob = User::at(&manager.url).with("NEBULA_TOKEN", "wrong");
    assert!(bob.ctl(&["export"]).fails(1).contains("does not accept the credentials"));
    std::fs::write(user.path("out.jsonl"), "older").expect("written");
    assert!(user.ctl(&["export", "out.jsonl"]).fails(1).contains("is there already"));
    assert_eq!(std::fs::read(user.path("out.jsonl")).expect("kept"), b"older");
}

/// The shortest export.
const EMPTY: &str = r#"{"format":"nebula-export","format_version":1,"version":"0","source":"x","created":"y"}
{"end":{"objects":0,"unreadable":0,"revision":0}}
"#;

#[test]
fn an_answer_that_breaks_off_leaves_no_file() {
    let begun = EMPTY.lines().next().expect("a line").to_owned();
    let server = Server::start(move |request| {
        assert_eq!(request.line, "GET /api/v2/export");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", begun.len());
        Answer::Bytes([head.as_bytes(), begun.as_bytes()].concat())
    });
    let user = User::of(&server);
    let err = user.ctl(&["export", "out.jsonl"]).fails(1);
    assert!(err.contains("the end is missing: the file was cut off"), "{err}");
    let forbidden = Server::start(|_| {
        reply(403, "Content-Type: application/json\r\n", "{\"access_allowed\": false}")
    });
    let user = User::of(&forbidden);
    assert!(user.ctl(&["export", "out.jsonl"]).fails(1).contains("may not do this"));
    assert_eq!(std::fs::read_dir(user.home()).expect("a folder").count(), 0);
}
