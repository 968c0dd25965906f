//! What stands in paths, queries and headers.

use super::super::wait::MAX_WAIT_SECONDS;
use super::schemas::{ACCOUNT_NAME, NAME};
use crate::model::{Comparison, MAX_PAGE_SIZE};
use serde_json::{Value, json};

/// The name in a path.
pub(super) fn name(path: &str) -> Value {
    let is_account = path.starts_with("/api/v2/user");
    let pattern = if is_account { ACCOUNT_NAME } else { NAME };
    let schema = json!({ "type": "string", "pattern": pattern });
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
    let page_size = json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE });
    let seconds = json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX });
    let spellings = ["True", "False", "true", "false"];
    [
        ("page_size", page_size),
        ("hostname", json!({ "type": "string" })),
        ("device_group", json!({ "type": "string" })),
        ("report_creation_time", seconds),
        ("report_creation_time_filter", json!({ "type": "string", "enum": comparisons })),
        ("updated", json!({ "type": "string", "enum": spellings })),
        ("last_id", json!({ "type": "string", "pattern": "^[0-9a-fA-F]{24}$" })),
    ]
    .map(|(name, schema)| json!({ "name": name, "in": "query", "schema": schema }))
    .into()
}
