//! A worker that has nothing to do, against what is promised of it: its memory, its share of a
//! core, what it writes, and how soon after its start it asks the manager; and what reporting adds.

use crate::containers::{docker, remove_all, running};
use crate::results::Figure;
use crate::{APPS, Manager, Outcome, PASSWORD, Process, REPLICAS, URL, median, object};
use nebula::client::Noun;
use nebula::model::ReportQuery;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// What is promised of a worker on a small device.
const LIMIT_MEGABYTES: f64 = 10.0;
const LIMIT_PERCENT_OF_A_CORE: f64 = 0.1;
const LIMIT_START_MS: f64 = 100.0;
/// How long it is watched: two check-ins and two looks at Docker, at their default times.
const WATCHED: Duration = Duration::from_secs(65);
/// A device is at rest when nothing was written for so long after its last change.
const REST: Duration = Duration::from_secs(10);
/// Starts of each kind, of which the median counts.
const STARTS: usize = 9;
/// Of the times in `/proc/PID/stat`, on every architecture of Linux that runs Docker.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) async fn measure(
    manager: &Manager,
    folder: &Path,
    figures: &mut Vec<Figure>,
) -> Outcome<()> {
    let Manager { server, apps, image, .. } = manager;
    let client = &server.client;
    let host = std::env::var("NEBULA_TEST_DOCKER_HOST")?;
    docker(&["pull", "-q", image])?;
    client.update(Noun::DeviceGroup, "bench", &object(json!({"apps": apps}))).await?;
    let data = folder.join("idle");
    let silent = watch(&data, &host, &[("REPORT_ON_UPDATE_ONLY", "true")]).await?;
    let reporting = watch(&data, &host, &[]).await?;
    let mut report =
        client.reports(&ReportQuery { page_size: 1_000, ..ReportQuery::default() }).await?;
    let report = report.content.reports.pop().ok_or("no report came")?;
    #[expect(clippy::cast_precision_loss, reason = "kilobytes")]
    let report_kilobytes = serde_json::to_vec(&report)?.len() as f64 / 1024.0;
    let mut push = |what, unit, value, limit: Option<f64>| {
        let figure = Figure::new(what, unit, value);
        figures.push(match limit {
            Some(limit) => figure.at_most(limit),
            None => figure,
        });
    };
    let Rest { megabytes, own_megabytes, percent, kilobytes, rewritten } = silent;
    push("idle worker of 60 containers, resident", "MB", megabytes, Some(LIMIT_MEGABYTES));
    push("the same, without pages of the program's file", "MB", own_megabytes, None);
    push("the same, of a core", "%", percent, Some(LIMIT_PERCENT_OF_A_CORE));
    push("the same, written to disk in 65 s", "kB", kilobytes, Some(0.0));
    push("the same, files written in 65 s", "files", rewritten, Some(0.0));
    push("with a report each 30 s, resident", "MB", reporting.megabytes, None);
    push("the same, of a core", "%", reporting.percent, None);
    push("the same, written to disk in 65 s", "kB", reporting.kilobytes, Some(0.0));
    push("a report of 60 containers", "kB", report_kilobytes, None);
    for (what, with_state, with_docker) in [
        ("worker's start to first check-in", true, true),
        ("the same, without state on disk", false, true),
        ("the same, with state and without Docker", true, false),
    ] {
        let host = if with_docker { host.as_str() } else { "unix:///nowhere/docker.sock" };
        let mut times = Vec::new();
        for number in 0..STARTS {
            let other = folder.join(format!("start-{number}-{with_docker}"));
            times.push(start_to_check_in(if with_state { &data } else { &other }, host)?);
        }
        push(what, "ms", median(times), Some(LIMIT_START_MS));
    }
    remove_all()?;
    docker(&["network", "rm", "nebula"])
}

/// What a worker takes while nothing happens.
struct Rest {
    megabytes: f64,
    /// What a device that is short of memory cannot take back, as it can what it read from a file.
    own_megabytes: f64,
    /// Of a core.
    percent: f64,
    /// Written to disk; none where the folder is in memory.
    kilobytes: f64,
    /// Files that were written, wherever they are.
    rewritten: f64,
}

/// Starts a worker, waits until it is at rest, and watches it.
async fn watch(data: &Path, host: &str, more: &[(&str, &str)]) -> Outcome<Rest> {
    let worker = start(data, URL, host, more)?;
    let begun = Instant::now();
    while running()? < APPS * REPLICAS || !is_at_rest(data)? {
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("the device never came to rest".into());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let id = worker.0.id();
    let (seconds, files, written) = (core_seconds(id)?, times(data)?, written_bytes(id)?);
    tokio::time::sleep(WATCHED).await;
    let percent = (core_seconds(id)? - seconds) / WATCHED.as_secs_f64() * 100.0;
    let kilobytes = (written_bytes(id)? - written) / 1024.0;
    let now = times(data)?;
    let rewritten = now.iter().filter(|(name, at)| files.get(*name) != Some(*at)).count();
    #[expect(clippy::cast_precision_loss, reason = "a handful of files")]
    let rewritten = rewritten as f64;
    let status = |name| number_after(name, &format!("/proc/{id}/status"));
    let (megabytes, own_megabytes) = (status("VmRSS:")? / 1024.0, status("RssAnon:")? / 1024.0);
    Ok(Rest { megabytes, own_megabytes, percent, kilobytes, rewritten })
}

/// A worker as it is shipped, at its default times.
fn start(data: &Path, manager: &str, host: &str, more: &[(&str, &str)]) -> Outcome<Process> {
    let worker = Command::new(crate::program())
        .arg("worker")
        .env("NEBULA_MANAGER_URI", manager)
        .env("NEBULA_MANAGER_AUTH_USER", "admin")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", PASSWORD)
        .env("NEBULA_DATA_DIR", data)
        .env("NEBULA_DOCKER_HOST", host)
        .env("DEVICE_GROUP", "bench")
        .envs(more.iter().copied())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(Process(worker))
}

/// From before the process is there to its first connection, in ms.
fn start_to_check_in(data: &Path, host: &str) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let manager = format!("http://{}", listener.local_addr()?);
    let begun = Instant::now();
    let worker = start(data, &manager, host, &[])?;
    listener.accept()?;
    let taken = begun.elapsed();
    drop(worker);
    Ok(taken.as_secs_f64() * 1000.0)
}

/// When each file of the folder was written.
fn times(folder: &Path) -> Outcome<BTreeMap<String, SystemTime>> {
    let mut times = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        times.insert(
            entry.file_name().to_string_lossy().into_owned(),
            entry.metadata()?.modified()?,
        );
    }
    Ok(times)
}

fn is_at_rest(folder: &Path) -> Outcome<bool> {
    let last = times(folder)?.into_values().max().ok_or("an empty folder")?;
    Ok(last.elapsed().unwrap_or_default() > REST)
}

fn written_bytes(process: u32) -> Outcome<f64> {
    number_after("write_bytes:", &format!("/proc/{process}/io"))
}

pub(crate) fn number_after(name: &str, file: &str) -> Outcome<f64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.split_whitespace().next().ok_or("no number")?.parse()?)
}

/// Seconds on a core, in its own threads and those that ended.
pub(crate) fn core_seconds(process: u32) -> Outcome<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name, which may hold anything.
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let [user, system] =
        [11, 12].map(|index| fields.get(index).and_then(|n| n.parse::<f64>().ok()));
    Ok((user.ok_or("no user time")? + system.ok_or("no system time")?) / TICKS_PER_SECOND)
}
