//! A store that is used from afar, with what was last read of it kept on this machine's disk: a
//! manager that starts while its database is away serves its devices all the same.
//!
//! What it is: the same [`Store`], whose snapshots of device groups and users, and what lets devices
//! in, are written down as they are read, and read from there while the store behind is not
//! available.
//! What it is not: no write, list or other single object is ever answered from it, and nothing of it
//! counts while the store behind answers.
//!
//! Invariants: the file is the owner's alone, for hashes and env values are in it; what was kept
//! says by its revision how old it is, so whoever knows of a later write does not take it; a disk
//! that cannot be written costs the keeping and nothing else; what is older than [`KEPT`] is
//! forgotten, and so is a user, user group or device's credential as soon as it is told that somebody changed it: rather
//! nobody is let in by a copy than somebody who was shut out.

use super::transfer::{Exported, Import, Imported};
use super::{
    Cause, Changes, GroupSnapshot, Kind, KnownGroups, Manner, Noun, Object, SeenGroup, Store,
    StoreError, Told, UserSnapshot, Written,
};
use crate::clock::unix_seconds;
use crate::model::{App, AppHistory, Author, CronJob, DeviceGroup, Revision, Uid, User, UserGroup};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// The file under the data folder.
pub const KEPT_FILE: &str = "kept.db";
/// What is older than this is of no use: devices, users and their rights have changed since.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// After a failure the store is not asked again for this long, if the answer is kept: each try may
/// take seconds, and a fleet asks for thousands of groups.
const AWAY: Duration = Duration::from_secs(2);
/// What was read is gathered for this long, so that a burst is one write.
const GATHERED: Duration = Duration::from_millis(500);
/// What waits to be written, at most; what comes beyond is kept the next time it is read.
const MAX_WAITING: usize = 20_000;

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file system refused.
    #[error("cannot use the folder `{0}`")]
    Folder(std::path::PathBuf, #[source] std::io::Error),
    /// The file cannot be used.
    #[error("cannot use the file `{0}`; remove it if it is damaged, it holds copies only")]
    File(std::path::PathBuf, #[source] rusqlite::Error),
}

/// A store with a copy of what was read of it.
#[derive(Debug)]
pub struct KeptStore {
    inner: Arc<dyn Store>,
    kept: Arc<Kept>,
    /// When the store was last not available.
    failed: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Kept {
    file: Mutex<Connection>,
    waiting: Mutex<HashMap<(Kind, String), Option<Record>>>,
    work: Notify,
}

/// What one snapshot held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    store_revision: Revision,
    /// The group or user first, then what its devices run.
    objects: Vec<KeptObject>,
    /// The user groups of a user, which have records of their own: many users share them.
    #[serde(default)]
    groups: Vec<String>,
}

/// One object, as any store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptObject {
    kind: String,
    uid: Uid,
    revision: Revision,
    keys: Map<String, Value>,
}

impl KeptStore {
    /// Puts a copy under the data folder beside a store.
    pub fn open(inner: Arc<dyn Store>, data_dir: &Path) -> Result<Self, KeptError> {
        let path = data_dir.join(KEPT_FILE);
        let folder = |error| KeptError::Folder(data_dir.to_owned(), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(folder)?;
        // Made here, so that nobody else can ever read it.
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600).open(&path).map_err(folder)?;
        let file = open_file(&path).map_err(|error| KeptError::File(path, error))?;
        let kept = Arc::new(Kept {
            file: Mutex::new(file),
            waiting: Mutex::default(),
            work: Notify::new(),
        });
        let writer = Arc::clone(&kept);
        tokio::spawn(async move {
            loop {
                writer.work.notified().await;
                tokio::time::sleep(GATHERED).await;
                let writer = Arc::clone(&writer);
                // It ends by itself; a panic in it costs what it was about to write.
                let _ = tokio::task::spawn_blocking(move || writer.write()).await;
            }
        });
        Ok(Self { inner, kept, failed: Mutex::new(None) })
    }

    /// The answer of the store, or what is kept of it while it is not available.
    async fn or_kept<T>(
        &self,
        asked: impl Future<Output = Result<T, StoreError>>,
        kind: Kind,
        name: &str,
    ) -> Result<Answer<T>, StoreError> {
        if self.is_away()
            && let Some(kept) = self.read(kind, name).await
        {
            return Ok(Answer::Kept(kept));
        }
        match asked.await {
            Ok(found) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(Answer::Store(found))
            }
            Err(error @ StoreError::Unavailable { .. }) => {
                if self.has_failed().is_none() {
                    tracing::warn!(%error, "store is away; what is kept on disk is served");
                }
                self.read(kind, name).await.map(Answer::Kept).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn keep_user(&self, name: &str, snapshot: Option<&UserSnapshot>) {
        let record = snapshot.and_then(|snapshot| {
            let record = Record::new(snapshot.store_revision, [snapshot.user.clone().into()])?;
            let groups = snapshot.groups.iter().map(|seen| seen.name.clone()).collect();
            Some(Record { groups, ..record })
        });
        self.kept.take(Kind::User, name, record);
        for seen in snapshot.iter().flat_map(|snapshot| &snapshot.groups) {
            // What is known already was kept when it was read.
            let Some(group) = &seen.group else { continue };
            let record = Record::new(seen.revision, [Object::from((**group).clone())]);
            self.kept.take(Kind::UserGroup, &seen.name, record);
        }
    }

    /// Notes a failure, and says when the last one was.
    fn has_failed(&self) -> Option<Instant> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now())
    }

    /// Whether it has just failed, so that it is not worth the seconds to ask again.
    fn is_away(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < AWAY)
    }

    async fn read(&self, kind: Kind, name: &str) -> Option<Record> {
        let (kept, name) = (Arc::clone(&self.kept), name.to_owned());
        tokio::task::spawn_blocking(move || kept.read(kind, &name)).await.ok().flatten()
    }
}

/// Who answered.
enum Answer<T> {
    Store(T),
    Kept(Record),
}

fn open_file(path: &Path) -> rusqlite::Result<Connection> {
    let file = Connection::open(path)?;
    file.busy_timeout(Duration::from_secs(2))?;
    file.pragma_update(None, "journal_mode", "WAL")?;
    // A copy that is lost with the power is read again.
    file.pragma_update(None, "synchronous", "OFF")?;
    file.execute_batch(
        "CREATE TABLE IF NOT EXISTS kept (
            kind TEXT NOT NULL, name TEXT NOT NULL, token_id TEXT, at INTEGER NOT NULL,
            record TEXT NOT NULL, PRIMARY KEY (kind, name)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS kept_tokens ON kept (token_id);",
    )?;
    file.execute("DELETE FROM kept WHERE at < ?", [oldest()])?;
    Ok(file)
}

fn oldest() -> i64 {
    unix_seconds().saturating_sub_unsigned(KEPT.as_secs())
}

impl Kept {
    fn take(&self, kind: Kind, name: &str, record: Option<Record>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, name.to_owned());
        if waiting.len() < MAX_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, record);
            self.work.notify_one();
        }
    }

    /// A write was told: an older copy of a user or user group gives no right any more.
    fn told(&self, told: &Told) {
        let Told::Write { kind, name, revision, .. } = told else { return };
        if !matches!(kind, Kind::User | Kind::UserGroup | Kind::DeviceCredential) {
            return;
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let record = waiting.get(&(*kind, name.clone())).and_then(Option::as_ref);
        let is_newer = record.is_some_and(|record| record.store_revision >= *revision);
        drop(waiting);
        if !is_newer {
            self.take(*kind, name, None);
        }
    }

    fn write(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || {
            let transaction = file.transaction()?;
            for ((kind, name), record) in waiting {
                let Some(record) = record else {
                    let gone = params![kind.as_str(), name];
                    transaction.execute("DELETE FROM kept WHERE kind = ? AND name = ?", gone)?;
                    continue;
                };
                let Ok(text) = serde_json::to_string(&record) else { continue };
                let first = record.objects.first();
                let token_id = first.and_then(|first| first.keys.get("token_id")?.as_str());
                transaction.execute(
                    "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)",
                    params![kind.as_str(), name, token_id, unix_seconds(), text],
                )?;
            }
            transaction.commit()
        };
        let written: rusqlite::Result<()> = write();
        if let Err(error) = written {
            tracing::warn!(%error, "what was read of the store could not be kept on disk");
        }
    }

    fn read(&self, kind: Kind, name: &str) -> Option<Record> {
        let key = (kind, name.to_owned());
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = waiting.get(&key) {
            return record.clone();
        }
        drop(waiting);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let found = file.query_row(
            "SELECT record FROM kept WHERE kind = ? AND name = ? AND at >= ?",
            params![kind.as_str(), name, oldest()],
            |row| row.get::<_, String>(0),
        );
        serde_json::from_str(&found.optional().ok()??).ok()
    }

    fn token_owners(&self, token_id: Option<&str>) -> rusqlite::Result<Vec<String>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut query = file.prepare(
            "SELECT name FROM kept WHERE kind = 'user' AND token_id IS ? AND at >= ? ORDER BY name",
        )?;
        query.query_map(params![token_id, oldest()], |row| row.get(0))?.collect()
    }
}

impl Record {
    fn new<'a>(
        store_revision: Revision,
        objects: impl IntoIterator<Item = Object> + 'a,
    ) -> Option<Self> {
        let objects =
            objects.into_iter().map(|object| KeptObject::new(&object)).collect::<Option<_>>()?;
        Some(Self { store_revision, objects, groups: Vec::new() })
    }

    /// Its objects, as far as this version can read them.
    fn objects(self) -> impl Iterator<Item = Object> {
        self.objects.into_iter().filter_map(KeptObject::object)
    }
}

impl KeptObject {
    fn new(object: &Object) -> Option<Self> {
        let identity = object.identity();
        Some(Self {
            kind: object.kind().as_str().to_owned(),
            uid: identity.uid?,
            revision: identity.revision?,
            keys: object.to_map().ok()?,
        })
    }

    fn object(self) -> Option<Object> {
        let kind = Kind::parse(&self.kind)?;
        Object::from_map(kind, self.keys, (self.uid, self.revision)).ok()
    }
}

fn group_record(snapshot: &GroupSnapshot) -> Option<Record> {
    let group = Object::from(snapshot.group.clone());
    let apps = snapshot.apps.iter().cloned().map(Object::from);
    let jobs = snapshot.cron_jobs.iter().cloned().map(Object::from);
    Record::new(snapshot.store_revision, [group].into_iter().chain(apps).chain(jobs))
}

fn group_of(record: Record) -> Option<GroupSnapshot> {
    let store_revision = record.store_revision;
    let count = record.objects.len();
    let mut objects = record.objects();
    let group = DeviceGroup::from_object(objects.next()?)?;
    let (mut apps, mut cron_jobs) = (Vec::new(), Vec::new());
    for object in objects {
        match object.kind() {
            Kind::App => apps.extend(App::from_object(object)),
            _ => cron_jobs.extend(CronJob::from_object(object)),
        }
    }
    // One that cannot be read must not look as if it had been taken away.
    (1 + apps.len() + cron_jobs.len() == count).then_some(GroupSnapshot {
        group,
        apps,
        cron_jobs,
        store_revision,
    })
}

/// Changes of the store behind, of which copies hear first.
struct Forgetting {
    inner: Box<dyn Changes>,
    kept: Arc<Kept>,
}

#[async_trait]
impl Changes for Forgetting {
    fn manner(&self) -> Manner {
        self.inner.manner()
    }

    async fn next(&mut self) -> Result<Told, StoreError> {
        let told = self.inner.next().await?;
        self.kept.told(&told);
        Ok(told)
    }
}

#[async_trait]
impl Store for KeptStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        self.inner.names(kind).await
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, StoreError> {
        // What lets a device in is asked for as it comes back, like a user.
        if kind != Kind::DeviceCredential {
            return self.inner.get(kind, name).await;
        }
        // Anybody may ask for any device: with the store away, names that are not kept must not take
        // the time of those that are.
        if self.is_away() {
            let away = || StoreError::unavailable("read an object", Cause::TooSlow);
            let kept = self.read(kind, name).await.ok_or_else(away)?;
            return Ok(kept.objects().next());
        }
        match self.or_kept(self.inner.get(kind, name), kind, name).await? {
            Answer::Store(found) => {
                // Not that there is none, which would be a row for each name that anybody makes up.
                if let Some(found) = &found {
                    let revision = found.identity().revision.unwrap_or_default();
                    self.kept.take(kind, name, Record::new(revision, [found.clone()]));
                }
                Ok(found)
            }
            Answer::Kept(record) => Ok(record.objects().next()),
        }
    }

    async fn insert(&self, object: Object, author: &Author) -> Result<Written, StoreError> {
        self.inner.insert(object, author).await
    }

    async fn replace(
        &self,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.inner.replace(object, expected, author).await
    }

    async fn history(&self, app: &str) -> Result<Option<AppHistory>, StoreError> {
        self.inner.history(app).await
    }

    async fn delete(&self, kind: Kind, name: &str) -> Result<Written<()>, StoreError> {
        self.inner.delete(kind, name).await
    }

    async fn prune_all(&self) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        self.inner.prune_all().await
    }

    async fn group_snapshot(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        let kind = Kind::DeviceGroup;
        match self.or_kept(self.inner.group_snapshot(name), kind, name).await? {
            Answer::Store(found) => {
                self.kept.take(kind, name, found.as_ref().and_then(group_record));
                Ok(found)
            }
            Answer::Kept(record) => Ok(group_of(record)),
        }
    }

    async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        let asked = self.inner.user_snapshot(name, known);
        let record = match self.or_kept(asked, Kind::User, name).await? {
            Answer::Store(found) => {
                self.keep_user(name, found.as_ref());
                return Ok(found);
            }
            Answer::Kept(record) => record,
        };
        let (store_revision, names) = (record.store_revision, record.groups.clone());
        let Some(user) = record.objects().next().and_then(User::from_object) else {
            return Ok(None);
        };
        let mut groups = Vec::with_capacity(names.len());
        for name in names {
            // One that is not kept grants nothing.
            let kept = self.read(Kind::UserGroup, &name).await;
            let object = kept.and_then(|record| record.objects().next());
            if let Some(group) = object.and_then(UserGroup::from_object) {
                let revision = group.revision();
                groups.push(SeenGroup { name, revision, group: Some(Box::new(group)) });
            }
        }
        Ok(Some(UserSnapshot { user, groups, store_revision }))
    }

    async fn groups_of(&self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError> {
        self.inner.groups_of(kind, name).await
    }

    async fn token_owners(&self, token_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        if self.is_away()
            && let Ok(owners) = self.kept.token_owners(token_id)
            && !owners.is_empty()
        {
            return Ok(owners);
        }
        match self.inner.token_owners(token_id).await {
            Err(error @ StoreError::Unavailable { .. }) => {
                self.has_failed();
                // That nobody is kept does not say that there is nobody.
                let kept = self.kept.token_owners(token_id).unwrap_or_default();
                if kept.is_empty() { Err(error) } else { Ok(kept) }
            }
            answer => answer,
        }
    }

    async fn changes(
        &self,
        since: Option<Revision>,
        poll: Duration,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        let changes = self.inner.changes(since, poll).await?;
        Ok(changes.map(|inner| -> Box<dyn Changes> {
            Box::new(Forgetting { inner, kept: Arc::clone(&self.kept) })
        }))
    }

    async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        self.inner.backup(path).await
    }

    async fn export(&self, to: Sender<Exported>) -> Result<Revision, StoreError> {
        self.inner.export(to).await
    }

    async fn import(&self, import: Import, author: &Author) -> Result<Imported, StoreError> {
        self.inner.import(import, author).await
    }
}
