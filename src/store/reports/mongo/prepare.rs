//! The indexes of reports, devices and what was set aside.
//!
//! Invariants: no index here refuses a report; what must not be kept for ever has an index that
//! removes it; a database that refuses an index is used without it.

use super::super::{FORGOTTEN_AFTER, Retention, StoreError};
use super::{DEVICES, REPORTS, SET_ASIDE};
use crate::store::mongo::connection::{code, failed};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Database, IndexModel};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The time that a report's life counts from.
const INSERTED: &str = "report_insert_date";
/// More devices than any fleet has; beyond it, those that are away for longest are forgotten.
const MAX_DEVICES: u64 = 1_000_000;
/// Devices that are forgotten at once: reports wait meanwhile.
const AT_ONCE: i64 = 5_000;
/// The code of a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// The code of an index that is not there.
const INDEX_NOT_FOUND: i32 = 27;

/// Makes the indexes that are missing, and mends those that lose reports. They go with a collection
/// that is dropped, so it is done again from time to time.
pub(super) async fn prepare(database: &Database, retention: Retention) -> Result<(), StoreError> {
    expire(database, REPORTS, retention).await?;
    expire(database, SET_ASIDE, retention).await?;
    // With the id behind: pages come by id.
    ensure(database, REPORTS, doc! { "hostname": 1, "_id": 1 }).await?;
    ensure(database, REPORTS, doc! { "device_group": 1, "_id": 1 }).await?;
    ensure(database, DEVICES, doc! { "device_group": 1, "_id": 1 }).await?;
    ensure(database, DEVICES, doc! { "away_at": 1 }).await?;
    let before = DateTime::now().timestamp_millis() / 1_000 - FORGOTTEN_AFTER;
    forget(database, doc! { "away_at": { "$lte": before } }, AT_ONCE).await?;
    let devices = database.collection::<Document>(DEVICES).estimated_document_count().await;
    let devices = devices.map_err(failed("count devices"))?;
    let too_many = i64::try_from(devices.saturating_sub(MAX_DEVICES)).unwrap_or(AT_ONCE);
    forget(database, Document::new(), too_many.min(AT_ONCE)).await
}

/// Removes the records of devices that went away first, a part of them: what is left is for the
/// next time.
async fn forget(database: &Database, filter: Document, most: i64) -> Result<(), StoreError> {
    if most <= 0 {
        return Ok(());
    }
    let failed = failed("forget devices");
    let devices = database.collection::<Document>(DEVICES);
    let found = devices.find(filter.clone()).projection(doc! { "_id": 1 });
    let found = found.sort(doc! { "away_at": 1 }).limit(most).await.map_err(&failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(&failed)?;
    let ids: Vec<&Bson> = found.iter().filter_map(|device| device.get("_id")).collect();
    if ids.is_empty() {
        return Ok(());
    }
    // One that is heard of meanwhile stays.
    let mut filter = filter;
    filter.insert("_id", doc! { "$in": ids });
    let gone = devices.delete_many(filter).await.map_err(&failed)?.deleted_count;
    tracing::info!(devices = gone, "devices forgotten that have been away for longest");
    Ok(())
}

/// Sees to it that a collection's documents go when their time is up.
async fn expire(
    database: &Database,
    collection: &'static str,
    retention: Retention,
) -> Result<(), StoreError> {
    let documents = database.collection::<Document>(collection);
    let found: Vec<IndexModel> = match documents.list_indexes().await {
        Ok(found) => found.try_collect().await.map_err(failed("list its indexes"))?,
        // A collection that is not there yet has none.
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Vec::new(),
        Err(error) => return Err(failed("list its indexes")(error)),
    };
    let keys = doc! { INSERTED: 1 };
    let of_time = |index: &IndexModel| index.keys.len() == 1 && index.keys.contains_key(INSERTED);
    let mut kept = None;
    for index in found.into_iter().filter(of_time) {
        let options = index.options.unwrap_or_default();
        let name = options.name.unwrap_or_default();
        // A unique one, as the original made it, refuses each second report of one moment; a
        // partial or sparse one does not see all.
        let harms = options.unique == Some(true)
            || options.sparse == Some(true)
            || options.partial_filter_expression.is_some();
        match options.expire_after {
            Some(after) if !harms => kept = Some((name, after)),
            _ => match documents.drop_index(&name).await {
                Ok(()) => tracing::warn!(collection, index = name, "wrong index removed"),
                Err(error) if options.unique == Some(true) => {
                    return loses(collection, &name, error);
                }
                Err(error) => return refused(collection, &name, error),
            },
        }
    }
    if let Some((name, after)) = kept {
        return change(database, collection, &name, after, retention).await;
    }
    let after = Duration::from_secs(retention.seconds.into());
    let options = IndexOptions::builder().expire_after(after).build();
    let model = IndexModel::builder().keys(keys).options(options).build();
    match documents.create_index(model).await {
        Ok(_) => Ok(()),
        Err(error) => refused(collection, INSERTED, error),
    }
}

/// Has an index remove documents after the time that was asked for.
async fn change(
    database: &Database,
    collection: &'static str,
    name: &str,
    after: Duration,
    retention: Retention,
) -> Result<(), StoreError> {
    if after == Duration::from_secs(retention.seconds.into()) || !retention.is_firm {
        return Ok(());
    }
    let change = doc! {
        "collMod": collection,
        "index": { "name": name, "expireAfterSeconds": i64::from(retention.seconds) },
    };
    match database.run_command(change).await {
        Ok(_) => {
            let seconds = retention.seconds;
            tracing::info!(collection, seconds, "reports are kept for another time");
            Ok(())
        }
        Err(error) => refused(collection, name, error),
    }
}

async fn ensure(
    database: &Database,
    collection: &'static str,
    keys: Document,
) -> Result<(), StoreError> {
    let name = keys.to_string();
    let model = IndexModel::builder().keys(keys).build();
    // One that is there already is left as it is.
    match database.collection::<Document>(collection).create_index(model).await {
        Ok(_) => Ok(()),
        Err(error) => refused(collection, &name, error),
    }
}

/// A server that refuses an index is told of and used without; one that does not answer is not
/// used at all.
fn refused(collection: &'static str, index: &str, error: Error) -> Result<(), StoreError> {
    if code(&error).is_none() {
        return Err(failed("make an index")(error));
    }
    tracing::error!(collection, index, %error, "index refused; reports are kept without it");
    Ok(())
}

/// A unique index that stays: whoever may drop it must know what it does, and once is enough.
fn loses(collection: &'static str, index: &str, error: Error) -> Result<(), StoreError> {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    // Gone meanwhile: another reporter or manager was first.
    if code(&error) == Some(INDEX_NOT_FOUND) {
        return Ok(());
    }
    if code(&error).is_none() {
        return Err(failed("remove an index")(error));
    }
    if !IS_TOLD.swap(true, Ordering::Relaxed) {
        tracing::error!(collection, index, %error, "a unique index refuses each second report of one moment and could not be removed; until somebody drops it, reports wait");
    }
    Ok(())
}
