//! What `make bench` measures, as ratios against something that anyone can run, in one run on one
//! machine. It runs inside `scripts/with-services docker registry images`.
//!
//! - create-to-running of 60 containers against `docker run` of the same containers;
//! - a pass that changes nothing, over those 60 containers;
//! - `/info`, 200 and 304, of an authenticated admin against a bare hyper server that returns the
//!   same bytes, each loaded by `wrk` on the same cores.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nebula::client::{Client, Credentials, Info, Noun};
use nebula::config::Secret;
use nebula::engine::{ContainerEngine, DockerEngine};
use nebula::model::Desired;
use nebula::reconcile::{Busy, Inputs, Memory, Policy, plan};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Apps and replicas of the measurements on Docker.
const APPS: usize = 20;
const REPLICAS: usize = 3;
/// Rounds of each load, alternating, of which the median counts: a shared machine is noisy.
const ROUNDS: usize = 5;
/// How long one round takes.
const ROUND: &str = "3s";
const PASSWORD: &str = "bench";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.get(1).map(String::as_str) {
        Some("bare") => runtime.block_on(bare(arguments[2].parse()?, &arguments[3])),
        _ => runtime.block_on(measure()),
    }
}

/// The server to compare with: hyper, answering every request with the same bytes.
async fn bare(address: SocketAddr, file: &str) -> Outcome<()> {
    let body = Bytes::from(std::fs::read(file)?);
    let status = if body.is_empty() { 304 } else { 200 };
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let reply = hyper::Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .header("etag", "\"0123456789abcdef0123456789abcdef\"")
                .body(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(reply.unwrap_or_default()) }
        });
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

/// A process that ends with the measurement.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn measure() -> Outcome<()> {
    nebula::client::install_crypto_provider();
    let folder = tempfile::tempdir()?;
    let manager = Command::new(env!("CARGO_BIN_EXE_nebula"))
        .arg("manager")
        .env("NEBULA_LISTEN", "127.0.0.1:7001")
        .env("NEBULA_DATA_DIR", folder.path().join("manager"))
        .env("BASIC_AUTH_USER", "admin")
        .env("BASIC_AUTH_PASSWORD", PASSWORD)
        .env("RUST_LOG", "warn")
        .spawn()?;
    let _manager = Process(manager);
    let credentials =
        Credentials::Basic { user: "admin".to_owned(), password: Secret::new(PASSWORD.to_owned()) };
    let client = Client::new("http://127.0.0.1:7001", &credentials, Duration::from_secs(30))?;
    let begun = Instant::now();
    while client.status().await.is_err() {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("the manager does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let image = format!("{}:nocheck", std::env::var("NEBULA_TEST_SITE")?);
    let mut names = Vec::new();
    for number in 1..=APPS {
        let name = format!("bench{number}");
        let app = json!({"docker_image": image, "containers_per": {"server": REPLICAS},
            "networks": ["nebula"], "starting_ports": [{(9000 + number * 10).to_string(): "80"}]});
        client.create(Noun::App, &name, &object(app)).await?;
        names.push(name);
    }
    client.create(Noun::DeviceGroup, "bench", &object(json!({"apps": []}))).await?;

    let mut results = Vec::new();
    on_docker(&client, &names, &image, folder.path(), &mut results).await?;
    under_load(&client, folder.path(), &mut results).await?;
    println!("\n{:<58} {:>12} {:>12} {:>7}", "", "nebula", "compared", "ratio");
    for result in &results {
        println!("{result}");
    }
    Ok(())
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

/// One line of the outcome.
struct Measured {
    what: &'static str,
    unit: &'static str,
    nebula: f64,
    compared: Option<f64>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, unit, nebula, compared } = self;
        write!(f, "{:<58} {nebula:>12.2}", format!("{what} ({unit})"))?;
        match compared {
            Some(compared) => write!(f, " {compared:>12.2} {:>7.2}", nebula / compared),
            None => Ok(()),
        }
    }
}

async fn on_docker(
    client: &Client,
    names: &[String],
    image: &str,
    folder: &std::path::Path,
    results: &mut Vec<Measured>,
) -> Outcome<()> {
    let host = std::env::var("NEBULA_TEST_DOCKER_HOST")?;
    docker(&["pull", "-q", image])?;
    docker(&["network", "create", "nebula"])?;
    let all: Vec<(usize, usize)> =
        (1..=APPS).flat_map(|app| (1..=REPLICAS).map(move |replica| (app, replica))).collect();

    let begun = Instant::now();
    for (app, replica) in &all {
        run_by_hand(*app, *replica, image)?;
    }
    let one_by_one = begun.elapsed().as_secs_f64();
    remove_all()?;
    // Docker takes most of its time in its own locks: eight at once is what it gives at best.
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let mine = all.iter().skip(lane).step_by(8);
            scope.spawn(move || {
                mine.map(|(app, replica)| run_by_hand(*app, *replica, image)).all(|run| run.is_ok())
            });
        }
    });
    let eight_at_once = begun.elapsed().as_secs_f64();
    remove_all()?;

    let worker = Command::new(env!("CARGO_BIN_EXE_nebula"))
        .arg("worker")
        .env("NEBULA_MANAGER_URI", "http://127.0.0.1:7001")
        .env("NEBULA_MANAGER_AUTH_USER", "admin")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", PASSWORD)
        .env("NEBULA_MANAGER_CHECK_IN_TIME", "1")
        .env("NEBULA_DATA_DIR", folder.join("worker"))
        .env("NEBULA_DOCKER_HOST", &host)
        .env("DEVICE_GROUP", "bench")
        .env("RUST_LOG", "warn")
        .spawn()?;
    let worker = Process(worker);
    client.update(Noun::DeviceGroup, "bench", &object(json!({"apps": names}))).await?;
    let begun = Instant::now();
    let mut first = None;
    while running()? < APPS * REPLICAS {
        if first.is_none() && running()? > 0 {
            first = Some(begun.elapsed().as_secs_f64());
        }
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("the containers never ran".into());
        }
    }
    let by_nebula = begun.elapsed().as_secs_f64();
    let what = "60 containers, declared to running, to docker run one by one";
    results.push(Measured { what, unit: "s", nebula: by_nebula, compared: Some(one_by_one) });
    let what = "the same, to docker run eight at once";
    results.push(Measured { what, unit: "s", nebula: by_nebula, compared: Some(eight_at_once) });
    let kilobytes = resident_kilobytes(worker.0.id())?;
    results.push(Measured {
        what: "worker's resident memory",
        unit: "MB",
        nebula: kilobytes / 1024.0,
        compared: None,
    });
    drop(worker);
    results.push(idle_pass(client, &host).await?);
    remove_all()?;
    docker(&["network", "rm", "nebula"])
}

/// A pass that changes nothing: observe and plan, as the worker does.
async fn idle_pass(client: &Client, host: &str) -> Outcome<Measured> {
    let Info::Answer { bytes, .. } = client.info("bench", None).await? else {
        return Err("no answer".into());
    };
    let desired = Desired::decode(&bytes)?;
    let engine = DockerEngine::new(host);
    let (busy, policy, mut memory) = (Busy::default(), Policy::default(), Memory::default());
    let mut times = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        let observed = engine.observe().await?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let inputs = Inputs {
            desired: &desired,
            observed: &observed,
            busy: &busy,
            policy: &policy,
            now_ms: u64::try_from(since.as_millis())?,
        };
        let plan = plan(&inputs, &mut memory);
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        if !plan.actions.is_empty() {
            return Err(format!("a pass over the same state planned:\n{plan}").into());
        }
    }
    let what = "a pass over 60 containers that changes nothing";
    Ok(Measured { what, unit: "ms", nebula: median(times), compared: None })
}

fn run_by_hand(app: usize, replica: usize, image: &str) -> Result<(), String> {
    let name = format!("bench{app}-{replica}");
    let port = format!("{}:80", 9000 + app * 10 + replica - 1);
    let arguments = [
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        "nebula",
        "--restart",
        "unless-stopped",
        "-p",
        &port,
        image,
    ];
    docker(&arguments).map_err(|error| error.to_string())
}

fn docker(arguments: &[&str]) -> Outcome<()> {
    let output = Command::new("docker").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("docker {arguments:?}: {error}").into())
}

fn running() -> Outcome<usize> {
    let output = Command::new("docker").args(["ps", "-q", "--filter", "name=bench"]).output()?;
    Ok(output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count())
}

fn remove_all() -> Outcome<()> {
    let output = Command::new("docker").args(["ps", "-aq", "--filter", "name=bench"]).output()?;
    let ids = String::from_utf8(output.stdout)?;
    let mut arguments = vec!["rm", "-f"];
    arguments.extend(ids.lines());
    docker(&arguments)
}

fn resident_kilobytes(process: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

async fn under_load(
    client: &Client,
    folder: &std::path::Path,
    results: &mut Vec<Measured>,
) -> Outcome<()> {
    let Info::Answer { bytes, etag } = client.info("bench", None).await? else {
        return Err("no answer".into());
    };
    let etag = etag.ok_or("no ETag")?;
    let basic = "Authorization: Basic YWRtaW46YmVuY2g=".to_owned();
    let info = "http://127.0.0.1:7001/api/v2/device_groups/bench/info";
    for (what, body, port, headers) in [
        ("/info 200, 64 connections", bytes, 7002, vec![basic.clone()]),
        (
            "/info 304, 64 connections",
            Vec::new(),
            7003,
            vec![basic, format!("If-None-Match: {etag}")],
        ),
    ] {
        let file = folder.join(format!("body-{port}"));
        std::fs::write(&file, body)?;
        let bare = Command::new(std::env::current_exe()?)
            .args(["bare", &format!("127.0.0.1:{port}"), &file.display().to_string()])
            .spawn()?;
        let _bare = Process(bare);
        let plain = format!("http://127.0.0.1:{port}/");
        let (mut nebula, mut compared) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            nebula.push(requests_a_second(info, &headers)?);
            compared.push(requests_a_second(&plain, &headers)?);
        }
        let (nebula, compared) = (median(nebula), Some(median(compared)));
        results.push(Measured { what, unit: "requests a second", nebula, compared });
    }
    Ok(())
}

fn requests_a_second(url: &str, headers: &[String]) -> Outcome<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c64", "-d", ROUND]).stdin(Stdio::null());
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(url).output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") && !headers.iter().any(|header| header.starts_with("If-None")) {
        return Err(format!("refused: {text}").into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.ok_or(format!("wrk says: {text}"))?.trim().parse()?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
