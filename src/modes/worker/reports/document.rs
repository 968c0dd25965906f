//! One report as JSON: the contract's keys, and ours.
//!
//! Invariants: no value of a variable is in it; it is never larger than [`MAX_BYTES`].

use crate::model::Desired;
use crate::reconcile::Status;
use serde_json::{Map, Value, json};

/// No report is larger. Kafka takes a million bytes unless told otherwise, and a device's line is
/// thin.
pub(super) const MAX_BYTES: usize = 512 * 1024;

/// What a report is made from.
pub(super) struct Parts<'a> {
    pub(super) hostname: &'a str,
    pub(super) device_group: &'a str,
    pub(super) report_id: String,
    pub(super) boot_id: &'a str,
    pub(super) sequence: u64,
    /// In seconds since 1970.
    pub(super) now: u64,
    pub(super) updated: bool,
    pub(super) desired: &'a Desired,
    pub(super) status: Status,
    pub(super) memory: Value,
    pub(super) root_disk: Value,
    pub(super) cpu: Value,
    /// Docker's objects for the containers of apps, and of cron jobs.
    pub(super) app_stats: Vec<Map<String, Value>>,
    pub(super) job_stats: Vec<Map<String, Value>>,
    pub(super) worker: Value,
    pub(super) docker: Value,
    pub(super) away_after_seconds: u64,
    pub(super) dropped: u64,
}

/// The bytes of a report. What does not fit is left out, the largest first, and that is told.
pub(super) fn bytes(parts: Parts<'_>) -> Vec<u8> {
    let mut report = report(parts);
    let mut bytes = print(&report);
    let mut left_out = Vec::new();
    for key in ["apps_containers", "cron_jobs_containers", "current_device_group_config"] {
        if bytes.len() <= MAX_BYTES {
            break;
        }
        let least = match key {
            "current_device_group_config" => named_only(report.get(key)),
            _ => json!([]),
        };
        report.insert(key.to_owned(), least);
        left_out.push(key);
        report.insert("left_out".to_owned(), json!(left_out));
        bytes = print(&report);
    }
    if bytes.len() > MAX_BYTES {
        // A thousand apps with reasons as long as can be: their states say enough.
        for key in ["apps", "cron_jobs"] {
            for told in report.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(told) = told.as_object_mut() {
                    told.shift_remove("reason");
                    told.shift_remove("last_runs");
                }
            }
        }
        bytes = print(&report);
    }
    bytes
}

fn print(report: &Map<String, Value>) -> Vec<u8> {
    // Strings, numbers and lists can always be printed.
    serde_json::to_vec(report).unwrap_or_default()
}

fn report(parts: Parts<'_>) -> Map<String, Value> {
    let Status { state, reason, apps, cron_jobs } = parts.status;
    let mut report = Map::new();
    let mut put = |key: &str, value: Value| report.insert(key.to_owned(), value);
    put("hostname", json!(parts.hostname));
    put("device_group", json!(parts.device_group));
    put("report_creation_time", json!(parts.now));
    put("updated", json!(parts.updated));
    put("report_id", json!(parts.report_id));
    put("boot_id", json!(parts.boot_id));
    put("sequence", json!(parts.sequence));
    put("state", json!(state));
    if let Some(reason) = reason {
        put("reason", json!(reason));
    }
    if let Some(revision) = parts.desired.revision {
        put("revision", json!(revision));
    }
    put("away_after_seconds", json!(parts.away_after_seconds));
    put("apps", json!(apps));
    put("cron_jobs", json!(cron_jobs));
    put("worker", parts.worker);
    put("docker", parts.docker);
    put("reports_dropped", json!(parts.dropped));
    put("memory_usage", parts.memory);
    put("root_disk_usage", parts.root_disk);
    put("cpu_usage", parts.cpu);
    put("current_device_group_config", parts.desired.masked());
    put("apps_containers", json!(parts.app_stats));
    put("cron_jobs_containers", json!(parts.job_stats));
    report
}

/// The group's state without what its apps and cron jobs are made of.
fn named_only(config: Option<&Value>) -> Value {
    let keys = ["apps_list", "cron_jobs_list", "prune_id", "device_group_id"];
    let mut least =
        Map::from_iter([("apps".to_owned(), json!([])), ("cron_jobs".to_owned(), json!([]))]);
    for key in keys {
        least.extend(config.and_then(|config| Some((key.to_owned(), config.get(key)?.clone()))));
    }
    least.into()
}
