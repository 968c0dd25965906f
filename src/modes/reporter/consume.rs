//! From Kafka's messages to batches on their way to the store.
//!
//! While one batch is written, the next one is read as what it says, and the one after it is
//! collected. When all three are full, nothing is asked of Kafka for a moment; when that lasts, for
//! the store is away, the partitions are paused, and the consumer goes on being polled, for a group
//! gives up a member that says nothing.

use super::ReporterError;
use super::batch::{Batch, Message};
use super::consumer::{Consumer, Context};
use super::metrics::Metrics;
use super::write::{Collected, Writer};
use crate::store::reports::MongoReports;
use futures_util::{FutureExt, StreamExt};
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, MessageStream};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long a batch waits for more: few reports are shown soon, many are written together.
const COLLECT: Duration = Duration::from_millis(200);
/// Batches that wait for the one that is written.
const WAITING: usize = 1;
/// After how long without room the partitions are paused. Pausing throws away what was read ahead, so
/// it is not for every slow write.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How long what was collected may take to be written at the end. The rest is read again by another.
const DRAIN: Duration = Duration::from_secs(20);
/// How long leaving the group may take, which a server has to be told of.
const LEAVE: Duration = Duration::from_secs(5);

/// Reads until `shutdown`, has what was collected written, and leaves the group.
pub(super) async fn consume(
    consumer: Arc<Consumer>,
    store: Arc<MongoReports>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), ReporterError> {
    let (batches, collected) = mpsc::channel(WAITING);
    let writer = Writer::new(Arc::clone(&consumer), store, Arc::clone(&metrics));
    let mut writing = AbortOnDropHandle::new(tokio::spawn(writer.run(collected)));
    let mut collector = Collector {
        batch: Batch::new(Arc::clone(consumer.context().topic())),
        due: None,
        no_room_since: None,
        is_paused: false,
        consumer: &consumer,
        metrics: &metrics,
    };
    let read = collector.run(&batches, shutdown).await;
    let last = collector.batch.take();
    let drained = async {
        if !last.is_empty() {
            // It fails when the writer has ended, which a panic alone does.
            let _ = batches.send(Collected::of(last)).await;
        }
        drop(batches);
        (&mut writing).await
    };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("the store does not answer; what was not written is read again by another");
        writing.abort();
        // It holds on to the consumer until it has ended.
        let _ = writing.await;
    }
    leave(consumer).await;
    read
}

/// Says how far the group has read, and that this member goes. Both wait for a server, in the
/// library's own way, which holds up a thread.
async fn leave(consumer: Arc<Consumer>) {
    let left = tokio::task::spawn_blocking(move || {
        match consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::warn!(%error, "Kafka was not told how far the group has read"),
        }
        drop(consumer);
    });
    if timeout(LEAVE, left).await.is_err() {
        tracing::warn!("Kafka was not told that this reporter is gone; it finds out by itself");
    }
}

/// What collects messages.
struct Collector<'a> {
    batch: Batch,
    /// When the batch goes however small it is; none while it is empty.
    due: Option<Instant>,
    no_room_since: Option<Instant>,
    is_paused: bool,
    consumer: &'a Consumer,
    metrics: &'a Metrics,
}

impl Collector<'_> {
    async fn run(
        &mut self,
        batches: &mpsc::Sender<Collected>,
        shutdown: CancellationToken,
    ) -> Result<(), ReporterError> {
        let mut messages = self.consumer.stream();
        loop {
            let now = Instant::now();
            let is_due = self.batch.is_full() || self.due.is_some_and(|due| due <= now);
            if is_due {
                self.no_room_since.get_or_insert(now);
            }
            let pause_at = self.no_room_since.filter(|_| !self.is_paused);
            let pause_at = pause_at.map_or(now, |since| since + PAUSE_AFTER);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                room = batches.reserve(), if is_due => {
                    let Ok(room) = room else { return Ok(()) };
                    room.send(Collected::of(self.batch.take()));
                    (self.due, self.no_room_since) = (None, None);
                    self.resume();
                }
                message = messages.next(), if !self.batch.is_full() || self.is_paused => {
                    self.push_all(message, &mut messages)?;
                }
                () = sleep_until(self.due.unwrap_or(now)), if self.due.is_some() && !is_due => {}
                () = sleep_until(pause_at), if is_due && !self.is_paused => self.pause(),
            }
        }
    }

    /// Takes a message, and all that are there as well: a turn of the loop costs more than a message.
    fn push_all(
        &mut self,
        first: Option<Result<BorrowedMessage<'_>, KafkaError>>,
        messages: &mut MessageStream<'_, Context>,
    ) -> Result<(), ReporterError> {
        let mut next = first;
        while let Some(message) = next {
            match message {
                Ok(message) => self.push(&message),
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(ReporterError::Ended(error));
                }
                // The context has told it, and the library tries again.
                Err(_) => return Ok(()),
            }
            if self.batch.is_full() {
                return Ok(());
            }
            next = messages.next().now_or_never().flatten();
        }
        Ok(())
    }

    fn push(&mut self, message: &BorrowedMessage<'_>) {
        if self.batch.is_empty() {
            self.due = Some(Instant::now() + COLLECT);
            self.consumer.context().trouble().is_over();
        }
        let life = self.consumer.context().life(message.partition());
        let message = Message {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            payload: message.payload().map(Box::from),
        };
        self.metrics.read(message.payload.as_ref().map_or(0, |payload| payload.len()));
        self.batch.push(message, life);
        // One of a partition that came after the others were paused: it is kept, and is the last.
        if self.is_paused && self.batch.is_full() {
            self.pause();
        }
    }

    /// Stops what comes, while the consumer goes on being polled.
    fn pause(&mut self) {
        self.is_paused = true;
        let paused = self.consumer.assignment().and_then(|all| self.consumer.pause(&all));
        if let Err(error) = paused {
            tracing::debug!(%error, "partitions could not be paused");
        }
    }

    fn resume(&mut self) {
        if !std::mem::take(&mut self.is_paused) {
            return;
        }
        let resumed = self.consumer.assignment().and_then(|all| self.consumer.resume(&all));
        if let Err(error) = resumed {
            tracing::warn!(%error, "partitions could not be resumed");
        }
    }
}
