//! Managers and the primary are killed, paused and cut off while clients write.

use crate::load::{Devices, Load, assert_kept, shown_by_all};
use crate::managers::{Cluster, Database, PATIENCE, say};
use crate::servers::MongoServers;
use crate::sets::{breakable, steady};
use mongodb::bson::{Document, doc};
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients that write at the same time.
const CLIENTS: usize = 6;
/// How often managers are killed.
const KILLS: usize = 8;

/// Apps of one client that a group lists.
const LISTED: usize = 40;
/// How long a replica set is without a primary by `MongoDB`'s own settings, and longer than a manager
/// goes on trying.
const ELECTION: Duration = Duration::from_secs(8);

/// What may happen to a primary.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    Cut,
}

const FAULTS: [Fault; 3] = [Fault::Kill, Fault::Pause, Fault::Cut];

impl Fault {
    async fn begins(self, set: &MongoServers, member: usize) {
        match self {
            Self::Kill => set.kill(member).await,
            Self::Pause => set.pause(member),
            Self::Cut => set.cut(member).await,
        }
    }

    async fn ends(self, set: &MongoServers, member: usize) {
        match self {
            Self::Kill => set.start_again(member).await,
            Self::Pause => set.resume(member),
            Self::Cut => set.heal(member).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_01_what_was_acknowledged_outlives_every_fault() {
    let (set, _turn) = breakable().await;
    let cluster = Cluster::start(Database::fresh(set.url())).await;
    let load = Load::begin(&cluster, "app", CLIENTS);
    load.goes_on(0, 10, PATIENCE).await;

    cluster.managers[0].kill().await;
    load.goes_on(1, 10, PATIENCE).await;
    cluster.managers[0].start_again().await;
    load.goes_on(0, 10, PATIENCE).await;

    for fault in FAULTS {
        let primary = set.primary().await;
        let begun = Instant::now();
        fault.begins(set, primary).await;
        for manager in 0..3 {
            load.goes_on(manager, 3, PATIENCE).await;
            say(format_args!(
                "{fault:?} of the primary: manager {manager} writes after {:?}",
                begun.elapsed()
            ));
        }
        fault.ends(set, primary).await;
        load.goes_on(0, 10, PATIENCE).await;
    }
    let told = load.end().await;
    let count: u64 = told.iter().flat_map(|told| &told.kept).map(|kept| kept.1 + 1).sum();
    say(format_args!("{count} acknowledged writes are looked for"));
    assert_kept(&cluster, &told).await;
}

/// The primary goes while each manager writes, no other one is there for as long as an election
/// takes by `MongoDB`'s own settings, and nothing is written afterwards that would hide what went
/// amiss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_what_a_lost_primary_left_half_done_is_shown_by_all() {
    let (set, _turn) = breakable().await;
    let cluster = Cluster::start(Database::fresh(set.url())).await;
    for fault in FAULTS {
        let client = |client: usize| format!("{fault:?}-{client}").to_lowercase();
        let mut devices = Vec::new();
        for index in 0..CLIENTS {
            list_in_advance(&cluster, &client(index)).await;
            devices.push(Devices::begin(&cluster, &client(index)));
        }
        let primary = set.primary().await;
        let other = (primary + 1) % 3;
        set.pause(other);
        let load = Load::begin(&cluster, &format!("{fault:?}").to_lowercase(), CLIENTS);
        load.goes_on(0, 3, PATIENCE).await;
        load.goes_on(1, 1, PATIENCE).await;
        fault.begins(set, primary).await;
        let told = load.end().await;
        tokio::time::sleep(ELECTION).await;
        set.resume(other);
        set.primary().await;
        let begun = Instant::now();
        for index in 0..CLIENTS {
            shown_by_all(&cluster, &client(index)).await;
        }
        say(format_args!(
            "{fault:?} of the primary: all show the same after {:?}",
            begun.elapsed()
        ));
        devices.into_iter().for_each(Devices::end);
        fault.ends(set, primary).await;
        assert_kept(&cluster, &told).await;
    }
}

/// A group of all that a client of this name will create. The API lists only what exists, but a
/// database that the original wrote may list anything.
async fn list_in_advance(cluster: &Cluster, client: &str) {
    cluster.managers[0].create_group(client, &[]).await;
    let groups = cluster.database.open().await.collection::<Document>("nebula_device_groups");
    let names: Vec<String> = (0..LISTED).map(|round| format!("{client}-{round}")).collect();
    let list = doc! { "$set": { "apps": names }, "$inc": { "device_group_id": 1 } };
    groups.update_one(doc! { "device_group": client }, list).await.unwrap();
}

/// A manager is killed between its document and its note again and again; the others end what it
/// began, and their devices are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_what_a_killed_manager_left_half_done_is_ended_by_others() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let mut longest = Duration::ZERO;
    for round in 0..KILLS {
        let victim = 1 + round % 2;
        let group = format!("round{round}-0");
        list_in_advance(&cluster, &group).await;
        let devices = Devices::begin(&cluster, &group);
        // Only the victim writes what this group runs: no other write tells of what is missing.
        let load = Load::through(
            &[(victim, Arc::clone(&cluster.managers[victim]))],
            &format!("round{round}"),
            1,
        );
        load.goes_on(victim, 4, PATIENCE).await;
        load.goes_on(victim, 1, PATIENCE).await;
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..30_000))).await;
        cluster.managers[victim].kill().await;
        let told = load.end().await;
        cluster.managers[victim].start_again().await;
        longest = longest.max(shown_by_all(&cluster, &group).await);
        devices.end();
        assert_kept(&cluster, &told).await;
    }
    let ended: usize =
        cluster.managers.iter().map(|manager| manager.said("was not ended by its manager")).sum();
    say(format_args!(
        "{KILLS} kills, {ended} writes ended by others, all show the same after {longest:?} at most"
    ));
}

/// A creation whose manager is killed under it is repeated elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_a_creation_that_is_repeated_ends_in_one_object() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let apps = cluster.database.open().await.collection::<Document>("nebula_apps");
    for round in 0..4 {
        let name = format!("app{round}");
        let victim = Arc::clone(&cluster.managers[0]);
        let body = json!({ "docker_image": "demo:1" });
        let path = format!("/apps/{name}");
        let first = tokio::spawn({
            let (victim, path, body) = (Arc::clone(&victim), path.clone(), body.clone());
            async move { victim.send("POST", &path, body).await }
        });
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..30_000))).await;
        victim.signal(Signal::KILL).await;
        // Both others at once, as an impatient client behind a load balancer may.
        let (second, third) = tokio::join!(
            cluster.managers[1].send("POST", &path, body.clone()),
            cluster.managers[2].send("POST", &path, body.clone()),
        );
        let first = first.await.unwrap().map(|(status, _)| status);
        let acknowledged = [first.unwrap_or(0), second.unwrap().0, third.unwrap().0];
        assert!(
            acknowledged.iter().filter(|status| **status == 200).count() <= 1,
            "{acknowledged:?}"
        );
        assert!(
            acknowledged[1..].iter().all(|status| [200, 403].contains(status)),
            "{acknowledged:?}"
        );
        let count = apps.count_documents(doc! { "app_name": &name }).await.unwrap();
        assert_eq!(count, 1);
        victim.ended().await;
        victim.start_again().await;
    }
}
