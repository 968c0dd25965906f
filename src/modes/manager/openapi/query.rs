//! What stands in paths, queries and headers.

use super::super::wait::MAX_WAIT_SECONDS;
use super::schemas::{ACCOUNT_NAME, NAME};
use crate::model::{Comparison, DeviceState, MAX_PAGE_SIZE, Standing};
use serde_json::{Value, json};

/// What machines are called. Whatever else one calls itself is found as well.
const HOSTNAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$";

/// The name in a path.
pub(super) fn name(path: &str) -> Value {
    let schema = match path {
        // What a machine calls itself.
        _ if path.starts_with("/api/v2/devices/") => {
            json!({ "type": "string", "pattern": HOSTNAME })
        }
        _ if path.starts_with("/api/v2/user") => {
            json!({ "type": "string", "pattern": ACCOUNT_NAME })
        }
        _ => json!({ "type": "string", "pattern": NAME }),
    };
    json!({ "name": "name", "in": "path", "required": true, "schema": schema })
}

/// The header by which a client says what it has.
pub(in super::super) fn if_none_match() -> Value {
    json!({ "name": "If-None-Match", "in": "header", "schema": { "type": "string" } })
}

/// How long a client is willing to wait.
pub(in super::super) fn wait() -> Value {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS });
    json!({ "name": "wait", "in": "query", "schema": schema })
}

/// The query of reports.
pub(in super::super) fn reports() -> Vec<Value> {
    let comparisons = Comparison::ALL.map(|(name, _)| name);
    let spellings = ["True", "False", "true", "false"];
    [
        ("page_size", page_size()),
        ("hostname", json!({ "type": "string" })),
        ("device_group", json!({ "type": "string" })),
        ("report_creation_time", seconds()),
        ("report_creation_time_filter", json!({ "type": "string", "enum": comparisons })),
        ("updated", json!({ "type": "string", "enum": spellings })),
        ("last_id", json!({ "type": "string", "pattern": "^[0-9a-fA-F]{24}$" })),
    ]
    .map(in_query)
    .into()
}

/// The query of devices.
pub(in super::super) fn devices() -> Vec<Value> {
    let states = DeviceState::ALL.map(Standing::Says).map(Standing::as_str);
    let states = [&states[..], &[Standing::Away.as_str()]].concat();
    [
        ("page_size", page_size()),
        ("device_group", json!({ "type": "string" })),
        ("state", json!({ "type": "string", "enum": states })),
        ("app", json!({ "type": "string" })),
        ("version", json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })),
        ("seen_since", seconds()),
        ("after", json!({ "type": "string" })),
    ]
    .map(in_query)
    .into()
}

fn in_query((name, schema): (&str, Value)) -> Value {
    json!({ "name": name, "in": "query", "schema": schema })
}

fn page_size() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE })
}

fn seconds() -> Value {
    json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX })
}
