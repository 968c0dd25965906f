//! Reading a report, and following the pages of reports.
//!
//! A report is what a device of some version said: each key may be missing or odd, and then shows
//! as `-` or as it is.

use super::failure::Failure;
use super::objects::single;
use super::output::plain_value;
use super::session::Session;
use super::times;
use crate::client::{Object, Reply, ReportPage};
use crate::model::{ReportQuery, Uid};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads pages from `query` on to the end, but `most` of them at the most, and hands each to
/// `each`. Returns where it stopped, unless that was the end.
pub(super) async fn follow(
    session: &Session,
    mut query: ReportQuery,
    most: u32,
    mut each: impl FnMut(Reply<ReportPage>) -> Result<(), Failure>,
) -> Result<Option<Uid>, Failure> {
    for _ in 0..most {
        let reply = session.client().reports(&query).await;
        let reply = reply.map_err(|error| session.explain(&error))?;
        let (last_id, is_empty) = (reply.content.last_id, reply.content.reports.is_empty());
        each(reply)?;
        if is_empty || last_id.is_none() {
            return Ok(None);
        }
        if last_id == query.last_id {
            // To go on would be to go in a circle.
            return Err(Failure::new("the manager gives the same page of reports again"));
        }
        query.last_id = last_id;
    }
    Ok(query.last_id)
}

/// When a report was made, in seconds since 1970.
pub(super) fn seconds(report: &Object) -> Option<i64> {
    let value = report.get("report_creation_time")?;
    #[expect(clippy::cast_possible_truncation, reason = "a float outside of i64 saturates")]
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

/// When a report was made, in words.
pub(super) fn time(value: &Value) -> Vec<String> {
    value.as_i64().map_or_else(|| single(value), |seconds| vec![times::shown(seconds)])
}

/// The names of a report's containers of one kind.
pub(super) fn containers(report: &Object, key: &str) -> Vec<String> {
    let all = report.get(key).and_then(Value::as_array).into_iter().flatten();
    let name = |container: &Value| {
        let name = container.get("name")?.as_str()?;
        Some(name.strip_prefix('/').unwrap_or(name).to_owned())
    };
    all.map(|container| name(container).unwrap_or_else(|| "-".to_owned())).collect()
}

/// The number of containers of one kind, in words.
pub(super) fn count(report: &Object, key: &str) -> String {
    let all = report.get(key).and_then(Value::as_array);
    all.map_or_else(|| "-".to_owned(), |all| all.len().to_string())
}

/// The containers of each app, a line each: of those that the device was told to run, and of those
/// that it runs.
pub(super) fn containers_by_app(report: &Object) -> Vec<String> {
    let config = report.get("current_device_group_config");
    by_stem(report, "apps_containers", config.and_then(|config| config.get("apps_list")), 1)
}

/// The same of each cron job. The time of its start stands in a container's name, too.
pub(super) fn containers_by_cron_job(report: &Object) -> Vec<String> {
    let config = report.get("current_device_group_config");
    let told = config.and_then(|config| config.get("cron_jobs_list"));
    by_stem(report, "cron_jobs_containers", told, 2)
}

fn by_stem(report: &Object, key: &str, told: Option<&Value>, numbers: usize) -> Vec<String> {
    let mut by_stem: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in told.and_then(Value::as_array).into_iter().flatten() {
        by_stem.entry(plain_value(name)).or_default();
    }
    for name in containers(report, key) {
        by_stem.entry(stem(&name, numbers).to_owned()).or_default().push(name);
    }
    if by_stem.is_empty() {
        return vec!["-".to_owned()];
    }
    let line = |(stem, names): (String, Vec<String>)| {
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        format!("{stem}: {names}")
    };
    by_stem.into_iter().map(line).collect()
}

/// A container's name without the numbers at its end.
fn stem(name: &str, numbers: usize) -> &str {
    let mut stem = name;
    for _ in 0..numbers {
        match stem.rsplit_once('-') {
            Some((start, end)) if end.bytes().all(|byte| byte.is_ascii_digit()) => stem = start,
            _ => return name,
        }
    }
    stem
}

/// `512 of 2048 MB`.
pub(super) fn megabytes(value: &Value) -> Vec<String> {
    match (value.get("used"), value.get("total")) {
        (Some(used), Some(total)) => {
            vec![format!("{} of {} MB", plain_value(used), plain_value(total))]
        }
        _ => single(value),
    }
}

/// `12.5% of 4 cores`.
pub(super) fn cpu(value: &Value) -> Vec<String> {
    match (value.get("used_percent"), value.get("cores")) {
        (Some(used), Some(cores)) => {
            vec![format!("{}% of {} cores", plain_value(used), plain_value(cores))]
        }
        _ => single(value),
    }
}
