//! Adding reports: one insert of all, then one update of the inventory, which may be for many inserts.
//! This is the whole work of a reporter, and is measured as such.

use super::super::{
    Added, Foreign, Heard, MAX_DEVICE_BYTES, MAX_PAYLOAD_BYTES, NewReport, Retention, Scope,
    SetAside, Unheard, without_details,
};
use super::query::{signed, to_device};
use super::{DEVICES, REPORTS, SET_ASIDE, bson, prepare};
use crate::model::{Device, LONGEST_STEP_BACK};
use crate::store::mongo::connection::{Prepared, failed};
use crate::store::{Cause, StoreError};
use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::cstr;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::error::{Error, ErrorKind, IndexedWriteError};
use std::collections::{BTreeMap, HashMap};

/// A key that is there already.
const DUPLICATE_KEY: i32 = 11_000;
/// The index of the documents' own ids.
const ID_INDEX: &str = "_id_";
/// What a server says of a document of which it is not the document's fault. Anything else is, and
/// trying again would end the same.
const OF_THE_SERVER: [i32; 27] = [
    1, 6, 7, 8, 13, 18, 24, 26, 28, 43, 50, 64, 89, 91, 112, 133, 134, 189, 202, 246, 262, 314,
    9_001, 10_107, 11_600, 11_602, 14_031,
];
/// A command is a document, whose size has a limit; a device may have [`MAX_DEVICE_BYTES`].
const MAX_COMMAND_BYTES: usize = 8 << 20;
/// A device's first two reports may come by two reporters at once: one of them meets the other's.
const ATTEMPTS: usize = 3;

/// Reports as they are written. Making them takes a processor's time, and none of the database's.
#[derive(Debug, Default)]
pub struct Documents {
    all: Vec<RawDocumentBuf>,
    /// What each says of its device.
    heard: Vec<Heard>,
    /// Which of the reports each was.
    places: Vec<usize>,
    /// Those that no document can hold, by their place among the reports, with the reason.
    refused: Vec<(usize, String)>,
}

impl Documents {
    /// Of reports, in their order.
    pub fn of(reports: Vec<NewReport>) -> Self {
        let now = DateTime::now();
        let mut made = Self::default();
        for (place, new) in reports.into_iter().enumerate() {
            match bson::report(ObjectId::from_bytes(new.id.bytes()), &new.report, now) {
                Ok(document) => {
                    made.all.push(document);
                    made.heard.push(Heard::later(new));
                    made.places.push(place);
                }
                Err(reason) => made.refused.push((place, reason.to_string())),
            }
        }
        made
    }

    /// Whether there were no reports.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.refused.is_empty()
    }
}

/// Keeps reports, in two parts at once. What they say of their devices is for the inventory.
pub(super) async fn keep(
    database: &Prepared,
    retention: Retention,
    reports: Documents,
) -> Result<(Added, Unheard), StoreError> {
    let Documents { all: documents, mut heard, places, refused } = reports;
    let middle = documents.len() / 2;
    let (one, other) = documents.split_at(middle);
    let (one, other) = tokio::join!(
        insert(database, retention, REPORTS, one),
        insert(database, retention, REPORTS, other)
    );
    let (one, other) = (one?, other?.from(middle));
    // They are as large as all else together.
    drop(documents);
    let known: Vec<usize> = one.known.into_iter().chain(other.known).collect();
    for index in &known {
        heard[*index].is_known = true;
    }
    let never: BTreeMap<usize, String> = one.refused.into_iter().chain(other.refused).collect();
    let heard = heard.into_iter().enumerate();
    let unheard = heard.filter(|(index, _)| !never.contains_key(index)).map(|(_, heard)| heard);
    let unheard: Unheard = unheard.collect();
    let added = places.len() - known.len() - never.len();
    let never = never.into_iter().map(|(index, reason)| (places[index], reason));
    let mut refused: Vec<(usize, String)> = never.chain(refused).collect();
    refused.sort_by_key(|(place, _)| *place);
    Ok((Added { added: added as u64, known: known.len() as u64, refused }, unheard))
}

/// Keeps what is no report.
pub(super) async fn set_aside(
    database: &Prepared,
    retention: Retention,
    messages: Vec<SetAside>,
) -> Result<(), StoreError> {
    let now = DateTime::now();
    let documents = messages.into_iter().map(|message| {
        let SetAside { id, topic, partition, offset, reason, mut payload } = message;
        payload.truncate(MAX_PAYLOAD_BYTES);
        let payload = Binary { subtype: BinarySubtype::Generic, bytes: payload };
        let document = doc! {
            "_id": ObjectId::from_bytes(id.bytes()), "topic": topic, "partition": partition,
            "offset": offset, "reason": reason, "payload": payload, "report_insert_date": now,
        };
        crate::store::mongo::write_document(&document)
    });
    let documents: Vec<RawDocumentBuf> = documents.collect::<Result<_, _>>()?;
    let outcome = insert(database, retention, SET_ASIDE, &documents).await?;
    for (_, reason) in outcome.refused {
        tracing::error!(reason, "a message that is no report could not be set aside");
    }
    Ok(())
}

/// What became of some documents, by their places.
#[derive(Default)]
struct Inserted {
    known: Vec<usize>,
    refused: Vec<(usize, String)>,
    /// Those that an index refuses which is none of ours, and what the server said of the last.
    unwanted: Vec<usize>,
    said: String,
}

impl Inserted {
    /// Of documents that were a part of more, from this place on.
    fn from(self, first: usize) -> Self {
        let known = self.known.into_iter().map(|index| first + index).collect();
        let refused = self.refused.into_iter().map(|(index, why)| (first + index, why)).collect();
        Self { known, refused, ..self }
    }
}

/// Adds documents. An index that lets no two of them be alike in anything but their ids loses
/// reports: the original makes such a one whenever it starts, so it is removed and what it refused
/// is added again.
async fn insert(
    database: &Prepared,
    retention: Retention,
    collection: &str,
    documents: &[RawDocumentBuf],
) -> Result<Inserted, StoreError> {
    let mut inserted = insert_once(database, collection, documents).await?;
    if inserted.unwanted.is_empty() {
        return Ok(inserted);
    }
    prepare::prepare(&database.database, retention).await?;
    let places = std::mem::take(&mut inserted.unwanted);
    let again: Vec<RawDocumentBuf> = places.iter().map(|place| documents[*place].clone()).collect();
    let more = insert_once(database, collection, &again).await?;
    if !more.unwanted.is_empty() {
        let index = index_of(&more.said).unwrap_or("that the server does not name").to_owned();
        let problem = format!(
            "the unique index {index} of the collection {collection} refuses reports that differ; \
             drop it: {}",
            more.said
        );
        return Err(StoreError::unavailable("keep reports", std::io::Error::other(problem)));
    }
    inserted.known.extend(more.known.into_iter().map(|index| places[index]));
    inserted.refused.extend(more.refused.into_iter().map(|(index, why)| (places[index], why)));
    Ok(inserted)
}

async fn insert_once(
    database: &Prepared,
    collection: &str,
    documents: &[RawDocumentBuf],
) -> Result<Inserted, StoreError> {
    let mut inserted = Inserted::default();
    if documents.is_empty() {
        return Ok(inserted);
    }
    let Err(error) = database.collection(collection).insert_many(documents).ordered(false).await
    else {
        return Ok(inserted);
    };
    for one in errors_of_documents(&error).ok_or_else(|| failed("keep reports")(error.clone()))? {
        match one.code {
            DUPLICATE_KEY if index_of(&one.message) == Some(ID_INDEX) => {
                inserted.known.push(one.index);
            }
            DUPLICATE_KEY => {
                inserted.unwanted.push(one.index);
                inserted.said.clone_from(&one.message);
            }
            _ => inserted.refused.push((one.index, one.message.clone())),
        }
    }
    Ok(inserted)
}

/// Whose key it is that is there already. The driver keeps only the server's words: "... duplicate
/// key error collection: DB.COLLECTION index: NAME dup key: {...}", where neither of the first two
/// can have a space.
fn index_of(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" index: ")?;
    let (name, _) = rest.split_once(" dup key")?;
    Some(name.split_once(" collation:").map_or(name, |(name, _)| name))
}

/// The errors of single documents, if there is no other: then all the rest was written.
fn errors_of_documents(error: &Error) -> Option<&[IndexedWriteError]> {
    let ErrorKind::InsertMany(many) = &*error.kind else { return None };
    let errors = many.write_errors.as_deref()?;
    let is_of_documents = many.write_concern_error.is_none()
        && errors.iter().all(|error| !OF_THE_SERVER.contains(&error.code));
    is_of_documents.then_some(errors)
}

/// Brings the inventory up to date, in two parts at once.
pub(super) async fn hear(
    database: &Prepared,
    heard: &[&Heard],
    foreign: &Foreign,
) -> Result<(), StoreError> {
    let (one, other) = heard.split_at(heard.len() / 2);
    let (one, other) = tokio::join!(
        update_devices(database, one, foreign),
        update_devices(database, other, foreign)
    );
    one.and(other)
}

/// Brings devices up to date, by few commands of many statements.
async fn update_devices(
    database: &Prepared,
    heard: &[&Heard],
    foreign: &Foreign,
) -> Result<(), StoreError> {
    let mut changed = 0;
    let mut updates = RawArrayBuf::new();
    for heard in heard {
        let statement = statement(heard)?;
        let size = updates.as_bytes().len() + statement.as_bytes().len();
        if size > MAX_COMMAND_BYTES {
            changed += update(database, std::mem::take(&mut updates)).await?;
        }
        updates.push(statement);
    }
    if !updates.is_empty() {
        changed += update(database, updates).await?;
    }
    // Hardly ever: each report changes at least when its device was last seen.
    if changed < heard.len() { tell_of_foreign(database, heard, foreign).await } else { Ok(()) }
}

/// Tells of devices that stayed where they are.
async fn tell_of_foreign(
    database: &Prepared,
    heard: &[&Heard],
    foreign: &Foreign,
) -> Result<(), StoreError> {
    let failed = failed("read devices");
    let bounded = heard.iter().filter(|heard| matches!(*heard.may_leave, Scope::Groups(_)));
    let by_name: HashMap<&str, &Heard> =
        bounded.map(|heard| (&*heard.device.hostname, *heard)).collect();
    if by_name.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = by_name.keys().copied().collect();
    let found = database.collection(DEVICES).find(doc! { "_id": { "$in": names } }).await;
    let mut found = found.map_err(&failed)?;
    while let Some(document) = found.try_next().await.map_err(&failed)? {
        let Some(known) = to_device(&document) else { continue };
        if let Some(heard) = by_name.get(&*known.hostname)
            && heard.is_foreign_to(&known)
        {
            foreign.tell(heard, &known.device_group);
        }
    }
    Ok(())
}

/// Writes one device, if what is kept of it is not newer and no other sender's: the rules of
/// [`Heard::is_older_than`] and [`Heard::is_foreign_to`].
fn statement(heard: &Heard) -> Result<RawDocumentBuf, StoreError> {
    let device = kept(&heard.whole())?;
    let raw = |document: &Document| crate::store::mongo::write_document(document);
    // An older report says as well that the device is there.
    let seen = raw(&doc! { "$mergeObjects": ["$$ROOT", {
        "last_seen": { "$max": ["$last_seen", heard.device.last_seen] },
        "away_at": { "$max": ["$away_at", heard.device.away_at] },
    }] })?;
    let (is_foreign, is_older) = (raw(&is_foreign(heard))?, raw(&older(heard))?);
    Ok(rawdoc! {
        "q": { "_id": heard.device.hostname.as_str() },
        // Literally, for a text that begins with a dollar sign would be a path.
        "u": [{ "$replaceWith": { "$cond": [is_foreign, "$$ROOT",
            { "$cond": [is_older, seen, { "$literal": device }] },
        ] } }],
        "upsert": true,
    })
}

fn kept(device: &Device) -> Result<RawDocumentBuf, StoreError> {
    let malformed = |reason: bson::Unkept| {
        StoreError::unavailable("write a device", std::io::Error::other(reason))
    };
    let named = |device: &Device| {
        let mut kept = device.to_kept();
        kept.shift_insert(0, "_id".to_owned(), device.hostname.clone().into());
        bson::object(&kept)
    };
    match named(device) {
        Ok(kept) if kept.as_bytes().len() <= MAX_DEVICE_BYTES => Ok(kept),
        _ => named(&without_details(device)).map_err(malformed),
    }
}

/// When it is another sender's. What is not there is nobody's: it compares as less than any time.
fn is_foreign(heard: &Heard) -> Document {
    let Scope::Groups(groups) = &*heard.may_leave else { return doc! { "$literal": false } };
    let Device { device_group, last_seen, .. } = &heard.device;
    doc! { "$and": [
        { "$ne": ["$device_group", { "$literal": device_group }] },
        { "$gt": ["$away_at", last_seen] },
        { "$not": [{ "$in": ["$device_group", { "$literal": groups }] }] },
    ] }
}

/// When what is kept is newer. What is not there compares as less than anything.
fn older(heard: &Heard) -> Document {
    let device = &heard.device;
    let older = if let Some((boot, sequence)) = &device.order {
        let is_of_this_life = doc! { "$eq": ["$boot_id", { "$literal": boot }] };
        doc! { "$and": [is_of_this_life, { "$gt": ["$sequence", signed(*sequence)] }] }
    } else {
        let has_no_lives = doc! { "$eq": [{ "$type": "$boot_id" }, "missing"] };
        let created = device.report_creation_time;
        let is_newer = doc! { "$gt": ["$report_creation_time", created] };
        let latest = created.saturating_add(LONGEST_STEP_BACK);
        let is_near = doc! { "$lte": ["$report_creation_time", latest] };
        doc! { "$and": [has_no_lives, is_newer, is_near] }
    };
    if heard.is_known {
        doc! { "$or": [older, { "$gt": ["$last_seen", device.last_seen] }] }
    } else {
        older
    }
}

/// How many devices changed.
async fn update(database: &Prepared, updates: RawArrayBuf) -> Result<usize, StoreError> {
    let operation = "bring the inventory up to date";
    let mut command = rawdoc! {
        "update": DEVICES, "ordered": false, "writeConcern": { "w": "majority" },
    };
    command.append(cstr!("updates"), updates);
    for _ in 0..ATTEMPTS {
        // The driver does not try commands again by itself, and this one may be.
        let reply = match database.database.run_raw_command(command.clone()).await {
            Ok(reply) => reply,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(failed(operation)(error)),
        };
        match first_error(&reply) {
            None => return Ok(changed(&reply)),
            Some((DUPLICATE_KEY, message)) if index_of(&message) == Some(ID_INDEX) => {}
            Some((_, message)) => {
                return Err(StoreError::unavailable(operation, std::io::Error::other(message)));
            }
        }
    }
    Err(StoreError::unavailable(operation, Cause::TooSlow))
}

fn changed(reply: &Document) -> usize {
    let modified = reply.get_i32("nModified").unwrap_or_default();
    let new = reply.get_array("upserted").map_or(0, Vec::len);
    usize::try_from(modified).unwrap_or_default() + new
}

/// A connection that broke, or a member that is no longer the primary.
fn is_passing(error: &Error) -> bool {
    error.contains_label("RetryableWriteError")
        || matches!(*error.kind, ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. })
}

/// What went wrong with an update, as its reply tells it.
fn first_error(reply: &Document) -> Option<(i32, String)> {
    let concern = reply.get_document("writeConcernError").ok();
    let mut errors = reply.get_array("writeErrors").into_iter().flatten();
    // Twins that met are written by the next attempt; anything else is worse.
    let all: Vec<&Document> =
        concern.into_iter().chain(errors.by_ref().filter_map(Bson::as_document)).collect();
    let code = |error: &Document| error.get_i32("code").unwrap_or_default();
    let worst = all.iter().find(|error| code(error) != DUPLICATE_KEY).or(all.first())?;
    let message = worst.get_str("errmsg").unwrap_or("it gave no reason").to_owned();
    Some((code(worst), message))
}
