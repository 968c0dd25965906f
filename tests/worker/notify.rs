//! What the real binary tells a service manager, at a real socket.

use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long any message may take: a worker first waits for its manager.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the service manager wants to hear that it is alive.
const WATCHDOG_US: &str = "200000";

/// A mode under a service manager.
struct Service {
    process: Child,
    socket: UnixDatagram,
    _folder: TempDir,
}

impl Service {
    fn start(mode: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let data: PathBuf = folder.path().join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        command.arg(mode).env_clear().envs(environment.iter().copied());
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG_US);
        if mode != "reporter" {
            command.env("NEBULA_DATA_DIR", &data);
        }
        command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        Self { process: command.spawn().expect("the binary"), socket, _folder: folder }
    }

    async fn next(&self) -> String {
        let mut message = [0; 1024];
        let read = timeout(PATIENCE, self.socket.recv(&mut message)).await;
        let length = read.expect("a message in time").expect("a message");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    }

    /// Waits until it says this, whatever else it says.
    async fn says(&self, word: &str) {
        let heard = timeout(PATIENCE, async { while self.next().await != word {} }).await;
        assert!(heard.is_ok(), "it did not say {word}");
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        kill_process(pid.expect("it lives"), signal).expect("a signal");
    }

    /// Ready once, alive again and again, silent while it hangs, and stopping at the end.
    async fn keeps_its_manager_informed(mut self) {
        self.says("READY=1").await;
        for _ in 0..3 {
            self.says("WATCHDOG=1").await;
        }
        self.signal(Signal::STOP);
        let mut message = [0; 1024];
        // What it said until then is read.
        while self.socket.try_recv(&mut message).is_ok() {}
        let silence = timeout(Duration::from_secs(1), self.socket.recv(&mut message)).await;
        assert!(silence.is_err(), "it was alive while it was stopped");
        self.signal(Signal::CONT);
        self.says("WATCHDOG=1").await;
        self.signal(Signal::TERM);
        self.says("STOPPING=1").await;
        let ended =
            timeout(PATIENCE, self.process.wait()).await.expect("it ends").expect("its end");
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test]
async fn manager_tells_systemd_when_it_serves_and_that_it_lives() {
    let environment = [("AUTH_TOKEN", "token"), ("NEBULA_LISTEN", "127.0.0.1:0")];
    Service::start("manager", &environment).keeps_its_manager_informed().await;
}

#[tokio::test]
async fn reporter_tells_systemd_when_it_serves_and_that_it_lives() {
    let environment = [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("MONGO_URL", "mongodb://127.0.0.1:1/"),
        ("NEBULA_LISTEN", "127.0.0.1:0"),
    ];
    Service::start("reporter", &environment).keeps_its_manager_informed().await;
}

#[tokio::test]
async fn worker_without_docker_or_a_manager_tells_systemd_that_it_lives() {
    let environment = [
        ("DEVICE_GROUP", "tills"),
        ("NEBULA_MANAGER_URI", "http://127.0.0.1:1"),
        ("NEBULA_DOCKER_HOST", "unix:///nowhere/docker.sock"),
    ];
    Service::start("worker", &environment).keeps_its_manager_informed().await;
}
