//! Moving everything between stores and managers: what each store must do, and the two routes.

use crate::harness::{
    Manager, PATIENCE, basic_of, bearer, cheap_hash, read, seed_user, user, user_group,
};
use crate::store_contract::{app, cron_job, group};
use nebula::config::Secret;
use nebula::model::{App, Author, Revision, SecretHash, Uid};
use nebula::store::transfer::{
    Existing, Exported, Import, Line, Outcome, Refused, export_to, wire,
};
use nebula::store::{
    Kind, KnownGroups, MongoSettings, MongoStore, Object, SqliteStore, Store, StoreError, Told,
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc::channel;

fn mongo(database: &str) -> Arc<dyn Store> {
    let url = std::env::var("NEBULA_TEST_MONGO_URL").expect("scripts/with-services mongo");
    Arc::new(MongoStore::new(MongoSettings {
        url: Secret::new(url),
        database: database.to_owned(),
        max_pool_size: 10,
    }))
}

/// An object as another store would have it.
fn of_uid(object: impl Into<Object>, uid: u8, revision: u64) -> Object {
    let mut item = wire(&object.into()).unwrap();
    item["object"]["uid"] = json!(Uid::from_bytes([uid; 12]).to_string());
    item["object"]["revision"] = revision.into();
    let Value::Object(item) = item else { unreachable!() };
    nebula::store::transfer::object_of(item).unwrap()
}

fn image(name: &str, image: &str) -> App {
    let mut app = app(name);
    app.spec.container.docker_image = nebula::model::ImageReference::parse(image).unwrap();
    app
}

async fn import(store: &dyn Store, objects: &[Object], existing: Existing) -> Vec<Outcome> {
    let batch =
        Import { objects: objects.to_vec(), existing, above: Revision(0), is_dry_run: false };
    store.import(batch, &Author::elsewhere()).await.unwrap().outcomes
}

async fn exported(store: &dyn Store) -> (Vec<Object>, Revision) {
    let (sender, mut receiver) = channel(1);
    let gather = async {
        let mut all = Vec::new();
        while let Some(thing) = receiver.recv().await {
            match thing {
                Exported::Object(object) => all.push(*object),
                Exported::Unreadable(unreadable) => panic!("{unreadable}"),
            }
        }
        all
    };
    let (revision, all) = tokio::join!(store.export(sender), gather);
    (all, revision.unwrap())
}

fn names(objects: &[Object]) -> Vec<(Kind, String)> {
    objects.iter().map(|object| (object.kind(), object.name().to_owned())).collect()
}

/// Runs on an empty store.
async fn contract(store: &dyn Store) {
    takes_all_kinds_over_as_they_are(store).await;
    is_the_same_twice(store).await;
    refuses_the_whole_batch(store).await;
    replaces_and_keeps(store).await;
    says_what_it_would_do(store).await;
}

fn all_kinds() -> Vec<Object> {
    vec![
        of_uid(app("a"), 1, 5),
        of_uid(app("b"), 2, 9_000_000_000_000),
        of_uid(cron_job("job"), 3, 7),
        of_uid(group("g", &["b", "a", "gone"]), 4, 8),
        of_uid(user("ann", SecretHash::new("$2b$p"), SecretHash::new("$2b$t"), "t"), 5, 0),
        of_uid(user_group("staff", json!({ "group_members": ["ann"] })), 6, 6),
    ]
}

async fn takes_all_kinds_over_as_they_are(store: &dyn Store) {
    assert_eq!(exported(store).await.0, []);
    let batch = Import {
        objects: all_kinds(),
        existing: Existing::Refuse,
        above: Revision(9_000_000_000_500),
        is_dry_run: false,
    };
    let imported = store.import(batch, &Author::elsewhere()).await.unwrap();
    assert_eq!(imported.outcomes, vec![Outcome::Added; 6]);
    let revision = imported.revision.unwrap();
    assert!(revision.0 > 9_000_000_000_500, "above all that devices may have seen: {revision}");
    let (kept, last) = exported(store).await;
    assert!(last >= revision);
    assert_eq!(names(&kept), names(&all_kinds()), "by kind, and by uid within a kind");
    for (kept, given) in kept.iter().zip(all_kinds()) {
        assert_eq!(kept.identity().uid, given.identity().uid, "{kept:?}");
        assert_eq!(kept.identity().revision, Some(revision));
        let mut wire_of_kept = wire(kept).unwrap();
        wire_of_kept["object"]["revision"] = wire(&given).unwrap()["object"]["revision"].clone();
        assert_eq!(wire_of_kept, wire(&given).unwrap());
    }
    let snapshot = store.group_snapshot("g").await.unwrap().unwrap();
    assert_eq!((snapshot.apps.len(), snapshot.cron_jobs.len()), (2, 1));
    assert_eq!(snapshot.revision(), revision);
    let ann = store.user_snapshot("ann", &KnownGroups::default()).await.unwrap().unwrap();
    assert_eq!(ann.groups.len(), 1);
    let next = store.create(app("z"), &Author::elsewhere()).await.unwrap();
    assert!(next.revision > revision);
    store.delete(Kind::App, "z").await.unwrap();
}

async fn is_the_same_twice(store: &dyn Store) {
    let before = exported(store).await;
    let batch = Import {
        objects: all_kinds(),
        existing: Existing::Refuse,
        above: Revision(9_000_000_000_500),
        is_dry_run: false,
    };
    let again = store.import(batch.clone(), &Author::elsewhere()).await.unwrap();
    assert_eq!((again.outcomes, again.revision), (vec![Outcome::Equal; 6], None));
    assert_eq!(exported(store).await, before, "not a revision was taken");
    // Equal, but the other store has gone on: its devices have seen more.
    let above = Revision(before.1.0 + 1_000);
    let raised = store.import(Import { above, ..batch }, &Author::elsewhere()).await.unwrap();
    assert_eq!(raised.outcomes, vec![Outcome::Equal; 6]);
    assert!(raised.revision.unwrap() > above);
    let (kept, _) = exported(store).await;
    assert!(kept.iter().all(|kept| kept.identity().revision == raised.revision));
    assert!(kept.iter().zip(before.0).all(|(kept, old)| kept.identity().uid == old.identity().uid));
}

async fn refuses_the_whole_batch(store: &dyn Store) {
    let before = exported(store).await;
    let objects = [of_uid(app("new"), 20, 1), of_uid(image("a", "nginx:2"), 1, 1)];
    let outcomes = import(store, &objects, Existing::Refuse).await;
    let differs = |keys: &[&str]| {
        Outcome::Refused(Refused::Differs(keys.iter().map(ToString::to_string).collect()))
    };
    assert_eq!(outcomes, [Outcome::Added, differs(&["docker_image"])]);
    let objects = [of_uid(app("a"), 21, 1), of_uid(app("new"), 2, 1)];
    for existing in [Existing::Refuse, Existing::Skip, Existing::Replace] {
        let outcomes = import(store, &objects, existing).await;
        assert_eq!(outcomes[1], Outcome::Refused(Refused::UidTaken("b".to_owned())));
    }
    assert_eq!(import(store, &objects[..1], Existing::Refuse).await, [differs(&["uid"])]);
    assert_eq!(exported(store).await, before, "nothing of any batch was written");
}

async fn replaces_and_keeps(store: &dyn Store) {
    let find = async |name: &str| store.find::<App>(name).await.unwrap().unwrap();
    let before = find("a").await;
    let changed = [of_uid(image("a", "nginx:2"), 1, 1), of_uid(app("c"), 30, 1)];
    let outcomes = import(store, &changed, Existing::Skip).await;
    assert_eq!(outcomes, [Outcome::Skipped, Outcome::Added]);
    assert_eq!(find("a").await, before);
    let outcomes = import(store, &changed, Existing::Replace).await;
    assert_eq!(outcomes, [Outcome::Replaced, Outcome::Equal]);
    let replaced = find("a").await;
    assert_eq!(replaced.spec, image("a", "nginx:2").spec);
    assert_eq!(replaced.identity.uid, before.identity.uid);
    assert!(replaced.identity.revision > before.identity.revision);
    // One made anew elsewhere takes the place with its own uid; lists hold it by name.
    let other = [of_uid(image("a", "nginx:3"), 31, 1), of_uid(group("g", &["a"]), 32, 1)];
    let outcomes = import(store, &other, Existing::Replace).await;
    assert_eq!(outcomes, [Outcome::Replaced, Outcome::Replaced]);
    let snapshot = store.group_snapshot("g").await.unwrap().unwrap();
    assert_eq!(snapshot.apps, [find("a").await]);
    assert_eq!(snapshot.apps[0].identity.uid, Some(Uid::from_bytes([31; 12])));
    assert_eq!(snapshot.group.identity.uid, Some(Uid::from_bytes([32; 12])));
    assert_eq!(store.names(Kind::App).await.unwrap(), ["a", "b", "c"]);
    assert!(matches!(
        store.create(app("a"), &Author::elsewhere()).await,
        Err(StoreError::AlreadyExists)
    ));
}

async fn says_what_it_would_do(store: &dyn Store) {
    let before = exported(store).await;
    let batch = Import {
        objects: vec![of_uid(app("new"), 40, 1), of_uid(app("b"), 2, 1), of_uid(app("a"), 1, 1)],
        existing: Existing::Replace,
        above: Revision(before.1.0 + 1_000_000),
        is_dry_run: true,
    };
    let dry = store.import(batch, &Author::elsewhere()).await.unwrap();
    assert_eq!(dry.outcomes, [Outcome::Added, Outcome::Equal, Outcome::Replaced]);
    assert_eq!((dry.revision, exported(store).await), (None, before));
}

#[tokio::test]
async fn the_embedded_store_takes_everything_over() {
    let folder = tempfile::tempdir().unwrap();
    contract(&SqliteStore::open(folder.path()).await.unwrap()).await;
}

#[tokio::test]
async fn mongodb_takes_everything_over() {
    contract(&*mongo("transfer")).await;
}

/// The lines of a manager's export.
async fn lines(manager: &Manager) -> Vec<Line> {
    let response = manager.request("GET", "/api/v2/export").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/jsonl");
    let text = response.text().await.unwrap();
    text.lines().map(|line| Line::parse(line.as_bytes()).unwrap()).collect()
}

#[tokio::test]
async fn an_export_has_a_head_every_object_and_an_end() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    manager.create_group("shop", &["web"]).await;
    seed_user(&*store, "ann").await;
    let lines = lines(&manager).await;
    assert_eq!(lines.len(), 5);
    let Line::Header(header) = &lines[0] else { panic!("{lines:?}") };
    assert!(header.source.starts_with("the manager on "), "{header:?}");
    assert_eq!(header.version, env!("CARGO_PKG_VERSION"));
    let objects: Vec<Object> = lines[1..4]
        .iter()
        .map(|line| if let Line::Object(object) = line { (**object).clone() } else { panic!() })
        .collect();
    assert_eq!((objects, true), (exported(&*store).await.0, true));
    let Line::End(end) = lines[4] else { panic!("{lines:?}") };
    assert_eq!((end.objects, end.unreadable), (3, 0));
    let left = std::fs::read_dir(manager.folder.as_ref().unwrap().path()).unwrap();
    assert!(left.flatten().all(|file| file.file_name().to_string_lossy().starts_with("nebula.")));
}

#[tokio::test]
async fn what_is_imported_counts_at_once() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("shop", &[]).await;
    seed_user(&*store, "ann").await;
    let before = manager.info("shop").await;
    assert_eq!(manager.login(&basic_of("ann", "ann-password")).await, 200);
    assert_eq!(manager.login(&bearer("bob-token")).await, 401);
    let Object::DeviceGroup(mut shop) =
        store.get(Kind::DeviceGroup, "shop").await.unwrap().unwrap()
    else {
        unreachable!()
    };
    shop.apps = vec!["web".to_owned()];
    let uid = shop.identity.uid.unwrap().bytes()[0];
    let mut shop_wire = wire(&of_uid(shop.clone(), uid, 1)).unwrap();
    shop_wire["object"]["uid"] = json!(shop.identity.uid);
    // Ann's hashes become others, and bob comes with his.
    let body = json!({ "existing": "replace", "above": 9_000_000_000_000_u64, "objects": [
        wire(&of_uid(app("web"), 1, 3)).unwrap(),
        shop_wire,
        wire(&of_uid(user("ann", cheap_hash("other"), cheap_hash("x"), "x"), 2, 3)).unwrap(),
        wire(&of_uid(user("bob", cheap_hash("p"), cheap_hash("bob-token"), "bob-token"), 3, 3))
            .unwrap(),
    ] });
    let (status, answer) = manager.send("POST", "/import", body.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let outcomes: Vec<&Value> =
        answer["objects"].as_array().unwrap().iter().map(|told| &told["outcome"]).collect();
    assert_eq!(outcomes, ["added", "replaced", "replaced", "added"]);
    let info = manager.info("shop").await;
    assert_eq!((&info["apps_list"], &before["apps_list"]), (&json!(["web"]), &json!([])));
    assert!(info["revision"].as_u64() > Some(9_000_000_000_000));
    assert_eq!(manager.login(&basic_of("ann", "ann-password")).await, 401);
    assert_eq!(manager.login(&basic_of("ann", "other")).await, 200);
    assert_eq!(manager.login(&bearer("bob-token")).await, 200);
    let (status, again) = manager.send("POST", "/import", body).await;
    assert_eq!((status, &again["revision"]), (200, &Value::Null), "{again}");
}

#[tokio::test]
async fn an_import_that_cannot_be_says_why_and_writes_nothing() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    let before = exported(&*store).await;
    let web = wire(&of_uid(app("web"), 1, 3)).unwrap();
    let new = || wire(&of_uid(app("new"), 2, 3)).unwrap();
    let (status, answer) =
        manager.send("POST", "/import", json!({ "objects": [new(), web] })).await;
    assert_eq!(status, 409);
    let reason = answer["error"].as_str().unwrap();
    assert!(reason.contains("app `web`: it is there already and differs in `uid`"), "{reason}");
    let mut no_uid = new();
    no_uid["object"].as_object_mut().unwrap().remove("uid");
    let mut no_image = new();
    no_image["object"].as_object_mut().unwrap().remove("docker_image");
    let many = vec![new(); 1_001];
    for (body, field, words) in [
        (json!({ "objects": 1 }), "objects", "must be a list"),
        (json!({}), "objects", "must be a list"),
        (json!({ "objects": [], "colour": 1 }), "colour", "is not known"),
        (json!({ "objects": [], "existing": "x" }), "existing", "must be `refuse`"),
        (json!({ "objects": [], "dry_run": 1 }), "dry_run", "must be true or false"),
        (json!({ "objects": [], "above": -1 }), "above", "must be a whole number"),
        (json!({ "objects": [new(), 1] }), "objects", "item 2: must be an object"),
        (json!({ "objects": [no_uid] }), "objects", "item 1: app `new`: `uid`: is required"),
        (json!({ "objects": [no_image] }), "objects", "item 1: app `new`: `docker_image`"),
        (json!({ "objects": [new(), new()] }), "objects", "item 2: app `new`: its name or its uid"),
        (json!({ "objects": many }), "objects", "must be at most 1000"),
        (json!({ "objects": [{ "kind": "pod", "object": {} }] }), "objects", "got `pod`"),
    ] {
        let (status, answer) = manager.send("POST", "/import", body).await;
        let reason = answer[field].as_str().unwrap_or_default();
        assert!(status == 400 && reason.contains(words), "{words}: {status} {answer}");
    }
    assert_eq!(exported(&*store).await, before);
    // More than one object may have, and no more than that.
    let large = |bytes: usize| json!({ "objects": [], "colour": "x".repeat(bytes) });
    assert_eq!(manager.send("POST", "/import", large(2 << 20)).await.0, 400);
    assert_eq!(manager.send("POST", "/import", large(5 << 20)).await.0, 413);
}

#[tokio::test]
async fn an_export_that_the_store_cannot_give_is_refused_and_not_cut() {
    let (manager, store) = Manager::moody().await;
    store.is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    let response = manager.request("GET", "/api/v2/export").send().await.unwrap();
    assert_eq!(read(response).await.0, 503);
}

#[tokio::test]
async fn an_export_begins_anew_when_the_store_cannot_show_one_moment() {
    let (_manager, store) = Manager::moody().await;
    store.inner.create(app("web"), &Author::elsewhere()).await.unwrap();
    store.conflicts.store(2, std::sync::atomic::Ordering::SeqCst);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut file = tokio::fs::File::from_std(std::fs::File::create(&path).unwrap());
    let end = export_to(&*store, "here", &mut file).await.unwrap();
    assert_eq!(end.objects, 1);
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 3, "once and not thrice:\n{text}");
}

#[tokio::test]
async fn other_managers_are_told_of_an_import() {
    let (here, there) = (mongo("transfer-told"), mongo("transfer-told"));
    here.create(app("a"), &Author::elsewhere()).await.unwrap();
    let mut changes = there.changes(None, PATIENCE).await.unwrap().unwrap();
    changes.next().await.unwrap();
    // One of them is exchanged, which is a deletion as well.
    let objects = vec![of_uid(app("a"), 1, 1), of_uid(app("b"), 2, 1)];
    let above = Revision::default();
    let batch = Import { objects, existing: Existing::Replace, above, is_dry_run: false };
    let revision = here.import(batch, &Author::elsewhere()).await.unwrap().revision.unwrap();
    let told = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    assert_eq!(told, Told::Everything { revision }, "one note for all of it");
    // The next that is told is the next write.
    let next = here.create(app("c"), &Author::elsewhere()).await.unwrap().revision;
    let told = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    assert!(matches!(told, Told::Write { revision, .. } if revision == next), "{told:?}");
}
