//! Devices of a manager that keeps no inventory, as the original does not: all that is known of
//! them is what they report. The newest report of each is shown, and what has not reported for long
//! is not seen.

use super::failure::Failure;
use super::objects::{self, Field, cell, single, yes_or_no};
use super::output;
use super::report;
use super::reports::LONG_PAGE;
use super::session::Session;
use super::times;
use crate::client::Object;
use crate::clock::unix_seconds;
use crate::model::{Comparison, ReportQuery};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most pages that are read for one answer: ten thousand reports, or what five hundred devices
/// say in ten minutes.
const MAX_PAGES: u32 = 100;
/// How far back is looked at first, in seconds: a device says something every half a minute.
const RECENT: i64 = 600;

/// Prints the devices that have reported since a time.
pub(super) async fn list(
    session: &Session,
    device_group: Option<String>,
    time: Option<i64>,
) -> Result<(), Failure> {
    let time = time.unwrap_or_else(|| unix_seconds() - RECENT);
    let devices = newest(session, ReportQuery { device_group, ..since(time) }).await?;
    if !session.output().is_table() {
        let reports: Vec<Object> = devices.into_values().collect();
        return output::print(&format!("{}\n", json!({ "data": reports })));
    }
    if devices.is_empty() {
        let time = times::shown(time);
        let words = "look back with --seen-since 1d";
        output::say(&format!("no device has reported since {time}; {words}"));
        return Ok(());
    }
    let headings =
        ["HOSTNAME", "DEVICE GROUP", "LAST REPORT", "APP CONTAINERS", "MEMORY", "DISK", "CPU"];
    let row = |(hostname, report): (String, Object)| {
        vec![
            hostname,
            cell(&report, "device_group", single),
            cell(&report, "report_creation_time", report::time),
            report::count(&report, "apps_containers"),
            cell(&report, "memory_usage", report::megabytes),
            cell(&report, "root_disk_usage", report::megabytes),
            cell(&report, "cpu_usage", report::cpu),
        ]
    };
    output::print(&output::table(&headings, devices.into_iter().map(row).collect()))
}

/// Prints what a device last said of itself.
pub(super) async fn info(session: &Session, hostname: &str) -> Result<(), Failure> {
    let of_this = |query| ReportQuery { hostname: Some(hostname.to_owned()), ..query };
    let mut devices = newest(session, of_this(since(unix_seconds() - RECENT))).await?;
    if devices.is_empty() {
        // A device that is gone, or whose clock is wrong: all that is left of it.
        devices = newest(session, of_this(all())).await?;
    }
    let Some(mut report) = devices.remove(hostname) else {
        return Err(Failure::new(format!("device `{hostname}` has not reported"))
            .hint("see which have: nebula ctl devices list"));
    };
    if !session.output().is_table() {
        return output::print(&format!("{}\n", Value::Object(report)));
    }
    // In place of the containers' raw statistics, and of the configuration that is the group's.
    let derived = [
        ("containers", report::containers_by_app(&report)),
        ("cron_job_containers", report::containers_by_cron_job(&report)),
    ];
    for key in ["_id", "current_device_group_config", "apps_containers", "cron_jobs_containers"] {
        report.shift_remove(key);
    }
    for (key, lines) in derived {
        report.insert(key.to_owned(), lines.into());
    }
    output::print(&objects::all_fields(&report, FIELDS))
}

fn all() -> ReportQuery {
    ReportQuery { page_size: LONG_PAGE, ..ReportQuery::default() }
}

fn since(time: i64) -> ReportQuery {
    ReportQuery { report_creation_time: Some((Comparison::Gte, time)), ..all() }
}

/// The newest report of each device, by its own clock; of two at once the later on the pages.
async fn newest(
    session: &Session,
    query: ReportQuery,
) -> Result<BTreeMap<String, Object>, Failure> {
    let mut devices: BTreeMap<String, Object> = BTreeMap::new();
    let left = report::follow(session, query, MAX_PAGES, |reply| {
        for report in reply.content.reports {
            let Some(hostname) = report.get("hostname").and_then(Value::as_str) else { continue };
            let is_older = |known: &Object| report::seconds(known) > report::seconds(&report);
            if !devices.get(hostname).is_some_and(is_older) {
                devices.insert(hostname.to_owned(), report);
            }
        }
        Ok(())
    });
    if left.await?.is_some() {
        let read = MAX_PAGES * LONG_PAGE;
        output::say(&format!(
            "warning: only {read} reports were read, and there are more: the list may lack devices \
             and newer reports; ask for less with --device-group or --seen-since"
        ));
    }
    Ok(devices)
}

/// A device's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("hostname", single),
    ("device_group", single),
    ("report_creation_time", report::time),
    ("updated", yes_or_no),
    ("memory_usage", report::megabytes),
    ("root_disk_usage", report::megabytes),
    ("cpu_usage", report::cpu),
    ("containers", objects::items),
    ("cron_job_containers", objects::items),
];
