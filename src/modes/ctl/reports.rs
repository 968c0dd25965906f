//! `reports`: list.

use super::failure::Failure;
use super::objects::{cell, single, yes_or_no};
use super::output;
use super::report;
use super::session::Session;
use super::times;
use crate::client::Object;
use crate::model::{Comparison, MAX_PAGE_SIZE, ReportQuery, Uid};
use clap::{ArgAction, Args, Subcommand};

/// The size of a page when all are read: of reports of tens of kilobytes it is a few megabytes, and
/// an answer may have 16.
pub(super) const LONG_PAGE: u32 = 100;
/// The most pages of one command. A million reports are more than anybody reads.
const MAX_PAGES: u32 = 10_000;

/// Reports: what devices say of themselves at each check-in
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Reports {
    List(List),
}

/// List reports, a page or all of them
#[derive(Debug, Args)]
#[command(after_help = "\
TIME is an age such as 10m, 2h or 1d, a time such as 2026-01-31T12:00:00Z, or seconds since 1970.
The API compares with one time, so one of --since, --until and --created can be given.
With `-o json` and --all each page is printed as it came, one after the other.")]
pub(super) struct List {
    /// How many reports a page has, at most 1000 [default: 10; with --all 100]
    #[arg(long, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE_SIZE)))]
    page_size: Option<u32>,
    /// Of this device alone
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Of this device group alone
    #[arg(long, value_name = "NAME")]
    device_group: Option<String>,
    /// Made at this time or later; as --created gte=TIME
    #[arg(long, value_name = "TIME", value_parser = times::parse, group = "time")]
    since: Option<i64>,
    /// Made at this time or earlier; as --created lte=TIME
    #[arg(long, value_name = "TIME", value_parser = times::parse, group = "time")]
    until: Option<i64>,
    /// Made at a time that compares so: eq, ne, gt (later), gte, lt (earlier), lte
    #[arg(long, value_name = "COMPARISON=TIME", value_parser = created, group = "time")]
    created: Option<(Comparison, i64)>,
    /// Of check-ins that changed something on the device, or only of the others
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    updated: Option<bool>,
    /// Go on after this report, which ended an earlier page
    #[arg(long, value_name = "ID", value_parser = id)]
    last_id: Option<Uid>,
    /// Read on to the last page
    #[arg(long)]
    all: bool,
}

impl Reports {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let query = self.query();
        let page_size = query.page_size;
        let mut rows = Vec::new();
        let most = if self.all { MAX_PAGES } else { 1 };
        let left = report::follow(session, query, most, |reply| {
            rows.extend(reply.content.reports.iter().map(row));
            if session.output().is_table() {
                return Ok(());
            }
            session.output().reply(&reply, |_| String::new())
        });
        let left = left.await?;
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= page_size);
        if session.output().is_table() {
            if rows.is_empty() {
                output::say("there are no such reports");
                return Ok(());
            }
            let headings = ["TIME", "HOSTNAME", "DEVICE GROUP", "UPDATED", "APP CONTAINERS"];
            output::print(&output::table(&headings, rows))?;
        }
        match left {
            // A page that is not full is the last one.
            Some(id) if is_full => {
                output::say(&format!("there may be more: --last-id {id} goes on, --all shows all"));
            }
            _ => {}
        }
        Ok(())
    }

    fn query(&self) -> ReportQuery {
        let default = ReportQuery::default();
        let page_size = if self.all { LONG_PAGE } else { default.page_size };
        let since = self.since.map(|time| (Comparison::Gte, time));
        let until = self.until.map(|time| (Comparison::Lte, time));
        ReportQuery {
            page_size: self.page_size.unwrap_or(page_size),
            hostname: self.hostname.clone(),
            device_group: self.device_group.clone(),
            report_creation_time: self.created.or(since).or(until),
            updated: self.updated,
            last_id: self.last_id,
        }
    }
}

fn row(report: &Object) -> Vec<String> {
    vec![
        cell(report, "report_creation_time", report::time),
        cell(report, "hostname", single),
        cell(report, "device_group", single),
        cell(report, "updated", yes_or_no),
        report::count(report, "apps_containers"),
    ]
}

fn created(text: &str) -> Result<(Comparison, i64), String> {
    let (name, time) = text.split_once('=').unwrap_or((text, ""));
    let comparison = Comparison::parse(name).ok_or_else(|| {
        "expected COMPARISON=TIME, with one of eq, ne, gt, gte, lt, lte".to_owned()
    })?;
    Ok((comparison, times::parse(time)?))
}

fn id(text: &str) -> Result<Uid, String> {
    Uid::parse(text).ok_or_else(|| "must be 24 hexadecimal digits".to_owned())
}
