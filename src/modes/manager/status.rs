//! How far devices are with what is declared: of a device group, of an app.

use super::Shared;
use super::auth::Principal;
use super::body::ObjectName;
use super::objects::unknown;
use super::reply::{Answer, ok};
use crate::clock::unix_seconds;
use crate::model::{App, Declared, DeviceGroup, Granted, Revision, Rollout, Uid};
use crate::store::Kind;
use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;

/// Of a device group.
#[derive(Serialize)]
struct GroupStatus {
    device_group: String,
    revision: Revision,
    #[serde(flatten)]
    rollout: Rollout,
}

/// Of an app.
#[derive(Serialize)]
struct AppStatus {
    app_name: String,
    app_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    device_groups: Vec<String>,
    /// How many more groups list it, which whoever asks may not read.
    device_groups_hidden: usize,
    #[serde(flatten)]
    rollout: Rollout,
}

/// `GET /device_groups/N/status`
pub(super) async fn of_device_group(
    State(manager): State<Arc<Shared>>,
    ObjectName(name): ObjectName,
) -> Answer {
    let snapshot = manager.declarations.store().group_snapshot(&name).await?;
    let revision = snapshot.ok_or_else(unknown::<DeviceGroup>)?.revision();
    let declared = Declared::Group { name: name.clone(), revision };
    let rollout = manager.reports.store().rollout(&declared, unix_seconds()).await?;
    Ok(ok(&GroupStatus { device_group: name, revision, rollout }))
}

/// `GET /apps/N/status`: on the devices of those groups that whoever asks may read.
pub(super) async fn of_app(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let app: App = manager.declarations.find(&name).await?.ok_or_else(unknown::<App>)?;
    let mut device_groups = manager.declarations.store().groups_of(Kind::App, &name).await?;
    let all = device_groups.len();
    device_groups.retain(|group| who.may_read(Granted::DeviceGroup, group));
    let uid = app.identity.uid;
    let declared = Declared::App {
        name: name.clone(),
        uid,
        app_id: app.app_id,
        device_groups: device_groups.clone(),
    };
    let rollout = manager.reports.store().rollout(&declared, unix_seconds()).await?;
    let device_groups_hidden = all.saturating_sub(device_groups.len());
    let (app_name, app_id) = (name, app.app_id);
    Ok(ok(&AppStatus { app_name, app_id, uid, device_groups, device_groups_hidden, rollout }))
}
