//! Managers are restarted one after the other, or one is lost and its devices all come at once.

use crate::managers::{Cluster, Database, Manager, PATIENCE, bearer, say, until};
use crate::sets::steady;
use reqwest::{Response, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Devices during the rolling restart, of which every second one waits for changes.
const DEVICES: usize = 20;
/// How long those wait.
const WAIT_SECONDS: u64 = 3;
/// Devices that all come at once, each with a connection of its own.
const FLEET: usize = 2_000;
/// The tokens that they share.
const USERS: usize = 4;
/// How soon all of them must be served.
const CONVERGED: Duration = Duration::from_secs(60);

/// One check-in. A manager that answers at all must answer as a device needs it.
async fn check_in(
    manager: &Manager,
    who: &str,
    wait: u64,
    etag: &mut Option<String>,
) -> Result<(), reqwest::Error> {
    let (status, tag, body) = manager.wait_for_info(who, "group", etag.as_deref(), wait).await?;
    assert!([200, 304].contains(&status), "{status} {body}");
    *etag = tag;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_10_a_rolling_restart_fails_no_check_in() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    cluster.managers[0].create_app("app").await;
    cluster.managers[0].create_group("group", &["app"]).await;
    let user = cluster.managers[0].done("POST", "/users/device", json!({})).await;
    let body = json!({ "group_members": ["device"], "device_groups": { "group": "ro" } });
    cluster.managers[0].done("POST", "/user_groups/devices", body).await;
    let who = bearer(user["generated"]["token"].as_str().expect("a token"));
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut devices = JoinSet::new();
    for device in 0..DEVICES {
        let (managers, who) = (cluster.managers.clone(), who.clone());
        let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
        let wait = if device % 2 == 0 { 0 } else { WAIT_SECONDS };
        devices.spawn(async move {
            let (mut retries, mut etag) = (0, None);
            let mut ticks = tokio::time::interval(Duration::from_millis(25));
            for turn in device.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                ticks.tick().await;
                let other = |next: usize| &managers[(turn + next) % managers.len()];
                if let Err(first) = check_in(other(0), &who, wait, &mut etag).await {
                    retries += 1;
                    let second = check_in(other(1), &who, wait, &mut etag).await;
                    second.unwrap_or_else(|second| {
                        panic!("{first:?}, and at another manager {second:?}")
                    });
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            retries
        });
    }
    let go_on = async || {
        let enough = count.load(Ordering::Relaxed) + 10 * DEVICES;
        until("check-ins", PATIENCE, async || {
            (count.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
    };
    go_on().await;
    for (turn, manager) in cluster.managers.iter().enumerate() {
        let begun = Instant::now();
        manager.signal(Signal::TERM).await;
        let status = manager.ended().await;
        assert!(status.success(), "{status}");
        say(format_args!("a manager drains in {:?}", begun.elapsed()));
        manager.start_again().await;
        manager.follows("stream").await;
        // Those who wait are told of what happens meanwhile.
        cluster.turn(turn + 1).set("app", "N", turn as u64).await.unwrap();
        go_on().await;
    }
    is_over.store(true, Ordering::Relaxed);
    let retries: usize = devices.join_all().await.into_iter().sum();
    say(format_args!("{} check-ins, {retries} repeated once", count.load(Ordering::Relaxed)));
}

/// One device on a connection of its own: asks the managers in turn until one serves it.
async fn until_served(
    managers: [Arc<Manager>; 3],
    first: usize,
    who: String,
    shed: Arc<AtomicUsize>,
) -> reqwest::Client {
    let client = crate::managers::client();
    for turn in first.. {
        let manager = &managers[turn % managers.len()];
        let request = client.get(manager.url("/api/v2/device_groups/group/info"));
        let wait = match request.header("authorization", &who).send().await {
            Ok(response) if response.status() == StatusCode::OK => {
                let info: Value = response.json().await.unwrap();
                assert_eq!(info["apps_list"], json!(["app"]));
                return client;
            }
            Ok(response) => {
                shed.fetch_add(1, Ordering::Relaxed);
                retry_after(&response)
            }
            // Nobody is there, or the queue of connections is full.
            Err(_) => 1.0,
        };
        tokio::time::sleep(Duration::from_secs_f64(wait * rand::random_range(0.5..1.5))).await;
    }
    unreachable!("it asks without end")
}

/// What a device that is shed is told to wait, in seconds.
fn retry_after(response: &Response) -> f64 {
    let status = response.status().as_u16();
    assert!([429, 503].contains(&status), "a device is shed with {status}");
    let after = response.headers().get("retry-after").expect("when to come again");
    after.to_str().unwrap().parse().expect("seconds")
}

/// Serves everybody, and says how long it took.
async fn all_are_served(
    cluster: &Cluster,
    who: &[String],
    among: &[usize],
) -> (Duration, usize, Vec<reqwest::Client>) {
    let (begun, shed) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut devices = JoinSet::new();
    for device in 0..FLEET {
        let (managers, shed) = (cluster.managers.clone(), Arc::clone(&shed));
        let first = among[device % among.len()];
        devices.spawn(until_served(managers, first, who[device % who.len()].clone(), shed));
    }
    let served = tokio::time::timeout(CONVERGED, devices.join_all()).await;
    let connections = served.expect("all devices are served");
    (begun.elapsed(), shed.load(Ordering::Relaxed), connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_11_a_fleet_that_comes_at_once_is_served() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let [lost, left, other] = &cluster.managers;
    left.create_app("app").await;
    left.create_group("group", &["app"]).await;
    let mut who = Vec::new();
    for user in 0..USERS {
        let user = left.done("POST", &format!("/users/device{user}"), json!({})).await;
        who.push(bearer(user["generated"]["token"].as_str().expect("a token")));
    }
    let members: Vec<String> = (0..USERS).map(|user| format!("device{user}")).collect();
    let body = json!({ "group_members": members, "device_groups": { "group": "ro" } });
    left.done("POST", "/user_groups/devices", body).await;
    let (took, shed, connections) = all_are_served(&cluster, &who, &[0]).await;
    say(format_args!("{FLEET} devices come to one manager: {took:?}, {shed} shed"));
    lost.kill().await;
    drop(connections);
    let (took, shed, _connections) = all_are_served(&cluster, &who, &[0, 1, 2]).await;
    say(format_args!("it is killed, and they come to the others: {took:?}, {shed} shed"));
    for manager in [left, other] {
        assert!(manager.runs().await, "it stays up");
        assert_eq!(manager.get("/status").await.unwrap().0, 200);
    }
}
