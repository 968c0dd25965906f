//! Reads of several documents as they are at one moment.
//!
//! A replica set of version 5 or later shows a session one moment. Elsewhere the revision is read
//! before and after: when it is the same, no write ended in between, and what is seen of one that
//! had begun is one document, which is whole.

use super::super::{
    Cause, GroupSnapshot, Kind, KnownGroups, MAX_SNAPSHOT_BYTES, Noun, SeenGroup, StoreError,
    UserSnapshot,
};
use super::connection::{Connection, Prepared, failed};
use super::documents::{
    ID, REVISION, collection, name_key, named, number, read, revision_of, to_object,
};
use super::write::META;
use crate::model::{DeviceGroup, Revision, User, UserGroup};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, Collection};
use std::collections::{HashMap, HashSet};

/// How often a read is repeated because something was written meanwhile, where a session cannot
/// show one moment. Each round takes a few milliseconds.
const MAX_ROUNDS: usize = 100;

/// One reading of several documents.
pub(super) struct Reading {
    prepared: Prepared,
    pub(super) session: ClientSession,
    rounds: usize,
    /// Kinds of which everything was dropped.
    missing: HashSet<Kind>,
}

impl Connection {
    pub(super) async fn group_snapshot(
        &self,
        name: &str,
    ) -> Result<Option<GroupSnapshot>, StoreError> {
        if self.is_restoring() {
            return Err(StoreError::unavailable("show what is being restored", Cause::Restoring));
        }
        let mut reading = self.reading().await?;
        loop {
            let revision = reading.revision().await?;
            let seen = reading.group(name, revision).await;
            if reading.was_one_moment(revision).await? {
                return seen;
            }
        }
    }

    pub(super) async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        let mut reading = self.reading().await?;
        loop {
            let revision = reading.revision().await?;
            let seen = reading.user(name, known, revision).await;
            if reading.was_one_moment(revision).await? {
                return seen;
            }
        }
    }

    async fn reading(&self) -> Result<Reading, StoreError> {
        let prepared = self.prepared().await?;
        self.reading_of(prepared).await
    }

    pub(super) async fn reading_of(&self, prepared: Prepared) -> Result<Reading, StoreError> {
        let session = if prepared.deployment.has_snapshots {
            self.snapshot_session().await?
        } else {
            self.session().await?
        };
        Ok(Reading { prepared, session, rounds: 0, missing: self.missing() })
    }
}

impl Reading {
    /// Whether all that was read since the revision was read existed together.
    async fn was_one_moment(&mut self, revision: Revision) -> Result<bool, StoreError> {
        if self.prepared.deployment.has_snapshots || self.revision().await? == revision {
            return Ok(true);
        }
        self.rounds += 1;
        if self.rounds < MAX_ROUNDS {
            return Ok(false);
        }
        Err(StoreError::unavailable("read between writes", Cause::TooSlow))
    }

    pub(super) async fn revision(&mut self) -> Result<Revision, StoreError> {
        let meta = self.find_one(META, doc! { ID: REVISION }).await?;
        Ok(Revision(meta.as_ref().and_then(|meta| meta.get("value")).map_or(0, number)))
    }

    async fn find_one(
        &mut self,
        collection: &str,
        filter: Document,
    ) -> Result<Option<Document>, StoreError> {
        let documents = self.documents(collection);
        let found = documents.find_one(filter).session(&mut self.session).await;
        found.map_err(failed("read an object"))?.as_ref().map(read).transpose()
    }

    pub(super) fn documents(&self, name: &str) -> Collection<RawDocumentBuf> {
        if self.prepared.deployment.has_snapshots {
            self.prepared.collection_at_one_moment(name)
        } else {
            self.prepared.collection(name)
        }
    }

    async fn group(
        &mut self,
        name: &str,
        store_revision: Revision,
    ) -> Result<Option<GroupSnapshot>, StoreError> {
        let kind = Kind::DeviceGroup;
        let Some(document) = self.find_one(collection(kind), named(kind, name)).await? else {
            return Ok(None);
        };
        let object = to_object(kind, document)?;
        let Some(group) = DeviceGroup::from_object(object) else { return Ok(None) };
        let mut room = MAX_SNAPSHOT_BYTES;
        let apps = self.listed(&group.apps, &mut room).await?;
        let cron_jobs = self.listed(&group.cron_jobs, &mut room).await?;
        Ok(Some(GroupSnapshot { group, apps, cron_jobs, store_revision }))
    }

    /// The objects of some names that exist, in the order of the names.
    async fn listed<T: Noun>(
        &mut self,
        names: &[String],
        room: &mut u64,
    ) -> Result<Vec<T>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let operation = "read a group's members";
        let filter = doc! { name_key(T::KIND): { "$in": names } };
        let documents = self.documents(collection(T::KIND));
        let found = documents.find(filter).session(&mut self.session).await;
        let mut found = found.map_err(failed(operation))?;
        let mut objects: HashMap<String, T> = HashMap::with_capacity(names.len());
        let mut stream = found.stream(&mut self.session);
        while let Some(raw) = stream.try_next().await.map_err(failed(operation))? {
            let bytes = u64::try_from(raw.as_bytes().len()).unwrap_or(u64::MAX);
            let left = room.checked_sub(bytes);
            *room = left.ok_or(StoreError::TooLarge { limit: MAX_SNAPSHOT_BYTES })?;
            let malformed =
                |error| StoreError::unavailable(operation, std::io::Error::other(error));
            let object = to_object(T::KIND, Document::try_from(raw).map_err(malformed)?)?;
            let name = object.name().to_owned();
            objects.extend(T::from_object(object).map(|object| (name, object)));
        }
        // All of it was deleted, one by one: its devices stop it. All was dropped: nobody said so.
        if objects.is_empty() && self.missing.contains(&T::KIND) {
            return Err(StoreError::unavailable("show what was dropped", Cause::Restoring));
        }
        Ok(names.iter().filter_map(|name| objects.remove(name)).collect())
    }

    async fn user(
        &mut self,
        name: &str,
        known: &KnownGroups,
        store_revision: Revision,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        let Some(document) = self.find_one(collection(Kind::User), named(Kind::User, name)).await?
        else {
            return Ok(None);
        };
        let Some(user) = User::from_object(to_object(Kind::User, document)?) else {
            return Ok(None);
        };
        let operation = "find a user's groups";
        let (kind, key) = (Kind::UserGroup, name_key(Kind::UserGroup));
        let objects = self.documents(collection(kind));
        let found = objects
            .find(doc! { "group_members": name })
            .projection(doc! { ID: 0, key: 1, REVISION: 1 })
            .session(&mut self.session);
        let mut found = found.await.map_err(failed(operation))?;
        let mut listed = Vec::new();
        let mut stream = found.stream(&mut self.session);
        while let Some(raw) = stream.try_next().await.map_err(failed(operation))? {
            let document = read(&raw)?;
            let revision = revision_of(&document);
            listed.extend(document.get_str(key).ok().map(|name| (name.to_owned(), revision)));
        }
        drop(stream);
        let mut groups = Vec::with_capacity(listed.len());
        for (name, revision) in listed {
            if known.get(&name) == Some(&revision) {
                groups.push(SeenGroup { name, revision, group: None });
                continue;
            }
            let found = self.find_one(collection(kind), named(kind, &name)).await?;
            match found.map(|document| to_object(kind, document)).transpose() {
                Ok(object) => {
                    let group = object.and_then(UserGroup::from_object).map(Box::new);
                    groups.push(SeenGroup { name, revision, group });
                }
                Err(error) => tracing::error!(%error, "a user group grants nothing"),
            }
        }
        Ok(Some(UserSnapshot { user, groups, store_revision }))
    }
}
