//! The statements of apps' versions, inside the transaction of the write that makes them.

use super::documents::{failed, get, identity, signed};
use crate::clock::unix_seconds;
use crate::model::{App, AppEntry, AppHistory, Author, MAX_VERSIONS, Revision, Uid};
use crate::store::history::Kept;
use crate::store::{Kind, Noun, Object, StoreError};
use rusqlite::{Connection, Row, params};

/// The history of an app.
pub(super) fn read(db: &Connection, name: &str) -> Result<Option<AppHistory>, StoreError> {
    let Some(app) = get(db, Kind::App, name)?.and_then(App::from_object) else {
        return Ok(None);
    };
    let kept = match app.identity.uid {
        Some(uid) => newest(db, uid, MAX_VERSIONS)?,
        None => Vec::new(),
    };
    Ok(Some(AppHistory::new(app, kept, unix_seconds())))
}

/// Keeps the version that a write made, and lets go of the oldest beyond the limit.
pub(super) fn add(db: &Connection, object: &Object, author: &Author) -> Result<(), StoreError> {
    match Kept::written(object, author)? {
        Some(version) => keep(db, &version),
        None => Ok(()),
    }
}

/// Keeps the present version of an app that is about to be written over, unless it is kept: it may
/// be older than histories.
pub(super) fn complete(db: &Connection, kind: Kind, name: &str) -> Result<(), StoreError> {
    if kind != Kind::App {
        return Ok(());
    }
    let app = match get(db, kind, name) {
        Ok(object) => object.and_then(App::from_object),
        // Nobody could go back to it.
        Err(StoreError::Unreadable { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some((uid, app)) = app.and_then(|app| Some((app.identity.uid?, app))) else {
        return Ok(());
    };
    if newest(db, uid, 1)?.first().is_some_and(|newest| newest.is_of(&app)) {
        return Ok(());
    }
    match Kept::of(&AppEntry::found(app, unix_seconds()))? {
        Some(version) => keep(db, &version),
        None => Ok(()),
    }
}

/// Lets go of all versions of an object that goes.
pub(super) fn forget(db: &Connection, uid: Uid) -> Result<(), StoreError> {
    let mut delete = db
        .prepare_cached("DELETE FROM history WHERE uid = ?")
        .map_err(failed("forget a history"))?;
    delete.execute([uid.bytes()]).map(|_| ()).map_err(failed("forget a history"))
}

/// The same of whatever has this name.
pub(super) fn forget_named(db: &Connection, kind: Kind, name: &str) -> Result<(), StoreError> {
    match identity(db, kind, name)? {
        Some((uid, _)) => forget(db, uid),
        None => Ok(()),
    }
}

fn keep(db: &Connection, version: &Kept) -> Result<(), StoreError> {
    let write = || {
        let Kept { uid, revision, app_id, time, author, body } = version;
        let (uid, revision) = (uid.bytes(), signed(*revision));
        db.prepare_cached("INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![uid, revision, app_id, time, author.who, author.what, body])?;
        let most = i64::try_from(MAX_VERSIONS).unwrap_or(i64::MAX);
        db.prepare_cached(
            "DELETE FROM history WHERE uid = ?1 AND revision <=
             (SELECT revision FROM history WHERE uid = ?1
              ORDER BY revision DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![uid, most])
    };
    write().map(|_| ()).map_err(failed("keep a version"))
}

fn newest(db: &Connection, uid: Uid, most: usize) -> Result<Vec<AppEntry>, StoreError> {
    let read = || {
        let mut query = db.prepare_cached(
            "SELECT revision, app_id, time, who, what, body FROM history WHERE uid = ?
             ORDER BY revision DESC LIMIT ?",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = query.query_map(params![uid.bytes(), most], |row| kept(uid, row))?;
        rows.collect::<rusqlite::Result<Vec<Kept>>>()
    };
    let kept = read().map_err(failed("read a history"))?;
    Ok(kept.into_iter().filter_map(Kept::entry).collect())
}

fn kept(uid: Uid, row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        uid,
        revision: Revision(row.get::<_, i64>(0)?.unsigned_abs()),
        app_id: row.get(1)?,
        time: row.get(2)?,
        author: Author { who: row.get(3)?, what: row.get(4)? },
        body: row.get(5)?,
    })
}
