//! The routes of user groups.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::objects::{exists, new_account_name, refuse_existing, unknown};
use super::reply::{Answer, Refusal, ok};
use crate::model::{Identity, Unknown, UserGroup, UserGroupFields, UserGroupSpec};
use axum::Extension;
use axum::extract::State;
use std::sync::Arc;

/// `POST /user_groups/N`: what is not given is not permitted.
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    refuse_existing::<UserGroup>(&manager, &name).await?;
    let user_group = new_account_name("user_group", &name)?;
    let fields = UserGroupFields::decode(body.fields()?.clone(), Some(&name), Unknown::Refuse)?;
    let spec = UserGroupSpec::default().with(fields);
    let group = UserGroup { identity: Identity::default(), user_group, spec };
    let change = Change::new(&who, "create", &name);
    Ok(ok(&manager.declarations.create(change, group, exists::<UserGroup>()).await?))
}

/// `PUT` and `PATCH /user_groups/N/update`: only what is given changes.
pub(super) async fn update(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let change = Change::new(&who, "update", &name);
    let edit = move |mut group: UserGroup| {
        let name = group.user_group.as_str();
        let body = body.fields()?.clone();
        let fields = UserGroupFields::decode(body, Some(name), Unknown::Refuse)?;
        if fields.is_empty() {
            return Err(Refusal::NothingGiven);
        }
        group.spec = group.spec.with(fields);
        Ok(group)
    };
    Ok(ok(&manager.declarations.change(change, unknown::<UserGroup>, edit).await?))
}
