//! The route of reports.

use super::reply::{Answer, ok};
use crate::model::ReportQuery;
use axum::extract::RawQuery;
use serde_json::{Value, json};

/// `GET /reports`. No report reaches this manager's store yet, so a page is always the last one
/// and empty, in the form that clients know for that.
pub(super) async fn list(RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let pairs = pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    ReportQuery::decode(pairs)?;
    Ok(ok(&json!({ "data": Value::Null, "last_id": Value::Null })))
}
