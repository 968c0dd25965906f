//! The built manager as a process of its own, on an empty store and a port that the system chose.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub(crate) const USER: &str = "nebula";
pub(crate) const PASSWORD: &str = "pass:word";
pub(crate) const TOKEN: &str = "a-token";

/// A deadline for what must happen at all: only a broken manager ever reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running manager; dropped, it is killed.
pub(crate) struct Manager {
    pub(crate) url: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
    _data_dir: TempDir,
}

impl Manager {
    pub(crate) async fn start() -> Self {
        let data_dir = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg("manager")
            .env_clear()
            .env("NEBULA_LISTEN", "127.0.0.1:0")
            .env("NEBULA_DATA_DIR", data_dir.path())
            .env("BASIC_AUTH_USER", USER)
            .env("BASIC_AUTH_PASSWORD", PASSWORD)
            .env("AUTH_TOKEN", TOKEN)
            .current_dir(data_dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let address = line.split(" address=").nth(1).map(str::to_owned);
                log.lock().unwrap().push(line);
                if let Some(address) = address {
                    return address.split(' ').next().unwrap().to_owned();
                }
            }
            panic!("the manager ended: {:?}", log.lock().unwrap());
        };
        let address = tokio::time::timeout(PATIENCE, address).await.expect("it must listen");
        // Read to the end: a full pipe would stop the manager at its next word.
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Each accepted change has a line; what a failed test wants to see are the others.
                if !line.contains(" INFO ") {
                    kept.lock().unwrap().push(line);
                }
            }
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { url: format!("http://{address}"), child, log, client, _data_dir: data_dir }
    }

    /// What the admin gets from a path: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.url));
        let response = request.basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Asserts that it is still the process that was started, and that it answers.
    pub(crate) async fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the manager ended: {ended:?}\n{}", self.log());
        let (status, body) = self.get("/api/v2/status").await;
        assert_eq!((status, body.as_str()), (200, r#"{"api_available":true}"#), "{}", self.log());
    }

    /// The memory it holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// What it complained of.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}
