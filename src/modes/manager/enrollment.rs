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
    DeviceCredential, DeviceGroup, DeviceName, Enrollment, EnrollmentFields, EnrollmentId, Granted,
    Identity, Invalid, NewDevice, TokenDigest, new_enrollment_token,
};
use crate::store::Kind;
use axum::Extension;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Enrollments that have not ended; a list of their names is read as a whole.
const MAX_ENROLLMENTS: usize = 10_000;
/// Ended ones that one request removes.
const MAX_REMOVED: usize = 100;
/// A device's record is made or changed, whichever fits; each round that fails is one in which
/// somebody else wrote it.
const MAX_ROUNDS: usize = 5;

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
    if clean_up(&manager, &who).await? >= MAX_ENROLLMENTS {
        let reason = format!("{MAX_ENROLLMENTS} are open, and no more can be; let some expire");
        return Err(Invalid::field("enrollments", reason).into());
    }
    let expires_at = u32::try_from(unix_seconds().cast_unsigned())
        .unwrap_or(u32::MAX)
        .saturating_add(fields.ttl_seconds);
    let id = EnrollmentId::new(expires_at, rand::random());
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

/// Removes enrollments that have ended, and says how many have not.
async fn clean_up(manager: &Shared, who: &Principal) -> Result<usize, Refusal> {
    let (open, ended): (Vec<EnrollmentId>, Vec<EnrollmentId>) = enrollments(manager)
        .await?
        .into_iter()
        .partition(|id| unix_seconds().cast_unsigned() < id.expires_at());
    for id in ended.iter().take(MAX_REMOVED) {
        remove(manager, who, id).await?;
    }
    Ok(open.len())
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
    // Or whoever may enroll devices of one group could take the place of another group's.
    let is_anothers = |known: &DeviceCredential| {
        known.token.is_some() && known.device_group != enrollment.device_group
    };
    if known.as_ref().is_some_and(is_anothers) {
        let reason = "is enrolled in another device group; `nebula ctl devices revoke` it first";
        return Err(Invalid::field("hostname", reason).into());
    }
    if enrollment.used.contains(&device.token) {
        match &known {
            Some(known) if known.token.as_ref() == Some(&device.token) => {
                return Ok(ok(&enrolled(hostname, &enrollment.device_group)));
            }
            // It was shut out, or got another token since: this one is spent.
            Some(known) if known.is_spent() => {
                return Err(Refusal::Unauthorized);
            }
            // It was admitted, and its record was not written any more.
            _ => {}
        }
    } else {
        let token = device.token.clone();
        let admit = move |mut enrollment: Enrollment| {
            let is_open = unix_seconds().cast_unsigned() < enrollment.enrollment.expires_at()
                && enrollment.admit(&token);
            is_open.then_some(enrollment).ok_or(Refusal::Unauthorized)
        };
        let change = Change::new(&who, "admit", id.as_str());
        manager.declarations.change(change, || Refusal::Unauthorized, admit).await?;
    }
    let (token, device_group) = (device.token, enrollment.device_group.clone());
    let subject = (device.hostname, &*enrollment.device_group);
    let credential = write(&manager, &who, "enroll", subject, move |known| DeviceCredential {
        device_group: device_group.clone(),
        token: Some(token.clone()),
        enrolled_at: Some(unix_seconds().cast_unsigned()),
        ..known
    });
    let credential = Box::pin(credential).await?;
    Ok(ok(&enrolled(credential.hostname.as_str(), &credential.device_group)))
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
    if let Some(token) = credential.and_then(|known| known.token) {
        end_enrollments(&manager, &who, &token).await?;
    }
    let group = groups.into_iter().next().unwrap_or_default();
    let revoked_at = unix_seconds().cast_unsigned();
    let revoked = write(&manager, &who, "revoke", (hostname, &group), move |known| {
        DeviceCredential { token: None, revoked_at: Some(revoked_at), ..known }
    });
    let revoked = Box::pin(revoked).await?;
    Ok(ok(&json!({ "hostname": revoked.hostname.as_str(), "revoked_at": revoked_at })))
}

/// Ends the enrollment tokens that a device came by: whoever has it may have them as well.
async fn end_enrollments(
    manager: &Shared,
    who: &Principal,
    token: &TokenDigest,
) -> Result<(), Refusal> {
    for id in enrollments(manager).await? {
        let enrollment = manager.declarations.find::<Enrollment>(id.as_str()).await?;
        if enrollment.is_some_and(|enrollment| enrollment.used.contains(token)) {
            remove(manager, who, &id).await?;
        }
    }
    Ok(())
}

/// Makes or changes the record of a device.
async fn write(
    manager: &Shared,
    who: &Principal,
    what: &'static str,
    (hostname, group): (DeviceName, &str),
    edit: impl Fn(DeviceCredential) -> DeviceCredential + Clone + Send + 'static,
) -> Result<DeviceCredential, Refusal> {
    const THERE: Refusal = Refusal::flag("device_credential_exists", true);
    const GONE: Refusal = Refusal::flag("device_credential_exists", false);
    let mut last = Refusal::Busy;
    for _ in 0..MAX_ROUNDS {
        let change = Change::new(who, what, hostname.as_str());
        let edit_known = edit.clone();
        let known = move |known: DeviceCredential| Ok(edit_known(known));
        match manager.declarations.change(change.clone(), || GONE, known).await {
            Err(Refusal::Flag(..)) => {}
            done => return done,
        }
        let new = edit(DeviceCredential::new(hostname.clone(), group.to_owned()));
        match manager.declarations.create(change, new, THERE).await {
            Err(refusal @ Refusal::Flag(..)) => last = refusal,
            done => return done,
        }
    }
    Err(last)
}

/// What `GET /devices/N` says of a device's record.
pub(super) async fn shown(manager: &Shared, hostname: &str) -> Result<Value, Refusal> {
    let known = manager.declarations.find::<DeviceCredential>(hostname).await?;
    Ok(known.map_or(Value::Null, |known| {
        let revoked_at = known.revoked_at.filter(|_| known.token.is_none());
        let times = [("enrolled_at", known.enrolled_at), ("revoked_at", revoked_at)];
        let times = times.map(|(key, at)| (key.to_owned(), at.map_or(Value::Null, Value::from)));
        Map::from_iter(times).into()
    }))
}
