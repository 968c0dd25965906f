//! How something is written; why in these steps stands at the head of the module above.
//!
//! The change itself, its last revision and the note of it are acknowledged by most members. The
//! first revision and the stamp need not be waited for: lost in an election, the one is given out
//! anew, and the other is there when the note is, or not missed.

use super::super::{Cause, Kind, Object, StoreError, Written};
use super::connection::{Connection, Prepared, failed, is_duplicate};
use super::documents::{
    ID, REVISION, Tally, collection, keep_unknown_keys, list_key, name_key, named, number, read,
    revision_of, signed, to_document, to_object, unchanged, write as write_raw,
};
use super::prepare::make_indexes;
use super::{PATIENCE, groups_of, within};
use crate::clock::unix_ms;
use crate::model::{Author, DeviceGroup, Revision, Uid};
use crate::store::Noun;
use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::{ReturnDocument, WriteConcern};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The last revision that was taken.
pub(super) const META: &str = "nebula_meta";
/// What each write touched, by its revision.
pub(super) const CHANGES: &str = "nebula_changes";
/// Says in a note that anything may have changed.
pub(super) const EVERYTHING: &str = "everything";
/// A note of more device groups than this says "everything", for a document has a limit.
const MAX_NOTED_GROUPS: usize = 20_000;
/// A write that nobody waits for any more is given up after this; then the connection is broken.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// The same of a write of one object. Its client was told long ago; and a server that is there and does
/// not answer would hold the one turn of this manager, without which nobody's half-done writes are put
/// in order.
const ONE_GIVEN_UP: Duration = Duration::from_secs(10);

/// Documents that somebody wrote who takes no revisions.
#[derive(Debug, Default)]
pub(super) struct Unordered {
    pub(super) documents: HashMap<Kind, Vec<ObjectId>>,
    /// Not to be told which; or something is gone.
    pub(super) everything: bool,
}

/// A write that has its first revision.
pub(super) struct Write {
    pub(super) prepared: Prepared,
    pub(super) session: ClientSession,
    pub(super) first: Revision,
}

/// What a write touched.
#[derive(Default)]
pub(super) struct Touched<'a> {
    /// None says everything.
    object: Option<(Kind, &'a str)>,
    device_groups: &'a [String],
    /// Documents that are no more.
    gone: Vec<ObjectId>,
    /// Documents that were given a revision, and nothing else.
    ordered: Vec<ObjectId>,
    /// By how much it changed what there is.
    tally: Tally,
    /// Objects of which it made new versions, under their uids, and by whom.
    made: Option<(&'a [Object], &'a Author)>,
}

/// What is known of a write of one object beside the object.
struct By<'a> {
    id: ObjectId,
    tally: Tally,
    author: &'a Author,
}

impl Connection {
    /// Does a write to its end, also when its caller has gone: a half-done one has to be found and
    /// ended by others.
    pub(super) async fn to_the_end<T: Send + 'static, W: AsyncWork<T>>(
        self: &Arc<Self>,
        operation: &'static str,
        work: W,
    ) -> Result<T, StoreError> {
        let here = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _turn = here.turn().await?;
            let done = tokio::time::timeout(W::GIVEN_UP, work.run(&here)).await;
            done.unwrap_or_else(|_| Err(StoreError::unavailable(operation, Cause::TooSlow)))
        });
        let stopped = |_| Err(StoreError::unavailable(operation, Cause::Stopped));
        within(operation, async { task.await.unwrap_or_else(stopped) }).await
    }

    pub(super) async fn insert(
        self: &Arc<Self>,
        object: Object,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.to_the_end("add an object", Insert(object, author.clone())).await
    }

    pub(super) async fn replace(
        self: &Arc<Self>,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError> {
        let replace = Replace { object, expected, author: author.clone() };
        self.to_the_end("replace an object", replace).await
    }

    pub(super) async fn delete(
        self: &Arc<Self>,
        kind: Kind,
        name: &str,
    ) -> Result<Written<()>, StoreError> {
        self.to_the_end("delete an object", Delete(kind, name.to_owned())).await
    }

    pub(super) async fn prune_all(
        self: &Arc<Self>,
    ) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        self.to_the_end("prune all", PruneAll).await
    }

    /// Gives revisions to what has none, or an old one, and notes that it changed.
    pub(super) async fn order(
        self: &Arc<Self>,
        unordered: Unordered,
    ) -> Result<Revision, StoreError> {
        self.to_the_end("order what others wrote", Order(unordered)).await
    }

    async fn begin(&self) -> Result<Write, StoreError> {
        self.begin_above(Revision(0)).await
    }

    /// A write whose revisions are above one of another store.
    pub(super) async fn begin_above(&self, above: Revision) -> Result<Write, StoreError> {
        let (prepared, mut session) = self.begin_reading().await?;
        // Lost in an election, it is given out once more; the second one is higher in any case.
        let concern = WriteConcern::nodes(1);
        let first = take_revision(&prepared, &mut session, above, concern).await?;
        Ok(Write { prepared, session, first })
    }
}

/// One of the writes below. A trait of our own, because a closure cannot say that its future may
/// be sent to another thread.
pub(super) trait AsyncWork<T>: Send + 'static {
    /// How long it is tried. What is half done by then is put in order like everybody's.
    const GIVEN_UP: Duration = GIVEN_UP;

    fn run(self, connection: &Connection) -> impl Future<Output = Result<T, StoreError>> + Send;
}

struct Insert(Object, Author);
struct Replace {
    object: Object,
    expected: Revision,
    author: Author,
}
struct Delete(Kind, String);
struct PruneAll;
struct Order(Unordered);

impl AsyncWork<Written> for Insert {
    const GIVEN_UP: Duration = ONE_GIVEN_UP;

    async fn run(self, connection: &Connection) -> Result<Written, StoreError> {
        let Self(object, author) = self;
        let (kind, name) = (object.kind(), object.name().to_owned());
        let operation = "add an object";
        let mut write = connection.begin().await?;
        // The index says so as well, but a database with twins cannot have that index.
        if write.find(kind, &name).await?.is_some() {
            return Err(StoreError::AlreadyExists);
        }
        let id = ObjectId::new();
        let document = to_document(&object, id, write.first)?;
        let objects = write.prepared.collection(collection(kind));
        match objects.insert_one(write_raw(&document)?).session(&mut write.session).await {
            Ok(_) => {}
            Err(error) if is_duplicate(&error) => return Err(StoreError::AlreadyExists),
            Err(error) => return Err(failed(operation)(error)),
        }
        let by = By { id, tally: Tally::of(kind, &document), author: &author };
        write.end_of_one(connection, object, by).await
    }
}

impl AsyncWork<Written> for Replace {
    const GIVEN_UP: Duration = ONE_GIVEN_UP;

    async fn run(self, connection: &Connection) -> Result<Written, StoreError> {
        let Self { object, expected, author } = self;
        let (kind, name) = (object.kind(), object.name().to_owned());
        let operation = "replace an object";
        let mut write = connection.begin().await?;
        let Some(old) = write.find(kind, &name).await? else {
            return Err(StoreError::NotFound);
        };
        if revision_of(&old) != expected {
            return Err(StoreError::Conflict);
        }
        let id = old.get_object_id(ID).map_err(|_| StoreError::Conflict)?;
        if kind == Kind::App {
            write.complete(&old).await?;
        }
        let mut new = to_document(&object, id, write.first)?;
        keep_unknown_keys(&mut new, &old, kind);
        let replaced = write
            .prepared
            .collection(collection(kind))
            .replace_one(unchanged(id, expected), write_raw(&new)?)
            .session(&mut write.session)
            .await
            .map_err(failed(operation))?;
        if replaced.matched_count == 0 {
            return Err(StoreError::Conflict);
        }
        let mut tally = Tally::of(kind, &new);
        tally.subtract(Tally::of(kind, &old));
        write.end_of_one(connection, object, By { id, tally, author: &author }).await
    }
}

impl AsyncWork<Written<()>> for Delete {
    const GIVEN_UP: Duration = ONE_GIVEN_UP;

    async fn run(self, connection: &Connection) -> Result<Written<()>, StoreError> {
        let Self(kind, name) = self;
        let operation = "delete an object";
        let mut write = connection.begin().await?;
        let Some(old) = write.find(kind, &name).await? else {
            return Err(StoreError::NotFound);
        };
        let id = old.get_object_id(ID).map_err(|_| StoreError::Conflict)?;
        let device_groups = write.device_groups(kind, &name).await?;
        let groups = write.prepared.collection(collection(Kind::DeviceGroup));
        // First the groups: what their devices are told must not fall when a part of it is gone,
        // and a group that rises for nothing harms nobody.
        if let Some(list) = list_key(kind) {
            let stamp = doc! { "$set": { REVISION: signed(write.first) } };
            groups
                .update_many(doc! { list: &name }, stamp)
                .session(&mut write.session)
                .await
                .map_err(failed(operation))?;
        }
        let objects = write.prepared.collection(collection(kind));
        let deleted = objects.delete_one(doc! { ID: id }).session(&mut write.session).await;
        if deleted.map_err(failed(operation))?.deleted_count == 0 {
            return Err(StoreError::NotFound);
        }
        if kind == Kind::App {
            write.forget(&[id]).await?;
        }
        let mut touched = Touched::object(kind, &name, &device_groups);
        touched.gone = vec![id];
        touched.tally.subtract(Tally::of(kind, &old));
        let raised = doc! { name_key(Kind::DeviceGroup): { "$in": &device_groups } };
        let revision = write.end(connection, &[(Kind::DeviceGroup, raised)], &touched).await?;
        Ok(Written { object: (), revision, device_groups })
    }
}

impl AsyncWork<Written<Vec<DeviceGroup>>> for PruneAll {
    async fn run(self, connection: &Connection) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        let operation = "prune all";
        let mut write = connection.begin().await?;
        let groups = write.prepared.collection(collection(Kind::DeviceGroup));
        let raise = doc! { "$inc": { "prune_id": 1 }, "$set": { REVISION: signed(write.first) } };
        // A command that meets one that is no number ends there, half done. No device is told of
        // such a group anyway.
        let numbers = doc! { "$or": [
            { "prune_id": { "$type": "number" } }, { "prune_id": { "$exists": false } },
        ] };
        let raised = groups.update_many(numbers, raise).session(&mut write.session).await;
        let raised = raised.map_err(failed(operation))?.modified_count;
        let tally = Tally::raised(i64::try_from(raised).unwrap_or_default());
        let prepared = write.prepared.clone();
        let all = [(Kind::DeviceGroup, doc! {})];
        let touched = Touched { tally, ..Touched::default() };
        let revision = write.end(connection, &all, &touched).await?;
        let mut session = connection.session().await?;
        let groups = prepared.collection(collection(Kind::DeviceGroup));
        let found = groups.find(doc! {}).sort(doc! { "device_group": 1 });
        let mut found = found.session(&mut session).await.map_err(failed(operation))?;
        let mut stream = found.stream(&mut session);
        let mut pruned = Vec::new();
        while let Some(document) = stream.try_next().await.map_err(failed(operation))? {
            match to_object(Kind::DeviceGroup, read(&document)?) {
                Ok(object) => pruned.extend(DeviceGroup::from_object(object)),
                Err(error) => tracing::error!(%error, "a device group was pruned and is left out"),
            }
        }
        let device_groups = pruned.iter().map(|group| group.device_group.to_string()).collect();
        Ok(Written { object: pruned, revision, device_groups })
    }
}

impl AsyncWork<Revision> for Order {
    async fn run(self, connection: &Connection) -> Result<Revision, StoreError> {
        let mut write = connection.begin().await?;
        if self.0.everything {
            make_indexes(&write.prepared.database).await?;
        }
        for kind in Kind::ALL {
            let filter = match self.0.documents.get(&kind) {
                _ if self.0.everything => doc! {},
                Some(ids) => doc! { ID: { "$in": ids } },
                None => continue,
            };
            if kind == Kind::App {
                write.complete_all(filter.clone(), self.0.everything).await?;
            }
            let stamp = doc! { "$set": { REVISION: signed(write.first) } };
            write
                .prepared
                .collection(collection(kind))
                .update_many(filter, stamp)
                .session(&mut write.session)
                .await
                .map_err(failed("order what others wrote"))?;
        }
        let ordered = self.0.documents.into_values().flatten().collect();
        let touched = Touched { ordered, ..Touched::default() };
        write.end(connection, &Kind::ALL.map(|kind| (kind, doc! {})), &touched).await
    }
}

impl Write {
    async fn find(&mut self, kind: Kind, name: &str) -> Result<Option<Document>, StoreError> {
        let objects = self.prepared.collection(collection(kind));
        let found = objects.find_one(named(kind, name)).session(&mut self.session).await;
        found.map_err(failed("read an object"))?.as_ref().map(read).transpose()
    }

    /// The device groups whose devices are told of this object.
    async fn device_groups(&mut self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError> {
        groups_of(&self.prepared, kind, name, &mut self.session).await
    }

    async fn end_of_one(
        mut self,
        connection: &Connection,
        object: Object,
        By { id, tally, author }: By<'_>,
    ) -> Result<Written, StoreError> {
        let (kind, name) = (object.kind(), object.name().to_owned());
        let device_groups = self.device_groups(kind, &name).await?;
        let uid = Uid::from_bytes(id.bytes());
        let made = [object.identified(Some((uid, self.first)))];
        let mut touched = Touched::object(kind, &name, &device_groups);
        touched.tally = tally;
        touched.made = Some((&made, author));
        let revision = self.end(connection, &[(kind, doc! { ID: id })], &touched).await?;
        let [object] = made;
        let object = object.identified(Some((uid, revision)));
        Ok(Written { object, revision, device_groups })
    }

    /// Takes the second revision, stamps what has the first, keeps the versions that it made, and notes it.
    pub(super) async fn end(
        mut self,
        connection: &Connection,
        stamped: &[(Kind, Document)],
        touched: &Touched<'_>,
    ) -> Result<Revision, StoreError> {
        let operation = "order a write";
        // On most members before the note says it: a database whose last revision is lower than that
        // of a note would look to every manager as if it were behind, until the next write.
        let concern = WriteConcern::majority();
        let last = take_revision(&self.prepared, &mut self.session, self.first, concern).await?;
        for (kind, filter) in stamped {
            let mut filter = filter.clone();
            filter.insert(REVISION, signed(self.first));
            self.prepared
                .collection(collection(*kind))
                .update_many(filter, doc! { "$set": { REVISION: signed(last) } })
                .write_concern(WriteConcern::nodes(1))
                .session(&mut self.session)
                .await
                .map_err(failed(operation))?;
        }
        // After the stamp, which must follow its revision at once: who reads in between takes the first
        // revision for the last. Before the note, so that what is told of is there.
        if let Some((objects, author)) = touched.made {
            self.keep(objects, last, author).await?;
        }
        let note = touched.note(self.first, last);
        let changes = self.prepared.collection(CHANGES);
        changes
            .insert_one(write_raw(&note)?)
            .session(&mut self.session)
            .await
            .map_err(failed(operation))?;
        connection.acknowledged(&self.session);
        Ok(last)
    }
}

impl<'a> Touched<'a> {
    /// Anything, with what is no more and what is new.
    pub(super) fn everything(
        gone: Vec<ObjectId>,
        tally: Tally,
        made: (&'a [Object], &'a Author),
    ) -> Self {
        Self { gone, tally, made: Some(made), ..Self::default() }
    }

    fn object(kind: Kind, name: &'a str, device_groups: &'a [String]) -> Self {
        Self { object: Some((kind, name)), device_groups, ..Self::default() }
    }

    fn note(&self, first: Revision, last: Revision) -> Document {
        let mut note = doc! { ID: signed(last), "first": signed(first), "at": DateTime::now() };
        self.tally.note(&mut note);
        if !self.gone.is_empty() {
            note.insert("gone", &self.gone);
        }
        if !self.ordered.is_empty() {
            note.insert("ordered", &self.ordered);
        }
        match self.object {
            Some((kind, name)) if self.device_groups.len() <= MAX_NOTED_GROUPS => {
                note.insert("kind", kind.as_str());
                note.insert("name", name);
                let groups = self.device_groups.iter().map(|name| Bson::from(name.as_str()));
                note.insert("device_groups", groups.collect::<Vec<Bson>>());
            }
            _ => {
                note.insert("kind", EVERYTHING);
            }
        }
        note
    }
}

/// Takes the next revision: one more than the last and than `above`, or the wall clock's
/// milliseconds when that is more. The clock lets a database that was restored overtake what it
/// gave out before.
async fn take_revision(
    prepared: &Prepared,
    session: &mut ClientSession,
    above: Revision,
    concern: WriteConcern,
) -> Result<Revision, StoreError> {
    let operation = "take a revision";
    let clock = unix_ms();
    let last = doc! { "$max": [{ "$ifNull": ["$value", 0_i64] }, signed(above)] };
    let next = doc! { "$max": [{ "$add": [last, 1_i64] }, clock] };
    let taken = prepared
        .collection(META)
        .find_one_and_update(doc! { ID: REVISION }, vec![doc! { "$set": { "value": next } }])
        .upsert(true)
        .return_document(ReturnDocument::After)
        .write_concern(concern)
        .session(session)
        .await
        .map_err(failed(operation))?;
    let taken = taken.as_ref().map(read).transpose()?;
    let value = taken.as_ref().and_then(|meta| meta.get("value")).map(number);
    value.map(Revision).ok_or_else(|| StoreError::unavailable(operation, Cause::Stopped))
}

/// No write is begun when it could not end.
const _: () = assert!(PATIENCE.as_secs() < ONE_GIVEN_UP.as_secs());
