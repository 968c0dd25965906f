//! The real binary as a manager, with settings of a part's own.

use crate::{Outcome, PASSWORD, Process};
use nebula::client::{Client, Credentials};
use nebula::config::Secret;
use std::process::Command;
use std::time::{Duration, Instant};

/// One that must open a database on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    /// As the admin.
    pub(crate) client: Client,
    _process: Process,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) async fn start(port: u16, environment: &[(&str, &str)]) -> Outcome<Self> {
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(crate::program())
            .arg("manager")
            .env("NEBULA_LISTEN", &address)
            .env("BASIC_AUTH_USER", "admin")
            .env("BASIC_AUTH_PASSWORD", PASSWORD)
            // It warns of a low limit of open files, which stands at the head of the results.
            .env("RUST_LOG", "error")
            .envs(environment.iter().copied())
            .spawn()?;
        let process = Process(process);
        let url = format!("http://{address}");
        let password = Secret::new(PASSWORD.to_owned());
        let credentials = Credentials::Basic { user: "admin".to_owned(), password };
        let client = Client::new(&url, &credentials, Duration::from_secs(30))?;
        let begun = Instant::now();
        while client.status().await.is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("the manager does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { url, client, _process: process })
    }

    /// One on a database.
    pub(crate) async fn on_mongo(
        port: u16,
        mongo_url: &str,
        database: &str,
        cache_seconds: u32,
    ) -> Outcome<Self> {
        let cache_seconds = cache_seconds.to_string();
        let settings =
            [("MONGO_URL", mongo_url), ("SCHEMA_NAME", database), ("CACHE_TIME", &cache_seconds)];
        Self::start(port, &settings).await
    }

    /// A number that it tells at `/metrics`, by name and labels.
    pub(crate) async fn metric(&self, name: &str) -> Outcome<f64> {
        let text = reqwest::get(format!("{}/metrics", self.url)).await?.text().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.ok_or_else(|| format!("no {name} at /metrics"))?.trim().parse()?)
    }

    /// Whether a number of `/metrics` is at least this; not, when it does not answer.
    pub(crate) async fn is_at_least(&self, name: &str, least: f64) -> bool {
        self.metric(name).await.is_ok_and(|value| value >= least)
    }

    /// Waits until a number of `/metrics` is at least this.
    pub(crate) async fn until(&self, name: &str, least: f64, patience: Duration) -> Outcome<()> {
        let begun = Instant::now();
        while !self.is_at_least(name, least).await {
            if begun.elapsed() > patience {
                return Err(format!("{name} never was {least}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
