//! The statements that move everything out and in, inside a transaction that the caller holds.

use super::super::transfer::{
    Exported, Import, Imported, Step, There, Unreadable, judge, unwritten,
};
use super::super::{Kind, Object, StoreError};
use super::documents::{
    failed, get, identity, last_revision, next_revision, set_members, signed, strings,
};
use super::history;
use crate::model::{Author, Revision, Uid};
use crate::store::Cause;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tokio::sync::mpsc::Sender;

/// Sends everything. It waits for whoever takes it, and so must not run on the threads that serve.
pub(super) fn export(db: &Connection, to: &Sender<Exported>) -> Result<Revision, StoreError> {
    for kind in Kind::EXPORTED {
        // The names alone are put in order: the objects need not fit into memory.
        let query = "SELECT name FROM documents WHERE kind = ? ORDER BY uid, name";
        for name in strings(db, query, [kind.as_str()]).map_err(failed("list names"))? {
            let exported = match get(db, kind, &name) {
                Ok(Some(object)) => Exported::Object(Box::new(object)),
                Ok(None) => continue,
                Err(StoreError::Unreadable { source, .. }) => {
                    Exported::Unreadable(Unreadable::new(kind, &name, &source))
                }
                Err(error) => return Err(error),
            };
            let gone = |_| StoreError::unavailable("export itself", Cause::Stopped);
            to.blocking_send(exported).map_err(gone)?;
        }
    }
    last_revision(db)
}

/// Takes a batch over.
pub(super) fn import(
    db: &Connection,
    import: &Import,
    author: &Author,
) -> Result<Imported, StoreError> {
    let mut holders: HashMap<Kind, HashMap<[u8; 12], String>> = HashMap::new();
    let mut judged = Vec::with_capacity(import.objects.len());
    for object in &import.objects {
        let kind = object.kind();
        let names = match holders.entry(kind) {
            Entry::Occupied(names) => names.into_mut(),
            Entry::Vacant(names) => names.insert(uids(db, kind)?),
        };
        let holder = names.get(&uid(object).bytes());
        let there = match get(db, kind, object.name()) {
            Ok(None) => There::Nothing,
            Ok(Some(there)) => There::Object(Box::new(there)),
            Err(StoreError::Unreadable { .. }) => There::Unreadable,
            Err(error) => return Err(error),
        };
        judged.push(judge(import, object, &there, holder.map(String::as_str)));
    }
    if let Some(imported) = unwritten(import, &judged) {
        return Ok(imported);
    }
    db.execute("UPDATE meta SET revision = max(revision, ?)", [signed(import.above)])
        .map_err(failed("take a revision"))?;
    let revision = next_revision(db)?;
    for (object, (_, step)) in import.objects.iter().zip(&judged) {
        match step {
            Step::Insert | Step::Replace => put(db, object, revision, author)?,
            Step::Raise => raise(db, object, revision).map_err(failed("raise a revision"))?,
            Step::Leave => {}
        }
    }
    let outcomes = judged.into_iter().map(|(outcome, _)| outcome).collect();
    Ok(Imported { outcomes, revision: Some(revision) })
}

/// Every import says it; of one that did not, a store of its own would make one.
fn uid(object: &Object) -> Uid {
    object.identity().uid.unwrap_or_else(|| Uid::from_bytes(bson::oid::ObjectId::new().bytes()))
}

/// Who has which uid.
fn uids(db: &Connection, kind: Kind) -> Result<HashMap<[u8; 12], String>, StoreError> {
    let read = || {
        let mut query = db.prepare_cached("SELECT uid, name FROM documents WHERE kind = ?")?;
        let rows = query.query_map([kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()
    };
    read().map_err(failed("list uids"))
}

fn put(
    db: &Connection,
    object: &Object,
    revision: Revision,
    author: &Author,
) -> Result<(), StoreError> {
    let uid = uid(object);
    if identity(db, object.kind(), object.name())?.is_some_and(|(there, _)| there == uid) {
        history::complete(db, object.kind(), object.name())?;
    } else {
        // What the one that goes has had goes with it.
        history::forget_named(db, object.kind(), object.name())?;
    }
    let body = object.to_body().map_err(|e| StoreError::unavailable("encode an object", e))?;
    let write = || {
        let mut put = db.prepare_cached(
            "INSERT INTO documents (kind, name, uid, revision, body, token_id)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET
             uid = excluded.uid, revision = excluded.revision, body = excluded.body,
             token_id = excluded.token_id",
        )?;
        let (kind, token_id) = (object.kind().as_str(), object.token_id());
        put.execute(params![kind, object.name(), uid.bytes(), signed(revision), body, token_id])?;
        set_members(db, object)
    };
    write().map_err(failed("take an object over"))?;
    history::add(db, &object.clone().identified(Some((uid, revision))), author)
}

fn raise(db: &Connection, object: &Object, revision: Revision) -> rusqlite::Result<()> {
    let mut raise =
        db.prepare_cached("UPDATE documents SET revision = ? WHERE kind = ? AND name = ?")?;
    raise.execute(params![signed(revision), object.kind().as_str(), object.name()]).map(|_| ())
}
