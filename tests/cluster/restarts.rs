//! Managers are restarted one after the other, or one is lost and its devices all come at once.

use crate::managers::{Cluster, Database, Manager, PATIENCE, bearer, say, until};
use crate::sets::steady;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Devices during the rolling restart, of which every second one waits for changes.
const DEVICES: usize = 20;
/// How long those wait.
const WAIT_SECONDS: u64 = 3;
/// Devices that all come at once, each with a connection of its own.
const FLEET: usize = 2_000;
/// The tokens that they share.
const USERS: usize = 4;
/// Files of a manager that has room for a part of the fleet only.
const FEW_FILES: u32 = 500;
/// How long a device waits for an answer.
const ANSWERED: Duration = Duration::from_secs(30);
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
) -> TcpStream {
    for turn in first.. {
        let address = managers[turn % managers.len()].address();
        let asked = ask(&address, &who);
        let wait = match tokio::time::timeout(ANSWERED, asked).await {
            Ok(Ok((stream, head, info))) if head.starts_with("HTTP/1.1 200 ") => {
                assert_eq!(info["apps_list"], json!(["app"]));
                return stream;
            }
            Ok(Ok((_, head, body))) => {
                shed.fetch_add(1, Ordering::Relaxed);
                let is_shed = ["429", "503"]
                    .iter()
                    .any(|status| head.starts_with(&format!("HTTP/1.1 {status} ")));
                assert!(is_shed, "{head}{body}");
                f64::from(header::<u32>(&head, "retry-after").expect("when to come again"))
            }
            // Nobody is there, or nobody has time.
            Ok(Err(_)) | Err(_) => 1.0,
        };
        tokio::time::sleep(Duration::from_secs_f64(wait * rand::random_range(0.5..1.5))).await;
    }
    unreachable!("it asks without end")
}

/// A check-in without a library, of which thousands cost little: the connection, the answer's head,
/// and its body.
async fn ask(address: &str, who: &str) -> std::io::Result<(TcpStream, String, Value)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /api/v2/device_groups/group/info HTTP/1.1\r\nhost: manager\r\nauthorization: {who}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && header(head, "content-length").is_none_or(|length: usize| body.len() >= length)
        {
            let body = serde_json::from_str(body).unwrap_or_default();
            return Ok((stream, head.to_owned(), body));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A header that is a number.
fn header<T: std::str::FromStr<Err: std::fmt::Debug>>(head: &str, name: &str) -> Option<T> {
    let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.map(|value| value.parse().expect("a number"))
}

/// Serves everybody, and says how long it took and how often one was told to come again. Devices
/// keep their connections for as long as they are kept here.
async fn all_are_served(
    cluster: &Cluster,
    who: &[String],
    among: &[usize],
    keeps: bool,
) -> (Duration, usize, Vec<TcpStream>) {
    let (begun, shed) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut devices = JoinSet::new();
    for device in 0..FLEET {
        let (managers, shed) = (cluster.managers.clone(), Arc::clone(&shed));
        let first = among[device % among.len()];
        let served = until_served(managers, first, who[device % who.len()].clone(), shed);
        devices.spawn(async move { Some(served.await).filter(|_| keeps) });
    }
    let served = tokio::time::timeout(CONVERGED, devices.join_all()).await;
    let connections = served.expect("all devices are served");
    let connections = connections.into_iter().flatten().collect();
    (begun.elapsed(), shed.load(Ordering::Relaxed), connections)
}

/// What the fleet asks for, and its tokens.
async fn prepare(left: &Manager) -> Vec<String> {
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
    who
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_11_a_fleet_that_comes_at_once_is_served() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let [lost, left, other] = &cluster.managers;
    let who = prepare(left).await;
    let (took, shed, connections) = all_are_served(&cluster, &who, &[0], true).await;
    say(format_args!("{FLEET} devices come to one manager: {took:?}, {shed} shed"));
    lost.kill().await;
    drop(connections);
    let (took, shed, _connections) = all_are_served(&cluster, &who, &[0, 1, 2], true).await;
    say(format_args!("it is killed, and they come to the others: {took:?}, {shed} shed"));
    all_run(&[left, other]).await;
}

async fn all_run(managers: &[&Arc<Manager>]) {
    for manager in managers {
        assert!(manager.runs().await, "it stays up");
        assert_eq!(manager.get("/status").await.unwrap().0, 200);
    }
}

/// Most are told to come again, and all are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_11_a_fleet_that_finds_no_room_is_told_when_to_come_again() {
    let database = Database { files: FEW_FILES, ..Database::fresh(steady().await.url()) };
    let cluster = Cluster::start(database).await;
    let [lost, left, other] = &cluster.managers;
    let who = prepare(left).await;
    lost.kill().await;
    let (took, shed, _) = all_are_served(&cluster, &who, &[0, 1, 2], false).await;
    say(format_args!("{FLEET} devices find little room: {took:?}, {shed} shed"));
    assert!(shed > 0, "there was room for all");
    all_run(&[left, other]).await;
}
