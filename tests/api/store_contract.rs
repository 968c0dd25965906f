//! What every store must do. Each implementation runs it.

use nebula::model::{App, AppFields, DeviceGroup, Identity, Name, Revision, Unknown};
use nebula::store::{Kind, Noun, Store, StoreError};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinSet;

pub(crate) fn app(name: &str) -> App {
    let body = json!({ "docker_image": "nginx:1", "env_vars": { "A": "b" } });
    let fields = AppFields::decode(body.as_object().unwrap().clone(), None, Unknown::Refuse);
    let spec = fields.unwrap().into_spec().unwrap();
    App { identity: Identity::default(), app_id: 1, app_name: Name::new(name).unwrap(), spec }
}

pub(crate) fn group(name: &str, apps: &[&str]) -> DeviceGroup {
    DeviceGroup {
        identity: Identity::default(),
        device_group: Name::new(name).unwrap(),
        device_group_id: 1,
        prune_id: 1,
        apps: apps.iter().map(|name| (*name).to_owned()).collect(),
        cron_jobs: vec!["job".to_owned()],
    }
}

/// Runs on an empty store.
pub(crate) async fn contract(store: Arc<dyn Store>) {
    store.ping().await.unwrap();
    keeps_what_it_is_given(&*store).await;
    refuses_what_does_not_fit(&*store).await;
    names_the_groups_a_write_touches(&*store).await;
    reads_a_group_as_one(&*store).await;
    exactly_one_writer_wins(&store).await;
}

async fn keeps_what_it_is_given(store: &dyn Store) {
    let written = store.create(app("b")).await.unwrap();
    let kept = store.find::<App>("b").await.unwrap().unwrap();
    assert_eq!(kept, written.object);
    assert_eq!(kept.revision(), written.revision);
    assert_eq!(App { identity: Identity::default(), ..kept.clone() }, app("b"));
    // An identity that is sent along is not the sender's to give.
    let mut changed = App { app_id: 2, identity: Identity::default(), ..kept.clone() };
    changed.spec.running = false;
    let second = store.update(changed, written.revision).await.unwrap();
    assert_eq!((second.object.identity.uid, second.object.app_id), (kept.identity.uid, 2));
    assert!(second.revision > written.revision);
    assert_eq!(store.find::<App>("b").await.unwrap(), Some(second.object));
    let other = store.create(App { identity: kept.identity, ..app("a") }).await.unwrap();
    assert_ne!(other.object.identity.uid, kept.identity.uid);
    let made = store.create(group("g", &["a"])).await.unwrap();
    assert!(made.revision > other.revision, "one order for all kinds");
    assert_eq!(store.find::<DeviceGroup>("g").await.unwrap(), Some(made.object));
    assert_eq!(store.names(Kind::App).await.unwrap(), ["a", "b"]);
    assert_eq!(store.names(Kind::DeviceGroup).await.unwrap(), ["g"]);
    for (kind, name) in [(Kind::App, "a"), (Kind::App, "b"), (Kind::DeviceGroup, "g")] {
        store.delete(kind, name).await.unwrap();
        assert_eq!(store.get(kind, name).await.unwrap(), None);
        assert!(store.names(kind).await.unwrap().iter().all(|kept| kept != name));
    }
}

async fn refuses_what_does_not_fit(store: &dyn Store) {
    let first = store.create(app("x")).await.unwrap();
    let again = store.create(app("x")).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists)));
    let stale = store.update(app("x"), Revision(first.revision.0 - 1)).await;
    assert!(matches!(stale, Err(StoreError::Conflict)));
    assert_eq!(store.find::<App>("x").await.unwrap(), Some(first.object));
    let unknown = store.update(app("none"), first.revision).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    let unknown = store.delete(Kind::App, "none").await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    // Kinds do not share names, and odd names are not found.
    assert_eq!(store.get(Kind::DeviceGroup, "x").await.unwrap(), None);
    for odd in ["", "x'; --", "\0", "%", "X", "\u{fffd}"] {
        assert_eq!(store.get(Kind::App, odd).await.unwrap(), None, "{odd:?}");
    }
    store.delete(Kind::App, "x").await.unwrap();
}

async fn names_the_groups_a_write_touches(store: &dyn Store) {
    let touched = |mut groups: Vec<String>| {
        groups.sort();
        groups
    };
    store.create(app("m")).await.unwrap();
    let one = store.create(group("g1", &["m", "n"])).await.unwrap();
    assert_eq!(one.device_groups, ["g1"]);
    store.create(group("g2", &["m"])).await.unwrap();
    let changed = store.update(app("m"), store.find::<App>("m").await.unwrap().unwrap().revision());
    assert_eq!(touched(changed.await.unwrap().device_groups), ["g1", "g2"]);
    let came = store.create(app("n")).await.unwrap();
    assert_eq!(came.device_groups, ["g1"], "a member that comes into being");
    let gone = store.delete(Kind::App, "m").await.unwrap();
    assert_eq!(touched(gone.device_groups), ["g1", "g2"]);
    let g1 = store.find::<DeviceGroup>("g1").await.unwrap().unwrap();
    assert_eq!((g1.revision(), g1.device_group_id), (gone.revision, 1));
    let emptied = store.update(group("g1", &[]), g1.revision()).await.unwrap();
    assert_eq!(emptied.device_groups, ["g1"]);
    assert!(store.delete(Kind::App, "n").await.unwrap().device_groups.is_empty());
    for name in ["g1", "g2"] {
        assert_eq!(store.delete(Kind::DeviceGroup, name).await.unwrap().device_groups, [name]);
    }
    assert!(store.create(app("m")).await.unwrap().device_groups.is_empty());
    store.delete(Kind::App, "m").await.unwrap();
}

async fn reads_a_group_as_one(store: &dyn Store) {
    assert_eq!(store.group_snapshot("none").await.unwrap(), None);
    let second = store.create(app("second")).await.unwrap();
    let first = store.create(app("first")).await.unwrap();
    let made = store.create(group("g", &["second", "none", "first"])).await.unwrap();
    let later = store.create(app("unrelated")).await.unwrap();
    let snapshot = store.group_snapshot("g").await.unwrap().unwrap();
    assert_eq!(snapshot.group, made.object);
    assert_eq!(snapshot.apps, [second.object, first.object], "in the group's order");
    assert_eq!(snapshot.revision(), made.revision);
    assert!(snapshot.store_revision >= later.revision);
    for (kind, name) in [
        (Kind::App, "second"),
        (Kind::App, "first"),
        (Kind::App, "unrelated"),
        (Kind::DeviceGroup, "g"),
    ] {
        store.delete(kind, name).await.unwrap();
    }
}

async fn exactly_one_writer_wins(store: &Arc<dyn Store>) {
    let first = store.create(app("c")).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(store);
        tasks.spawn(async move { store.update(app("c"), first.revision).await });
    }
    let won = tasks.join_all().await.into_iter().flatten().count();
    assert_eq!(won, 1);
    store.delete(Kind::App, "c").await.unwrap();
}

/// What a group's devices are told, but for its order: the group's id and each app's.
type State = (u64, Vec<u64>);

/// One writer changes two apps and their group in turn, deletes and creates one of them, and notes
/// the state after each write by its revision. What readers saw meanwhile must be, to the letter,
/// the state at the revision that their snapshot says.
pub(crate) async fn a_snapshot_is_one_moment(store: Arc<dyn Store>) {
    store.create(app("a")).await.unwrap();
    store.create(app("b")).await.unwrap();
    store.create(group("g", &["a", "b"])).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        readers.spawn(async move {
            let mut seen: Vec<(Revision, State)> = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let snapshot = store.group_snapshot("g").await.unwrap().unwrap();
                let apps = snapshot.apps.iter().map(|app| app.app_id).collect();
                let state = (snapshot.group.device_group_id, apps);
                seen.push((snapshot.store_revision, state));
            }
            seen
        });
    }
    let states = write_on(&*store).await;
    done.store(true, Ordering::SeqCst);
    let seen: Vec<_> = readers.join_all().await.into_iter().flatten().collect();
    let mut compared = 0;
    for (revision, state) in seen {
        // Those before the first noted write are not known.
        let Some(expected) = states.get(&revision) else { continue };
        assert_eq!(&state, expected, "at {revision}");
        compared += 1;
    }
    assert!(compared > 0, "the readers saw what was written");
}

async fn write_on(store: &dyn Store) -> HashMap<Revision, State> {
    let mut states = HashMap::new();
    let (mut a, mut g) = (1, 1);
    for b in 1..100 {
        let mut note = |revision, a, b: &[u64], g| {
            states.insert(revision, (g, [&[a], b].concat()));
        };
        let last = store.find::<App>("a").await.unwrap().unwrap().revision();
        a += 1;
        let written = store.update(App { app_id: a, ..app("a") }, last).await.unwrap();
        note(written.revision, a, &[b], g);
        let last = store.find::<DeviceGroup>("g").await.unwrap().unwrap().revision();
        g += 1;
        let changed = DeviceGroup { device_group_id: g, ..group("g", &["a", "b"]) };
        note(store.update(changed, last).await.unwrap().revision, a, &[b], g);
        note(store.delete(Kind::App, "b").await.unwrap().revision, a, &[], g);
        let new = App { app_id: b + 1, ..app("b") };
        note(store.create(new).await.unwrap().revision, a, &[b + 1], g);
    }
    states
}
