//! The statements: what each operation of the store reads and writes, inside a transaction that
//! the caller holds.

use super::super::{
    GroupSnapshot, Kind, KnownGroups, MAX_SNAPSHOT_BYTES, Noun, Object, SeenGroup, StoreError,
    UserSnapshot, Written,
};
use super::history;
use crate::clock::unix_ms;
use crate::model::{Author, DeviceGroup, Revision, Uid, User, UserGroup};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::path::Path;

/// The store's last revision.
pub(super) fn last_revision(db: &Connection) -> Result<Revision, StoreError> {
    let read = || {
        let mut query = db.prepare_cached("SELECT revision FROM meta")?;
        query.query_row([], |row| row.get(0))
    };
    let revision: i64 = read().map_err(failed("read its revision"))?;
    Ok(Revision(revision.unsigned_abs()))
}

/// All names of a kind, sorted.
pub(super) fn names(db: &Connection, kind: Kind) -> Result<Vec<String>, StoreError> {
    strings(db, "SELECT name FROM documents WHERE kind = ? ORDER BY name", [kind.as_str()])
        .map_err(failed("list names"))
}

/// One object.
pub(super) fn get(db: &Connection, kind: Kind, name: &str) -> Result<Option<Object>, StoreError> {
    let read = || {
        let mut query = db.prepare_cached(
            "SELECT name, uid, revision, body FROM documents WHERE kind = ? AND name = ?",
        )?;
        query.query_row(params![kind.as_str(), name], Document::from_row).optional()
    };
    let document = read().map_err(failed("read an object"))?;
    document.map(|document| document.decode(kind)).transpose()
}

/// Adds an object.
pub(super) fn insert(
    db: &Connection,
    object: Object,
    author: &Author,
) -> Result<Written, StoreError> {
    let uid = Uid::from_bytes(bson::oid::ObjectId::new().bytes());
    let revision = next_revision(db)?;
    let body = object.to_body().map_err(|e| StoreError::unavailable("encode an object", e))?;
    let write = || {
        let mut insert = db.prepare_cached(
            "INSERT INTO documents (kind, name, uid, revision, body, token_id)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?;
        let (kind, uid) = (object.kind().as_str(), uid.bytes());
        let token_id = object.token_id();
        insert.execute(params![kind, object.name(), uid, signed(revision), body, token_id])
    };
    if write().map_err(failed("add an object"))? == 0 {
        return Err(StoreError::AlreadyExists);
    }
    set_members(db, &object).map_err(failed("keep a group's members"))?;
    let written = written(db, object, uid, revision)?;
    history::add(db, &written.object, author)?;
    Ok(written)
}

/// Replaces an object whose revision is still the expected one.
pub(super) fn replace(
    db: &Connection,
    object: Object,
    expected: Revision,
    author: &Author,
) -> Result<Written, StoreError> {
    let Some((uid, found)) = identity(db, object.kind(), object.name())? else {
        return Err(StoreError::NotFound);
    };
    if found != expected {
        return Err(StoreError::Conflict);
    }
    history::complete(db, object.kind(), object.name())?;
    let revision = next_revision(db)?;
    let body = object.to_body().map_err(|e| StoreError::unavailable("encode an object", e))?;
    let write = || {
        let mut update = db.prepare_cached(
            "UPDATE documents SET revision = ?, body = ?, token_id = ?
             WHERE kind = ? AND name = ?",
        )?;
        let (kind, token_id) = (object.kind().as_str(), object.token_id());
        update.execute(params![signed(revision), body, token_id, kind, object.name()])
    };
    write().map_err(failed("replace an object"))?;
    set_members(db, &object).map_err(failed("keep a group's members"))?;
    let written = written(db, object, uid, revision)?;
    history::add(db, &written.object, author)?;
    Ok(written)
}

/// Removes an object, whether or not this version can read it.
pub(super) fn delete(db: &Connection, kind: Kind, name: &str) -> Result<Written<()>, StoreError> {
    let Some((uid, _)) = identity(db, kind, name)? else {
        return Err(StoreError::NotFound);
    };
    history::forget(db, uid)?;
    let revision = next_revision(db)?;
    let device_groups = groups_of(db, kind, name)?;
    let write = || {
        db.prepare_cached("DELETE FROM documents WHERE kind = ? AND name = ?")?
            .execute(params![kind.as_str(), name])?;
        // The devices of its groups are told of one thing less: their groups' revisions must rise,
        // or the highest revision of what they are told would fall with it.
        db.prepare_cached(
            "UPDATE documents SET revision = ?1 WHERE kind = 'device_group' AND name IN
             (SELECT owner FROM memberships
              WHERE kind = ?2 AND member = ?3 AND owner_kind = 'device_group')",
        )?
        .execute(params![signed(revision), kind.as_str(), name])?;
        db.prepare_cached("DELETE FROM memberships WHERE owner_kind = ? AND owner = ?")?
            .execute(params![kind.as_str(), name])
    };
    write().map_err(failed("delete an object"))?;
    Ok(Written { object: (), revision, device_groups })
}

/// Raises the prune id of every device group that this version can read.
pub(super) fn prune_all(db: &Connection) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
    let (mut pruned, mut device_groups) = (Vec::new(), Vec::new());
    let mut last = last_revision(db)?;
    for name in names(db, Kind::DeviceGroup)? {
        let group = match get(db, Kind::DeviceGroup, &name) {
            Ok(group) => group.and_then(DeviceGroup::from_object),
            Err(error @ StoreError::Unreadable { .. }) => {
                tracing::error!(%error, "a device group is not pruned");
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(mut group) = group else { continue };
        let expected = group.revision();
        group.prune_id = group.prune_id.saturating_add(1);
        // Nobody is asked for, because groups have no kept versions.
        let written = replace(db, group.into(), expected, &Author::elsewhere())?;
        last = written.revision;
        pruned.extend(DeviceGroup::from_object(written.object));
        device_groups.push(name);
    }
    Ok(Written { object: pruned, revision: last, device_groups })
}

/// A device group, its apps and its cron jobs.
pub(super) fn group_snapshot(
    db: &Connection,
    name: &str,
) -> Result<Option<GroupSnapshot>, StoreError> {
    let Some(group) = get(db, Kind::DeviceGroup, name)?.and_then(DeviceGroup::from_object) else {
        return Ok(None);
    };
    if listed_bytes(db, name)? > MAX_SNAPSHOT_BYTES {
        return Err(StoreError::TooLarge { limit: MAX_SNAPSHOT_BYTES });
    }
    let apps = listed(db, &group.apps)?;
    let cron_jobs = listed(db, &group.cron_jobs)?;
    Ok(Some(GroupSnapshot { group, apps, cron_jobs, store_revision: last_revision(db)? }))
}

/// The size of all that a device group lists, before any of it is read.
fn listed_bytes(db: &Connection, device_group: &str) -> Result<u64, StoreError> {
    let read = || {
        let mut query = db.prepare_cached(
            "SELECT coalesce(sum(length(CAST(d.body AS BLOB))), 0) FROM memberships AS m
             JOIN documents AS d ON d.kind = m.kind AND d.name = m.member
             WHERE m.owner_kind = 'device_group' AND m.owner = ?",
        )?;
        query.query_row([device_group], |row| row.get::<_, i64>(0))
    };
    read().map(i64::unsigned_abs).map_err(failed("measure a group's members"))
}

/// The objects of some names that exist, in the order of the names.
fn listed<T: Noun>(db: &Connection, names: &[String]) -> Result<Vec<T>, StoreError> {
    let names = serde_json::to_string(names)
        .map_err(|error| StoreError::unavailable("list a group's members", error))?;
    let read = || {
        let mut query = db.prepare_cached(
            "SELECT d.name, d.uid, d.revision, d.body FROM json_each(?) AS member
             CROSS JOIN documents AS d ON d.kind = ? AND d.name = member.value
             ORDER BY member.key",
        )?;
        let rows = query.query_map(params![names, T::KIND.as_str()], Document::from_row)?;
        rows.collect::<Result<Vec<Document>, rusqlite::Error>>()
    };
    let documents = read().map_err(failed("read a group's members"))?;
    let decode = |document: Document| document.decode(T::KIND).map(T::from_object).transpose();
    documents.into_iter().filter_map(decode).collect()
}

/// A user and their groups.
pub(super) fn user_snapshot(
    db: &Connection,
    name: &str,
    known: &KnownGroups,
) -> Result<Option<UserSnapshot>, StoreError> {
    let Some(user) = get(db, Kind::User, name)?.and_then(User::from_object) else {
        return Ok(None);
    };
    let read = || {
        let mut query = db.prepare_cached(
            "SELECT d.name, d.revision FROM memberships AS m
             JOIN documents AS d ON d.kind = m.owner_kind AND d.name = m.owner
             WHERE m.kind = 'user' AND m.member = ? AND m.owner_kind = 'user_group'",
        )?;
        let rows = query.query_map([name], |row| {
            Ok((row.get::<_, String>(0)?, Revision(row.get::<_, i64>(1)?.unsigned_abs())))
        })?;
        rows.collect::<Result<Vec<_>, rusqlite::Error>>()
    };
    let mut groups = Vec::new();
    for (name, revision) in read().map_err(failed("find a user's groups"))? {
        let group = if known.get(&name) == Some(&revision) {
            None
        } else {
            match get(db, Kind::UserGroup, &name) {
                Ok(group) => group.and_then(UserGroup::from_object).map(Box::new),
                Err(error @ StoreError::Unreadable { .. }) => {
                    tracing::error!(%error, "a user group grants nothing");
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        groups.push(SeenGroup { name, revision, group });
    }
    Ok(Some(UserSnapshot { user, groups, store_revision: last_revision(db)? }))
}

/// Whose token has this id.
pub(super) fn token_owners(
    db: &Connection,
    token_id: Option<&str>,
) -> Result<Vec<String>, StoreError> {
    let query = "SELECT name FROM documents WHERE kind = 'user' AND token_id IS ? ORDER BY name";
    strings(db, query, [token_id]).map_err(failed("find a token's user"))
}

/// Writes a copy of all to a file. It is one read transaction, so writes go on beside it; the copy
/// is compact and has no log.
pub(super) fn backup(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let path = path.to_str().ok_or_else(|| {
        let reason = "the path is not UTF-8";
        let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, reason);
        StoreError::unavailable("copy itself", error)
    })?;
    db.execute("VACUUM INTO ?", [path]).map(|_| ()).map_err(failed("copy itself"))
}

pub(super) fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::unavailable(operation, error)
}

/// Takes the next revision: one more than the last, or the wall clock's milliseconds when that is
/// more. The clock lets a store that was restored from a backup overtake what it gave out before.
pub(super) fn next_revision(db: &Connection) -> Result<Revision, StoreError> {
    let clock = unix_ms();
    let take = || {
        let mut update = db
            .prepare_cached("UPDATE meta SET revision = max(revision + 1, ?) RETURNING revision")?;
        update.query_row([clock], |row| row.get(0))
    };
    let revision: i64 = take().map_err(failed("take a revision"))?;
    Ok(Revision(revision.unsigned_abs()))
}

pub(super) fn identity(
    db: &Connection,
    kind: Kind,
    name: &str,
) -> Result<Option<(Uid, Revision)>, StoreError> {
    let read = || {
        let mut query =
            db.prepare_cached("SELECT uid, revision FROM documents WHERE kind = ? AND name = ?")?;
        query
            .query_row(params![kind.as_str(), name], |row| {
                Ok((Uid::from_bytes(row.get(0)?), Revision(row.get::<_, i64>(1)?.unsigned_abs())))
            })
            .optional()
    };
    read().map_err(failed("read an object"))
}

/// Keeps the table of memberships equal to a group's lists.
pub(super) fn set_members(db: &Connection, object: &Object) -> Result<(), rusqlite::Error> {
    if !matches!(object, Object::DeviceGroup(_) | Object::UserGroup(_)) {
        return Ok(());
    }
    let (kind, name) = (object.kind().as_str(), object.name());
    db.prepare_cached("DELETE FROM memberships WHERE owner_kind = ? AND owner = ?")?
        .execute([kind, name])?;
    let mut insert = db.prepare_cached("INSERT OR IGNORE INTO memberships VALUES (?, ?, ?, ?)")?;
    for (member_kind, member) in object.members() {
        insert.execute([member_kind.as_str(), member, kind, name])?;
    }
    Ok(())
}

/// The device groups whose devices are told of this object.
pub(super) fn groups_of(
    db: &Connection,
    kind: Kind,
    name: &str,
) -> Result<Vec<String>, StoreError> {
    match kind {
        Kind::App | Kind::CronJob => {
            let query = "SELECT owner FROM memberships
                         WHERE kind = ? AND member = ? AND owner_kind = 'device_group'";
            strings(db, query, [kind.as_str(), name]).map_err(failed("find a member's groups"))
        }
        Kind::DeviceGroup => Ok(vec![name.to_owned()]),
        Kind::User | Kind::UserGroup | Kind::DeviceCredential | Kind::Enrollment => Ok(Vec::new()),
    }
}

fn written(
    db: &Connection,
    object: Object,
    uid: Uid,
    revision: Revision,
) -> Result<Written, StoreError> {
    let device_groups = groups_of(db, object.kind(), object.name())?;
    let object = object.identified(Some((uid, revision)));
    Ok(Written { object, revision, device_groups })
}

pub(super) fn strings(
    db: &Connection,
    query: &str,
    arguments: impl Params,
) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = db.prepare_cached(query)?;
    let rows = query.query_map(arguments, |row| row.get(0))?;
    rows.collect()
}

/// `SQLite` counts with a sign; a revision stays far below that limit.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// A row as it is kept.
struct Document {
    name: String,
    uid: [u8; 12],
    revision: i64,
    body: String,
}

impl Document {
    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self { name: row.get(0)?, uid: row.get(1)?, revision: row.get(2)?, body: row.get(3)? })
    }

    fn decode(self, kind: Kind) -> Result<Object, StoreError> {
        let identity = (Uid::from_bytes(self.uid), Revision(self.revision.unsigned_abs()));
        Object::from_body(kind, &self.name, &self.body, identity)
    }
}
