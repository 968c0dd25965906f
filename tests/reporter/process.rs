//! The built reporter as a process of its own.

use crate::broker::fresh_name;
use crate::servers::{fresh_database_name, shared_url};
use crate::{PATIENCE, until};
use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Lines of a log that are kept for whoever looks at a failed test.
const LINES: usize = 60;

/// What reporters of one test share.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) kafka: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) mongo: String,
    pub(crate) database: String,
    /// Further variables.
    pub(crate) more: Vec<(String, String)>,
}

impl Place {
    /// With a topic, a group and a database that nobody else uses.
    pub(crate) fn fresh(kafka: &str) -> Self {
        Self {
            kafka: kafka.to_owned(),
            topic: fresh_name(),
            group: fresh_name(),
            mongo: shared_url(),
            database: fresh_database_name(),
            more: Vec::new(),
        }
    }
}

/// A reporter. It is killed with -9 when this value goes.
pub(crate) struct Reporter {
    process: Child,
    client: reqwest::Client,
    address: String,
    log: Arc<Mutex<VecDeque<String>>>,
    _home: TempDir,
}

impl Reporter {
    /// Until it listens; it may have found neither Kafka nor its database yet.
    pub(crate) async fn start(place: &Place) -> Self {
        let home = TempDir::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg("reporter")
            .env_clear()
            .env("NEBULA_LISTEN", "127.0.0.1:0")
            .env("KAFKA_BOOTSTRAP_SERVERS", &place.kafka)
            .env("KAFKA_TOPIC", &place.topic)
            .env("KAFKA_GROUP_ID", &place.group)
            .env("MONGO_URL", &place.mongo)
            .env("SCHEMA_NAME", &place.database)
            .envs(place.more.iter().map(|(name, value)| (name, value)))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (kept, listens) = (Arc::clone(&log), tokio::sync::oneshot::channel());
        let (tell, listens) = listens;
        // Read to the end: a full pipe would stop the reporter at its next word.
        tokio::spawn(async move {
            let mut tell = Some(tell);
            while let Ok(Some(line)) = lines.next_line().await {
                let address =
                    line.split(" address=").nth(1).and_then(|rest| rest.split(' ').next());
                if let Some(address) = address
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(address.to_owned());
                }
                let mut log = kept.lock().unwrap();
                if log.len() >= LINES {
                    log.pop_front();
                }
                log.push_back(line);
            }
        });
        let address = tokio::time::timeout(PATIENCE, listens).await.expect("it must listen");
        let address = address.unwrap_or_else(|_| panic!("it ended: {:?}", log.lock().unwrap()));
        nebula::client::install_crypto_provider();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { process, client, address, log, _home: home }
    }

    /// Status and body of an answer.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let reply = self.client.get(url).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    /// A number of `/metrics`, by name and labels; none when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map(|number| number.trim().parse().unwrap())
    }

    /// Waits until a number of `/metrics` is at least this.
    pub(crate) async fn counts(&self, name: &str, least: u64) {
        until(&format!("{name} is {least}; {}", self.log()), async || {
            self.metric(name).await.filter(|number| *number >= least)
        })
        .await;
    }

    /// Waits until it has what it needs, or has it no more.
    pub(crate) async fn is_ready(&self, is_ready: bool) -> String {
        let status = if is_ready { 200 } else { 503 };
        until("/readyz", async || {
            let (found, body) = self.get("/readyz").await;
            (found == status).then_some(body)
        })
        .await
    }

    /// kill -9. It is gone afterwards.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// What a machine sends at its end; whether it ended well.
    pub(crate) async fn end(&mut self) -> bool {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = Pid::from_raw(self.process.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it ends").unwrap().success()
    }

    /// The last lines that it said.
    pub(crate) fn log(&self) -> String {
        let lines: Vec<String> = self.log.lock().unwrap().iter().cloned().collect();
        lines.join("\n  ")
    }

    /// How many of the last lines hold these words.
    pub(crate) fn said(&self, words: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }
}
