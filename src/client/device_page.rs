//! `GET /devices`: the query as it is sent, and a page of devices as it comes.

use super::Object;
use super::report_page::object;
use crate::model::DeviceQuery;
use serde_json::Value;

/// A page of the inventory. Each device is what the manager says of it: whoever reads one must do
/// without any key of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePage {
    /// The devices, by hostname.
    pub devices: Vec<Object>,
    /// What the next page is asked for with; none at the end.
    pub after: Option<String>,
}

/// A query's pairs.
pub(super) fn pairs(query: &DeviceQuery) -> Vec<(&'static str, String)> {
    let given = [
        ("device_group", query.device_group.clone()),
        ("state", query.state.map(|state| state.to_string())),
        ("app", query.app.clone()),
        ("version", query.version.map(|version| version.to_string())),
        ("seen_since", query.seen_since.map(|seconds| seconds.to_string())),
        ("after", query.after.clone()),
    ];
    let mut pairs = vec![("page_size", query.page_size.to_string())];
    pairs.extend(given.into_iter().filter_map(|(key, value)| Some((key, value?))));
    pairs
}

/// Reads a page; none when it has another shape.
pub(super) fn read(mut reply: Object) -> Option<DevicePage> {
    let Value::Array(items) = reply.remove("devices")? else { return None };
    let devices = items.into_iter().map(object).collect::<Option<_>>()?;
    let after = match reply.remove("after")? {
        Value::Null => None,
        Value::String(after) => Some(after),
        _ => return None,
    };
    Some(DevicePage { devices, after })
}
