//! What a manager says of itself at `/metrics`, as far as its size hangs on it.

use super::connection::{Ask, Connection};
use super::figures::Trouble;
use super::managers::Manager;
use hyper::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

/// A manager that takes longer has other worries.
const LIMIT: Duration = Duration::from_secs(5);

/// One look. A manager of another version may not tell everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) resident_bytes: Option<f64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) open_fds: Option<f64>,
    pub(super) max_fds: Option<f64>,
    pub(super) start_time: Option<f64>,
    pub(super) connections: Option<f64>,
    pub(super) parked: Option<f64>,
    pub(super) cache_hits: Option<f64>,
    pub(super) cache_misses: Option<f64>,
    pub(super) refused: Option<f64>,
}

/// Asks one manager again and again.
pub(super) struct Scrape {
    connection: Option<Connection>,
}

impl Scrape {
    pub(super) fn new() -> Self {
        Self { connection: None }
    }

    /// Looks once; none when the manager does not answer.
    pub(super) async fn sample(&mut self, manager: &Manager) -> Option<Sample> {
        if self.connection.is_some()
            && let Ok(sample) = self.ask(manager).await
        {
            return Some(sample);
        }
        // A kept connection may have been closed, or be in the middle of a look that was given up.
        self.connection = None;
        let sample = self.ask(manager).await.ok();
        if sample.is_none() {
            self.connection = None;
        }
        sample
    }

    async fn ask(&mut self, manager: &Manager) -> Result<Sample, Trouble> {
        let connection = match self.connection.take().filter(|open| !open.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(manager, 0).await?,
        };
        let connection = self.connection.insert(connection);
        let path = manager.path("/metrics");
        let ask = Ask { path: &path, token: None, etag: None, limit: LIMIT };
        let answer = connection.get(manager, &ask).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.trouble());
        }
        Ok(read(&String::from_utf8_lossy(&answer.body)))
    }
}

/// Metrics without labels are lines of a name and a number.
fn read(text: &str) -> Sample {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    };
    Sample {
        at: Instant::now(),
        resident_bytes: value("process_resident_memory_bytes"),
        cpu_seconds: value("process_cpu_seconds_total"),
        open_fds: value("process_open_fds"),
        max_fds: value("process_max_fds"),
        start_time: value("process_start_time_seconds"),
        connections: value("nebula_connections"),
        parked: value("nebula_parked"),
        cache_hits: value("nebula_info_cache_hits_total"),
        cache_misses: value("nebula_info_cache_misses_total"),
        refused: value("nebula_connections_refused_total"),
    }
}
