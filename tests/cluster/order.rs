//! What devices are told is a state that existed, and never an older one than before, whichever
//! manager they ask.

use crate::device::{Device, number, revision};
use crate::managers::{Cluster, Database, Manager, PATIENCE, admin, until};
use crate::sets::steady;
use mongodb::bson::{Document, doc, oid::ObjectId};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Rounds of three changes each.
const ROUNDS: u64 = 25;
/// Apps between the two that change, in the order in which a database reads them: more than it
/// hands over at once.
const BETWEEN: usize = 250;
/// Changes that a manager sleeps through.
const MISSED: u64 = 5;
/// Deletions and creations of one app.
const LIVES: u64 = 8;

/// All answers that anybody got, by revision.
#[derive(Default)]
struct Seen(Mutex<BTreeMap<u64, Vec<[u64; 3]>>>);

impl Seen {
    fn take(&self, info: &Value) {
        let group = info["device_group_id"].as_u64().expect("an id");
        let state = [number(info, "a", "N"), number(info, "b", "N"), group];
        let mut seen = self.0.lock().unwrap();
        let states = seen.entry(revision(info)).or_default();
        if !states.contains(&state) {
            states.push(state);
        }
    }
}

/// Asks one manager again and again, at once or when something changed.
async fn ask(manager: Arc<Manager>, seen: Arc<Seen>, waits: bool, is_over: Arc<AtomicBool>) {
    let mut etag: Option<String> = None;
    while !is_over.load(Ordering::Relaxed) {
        let known = etag.as_deref().filter(|_| waits);
        let (status, tag, info) =
            manager.wait_for_info(&admin(), "group", known, u64::from(waits)).await.unwrap();
        match status {
            200 => seen.take(&info),
            304 => {}
            other => panic!("{other}: {info}"),
        }
        etag = tag;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_each_answer_is_a_state_that_existed_and_higher_revisions_are_later() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let first = &cluster.managers[0];
    first.create_app("a").await;
    first.create_app("b").await;
    // So many that they are read in several pieces, between which others write. One document of
    // each app is enough: it is as the API made it, under other names.
    let apps = cluster.database.open().await.collection::<Document>("nebula_apps");
    let one = apps.find_one(doc! { "app_name": "a" }).await.unwrap().unwrap();
    let between: Vec<String> = (0..BETWEEN).map(|index| format!("a{index:04}")).collect();
    let copies = between.iter().map(|name| {
        let mut copy = one.clone();
        copy.extend(doc! { "_id": ObjectId::new(), "app_name": name });
        copy
    });
    apps.insert_many(copies).await.unwrap();
    let all: Vec<&str> = between.iter().map(String::as_str).chain(["a", "b"]).collect();
    first.create_group("group", &all).await;
    let (seen, is_over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut asking = JoinSet::new();
    for manager in &cluster.managers {
        for waits in [false, true] {
            let (manager, seen) = (Arc::clone(manager), Arc::clone(&seen));
            asking.spawn(ask(manager, seen, waits, Arc::clone(&is_over)));
        }
    }
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        cluster.turn(turn)
    };
    for round in 1..=ROUNDS {
        assert_eq!(next().set("a", "N", round).await.unwrap().0, 202);
        assert_eq!(next().set("b", "N", round).await.unwrap().0, 202);
        let same = json!({ "apps": all });
        next().done("PUT", "/device_groups/group/update", same).await;
    }
    is_over.store(true, Ordering::Relaxed);
    asking.join_all().await;

    // The group's id starts at 1.
    let existed = |[a, b, group]: [u64; 3]| a >= b && b + 1 >= group && a <= group;
    let seen = seen.0.lock().unwrap();
    let mut before = [0; 3];
    let mut distinct = 0;
    for (revision, states) in &*seen {
        let [state] = states[..] else { panic!("{revision} is of several states: {states:?}") };
        assert!(existed(state), "{state:?} never existed");
        assert!(state >= before, "{state:?} with a higher revision than {before:?}");
        distinct += u64::from(state != before);
        before = state;
    }
    assert_eq!(before, [ROUNDS, ROUNDS, ROUNDS + 1], "the last state was seen");
    assert!(distinct > ROUNDS, "too few states were seen to say anything: {distinct}");
}

/// An app's id starts at 1 again when it is created again; its revision does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_a_device_ends_on_the_newest_across_deletion_and_creation() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    cluster.managers[0].create_app("app").await;
    cluster.managers[0].create_group("group", &["app"]).await;
    let device = Arc::new(Mutex::new(Device::default()));
    let mut asking = JoinSet::new();
    let (managers, asks) = (cluster.managers.clone(), Arc::clone(&device));
    asking.spawn(async move {
        for turn in 0.. {
            let manager: &Arc<Manager> = &managers[turn % managers.len()];
            let (status, info) = manager.info("group").await.unwrap();
            assert_eq!(status, 200, "{info}");
            let mut device = asks.lock().unwrap();
            let before = number(&device_apps(&device), "app", "LIFE");
            device.take(&info);
            let after = number(&device.desired, "app", "LIFE");
            let is_gone = device.desired["apps_list"] == json!([]);
            assert!(is_gone || after >= before, "an older life: {before} to {after}");
        }
    });
    let mut turn = 0;
    for life in 1..=LIVES {
        turn += 1;
        cluster.turn(turn).done("DELETE", "/apps/app", Value::Null).await;
        turn += 1;
        let body = json!({ "docker_image": "demo:1", "env_vars": { "LIFE": life.to_string() } });
        cluster.turn(turn).done("POST", "/apps/app", body).await;
        // A creation does not bring it back to its group, as the device's list never lost it.
        for change in 0..2 {
            turn += 1;
            let body = json!({ "env_vars": { "LIFE": life.to_string(), "N": change.to_string() } });
            cluster.turn(turn).done("PUT", "/apps/app/update", body).await;
        }
    }
    until("the device runs the newest", PATIENCE, async || {
        let device = device.lock().unwrap();
        let app = number(&device.desired, "app", "LIFE") == LIVES
            && number(&device.desired, "app", "N") == 1;
        app.then_some(())
    })
    .await;
    assert_eq!(asking.len(), 1, "the device asks still");
}

fn device_apps(device: &Device) -> Value {
    if device.desired.is_null() { json!({ "apps": [] }) } else { device.desired.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_06_a_manager_that_slept_takes_no_device_back() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let [awake, sleeper, _] = &cluster.managers;
    awake.create_app("app").await;
    awake.create_group("group", &["app"]).await;
    let mut device = Device::default();
    let mut highest = 0;
    let mut n = 0;
    for _round in 0..3 {
        // Ready in its memory, and out of date when it wakes up.
        device.take(&sleeper.info("group").await.unwrap().1);
        sleeper.signal(Signal::STOP).await;
        for _change in 0..MISSED {
            n += 1;
            assert_eq!(awake.set("app", "N", n).await.unwrap().0, 202);
            device.take(&awake.info("group").await.unwrap().1);
            assert_eq!(number(&device.desired, "app", "N"), n);
        }
        sleeper.signal(Signal::CONT).await;
        until("the sleeper has caught up", Duration::from_secs(10), async || {
            let (_, info) = sleeper.info("group").await.unwrap();
            device.take(&info);
            device.take(&awake.info("group").await.unwrap().1);
            let runs = number(&device.desired, "app", "N");
            assert!(runs >= highest && runs == n, "it went from {n} to {runs}");
            highest = runs;
            (number(&info, "app", "N") == n).then_some(())
        })
        .await;
    }
}
