//! What the reporter counts, for `/metrics`, and whether it has what it needs, for `/readyz`.

use crate::monitoring::{Monitored, metrics_text, process_registry};
use crate::store::StoreError;
use crate::store::reports::{MongoReports, ReportStore};
use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Seconds, from a few reports to what a store takes in bad times.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// How long an answer of the store counts. Everybody may ask; the store is asked once in this time
/// whoever asks.
const REMEMBERED: Duration = Duration::from_millis(500);
/// How long the store has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why messages were set aside, by a word of a closed list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    partition: i32,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    process: Registry,
    reports: Counter,
    duplicates: Counter,
    aside: Family<Reason, Counter>,
    messages: Counter,
    bytes: Counter,
    written_bytes: Counter,
    batches: Histogram,
    store_errors: Counter,
    pub(super) commit_errors: Counter,
    pub(super) rebalances: Counter,
    lag: Family<Of, Gauge>,
    rate: Gauge<f64, AtomicU64>,
    is_store_up: Gauge,
    is_kafka_up: Gauge,
    /// When the rate was last found, and what was counted then.
    rated: Mutex<(Instant, u64)>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("nebula_reporter"),
            process: process_registry(),
            reports: Counter::default(),
            duplicates: Counter::default(),
            aside: Family::default(),
            messages: Counter::default(),
            bytes: Counter::default(),
            written_bytes: Counter::default(),
            batches: Histogram::new(BUCKETS),
            store_errors: Counter::default(),
            commit_errors: Counter::default(),
            rebalances: Counter::default(),
            lag: Family::default(),
            rate: Gauge::default(),
            is_store_up: Gauge::default(),
            is_kafka_up: Gauge::default(),
            rated: Mutex::new((Instant::now(), 0)),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let Self { registry, .. } = self;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This reporter", build);
        let reports = self.reports.clone();
        registry.register("reports", "Reports that were kept and are new", reports);
        let duplicates = self.duplicates.clone();
        registry.register("duplicates", "Reports that were kept before", duplicates);
        let aside = self.aside.clone();
        registry.register("set_aside", "Messages that are no reports", aside);
        registry.register("messages", "Messages read from Kafka", self.messages.clone());
        let read = "Content of the messages read from Kafka";
        registry.register_with_unit("read", read, Unit::Bytes, self.bytes.clone());
        let written = self.written_bytes.clone();
        let what = "Content of the messages that were dealt with";
        registry.register_with_unit("written", what, Unit::Bytes, written);
        let batches = self.batches.clone();
        let how_long = "From a batch's turn to its acknowledgement";
        registry.register_with_unit("batch", how_long, Unit::Seconds, batches);
        let errors = self.store_errors.clone();
        registry.register("store_errors", "Operations the store could not do", errors);
        let errors = self.commit_errors.clone();
        registry.register("commit_errors", "Offsets that Kafka did not take", errors);
        let rebalances = self.rebalances.clone();
        registry.register("rebalances", "Times that partitions were shared out", rebalances);
        let behind = "Messages that this reporter has yet to deal with, by partition";
        registry.register("lag", behind, self.lag.clone());
        let rate = "New reports kept in a second, of late";
        registry.register("reports_per_second", rate, self.rate.clone());
        let store = self.is_store_up.clone();
        registry.register("store_up", "1 while the store does what it is asked", store);
        let kafka = self.is_kafka_up.clone();
        registry.register("kafka_up", "1 while a Kafka server is in reach", kafka);
    }

    /// A message was read.
    pub(super) fn read(&self, bytes: usize) {
        self.messages.inc();
        self.bytes.inc_by(bytes as u64);
    }

    /// A batch was dealt with.
    pub(super) fn written(&self, took: Duration, bytes: usize) {
        self.batches.observe(took.as_secs_f64());
        self.written_bytes.inc_by(bytes as u64);
    }

    /// Reports are kept.
    pub(super) fn added(&self, new: u64, known: u64) {
        self.reports.inc_by(new);
        self.duplicates.inc_by(known);
    }

    /// A message was set aside.
    pub(super) fn set_aside(&self, kind: &'static str) {
        self.aside.get_or_create(&Reason { reason: kind }).inc();
    }

    /// The store did what it was asked.
    pub(super) fn store_answers(&self) {
        if self.is_store_up.set(1) == 0 {
            tracing::info!("the store answers");
        }
    }

    /// The store did not do what it was asked. Told once.
    pub(super) fn store_fails(&self, error: &StoreError) {
        let is_first = self.is_store_up.set(0) == 1 || self.store_errors.get() == 0;
        self.store_errors.inc();
        if is_first {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "reports wait in Kafka for the store");
        }
    }

    /// What Kafka's library tells from time to time.
    pub(super) fn of_kafka(&self, is_up: bool, lags: impl Iterator<Item = (i32, i64)>) {
        self.is_kafka_up.set(is_up.into());
        // A partition that others read now is theirs to tell of.
        self.lag.clear();
        for (partition, lag) in lags {
            self.lag.get_or_create(&Of { partition }).set(lag);
        }
        let mut rated = self.rated.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, reports) = (Instant::now(), self.reports.get());
        let seconds = now.duration_since(rated.0).as_secs_f64();
        if seconds > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "no interval has 2^52 reports")]
            self.rate.set(reports.saturating_sub(rated.1) as f64 / seconds);
        }
        *rated = (now, reports);
    }
}

/// What other programs see of the reporter.
pub(super) struct Watch {
    store: Arc<MongoReports>,
    metrics: Arc<Metrics>,
    /// What the store last said.
    said: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Watch {
    pub(super) fn new(store: Arc<MongoReports>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics, said: tokio::sync::Mutex::default() }
    }

    async fn is_store_up(&self) -> bool {
        let mut last = self.said.lock().await;
        if let Some((when, said)) = *last
            && when.elapsed() < REMEMBERED
        {
            return said;
        }
        // No device has this name; the answer itself is what counts.
        let answer = timeout(PATIENCE, self.store.device("")).await;
        let is_up = matches!(answer, Ok(Ok(_)));
        *last = Some((Instant::now(), is_up));
        is_up
    }
}

#[async_trait]
impl Monitored for Watch {
    async fn needs(&self) -> Vec<(&'static str, bool)> {
        vec![("kafka", self.metrics.is_kafka_up.get() == 1), ("store", self.is_store_up().await)]
    }

    fn metrics(&self) -> String {
        metrics_text(&self.metrics.process, &self.metrics.registry)
    }
}
