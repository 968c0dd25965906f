//! Looking at a database and making it ready: what it can do, its indexes, and revisions for what
//! the original wrote.
//!
//! Invariants: nothing that holds data is changed but for the revision; an index of the original
//! that refuses or loses data is replaced; a database that refuses an index is used without it.

use super::super::{Kind, StoreError};
use super::connection::failed;
use super::documents::{ID, REVISION, collection, list_key, name_key, number};
use super::history;
use super::write::CHANGES;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use std::time::Duration;

/// How long a note of a change is kept. Whoever was away for longer reads everything anew.
pub(super) const CHANGES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The first wire version whose sessions show one moment: that of `MongoDB` 5.0.
const SNAPSHOTS: u64 = 13;

/// What a deployment can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deployment {
    /// Several members, or ready for them: it tells its changes.
    pub(super) is_replicated: bool,
    /// A session can show one moment.
    pub(super) has_snapshots: bool,
}

/// Looks at a database, and changes nothing.
pub(super) async fn look(database: &Database) -> Result<Deployment, StoreError> {
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(failed("answer"))?;
    let is_replicated =
        hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    let version = hello.get("maxWireVersion").map_or(0, number);
    let has_snapshots = is_replicated && version >= SNAPSHOTS;
    tracing::info!(is_replicated, has_snapshots, "database found");
    Ok(Deployment { is_replicated, has_snapshots })
}

/// Makes the indexes that are missing. They go with a collection that is dropped, and a dump may be
/// restored without them.
pub(super) async fn make_indexes(database: &Database) -> Result<(), StoreError> {
    for kind in Kind::ALL {
        let mut keys = vec![Index { key: name_key(kind), is_unique: true, expires: None }];
        let plain = |key| Index { key, is_unique: false, expires: None };
        match kind {
            Kind::DeviceGroup => {
                keys.extend([Kind::App, Kind::CronJob].into_iter().filter_map(list_key).map(plain));
            }
            Kind::User => keys.push(plain("token_id")),
            Kind::UserGroup => keys.push(plain("group_members")),
            Kind::App | Kind::CronJob | Kind::DeviceCredential | Kind::Enrollment => {}
        }
        ensure(database, collection(kind), &keys).await?;
    }
    let versions = Index { key: history::UID, is_unique: false, expires: None };
    ensure(database, history::HISTORY, &[versions]).await?;
    let expires = Some(CHANGES_KEPT);
    ensure(database, CHANGES, &[Index { key: "at", is_unique: false, expires }]).await
}

/// True when something in the database has no revision: the original wrote it.
pub(super) async fn has_unordered(database: &Database) -> Result<bool, StoreError> {
    for kind in Kind::ALL {
        let objects = database.collection::<Document>(collection(kind));
        let found = objects.find_one(doc! { REVISION: null }).projection(doc! { ID: 1 }).await;
        if found.map_err(failed("look for what has no revision"))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An index of one key, ascending.
struct Index {
    key: &'static str,
    is_unique: bool,
    expires: Option<Duration>,
}

/// Makes the indexes of a collection that are not there, and removes those that harm.
async fn ensure(
    database: &Database,
    collection: &'static str,
    wanted: &[Index],
) -> Result<(), StoreError> {
    let documents = database.collection::<Document>(collection);
    let found: Vec<IndexModel> = match documents.list_indexes().await {
        Ok(found) => found.try_collect().await.map_err(failed("list its indexes"))?,
        // A collection that is not there yet has none.
        Err(error) if super::connection::code(&error) == Some(NAMESPACE_NOT_FOUND) => Vec::new(),
        Err(error) => return Err(failed("list its indexes")(error)),
    };
    for index in &found {
        let is_wanted = wanted.iter().any(|wanted| wanted.is(index));
        let is_ours = wanted.iter().any(|wanted| wanted.has_key_of(index));
        let is_unique = index.options.as_ref().is_some_and(|options| options.unique == Some(true));
        let is_id = index.keys.contains_key(ID);
        // A unique index on what no such object has lets in one object and no second; the original
        // made one for users. One of our keys with other options must make room for ours.
        let is_single = index.keys.len() == 1;
        if is_id || is_wanted || !(is_ours || (is_unique && is_single)) {
            continue;
        }
        let name = index.options.as_ref().and_then(|options| options.name.clone());
        let Some(name) = name else { continue };
        match documents.drop_index(&name).await {
            Ok(()) => tracing::warn!(collection, index = name, "wrong index removed"),
            Err(error) => refused(collection, &name, error)?,
        }
    }
    for index in wanted {
        if found.iter().any(|found| index.is(found)) {
            continue;
        }
        let options =
            IndexOptions::builder().unique(index.is_unique).expire_after(index.expires).build();
        let model = IndexModel::builder().keys(doc! { index.key: 1 }).options(options).build();
        if let Err(error) = documents.create_index(model).await {
            refused(collection, index.key, error)?;
        }
    }
    Ok(())
}

/// The code of a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// A server that refuses an index is told of and used without; one that does not answer is not
/// used at all.
fn refused(
    collection: &'static str,
    index: &str,
    error: mongodb::error::Error,
) -> Result<(), StoreError> {
    if super::connection::code(&error).is_none() {
        return Err(failed("make an index")(error));
    }
    tracing::error!(
        collection,
        index,
        %error,
        "index refused; it goes on without, but two objects of one name could be made"
    );
    Ok(())
}

impl Index {
    fn has_key_of(&self, found: &IndexModel) -> bool {
        found.keys.len() == 1 && found.keys.contains_key(self.key)
    }

    fn is(&self, found: &IndexModel) -> bool {
        let options = found.options.clone().unwrap_or_default();
        self.has_key_of(found)
            && options.unique.unwrap_or(false) == self.is_unique
            && options.expire_after == self.expires
            && options.partial_filter_expression.is_none()
            // A sparse index of names is as good: each object has one.
            && (self.is_unique || options.sparse != Some(true))
    }
}
