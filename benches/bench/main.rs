//! What `make bench` measures, as ratios against something that anyone can run, in one run on one
//! machine. It runs inside `scripts/with-services docker registry images`.
//!
//! - `containers`: create-to-running of 60 containers against `docker run` of the same containers,
//!   and a pass over them that changes nothing;
//! - `idle`: a worker with nothing to do, against what is promised of it: resident memory, share
//!   of a core, what it writes to disk; and from its start to its first check-in;
//! - `info`: `/info`, 200 and 304, of the admin against a bare hyper server that returns the same
//!   bytes, and of a stored user against the admin, each loaded by `wrk` on the same cores;
//! - `logins`: the latency of a good client while others guess passwords, against without.
//!
//! Arguments choose among the four; without any, all are measured.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod containers;
mod idle;
mod info;
mod logins;

use nebula::client::{Client, Credentials, Noun};
use nebula::config::Secret;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Apps and replicas of the group that is measured.
const APPS: usize = 20;
const REPLICAS: usize = 3;
const URL: &str = "http://127.0.0.1:7001";
const PASSWORD: &str = "bench";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("bare") => runtime.block_on(info::bare(arguments[1].parse()?, &arguments[2])),
        _ => runtime.block_on(measure(&arguments)),
    }
}

async fn measure(parts: &[String]) -> Outcome<()> {
    nebula::client::install_crypto_provider();
    let folder = tempfile::tempdir()?;
    let manager = Manager::start(folder.path()).await?;
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut results = Vec::new();
    if is_wanted("containers") {
        containers::measure(&manager, folder.path(), &mut results).await?;
    }
    if is_wanted("idle") {
        idle::measure(&manager, folder.path(), &mut results).await?;
    }
    let group = object(json!({ "apps": manager.apps }));
    manager.client.update(Noun::DeviceGroup, "bench", &group).await?;
    if is_wanted("info") {
        info::measure(&manager, folder.path(), &mut results).await?;
    }
    if is_wanted("logins") {
        logins::measure(&mut results).await?;
    }
    println!("\n{:<62} {:>11} {:>11} {:>7}", "", "nebula", "compared", "ratio");
    for result in &results {
        println!("{result}");
    }
    Ok(())
}

/// A process that ends with the measurement.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A manager with the apps, an empty device group `bench`, and a user `device` who may read it.
struct Manager {
    client: Client,
    apps: Vec<String>,
    image: String,
    _process: Process,
}

impl Manager {
    async fn start(folder: &Path) -> Outcome<Self> {
        let process = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg("manager")
            .env("NEBULA_LISTEN", "127.0.0.1:7001")
            .env("NEBULA_DATA_DIR", folder.join("manager"))
            .env("BASIC_AUTH_USER", "admin")
            .env("BASIC_AUTH_PASSWORD", PASSWORD)
            .env("RUST_LOG", "warn")
            .spawn()?;
        let process = Process(process);
        let password = Secret::new(PASSWORD.to_owned());
        let credentials = Credentials::Basic { user: "admin".to_owned(), password };
        let client = Client::new(URL, &credentials, Duration::from_secs(30))?;
        let begun = Instant::now();
        while client.status().await.is_err() {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err("the manager does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let site = std::env::var("NEBULA_TEST_SITE").unwrap_or_else(|_| "site".to_owned());
        let image = format!("{site}:nocheck");
        let mut apps = Vec::new();
        for number in 1..=APPS {
            let name = format!("bench{number}");
            let ports = json!([{ (9_000 + number * 10).to_string(): "80" }]);
            let app = json!({ "docker_image": image, "containers_per": { "server": REPLICAS },
                "networks": ["nebula"], "starting_ports": ports });
            client.create(Noun::App, &name, &object(app)).await?;
            apps.push(name);
        }
        client.create(Noun::DeviceGroup, "bench", &Map::new()).await?;
        let user = object(json!({ "password": PASSWORD }));
        client.create(Noun::User, "device", &user).await?;
        let grants = json!({ "group_members": ["device"], "device_groups": { "bench": "ro" } });
        client.create(Noun::UserGroup, "devices", &object(grants)).await?;
        Ok(Self { client, apps, image, _process: process })
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
        write!(f, "{:<62} {nebula:>11.2}", format!("{what} ({unit})"))?;
        match compared {
            Some(compared) => write!(f, " {compared:>11.2} {:>7.2}", nebula / compared),
            None => Ok(()),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
