//! What is written, by whomever: by a change stream where there is one, else by asking.
//!
//! A manager notes each of its writes (see `write`), and the notes are what is told. The documents
//! themselves are followed as well, for what comes without a note: the original writes none, a
//! person with a shell writes none, a restored backup brings old ones, and a manager that died
//! half-way wrote none yet. Such documents are given a revision of now, which is noted, so that
//! what was written last wins on every manager and device.
//!
//! What tells breaks off at each election, and a write that is half done in that moment is often
//! never ended. So it is gone on from where nothing was half done ([`Settled`]), and what came since
//! is looked at again.
//!
//! Invariants: nothing that is written while this runs stays untold for longer than a few seconds,
//! or two intervals of asking, whatever breaks off meanwhile; what is silent for longer than it may
//! be is broken off.

use super::super::{Cause, Changes, Kind, Manner, StoreError, Told};
use super::connection::{Connection, Prepared, code, failed};
use super::documents::{
    ID, REVISION, Tally, collection, id_keys, number, read, revision_of, signed, strings,
};
use super::prepare::has_unordered;
use super::within;
use super::write::{CHANGES, EVERYTHING, META, Unordered};
use crate::model::Revision;
use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::action::{Action, Watch};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType, ResumeToken};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long the server holds a request for changes. Each answer, an empty one too, shows that the
/// connection lives.
const HELD: Duration = Duration::from_secs(1);
/// After this much silence the connection is dead, whatever it says.
const SILENCE: Duration = Duration::from_secs(6);
/// How long a write may take from its document to its note. Then its manager is dead, or was never
/// one of ours.
const UNFINISHED: Duration = Duration::from_secs(3);
/// What comes without a revision is gathered for this long, for it seldom comes alone.
const GATHERED: Duration = Duration::from_millis(200);
/// What could not be ordered is tried again after this, then after twice as long each time: soon
/// after an election, seldom for whoever may not write.
const ORDERED_AGAIN: Duration = Duration::from_millis(500);
/// The same at most.
const ORDERED_AGAIN_LAST: Duration = Duration::from_secs(30);
/// Revisions are about milliseconds. One that is older than the last by more than this is of a
/// database that went back; managers' clocks and notes on their way differ by less.
const GONE_BACK: u64 = 60_000;
/// Notes that are read at once. Whoever missed more reads everything anew.
const MAX_NOTES: i64 = 1_000;
/// Notes older than this may be gone.
const NOTES_LAST: u64 = 12 * 3_600_000;
/// Revisions of noted writes that are remembered, for their documents may be told after the note.
const REMEMBERED: usize = 10_000;
/// Documents of one unfinished write beyond which all are ordered.
const MAX_LISTED: usize = 1_000;
/// Where changes are asked for although the database could tell them, how long until that is
/// tried again.
const STREAM_AGAIN: Duration = Duration::from_secs(60);

/// Why a stream cannot be gone on with from where it was: its beginning is written over, or what
/// comes next cannot be told.
const LOST: [i32; 5] = [136, 260, 280, 286, 10_334];

/// Where nothing was half done, as far as this process was told.
#[derive(Debug, Clone)]
pub(super) enum Settled {
    /// A place in what the database tells.
    Told(ResumeToken),
    /// What there was when it was asked.
    Counted(Tally),
}

/// Begins to follow, or goes on.
pub(super) async fn open(
    connection: Arc<Connection>,
    since: Option<Revision>,
    poll: Duration,
) -> Result<Box<dyn Changes>, StoreError> {
    let prepared = within("be followed", connection.prepared()).await?;
    if since.is_none() {
        connection.settle(None);
    }
    let settled = connection.settled();
    let token = match &settled {
        Some(Settled::Told(token)) => Some(token.clone()),
        _ => None,
    };
    let stream = match within("be followed", watch(&prepared, token)).await {
        Ok(stream) => Some(stream),
        Err(StoreError::Unavailable { source: Cause::Mongo(error), .. })
            if code(&error).is_some_and(|code| !LOST.contains(&code)) =>
        {
            if prepared.deployment.is_replicated {
                tracing::warn!(%error, "database does not tell its changes; it is asked for them");
            }
            None
        }
        Err(error) => return Err(forget_if_lost(&connection, error)),
    };
    let mut notes = Notes::new(since.unwrap_or_default());
    // After the stream is open, so that nothing falls in between.
    within("be followed", notes.read(&prepared)).await?;
    // What is counted below is in there.
    notes.tally = Tally::default();
    if since.is_none() {
        notes.untold = VecDeque::from([Told::Everything { revision: notes.last }]);
    }
    let mut disorder = Disorder::new(Arc::clone(&connection));
    if within("be followed", has_unordered(&prepared.database)).await? {
        disorder.found_everything();
    }
    let counted = match stream {
        Some(_) => Tally::default(),
        None => within("be followed", count(&prepared)).await?,
    };
    let goes_on = match (&settled, &stream) {
        (Some(Settled::Told(_)), Some(_)) => true,
        // As many as before: nobody wrote, or each write that was noted meanwhile is counted.
        (Some(Settled::Counted(before)), None) => *before == counted,
        _ => since.is_none(),
    };
    if !goes_on {
        disorder.found_everything();
    }
    Ok(match stream {
        Some(stream) => Box::new(Streamed { connection, stream, notes, disorder }),
        None => Box::new(Polled {
            connection,
            until: prepared.deployment.is_replicated.then(|| Instant::now() + STREAM_AGAIN),
            noted: counted,
            is_suspicious: false,
            interval: poll,
            prepared,
            notes,
            disorder,
        }),
    })
}

/// The document in bytes: by way of serde, a map with a key like `$oid` may not be readable.
type Event = ChangeStreamEvent<RawDocumentBuf>;

async fn watch(
    prepared: &Prepared,
    after: Option<ResumeToken>,
) -> Result<ChangeStream<Event>, StoreError> {
    let mut followed: Vec<&str> = Kind::ALL.iter().map(|kind| collection(*kind)).collect();
    followed.push(CHANGES);
    let only = doc! { "$match": { "$or": [
        { "ns.coll": { "$in": followed } },
        // The end of the whole database has no collection.
        { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
    ] } };
    let stream = prepared.database.watch().pipeline([only]).max_await_time(HELD);
    let stream = stream.optional(after, Watch::resume_after).await;
    stream.map(ChangeStream::with_type).map_err(failed("be followed"))
}

/// A place from which it cannot be gone on would be tried for ever.
fn forget_if_lost(connection: &Connection, error: StoreError) -> StoreError {
    if let StoreError::Unavailable { source: Cause::Mongo(error), .. } = &error
        && code(error).is_some_and(|code| LOST.contains(&code))
    {
        tracing::warn!(%error, "what was written meanwhile is not told any more");
        connection.settle(None);
    }
    error
}

/// Changes as the database tells them.
struct Streamed {
    connection: Arc<Connection>,
    stream: ChangeStream<Event>,
    notes: Notes,
    disorder: Disorder,
}

#[async_trait]
impl Changes for Streamed {
    fn manner(&self) -> Manner {
        Manner::Stream
    }

    async fn next(&mut self) -> Result<Told, StoreError> {
        loop {
            if let Some(told) = self.notes.untold.pop_front() {
                return Ok(told);
            }
            self.disorder.order_what_is_due().await;
            let broken = |cause: Cause| StoreError::unavailable("tell its changes", cause);
            match timeout(SILENCE, self.stream.next_if_any()).await {
                Ok(Ok(Some(event))) => self.take(event),
                Ok(Ok(None)) if self.stream.is_alive() => {}
                Ok(Ok(None)) => {
                    // The database was dropped. What comes after that is another stream's.
                    self.connection.settle(None);
                    return Err(broken(Cause::Stopped));
                }
                Ok(Err(error)) => {
                    let error = failed("tell its changes")(error);
                    return Err(forget_if_lost(&self.connection, error));
                }
                Err(_) => return Err(broken(Cause::TooSlow)),
            }
            if self.disorder.is_settled() {
                self.connection.settle(self.stream.resume_token().map(Settled::Told));
            }
        }
    }
}

impl Streamed {
    fn take(&mut self, event: Event) {
        let place = event.ns.and_then(|namespace| namespace.coll).unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| collection(*kind) == place);
        let id = event.document_key.as_ref().and_then(|key| key.get_object_id(ID).ok());
        let document = event.full_document.as_ref().map(read).transpose();
        let document = document.ok().flatten().unwrap_or_default();
        match (event.operation_type, kind) {
            (OperationType::Insert, None) => {
                if self.notes.has_gone_back(revision_of_note(&document)) {
                    self.disorder.found_everything();
                }
                self.disorder.noted(&document);
                self.notes.take(&document);
            }
            // The end of a note is no news.
            (OperationType::Delete | OperationType::Update | OperationType::Replace, None) => {}
            (OperationType::Insert | OperationType::Replace, Some(kind)) => {
                self.connection.written(kind);
                self.written(kind, id, revision_of(&document));
            }
            (OperationType::Update, Some(kind)) => {
                let updated = event.update_description.map(|update| update.updated_fields);
                self.written(kind, id, updated.as_ref().map(revision_of).unwrap_or_default());
            }
            (OperationType::Delete, Some(kind)) => self.disorder.deleted(kind, id),
            // A collection or the database was dropped or renamed.
            (_, kind) => {
                tracing::warn!(
                    collection = place,
                    "a collection is gone; devices keep what they run of it"
                );
                if let Some(kind) = kind {
                    self.connection.dropped(kind);
                }
                self.disorder.found_everything();
            }
        }
    }

    fn written(&mut self, kind: Kind, id: Option<ObjectId>, revision: Revision) {
        match id {
            Some(_) if self.notes.has_gone_back(revision) && revision.0 > 0 => {
                self.disorder.found_everything();
            }
            Some(id) => self.disorder.written(kind, id, revision),
            None => self.disorder.found_everything(),
        }
    }
}

/// Changes that are asked for.
struct Polled {
    connection: Arc<Connection>,
    prepared: Prepared,
    interval: Duration,
    /// When to try to be told instead.
    until: Option<Instant>,
    /// What there is according to the notes.
    noted: Tally,
    /// There was something else the last time: the note of it was on its way, or there is none.
    is_suspicious: bool,
    notes: Notes,
    disorder: Disorder,
}

#[async_trait]
impl Changes for Polled {
    fn manner(&self) -> Manner {
        Manner::Poll
    }

    async fn next(&mut self) -> Result<Told, StoreError> {
        loop {
            if let Some(told) = self.notes.untold.pop_front() {
                return Ok(told);
            }
            self.disorder.order_what_is_due().await;
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Err(StoreError::unavailable("tell its changes", Cause::Stopped));
            }
            // Not all managers in the same moment.
            sleep(self.interval.mul_f64(rand::random_range(0.8..1.0))).await;
            within("tell its changes", self.ask()).await?;
        }
    }
}

impl Polled {
    async fn ask(&mut self) -> Result<(), StoreError> {
        let counted = count(&self.prepared).await?;
        let has_gone_back = self.notes.read(&self.prepared).await?;
        self.noted.add(std::mem::take(&mut self.notes.tally));
        let was_suspicious = std::mem::replace(&mut self.is_suspicious, counted != self.noted);
        if has_gone_back || (was_suspicious && self.is_suspicious) {
            self.disorder.found_everything();
            self.noted = counted;
            self.is_suspicious = false;
        }
        if self.disorder.is_settled() {
            self.connection.settle(Some(Settled::Counted(self.noted)));
        }
        Ok(())
    }
}

/// How many objects there are and the sum of their ids, which whoever changes one raises.
pub(super) async fn count(prepared: &Prepared) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    for kind in Kind::ALL {
        let ids = id_keys(kind).iter().map(|key| {
            let key = format!("${key}");
            // What is no number counts nothing.
            doc! { "$cond": [{ "$isNumber": &key }, { "$toLong": &key }, 0_i64] }
        });
        let sums = doc! { "$group": {
            ID: null,
            "count": { "$sum": 1_i64 },
            "ids": { "$sum": { "$add": ids.collect::<Vec<_>>() } },
        } };
        let objects = prepared.collection(collection(kind));
        let mut found = objects.aggregate([sums]).await.map_err(failed("tell its changes"))?;
        if let Some(sums) = found.try_next().await.map_err(failed("tell its changes"))? {
            tally.add(Tally::of_note(&sums));
        }
    }
    Ok(tally)
}

/// The notes of writes.
struct Notes {
    last: Revision,
    told: HashSet<u64>,
    untold: VecDeque<Told>,
    /// What those did that were taken since it was last looked at.
    tally: Tally,
}

impl Notes {
    fn new(last: Revision) -> Self {
        Self { last, told: HashSet::new(), untold: VecDeque::new(), tally: Tally::default() }
    }

    /// Whether a revision is of a database as it was before.
    fn has_gone_back(&self, revision: Revision) -> bool {
        revision.0.saturating_add(GONE_BACK) < self.last.0
    }

    fn take(&mut self, note: &Document) {
        let revision = revision_of_note(note);
        if self.told.len() >= REMEMBERED {
            self.told.clear();
        }
        if self.told.insert(revision.0) {
            self.last = self.last.max(revision);
            self.tally.add(Tally::of_note(note));
            self.untold.push_back(told(note));
        }
    }

    /// Reads the notes since the last one, and some before it, for a note may come late. True when
    /// the database has gone back.
    async fn read(&mut self, prepared: &Prepared) -> Result<bool, StoreError> {
        let operation = "tell its changes";
        let meta = prepared.collection(META).find_one(doc! { ID: REVISION }).await;
        let meta = meta.map_err(failed(operation))?.as_ref().map(read).transpose()?;
        let now = Revision(meta.as_ref().and_then(|meta| meta.get("value")).map_or(0, number));
        if self.last.0 == 0 || now.0.saturating_sub(self.last.0) > NOTES_LAST {
            self.everything(now);
            return Ok(false);
        }
        let since = Revision(self.last.0.saturating_sub(GONE_BACK));
        let notes = prepared.collection(CHANGES);
        let found = notes.find(doc! { ID: { "$gt": signed(since) } });
        let found = found.sort(doc! { ID: 1 }).limit(MAX_NOTES);
        let mut found = found.await.map_err(failed(operation))?;
        let mut count = 0;
        while let Some(note) = found.try_next().await.map_err(failed(operation))? {
            count += 1;
            self.take(&read(&note)?);
        }
        if count >= MAX_NOTES {
            self.everything(now);
        }
        Ok(self.has_gone_back(now))
    }

    fn everything(&mut self, revision: Revision) {
        self.last = self.last.max(revision);
        self.untold = VecDeque::from([Told::Everything { revision: self.last }]);
    }
}

fn revision_of_note(note: &Document) -> Revision {
    Revision(note.get(ID).map_or(0, number))
}

fn told(note: &Document) -> Told {
    let revision = revision_of_note(note);
    let kind = note.get_str("kind").unwrap_or(EVERYTHING);
    let kind = Kind::parse(kind);
    match (kind, note.get_str("name")) {
        (Some(kind), Ok(name)) => Told::Write {
            kind,
            name: name.to_owned(),
            device_groups: strings(note, "device_groups"),
            revision,
        },
        _ => Told::Everything { revision },
    }
}

/// What was written and has no note yet, or never will have one.
struct Disorder {
    connection: Arc<Connection>,
    /// Writes that are not noted yet, by their revision: since when, and what they wrote.
    unfinished: HashMap<Revision, (Instant, Vec<(Kind, ObjectId)>)>,
    /// Deletions that are not noted yet.
    gone: HashMap<ObjectId, Instant>,
    /// Notes that came before what they are of.
    noted: VecDeque<Revision>,
    unordered: Unordered,
    /// When what is gathered is ordered.
    due: Option<Instant>,
    /// Times in a row that it could not be.
    failures: u32,
}

impl Disorder {
    fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            unfinished: HashMap::new(),
            gone: HashMap::new(),
            noted: VecDeque::new(),
            unordered: Unordered::default(),
            due: None,
            failures: 0,
        }
    }

    fn found_everything(&mut self) {
        self.unordered.everything = true;
        self.gather();
    }

    fn gather(&mut self) {
        // Several managers see the same: whoever is first saves the others the work.
        let wait = GATHERED.mul_f64(rand::random_range(1.0..3.0));
        self.due.get_or_insert_with(|| Instant::now() + wait);
    }

    /// A document was written, by a revision or by none.
    fn written(&mut self, kind: Kind, id: ObjectId, revision: Revision) {
        if revision.0 == 0 {
            self.unordered.documents.entry(kind).or_default().push(id);
            self.gather();
        } else if !self.noted.contains(&revision) {
            let entry = (Instant::now(), Vec::new());
            let (_, written) = self.unfinished.entry(revision).or_insert(entry);
            if written.len() <= MAX_LISTED {
                written.push((kind, id));
            }
        }
    }

    fn deleted(&mut self, kind: Kind, id: Option<ObjectId>) {
        // Whoever is gone from users is looked up anew within a minute; what devices are told is
        // not.
        tracing::debug!(%kind, "a document is gone");
        match id {
            Some(id) => _ = self.gone.insert(id, Instant::now()),
            None => self.found_everything(),
        }
    }

    /// A write was noted: what it wrote is in order.
    fn noted(&mut self, note: &Document) {
        for revision in [revision_of_note(note), Revision(note.get("first").map_or(0, number))] {
            self.unfinished.remove(&revision);
            if self.noted.len() >= 100 {
                self.noted.pop_front();
            }
            self.noted.push_back(revision);
        }
        let gone = note.get_array("gone").map(Vec::as_slice).unwrap_or_default();
        for id in gone.iter().filter_map(Bson::as_object_id) {
            self.gone.remove(&id);
        }
        let ordered = note.get_array("ordered").map(Vec::as_slice).unwrap_or_default();
        for id in ordered.iter().filter_map(Bson::as_object_id) {
            for documents in self.unordered.documents.values_mut() {
                documents.retain(|document| *document != id);
            }
        }
    }

    /// Whether nothing is half done.
    fn is_settled(&self) -> bool {
        self.unfinished.is_empty() && self.gone.is_empty() && self.due.is_none()
    }

    /// Orders what has waited long enough. What fails is tried again.
    async fn order_what_is_due(&mut self) {
        let now = Instant::now();
        let is_over = |since: &Instant| now.duration_since(*since) > UNFINISHED;
        let over: Vec<Revision> = (self.unfinished.iter())
            .filter_map(|(revision, (since, _))| is_over(since).then_some(*revision))
            .collect();
        for revision in over {
            let (_, written) = self.unfinished.remove(&revision).unwrap_or((now, Vec::new()));
            tracing::warn!(%revision, "a write was not ended by its manager; it is ended here");
            self.unordered.everything |= written.len() > MAX_LISTED;
            for (kind, id) in written {
                self.unordered.documents.entry(kind).or_default().push(id);
            }
            self.due.get_or_insert(now);
        }
        let gone = self.gone.len();
        self.gone.retain(|_, since| !is_over(since));
        if self.gone.len() < gone {
            self.unordered.everything = true;
            self.due.get_or_insert(now);
        }
        // What is being restored is put in order when it is whole.
        if self.due.is_none_or(|due| now < due) || self.connection.is_restoring() {
            return;
        }
        self.due = None;
        self.unordered.documents.retain(|_, documents| !documents.is_empty());
        let unordered = std::mem::take(&mut self.unordered);
        if !unordered.everything && unordered.documents.is_empty() {
            return;
        }
        let everything = unordered.everything;
        match self.connection.order(unordered).await {
            Ok(revision) => {
                tracing::info!(%revision, everything, "foreign writes put in order");
                self.failures = 0;
            }
            Err(error) => {
                tracing::warn!(%error, "foreign writes could not be put in order yet");
                self.unordered.everything = true;
                let wait = ORDERED_AGAIN.saturating_mul(1 << self.failures.min(10));
                self.due = Some(Instant::now() + wait.min(ORDERED_AGAIN_LAST));
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}
