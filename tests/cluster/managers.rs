//! Managers as processes of their own, three of them on one database, and what is asked of them.

use crate::servers::fresh_database_name;
use reqwest::{Method, RequestBuilder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::interval;

pub(crate) const USER: &str = "nebula";
pub(crate) const PASSWORD: &str = "pass:word";

/// A deadline for what must happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How soon another manager shows a change when it cannot be told of it.
pub(crate) const DEGRADED: Duration = Duration::from_secs(10);
/// The longest that a client of these tests waits for an answer that is not meant to wait.
const ANSWERED: Duration = Duration::from_secs(10);
/// Lines of a manager's log that are kept for whoever looks at a failed test.
const LINES: usize = 60;

/// A database that managers share.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    /// The managers' `cache_time`, in seconds.
    pub(crate) cache_time: u32,
    /// How many files, and so how many connections, each manager may have open.
    pub(crate) files: u32,
}

impl Database {
    /// One that nobody else uses.
    pub(crate) fn fresh(url: &str) -> Self {
        Self { url: url.to_owned(), name: fresh_database_name(), cache_time: 10, files: 10_000 }
    }

    pub(crate) async fn open(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(&self.url).await.unwrap();
        client.database(&self.name)
    }
}

/// The built manager. It keeps its data folder and its address when it is started again.
pub(crate) struct Manager {
    database: Database,
    client: reqwest::Client,
    data_dir: TempDir,
    process: tokio::sync::Mutex<Option<Child>>,
    address: Mutex<String>,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// Status and body of an answer, or why there is none.
pub(crate) type Answer = Result<(u16, Value), reqwest::Error>;

pub(crate) fn client() -> reqwest::Client {
    // The first test to come installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(ANSWERED).build().unwrap()
}

/// The header of a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The header of the local admin.
pub(crate) fn admin() -> String {
    use base64::Engine;
    let pair = format!("{USER}:{PASSWORD}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < limit, "after {limit:?} it still is not so: {what}");
    }
}

/// For figures and logs that belong into the output of a test.
#[expect(clippy::print_stderr, reason = "cargo shows what tests say there, of failed ones always")]
pub(crate) fn say(what: impl std::fmt::Display) {
    eprintln!("{what}");
}

impl Manager {
    /// A new one that follows what others write.
    pub(crate) async fn start(database: &Database) -> Self {
        let manager = Self {
            database: database.clone(),
            client: client(),
            data_dir: TempDir::new().unwrap(),
            process: tokio::sync::Mutex::new(None),
            address: Mutex::new("127.0.0.1:0".to_owned()),
            log: Arc::default(),
        };
        manager.start_again().await;
        manager
    }

    /// Until it listens; it may not have found its database yet.
    pub(crate) async fn start_again(&self) {
        let address = self.address();
        let files = self.database.files.to_string();
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n \"$0\" && exec \"$1\" manager", &files])
            .arg(env!("CARGO_BIN_EXE_nebula"))
            .env_clear()
            .env("NEBULA_LISTEN", address)
            .env("NEBULA_DATA_DIR", self.data_dir.path())
            .env("BASIC_AUTH_USER", USER)
            .env("BASIC_AUTH_PASSWORD", PASSWORD)
            .env("MONGO_URL", &self.database.url)
            .env("SCHEMA_NAME", &self.database.name)
            .env("CACHE_TIME", self.database.cache_time.to_string())
            .current_dir(self.data_dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::clone(&self.log);
        let listens = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                let address =
                    line.split(" address=").nth(1).and_then(|rest| rest.split(' ').next());
                let address = address.map(str::to_owned);
                log.lock().unwrap().push_back(line);
                if address.is_some() {
                    return address;
                }
            }
            None
        };
        let address = tokio::time::timeout(PATIENCE, listens).await.expect("it must listen");
        *self.address.lock().unwrap() = address.unwrap_or_else(|| panic!("{}", self.log()));
        // Read to the end: a full pipe would stop the manager at its next word.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // Each accepted change has a line; what a failed test wants to see are the others.
                if line.contains(" write done ") {
                    continue;
                }
                let mut log = log.lock().unwrap();
                if log.len() >= LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        *self.process.lock().await = Some(child);
    }

    pub(crate) fn address(&self) -> String {
        self.address.lock().unwrap().clone()
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Waits until it follows what others write, in this manner.
    pub(crate) async fn follows(&self, by: &str) {
        let line = format!("nebula_store_followed{{by=\"{by}\"}} 1");
        until(&line, PATIENCE, async || {
            let metrics = self.client.get(self.url("/metrics")).send().await.ok()?;
            metrics.text().await.ok()?.contains(&line).then_some(())
        })
        .await;
    }

    /// Sends the process a signal and does not wait for what comes of it.
    pub(crate) async fn signal(&self, signal: Signal) {
        let process = self.process.lock().await;
        let id = process.as_ref().and_then(Child::id).expect("it runs");
        let id = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// kill -9; it is gone afterwards.
    pub(crate) async fn kill(&self) {
        self.signal(Signal::KILL).await;
        self.ended().await;
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) -> std::process::ExitStatus {
        let child = self.process.lock().await.take();
        let ended = tokio::time::timeout(PATIENCE, child.expect("it ran").wait_with_output()).await;
        ended.expect("it must end").unwrap().status
    }

    /// Whether it is the process that was started.
    pub(crate) async fn runs(&self) -> bool {
        let mut process = self.process.lock().await;
        process.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// What it said last.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// How often it said something; as far as its last words go.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    /// A request with these credentials.
    pub(crate) fn request(&self, who: &str, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path)).header("authorization", who)
    }

    /// Sends a body, `Value::Null` for none, to a path under the API.
    pub(crate) async fn send_as(&self, who: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = self.request(who, method, &format!("/api/v2{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        read(request.send().await?).await
    }

    /// The same as the local admin.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send_as(&admin(), method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    /// What must be answered with 2xx.
    pub(crate) async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.send(method, path, body).await;
        let (status, body) = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body
    }

    pub(crate) async fn create_app(&self, name: &str) {
        self.done("POST", &format!("/apps/{name}"), json!({ "docker_image": "demo:1" })).await;
    }

    pub(crate) async fn create_group(&self, name: &str, apps: &[&str]) {
        self.done("POST", &format!("/device_groups/{name}"), json!({ "apps": apps })).await;
    }

    /// Changes an app's env, and nothing else.
    pub(crate) async fn set(&self, app: &str, key: &str, value: u64) -> Answer {
        let body = json!({ "env_vars": { key: value.to_string() } });
        self.send("PUT", &format!("/apps/{app}/update"), body).await
    }

    pub(crate) async fn info(&self, group: &str) -> Answer {
        self.get(&format!("/device_groups/{group}/info")).await
    }

    /// What it shows of a group; `None` while it refuses, for a slow store is no wrong answer.
    pub(crate) async fn shown(&self, group: &str) -> Option<Value> {
        self.info(group).await.ok().filter(|(status, _)| *status == 200).map(|(_, info)| info)
    }

    /// Asks for a group with a tag, willing to wait; the answer's status, tag and body.
    pub(crate) async fn wait_for_info(
        &self,
        who: &str,
        group: &str,
        etag: Option<&str>,
        seconds: u64,
    ) -> Result<(u16, Option<String>, Value), reqwest::Error> {
        let path = format!("/api/v2/device_groups/{group}/info?wait={seconds}");
        let mut request = self.request(who, "GET", &path);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let response = request.timeout(ANSWERED + Duration::from_secs(seconds)).send().await?;
        let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
        let (etag, status) = (etag.map(str::to_owned), response.status().as_u16());
        let body = response.bytes().await?;
        Ok((status, etag, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(format_args!("log of the manager at {}:\n{}\n", self.address(), self.log()));
        }
    }
}

/// Three managers on one database.
pub(crate) struct Cluster {
    pub(crate) managers: [Arc<Manager>; 3],
    pub(crate) database: Database,
}

impl Cluster {
    /// Three that have found their database and are told of each other's writes.
    pub(crate) async fn start(database: Database) -> Self {
        Self::following(database, "stream").await
    }

    /// Three on a lone server, which must be asked.
    pub(crate) async fn asking(database: Database) -> Self {
        Self::following(database, "poll").await
    }

    async fn following(database: Database, by: &str) -> Self {
        let start = || async { Arc::new(Manager::start(&database).await) };
        let (a, b, c) = tokio::join!(start(), start(), start());
        let cluster = Self { managers: [a, b, c], database };
        cluster.follow(by).await;
        cluster
    }

    /// Waits until all of them follow what others write.
    pub(crate) async fn follow(&self, by: &str) {
        for manager in &self.managers {
            manager.follows(by).await;
        }
    }

    /// One after the other.
    pub(crate) fn turn(&self, index: usize) -> &Arc<Manager> {
        &self.managers[index % self.managers.len()]
    }
}
