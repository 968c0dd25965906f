//! How soon a change is seen, by whomever it was made.

use crate::device::number;
use crate::managers::{Cluster, DEGRADED, Database, say, until};
use crate::servers::MongoServers;
use crate::sets::steady;
use mongodb::bson::{Document, doc, oid::ObjectId};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Changes whose way to the other managers is measured.
const MEASURED: u64 = 60;

/// What the original writes: whole documents without a revision, and updates that raise the id.
async fn original_writes_and_all_show_it(cluster: &Cluster) {
    let apps = cluster.database.open().await.collection::<Document>("nebula_apps");
    let see = async |what: &str, is_so: fn(&Value) -> bool| {
        for manager in &cluster.managers {
            until(what, DEGRADED, async || {
                let (status, info) = manager.info("group").await.ok()?;
                (status == 200 && is_so(&info)).then_some(())
            })
            .await;
        }
    };
    see("the group", |info| info["apps"].as_array().unwrap().len() == 1).await;
    let before = cluster.managers[1].info("group").await.unwrap().1;
    let change = doc! { "$set": { "env_vars": { "N": "7" } }, "$inc": { "app_id": 1 } };
    apps.update_one(doc! { "app_name": "old" }, change).await.unwrap();
    see("an update", |info| number(info, "old", "N") == 7).await;
    // Whoever reads anew in this moment may show it before it is put in order.
    until("an update in order", DEGRADED, async || {
        let after = cluster.managers[1].info("group").await.ok()?.1;
        (after["revision"].as_u64() > before["revision"].as_u64()).then_some(())
    })
    .await;
    apps.insert_one(original("new")).await.unwrap();
    see("a new app", |info| info["apps_list"] == json!(["old", "new"])).await;
    apps.delete_one(doc! { "app_name": "old" }).await.unwrap();
    see("a deletion", |info| info["apps_list"] == json!(["new"])).await;
}

/// An app as the original inserts it.
fn original(name: &str) -> Document {
    doc! {
        "_id": ObjectId::new(), "app_name": name, "app_id": 1, "starting_ports": [],
        "containers_per": { "server": 1 }, "env_vars": {}, "docker_image": "demo:1",
        "running": true, "networks": ["nebula", "bridge"], "volumes": [], "devices": [],
        "privileged": false, "rolling_restart": false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_05_what_the_original_writes_is_told_by_the_stream() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    cluster.managers[0].create_app("old").await;
    // A list may name what does not exist yet, when the original wrote it.
    let groups = cluster.database.open().await.collection::<Document>("nebula_device_groups");
    groups.insert_one(original_group()).await.unwrap();
    original_writes_and_all_show_it(&cluster).await;
}

fn original_group() -> Document {
    doc! {
        "_id": ObjectId::new(), "device_group": "group", "device_group_id": 1, "prune_id": 1,
        "apps": ["old", "new"], "cron_jobs": [],
    }
}

/// A lone server tells nothing; it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_05_a_lone_server_is_asked_within_cache_time() {
    let server = MongoServers::start("alone", &["--standalone"]).await;
    let database = Database { cache_time: 2, ..Database::fresh(server.url()) };
    let cluster = Cluster::asking(database).await;
    cluster.managers[0].create_app("old").await;
    let groups = cluster.database.open().await.collection::<Document>("nebula_device_groups");
    groups.insert_one(original_group()).await.unwrap();
    original_writes_and_all_show_it(&cluster).await;
    cluster.managers[0].create_app("mine").await;
    cluster.managers[0].create_group("mine", &["mine"]).await;
    let mut longest = Duration::ZERO;
    for n in 1..=5 {
        longest = longest.max(seen_by_the_others(&cluster, "mine", n).await);
    }
    // Written when nobody asks: the server was away, and managers have not come back to it.
    server.kill(0).await;
    for manager in &cluster.managers {
        manager.follows("none").await;
    }
    signal(&cluster, Signal::STOP).await;
    server.start_again(0).await;
    let apps = cluster.database.open().await.collection::<Document>("nebula_apps");
    let change = doc! { "$set": { "env_vars": { "N": "100" } }, "$inc": { "app_id": 1 } };
    apps.update_one(doc! { "app_name": "mine" }, change).await.unwrap();
    signal(&cluster, Signal::CONT).await;
    for manager in &cluster.managers {
        until("what was written meanwhile", DEGRADED, async || {
            let info = manager.shown("mine").await?;
            (number(&info, "mine", "N") == 100).then_some(())
        })
        .await;
    }
    say(format_args!("by asking a lone server each second: {longest:?} at most"));
    assert!(longest < DEGRADED, "{longest:?}");
}

async fn signal(cluster: &Cluster, signal: Signal) {
    for manager in &cluster.managers {
        manager.signal(signal).await;
    }
}

/// Changes an app through one manager, which must show it at once; how long until both others do.
async fn seen_by_the_others(cluster: &Cluster, name: &str, n: u64) -> Duration {
    let turn = usize::try_from(n).unwrap();
    let writer = cluster.turn(turn);
    let (status, app) = writer.set(name, "N", n).await.unwrap();
    assert_eq!(status, 202, "{app}");
    let acknowledged = Instant::now();
    let (_, info) = writer.info(name).await.unwrap();
    assert_eq!(number(&info, name, "N"), n, "the same manager's answer to devices");
    let (_, app) = writer.get(&format!("/apps/{name}")).await.unwrap();
    assert_eq!(app["env_vars"]["N"], n.to_string(), "the same manager's answer to people");
    for other in [turn + 1, turn + 2] {
        until("the change through another manager", DEGRADED, async || {
            let info = cluster.turn(other).shown(name).await?;
            (number(&info, name, "N") == n).then_some(())
        })
        .await;
    }
    acknowledged.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_05_a_change_is_seen_at_once_here_and_within_a_second_there() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    cluster.managers[0].create_app("app").await;
    cluster.managers[0].create_group("app", &["app"]).await;
    let mut took = Vec::new();
    for n in 1..=MEASURED {
        took.push(seen_by_the_others(&cluster, "app", n).await);
    }
    took.sort_unstable();
    let (median, slow) = (took[took.len() / 2], took[took.len() - 2]);
    say(format_args!(
        "from the acknowledgement to both other managers: median {median:?}, p98 {slow:?}"
    ));
    assert!(median < Duration::from_secs(1), "{took:?}");
}
