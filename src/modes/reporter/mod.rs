//! The reporter: takes reports from Kafka and keeps them in a database.
//!
//! In reading order: [`consumer`] is a member of a consumer group, [`consume`] collects what it is
//! given into [`batch`]es, [`write`](mod@write) has the store keep them and then says how far this
//! group has read. [`metrics`] has the figures.
//!
//! What it is not: it declares nothing, answers no device, and decides nothing about containers.
//!
//! Invariants: how far was read is said only of what the store acknowledged, so each report that
//! Kafka accepted is kept; a report has one id whoever reads it how often, so it is kept once; what is
//! no report is set aside and holds up nothing; neither a Kafka nor a database that is away ends it.

mod batch;
pub mod config;
mod consume;
mod consumer;
mod metrics;
mod write;

pub use config::Config;

use crate::bus::KafkaConfigError;
use crate::monitoring::{self, Place};
use crate::store::MongoSettings;
use crate::store::OpenError;
use crate::store::reports::{MongoReports, Retention};
use metrics::{Metrics, Watch};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Why the reporter does not run.
#[derive(Debug, thiserror::Error)]
pub enum ReporterError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There is no consumer for this configuration.
    #[error("cannot read from Kafka")]
    Kafka(#[from] KafkaConfigError),
    /// The library gave up.
    #[error("Kafka's library has given up")]
    Ended(#[source] rdkafka::error::KafkaError),
}

/// What the reporter works with.
#[derive(Debug)]
pub struct Dependencies {
    /// Where reports are kept.
    pub store: Arc<MongoReports>,
}

/// Where a reporter of this configuration is asked how it is.
pub fn place(config: &Config) -> Place {
    Place::Address { listen: config.listen, is_https: false }
}

/// The store of the configuration. It need not be in reach yet.
pub fn open_store(config: &Config) -> Result<Arc<MongoReports>, OpenError> {
    let settings = MongoSettings::from(config.mongo.clone());
    settings.check()?;
    // It is the reporter's word that counts, whoever else uses the database.
    let retention = Retention { seconds: config.report_ttl_seconds, is_firm: true };
    Ok(Arc::new(MongoReports::new(settings, retention)))
}

/// Reads and writes until `shutdown`, then ends what is under way. `listening` is called once, with
/// the address that was bound.
pub async fn run(
    config: Config,
    dependencies: Dependencies,
    listening: impl FnOnce(SocketAddr),
    shutdown: CancellationToken,
) -> Result<(), ReporterError> {
    let metrics = Arc::new(Metrics::new());
    let consumer = consumer::subscribe(&config, Arc::clone(&metrics))?;
    let bind_error = |source| ReporterError::Bind { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %address,
        kafka = config.kafka.bootstrap_servers,
        topic = config.kafka.topic,
        group = config.group_id,
        "reporter started"
    );
    listening(address);
    let store = dependencies.store;
    let watch = Arc::new(Watch::new(Arc::clone(&store), Arc::clone(&metrics)));
    // Who looks is answered until the last report is written.
    let ended = CancellationToken::new();
    let watched = tokio::spawn(monitoring::serve(listener, watch, ended.clone()));
    let outcome = consume::consume(consumer, store, metrics, shutdown).await;
    ended.cancel();
    // It ends by itself; a panic in it is no reason to end otherwise.
    let _ = watched.await;
    outcome?;
    tracing::info!("reporter stopped");
    Ok(())
}
