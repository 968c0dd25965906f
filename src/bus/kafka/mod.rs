//! To Kafka, as the original's workers do it: one JSON document a message.
//!
//! What it is: a producer that is told of each message whether it arrived. What it is not: a store;
//! the library's queue holds no more than what is being sent.
//!
//! Not idempotent in Kafka's own sense: that takes a permission which the users of older clusters
//! lack, it has states from which only a new producer helps, and it ends with the process. A report
//! knows itself by its id, so that one which arrives twice is kept once.

mod connection;
mod trouble;

pub use connection::{KafkaConfigError, client_config};
pub use trouble::Trouble;

use super::{Bus, BusError, Packed};
use crate::config::Kafka;
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer, PurgeConfig};
use std::collections::VecDeque;

/// Reports that are sent together, at most.
const BATCH: usize = 20;
/// What the library may hold of them: a device's memory is for its apps. More than this is sent in
/// parts.
const QUEUE_KB: &str = "2048";
/// How long a report is tried before it is given back, in ms. Nothing is lost by it: whoever sends
/// tries again.
const PATIENCE_MS: &str = "10000";
/// The name of the thread that ends a producer.
const ENDING: &str = "kafka-ending";

/// The way to a Kafka.
pub struct KafkaBus {
    /// None once it is being dropped.
    producer: Option<FutureProducer<Trouble>>,
    trouble: Trouble,
    servers: String,
    topic: String,
}

impl KafkaBus {
    /// To the topic of this Kafka. It connects by itself; nobody need be there yet.
    pub fn new(kafka: &Kafka) -> Result<Self, KafkaConfigError> {
        let mut config = client_config(kafka)?;
        config
            .set("acks", "all")
            // One after the other: reports of a device stay in their order.
            .set("max.in.flight.requests.per.connection", "1")
            // Every client of Kafka can read this one, the original's Python included.
            .set("compression.type", "gzip")
            .set("queue.buffering.max.kbytes", QUEUE_KB)
            .set("message.timeout.ms", PATIENCE_MS);
        let trouble = Trouble::default();
        let producer = config.create_with_context(trouble.clone());
        Ok(Self {
            producer: Some(producer.map_err(KafkaConfigError::Client)?),
            trouble,
            servers: kafka.bootstrap_servers.clone(),
            topic: kafka.topic.clone(),
        })
    }

    /// Hands a report to the library, which copies it.
    fn begin(&self, report: &Packed) -> Result<DeliveryFuture, KafkaError> {
        let producer = self.producer.as_ref().ok_or(KafkaError::Canceled)?;
        let record = FutureRecord::to(&self.topic).key(&*report.hostname).payload(&*report.json);
        producer.send_result(record).map_err(|(error, _)| error)
    }

    fn told(&self, error: &KafkaError) -> BusError {
        let code = error.rdkafka_error_code();
        if let Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord) =
            code
        {
            return BusError::Never { reason: format!("Kafka refused it: {error}") };
        }
        let reason = match (code, self.trouble.last()) {
            (Some(Code::MessageTimedOut), Some(reason)) => {
                format!("Kafka did not take it in time: {reason}")
            }
            (Some(Code::MessageTimedOut), None) => "Kafka did not take it in time".to_owned(),
            _ => format!("Kafka did not take it: {error}"),
        };
        BusError::Later { reason, retry_after: None }
    }
}

/// What became of one report.
async fn arrived(delivery: DeliveryFuture) -> Result<(), KafkaError> {
    let told: OwnedDeliveryResult = delivery.await.map_err(|_| KafkaError::Canceled)?;
    told.map(|_| ()).map_err(|(error, _)| error)
}

#[async_trait]
impl Bus for KafkaBus {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn send(&self, reports: &[Packed]) -> Result<(), BusError> {
        let mut under_way = VecDeque::with_capacity(reports.len());
        let mut failures = Vec::new();
        for report in reports {
            let begun = loop {
                match self.begin(report) {
                    // With what is under way the queue may be full; then that goes first.
                    Err(error) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                        let Some(first) = under_way.pop_front() else { break Err(error) };
                        failures.extend(arrived(first).await.err());
                    }
                    other => break other,
                }
            };
            match begun {
                Ok(delivery) => under_way.push_back(delivery),
                Err(error) => failures.push(error),
            }
        }
        for delivery in under_way {
            failures.extend(arrived(delivery).await.err());
        }
        let mut refusals: Vec<BusError> = failures.iter().map(|error| self.told(error)).collect();
        if refusals.len() < reports.len() {
            self.trouble.is_over();
        }
        // Whether the others are taken is not known before those that may be taken were.
        refusals.sort_by_key(|refusal| matches!(refusal, BusError::Never { .. }));
        refusals.into_iter().next().map_or(Ok(()), Err)
    }

    fn address(&self) -> String {
        format!("topic {} of Kafka at {}", self.topic, self.servers)
    }
}

impl Drop for KafkaBus {
    /// Ending a producer waits for threads and servers, and this may be the only thread there is.
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        let ending = std::thread::Builder::new().name(ENDING.to_owned());
        // Without a thread it is dropped here, which only takes longer.
        let _ = ending.spawn(move || {
            producer.purge(PurgeConfig::default().queue().inflight());
            drop(producer);
        });
    }
}

impl std::fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KafkaBus").field(&self.address()).finish()
    }
}
