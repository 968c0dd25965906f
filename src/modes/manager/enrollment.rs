//! How devices get credentials of their own, and lose them.
//!
//! Whoever may change a device group has a one-time token made; a device exchanges it for a token
//! that the device itself has made.
//!
//! Invariants: an enrollment token lets in so many devices and no more; the same exchange again
//! has the same answer, so that an answer which is lost on the way costs nothing; but never after
//! its device was shut out; no token in clear is kept here.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::devices::EXISTS;
use super::objects::unknown;
use super::reply::{Answer, Refusal, ok};
use crate::clock::unix_seconds;
use crate::model::{
    Admitted, DeviceCredential, DeviceGroup, DeviceName, Enrollment, EnrollmentFields,
    EnrollmentId, Granted, Identity, Invalid, NewDevice, Revision, Standing, TokenDigest,
    new_enrollment_token,
};
use crate::store::{Kind, Noun};
use axum::Extension;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Enrollments of one group that have not ended. One more ends the one that would end first.
const MAX_OF_GROUP: usize = 100;
/// Ended ones that one request removes.
const MAX_REMOVED: usize = 100;
/// A device's record is made or changed, whichever fits; each round that fails is one in which
/// somebody else wrote it.
const MAX_ROUNDS: usize = 5;
/// The flag of a record that is there, or not as it was; nobody is shown it.
const RECORD: &str = "device_credential_exists";

/// `POST /device_groups/N/enroll`: a new enrollment token.
pub(super) async fn make(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    if manager.declarations.find::<DeviceGroup>(&name).await?.is_none() {
        return Err(unknown::<DeviceGroup>());
    }
    let fields = EnrollmentFields::decode(body.fields()?.clone())?;
    clean_up(&manager, &who, &name).await?;
    let expires_at = u32::try_from(unix_seconds().cast_unsigned())
        .unwrap_or(u32::MAX)
        .saturating_add(fields.ttl_seconds);
    let id = EnrollmentId::new(expires_at, &name, rand::random());
    let secret = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let token = new_enrollment_token(&id, &secret);
    let enrollment = Enrollment {
        identity: Identity::default(),
        enrollment: id,
        device_group: name.clone(),
        token: TokenDigest::of(token.expose().as_bytes()),
        devices: fields.devices,
        used: Vec::new(),
    };
    let change = Change::new(&who, "enroll", enrollment.enrollment.as_str());
    // Two of one second that share 48 random bits; whoever asks again gets another one.
    manager.declarations.create(change, enrollment, Refusal::Busy).await?;
    Ok(ok(&json!({
        "device_group": name,
        "enrollment_token": token.expose(),
        "devices": fields.devices,
        "expires_at": expires_at,
    })))
}

/// Removes enrollments that have ended, and makes room for one more of a group.
async fn clean_up(manager: &Shared, who: &Principal, group: &str) -> Result<(), Refusal> {
    let now = unix_seconds().cast_unsigned();
    let (open, ended): (Vec<EnrollmentId>, Vec<EnrollmentId>) =
        enrollments(manager).await?.into_iter().partition(|id| now < id.expires_at());
    // By the time of their end, as they are sorted by name.
    let of_group: Vec<&EnrollmentId> = open.iter().filter(|id| id.may_be_of(group)).collect();
    let surplus = (of_group.len() + 1).saturating_sub(MAX_OF_GROUP);
    for id in ended.iter().chain(of_group.into_iter().take(surplus)).take(MAX_REMOVED) {
        remove(manager, who, id).await?;
    }
    Ok(())
}

async fn enrollments(manager: &Shared) -> Result<Vec<EnrollmentId>, Refusal> {
    let names = manager.declarations.names(Kind::Enrollment).await?;
    Ok(names.iter().filter_map(|name| EnrollmentId::parse(name)).collect())
}

/// Somebody else may have removed it as well.
async fn remove(manager: &Shared, who: &Principal, id: &EnrollmentId) -> Result<(), Refusal> {
    let gone = Refusal::Unauthorized;
    let change = Change::new(who, "expire", id.as_str());
    match manager.declarations.delete(change, Kind::Enrollment, gone).await {
        Err(Refusal::Unauthorized) => Ok(()),
        done => done,
    }
}

/// `POST /enroll`: the exchange.
pub(super) async fn enroll(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    body: Payload,
) -> Answer {
    let Some(id) = who.enrollment().cloned() else { return Err(Refusal::Forbidden) };
    let device = NewDevice::decode(body.fields()?.clone())?;
    let hostname = device.hostname.as_str();
    let Some(enrollment) = manager.declarations.find::<Enrollment>(id.as_str()).await? else {
        return Err(Refusal::Unauthorized);
    };
    let known = manager.declarations.find::<DeviceCredential>(hostname).await?;
    let group = enrollment.device_group.clone();
    if is_anothers(&manager, known.as_ref(), hostname, &group).await? {
        let reason = "is a device of another group; `nebula ctl devices revoke` it there first";
        return Err(Invalid::field("hostname", reason).into());
    }
    let seen = known.as_ref().map_or(Revision::default(), Noun::revision);
    let admitted = match enrollment.admitted(&device.token) {
        Some(admitted) => admitted.clone(),
        None => admit(&manager, &who, &id, &device, seen).await?,
    };
    let is_done = |known: &DeviceCredential| {
        known.token.as_ref() == Some(&device.token) && known.device_group == group
    };
    if known.as_ref().is_some_and(is_done) || put(&manager, &who, &admitted, &group).await? {
        return Ok(ok(&enrolled(hostname, &group)));
    }
    // The same exchange beside this one may have been quicker; else somebody else wrote the record
    // since, and whoever was shut out or enrolled anew is not let in by what was before.
    let now = manager.declarations.find::<DeviceCredential>(hostname).await?;
    if now.as_ref().is_some_and(is_done) {
        return Ok(ok(&enrolled(hostname, &group)));
    }
    Err(Refusal::Unauthorized)
}

/// Whether a hostname is one of another group: whoever may enroll devices of one must not take the place
/// of another's.
async fn is_anothers(
    manager: &Shared,
    known: Option<&DeviceCredential>,
    hostname: &str,
    group: &str,
) -> Result<bool, Refusal> {
    if let Some(enrolled) = known.filter(|known| known.token.is_some()) {
        return Ok(enrolled.device_group != group);
    }
    let heard = manager.reports.store().device(hostname).await?;
    let was_shut_out = |group: &str| known.is_some_and(|known| known.revoked.contains_key(group));
    let heard = heard.filter(|heard| !was_shut_out(&heard.device_group));
    let now = unix_seconds();
    Ok(heard
        .is_some_and(|heard| heard.device_group != group && heard.standing(now) != Standing::Away))
}

/// Takes a place of an enrollment.
async fn admit(
    manager: &Shared,
    who: &Principal,
    id: &EnrollmentId,
    device: &NewDevice,
    seen: Revision,
) -> Result<Admitted, Refusal> {
    let (hostname, token) = (device.hostname.clone(), device.token.clone());
    let new = Admitted { hostname, token, seen };
    let admit = move |mut enrollment: Enrollment| {
        let now = unix_seconds().cast_unsigned();
        let is_open = now < enrollment.enrollment.expires_at() && enrollment.admit(new.clone());
        is_open.then_some(enrollment).ok_or(Refusal::Unauthorized)
    };
    let change = Change::new(who, "admit", id.as_str());
    let changed = manager.declarations.change(change, || Refusal::Unauthorized, admit).await?;
    changed.admitted(&device.token).cloned().ok_or(Refusal::Unauthorized)
}

/// Writes a device's record with its token, if the record is still what it was when the device was
/// admitted.
async fn put(
    manager: &Shared,
    who: &Principal,
    admitted: &Admitted,
    group: &str,
) -> Result<bool, Refusal> {
    const OVERTAKEN: Refusal = Refusal::flag(RECORD, false);
    let (seen, token, group) = (admitted.seen, admitted.token.clone(), group.to_owned());
    let edit = move |known: DeviceCredential| DeviceCredential {
        device_group: group.clone(),
        token: Some(token.clone()),
        enrolled_at: Some(unix_seconds().cast_unsigned()),
        ..known
    };
    let change = Change::new(who, "enroll", admitted.hostname.as_str());
    let written = if seen == Revision::default() {
        let new = edit(DeviceCredential::new(admitted.hostname.clone(), String::new()));
        manager.declarations.create(change, new, OVERTAKEN).await
    } else {
        let edit = move |known: DeviceCredential| {
            if known.revision() == seen { Ok(edit(known)) } else { Err(OVERTAKEN) }
        };
        manager.declarations.change(change, || OVERTAKEN, edit).await
    };
    match written {
        Ok(_) => Ok(true),
        Err(Refusal::Flag(_, RECORD, _)) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

fn enrolled(hostname: &str, device_group: &str) -> Value {
    json!({ "hostname": hostname, "device_group": device_group })
}

/// `POST /devices/N/revoke`: shuts a device out, whether or not it was ever heard of.
pub(super) async fn revoke(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let credential = manager.declarations.find::<DeviceCredential>(&name).await?;
    let heard = manager.reports.store().device(&name).await?;
    let groups: Vec<String> = (credential.iter().map(|known| known.device_group.clone()))
        .chain(heard.map(|device| device.device_group))
        .filter(|group| !group.is_empty())
        .collect();
    let is_seen = groups.iter().all(|group| who.may_read(Granted::DeviceGroup, group));
    // Of a device that nobody knows, only an admin can say that it is theirs.
    if !is_seen || (groups.is_empty() && !who.is_admin()) {
        return Err(Refusal::flag(EXISTS, false));
    }
    if !groups.iter().all(|group| who.may_write(Granted::DeviceGroup, group)) {
        return Err(Refusal::Forbidden);
    }
    let hostname = DeviceName::new(&name).map_err(|reason| Invalid::field("hostname", reason))?;
    let revoked_at = unix_seconds().cast_unsigned();
    let of = groups.clone();
    let shut_out = move |mut known: DeviceCredential| {
        known.revoke(&of, revoked_at);
        known
    };
    let revoked = Box::pin(write(&manager, &who, hostname, &groups, shut_out)).await?;
    // It is out; what it might come back by goes after it.
    end_enrollments(&manager, &who, &revoked.hostname, &groups).await?;
    Ok(ok(&json!({ "hostname": revoked.hostname.as_str(), "revoked_at": revoked_at })))
}

/// Ends the enrollment tokens that a device came by: whoever has it may have them as well.
async fn end_enrollments(
    manager: &Shared,
    who: &Principal,
    hostname: &DeviceName,
    groups: &[String],
) -> Result<(), Refusal> {
    let open = enrollments(manager).await?;
    for id in open.iter().filter(|id| groups.iter().any(|group| id.may_be_of(group))) {
        let enrollment = manager.declarations.find::<Enrollment>(id.as_str()).await?;
        let names_it = |enrollment: &Enrollment| {
            enrollment.used.iter().any(|admitted| admitted.hostname == *hostname)
        };
        if enrollment.as_ref().is_some_and(names_it) {
            remove(manager, who, id).await?;
        }
    }
    Ok(())
}

/// Makes or changes the record of a device.
async fn write(
    manager: &Shared,
    who: &Principal,
    hostname: DeviceName,
    groups: &[String],
    edit: impl Fn(DeviceCredential) -> DeviceCredential + Clone + Send + 'static,
) -> Result<DeviceCredential, Refusal> {
    const THERE: Refusal = Refusal::flag(RECORD, true);
    const GONE: Refusal = Refusal::flag(RECORD, false);
    let group = groups.first().cloned().unwrap_or_default();
    for _ in 0..MAX_ROUNDS {
        let change = Change::new(who, "revoke", hostname.as_str());
        let edit_known = edit.clone();
        let known = move |known: DeviceCredential| Ok(edit_known(known));
        match manager.declarations.change(change.clone(), || GONE, known).await {
            Err(Refusal::Flag(_, RECORD, _)) => {}
            done => return done,
        }
        let new = edit(DeviceCredential::new(hostname.clone(), group.clone()));
        match manager.declarations.create(change, new, THERE).await {
            Err(Refusal::Flag(_, RECORD, _)) => {}
            done => return done,
        }
    }
    Err(Refusal::Busy)
}

/// What `GET /devices/N` says of a device's record.
pub(super) async fn shown(manager: &Shared, hostname: &str) -> Result<Value, Refusal> {
    let known = manager.declarations.find::<DeviceCredential>(hostname).await?;
    Ok(known.map_or(Value::Null, |known| {
        let times = [("enrolled_at", known.enrolled_at), ("revoked_at", known.revoked_at())];
        let times = times.map(|(key, at)| (key.to_owned(), at.map_or(Value::Null, Value::from)));
        Map::from_iter(times).into()
    }))
}
