//! `GET /reports`: the query as it is sent, and a page of reports as it comes.

use super::Object;
use crate::model::{Comparison, ReportQuery, Uid};
use serde_json::Value;

/// A page of reports. Each is what a device said, whatever that is: whoever reads one must do
/// without any key of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportPage {
    /// The reports, in the manager's order; none at the end.
    pub reports: Vec<Object>,
    /// What the next page is asked for with; none at the end.
    pub last_id: Option<Uid>,
}

/// A query's pairs, in the contract's spelling.
pub(super) fn pairs(query: &ReportQuery) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("page_size", query.page_size.to_string())];
    let texts = [("hostname", &query.hostname), ("device_group", &query.device_group)];
    pairs.extend(texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))));
    if let Some((comparison, seconds)) = query.report_creation_time {
        let name = Comparison::ALL.into_iter().find(|(_, known)| *known == comparison);
        pairs.extend(name.map(|(name, _)| ("report_creation_time_filter", name.to_owned())));
        pairs.push(("report_creation_time", seconds.to_string()));
    }
    if let Some(updated) = query.updated {
        // Python's spelling: the original's managers know no other.
        pairs.push(("updated", if updated { "True" } else { "False" }.to_owned()));
    }
    pairs.extend(query.last_id.map(|id| ("last_id", id.to_string())));
    pairs
}

/// Reads a page; none when it has another shape.
pub(super) fn read(mut reply: Object) -> Option<ReportPage> {
    let reports = match reply.remove("data")? {
        Value::Null => Vec::new(),
        Value::Array(items) => items.into_iter().map(object).collect::<Option<_>>()?,
        _ => return None,
    };
    let last_id = match reply.remove("last_id")? {
        Value::Null => None,
        id => Some(Uid::parse(id.get("$oid")?.as_str()?)?),
    };
    Some(ReportPage { reports, last_id })
}

pub(super) fn object(value: Value) -> Option<Object> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}
