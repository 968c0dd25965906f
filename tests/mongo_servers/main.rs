//! The `MongoDB` servers on which other tests stand do what those tests believe: a member that is
//! killed, paused or cut off is not the primary any more, and comes back.
#![cfg(feature = "daemon")]

mod servers;
mod transfer;

use servers::{MongoServers, fresh_database_name, shared_url};
use std::time::{Duration, Instant};

/// An election takes five seconds; the limit is for a machine that is busy with the other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The primary, when it is another one than this. Others may name the old one until an election has
/// begun.
async fn other_primary(servers: &MongoServers, than: usize) -> usize {
    let begun = Instant::now();
    loop {
        let primary = servers.primary().await;
        if primary != than {
            return primary;
        }
        assert!(begun.elapsed() < PATIENCE, "{than} is the primary still");
    }
}

#[tokio::test]
async fn killed_primary_is_replaced_and_comes_back() {
    let servers = MongoServers::start("killed", &["--members", "3"]).await;
    let first = servers.primary().await;
    servers.kill(first).await;
    let second = other_primary(&servers, first).await;
    servers.start_again(first).await;
    // With one of three down, the one that was started again is needed for the majority.
    servers.kill(second).await;
    other_primary(&servers, second).await;
}

#[tokio::test]
async fn paused_primary_is_replaced_and_comes_back() {
    let servers = MongoServers::start("paused", &["--members", "3"]).await;
    let first = servers.primary().await;
    servers.pause(first);
    let second = other_primary(&servers, first).await;
    servers.resume(first);
    servers.pause(second);
    other_primary(&servers, second).await;
}

#[tokio::test]
async fn cut_off_primary_is_replaced_and_comes_back() {
    let servers = MongoServers::start("cut", &["--members", "3"]).await;
    let first = servers.primary().await;
    servers.cut(first).await;
    let second = other_primary(&servers, first).await;
    servers.heal(first).await;
    servers.cut(second).await;
    other_primary(&servers, second).await;
}

#[tokio::test]
async fn each_kind_of_deployment_has_its_url() {
    assert!(shared_url().ends_with("/?replicaSet=main"), "{}", shared_url());
    let standalone = MongoServers::start("standalone", &["--standalone", "--auth"]).await;
    let (user, options) = standalone.url().split_once('@').expect("a user");
    assert!(user.starts_with("mongodb://nebula-test:"), "{user}");
    assert!(options.ends_with("/?directConnection=true&authSource=admin"), "{options}");
    // The one that the network shows is this one, and the user may ask it.
    assert_eq!(standalone.primary().await, 0);
    assert_ne!(fresh_database_name(), fresh_database_name());
}
