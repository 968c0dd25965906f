//! The routes of devices: the inventory that is kept from their reports.
//!
//! Invariant: a device of a group that somebody may not read is for them as if there were none.

use super::auth::Principal;
use super::body::ObjectName;
use super::reply::{Answer, Refusal, empty, ok};
use super::reports::{pairs, scope};
use super::{Shared, enrollment};
use crate::clock::unix_seconds;
use crate::model::{Device, DeviceQuery, Granted};
use axum::Extension;
use axum::extract::{RawQuery, State};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The flag of a device that nobody knows.
pub(super) const EXISTS: &str = "device_exists";

/// `GET /devices`
pub(super) async fn list(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = DeviceQuery::decode(pairs(query))?;
    let now = unix_seconds();
    let devices = manager.reports.store().devices(&query, &scope(&who), now).await?;
    let after = devices.last().map(|device| device.hostname.clone());
    let devices: Vec<Map<String, Value>> = devices.iter().map(|device| device.shown(now)).collect();
    Ok(ok(&json!({ "devices": devices, "after": after })))
}

/// `GET /devices/N`
pub(super) async fn show(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let mut device = find(&manager, &who, &name).await?.shown(unix_seconds());
    device.insert("credential".to_owned(), enrollment::shown(&manager, &name).await?);
    Ok(ok(&device))
}

/// `DELETE /devices/N`: forgotten, until it is heard of again.
pub(super) async fn forget(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let device = find(&manager, &who, &name).await?;
    if !who.may_write(Granted::DeviceGroup, &device.device_group) {
        return Err(Refusal::Forbidden);
    }
    if !manager.reports.store().forget_device(&name).await? {
        return Err(Refusal::flag(EXISTS, false));
    }
    Ok(empty())
}

async fn find(manager: &Shared, who: &Principal, name: &str) -> Result<Device, Refusal> {
    let device = manager.reports.store().device(name).await?;
    let may = |device: &Device| who.may_read(Granted::DeviceGroup, &device.device_group);
    device.filter(may).ok_or(Refusal::flag(EXISTS, false))
}
