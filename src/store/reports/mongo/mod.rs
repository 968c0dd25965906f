//! Reports in `MongoDB`, by the name and in the form of the original, so that its managers read
//! ours and ours read its; and beside them the inventory.
//!
//! A report is one document whose `_id` is its own, so whoever adds it again meets it. The rule that
//! an older report does not change the inventory is applied by the server, in the update itself:
//! any number of reporters and managers may write at once.
//!
//! Invariants: what was acknowledged is on the disks of most members; a call ends within the
//! patience of the store of declarations, whatever the network does; declarations are never
//! touched.

mod add;
mod bson;
mod prepare;
mod query;
mod rollout;

pub use add::Documents;

use super::{
    Added, Foreign, NewReport, ReportPage, ReportStore, Retention, Scope, SetAside, Unheard,
};
use crate::model::{Declared, Device, DeviceQuery, ReportQuery, Rollout};
use crate::store::mongo::connection::{Connection, Prepared, failed};
use crate::store::mongo::within;
use crate::store::{MongoSettings, MongoStore, StoreError};
use async_trait::async_trait;
use mongodb::bson::doc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Where the original keeps reports.
const REPORTS: &str = "nebula_reports";
/// One record a device.
const DEVICES: &str = "nebula_devices";
/// Messages that are no reports.
const SET_ASIDE: &str = "nebula_reports_set_aside";
/// How often it is seen to that the indexes are there: whoever empties a collection by dropping it
/// drops them as well, and reports would be kept for ever.
const PREPARED_EACH: Duration = Duration::from_secs(600);

/// Reports in a `MongoDB` database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct MongoReports {
    connection: Arc<Connection>,
    retention: Retention,
    /// When the indexes were last seen to.
    prepared: Arc<Mutex<Option<Instant>>>,
    foreign: Foreign,
}

impl MongoReports {
    /// With connections of its own, made when it is first used.
    pub fn new(settings: MongoSettings, retention: Retention) -> Self {
        Self::over(Arc::new(Connection::new(settings)), retention)
    }

    /// With the connections of a store of declarations, in the same database.
    pub fn beside(store: &MongoStore, retention: Retention) -> Self {
        Self::over(store.connection(), retention)
    }

    fn over(connection: Arc<Connection>, retention: Retention) -> Self {
        Self { connection, retention, prepared: Arc::default(), foreign: Foreign::default() }
    }

    /// Keeps reports, all that are new. What they say of their devices is handed back: the inventory is
    /// brought up to date with it by [`Self::hear`], once for many calls of this one.
    pub async fn keep(&self, reports: Documents) -> Result<(Added, Unheard), StoreError> {
        within("keep reports", async {
            let database = self.database().await?;
            add::keep(&database, self.retention, reports).await
        })
        .await
    }

    /// Brings the inventory up to date with what was heard of so many devices at most, and takes them
    /// out. After an error all are there as before.
    pub async fn hear(&self, unheard: &mut Unheard, most: usize) -> Result<(), StoreError> {
        let heard = unheard.first(most);
        within("bring the inventory up to date", async {
            let database = self.database().await?;
            add::hear(&database, &heard, &self.foreign).await
        })
        .await?;
        let done = heard.len();
        unheard.forget_first(done);
        Ok(())
    }

    /// The database, with its indexes.
    async fn database(&self) -> Result<Prepared, StoreError> {
        let found = self.connection.as_it_is().await?;
        let mut prepared = self.prepared.lock().await;
        if prepared.is_none_or(|last| last.elapsed() > PREPARED_EACH) {
            prepare::prepare(&found.database, self.retention).await?;
            *prepared = Some(Instant::now());
        }
        Ok(found)
    }
}

#[async_trait]
impl ReportStore for MongoReports {
    async fn add(&self, reports: Vec<NewReport>) -> Result<Added, StoreError> {
        within("keep reports", async {
            let database = self.database().await?;
            let (added, unheard) =
                add::keep(&database, self.retention, Documents::of(reports)).await?;
            add::hear(&database, &unheard.first(usize::MAX), &self.foreign).await?;
            Ok(added)
        })
        .await
    }

    async fn set_aside(&self, messages: Vec<SetAside>) -> Result<(), StoreError> {
        within("keep what is no report", async {
            let database = self.database().await?;
            add::set_aside(&database, self.retention, messages).await
        })
        .await
    }

    async fn reports(&self, query: &ReportQuery, scope: &Scope) -> Result<ReportPage, StoreError> {
        within("read reports", async {
            let database = self.database().await?;
            query::reports(&database, query, scope).await
        })
        .await
    }

    async fn devices(
        &self,
        query: &DeviceQuery,
        scope: &Scope,
        now: i64,
    ) -> Result<Vec<Device>, StoreError> {
        within("read devices", async {
            let database = self.database().await?;
            query::devices(&database, query, scope, now).await
        })
        .await
    }

    async fn device(&self, hostname: &str) -> Result<Option<Device>, StoreError> {
        within("read a device", async {
            let database = self.database().await?;
            let found = database.collection(DEVICES).find_one(doc! { "_id": hostname }).await;
            let found = found.map_err(failed("read a device"))?;
            Ok(found.as_deref().and_then(query::to_device))
        })
        .await
    }

    async fn forget_device(&self, hostname: &str) -> Result<bool, StoreError> {
        within("forget a device", async {
            let database = self.database().await?;
            let deleted = database.collection(DEVICES).delete_one(doc! { "_id": hostname }).await;
            Ok(deleted.map_err(failed("forget a device"))?.deleted_count > 0)
        })
        .await
    }

    async fn rollout(&self, declared: &Declared, now: i64) -> Result<Rollout, StoreError> {
        within("count devices", async {
            let database = self.database().await?;
            rollout::rollout(&database, declared, now).await
        })
        .await
    }
}
