//! Where declarations are kept: a trait in model types, an embedded implementation for one manager,
//! and one in `MongoDB` for many.
//!
//! What it is: apps, cron jobs, device groups, users and user groups by name, each with an identity and a revision that the store
//! gives, optimistic replacement, and one consistent read of all that a device group's devices run.
//! What it is not: it knows no permission, no HTTP and no rule of the API; it keeps what it is
//! given, and hands it back as it was.
//!
//! Invariants: a write that returned `Ok` is on disk; one that returned `Err` before it reached
//! the disk is wholly absent; each write has a higher [`Revision`] than every one before it; what
//! a [`GroupSnapshot`] holds existed together.

mod error;
mod history;
mod kept;
mod mongo;
mod object;
pub mod reports;
mod sqlite;
pub mod transfer;

pub use error::{Cause, StoreError};
pub use kept::{KEPT_FILE, KeptError, KeptStore};
pub use mongo::{MongoSettings, MongoStore};
pub use object::{Kind, Noun, Object};
pub use sqlite::{DATABASE_FILE, OpenError, SqliteStore};

use crate::model::{App, AppHistory, Author, CronJob, DeviceGroup, Revision, User, UserGroup};
use async_trait::async_trait;
use sqlite::open::LOCK_FILE;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use transfer::{Exported, Import, Imported};

/// The files by which a folder is known to be a manager's.
pub const DATA_FILES: [&str; 4] = [LOCK_FILE, DATABASE_FILE, KEPT_FILE, reports::REPORTS_FILE];

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub struct Written<T = Object> {
    /// The object as it is kept now; `()` after a deletion.
    pub object: T,
    /// The revision of this write.
    pub revision: Revision,
    /// The device groups whose `/info` the write touched, in no order.
    pub device_groups: Vec<String>,
}

impl<T> Written<T> {
    fn map<U>(self, object: impl FnOnce(T) -> Option<U>) -> Result<Written<U>, StoreError> {
        let object = object(self.object).ok_or(StoreError::WrongKind)?;
        Ok(Written { object, revision: self.revision, device_groups: self.device_groups })
    }
}

/// All that the devices of one group run, from one consistent read.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSnapshot {
    /// The group.
    pub group: DeviceGroup,
    /// Its apps that exist, in the group's order.
    pub apps: Vec<App>,
    /// Its cron jobs that exist, likewise.
    pub cron_jobs: Vec<CronJob>,
    /// The store's last revision when this was read: every write up to it is in here.
    pub store_revision: Revision,
}

impl GroupSnapshot {
    /// The highest revision of anything in it, which is the one that devices compare.
    pub fn revision(&self) -> Revision {
        let apps = self.apps.iter().map(Noun::revision);
        let jobs = self.cron_jobs.iter().map(Noun::revision);
        apps.chain(jobs).fold(self.group.revision(), Revision::max)
    }
}

/// A user and the groups they are in, from one consistent read.
#[derive(Debug, Clone, PartialEq)]
pub struct UserSnapshot {
    /// The user.
    pub user: User,
    /// Their groups, as far as this version can read them: one that it cannot read grants nothing.
    pub groups: Vec<SeenGroup>,
    /// The store's last revision when this was read.
    pub store_revision: Revision,
}

/// A user group of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenGroup {
    /// Its name.
    pub name: String,
    /// The revision of its last change.
    pub revision: Revision,
    /// What it holds; none when whoever asked has that already.
    pub group: Option<Box<UserGroup>>,
}

/// User groups that whoever asks has already, with their revisions. A group of a fleet's users is
/// large, and each of its users asks.
pub type KnownGroups = HashMap<String, Revision>;

/// What is told of writes, whoever made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// One write.
    Write {
        /// The kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// The device groups whose `/info` the write touched.
        device_groups: Vec<String>,
        /// The revision of the write.
        revision: Revision,
    },
    /// Anything may have been written, up to this revision.
    Everything {
        /// The store's last revision.
        revision: Revision,
    },
}

impl Told {
    /// Everything up to it has been told.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Write { revision, .. } | Self::Everything { revision } => *revision,
        }
    }
}

/// How a store's changes are learnt of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The store tells them as they are made.
    Stream,
    /// The store is asked from time to time.
    Poll,
}

/// A store's changes, one after the other. A write may be told more than once.
#[async_trait]
pub trait Changes: Send {
    /// How they are learnt of.
    fn manner(&self) -> Manner;

    /// Waits for the next one. After an error nothing more comes: begin anew, from the last
    /// revision that was told.
    async fn next(&mut self) -> Result<Told, StoreError>;
}

/// The largest answer to a device, in bytes: clients read no more, and a few larger ones would fill
/// the memory of a manager.
pub const MAX_SNAPSHOT_BYTES: u64 = 16 << 20;

/// A store of declarations.
///
/// A call whose future is dropped half-way is wholly done or wholly undone. A call ends within a
/// few seconds: with [`StoreError::Unavailable`] when the store does not answer.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Reaches the store for real.
    async fn ping(&self) -> Result<(), StoreError>;

    /// All names of a kind, sorted.
    async fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError>;

    /// One object.
    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, StoreError>;

    /// Adds a new object. The store gives it its uid and its revision; those in `object` are
    /// passed over. `AlreadyExists` when there is one of this name.
    async fn insert(&self, object: Object, author: &Author) -> Result<Written, StoreError>;

    /// Replaces an object, if its revision is still `expected`: `Conflict` when it is another,
    /// `NotFound` when the object is gone. It keeps the uid that the store knows.
    async fn replace(
        &self,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError>;

    /// Removes an object, `NotFound` when there is none, and an app with the versions that it had.
    /// The device groups that list a removed app
    /// or cron job take the revision of the removal, so that what their devices are told never
    /// goes back.
    async fn delete(&self, kind: Kind, name: &str) -> Result<Written<()>, StoreError>;

    /// The last versions of an app, at most [`crate::model::MAX_VERSIONS`]: of each write of one,
    /// what was written, by whom and when, from the same moment on as the write itself. What
    /// others wrote past this program is there as well, once it is put in order or written over.
    async fn history(&self, app: &str) -> Result<Option<AppHistory>, StoreError>;

    /// A device group and its existing apps and cron jobs, as they are at one moment. `TooLarge`
    /// when they are more than [`MAX_SNAPSHOT_BYTES`] together.
    async fn group_snapshot(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError>;

    /// A user and their user groups, as they are at one moment. Groups that are `known` by the
    /// revision that they have are not read.
    async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError>;

    /// The device groups whose devices are told of an object, sorted.
    async fn groups_of(&self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError>;

    /// The names of the users whose token has this id, sorted; with none, of those whose token
    /// has no id.
    async fn token_owners(&self, token_id: Option<&str>) -> Result<Vec<String>, StoreError>;

    /// Raises the prune id of every device group by one, at one moment.
    async fn prune_all(&self) -> Result<Written<Vec<DeviceGroup>>, StoreError>;

    /// What is written from now on, and since a revision when one is given, by this process and by
    /// others; without one, it begins with [`Told::Everything`]. A store that cannot tell is asked
    /// at least once in `poll`. None when nobody else writes to this store.
    async fn changes(
        &self,
        since: Option<Revision>,
        poll: Duration,
    ) -> Result<Option<Box<dyn Changes>>, StoreError>;

    /// Writes a consistent copy of the whole store to a file that is not there yet, or empty,
    /// while reads and writes go on.
    async fn backup(&self, path: &Path) -> Result<(), StoreError>;

    /// Sends everything, as it is at one moment, kind by kind and by uid within a kind, and changes
    /// nothing, not even a database that was never used before. Returns the store's last revision
    /// of that moment. `Conflict` when somebody wrote meanwhile and the store cannot show one
    /// moment: begin anew, with what was sent forgotten.
    async fn export(&self, to: Sender<Exported>) -> Result<Revision, StoreError>;

    /// Takes objects over from another store, with the uids that they have there: all of a batch,
    /// or, when one of them is refused, none. What is there then has a revision above
    /// `import.above`, so that devices which come over from the other store never wait. The
    /// versions that apps have had do not come along.
    async fn import(&self, import: Import, author: &Author) -> Result<Imported, StoreError>;
}

impl dyn Store + '_ {
    /// One object of a type.
    pub async fn find<T: Noun>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.get(T::KIND, name).await? {
            Some(object) => T::from_object(object).map(Some).ok_or(StoreError::WrongKind),
            None => Ok(None),
        }
    }

    /// [`Store::insert`] of a type.
    pub async fn create<T: Noun>(
        &self,
        object: T,
        author: &Author,
    ) -> Result<Written<T>, StoreError> {
        self.insert(object.into(), author).await?.map(T::from_object)
    }

    /// [`Store::replace`] of a type.
    pub async fn update<T: Noun>(
        &self,
        object: T,
        expected: Revision,
        author: &Author,
    ) -> Result<Written<T>, StoreError> {
        self.replace(object.into(), expected, author).await?.map(T::from_object)
    }
}
