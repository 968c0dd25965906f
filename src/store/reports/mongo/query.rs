//! Pages of reports and devices.

use super::super::{MAX_PAGE_BYTES, ReportPage, Scope, StoreError};
use super::{DEVICES, REPORTS, bson};
use crate::model::{Comparison, Device, DeviceQuery, DeviceState, ReportQuery, Standing, Uid};
use crate::store::mongo::connection::{Prepared, failed};
use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

/// A page of reports.
pub(super) async fn reports(
    database: &Prepared,
    query: &ReportQuery,
    scope: &Scope,
) -> Result<ReportPage, StoreError> {
    let Some(mut filter) = of_groups(query.device_group.as_deref(), scope) else {
        return Ok(ReportPage::default());
    };
    if let Some(hostname) = &query.hostname {
        filter.insert("hostname", hostname);
    }
    if let Some((comparison, time)) = query.report_creation_time {
        filter.insert("report_creation_time", doc! { operator(comparison): time });
    }
    match query.updated {
        // A report that does not say so changed nothing.
        Some(false) => filter.insert("updated", doc! { "$ne": true }),
        Some(true) => filter.insert("updated", true),
        None => None,
    };
    if let Some(last) = query.last_id {
        filter.insert("_id", doc! { "$gt": ObjectId::from_bytes(last.bytes()) });
    }
    let mut page = ReportPage::default();
    for document in self::page(database, REPORTS, filter, query.page_size).await? {
        // Whatever its id is: one that is no ObjectId is nobody's but is not lost either.
        if let Ok(id) = document.get_object_id("_id") {
            page.last_id = Some(Uid::from_bytes(id.bytes()));
        }
        page.reports.extend(bson::to_map(&document));
    }
    Ok(page)
}

/// A page of devices.
pub(super) async fn devices(
    database: &Prepared,
    query: &DeviceQuery,
    scope: &Scope,
    now: i64,
) -> Result<Vec<Device>, StoreError> {
    let Some(mut filter) = of_groups(query.device_group.as_deref(), scope) else {
        return Ok(Vec::new());
    };
    if let Some(seen_since) = query.seen_since {
        filter.insert("last_seen", doc! { "$gte": seen_since });
    }
    if let Some(after) = &query.after {
        filter.insert("_id", doc! { "$gt": after });
    }
    let mut state: Option<DeviceState> = None;
    match query.state {
        None => {}
        Some(Standing::Away) => {
            filter.insert("away_at", doc! { "$lte": now });
        }
        Some(Standing::Says(says)) => {
            filter.insert("away_at", doc! { "$gt": now });
            state = Some(says);
        }
        // Of what a device is asked to be, this query knows nothing.
        Some(Standing::Outdated) => return Ok(Vec::new()),
    }
    match (&query.app, state) {
        (Some(app), state) => {
            let mut entry = doc! { "app_name": app };
            if let Some(version) = query.version {
                entry.insert("running_ids", signed(version));
            }
            if let Some(state) = state {
                entry.insert("state", state.as_str());
            }
            filter.insert("apps", doc! { "$elemMatch": entry });
        }
        (None, Some(state)) => {
            filter.insert("state", state.as_str());
        }
        (None, None) => {}
    }
    let page = page(database, DEVICES, filter, query.page_size).await?;
    Ok(page.iter().filter_map(|document| to_device(document)).collect())
}

/// A device as it is kept. One that cannot be read, which nobody of ours wrote, is as if it were
/// not there.
pub(super) fn to_device(document: &RawDocument) -> Option<Device> {
    let mut kept = bson::to_map(document)?;
    kept.shift_remove("_id");
    match Device::from_kept(kept) {
        Ok(device) => Some(device),
        Err(error) => {
            tracing::warn!(%error, "a device's record cannot be read");
            None
        }
    }
}

/// The documents of a page, by id.
async fn page(
    database: &Prepared,
    collection: &str,
    filter: Document,
    size: u32,
) -> Result<Vec<RawDocumentBuf>, StoreError> {
    let failed = failed("read a page");
    let documents = database.collection(collection);
    let found = documents.find(filter).sort(doc! { "_id": 1 }).limit(i64::from(size)).await;
    let mut found = found.map_err(&failed)?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(document) = found.try_next().await.map_err(&failed)? {
        bytes += document.as_bytes().len();
        page.push(document);
        if bytes > MAX_PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// What may be shown of a group, or of all; none when nothing may.
fn of_groups(device_group: Option<&str>, scope: &Scope) -> Option<Document> {
    match (device_group, scope) {
        (Some(group), scope) => scope.has(group).then(|| doc! { "device_group": group }),
        (None, Scope::All) => Some(Document::new()),
        (None, Scope::Groups(groups)) => Some(doc! { "device_group": { "$in": groups } }),
    }
}

const fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "$eq",
        Comparison::Gt => "$gt",
        Comparison::Lt => "$lt",
        Comparison::Gte => "$gte",
        Comparison::Lte => "$lte",
        Comparison::Ne => "$ne",
    }
}

/// A database counts with a sign; no id comes near its limit.
pub(super) fn signed(number: u64) -> Bson {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}
