//! The routes of device groups.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::objects::{Resource, exists, may_read, new_name, refuse_existing, unknown};
use super::reply::{Answer, Refusal, accepted, ok};
use crate::model::{App, CronJob, DeviceGroup, DeviceGroupFields, Identity, Unknown};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `POST /device_groups/N`
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    refuse_existing::<DeviceGroup>(&manager, &name).await?;
    let device_group = new_name("device_group", &name)?;
    let fields = decode(&manager, &who, body.fields()?, &name, None).await?;
    let group = DeviceGroup {
        identity: Identity::default(),
        device_group,
        device_group_id: 1,
        prune_id: 1,
        apps: fields.apps.unwrap_or_default(),
        cron_jobs: fields.cron_jobs.unwrap_or_default(),
    };
    let change = Change::new(&who, "create", &name);
    Ok(ok(&manager.declarations.create(change, group, exists::<DeviceGroup>()).await?))
}

/// `POST /device_groups/N/update`: lists that are not given become empty. Of an unknown group it
/// says what the original says, and clients rely on.
pub(super) async fn replace(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let Some(group) = manager.declarations.find::<DeviceGroup>(&name).await? else {
        return Err(unknown::<App>());
    };
    let fields = decode(&manager, &who, body.fields()?, &name, Some(&group)).await?;
    let change = Change::new(&who, "replace", &name);
    let edit = move |mut group: DeviceGroup| {
        group.apps = fields.apps.clone().unwrap_or_default();
        group.cron_jobs = fields.cron_jobs.clone().unwrap_or_default();
        Ok(changed(group))
    };
    Ok(accepted(&manager.declarations.change(change, unknown::<App>, edit).await?))
}

/// `PUT` and `PATCH /device_groups/N/update`: only what is given changes.
pub(super) async fn update(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let Some(group) = manager.declarations.find::<DeviceGroup>(&name).await? else {
        return Err(unknown::<DeviceGroup>());
    };
    let fields = decode(&manager, &who, body.fields()?, &name, Some(&group)).await?;
    // Read-only keys that come back change nothing.
    if fields.is_empty() {
        return Err(Refusal::NothingGiven);
    }
    let change = Change::new(&who, "update", &name);
    let edit = move |mut group: DeviceGroup| {
        group.apps = fields.apps.clone().unwrap_or(group.apps);
        group.cron_jobs = fields.cron_jobs.clone().unwrap_or(group.cron_jobs);
        Ok(changed(group))
    };
    Ok(accepted(&manager.declarations.change(change, unknown::<DeviceGroup>, edit).await?))
}

/// `POST /device_groups/N/prune`
pub(super) async fn prune(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    Ok(accepted(&prune_one(&manager, &who, &name).await?))
}

/// `POST /prune`: every group, at one moment.
pub(super) async fn prune_all(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
) -> Answer {
    let pruned = manager.declarations.prune_all(Change::new(&who, "prune", "")).await?;
    let id = |group: DeviceGroup| (group.device_group.to_string(), group.prune_id.into());
    let ids: Map<String, Value> = pruned.into_iter().map(id).collect();
    Ok(accepted(&json!({ "prune_ids": ids })))
}

async fn prune_one(manager: &Shared, who: &Principal, name: &str) -> Result<DeviceGroup, Refusal> {
    let edit = |mut group: DeviceGroup| {
        group.prune_id = group.prune_id.saturating_add(1);
        Ok(group)
    };
    manager.declarations.change(Change::new(who, "prune", name), unknown::<App>, edit).await
}

fn changed(mut group: DeviceGroup) -> DeviceGroup {
    group.device_group_id = group.device_group_id.saturating_add(1);
    group
}

/// Reads a body, in the contract's order: lists that are lists, fields that are valid, members
/// that exist and that whoever asks may read. A member that is deleted between this look and the
/// write stays in the list and is left out of what devices are told, as if it had been deleted
/// right after. For the same reason a group that lists a deleted member can be read, edited and
/// sent back, and so can one that lists a member which others may read.
async fn decode(
    manager: &Shared,
    who: &Principal,
    fields: &Map<String, Value>,
    name: &str,
    group: Option<&DeviceGroup>,
) -> Result<DeviceGroupFields, Refusal> {
    for (field, flag) in [("apps", "apps_is_list"), ("cron_jobs", "cron_jobs_is_list")] {
        if fields.get(field).is_some_and(|value| !value.is_array()) {
            return Err(Refusal::Flag(StatusCode::BAD_REQUEST, flag, false));
        }
    }
    let fields = DeviceGroupFields::decode(fields.clone(), Some(name), Unknown::Refuse)?;
    let (apps, jobs) = group.map_or((&[][..], &[][..]), |group| (&group.apps, &group.cron_jobs));
    check_members::<App>(manager, who, fields.apps.iter().flatten(), apps).await?;
    check_members::<CronJob>(manager, who, fields.cron_jobs.iter().flatten(), jobs).await?;
    Ok(fields)
}

/// Checks those members that are new to a group.
async fn check_members<T: Resource>(
    manager: &Shared,
    who: &Principal,
    given: impl Iterator<Item = &String>,
    known: &[String],
) -> Result<(), Refusal> {
    for name in given.filter(|name| !known.contains(name)) {
        // First, so that nobody learns the names of what they may not read.
        if !may_read::<T>(who, name) {
            return Err(Refusal::Forbidden);
        }
        if manager.declarations.find::<T>(name).await?.is_none() {
            return Err(unknown::<T>());
        }
    }
    Ok(())
}
