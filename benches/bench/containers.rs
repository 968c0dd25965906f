//! Containers: the worker against `docker run`, and a pass that changes nothing.

use crate::results::Figure;
use crate::{APPS, Manager, Outcome, PASSWORD, Process, REPLICAS, URL, median, object};
use nebula::client::{Client, Info, Noun};
use nebula::engine::{ContainerEngine, DockerEngine};
use nebula::model::Desired;
use nebula::reconcile::{Busy, Inputs, Memory, Policy, plan};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) async fn measure(
    manager: &Manager,
    folder: &Path,
    figures: &mut Vec<Figure>,
) -> Outcome<()> {
    let Manager { server, apps, image, .. } = manager;
    let client = &server.client;
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

    let worker = Command::new(crate::program())
        .arg("worker")
        .env("NEBULA_MANAGER_URI", URL)
        .env("NEBULA_MANAGER_AUTH_USER", "admin")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", PASSWORD)
        .env("NEBULA_MANAGER_CHECK_IN_TIME", "1")
        .env("NEBULA_DATA_DIR", folder.join("worker"))
        .env("NEBULA_DOCKER_HOST", &host)
        .env("DEVICE_GROUP", "bench")
        .env("RUST_LOG", "warn")
        .spawn()?;
    let worker = Process(worker);
    client.update(Noun::DeviceGroup, "bench", &object(json!({"apps": apps}))).await?;
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
    figures.push(Figure::new(what, "s", by_nebula).beside(one_by_one));
    let what = "the same, to docker run eight at once";
    figures.push(Figure::new(what, "s", by_nebula).beside(eight_at_once));
    drop(worker);
    figures.push(idle_pass(client, &host).await?);
    remove_all()?;
    docker(&["network", "rm", "nebula"])
}

/// A pass that changes nothing: observe and plan, as the worker does.
async fn idle_pass(client: &Client, host: &str) -> Outcome<Figure> {
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
    Ok(Figure::new(what, "ms", median(times)))
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

pub(crate) fn docker(arguments: &[&str]) -> Outcome<()> {
    let output = Command::new("docker").args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("docker {arguments:?}: {error}").into())
}

pub(crate) fn running() -> Outcome<usize> {
    let output = Command::new("docker").args(["ps", "-q", "--filter", "name=bench"]).output()?;
    Ok(output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count())
}

pub(crate) fn remove_all() -> Outcome<()> {
    let output = Command::new("docker").args(["ps", "-aq", "--filter", "name=bench"]).output()?;
    let ids = String::from_utf8(output.stdout)?;
    let mut arguments = vec!["rm", "-f"];
    arguments.extend(ids.lines());
    docker(&arguments)
}
