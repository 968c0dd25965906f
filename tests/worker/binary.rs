//! The real binary as a worker, which can be killed like any process.

use crate::world::{World, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What a worker has begun may take its time to end, though not longer than this: who waits for it
/// is mostly an init that will kill it.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A worker in a process of its own.
pub(crate) struct Binary {
    process: Child,
    log: Log,
}

/// Where it says what it does. A test that fails shows it.
struct Log(PathBuf);

impl Drop for Log {
    #[expect(clippy::print_stderr, reason = "whoever reads of a failure needs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the worker said:\n{}", self.read());
        }
    }
}

impl Log {
    fn read(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Binary {
    /// Starts it in the world's environment. All of a world's workers write one log.
    pub(crate) fn start(world: &World) -> Self {
        let log = world.folder.path().join("worker.log");
        let file = File::options().create(true).append(true).open(&log).expect("the log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        command.arg("worker").envs(world.environment()).kill_on_drop(true).stderr(file);
        Self { process: command.spawn().expect("the binary"), log: Log(log) }
    }

    /// kill -9.
    pub(crate) async fn kill(mut self) {
        assert!(self.is_alive(), "the worker ended by itself:\n{}", self.said());
        self.process.kill().await.expect("killed");
    }

    /// Lets it live for so long: it must not end by itself.
    pub(crate) async fn lives(&mut self, time: Duration) {
        let ended = timeout(time, self.process.wait()).await;
        assert!(ended.is_err(), "the worker ended by itself:\n{}", self.said());
    }

    /// Ends it in order, as for an upgrade.
    pub(crate) async fn stop(mut self) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.expect("it lives"), Signal::TERM).expect("asked to end");
        let ended = timeout(STOP_LIMIT, self.process.wait()).await.expect("it ends in time");
        let ended = ended.expect("its end");
        assert!(ended.success(), "{ended}:\n{}", self.said());
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }

    /// The whole log.
    pub(crate) fn said(&self) -> String {
        self.log.read()
    }

    /// Waits until a line of the log holds all of these words.
    pub(crate) async fn says(&self, words: &[&str]) {
        let has = |line: &str| words.iter().all(|word| line.contains(word));
        until(&format!("a line of the log with {words:?}"), || async {
            self.said().lines().any(has)
        })
        .await;
    }
}
