//! The query of a request for reports.
//!
//! A query that was read can be written again and read as the same; a refusal names the key.

use super::shared;
use nebula::model::{Comparison, MAX_PAGE_SIZE, ReportQuery};
use url::form_urlencoded::{Serializer, parse};

/// What stands after the question mark, in the percent-encoded form.
pub fn check(bytes: &[u8]) {
    let query = match ReportQuery::decode(pairs(bytes)) {
        Ok(query) => query,
        Err(invalid) => return shared::refused(&invalid),
    };
    assert!((1..=MAX_PAGE_SIZE).contains(&query.page_size), "{} reports", query.page_size);
    let again = ReportQuery::decode(pairs(written(&query).as_bytes()));
    assert_eq!(again.as_ref(), Ok(&query));
}

fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    parse(bytes).into_owned().collect()
}

fn written(query: &ReportQuery) -> String {
    let mut text = Serializer::new(String::new());
    text.append_pair("page_size", &query.page_size.to_string());
    if let Some(hostname) = &query.hostname {
        text.append_pair("hostname", hostname);
    }
    if let Some(group) = &query.device_group {
        text.append_pair("device_group", group);
    }
    if let Some((comparison, time)) = query.report_creation_time {
        let name = Comparison::ALL.iter().find(|(_, known)| *known == comparison);
        text.append_pair("report_creation_time_filter", name.expect("it has a name").0);
        text.append_pair("report_creation_time", &time.to_string());
    }
    if let Some(updated) = query.updated {
        text.append_pair("updated", if updated { "true" } else { "False" });
    }
    if let Some(id) = query.last_id {
        text.append_pair("last_id", &id.to_string());
    }
    text.finish()
}
