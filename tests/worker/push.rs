//! A change reaches a device as soon as it is made; and where something breaks that, the device
//! polls, and nothing worse.

use crate::manager::{Answer, Ask, state, told, unchanged, wait_of};
use crate::offline::{Log, pretended};
use crate::relay::Relay;
use crate::world::{PATIENCE, Worker, World, until, until_within};
use nebula::client::{Client, Credentials, Noun, Object};
use nebula::config::Secret;
use nebula::engine::FakeEngine;
use nebula::model::Machine;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A pretended device that checks in this often, and its manager.
struct Device {
    worker: Worker,
    world: World,
    engine: FakeEngine,
}

impl Device {
    async fn start(check_in_seconds: u64) -> Self {
        Self::start_at(None, check_in_seconds).await
    }

    /// One that asks at this address instead.
    async fn start_at(address: Option<SocketAddr>, check_in_seconds: u64) -> Self {
        let (world, engine) = pretended().await;
        let world = asking(world, address, check_in_seconds);
        let worker = world.worker_on(Arc::new(engine.clone()));
        Self { worker, world, engine }
    }

    /// Waits until it runs so many apps.
    async fn runs(&self, count: usize) {
        let what = format!("it runs {count}");
        until(&what, || async { self.containers() == count }).await;
    }

    fn containers(&self) -> usize {
        let machine = Machine { cores: 2, memory_mb: 1024 };
        self.engine.world(|world| world.observe(machine)).containers.len()
    }

    /// How long a change takes to reach it.
    async fn time_of_a_change(&mut self) -> Duration {
        let count = if self.containers() == 2 { 1 } else { 2 };
        self.world.manager.declare(&apps(count));
        let begun = Instant::now();
        until_within(HOUR, "the change", async || (self.containers() == count).then_some(())).await;
        begun.elapsed()
    }
}

/// This world's worker checks in this often, and asks at this address if there is one.
fn asking(mut world: World, address: Option<SocketAddr>, check_in_seconds: u64) -> World {
    let settings = [
        ("CHECK_IN_TIME", Some(check_in_seconds.to_string())),
        ("REQUEST_TIMEOUT", Some("60".to_owned())),
        ("PORT", address.map(|address| address.port().to_string())),
    ];
    for (key, value) in settings {
        world.extra.extend(value.map(|value| (format!("NEBULA_MANAGER_{key}"), value)));
    }
    world
}

/// So many apps of one container each.
fn apps(count: usize) -> Vec<Value> {
    let app = |n: usize| {
        json!({ "app_name": format!("web{n}"), "app_id": 1, "revision": 1,
            "uid": format!("5f1e2d3c4b5a6978879600{n:02}"),
            "docker_image": "127.0.0.1:5000/site:1" })
    };
    (1..=count).map(app).collect()
}

/// The shortest time from one request to the next.
fn shortest_gap(asks: &[Ask]) -> Duration {
    asks.windows(2).map(|pair| pair[1].at - pair[0].at).min().expect("some requests")
}

fn most_willing(asks: &[Ask]) -> Duration {
    asks.iter().filter_map(|ask| ask.wait).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn change_reaches_a_waiting_device_at_once_and_its_end_ends_the_wait() {
    let mut device = Device::start(300).await;
    device.runs(1).await;
    for _ in 0..5 {
        sleep(7 * MINUTE).await;
        let took = device.time_of_a_change().await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let asks = device.world.manager.asks();
    assert!(asks[0].wait.is_none() && asks[1..].iter().all(|ask| ask.wait.is_some()), "{asks:?}");
    assert!(asks.len() < 40, "{asks:?}");
    let begun = Instant::now();
    device.worker.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn manager_of_the_original_is_polled_and_costs_no_writes_and_no_words() {
    let (log, _hearing) = Log::hear();
    let device = Device::start(30).await;
    device.world.manager.say_by(|_| Some(told(&state(2000, &apps(2)), "")));
    device.runs(2).await;
    sleep(MINUTE).await;
    let file = device.world.data_file("accepted.json");
    let written = || std::fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    let (before, lines) = (written(), log.lines("").len());
    device.world.manager.asks();
    sleep(6 * HOUR).await;
    let asks = device.world.manager.asks();
    assert!(asks.len() >= 650 && shortest_gap(&asks) >= Duration::from_secs(26), "{}", asks.len());
    assert!(asks.iter().all(|ask| ask.wait.is_none()), "there is no tag to wait with");
    assert_eq!((written(), log.lines("").len()), (before, lines), "{:#?}", log.lines(""));
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn manager_that_answers_at_once_is_polled_until_it_waits() {
    let mut device = Device::start(30).await;
    device.runs(1).await;
    device.world.manager.say_by(|_| Some(unchanged("")));
    sleep(2 * MINUTE).await;
    device.world.manager.asks();
    sleep(HOUR).await;
    let asks = device.world.manager.asks();
    assert!(shortest_gap(&asks) >= Duration::from_secs(26), "{:?}", shortest_gap(&asks));
    device.world.manager.declare(&apps(2));
    device.runs(2).await;
    sleep(MINUTE).await;
    let took = device.time_of_a_change().await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn manager_that_refuses_the_query_is_polled_until_it_takes_it() {
    let (log, _hearing) = Log::hear();
    let device = Device::start(30).await;
    device.runs(1).await;
    device.world.manager.say_by(|head| {
        if wait_of(head).is_some() {
            return Some(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec());
        }
        Some(told(&state(3000, &apps(2)), "etag: \"3000\"\r\n"))
    });
    device.runs(2).await;
    device.world.manager.asks();
    sleep(12 * HOUR).await;
    let asks = device.world.manager.asks();
    let refused = asks.iter().filter(|ask| ask.wait.is_some()).count();
    assert!((9..=20).contains(&refused), "{refused} of {}", asks.len());
    assert!(asks.len() - refused <= 12 * 140, "{}", asks.len());
    assert!(log.lines("check-in failed").is_empty(), "{:#?}", log.lines(""));
    device.world.manager.say(Answer::State(state(4000, &apps(1))));
    device.runs(1).await;
    sleep(2 * HOUR).await;
    assert!(most_willing(&device.world.manager.asks()) >= Duration::from_secs(27));
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn inv_14_proxy_that_cuts_silent_requests_delays_no_change_and_is_no_trouble() {
    let (log, _hearing) = Log::hear();
    let (mut world, engine) = pretended().await;
    let relay = Relay::start(world.manager.address, Duration::from_secs(20)).await;
    world = asking(world, Some(relay.address), 300);
    let worker = world.worker_on(Arc::new(engine.clone()));
    let mut device = Device { worker, world, engine };
    device.runs(1).await;
    // It finds out, and from then on no request is cut but a trial's.
    sleep(2 * MINUTE).await;
    for minute in 0..3 {
        let took = device.time_of_a_change().await;
        assert!(took < Duration::from_secs(1), "{minute}: {took:?}");
        sleep(Duration::from_secs(57)).await;
    }
    device.world.manager.asks();
    sleep(10 * HOUR).await;
    let asks = device.world.manager.asks();
    let trials = asks.iter().filter(|ask| ask.wait > Some(Duration::from_secs(20))).count();
    assert!((9..=14).contains(&trials), "{trials} trials");
    // The proxy is set right.
    relay.set_patience(HOUR);
    sleep(2 * HOUR).await;
    device.world.manager.asks();
    sleep(HOUR).await;
    let asks = device.world.manager.asks();
    assert!(asks.iter().all(|ask| ask.wait >= Some(Duration::from_secs(270))), "{asks:?}");
    // It cuts so soon that there is no use in waiting.
    relay.set_patience(Duration::from_secs(3));
    sleep(20 * MINUTE).await;
    let took = device.time_of_a_change().await;
    assert!(took < 6 * MINUTE, "{took:?}");
    assert!(log.lines("check-in failed").is_empty(), "{:#?}", log.lines(""));
    let told = log.lines("the manager");
    assert_eq!(told.iter().filter(|line| line.contains("cuts")).count(), 2, "{told:#?}");
    assert_eq!(told.iter().filter(|line| line.contains("again")).count(), 1, "{told:#?}");
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn manager_that_always_has_news_does_not_make_a_device_spin() {
    let device = Device::start(30).await;
    device.runs(1).await;
    let revision = AtomicU64::new(5000);
    device.world.manager.say_by(move |_| {
        let revision = revision.fetch_add(1, Ordering::Relaxed);
        Some(told(&state(revision, &apps(1)), &format!("etag: \"{revision}\"\r\n")))
    });
    sleep(HOUR).await;
    let asks = device.world.manager.asks();
    assert!((100..=140).contains(&asks.len()), "{} in an hour", asks.len());
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn inv_03_restored_store_is_believed_after_two_minutes_by_a_device_that_waits() {
    let device = Device::start(24 * 3_600).await;
    device.runs(1).await;
    sleep(HOUR).await;
    device.world.manager.asks();
    let begun = Instant::now();
    device.world.manager.say(Answer::State(state(500, &apps(2))));
    until_within(HOUR, "it is believed", async || (device.containers() == 2).then_some(())).await;
    let took = begun.elapsed();
    assert!(took >= 2 * MINUTE && took < 4 * MINUTE, "{took:?}");
    let asks = device.world.manager.asks();
    assert!(asks.len() <= 9, "{asks:?}");
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn inv_06_fresh_manager_beside_a_stale_one_is_heard_soon() {
    let mut device = Device::start(300).await;
    device.world.manager.declare(&apps(2));
    device.runs(2).await;
    sleep(MINUTE).await;
    device.world.manager.say(Answer::State(state(900, &apps(1))));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(device.containers(), 2, "it went back");
    device.world.manager.declare(&apps(3));
    let begun = Instant::now();
    device.runs(3).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    device.worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn manager_that_asks_for_patience_is_polled_at_its_pace() {
    let device = Device::start(30).await;
    device.runs(1).await;
    device.world.manager.say_by(|_| Some(unchanged("retry-after: 120\r\n")));
    sleep(5 * MINUTE).await;
    device.world.manager.asks();
    sleep(HOUR).await;
    let asks = device.world.manager.asks();
    assert!(asks.iter().all(|ask| ask.wait.is_none()), "{asks:?}");
    assert!(shortest_gap(&asks) >= 2 * MINUTE && asks.len() >= 26, "{}", asks.len());
    device.world.manager.say(Answer::State(state(2000, &apps(2))));
    sleep(3 * MINUTE).await;
    device.world.manager.asks();
    sleep(2 * MINUTE).await;
    assert!(device.world.manager.asks().iter().all(|ask| ask.wait.is_some()), "it goes on polling");
    device.worker.stop().await;
}

/// The real manager with its embedded store, in a process of its own.
struct Real {
    process: Child,
    client: Client,
    http: reqwest::Client,
    address: SocketAddr,
}

const TOKEN: &str = "token";

impl Real {
    async fn start(world: &World, address: SocketAddr) -> Self {
        nebula::client::install_crypto_provider();
        let process = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg("manager")
            .env("NEBULA_LISTEN", address.to_string())
            .env("NEBULA_DATA_DIR", world.folder.path().join("manager"))
            .env("AUTH_TOKEN", TOKEN)
            .kill_on_drop(true)
            .spawn()
            .expect("the binary");
        let credentials = Credentials::Bearer(Secret::new(TOKEN.to_owned()));
        let client = Client::new(&format!("http://{address}"), &credentials, PATIENCE);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let real = Self { process, client: client.expect("a client"), http, address };
        until("the manager answers", || async { real.client.status().await.is_ok() }).await;
        real
    }

    /// Waits until a device waits.
    async fn is_waited_at(&self) {
        until("a device waits", || async {
            let metrics = self.http.get(format!("http://{}/metrics", self.address)).send().await;
            let text = metrics.expect("metrics").text().await.expect("text");
            text.lines().any(|line| line.contains("parked") && line.ends_with(" 1"))
        })
        .await;
    }

    /// Declares so many apps.
    async fn declare(&self, count: usize) {
        let body = object(&json!({ "apps": names(count) }));
        self.client.update(Noun::DeviceGroup, "tills", &body).await.expect("changed");
    }
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("web{n}")).collect()
}

fn object(value: &Value) -> Object {
    value.as_object().cloned().expect("an object")
}

/// A device that checks in once an hour at a real manager, and runs one app.
async fn at_a_real_manager() -> (Device, Real) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let (world, engine) = pretended().await;
    let world = asking(world, Some(address), 3_600);
    let real = Real::start(&world, address).await;
    let app = object(&json!({ "docker_image": "127.0.0.1:5000/site:1" }));
    for name in names(4) {
        real.client.create(Noun::App, &name, &app).await.expect("an app");
    }
    let group = object(&json!({ "apps": names(1) }));
    real.client.create(Noun::DeviceGroup, "tills", &group).await.expect("a group");
    let worker = world.worker_on(Arc::new(engine.clone()));
    let device = Device { worker, world, engine };
    device.runs(1).await;
    (device, real)
}

#[tokio::test]
async fn change_reaches_a_device_at_a_real_manager_long_before_its_check_in_time() {
    let (device, real) = at_a_real_manager().await;
    for count in [3, 1, 4, 2] {
        real.is_waited_at().await;
        real.declare(count).await;
        device.runs(count).await;
    }
    device.worker.stop().await;
}

#[tokio::test]
async fn inv_14_device_waits_again_after_its_manager_was_killed() {
    let (log, _hearing) = Log::hear();
    let (device, mut real) = at_a_real_manager().await;
    let before = device.engine.world(|world| world.log.clone());
    for _ in 0..2 {
        real.is_waited_at().await;
        let address = real.address;
        real.process.kill().await.expect("killed");
        until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
        real = Real::start(&device.world, address).await;
    }
    real.is_waited_at().await;
    assert_eq!(device.engine.world(|world| world.log.clone()), before, "something was changed");
    real.declare(2).await;
    device.runs(2).await;
    device.worker.stop().await;
}
