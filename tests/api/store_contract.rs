//! What every store must do. Each implementation runs it.

use crate::enrollment::{enrolled_device, enrollment};
use crate::harness::{cheap_hash, user, user_group};
use nebula::model::{
    App, AppEntry, AppFields, Author, CronJob, CronJobFields, DeviceGroup, Identity, MAX_VERSIONS,
    Name, Revision, Uid, Unknown, User,
};
use nebula::store::transfer::{Existing, Import};
use nebula::store::{Kind, KnownGroups, Noun, Object, Store, StoreError};
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

pub(crate) fn cron_job(name: &str) -> CronJob {
    let body = json!({ "docker_image": "job:1", "schedule": "@daily", "env_vars": { "A": "b" } });
    let fields = CronJobFields::decode(body.as_object().unwrap().clone(), None, Unknown::Refuse);
    let spec = fields.unwrap().into_spec().unwrap();
    let cron_job_name = Name::new(name).unwrap();
    CronJob { identity: Identity::default(), cron_job_id: 1, cron_job_name, spec }
}

/// A user with a token of the managers' form, of this id, or of another form.
fn user_with(name: &str, token_id: Option<u8>) -> User {
    let made = token_id.map(|id| nebula::model::new_token([id; 8], name));
    let token = made.map_or_else(|| format!("{name}-token"), |made| made.expose().clone());
    user(name, cheap_hash("p"), cheap_hash(&token), &token)
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
    keeps_every_kind(&*store).await;
    raises_the_groups_of_a_cron_job(&*store).await;
    reads_a_user_as_one(&*store).await;
    finds_the_owners_of_a_token(&*store).await;
    prunes_every_group(&*store).await;
    keeps_any_key_of_a_map(&*store).await;
    keeps_the_versions_of_an_app(&*store).await;
    keeps_one_version_of_each_of_competing_writes(&store).await;
    keeps_the_version_of_an_import(&*store).await;
}

async fn keeps_what_it_is_given(store: &dyn Store) {
    let written = store.create(app("b"), &Author::elsewhere()).await.unwrap();
    let kept = store.find::<App>("b").await.unwrap().unwrap();
    assert_eq!(kept, written.object);
    assert_eq!(kept.revision(), written.revision);
    assert_eq!(App { identity: Identity::default(), ..kept.clone() }, app("b"));
    // An identity that is sent along is not the sender's to give.
    let mut changed = App { app_id: 2, identity: Identity::default(), ..kept.clone() };
    changed.spec.running = false;
    let second = store.update(changed, written.revision, &Author::elsewhere()).await.unwrap();
    assert_eq!((second.object.identity.uid, second.object.app_id), (kept.identity.uid, 2));
    assert!(second.revision > written.revision);
    assert_eq!(store.find::<App>("b").await.unwrap(), Some(second.object));
    let other = store
        .create(App { identity: kept.identity, ..app("a") }, &Author::elsewhere())
        .await
        .unwrap();
    assert_ne!(other.object.identity.uid, kept.identity.uid);
    let made = store.create(group("g", &["a"]), &Author::elsewhere()).await.unwrap();
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
    let first = store.create(app("x"), &Author::elsewhere()).await.unwrap();
    let again = store.create(app("x"), &Author::elsewhere()).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists)));
    let stale = store.update(app("x"), Revision(first.revision.0 - 1), &Author::elsewhere()).await;
    assert!(matches!(stale, Err(StoreError::Conflict)));
    assert_eq!(store.find::<App>("x").await.unwrap(), Some(first.object));
    let unknown = store.update(app("none"), first.revision, &Author::elsewhere()).await;
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
    store.create(app("m"), &Author::elsewhere()).await.unwrap();
    let one = store.create(group("g1", &["m", "n"]), &Author::elsewhere()).await.unwrap();
    assert_eq!(one.device_groups, ["g1"]);
    store.create(group("g2", &["m"]), &Author::elsewhere()).await.unwrap();
    let last = store.find::<App>("m").await.unwrap().unwrap().revision();
    let changed = store.update(app("m"), last, &Author::elsewhere()).await.unwrap();
    assert_eq!(touched(changed.device_groups), ["g1", "g2"]);
    let came = store.create(app("n"), &Author::elsewhere()).await.unwrap();
    assert_eq!(came.device_groups, ["g1"], "a member that comes into being");
    let gone = store.delete(Kind::App, "m").await.unwrap();
    assert_eq!(touched(gone.device_groups), ["g1", "g2"]);
    let g1 = store.find::<DeviceGroup>("g1").await.unwrap().unwrap();
    assert_eq!((g1.revision(), g1.device_group_id), (gone.revision, 1));
    let emptied =
        store.update(group("g1", &[]), g1.revision(), &Author::elsewhere()).await.unwrap();
    assert_eq!(emptied.device_groups, ["g1"]);
    assert!(store.delete(Kind::App, "n").await.unwrap().device_groups.is_empty());
    for name in ["g1", "g2"] {
        assert_eq!(store.delete(Kind::DeviceGroup, name).await.unwrap().device_groups, [name]);
    }
    assert!(store.create(app("m"), &Author::elsewhere()).await.unwrap().device_groups.is_empty());
    store.delete(Kind::App, "m").await.unwrap();
}

async fn reads_a_group_as_one(store: &dyn Store) {
    assert_eq!(store.group_snapshot("none").await.unwrap(), None);
    let second = store.create(app("second"), &Author::elsewhere()).await.unwrap();
    let first = store.create(app("first"), &Author::elsewhere()).await.unwrap();
    let made =
        store.create(group("g", &["second", "none", "first"]), &Author::elsewhere()).await.unwrap();
    let later = store.create(app("unrelated"), &Author::elsewhere()).await.unwrap();
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
    let first = store.create(app("c"), &Author::elsewhere()).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(store);
        tasks.spawn(
            async move { store.update(app("c"), first.revision, &Author::elsewhere()).await },
        );
    }
    let won = tasks.join_all().await.into_iter().flatten().count();
    assert_eq!(won, 1);
    store.delete(Kind::App, "c").await.unwrap();
}

async fn keeps_every_kind(store: &dyn Store) {
    let grants = json!({
        "group_members": ["b", "a"], "apps": { "x": "rw", "": "ro" }, "admin": true,
        "cron_jobs": { "j": "ro" }, "device_groups": { "g": "rw" }, "pruning_allowed": true,
    });
    let objects: [Object; 7] = [
        app("same").into(),
        cron_job("same").into(),
        group("same", &["same"]).into(),
        user_with("same", Some(1)).into(),
        user_group("same", grants).into(),
        enrolled_device("sa me/é", "shop").into(),
        enrollment("shop", 2).0.into(),
    ];
    let mut last = Revision(0);
    for object in &objects {
        let (kind, name) = (object.kind(), object.name());
        let written = store.insert(object.clone(), &Author::elsewhere()).await.unwrap();
        assert!(written.revision > last, "one order for all kinds");
        assert_eq!(store.get(kind, name).await.unwrap(), Some(written.object.clone()));
        assert!(matches!(
            store.insert(object.clone(), &Author::elsewhere()).await,
            Err(StoreError::AlreadyExists)
        ));
        let replaced =
            store.replace(object.clone(), written.revision, &Author::elsewhere()).await.unwrap();
        let stale = store.replace(object.clone(), written.revision, &Author::elsewhere()).await;
        assert!(matches!(stale, Err(StoreError::Conflict)), "{kind}");
        assert_eq!(store.get(kind, name).await.unwrap(), Some(replaced.object));
        last = replaced.revision;
    }
    for object in objects {
        let (kind, name) = (object.kind(), object.name().to_owned());
        assert_eq!(store.names(kind).await.unwrap(), [&*name], "{kind}");
        store.delete(kind, &name).await.unwrap();
        assert_eq!(store.get(kind, &name).await.unwrap(), None);
        assert!(matches!(store.delete(kind, &name).await, Err(StoreError::NotFound)));
    }
}

/// As with apps: what devices are told must never go back. Other kinds' members touch no device.
async fn raises_the_groups_of_a_cron_job(store: &dyn Store) {
    let lists = |name: &str, jobs: &[&str]| DeviceGroup {
        cron_jobs: jobs.iter().map(|job| (*job).to_owned()).collect(),
        ..group(name, &[])
    };
    store.create(cron_job("second"), &Author::elsewhere()).await.unwrap();
    store.create(cron_job("first"), &Author::elsewhere()).await.unwrap();
    store.create(lists("g1", &["second", "none", "first"]), &Author::elsewhere()).await.unwrap();
    store.create(lists("g2", &["first"]), &Author::elsewhere()).await.unwrap();
    // An app of the same name, listed nowhere, is another thing.
    assert!(
        store.create(app("first"), &Author::elsewhere()).await.unwrap().device_groups.is_empty()
    );
    assert!(store.delete(Kind::App, "first").await.unwrap().device_groups.is_empty());
    let snapshot = store.group_snapshot("g1").await.unwrap().unwrap();
    let names: Vec<&str> = snapshot.cron_jobs.iter().map(|j| j.cron_job_name.as_str()).collect();
    assert_eq!(names, ["second", "first"], "in the group's order");
    let first = store.find::<CronJob>("first").await.unwrap().unwrap();
    let mut changed =
        store.update(first.clone(), first.revision(), &Author::elsewhere()).await.unwrap();
    changed.device_groups.sort();
    assert_eq!(changed.device_groups, ["g1", "g2"]);
    let snapshot = store.group_snapshot("g2").await.unwrap().unwrap();
    assert_eq!(snapshot.revision(), changed.revision);
    let mut gone = store.delete(Kind::CronJob, "first").await.unwrap();
    gone.device_groups.sort();
    assert_eq!(gone.device_groups, ["g1", "g2"]);
    for (name, left) in [("g1", 1), ("g2", 0)] {
        let snapshot = store.group_snapshot(name).await.unwrap().unwrap();
        assert_eq!((snapshot.revision(), snapshot.cron_jobs.len()), (gone.revision, left));
        assert_eq!(snapshot.group.device_group_id, 1);
    }
    store.delete(Kind::CronJob, "second").await.unwrap();
    store.delete(Kind::DeviceGroup, "g1").await.unwrap();
    store.delete(Kind::DeviceGroup, "g2").await.unwrap();
}

async fn reads_a_user_as_one(store: &dyn Store) {
    let in_groups = async || {
        let snapshot = store.user_snapshot("ann", &KnownGroups::new()).await.unwrap().unwrap();
        let mut names: Vec<String> =
            snapshot.groups.iter().map(|group| group.name.clone()).collect();
        names.sort();
        (names, snapshot.store_revision)
    };
    let members =
        |name: &str, members: &[&str]| user_group(name, json!({ "group_members": members }));
    // A group may name a user before there is one.
    store.create(members("g1", &["ann", "bob"]), &Author::elsewhere()).await.unwrap();
    assert_eq!(store.user_snapshot("ann", &KnownGroups::new()).await.unwrap(), None);
    let ann = store.create(user_with("ann", None), &Author::elsewhere()).await.unwrap();
    assert!(ann.device_groups.is_empty());
    let snapshot = store.user_snapshot("ann", &KnownGroups::new()).await.unwrap().unwrap();
    assert_eq!(snapshot.user, ann.object);
    let g2 = store.create(members("g2", &["ann"]), &Author::elsewhere()).await.unwrap();
    store.create(members("g3", &["bob", "an", "Ann"]), &Author::elsewhere()).await.unwrap();
    // A device group that lists an app of the user's name is none of its groups.
    let later = store.create(group("ann", &["ann"]), &Author::elsewhere()).await.unwrap();
    let (groups, revision) = in_groups().await;
    assert_eq!(groups, ["g1", "g2"]);
    // What is known by its revision is not read again; what is known by another one is.
    let known = KnownGroups::from([("g1".to_owned(), g2.revision), ("g2".to_owned(), g2.revision)]);
    let snapshot = store.user_snapshot("ann", &known).await.unwrap().unwrap();
    let mut read: Vec<(&str, bool)> =
        snapshot.groups.iter().map(|seen| (seen.name.as_str(), seen.group.is_some())).collect();
    read.sort_unstable();
    assert_eq!(read, [("g1", true), ("g2", false)]);
    assert!(revision >= later.revision, "every write up to it is in there");
    let changed =
        store.update(members("g2", &[]), g2.revision, &Author::elsewhere()).await.unwrap();
    assert!(changed.device_groups.is_empty());
    assert_eq!(in_groups().await.0, ["g1"]);
    // Deleted and created again, the user is in the groups that name it.
    store.delete(Kind::User, "ann").await.unwrap();
    assert_eq!(store.user_snapshot("ann", &KnownGroups::new()).await.unwrap(), None);
    store.create(user_with("ann", None), &Author::elsewhere()).await.unwrap();
    assert_eq!(in_groups().await.0, ["g1"]);
    store.delete(Kind::UserGroup, "g1").await.unwrap();
    assert!(in_groups().await.0.is_empty());
    // A group that was deleted and created again starts without members.
    store.create(members("g1", &[]), &Author::elsewhere()).await.unwrap();
    assert!(in_groups().await.0.is_empty());
    for name in ["g1", "g2", "g3"] {
        store.delete(Kind::UserGroup, name).await.unwrap();
    }
    store.delete(Kind::DeviceGroup, "ann").await.unwrap();
    store.delete(Kind::User, "ann").await.unwrap();
}

async fn finds_the_owners_of_a_token(store: &dyn Store) {
    let owners = async |id: Option<&str>| store.token_owners(id).await.unwrap();
    for (name, id) in [("d", None), ("c", Some(1)), ("b", None), ("a", Some(1)), ("e", Some(2))] {
        store.create(user_with(name, id), &Author::elsewhere()).await.unwrap();
    }
    // Other kinds have no tokens.
    store.create(app("f"), &Author::elsewhere()).await.unwrap();
    let [one, two] = ["0101010101010101", "0202020202020202"];
    assert_eq!(owners(Some(one)).await, ["a", "c"], "sorted; an id may be shared");
    assert_eq!(owners(Some(two)).await, ["e"]);
    assert_eq!(owners(None).await, ["b", "d"], "those whose token has none");
    for unknown in ["", "0303030303030303", "%", "0101"] {
        assert!(owners(Some(unknown)).await.is_empty(), "{unknown}");
    }
    // A new token is found by its own id from then on.
    let last = store.find::<User>("e").await.unwrap().unwrap().revision();
    let last =
        store.update(user_with("e", Some(1)), last, &Author::elsewhere()).await.unwrap().revision;
    assert!(owners(Some(two)).await.is_empty());
    assert_eq!(owners(Some(one)).await, ["a", "c", "e"]);
    store.update(user_with("e", None), last, &Author::elsewhere()).await.unwrap();
    assert_eq!(owners(None).await, ["b", "d", "e"]);
    for name in ["a", "b", "c", "d", "e"] {
        store.delete(Kind::User, name).await.unwrap();
    }
    assert!(owners(Some(one)).await.is_empty() && owners(None).await.is_empty());
    store.delete(Kind::App, "f").await.unwrap();
}

async fn prunes_every_group(store: &dyn Store) {
    let before = store.create(app("m"), &Author::elsewhere()).await.unwrap().revision;
    for name in ["b", "a"] {
        store
            .create(DeviceGroup { prune_id: 7, ..group(name, &["m"]) }, &Author::elsewhere())
            .await
            .unwrap();
    }
    let pruned = store.prune_all().await.unwrap();
    assert_eq!(pruned.device_groups, ["a", "b"]);
    let ids = |groups: &[DeviceGroup]| -> Vec<(String, u64, u64)> {
        let id = |group: &DeviceGroup| {
            (group.device_group.to_string(), group.prune_id, group.device_group_id)
        };
        groups.iter().map(id).collect()
    };
    assert_eq!(ids(&pruned.object), [("a".to_owned(), 8, 1), ("b".to_owned(), 8, 1)]);
    for kept in pruned.object {
        let name = kept.device_group.to_string();
        assert!(kept.revision() > before, "its devices are told");
        assert_eq!(store.find::<DeviceGroup>(&name).await.unwrap(), Some(kept.clone()));
        assert!(kept.revision() <= pruned.revision);
        store.delete(Kind::DeviceGroup, &name).await.unwrap();
    }
    store.delete(Kind::App, "m").await.unwrap();
    let nothing = store.prune_all().await.unwrap();
    assert!(nothing.object.is_empty() && nothing.device_groups.is_empty());
}

/// Keys of a user's maps may look like a database's operators, paths and types.
async fn keeps_any_key_of_a_map(store: &dyn Store) {
    let labels = json!({
        "a.b": "1", "$set": "2", "$oid": "5f43a0e5c1a4e3b2d1f0a9b8", "x": "$y", "_id": "3",
    });
    let body =
        json!({ "docker_image": "nginx:1", "labels": labels, "env_vars": { "$where": "1" } });
    let fields = AppFields::decode(body.as_object().unwrap().clone(), None, Unknown::Refuse);
    let odd = App { spec: fields.unwrap().into_spec().unwrap(), ..app("odd") };
    let made = store.create(odd.clone(), &Author::elsewhere()).await.unwrap();
    assert_eq!(store.find::<App>("odd").await.unwrap(), Some(made.object.clone()));
    let changed = store
        .update(App { app_id: 2, ..odd.clone() }, made.revision, &Author::elsewhere())
        .await
        .unwrap();
    let kept = store.find::<App>("odd").await.unwrap().unwrap();
    assert_eq!((&kept, &kept.spec), (&changed.object, &odd.spec));
    store.delete(Kind::App, "odd").await.unwrap();
}

/// A user's two halves, the user and the group, are changed in turn; a reader must never see one
/// from before and the other from after.
pub(crate) async fn a_user_is_read_at_one_moment(store: Arc<dyn Store>) {
    let of = |admin: bool| user_group("g", json!({ "group_members": ["ann"], "admin": admin }));
    let made = store.create(user_with("ann", Some(0)), &Author::elsewhere()).await.unwrap();
    let group = store.create(of(false), &Author::elsewhere()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        readers.spawn(async move {
            let mut seen = Vec::new();
            while !done.load(Ordering::SeqCst) {
                let snapshot = match store.user_snapshot("ann", &KnownGroups::new()).await {
                    Ok(snapshot) => snapshot.unwrap(),
                    // A lone server that is written to all the time may show no moment in time.
                    Err(StoreError::Unavailable { .. }) => continue,
                    Err(error) => panic!("{error}"),
                };
                let is_admin =
                    snapshot.groups.iter().any(|seen| seen.group.as_ref().unwrap().spec.admin);
                seen.push((snapshot.store_revision, (snapshot.user.token_id.unwrap(), is_admin)));
            }
            assert!(!seen.is_empty(), "nothing was read");
            seen
        });
    }
    let mut states = HashMap::new();
    let (mut user_revision, mut group_revision) = (made.revision, group.revision);
    let mut is_admin = false;
    for round in 1..100 {
        let id = format!("{round:02x}").repeat(8);
        user_revision = store
            .update(user_with("ann", Some(round)), user_revision, &Author::elsewhere())
            .await
            .unwrap()
            .revision;
        states.insert(user_revision, (id.clone(), is_admin));
        is_admin = !is_admin;
        group_revision = store
            .update(of(is_admin), group_revision, &Author::elsewhere())
            .await
            .unwrap()
            .revision;
        states.insert(group_revision, (id, is_admin));
    }
    done.store(true, Ordering::SeqCst);
    let seen: Vec<_> = readers.join_all().await.into_iter().flatten().collect();
    let known = seen.iter().filter_map(|(revision, state)| Some((states.get(revision)?, state)));
    let known: Vec<_> = known.collect();
    assert!(!known.is_empty(), "the readers saw what was written");
    assert!(known.iter().all(|(expected, state)| expected == state));
}

/// What a group's devices are told, but for its order: the group's id and each app's.
type State = (u64, Vec<u64>);

/// One writer changes two apps and their group in turn, deletes and creates one of them, and notes
/// the state after each write by its revision. What readers saw meanwhile must be, to the letter,
/// the state at the revision that their snapshot says.
pub(crate) async fn a_snapshot_is_one_moment(store: Arc<dyn Store>) {
    store.create(app("a"), &Author::elsewhere()).await.unwrap();
    store.create(app("b"), &Author::elsewhere()).await.unwrap();
    store.create(group("g", &["a", "b"]), &Author::elsewhere()).await.unwrap();
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
        let written =
            store.update(App { app_id: a, ..app("a") }, last, &Author::elsewhere()).await.unwrap();
        note(written.revision, a, &[b], g);
        let last = store.find::<DeviceGroup>("g").await.unwrap().unwrap().revision();
        g += 1;
        let changed = DeviceGroup { device_group_id: g, ..group("g", &["a", "b"]) };
        note(store.update(changed, last, &Author::elsewhere()).await.unwrap().revision, a, &[b], g);
        note(store.delete(Kind::App, "b").await.unwrap().revision, a, &[], g);
        let new = App { app_id: b + 1, ..app("b") };
        note(store.create(new, &Author::elsewhere()).await.unwrap().revision, a, &[b + 1], g);
    }
    states
}

/// What a history tells of each version: its id, who made it and how, the newest first.
async fn told(store: &dyn Store, name: &str) -> Vec<(u64, String, String)> {
    let history = store.history(name).await.unwrap().unwrap();
    let told =
        |entry: &AppEntry| (entry.app.app_id, entry.author.who.clone(), entry.author.what.clone());
    history.entries().iter().map(told).collect()
}

fn version(app_id: u64, who: &str, what: &str) -> (u64, String, String) {
    (app_id, who.to_owned(), what.to_owned())
}

async fn keeps_the_versions_of_an_app(store: &dyn Store) {
    assert!(store.history("h").await.unwrap().is_none());
    let mut last = store.create(app("h"), &Author::new("ann", "create")).await.unwrap();
    let uid = last.object.identity.uid;
    let stale = store.update(app("h"), Revision(1), &Author::new("eve", "update")).await;
    assert!(matches!(stale, Err(StoreError::Conflict)));
    let bob = Author::new("bob", "update");
    let second = App { app_id: 2, ..app("h") };
    last = store.update(second, last.revision, &bob).await.unwrap();
    assert_eq!(told(store, "h").await, [version(2, "bob", "update"), version(1, "ann", "create")]);
    let history = store.history("h").await.unwrap().unwrap();
    // As they were written, under the revisions that the writes took.
    assert_eq!(history.entries()[0].app, last.object);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    assert!((now - 60..=now).contains(&history.entries()[1].time));
    let most = u64::try_from(MAX_VERSIONS).unwrap();
    for app_id in 3..=most + 3 {
        let changed = App { app_id, ..app("h") };
        last = store.update(changed, last.revision, &bob).await.unwrap();
    }
    let kept = told(store, "h").await;
    assert_eq!(kept.len(), MAX_VERSIONS);
    assert_eq!((kept[0].0, kept[MAX_VERSIONS - 1].0), (most + 3, 4));
    // They go with the app, and do not come back with the next of its name.
    store.create(app("h2"), &Author::new("ann", "create")).await.unwrap();
    store.delete(Kind::App, "h").await.unwrap();
    assert!(store.history("h").await.unwrap().is_none());
    let next = store.create(app("h"), &Author::new("cy", "create")).await.unwrap();
    assert_ne!(next.object.identity.uid, uid);
    assert_eq!(told(store, "h").await, [version(1, "cy", "create")]);
    assert_eq!(told(store, "h2").await, [version(1, "ann", "create")]);
    store.delete(Kind::App, "h").await.unwrap();
    store.delete(Kind::App, "h2").await.unwrap();
}

async fn keeps_one_version_of_each_of_competing_writes(store: &Arc<dyn Store>) {
    const WRITES: u64 = 12;
    store.create(app("h"), &Author::new("0", "create")).await.unwrap();
    let mut tasks = JoinSet::new();
    for writer in 1..=WRITES {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            loop {
                let there = store.find::<App>("h").await.unwrap().unwrap();
                let next = App { app_id: there.app_id + 1, ..there.clone() };
                let by = Author::new(&writer.to_string(), "update");
                match store.update(next, there.revision(), &by).await {
                    Ok(_) => return,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let told = told(&**store, "h").await;
    let ids: Vec<u64> = told.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, (1..=WRITES + 1).rev().collect::<Vec<_>>());
    let mut who: Vec<u64> = told.iter().map(|(_, who, _)| who.parse().unwrap()).collect();
    who.sort_unstable();
    assert_eq!(who, (0..=WRITES).collect::<Vec<_>>(), "each under the name of its writer");
    store.delete(Kind::App, "h").await.unwrap();
}

async fn keeps_the_version_of_an_import(store: &dyn Store) {
    let here = store.create(app("h"), &Author::new("ann", "create")).await.unwrap().object;
    let import = |object: App, existing| Import {
        objects: vec![object.into()],
        existing,
        above: Revision(0),
        is_dry_run: false,
    };
    let by = Author::new("cy", "import");
    // The same app in another version: what it was can be gone back to.
    let other = App { app_id: 9, ..here.clone() };
    store.import(import(other.clone(), Existing::Replace), &by).await.unwrap();
    assert_eq!(told(store, "h").await, [version(9, "cy", "import"), version(1, "ann", "create")]);
    // One that is the same already is no version.
    store.import(import(other, Existing::Replace), &by).await.unwrap();
    assert_eq!(told(store, "h").await.len(), 2);
    // A new one.
    let uid = Some(Uid::from_bytes([7; 12]));
    let new = App { identity: Identity { uid, revision: None }, ..app("h2") };
    store.import(import(new, Existing::Refuse), &by).await.unwrap();
    assert_eq!(told(store, "h2").await, [version(1, "cy", "import")]);
    store.delete(Kind::App, "h").await.unwrap();
    store.delete(Kind::App, "h2").await.unwrap();
}
