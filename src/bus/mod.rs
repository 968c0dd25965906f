//! Reports on their way from a device: to Kafka, or straight to the manager.
//!
//! What it is: one trait with two ways. What it is not: it makes no report and keeps none; whoever sends holds a report until it
//! is told that it arrived.

mod kafka;
mod manager;

pub use kafka::{KafkaBus, KafkaConfigError, Trouble, client_config};
pub use manager::ManagerBus;

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// One report, ready to go. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The device, by which reports are kept in order.
    pub hostname: Arc<str>,
    /// The JSON document.
    pub json: Arc<[u8]>,
}

/// Why reports did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It is to be tried again, later.
    #[error("{reason}")]
    Later {
        /// Why.
        reason: String,
        /// Not before so long, where that was said.
        retry_after: Option<Duration>,
    },
    /// These reports are never taken; others may be.
    #[error("{reason}")]
    Never {
        /// Why.
        reason: String,
    },
    /// There is nobody who takes reports, and asking often is of no use.
    #[error("{reason}")]
    NoSuchPlace {
        /// Why.
        reason: String,
    },
}

/// A way for reports.
#[async_trait]
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// How many reports it takes at once, at most.
    fn batch(&self) -> usize;

    /// Sends reports, in their order. All arrived, or none is known to have: then they are sent
    /// again, and who takes them knows them again by their ids.
    async fn send(&self, reports: &[Packed]) -> Result<(), BusError>;

    /// Where they go, for the log.
    fn address(&self) -> String;
}
