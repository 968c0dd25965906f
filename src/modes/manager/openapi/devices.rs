//! The schemas of reports, devices and how far they are.
//!
//! A report is what a worker of any version says: only its first keys are promised, and what cannot
//! be read of it is told beside the others that are kept.

use super::super::reports::MAX_REPORTS;
use super::schemas::{id, list, object, text, with};
use crate::model::{MAX_LINES, Standing};
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
    let fields = json!({
        "hostname": text(), "device_group": text(), "state": standing(),
        "reported_state": standing(), "last_seen": seconds(), "report_creation_time": seconds(),
        "apps": items(), "cron_jobs": items(),
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
