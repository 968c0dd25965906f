//! The member of a consumer group.
//!
//! What it is: how the library is set up, and what it tells: partitions that come and go, how far it
//! is behind, what is wrong.
//!
//! How far this group has read is stored with the library after each write ([`store_offsets`]), and
//! the library says it to Kafka twice a second, when a partition is taken away, and at the end. So
//! there is one such request for many batches, and one that fails is made again; what was not
//! written is never said to be read, for nothing else is ever stored.

use super::batch::ReadUpTo;
use super::config::Config;
use super::metrics::Metrics;
use crate::bus::{KafkaConfigError, Trouble, client_config};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{debug, info, warn};

/// After how long without a sign of life others take over what a reporter was reading, in ms.
const SESSION_MS: &str = "10000";
/// How often a reporter gives one, in ms. By the answers it learns that partitions are shared out anew.
const HEARTBEAT_MS: &str = "1000";
/// How often Kafka is told how far this group has read, in ms.
const COMMIT_MS: &str = "500";
/// How often the library tells its figures, in ms.
const STATISTICS_MS: &str = "2000";
/// How often it looks for a topic that is not there yet, and for new partitions, in ms.
const METADATA_MS: &str = "10000";
/// What it may have read ahead, in kB.
const AHEAD_KB: &str = "16384";
/// The same in messages: small ones fill memory otherwise.
const AHEAD_MESSAGES: &str = "20000";

/// A consumer that tells what happens to it.
pub(super) type Consumer = StreamConsumer<Context>;

/// Makes a consumer that reads the topic of the configuration. Nobody need be there yet.
pub(super) fn subscribe(
    config: &Config,
    metrics: Arc<Metrics>,
) -> Result<Arc<Consumer>, KafkaConfigError> {
    let mut settings = client_config(&config.kafka)?;
    settings
        .set("group.id", &config.group_id)
        .set("auto.offset.reset", &config.auto_offset_reset)
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", COMMIT_MS)
        // Who keeps a partition goes on with it while others move.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", SESSION_MS)
        .set("heartbeat.interval.ms", HEARTBEAT_MS)
        .set("statistics.interval.ms", STATISTICS_MS)
        .set("topic.metadata.refresh.interval.ms", METADATA_MS)
        // As the original did; and the first worker does not come before the first reporter.
        .set("allow.auto.create.topics", "true")
        .set("queued.max.messages.kbytes", AHEAD_KB)
        .set("queued.min.messages", AHEAD_MESSAGES);
    let topic = Arc::from(config.kafka.topic.as_str());
    let context = Context { topic, trouble: Trouble::default(), lives: Mutex::default(), metrics };
    let consumer: Consumer =
        settings.create_with_context(context).map_err(KafkaConfigError::Client)?;
    consumer.subscribe(&[&config.kafka.topic]).map_err(KafkaConfigError::Client)?;
    Ok(Arc::new(consumer))
}

/// Says how far the group has read, of the partitions that are still in the life in which they were
/// read: one that went away and came back was read anew from where it was committed.
pub(super) fn store_offsets(consumer: &Consumer, read: &HashMap<i32, ReadUpTo>) {
    let context = consumer.context();
    let mut offsets = TopicPartitionList::with_capacity(read.len());
    for (partition, read) in read {
        if context.life(*partition) == read.life {
            let offset = Offset::Offset(read.offset);
            // It fails for an offset below zero.
            let _ = offsets.add_partition_offset(&context.topic, *partition, offset);
        }
    }
    // It fails when a partition was taken away meanwhile: then another reader has it, who meets what
    // was written here by its ids.
    if offsets.count() > 0
        && let Err(error) = consumer.store_offsets(&offsets)
    {
        debug!(%error, "a partition was taken away while it was written");
    }
}

/// What the library tells its owner.
pub(super) struct Context {
    topic: Arc<str>,
    trouble: Trouble,
    /// How often each partition has come.
    lives: Mutex<HashMap<i32, u64>>,
    metrics: Arc<Metrics>,
}

impl Context {
    pub(super) const fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub(super) const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// In which of its lives with this consumer a partition is.
    pub(super) fn life(&self, partition: i32) -> u64 {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        lives.get(&partition).copied().unwrap_or(0)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.trouble.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.error(error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        let Ok(figures) = serde_json::from_slice::<Figures>(json) else { return };
        let is_reached = figures.is_reached();
        if is_reached && figures.is_whole() {
            self.trouble.is_reached();
        }
        let topic = figures.topics.get(&*self.topic);
        let lags = topic.into_iter().flat_map(Topic::lags);
        self.metrics.of_kafka(is_reached, lags);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let partitions = |list: &TopicPartitionList| {
            list.elements()
                .iter()
                .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
                .collect::<Vec<_>>()
        };
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = partitions(list);
                let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
                for partition in &partitions {
                    *lives.entry(*partition).or_default() += 1;
                }
                drop(lives);
                self.metrics.rebalances.inc();
                if !partitions.is_empty() {
                    info!(?partitions, "partitions are read from now on");
                }
            }
            Rebalance::Revoke(list) => {
                let partitions = partitions(list);
                info!(?partitions, "partitions are read by others from now on");
            }
            Rebalance::Error(error) => warn!(%error, "partitions could not be shared out"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            // Nothing was new.
            Err(KafkaError::ConsumerCommit(rdkafka::types::RDKafkaErrorCode::NoOffset)) => {}
            Ok(()) => self.trouble.is_over(),
            Err(error) => {
                self.metrics.commit_errors.inc();
                self.trouble.tell(&error, &error.to_string());
            }
        }
    }
}

/// The library's figures, as far as they are of use here.
#[derive(Debug, Deserialize)]
struct Figures {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    /// Below zero for an address that was configured and is not known as a server yet.
    nodeid: i32,
    state: String,
}

#[derive(Debug, Deserialize)]
struct Topic {
    partitions: HashMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    #[serde(rename = "partition")]
    number: i32,
    fetch_state: String,
    /// Below zero while nothing was committed.
    consumer_lag: i64,
    lo_offset: i64,
    ls_offset: i64,
}

impl Figures {
    fn servers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values().filter(|broker| broker.nodeid >= 0)
    }

    fn is_reached(&self) -> bool {
        self.servers().any(|broker| broker.state == "UP")
    }

    /// Whether no server is away; `INIT` is one that was not needed yet.
    fn is_whole(&self) -> bool {
        self.servers().all(|broker| ["UP", "INIT"].contains(&broker.state.as_str()))
    }
}

impl Topic {
    /// How far this consumer is behind in each partition that it reads.
    fn lags(&self) -> impl Iterator<Item = (i32, i64)> {
        let mine = self.partitions.values().filter(|one| one.fetch_state == "active");
        mine.filter_map(|one| {
            let uncommitted = one.ls_offset - one.lo_offset;
            let is_known = one.lo_offset >= 0 && one.ls_offset >= 0;
            let lag = Some(one.consumer_lag).filter(|lag| *lag >= 0);
            Some((one.number, lag.or_else(|| is_known.then_some(uncommitted))?))
        })
    }
}
