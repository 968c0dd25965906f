//! The schemas of reports, devices and how far they are.
//!
//! A report is what a worker of any version says: only its first keys are promised, and what cannot
//! be read of it is told beside the others that are kept.

use super::super::reports::MAX_REPORTS;
use super::schemas::{id, list, object, text, with};
use crate::model::{EnrollmentFields, MAX_ENROLLED, MAX_HOSTNAME_BYTES, MAX_LINES, Standing};
use serde_json::{Map, Value, json};

/// All of them by name.
pub(super) fn add(add: &mut impl FnMut(&str, Value) -> Option<Value>) {
    add("Reports", reports());
    let new = json!({ "reports": list(MAX_REPORTS, json!({})) });
    add("NewReports", object(&["reports"], new, false));
    add("AddedReports", added());
    add("Device", device());
    let after = json!({ "type": ["string", "null"] });
    let devices =
        json!({ "devices": { "type": "array", "items": super::schema("Device") }, "after": after });
    add("Devices", object(&["devices", "after"], devices, true));
    add_enrollment(add);
    add("DeviceGroupStatus", status(&[("device_group", text()), ("revision", id())]));
    let groups = json!({ "type": "array", "items": text() });
    add(
        "AppStatus",
        status(&[
            ("app_name", text()),
            ("app_id", id()),
            ("device_groups", groups),
            ("device_groups_hidden", json!({ "type": "integer", "minimum": 0 })),
        ]),
    );
}

/// What enrollment takes and answers.
fn add_enrollment(add: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let hostname = || json!({ "type": "string", "minLength": 1, "maxLength": MAX_HOSTNAME_BYTES });
    let number =
        |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let (least, most) = EnrollmentFields::TTLS.into_inner();
    let fields = json!({
        "devices": number(1, MAX_ENROLLED as u64),
        "ttl_seconds": number(least.into(), most.into()),
    });
    add("EnrollmentFields", object(&[], fields, false));
    let made = json!({
        "device_group": text(), "enrollment_token": text(), "devices": number(1, MAX_ENROLLED as u64),
        "expires_at": seconds(),
    });
    let required = ["device_group", "enrollment_token", "devices", "expires_at"];
    add("Enrollment", object(&required, made, true));
    let token = json!({
        "type": "string",
        "description": "`nebula_device_`, the hostname in hex, `_` and 32 random bytes in base64 for URLs",
    });
    let new = json!({ "hostname": hostname(), "token": token });
    add("NewDevice", object(&["hostname", "token"], new, false));
    let enrolled = json!({ "hostname": text(), "device_group": text() });
    add("EnrolledDevice", object(&["hostname", "device_group"], enrolled, true));
    let revoked = json!({ "hostname": text(), "revoked_at": seconds() });
    add("RevokedDevice", object(&["hostname", "revoked_at"], revoked, true));
}

fn reports() -> Value {
    let data = json!({ "anyOf": [{ "type": "null" }, { "type": "array", "items": { "type": "object" } }] });
    let oid = object(&["$oid"], json!({ "$oid": { "type": "string" } }), false);
    let last_id = json!({ "anyOf": [{ "type": "null" }, oid] });
    object(&["data", "last_id"], json!({ "data": data, "last_id": last_id }), true)
}

fn added() -> Value {
    let number = json!({ "type": "integer", "minimum": 0 });
    let refused =
        object(&["index", "problem"], json!({ "index": number, "problem": text() }), true);
    let fields = json!({ "accepted": number, "refused": list(MAX_REPORTS, refused) });
    object(&["accepted", "refused"], fields, true)
}

fn standing() -> Value {
    json!({ "enum": Standing::ALL.map(Standing::as_str) })
}

fn seconds() -> Value {
    json!({ "type": "integer", "description": "Seconds since 1970." })
}

fn device() -> Value {
    let items = || json!({ "type": "array", "items": { "type": "object" } });
    let time = json!({ "type": ["integer", "null"], "description": "Seconds since 1970." });
    let times = json!({ "enrolled_at": time, "revoked_at": time });
    let credential = object(&["enrolled_at", "revoked_at"], times, true);
    let credential = json!({ "anyOf": [{ "type": "null" }, credential] });
    let fields = json!({
        "hostname": text(), "device_group": text(), "state": standing(),
        "reported_state": standing(), "last_seen": seconds(), "report_creation_time": seconds(),
        "apps": items(), "cron_jobs": items(), "credential": credential,
    });
    let required = ["hostname", "device_group", "state", "reported_state", "last_seen", "apps"];
    with(object(&required, fields, true), "reason", json!({ "type": "string" }))
}

fn status(own: &[(&str, Value)]) -> Value {
    let number = json!({ "type": "integer", "minimum": 0 });
    let counts: Map<String, Value> = Standing::ALL
        .map(|standing| (standing.as_str().to_owned(), number.clone()))
        .into_iter()
        .collect();
    let words = Standing::ALL.map(Standing::as_str);
    let line = json!({
        "hostname": text(), "device_group": text(), "state": standing(), "reason": text(),
        "last_seen": seconds(),
    });
    let line = object(&["hostname", "device_group", "state", "last_seen"], line, true);
    let mut fields: Map<String, Value> =
        own.iter().map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect();
    fields.insert("devices".to_owned(), number);
    fields.insert("states".to_owned(), object(&words, counts, true));
    fields.insert("not_converged".to_owned(), list(MAX_LINES, line));
    let required: Vec<&str> =
        own.iter().map(|(key, _)| *key).chain(["devices", "states", "not_converged"]).collect();
    object(&required, fields, true)
}
