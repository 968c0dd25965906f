//! Messages on their way from Kafka to the store.
//!
//! What it is: what was read, how much of it may wait, and what it says. Pure but for the clock that
//! is handed in.
//!
//! Invariant: a message has one id, whoever reads it how often.

use crate::model::{Report, ReportError, Uid};
use crate::store::reports::{NewReport, Scope, SetAside};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Messages in a batch: enough that what the store does once for each batch does not count.
const MAX_MESSAGES: usize = 1_000;
/// Bytes in a batch. A few of them are in memory at once, as they came and as they are written.
const MAX_BYTES: usize = 4 << 20;
/// A message from before this is told by its own clock to be old, or by a wrong one; in ms.
const BELIEVED_MS: i64 = 24 * 3_600 * 1_000;
/// What is kept of a message that is no report, at most.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// When Kafka took it, or whoever sent it sent it, in ms since 1970.
    pub(super) timestamp: Option<i64>,
    /// None for Kafka's word that a key is gone.
    pub(super) payload: Option<Box<[u8]>>,
}

/// How far a batch reads in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadUpTo {
    /// In which life of the partition with this consumer; it may be taken away and come back.
    pub(super) life: u64,
    /// The first offset that is not in the batch.
    pub(super) offset: i64,
}

/// Some messages, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Batch {
    topic: Arc<str>,
    messages: Vec<Message>,
    bytes: usize,
    read: HashMap<i32, ReadUpTo>,
}

impl Batch {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Self { topic, messages: Vec::new(), bytes: 0, read: HashMap::new() }
    }

    pub(super) fn push(&mut self, message: Message, life: u64) {
        self.bytes += message.payload.as_ref().map_or(0, |payload| payload.len());
        let offset = message.offset + 1;
        self.read.insert(message.partition, ReadUpTo { life, offset });
        self.messages.push(message);
    }

    /// Hands out what was collected, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        let empty = Self::new(Arc::clone(&self.topic));
        std::mem::replace(self, empty)
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn read(&self) -> &HashMap<i32, ReadUpTo> {
        &self.read
    }

    /// What some of the messages say. `now` is in ms since 1970.
    pub(super) fn sort(&self, range: Range<usize>, now: i64) -> Sorted {
        let mut sorted = Sorted::default();
        for (place, message) in self.messages.iter().enumerate().take(range.end).skip(range.start) {
            match self.read_message(message, now) {
                Ok(report) => {
                    sorted.reports.push(report);
                    sorted.places.push(place);
                }
                Err(poison) => sorted.aside.push((poison, place)),
            }
        }
        sorted
    }

    fn read_message(&self, message: &Message, now: i64) -> Result<NewReport, Poison> {
        let payload = message
            .payload
            .as_deref()
            .ok_or(Poison { kind: "empty", reason: "it has no content".to_owned() })?;
        let report = Report::decode(payload)?;
        let id = report.id.unwrap_or_else(|| self.id(message, report.created));
        // What Kafka says, if it can be true: reports wait there while the reporter is away.
        let is_believed = |time: &i64| (now.saturating_sub(BELIEVED_MS)..now).contains(time);
        let seen = message.timestamp.filter(is_believed).unwrap_or(now) / 1_000;
        // Whoever may write to the topic may write of every device.
        Ok(NewReport { id, seen, report, may_leave: Arc::new(Scope::All) })
    }

    /// What only this message can have.
    fn id(&self, message: &Message, seconds: i64) -> Uid {
        let mut hash = Sha256::new();
        // Its length first, so that no other topic's name runs into what follows.
        hash.update((self.topic.len() as u64).to_be_bytes());
        hash.update(self.topic.as_bytes());
        hash.update(message.partition.to_be_bytes());
        hash.update(message.offset.to_be_bytes());
        hash.update(message.payload.as_deref().unwrap_or_default());
        let hash = hash.finalize();
        let seconds = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&hash[..8]);
        Uid::from_bytes(bytes)
    }

    /// A message as it is set aside.
    pub(super) fn set_aside(&self, place: usize, reason: String) -> Option<SetAside> {
        let message = self.messages.get(place)?;
        let payload = message.payload.as_deref().unwrap_or_default();
        Some(SetAside {
            id: self.id(message, message.timestamp.unwrap_or(0) / 1_000),
            topic: self.topic.to_string(),
            partition: message.partition,
            offset: message.offset,
            reason,
            payload: payload[..payload.len().min(MAX_PAYLOAD_BYTES)].to_vec(),
        })
    }
}

/// Why a message is no report, as a word of a closed list and as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Poison {
    pub(super) kind: &'static str,
    pub(super) reason: String,
}

impl From<ReportError> for Poison {
    fn from(error: ReportError) -> Self {
        let kind = match error {
            ReportError::Json(_) => "json",
            ReportError::Shape => "shape",
            ReportError::Key { .. } => "key",
        };
        Self { kind, reason: format!("it {error}") }
    }
}

/// What messages say.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) reports: Vec<NewReport>,
    /// The place in the batch of each report.
    pub(super) places: Vec<usize>,
    /// What is no report, by its place in the batch.
    pub(super) aside: Vec<(Poison, usize)>,
}
