//! Not one request lost: what an update, a bad image, a kill -9 of the worker, a restart of Docker
//! and a replica removed by hand cost the clients of an app with three replicas behind a balancer.

use crate::daemon::Daemon;
use crate::random::seed;
use crate::shop::Shop;
use crate::world::World;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::time::Duration;

/// All replicas at once, watched for as long as the balancer may take to find them: it learns of the
/// new ones by DNS, which a machine that starts three containers answers late.
fn at_once() -> Value {
    json!({"update_config": {"parallelism": 3, "monitor": "5s"}})
}

#[tokio::test]
async fn update_of_all_replicas_at_once_loses_no_request() {
    let mut shop = Shop::open(at_once()).await;
    let customers = shop.customers().await;
    shop.declare("watched2");
    shop.runs("watched2").await;
    let tally = customers.were_all_served(3).await;
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), ["1", "2"]);
    shop.worker.stop().await;
}

#[tokio::test]
async fn inv_21_rolling_update_loses_no_request() {
    let mut shop = Shop::open(json!({"rolling_restart": true})).await;
    let customers = shop.customers().await;
    shop.declare("watched2");
    shop.runs("watched2").await;
    let tally = customers.were_all_served(3).await;
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), ["1", "2"]);
    shop.worker.stop().await;
}

/// With ports of the device there is no room for two containers of a replica at once.
#[tokio::test]
async fn inv_21_rolling_update_of_replicas_with_ports_loses_no_request() {
    let ports = json!({"rolling_restart": true, "starting_ports": [{"8610": "80"}]});
    let mut shop = Shop::open(ports).await;
    let customers = shop.customers().await;
    shop.declare("watched2");
    shop.runs("watched2").await;
    customers.were_all_served(2).await;
    shop.worker.stop().await;
}

#[tokio::test]
async fn inv_21_update_waits_until_each_new_replica_is_healthy() {
    let mut shop = Shop::open(json!({"rolling_restart": true})).await;
    let customers = shop.customers().await;
    shop.declare("late");
    shop.runs("late").await;
    customers.were_all_served(3).await;
    shop.worker.stop().await;
}

#[tokio::test]
async fn inv_21_update_to_an_unhealthy_image_ends_on_the_old_version_and_loses_no_request() {
    for more in [json!({}), json!({"rolling_restart": true})] {
        goes_back(more, "unhealthy", &json!({})).await;
    }
}

#[tokio::test]
async fn inv_21_update_to_an_image_that_crashes_ends_on_the_old_version_and_loses_no_request() {
    let crash = json!({"EXIT_AFTER_MS": "300", "EXIT_CODE": "3"});
    goes_back(json!({}), "watched2", &crash).await;
}

/// Updates to what does not stay up.
async fn goes_back(more: Value, tag: &str, environment: &Value) {
    let mut shop = Shop::open(more).await;
    let before = shop.runs("watched1").await;
    let customers = shop.customers().await;
    shop.declare_with(tag, environment);
    shop.worker.says(&["held", "site", "until the declaration changes"]).await;
    shop.runs("watched1").await;
    customers.were_all_served(3).await;
    // Held until the declaration changes: not by the next check-ins, and not by a new worker.
    let since = shop.world.docker.now().await;
    shop.world.manager.asked_again(4).await;
    shop = shop.kill_the_worker().await;
    shop.world.manager.asked_again(4).await;
    assert_eq!(shop.world.docker.made_since(&since).await, "", "it was tried again");
    shop.declare("watched2");
    let after = shop.runs("watched2").await;
    assert_eq!(before["lb-1"], after["lb-1"], "an unchanged app was touched");
    shop.worker.stop().await;
}

#[tokio::test]
async fn inv_15_worker_killed_at_random_moments_of_updates_loses_no_request() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    for more in [json!({}), json!({"rolling_restart": true})] {
        let mut shop = Shop::open(more).await;
        let customers = shop.customers().await;
        let before = shop.runs("watched1").await;
        for tag in ["watched2", "watched1", "watched2"] {
            shop.declare(tag);
            shop.world.manager.asked_again(1).await;
            for _ in 0..3 {
                let lives = Duration::from_millis(random.random_range(0..1_500));
                shop.worker.lives(lives).await;
                shop = shop.kill_the_worker().await;
            }
            let after = shop.runs(tag).await;
            assert_eq!(before["lb-1"], after["lb-1"], "an unchanged app was touched");
        }
        customers.were_all_served(3).await;
        shop.worker.stop().await;
    }
}

/// The worker survives it, takes the update up again, and touches nothing else. The images have no
/// health check, because Docker before 23 runs none for containers that outlived it.
#[tokio::test]
async fn inv_25_docker_restarted_under_running_containers_loses_no_request() {
    let daemon = Daemon::start("live", &["--live-restore"]).await;
    let mut shop = Shop::open_in(World::on(daemon.docker()).await, "nocheck").await;
    let before = shop.runs("nocheck").await;
    let customers = shop.customers().await;
    daemon.terminate().await;
    daemon.start_again().await;
    shop.world.manager.asked_again(2).await;
    assert_eq!(shop.runs("nocheck").await, before);
    shop.declare("nocheck2");
    daemon.begins_to_make("nocheck2").await;
    daemon.kill().await;
    daemon.start_again().await;
    let after = shop.runs("nocheck2").await;
    assert_eq!(before["lb-1"], after["lb-1"]);
    customers.were_all_served(3).await;
    shop.worker.stop().await;
    daemon.remove().await;
}

#[tokio::test]
async fn inv_19_replica_removed_or_ended_by_hand_comes_back_and_no_request_is_lost() {
    let shop = Shop::open(json!({})).await;
    let customers = shop.customers().await;
    let mut before = shop.runs("watched1").await;
    for (order, struck) in [
        (&["rm", "-f", "site-2"][..], "site-2"),
        (&["stop", "site-1"], "site-1"),
        (&["kill", "site-3"], "site-3"),
        (&["network", "disconnect", "nebula", "site-1"], "site-1"),
    ] {
        shop.world.docker.run(order).await;
        shop.is_back(struck).await;
        let after = shop.runs("watched1").await;
        for (name, container) in &after {
            assert!(name == struck || *container == before[name], "{name} after {order:?}");
        }
        before = after;
    }
    customers.were_all_served(2).await;
    shop.worker.stop().await;
}

/// Docker before 23 runs no health checks for containers that outlived it, so that a new one says
/// for ever that it is starting.
#[tokio::test]
async fn inv_25_update_ends_although_docker_forgot_the_health_checks() {
    let daemon = Daemon::start("forgets", &["--live-restore"]).await;
    let mut shop = Shop::open_in(World::on(daemon.docker()).await, "watched1").await;
    let customers = shop.customers().await;
    shop.declare("watched2");
    daemon.begins_to_make("watched2").await;
    daemon.kill().await;
    daemon.start_again().await;
    shop.runs("watched2").await;
    customers.were_all_served(3).await;
    shop.worker.stop().await;
    daemon.remove().await;
}
