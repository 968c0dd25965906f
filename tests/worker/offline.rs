//! Invariants 14 and 17: without a manager a device runs what it was told last, for as long as it
//! takes.

use crate::apps::{app, site};
use crate::cron_jobs::job;
use crate::docker::Docker;
use crate::manager::{Answer, state};
use crate::world::{PATIENCE, World, until, until_within};
use nebula::engine::FakeEngine;
use nebula::model::Machine;
use nebula::reconcile::pretend;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// A minute until a run is due, and the time that a run may take.
const A_RUN: Duration = Duration::from_secs(100);

#[tokio::test]
async fn inv_17_a_device_that_starts_without_a_manager_runs_everything_from_disk() {
    let mut world = World::new().await;
    let image = site("1");
    let shown = job("shown", &json!({}));
    world
        .manager
        .declare_both(&[app("web", 1, &json!({"containers_per": {"server": 2}}))], &[shown]);
    let worker = world.worker();
    until("it runs", || async {
        let now = world.docker.containers().await;
        ["web-1", "web-2"].iter().all(|name| now.get(*name).is_some_and(|c| c.state == "running"))
    })
    .await;
    worker.stop().await;
    // As after a power cut that took the containers along.
    world.manager.stop();
    world.docker.clean().await;

    let worker = world.worker();
    until("both replicas run", || async {
        let now = world.docker.containers().await;
        let is_up = |name| now.get(name).is_some_and(|c| c.image == image && c.state == "running");
        is_up("web-1") && is_up("web-2")
    })
    .await;
    let list = ["ps", "-aq", "--filter", "label=cron_job_name=shown"];
    until_within(A_RUN, "the cron job ran", async || {
        (!world.docker.run(&list).await.is_empty()).then_some(())
    })
    .await;
    worker.stop().await;
}

/// What the worker says at `info` and above, a line each.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Hears what is said on this thread for as long as the guard lives.
    pub(crate) fn hear() -> (Self, Hearing) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("nebula=info")
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        let hearing =
            Hearing { log: log.clone(), _until: tracing::subscriber::set_default(subscriber) };
        (log, hearing)
    }

    /// The lines so far that hold these words.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("no panic holds it").clone());
        let text = text.expect("text");
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

/// A worker is heard. When its test fails, what it said is shown.
pub(crate) struct Hearing {
    log: Log,
    _until: tracing::subscriber::DefaultGuard,
}

impl Drop for Hearing {
    #[expect(clippy::print_stdout, reason = "what a test that fails is shown with")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.log.lines("").iter().for_each(|line| println!("{line}"));
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic holds it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A pretended device, with a manager that a test can make say anything, and an app on both.
pub(crate) async fn pretended() -> (World, FakeEngine) {
    let mut device = pretend::World::new();
    device.registry.insert("127.0.0.1:5000/site:1".to_owned());
    let engine = FakeEngine::new(device, Machine { cores: 2, memory_mb: 1024 });
    let mut world = World::on(Docker::at("unix:///nowhere")).await;
    let web = json!({ "app_name": "web", "app_id": 1, "uid": "5f1e2d3c4b5a69788796a5b4",
        "revision": 1, "docker_image": "127.0.0.1:5000/site:1" });
    world.manager.declare(&[web]);
    (world, engine)
}

/// Seven days of check-ins that fail in every way, of which no time passes.
#[tokio::test(start_paused = true)]
async fn inv_14_a_week_without_a_manager_changes_nothing_and_is_told_in_few_lines() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (log, _hearing) = Log::hear();
    let (mut world, engine) = pretended().await;
    for (key, value) in [("CHECK_IN_TIME", "600"), ("REQUEST_TIMEOUT", "60")] {
        world.extra.insert(format!("NEBULA_MANAGER_{key}"), value.to_owned());
    }
    let worker = world.worker_on(Arc::new(engine.clone()));
    until("it runs", || async {
        engine.world(|world| world.observe(Machine { cores: 2, memory_mb: 1024 })).containers.len()
            == 1
    })
    .await;
    // The version is kept as a healthy one when it has run for a moment by the wall clock.
    let begun = std::time::Instant::now();
    let kept = || std::fs::read_to_string(world.data_file("memory.json")).unwrap_or_default();
    while !kept().contains("\"image_id\"") {
        assert!(begun.elapsed() < PATIENCE, "never healthy: {}", kept());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(DAY / 24).await;
    let before = engine.world(|world| world.log.clone());
    let written = || {
        ["accepted.json", "memory.json"].map(|name| {
            let file = std::fs::metadata(world.data_file(name)).expect("the file");
            file.modified().expect("a time")
        })
    };
    let on_disk = written();
    let lines = log.lines("").len();

    let empty = state(9999, &[]).to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}", empty.len());
    let json = "content-type: application/json\r\n";
    // Two that are told as the same are not neighbours.
    let ways: [(&str, String); 14] = [
        ("not an answer", String::new()),
        ("cut", format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{}", &empty[1..])),
        ("not HTTP", "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}P".to_owned()),
        ("401", format!("HTTP/1.1 401 No\r\n{head}\r\n\r\n{empty}")),
        ("nothing", format!("HTTP/1.1 200 OK\r\n{json}content-length: 0\r\n\r\n")),
        ("403", format!("HTTP/1.1 403 No\r\n{head}\r\n\r\n{empty}")),
        ("404", format!("HTTP/1.1 404 No\r\n{head}\r\n\r\n{empty}")),
        ("429", format!("HTTP/1.1 429 No\r\nretry-after: 9\r\n{head}\r\n\r\n{empty}")),
        ("500", format!("HTTP/1.1 500 No\r\n{head}\r\n\r\n{empty}")),
        ("no JSON", format!("HTTP/1.1 200 OK\r\n{json}\r\n{{\"apps\": NUMBER")),
        ("503", format!("HTTP/1.1 503 No\r\nretry-after: 99999\r\n{head}\r\n\r\n{empty}")),
        ("elsewhere", "HTTP/1.1 302 Go\r\nlocation: https://a.invalid/NUMBER\r\n\r\n".to_owned()),
        ("a page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<p>NUMBER".to_owned()),
        ("no state", format!("HTTP/1.1 200 OK\r\n{json}\r\n{{\"id\": NUMBER}}")),
    ];
    let mut told = 0;
    for (name, answer) in &ways {
        // Each answer is another one, as pages with a number of their own are.
        for number in 0..10_u32 {
            world.manager.say(Answer::Raw(answer.replace("NUMBER", &number.to_string()).into()));
            tokio::time::sleep(DAY / 2 / 10).await;
        }
        let now = log.lines("check-in failed").len();
        assert_eq!(now - told, 1, "{name}: {:#?}", log.lines(""));
        told = now;
    }
    assert_eq!(engine.world(|world| world.log.clone()), before, "something was changed");
    assert_eq!(written(), on_disk, "something was written to disk");
    assert_eq!(log.lines("").len() - lines, ways.len(), "{:#?}", log.lines(""));

    world.manager.declare(&[]);
    tokio::time::sleep(DAY / 24).await;
    let now = engine.world(|world| world.observe(Machine { cores: 2, memory_mb: 1024 }));
    assert!(now.containers.is_empty(), "it does not go on with the manager");
    assert_eq!(log.lines("check-in works again").len(), 1);
    worker.stop().await;
}
