//! From batches to the store, one after the other.
//!
//! Within a batch what cannot be written is tried again for ever, in smaller parts: a store that is
//! slow keeps a part of a batch in time, and one that is away is asked with waits that grow. In their
//! order, for of a device's reports the last one is what the inventory shows.
//!
//! The inventory follows the reports: at once when no more of them come, else once a second with what
//! came last of each device, for a device that has much to tell need not be written as often. Only
//! then is it said how far was read, so that whoever reads on after a kill brings it up to date.

use super::batch::{Batch, Poison, ReadUpTo, Sorted};
use super::consumer::{Consumer, store_offsets};
use super::metrics::Metrics;
use crate::clock::unix_ms;
use crate::store::reports::{Documents, MongoReports, ReportStore as _, SetAside, Unheard};
use crate::store::{Cause, StoreError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The first wait for a store that does not answer, which doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest: what waits in Kafka is to be shown soon after the store is back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How far the inventory may be behind the reports while they come without end.
const FOLLOWS_AFTER: Duration = Duration::from_secs(1);
/// For how long no report comes until it follows at once.
const QUIET: Duration = Duration::from_millis(20);
/// It follows when so many devices were heard of,
const MAX_UNHEARD: usize = 5_000;
/// or when they take so much memory.
const MAX_UNHEARD_BYTES: usize = 32 << 20;
/// How often messages that are no reports are told of, for each kind.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A batch, and what it says, which is being found out.
pub(super) struct Collected {
    batch: Arc<Batch>,
    ready: JoinHandle<Ready>,
}

/// What a part of a batch says, as the store is given it.
#[derive(Default)]
struct Ready {
    reports: Documents,
    /// The place in the batch of each report.
    places: Vec<usize>,
    /// What is no report, by its place in the batch.
    aside: Vec<(Poison, usize)>,
}

impl Collected {
    pub(super) fn of(batch: Batch) -> Self {
        let batch = Arc::new(batch);
        let ready = make_ready(&batch, 0..batch.len());
        Self { batch, ready }
    }
}

/// Tens of milliseconds of a processor's time for a full batch: beside the threads that wait for
/// others, and while the batch before is written.
fn make_ready(batch: &Arc<Batch>, range: Range<usize>) -> JoinHandle<Ready> {
    let batch = Arc::clone(batch);
    let now = unix_ms();
    tokio::task::spawn_blocking(move || {
        let Sorted { reports, places, aside } = batch.sort(range, now);
        Ready { reports: Documents::of(reports), places, aside }
    })
}

/// What writes batches.
pub(super) struct Writer {
    consumer: Arc<Consumer>,
    store: Arc<MongoReports>,
    metrics: Arc<Metrics>,
    /// What the inventory does not show yet, and since when.
    unheard: Unheard,
    behind_since: Option<Instant>,
    /// How far was read by then.
    read: HashMap<i32, ReadUpTo>,
    /// When each kind of poison was told last, and how many came since.
    told: HashMap<&'static str, (Instant, u64)>,
}

impl Writer {
    pub(super) fn new(
        consumer: Arc<Consumer>,
        store: Arc<MongoReports>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            consumer,
            store,
            metrics,
            unheard: Unheard::default(),
            behind_since: None,
            read: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Writes until there is nothing more to come.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Collected>) {
        loop {
            let next = match self.behind_since {
                None => Ok(batches.recv().await),
                Some(since) if self.is_far_behind(since) => Err(()),
                Some(_) => timeout(QUIET, batches.recv()).await.map_err(drop),
            };
            match next {
                Ok(Some(collected)) => {
                    let batch = Arc::clone(&collected.batch);
                    let begun = Instant::now();
                    self.write(collected).await;
                    self.metrics.written(begun.elapsed(), batch.bytes());
                    self.read.extend(batch.read());
                    self.behind_since.get_or_insert(begun);
                }
                Ok(None) => return self.follow().await,
                Err(()) => self.follow().await,
            }
        }
    }

    fn is_far_behind(&self, since: Instant) -> bool {
        since.elapsed() >= FOLLOWS_AFTER
            || self.unheard.len() >= MAX_UNHEARD
            || self.unheard.bytes() >= MAX_UNHEARD_BYTES
    }

    /// Brings the inventory up to date, and then says how far was read.
    async fn follow(&mut self) {
        let mut pace = Pace::new(MAX_UNHEARD);
        while !self.unheard.is_empty() {
            let tried = self.unheard.len().min(pace.size);
            match self.store.hear(&mut self.unheard, tried).await {
                Ok(()) => {
                    self.metrics.store_answers();
                    pace.goes_on();
                }
                Err(error) => {
                    self.metrics.store_fails(&error);
                    pace.stumbles(tried).await;
                }
            }
        }
        self.behind_since = None;
        store_offsets(&self.consumer, &std::mem::take(&mut self.read));
    }

    async fn write(&mut self, collected: Collected) {
        let Collected { batch, ready } = collected;
        let (mut begin, mut pace) = (0, Pace::new(batch.len()));
        let mut ready = Some(ready);
        while begin < batch.len() {
            let range = begin..batch.len().min(begin + pace.size);
            let part = ready.take().unwrap_or_else(|| make_ready(&batch, range.clone()));
            let kept = match made_ready(part, &range).await {
                Ok(ready) => self.keep(&batch, ready).await,
                Err(error) => Err(error),
            };
            match kept {
                Ok(()) => {
                    self.metrics.store_answers();
                    begin = range.end;
                    pace.goes_on();
                }
                Err(error) => {
                    self.metrics.store_fails(&error);
                    pace.stumbles(range.len()).await;
                }
            }
        }
    }

    async fn keep(&mut self, batch: &Batch, ready: Ready) -> Result<(), StoreError> {
        let Ready { reports, places, aside } = ready;
        self.set_aside(batch, aside).await?;
        if reports.is_empty() {
            return Ok(());
        }
        let (added, unheard) = self.store.keep(reports).await?;
        self.unheard.take_in_all(unheard);
        self.metrics.added(added.added, added.known);
        let refused = added.refused.into_iter().filter_map(|(index, reason)| {
            Some((Poison { kind: "refused", reason }, *places.get(index)?))
        });
        self.set_aside(batch, refused.collect()).await
    }

    async fn set_aside(
        &mut self,
        batch: &Batch,
        poison: Vec<(Poison, usize)>,
    ) -> Result<(), StoreError> {
        if poison.is_empty() {
            return Ok(());
        }
        let messages: Vec<(&'static str, SetAside)> = poison
            .into_iter()
            .filter_map(|(Poison { kind, reason }, place)| {
                Some((kind, batch.set_aside(place, reason)?))
            })
            .collect();
        self.store.set_aside(messages.iter().map(|(_, message)| message.clone()).collect()).await?;
        for (kind, message) in &messages {
            self.metrics.set_aside(kind);
            self.tell(kind, message);
        }
        Ok(())
    }

    /// The first of a kind, then how many there were. What it holds is told to nobody here: it may
    /// be anything.
    fn tell(&mut self, kind: &'static str, message: &SetAside) {
        let SetAside { topic, partition, offset, reason, .. } = message;
        let now = Instant::now();
        let count = match self.told.get_mut(kind) {
            Some((last, since)) if now.duration_since(*last) < TELL_AGAIN => {
                *since += 1;
                return;
            }
            Some((_, since)) => *since + 1,
            None => 1,
        };
        self.told.insert(kind, (now, 0));
        tracing::warn!(
            kind,
            topic,
            partition,
            offset,
            reason,
            count,
            "a message that is no report was set aside"
        );
    }
}

/// How much is asked of the store at once, and how long it is left alone after it failed.
struct Pace {
    size: usize,
    wait: Duration,
}

impl Pace {
    const fn new(size: usize) -> Self {
        Self { size, wait: FIRST_WAIT }
    }

    fn goes_on(&mut self) {
        *self = Self::new(self.size.saturating_mul(2));
    }

    /// Waits, after so many were asked for.
    async fn stumbles(&mut self, tried: usize) {
        sleep(self.wait.mul_f64(rand::random_range(0.5..=1.0))).await;
        *self = Self { size: (tried / 2).max(1), wait: (self.wait * 2).min(LONGEST_WAIT) };
    }
}

/// What was found out. A message at which reading itself breaks is none that can be read.
async fn made_ready(part: JoinHandle<Ready>, range: &Range<usize>) -> Result<Ready, StoreError> {
    match part.await {
        Ok(ready) => Ok(ready),
        Err(_) if range.len() == 1 => {
            let reason = "it cannot be read by this version".to_owned();
            let aside = vec![(Poison { kind: "unreadable", reason }, range.start)];
            Ok(Ready { aside, ..Ready::default() })
        }
        Err(_) => Err(StoreError::unavailable("be given messages", Cause::Stopped)),
    }
}
