//! Reading and changing what is declared.
//!
//! Invariants: a change goes through here and nowhere else; it runs to its end even when its
//! client goes away; before anybody hears of it, no answer that is older can be served from
//! memory, and nobody is let in by what is remembered of an older user or user group; two changes of one object never lose one of them.

use super::auth::{Authenticator, Principal};
use super::info::InfoCache;
use super::reply::Refusal;
use crate::model::{Author, DeviceGroup, Revision};
use crate::store::transfer::{Import, Imported};
use crate::store::{Cause, Kind, Noun, Store, StoreError, Told, Written};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// The store behind the API, and what its writes outdate.
#[derive(Debug, Clone)]
pub(super) struct Declarations {
    store: Arc<dyn Store>,
    memories: Memories,
    running: TaskTracker,
    patience: Duration,
}

/// What is remembered of the store: ready bytes of devices, and who users are.
#[derive(Debug, Clone)]
pub(super) struct Memories {
    pub(super) info: Arc<InfoCache>,
    pub(super) auth: Arc<Authenticator>,
}

/// Who changes what, for the log and for the versions that the store keeps.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) who: Principal,
    pub(super) what: &'static str,
    pub(super) name: String,
}

impl Declarations {
    pub(super) fn new(store: Arc<dyn Store>, memories: Memories, patience: Duration) -> Self {
        Self { store, memories, running: TaskTracker::new(), patience }
    }

    /// For reads.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// One object.
    pub(super) async fn find<T: Noun>(&self, name: &str) -> Result<Option<T>, Refusal> {
        Ok(self.store.find(name).await?)
    }

    /// All names of a kind.
    pub(super) async fn names(&self, kind: Kind) -> Result<Vec<String>, Refusal> {
        Ok(self.store.names(kind).await?)
    }

    /// Adds an object; `exists` is the refusal when there is one of its name.
    pub(super) async fn create<T: Noun>(
        &self,
        change: Change,
        object: T,
        exists: Refusal,
    ) -> Result<T, Refusal> {
        let here = self.clone();
        self.to_the_end(async move {
            match here.store.create(object, &change.author()).await {
                Ok(written) => Ok(here.wrote(&change, written)),
                Err(StoreError::AlreadyExists) => Err(exists),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Changes an object: reads it, edits it, and puts it back if nobody else did in between;
    /// else again. Each round that fails is one in which somebody else succeeded. `unknown` makes
    /// the refusal when there is none.
    pub(super) async fn change<T: Noun>(
        &self,
        change: Change,
        unknown: impl Fn() -> Refusal + Send + 'static,
        edit: impl Fn(T) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let here = self.clone();
        let deadline = Instant::now() + self.patience;
        self.to_the_end(async move {
            while Instant::now() < deadline {
                let Some(object) = here.store.find::<T>(&change.name).await? else {
                    return Err(unknown());
                };
                let expected = object.revision();
                match here.store.update(edit(object)?, expected, &change.author()).await {
                    Ok(written) => return Ok(here.wrote(&change, written)),
                    Err(StoreError::Conflict) => {}
                    Err(StoreError::NotFound) => return Err(unknown()),
                    Err(error) => return Err(error.into()),
                }
            }
            Err(StoreError::unavailable("settle competing changes", Cause::TooSlow).into())
        })
        .await
    }

    /// Removes an object; `unknown` is the refusal when there is none.
    pub(super) async fn delete(
        &self,
        change: Change,
        kind: Kind,
        unknown: Refusal,
    ) -> Result<(), Refusal> {
        let here = self.clone();
        self.to_the_end(async move {
            match here.store.delete(kind, &change.name).await {
                Ok(written) => {
                    here.announce(&change, kind, &written.device_groups, written.revision);
                    Ok(())
                }
                Err(StoreError::NotFound) => Err(unknown),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Raises the prune id of every device group.
    pub(super) async fn prune_all(&self, change: Change) -> Result<Vec<DeviceGroup>, Refusal> {
        let here = self.clone();
        self.to_the_end(async move {
            let written = here.store.prune_all().await?;
            here.announce(&change, Kind::DeviceGroup, &written.device_groups, written.revision);
            Ok(written.object)
        })
        .await
    }

    /// Takes a batch of objects over from another store.
    pub(super) async fn import(
        &self,
        who: &Principal,
        import: Import,
    ) -> Result<Imported, Refusal> {
        let (here, who) = (self.clone(), who.clone());
        self.to_the_end(async move {
            let imported = here.store.import(import, &Author::new(who.name(), "import")).await?;
            if let Some(revision) = imported.revision {
                here.told(&Told::Everything { revision });
                let objects = imported.outcomes.len();
                tracing::debug!(who = who.name(), objects, revision = revision.0, "import on disk");
            }
            Ok(imported)
        })
        .await
    }

    /// Ends when no change is running any more. No more can be begun by then.
    pub(super) async fn finished(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Somebody wrote, this manager or another one.
    pub(super) fn told(&self, told: &Told) {
        match told {
            Told::Write { kind, name, device_groups, revision } => {
                self.outdate(*kind, name, device_groups, *revision);
            }
            Told::Everything { revision } => {
                self.memories.info.raise_all(*revision);
                self.memories.auth.everybody_changed(*revision);
            }
        }
    }

    fn outdate(&self, kind: Kind, name: &str, groups: &[String], revision: Revision) {
        self.memories.info.raise(groups.iter(), revision);
        match kind {
            Kind::User => self.memories.auth.user_changed(name, revision),
            Kind::UserGroup => self.memories.auth.groups_changed(revision),
            Kind::DeviceCredential | Kind::Enrollment => self.memories.auth.device_changed(name),
            Kind::App | Kind::CronJob | Kind::DeviceGroup => {}
        }
    }

    fn wrote<T: Noun>(&self, change: &Change, written: Written<T>) -> T {
        self.announce(change, T::KIND, &written.device_groups, written.revision);
        written.object
    }

    fn announce(&self, change: &Change, kind: Kind, groups: &[String], revision: Revision) {
        self.outdate(kind, &change.name, groups, revision);
        let (who, what, name) = (change.who.name(), change.what, &change.name);
        tracing::debug!(who, what, %kind, name, revision = revision.0, "change on disk");
    }

    /// Runs a change apart from its request: a client that goes away drops the request's future,
    /// and a commit whose floors are not raised would be hidden by ready bytes for ever.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let task = self.running.spawn(work);
        match tokio::time::timeout(self.patience, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panicked)) => Err(Refusal::Panic),
            Err(_) => Err(StoreError::unavailable("write", Cause::TooSlow).into()),
        }
    }
}

impl Change {
    /// A change of an object by a principal.
    pub(super) fn new(who: &Principal, what: &'static str, name: &str) -> Self {
        Self { who: who.clone(), what, name: name.to_owned() }
    }

    /// The same for the store.
    fn author(&self) -> Author {
        Author::new(self.who.name(), self.what)
    }
}
