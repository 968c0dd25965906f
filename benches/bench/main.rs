//! What `make bench` measures, as ratios against something that anyone can run, in one run on one
//! machine, and against what is promised. It runs inside `scripts/with-services`.
//!
//! - `containers`: create-to-running of 60 containers against `docker run` of the same containers,
//!   and a pass over them that changes nothing;
//! - `idle`: a worker with nothing to do, against what is promised of it: resident memory, share
//!   of a core, what it writes to disk; and from its start to its first check-in;
//! - `info`: `/info`, 200 and 304, of the admin and of a stored user against a bare hyper server and
//!   nginx that give the same bytes, each loaded by `wrk` on the same cores;
//! - `logins`: the latency of a good client while others guess passwords, against without;
//! - `groups`: `/info` over 10,000 groups against one of them;
//! - `parked`: 10,000 waiting devices on one manager and on three: from change to device, memory,
//!   processor time; and as many as the limit of open files allows;
//! - `managers`: how soon a second manager shows a write, by change stream and without;
//! - `reads`: what a manager reads from `MongoDB` a minute, with devices and without;
//! - `reporter`: how fast a reporter keeps 50,000 reports that wait in Kafka, against a bare insert
//!   of as many ready documents.
//!
//! Arguments choose among them; without any, all are measured. The results are printed and kept in
//! `target/bench` as a file named by date. `compare FILE FILE` prints the second beside the first.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::print_stderr, reason = "its progress is none of its output")]

mod containers;
mod groups;
mod idle;
mod info;
mod load;
mod logins;
mod managers;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/mongo_servers/servers.rs"]
mod mongo_servers;
mod parked;
mod reads;
mod reporter;
mod results;
mod rivals;
mod server;

use nebula::client::Noun;
use results::Results;
use serde_json::{Map, Value, json};
use server::Server;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, ExitCode};

/// Apps and replicas of the group that is measured.
const APPS: usize = 20;
const REPLICAS: usize = 3;
const URL: &str = "http://127.0.0.1:7001";
const PASSWORD: &str = "bench";
/// `admin:bench`.
const ADMIN: &str = "Authorization: Basic YWRtaW46YmVuY2g=";
/// The binary that is measured, where it is not the one of the `fast` profile.
const BINARY_VARIABLE: &str = "NEBULA_BENCH_BINARY";
/// Where results are kept.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");
/// The parts, in their order.
const PARTS: [&str; 9] =
    ["containers", "idle", "info", "logins", "groups", "parked", "managers", "reads", "reporter"];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["bare", address, file] => runtime.block_on(rivals::bare(address.parse()?, file))?,
        ["compare", before, after] => {
            let before = Results::read(Path::new(before))?;
            print!("{}", Results::read(Path::new(after))?.text(&[before]));
        }
        parts => return runtime.block_on(measure(parts)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(wanted: &[&str]) -> Outcome<ExitCode> {
    if let Some(unknown) = wanted.iter().find(|part| !PARTS.contains(part)) {
        return Err(format!("there is no part `{unknown}`; there are {}", PARTS.join(", ")).into());
    }
    nebula::client::install_crypto_provider();
    let earlier = Results::read_all(Path::new(RESULTS))?;
    let mut results = Results::new();
    for part in PARTS.iter().filter(|part| wanted.is_empty() || wanted.contains(part)) {
        results.part(part, async |figures| measure_part(part, figures).await).await;
    }
    println!("\n{}", results.text(&earlier));
    println!("kept in {}", results.write(Path::new(RESULTS))?.display());
    Ok(if results.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The binary that is measured.
fn program() -> OsString {
    std::env::var_os(BINARY_VARIABLE).unwrap_or_else(|| env!("CARGO_BIN_EXE_nebula").into())
}

/// Each part has managers of its own, so that none finds what another left.
async fn measure_part(part: &str, figures: &mut Vec<results::Figure>) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    match part {
        "parked" => return parked::measure(folder, figures).await,
        "managers" => return managers::measure(figures).await,
        "reads" => return reads::measure(figures).await,
        "reporter" => return reporter::measure(figures).await,
        _ => {}
    }
    let manager = Manager::start(folder).await?;
    match part {
        "containers" => return containers::measure(&manager, folder, figures).await,
        "idle" => return idle::measure(&manager, folder, figures).await,
        _ => {}
    }
    let group = object(json!({ "apps": manager.apps }));
    manager.server.client.update(Noun::DeviceGroup, "bench", &group).await?;
    match part {
        "info" => info::measure(&manager, folder, figures).await,
        "logins" => logins::measure(figures).await,
        _ => groups::measure(&manager, folder, figures).await,
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

/// A manager with the apps, an empty device group `bench`, and a user `device` who may read it.
struct Manager {
    server: Server,
    apps: Vec<String>,
    image: String,
    /// The user's.
    token: String,
}

impl Manager {
    async fn start(folder: &Path) -> Outcome<Self> {
        let data = folder.join("manager").display().to_string();
        let server = Server::start(7_001, &[("NEBULA_DATA_DIR", &data)]).await?;
        let client = &server.client;
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
        let user = client.create(Noun::User, "device", &user).await?.content;
        let token = user.get("generated").and_then(|made| made.get("token")?.as_str());
        let token = token.ok_or("a new user has no token")?.to_owned();
        let grants = json!({ "group_members": ["device"], "device_groups": { "bench": "ro" } });
        client.create(Noun::UserGroup, "devices", &object(grants)).await?;
        Ok(Self { server, apps, image, token })
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

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}
