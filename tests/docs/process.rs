//! Daemons of this build, as long as a test needs them. They are asked by `curl`,
//! as a reader of the book would.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Only something broken ever reaches it.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A running manager on an empty store.
pub(crate) struct Manager {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Manager {
    /// Starts one with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .args(["manager", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .args(arguments)
            .env_clear()
            .env("BASIC_AUTH_USER", "admin")
            .env("BASIC_AUTH_PASSWORD", "change-me")
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let said = process.stderr.take().ok_or("no standard error")?;
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, rest) = line.split_once("manager listens address=")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        // Who does not read on would hold it up.
        std::thread::spawn(move || lines.for_each(drop));
        if let Some(address) = address {
            return Ok(Self { process, url: format!("http://{address}"), _folder: folder });
        }
        let _ = process.kill();
        let _ = process.wait();
        Err("the manager did not start".to_owned())
    }

    /// A body, asked for by the admin.
    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        self.get_as("admin:change-me", path)
    }

    /// A body, asked for by somebody, whatever the answer's status.
    pub(crate) fn get_as(&self, who: &str, path: &str) -> Result<String, String> {
        curl(&["--user", who, &format!("{}{path}", self.url)], "")
    }

    /// Sends a body as the admin.
    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let url = format!("{}{path}", self.url);
        let json = "Content-Type: application/json";
        let options = ["--user", "admin:change-me", "--request", method, "--header", json];
        curl(&[&options[..], &["--data-binary", "@-", &url]].concat(), body)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running reporter or worker.
pub(crate) struct Daemon {
    process: Child,
    /// How `curl` asks for its metrics.
    ask: Vec<String>,
    _folder: TempDir,
}

impl Daemon {
    /// Starts a reporter.
    pub(crate) fn reporter(kafka: &str, mongo: &str) -> Result<Self, String> {
        let environment = [("KAFKA_BOOTSTRAP_SERVERS", kafka), ("MONGO_URL", mongo)];
        let ask = |_: &Path| vec!["http://127.0.0.1:9180/metrics".to_owned()];
        Self::start("reporter", &environment, ask)
    }

    /// Starts a worker without a manager and without a Docker, for which it waits.
    pub(crate) fn worker() -> Result<Self, String> {
        let environment = [
            ("DEVICE_GROUP", "none"),
            ("NEBULA_MANAGER_URI", "http://127.0.0.1:9"),
            ("NEBULA_MANAGER_AUTH_TOKEN", "none"),
            ("NEBULA_DOCKER_HOST", "unix:///nowhere.sock"),
            ("NEBULA_DATA_DIR", "."),
        ];
        let ask = |folder: &Path| {
            let socket = folder.join("worker.sock").display().to_string();
            vec!["--unix-socket".to_owned(), socket, "http://worker/metrics".to_owned()]
        };
        Self::start("worker", &environment, ask)
    }

    fn start(
        mode: &str,
        environment: &[(&str, &str)],
        ask: impl Fn(&Path) -> Vec<String>,
    ) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let process = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg(mode)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        Ok(Self { process, ask: ask(folder.path()), _folder: folder })
    }

    /// Its metrics, when each of these stands in them.
    pub(crate) fn metrics_with(&self, wanted: &[&str]) -> Result<String, String> {
        let ask: Vec<&str> = self.ask.iter().map(String::as_str).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = curl(&ask, "").unwrap_or_default();
            if wanted.iter().all(|word| text.contains(word)) {
                return Ok(text);
            }
            if Instant::now() > deadline {
                return Err(format!("not all of {wanted:?} are in its metrics:\n{text}"));
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn curl(arguments: &[&str], body: &str) -> Result<String, String> {
    use std::io::Write;
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("curl does not start: {error}"))?;
    if let Some(mut into) = curl.stdin.take() {
        // It may answer before it has read everything, as with a body that is too large.
        let _ = into.write_all(body.as_bytes());
    }
    let out = curl.wait_with_output().map_err(|error| error.to_string())?;
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}
