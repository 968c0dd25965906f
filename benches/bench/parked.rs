//! Ten thousand parked devices on one manager and on three: how soon a change is with them, and
//! what they cost. The devices are those of `nebula ctl simulate`, on the same cores.
//!
//! Every run has managers of its own that were just started, for memory that an earlier run needed
//! is there to be used again, and would not be counted.

use crate::mongo_servers::{MongoServers, fresh_database_name};
use crate::results::{Figure, open_files_limit};
use crate::server::Server;
use crate::{Outcome, PASSWORD};
use serde_json::Value;
use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::time::sleep;

const DEVICES: u64 = 10_000;
const GROUPS: &str = "50";
/// So many of a hundred files that a manager may have: it parks nobody on the last tenth, and has
/// a few files of its own.
const PERCENT_OF_FILES: u64 = 88;
/// The most that loopback's addresses and a day's patience are asked for.
const MOST_DEVICES: u64 = 45_000;
/// What is promised.
const LIMIT_P99_MS: f64 = 1_000.0;
const LIMIT_BYTES_PER_DEVICE: f64 = 20.0 * 1024.0;

/// How often the managers' processor time is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Which changes: of one group after the other, or of all at once.
const SPREAD: &[&str] = &["--changes", "50", "--change-every", "0.5"];
const ALL: &[&str] = &["--change-all", "--changes", "10", "--change-every", "3"];

pub(crate) async fn measure(folder: &Path, figures: &mut Vec<Figure>) -> Outcome<()> {
    for (changes, what) in [(SPREAD, "a group changes"), (ALL, "all change")] {
        let manager = embedded(folder, what).await?;
        let (result, seconds) = told(&[&manager], DEVICES, changes).await?;
        push(&format!("one manager, {what}"), &result, seconds, figures)?;
    }
    let mongo = MongoServers::start("parked", &["--members", "3"]).await;
    for (changes, what) in [(SPREAD, "a group changes"), (ALL, "all change")] {
        let database = fresh_database_name();
        let mut managers = Vec::new();
        for port in 7_012..7_015 {
            managers.push(Server::on_mongo(port, mongo.url(), &database, 10).await?);
        }
        let managers: Vec<&Server> = managers.iter().collect();
        let (result, seconds) = told(&managers, DEVICES, changes).await?;
        push(&format!("three managers, {what}"), &result, seconds, figures)?;
    }
    drop(mongo);
    most(folder, figures).await
}

/// As many as the limit of open files allows, on one manager.
async fn most(folder: &Path, figures: &mut Vec<Figure>) -> Outcome<()> {
    let files = open_files_limit();
    let devices = (files.saturating_mul(PERCENT_OF_FILES) / 100).min(MOST_DEVICES);
    let manager = embedded(folder, "most").await?;
    let (result, seconds) = told(&[&manager], devices, ALL).await?;
    let parked = number(&result, "/managers/0/parked_peak")?;
    let what = format!("the most devices parked at one manager, of {devices} for {files} files");
    figures.push(Figure::new(what, "devices", parked));
    push(&format!("one manager, {devices} devices, all change"), &result, seconds, figures)
}

async fn embedded(folder: &Path, name: &str) -> Outcome<Server> {
    let data = folder.join(name.replace(' ', "-")).display().to_string();
    Server::start(7_011, &[("NEBULA_DATA_DIR", &data)]).await
}

/// Runs the simulator, and gives beside its result the processor time of the managers from when all
/// devices were parked until these left: that of connecting is not part of it.
async fn told(managers: &[&Server], devices: u64, arguments: &[&str]) -> Outcome<(Value, f64)> {
    let seconds = Cell::new(0.0);
    tokio::select! {
        result = simulate(managers, devices, arguments) => Ok((result?, seconds.get())),
        never = watch(managers, devices, &seconds) => match never {},
    }
}

async fn watch(managers: &[&Server], devices: u64, seconds: &Cell<f64>) -> Infallible {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let of_each = (devices / managers.len() as u64) as f64;
    let mut seen: Vec<(Option<f64>, f64)> = vec![(None, 0.0); managers.len()];
    loop {
        for (manager, (first, last)) in managers.iter().zip(&mut seen) {
            // One that is too busy to tell is asked again.
            let Ok(processor) = manager.metric("process_cpu_seconds_total").await else { continue };
            if first.is_none() && manager.is_at_least("nebula_parked", of_each).await {
                *first = Some(processor);
            }
            if first.is_some() && manager.is_at_least("nebula_connections", of_each).await {
                *last = processor;
            }
        }
        seconds.set(seen.iter().map(|(first, last)| last - first.unwrap_or(*last)).sum());
        sleep(LOOK).await;
    }
}

/// Runs the simulator and gives what it found. Devices that failed are in there, and are an error.
pub(crate) async fn simulate(
    managers: &[&Server],
    devices: u64,
    arguments: &[&str],
) -> Outcome<Value> {
    let mut command = tokio::process::Command::new(crate::program());
    command
        .args(["ctl", "simulate", "-o", "json", "--groups", GROUPS, "--devices"])
        .arg(devices.to_string())
        .args(arguments)
        .env("NEBULA_URL", &managers[0].url)
        .env("NEBULA_USERNAME", "admin")
        .env("NEBULA_PASSWORD", PASSWORD);
    for manager in &managers[1..] {
        command.args(["--manager", &manager.url]);
    }
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let result = String::from_utf8_lossy(&output.stdout);
        return Err(format!("the simulator failed: {said}\n{result}").into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn push(
    what: &str,
    result: &Value,
    processor_seconds: f64,
    figures: &mut Vec<Figure>,
) -> Outcome<()> {
    let milliseconds =
        |which: &str| number(result, &format!("/milliseconds/change_to_device/{which}"));
    figures.push(Figure::new(format!("{what}: to device, p50"), "ms", milliseconds("p50")?));
    let p99 = Figure::new(format!("{what}: to device, p99"), "ms", milliseconds("p99")?);
    figures.push(p99.at_most(LIMIT_P99_MS));
    figures.push(Figure::new(format!("{what}: to device, max"), "ms", milliseconds("max")?));
    let managers = result.pointer("/managers").and_then(Value::as_array).ok_or("no managers")?;
    let each = |key: &str| {
        managers.iter().map(|manager| number(manager, key)).collect::<Outcome<Vec<_>>>()
    };
    let memory = each("/memory_bytes_per_device")?.into_iter().fold(0.0, f64::max);
    let memory = Figure::new(format!("{what}: resident memory a device"), "bytes", memory);
    figures.push(memory.at_most(LIMIT_BYTES_PER_DEVICE));
    let peak: f64 = each("/memory_bytes_peak")?.into_iter().sum();
    figures.push(Figure::new(format!("{what}: resident, at most"), "MB", peak / 1e6));
    let each = processor_seconds / number(result, "/changes/deliveries")?.max(1.0) * 1e6;
    figures.push(Figure::new(format!("{what}: processor time a delivery"), "us", each));
    if result.pointer("/simulator/is_bottleneck").and_then(Value::as_bool) == Some(true) {
        let [busy, all] =
            ["/simulator/seconds_busy", "/simulator/seconds"].map(|key| number(result, key));
        let name = format!("{what}: of {} s, the simulator itself was busy", all?);
        figures.push(Figure::new(name, "s", busy?));
    }
    Ok(())
}

pub(crate) fn number(value: &Value, pointer: &str) -> Outcome<f64> {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    number.ok_or_else(|| format!("the simulator tells no {pointer}").into())
}
