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

use super::{Added, Foreign, NewReport, ReportPage, ReportStore, Retention, Scope, SetAside};
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
            add::add(&database, self.retention, &reports, &self.foreign).await
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
