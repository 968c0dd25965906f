//! The body of a request, for each noun.
//!
//! What is accepted prints, and what was printed is accepted as the same. What is refused names a
//! field. What a refusal of a user says does not depend on the letters of the secret.

use super::shared::{masked, printed, refused};
use nebula::model::{
    Access, App, AppFields, CronJob, CronJobFields, DeviceGroup, DeviceGroupFields, Granted,
    Identity, Name, Rights, Unknown, User, UserFields, UserGroup, UserGroupFields, UserGroupSpec,
    strict_object,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The name in the path.
const NAME: &str = "a";

/// A letter that picks the noun, then the body.
pub fn check(bytes: &[u8]) {
    let Some((noun, body)) = bytes.split_first() else { return };
    let body = match strict_object(body) {
        Ok(body) => body,
        Err(reason) => return assert!(!reason.is_empty() && reason.len() < 1_000, "{reason}"),
    };
    for unknown in [Unknown::Refuse, Unknown::Ignore] {
        match noun {
            b'c' => cron_job(body.clone(), unknown),
            b'd' => device_group(body.clone(), unknown),
            b'g' => user_group(body.clone(), unknown),
            b'u' => user(&body),
            _ => app(body.clone(), unknown),
        }
    }
    match noun {
        b'c' => same(body, CronJob::decode),
        b'd' => same(body, DeviceGroup::decode),
        b'g' => same(body, UserGroup::decode),
        b'u' => same(body, User::decode),
        _ => same(body, App::decode),
    }
}

/// A whole object, as a store keeps it and a device is told it: printed, it is read as the same.
fn same<T: serde::Serialize + PartialEq + std::fmt::Debug>(
    object: Map<String, Value>,
    decode: impl Fn(Map<String, Value>) -> Result<T, nebula::model::Invalid>,
) {
    match decode(object) {
        Ok(object) => assert_eq!(decode(printed(&object)).as_ref(), Ok(&object)),
        Err(invalid) => refused(&invalid),
    }
}

fn name() -> Name {
    Name::new(NAME).expect("a name")
}

fn app(body: Map<String, Value>, unknown: Unknown) {
    let fields = match AppFields::decode(body, Some(NAME), unknown) {
        Ok(fields) => fields,
        Err(invalid) => return refused(&invalid),
    };
    let spec = match fields.clone().into_spec() {
        Ok(spec) => spec,
        Err(invalid) => return refused(&invalid),
    };
    assert_eq!(spec.with(fields.clone()).as_ref(), Ok(&spec), "its own fields change it");
    let replaced = fields.into_replacement().expect("what can be added can replace");
    assert_eq!(replaced.hash(), spec.hash());
    let app = App { identity: Identity::default(), app_id: 1, app_name: name(), spec };
    let again = AppFields::decode(printed(&app), Some(NAME), Unknown::Refuse);
    let again = again.and_then(AppFields::into_spec);
    assert_eq!(again.as_ref(), Ok(&app.spec));
    assert_eq!(again.map(|spec| spec.hash()), Ok(app.spec.hash()));
    same(printed(&app), App::decode);
    let container = app.container_spec(1, app.container_name(1));
    assert_eq!(container.labels.get("app_name").map(String::as_str), Some(NAME));
}

fn cron_job(body: Map<String, Value>, unknown: Unknown) {
    let fields = match CronJobFields::decode(body, Some(NAME), unknown) {
        Ok(fields) => fields,
        Err(invalid) => return refused(&invalid),
    };
    let spec = match fields.clone().into_spec() {
        Ok(spec) => spec,
        Err(invalid) => return refused(&invalid),
    };
    assert_eq!(spec.with(fields).as_ref(), Ok(&spec), "its own fields change it");
    let job =
        CronJob { identity: Identity::default(), cron_job_id: 1, cron_job_name: name(), spec };
    let again = CronJobFields::decode(printed(&job), Some(NAME), Unknown::Refuse);
    assert_eq!(again.and_then(CronJobFields::into_spec).as_ref(), Ok(&job.spec));
    same(printed(&job), CronJob::decode);
}

fn device_group(body: Map<String, Value>, unknown: Unknown) {
    let fields = match DeviceGroupFields::decode(body, Some(NAME), unknown) {
        Ok(fields) => fields,
        Err(invalid) => return refused(&invalid),
    };
    let group = DeviceGroup {
        identity: Identity::default(),
        device_group: name(),
        device_group_id: 1,
        prune_id: 1,
        apps: fields.apps.unwrap_or_default(),
        cron_jobs: fields.cron_jobs.unwrap_or_default(),
    };
    let again = DeviceGroupFields::decode(printed(&group), Some(NAME), Unknown::Refuse);
    let again = again.map(|fields| (fields.apps, fields.cron_jobs));
    assert_eq!(again, Ok((Some(group.apps.clone()), Some(group.cron_jobs.clone()))));
    same(printed(&group), DeviceGroup::decode);
}

fn user_group(body: Map<String, Value>, unknown: Unknown) {
    let fields = match UserGroupFields::decode(body, Some(NAME), unknown) {
        Ok(fields) => fields,
        Err(invalid) => return refused(&invalid),
    };
    let spec = UserGroupSpec::default().with(fields.clone());
    assert_eq!(spec.clone().with(fields), spec, "its own fields change it");
    let rights = Rights::of(vec![Arc::new(spec.clone())]);
    assert_eq!(rights.is_admin(), spec.admin);
    for (name, access) in &spec.apps {
        assert!(rights.allow(Granted::App, name, *access));
        assert!(rights.allow(Granted::App, name, Access::Read));
    }
    let user_group = nebula::model::AccountName::new(NAME).expect("a name");
    let group = UserGroup { identity: Identity::default(), user_group, spec };
    same(printed(&group), UserGroup::decode);
}

/// A user's body is read twice, the second time with other secrets of the same form.
fn user(body: &Map<String, Value>) {
    let mut other = body.clone();
    for key in ["password", "token"] {
        if let Some(Value::String(secret)) = other.get_mut(key) {
            *secret = masked(secret);
        }
    }
    let one = UserFields::decode(body.clone(), Some(NAME));
    let other = UserFields::decode(other, Some(NAME));
    if let Err(invalid) = &one {
        refused(invalid);
    }
    assert_eq!(format!("{one:?}"), format!("{other:?}"), "a secret shows");
}
