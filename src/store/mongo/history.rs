//! The versions of apps, in a collection of their own: one document a version.
//!
//! Invariants: a version is on most members before its write is noted, so what others are told of
//! is there; one whose manager died before that, and one that is not ours, is kept when it is put
//! in order or written over, whichever is first. A version is known by its app and by the first
//! revision of its write, which whoever finds it half-way reads in the app's document: so it is
//! there once, however often it is found.

use super::super::history::Kept;
use super::super::{Kind, Noun, Object, StoreError};
use super::connection::{Connection, Prepared, failed, is_duplicate};
use super::documents::{
    ID, REVISION, collection, named, number, read, revision_of, signed, to_object, write as raw,
};
use super::write::Write;
use crate::clock::unix_seconds;
use crate::model::{App, AppEntry, AppHistory, Author, MAX_VERSIONS, Revision, Uid};
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use std::collections::HashMap;

/// Where versions are kept.
pub(super) const HISTORY: &str = "nebula_history";
/// The key of the app's id in a version, by which there is an index.
pub(super) const UID: &str = "uid";
/// The key in a version's `_id` by which versions are in order.
const ORDER: &str = "_id.revision";
const OPERATION: &str = "keep what others wrote";
/// Apps that are looked at together.
const CHUNK: usize = 200;
/// A list of more apps than this does not fit into a command.
const MAX_LISTED: usize = 100_000;
/// What a version belongs to was deleted for certain when it is older than this, in seconds, and
/// its app is not there: no write takes as long.
const LEFT_OVER: i64 = 3_600;

impl Connection {
    /// The history of an app.
    pub(super) async fn history(&self, name: &str) -> Result<Option<AppHistory>, StoreError> {
        let (prepared, mut session) = self.begin_reading().await?;
        let apps = prepared.collection(collection(Kind::App));
        let found = apps.find_one(named(Kind::App, name)).session(&mut session).await;
        let Some(document) = found.map_err(failed("read an object"))? else { return Ok(None) };
        let app = App::from_object(to_object(Kind::App, read(&document)?)?);
        let app = app.ok_or(StoreError::WrongKind)?;
        let kept = match app.identity.uid {
            Some(uid) => newest(&prepared, &mut session, uid, MAX_VERSIONS).await?,
            None => Vec::new(),
        };
        Ok(Some(AppHistory::new(app, kept, unix_seconds())))
    }
}

impl Write {
    /// Keeps the versions that this write made, whose last revision this is.
    pub(super) async fn keep(
        &mut self,
        objects: &[Object],
        last: Revision,
        author: &Author,
    ) -> Result<(), StoreError> {
        let mut versions = Vec::new();
        for object in objects {
            let identity = object.identity().uid.map(|uid| (uid, last));
            let version = Kept::written(&object.clone().identified(identity), author)?;
            versions.extend(version.map(|version| to_document(&version, self.first)));
        }
        match versions.as_slice() {
            [] => Ok(()),
            [version] => self.keep_one(version).await,
            // Trimmed when one of them is written again.
            _ => self.keep_many(versions).await,
        }
    }

    /// Keeps a version, in the place of one that was found half-way and could not say who made it,
    /// and lets go of the oldest beyond the limit.
    async fn keep_one(&mut self, version: &Document) -> Result<(), StoreError> {
        let failed = failed("keep a version");
        let history = self.prepared.collection(HISTORY);
        let replaced = history.replace_one(doc! { ID: version.get(ID) }, raw(version)?);
        replaced.upsert(true).session(&mut self.session).await.map_err(&failed)?;
        let of_this = doc! { UID: version.get(UID) };
        let beyond = history.find_one(of_this.clone()).projection(doc! { ID: 1 });
        let beyond = beyond.sort(doc! { ORDER: -1 }).skip(MAX_VERSIONS as u64);
        let beyond = beyond.session(&mut self.session).await.map_err(&failed)?;
        let Some(beyond) = beyond.as_ref().map(read).transpose()? else { return Ok(()) };
        let order = beyond.get_document(ID).map(revision_of).unwrap_or_default();
        let mut beyond = of_this;
        beyond.insert(ORDER, doc! { "$lte": signed(order) });
        let deleted = history.delete_many(beyond).session(&mut self.session).await;
        deleted.map(|_| ()).map_err(&failed)
    }

    async fn keep_many(&mut self, versions: Vec<Document>) -> Result<(), StoreError> {
        let updates = versions.into_iter();
        let updates: Vec<Document> = updates
            .map(|version| doc! { "q": { ID: version.get(ID) }, "u": version, "upsert": true })
            .collect();
        let update = doc! {
            "update": HISTORY,
            "updates": updates,
            "writeConcern": { "w": "majority" },
        };
        let done = self.prepared.database.run_command(update).session(&mut self.session).await;
        done.map(|_| ()).map_err(failed("keep versions"))
    }

    /// Keeps the version that this write is about to write over, unless it is kept.
    pub(super) async fn complete(&mut self, old: &Document) -> Result<(), StoreError> {
        let Ok(id) = old.get_object_id(ID) else { return Ok(()) };
        let uid = Uid::from_bytes(id.bytes());
        let newest = newest(&self.prepared, &mut self.session, uid, 1).await?;
        let Some(version) = missing(old, newest.first(), self.first)? else { return Ok(()) };
        add_missing(&self.prepared, &mut self.session, vec![version]).await
    }

    /// Keeps the versions of these apps that are not kept. Of everything, it also forgets those of
    /// apps that are gone.
    pub(super) async fn complete_all(
        &mut self,
        filter: Document,
        is_everything: bool,
    ) -> Result<(), StoreError> {
        let (prepared, session) = (&self.prepared, &mut self.session);
        let all = ids_of(prepared, session, filter).await?;
        for ids in all.chunks(CHUNK) {
            let kept = newest_of_each(prepared, session, ids).await?;
            let versions = missing_of(prepared, session, ids, (&kept, self.first)).await?;
            add_missing(prepared, session, versions).await?;
        }
        // Apps that are all gone may be about to be restored.
        if !is_everything || all.is_empty() || all.len() > MAX_LISTED {
            return Ok(());
        }
        let left_over =
            doc! { UID: { "$nin": all }, "time": { "$lt": unix_seconds() - LEFT_OVER } };
        let forgotten = prepared.collection(HISTORY).delete_many(left_over).session(session).await;
        forgotten.map(|_| ()).map_err(failed(OPERATION))
    }

    /// Forgets the versions of apps that are gone.
    pub(super) async fn forget(&mut self, ids: &[ObjectId]) -> Result<(), StoreError> {
        let history = self.prepared.collection(HISTORY);
        let forgotten = history.delete_many(doc! { UID: { "$in": ids } });
        let forgotten = forgotten.session(&mut self.session).await;
        forgotten.map(|_| ()).map_err(failed("forget a history"))
    }
}

/// The ids of some apps.
async fn ids_of(
    prepared: &Prepared,
    session: &mut ClientSession,
    filter: Document,
) -> Result<Vec<ObjectId>, StoreError> {
    let apps = prepared.collection(collection(Kind::App));
    let found = apps.find(filter).projection(doc! { ID: 1 }).session(&mut *session).await;
    let mut found = found.map_err(failed(OPERATION))?;
    let mut found = found.stream(session);
    let mut ids = Vec::new();
    while let Some(app) = found.try_next().await.map_err(failed(OPERATION))? {
        ids.extend(read(&app)?.get_object_id(ID));
    }
    Ok(ids)
}

/// The newest version that is kept of each app.
async fn newest_of_each(
    prepared: &Prepared,
    session: &mut ClientSession,
    ids: &[ObjectId],
) -> Result<HashMap<ObjectId, AppEntry>, StoreError> {
    let newest = [
        doc! { "$match": { UID: { "$in": ids } } },
        doc! { "$sort": { ORDER: 1 } },
        doc! { "$group": { ID: "$uid", "version": { "$last": "$$ROOT" } } },
        doc! { "$replaceRoot": { "newRoot": "$version" } },
    ];
    let history = prepared.collection(HISTORY);
    let found = history.aggregate(newest).allow_disk_use(true).session(&mut *session).await;
    let mut found = found.map_err(failed(OPERATION))?;
    let mut found = found.stream(session);
    let mut kept = HashMap::new();
    while let Some(newest) = found.try_next().await.map_err(failed(OPERATION))? {
        if let (Ok(id), Some(entry)) =
            (newest.get_object_id(UID), of_document(&newest).and_then(Kept::entry))
        {
            kept.insert(id, entry);
        }
    }
    Ok(kept)
}

/// The versions of some apps as they stand in the database that are not kept.
async fn missing_of(
    prepared: &Prepared,
    session: &mut ClientSession,
    ids: &[ObjectId],
    (kept, before): (&HashMap<ObjectId, AppEntry>, Revision),
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let apps = prepared.collection(collection(Kind::App));
    let found = apps.find(doc! { ID: { "$in": ids } }).session(&mut *session).await;
    let mut found = found.map_err(failed(OPERATION))?;
    let mut found = found.stream(session);
    let mut versions = Vec::new();
    while let Some(app) = found.try_next().await.map_err(failed(OPERATION))? {
        let app = read(&app)?;
        let newest = app.get_object_id(ID).ok().and_then(|id| kept.get(&id));
        versions.extend(missing(&app, newest, before)?);
    }
    Ok(versions)
}

/// The version of an app as it stands in the database, if it is not the newest that is kept.
/// `before` is the revision of a write that has not been done yet.
fn missing(
    document: &Document,
    newest: Option<&AppEntry>,
    before: Revision,
) -> Result<Option<RawDocumentBuf>, StoreError> {
    // Nobody could go back to what cannot be read.
    let Ok(object) = to_object(Kind::App, document.clone()) else { return Ok(None) };
    let Some(app) = App::from_object(object) else { return Ok(None) };
    if newest.is_some_and(|newest| newest.is_of(&app)) {
        return Ok(None);
    }
    let revision = revision_of(document);
    let last = newest.and_then(|newest| newest.app.identity.revision).unwrap_or_default();
    let entry = AppEntry::found(app, unix_seconds());
    // Whoever takes no revisions leaves none, or the one that was there before.
    let (order, entry) = if revision > last {
        (revision, entry)
    } else {
        let order = Revision(before.0.saturating_sub(1));
        (order, AppEntry { time: unix_seconds(), ..entry })
    };
    let version = Kept::of(&entry)?;
    version.map(|version| raw(&to_document(&version, order))).transpose()
}

/// Adds versions, but for those that somebody else added meanwhile.
async fn add_missing(
    prepared: &Prepared,
    session: &mut ClientSession,
    versions: Vec<RawDocumentBuf>,
) -> Result<(), StoreError> {
    if versions.is_empty() {
        return Ok(());
    }
    let history = prepared.collection(HISTORY);
    match history.insert_many(versions).ordered(false).session(session).await {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => Ok(()),
        Err(error) => Err(failed("keep a version")(error)),
    }
}

/// The newest versions of an app.
async fn newest(
    prepared: &Prepared,
    session: &mut ClientSession,
    uid: Uid,
    most: usize,
) -> Result<Vec<AppEntry>, StoreError> {
    let operation = "read a history";
    let history = prepared.collection(HISTORY);
    let found = history.find(doc! { UID: ObjectId::from_bytes(uid.bytes()) });
    let found = found.sort(doc! { ORDER: -1 }).limit(i64::try_from(most).unwrap_or(i64::MAX));
    let mut found = found.session(&mut *session).await.map_err(failed(operation))?;
    let mut found = found.stream(session);
    let mut entries = Vec::new();
    while let Some(document) = found.try_next().await.map_err(failed(operation))? {
        entries.extend(of_document(&read(&document)?).and_then(Kept::entry));
    }
    Ok(entries)
}

fn to_document(version: &Kept, order: Revision) -> Document {
    let uid = ObjectId::from_bytes(version.uid.bytes());
    doc! {
        ID: { UID: uid, REVISION: signed(order) },
        UID: uid,
        REVISION: signed(version.revision),
        "app_id": version.app_id,
        "time": version.time,
        "who": &version.author.who,
        "what": &version.author.what,
        "body": &version.body,
    }
}

fn of_document(document: &Document) -> Option<Kept> {
    let whole = |key: &str| document.get(key).map_or(0, number);
    let text = |key: &str| document.get_str(key).map(str::to_owned);
    Some(Kept {
        uid: Uid::from_bytes(document.get_object_id(UID).ok()?.bytes()),
        revision: revision_of(document),
        app_id: i64::try_from(whole("app_id")).unwrap_or_default(),
        time: i64::try_from(whole("time")).unwrap_or_default(),
        author: Author { who: text("who").ok()?, what: text("what").ok()? },
        body: text("body").ok()?,
    })
}
