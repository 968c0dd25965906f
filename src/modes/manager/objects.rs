//! What is done alike to every kind of object: list, show, delete; and the words for "there is
//! one" and "there is none".

use super::Shared;
use super::auth::Principal;
use super::body::ObjectName;
use super::declarations::Change;
use super::reply::{Answer, Refusal, empty, ok};
use crate::model::{
    AccountName, App, CronJob, DeviceGroup, Granted, Invalid, Name, User, UserGroup,
};
use crate::store::Noun;
use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A kind of object as the API speaks of it.
pub(super) trait Resource: Noun + Serialize {
    /// Its part of the path, and the key of its list.
    const COLLECTION: &'static str;
    /// The flag that says whether there is one.
    const EXISTS: &'static str;
    /// As what access to it is granted; none when only admins may see it.
    const GRANTED: Option<Granted>;
}

impl Resource for App {
    const COLLECTION: &'static str = "apps";
    const EXISTS: &'static str = "app_exists";
    const GRANTED: Option<Granted> = Some(Granted::App);
}

impl Resource for CronJob {
    const COLLECTION: &'static str = "cron_jobs";
    const EXISTS: &'static str = "cron_job_exists";
    const GRANTED: Option<Granted> = Some(Granted::CronJob);
}

impl Resource for DeviceGroup {
    const COLLECTION: &'static str = "device_groups";
    const EXISTS: &'static str = "device_group_exists";
    const GRANTED: Option<Granted> = Some(Granted::DeviceGroup);
}

impl Resource for User {
    const COLLECTION: &'static str = "users";
    const EXISTS: &'static str = "user_exists";
    const GRANTED: Option<Granted> = None;
}

impl Resource for UserGroup {
    const COLLECTION: &'static str = "user_groups";
    const EXISTS: &'static str = "user_group_exists";
    const GRANTED: Option<Granted> = None;
}

/// There is none.
pub(super) fn unknown<T: Resource>() -> Refusal {
    Refusal::flag(T::EXISTS, false)
}

/// There is one already.
pub(super) fn exists<T: Resource>() -> Refusal {
    Refusal::flag(T::EXISTS, true)
}

/// Whether a principal may read an object.
pub(super) fn may_read<T: Resource>(who: &Principal, name: &str) -> bool {
    match T::GRANTED {
        Some(kind) => who.may_read(kind, name),
        None => who.is_admin(),
    }
}

/// The list of a kind: the names that whoever asks may read.
pub(super) async fn list<T: Resource>(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
) -> Answer {
    let mut names = manager.declarations.names(T::KIND).await?;
    names.retain(|name| may_read::<T>(&who, name));
    Ok(ok(&json!({ T::COLLECTION: names })))
}

/// One object.
pub(super) async fn show<T: Resource>(
    State(manager): State<Arc<Shared>>,
    ObjectName(name): ObjectName,
) -> Answer {
    let object = manager.declarations.find::<T>(&name).await?;
    object.map(|object| ok(&object)).ok_or_else(unknown::<T>)
}

/// Removes an object.
pub(super) async fn delete<T: Resource>(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let change = Change::new(&who, "delete", &name);
    manager.declarations.delete(change, T::KIND, unknown::<T>()).await?;
    Ok(empty())
}

/// Refuses to go on when there is an object of this name: that is answered before the body is
/// looked at, as the original does.
pub(super) async fn refuse_existing<T: Resource>(
    manager: &Shared,
    name: &str,
) -> Result<(), Refusal> {
    match manager.declarations.find::<T>(name).await? {
        Some(_) => Err(exists::<T>()),
        None => Ok(()),
    }
}

/// What a body lacks of what it must have: the original asks for that before it looks at what is
/// there.
pub(super) fn missing(fields: &Map<String, Value>, required: &[&'static str]) -> Vec<&'static str> {
    required.iter().copied().filter(|field| !fields.contains_key(*field)).collect()
}

/// Refuses a body that lacks something, by its names.
pub(super) fn refuse_missing(
    fields: &Map<String, Value>,
    required: &[&'static str],
) -> Result<(), Refusal> {
    let missing = missing(fields, required);
    if missing.is_empty() { Ok(()) } else { Err(Refusal::Missing(missing)) }
}

/// The name of a new object, which must be one that Docker takes.
pub(super) fn new_name(field: &str, name: &str) -> Result<Name, Refusal> {
    Name::new(name).map_err(|reason| Invalid::field(field, reason.to_string()).into())
}

/// The name of a new user or user group.
pub(super) fn new_account_name(field: &str, name: &str) -> Result<AccountName, Refusal> {
    AccountName::new(name).map_err(|reason| Invalid::field(field, reason).into())
}
