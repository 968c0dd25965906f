//! `examples/site` as its README tells it: a website behind a balancer on one device, from the
//! declaration to a new version that nobody notices.

use crate::apps::site;
use crate::examples::{folder, stand_in, succeeded};
use crate::fleet::{Fleet, PASSWORD};
use crate::probe::{Probe, replica_behind};
use crate::world::{PATIENCE, until_within};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// The cron job runs each minute here.
const A_RUN: Duration = Duration::from_secs(120);
/// Where visitors come.
const DOOR: ([u8; 4], u16) = ([127, 0, 0, 1], 80);

/// The balancer's image, as the README has it made, but on an image that is here.
async fn balancer(fleet: &Fleet) -> String {
    let image = "nebula-local/lb:1";
    let base = format!("BASE={}", stand_in("haproxy").await);
    let folder = folder("site").join("lb").display().to_string();
    fleet.world.docker.run(&["build", "--tag", image, "--build-arg", &base, &folder]).await;
    image.to_owned()
}

/// Runs the example's own script.
async fn declare(fleet: &Fleet, balancer: &str) {
    let binary = Path::new(env!("CARGO_BIN_EXE_nebula")).parent().expect("a folder").display();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(folder("site").join("declare"));
    command.env_clear().env("PATH", path).env("HOME", fleet.world.folder.path());
    command.env("NEBULA_URL", format!("http://{}", fleet.manager));
    command.env("NEBULA_USERNAME", "admin").env("NEBULA_PASSWORD", PASSWORD);
    command.env("SITE_IMAGE", site("watched1")).env("LB_IMAGE", balancer);
    command.env("GROUP", "tills").env("HEALTH_PATH", "/health").env("SCHEDULE", "* * * * *");
    succeeded(&mut command).await;
}

/// Waits until as many replicas have answered through the balancer. It asks in rows that are longer than
/// the balancer's round: a question a tick, beside visitors who keep ticks of their own, can meet the
/// same replica each time.
async fn are_found(replicas: usize) {
    let mut found = BTreeSet::new();
    until_within(PATIENCE, "all replicas answer through port 80", async || {
        for _ in 0..=2 * replicas {
            found.extend(replica_behind(SocketAddr::from(DOOR), PATIENCE).await);
        }
        (found.len() == replicas).then_some(())
    })
    .await;
}

#[tokio::test]
async fn site_of_three_containers_a_core_is_served_through_port_80_and_updated_unnoticed() {
    let fleet = Fleet::embedded().await;
    let balancer = balancer(&fleet).await;
    declare(&fleet, &balancer).await;
    let replicas = 3 * std::thread::available_parallelism().expect("cores").get();
    fleet.is("converged").await;
    let containers = fleet.world.docker.containers().await;
    assert_eq!(containers.keys().filter(|name| name.starts_with("site-")).count(), replicas);
    assert!(containers.contains_key("lb-1"), "{containers:?}");
    are_found(replicas).await;

    let visitors = Probe::of_strangers(SocketAddr::from(DOOR));
    let two = site("watched2");
    fleet.does(&["apps", "update", "site", "--image", &two, "--wait"]).await;
    are_found(replicas).await;
    let tally = visitors.end().await;
    assert!(tally.failures.is_empty(), "{:?} of {}", tally.failures, tally.answered());
    let versions: Vec<&str> = tally.answers.keys().map(String::as_str).collect();
    assert_eq!(versions, ["1", "2"], "{:?}", tally.answers);

    let run = until_within(A_RUN, "the cron job ran", async || {
        let device = fleet.device().await?;
        let runs = device["cron_jobs"][0]["last_runs"].as_array()?.clone();
        runs.into_iter().find(|run| run["outcome"] == "ended")
    })
    .await;
    assert_eq!(run["exit_code"], Value::from(0), "{run}");
}
