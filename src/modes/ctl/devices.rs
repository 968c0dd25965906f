//! `devices`: list, info, delete, revoke.
//!
//! They are the manager's inventory. A manager that keeps none, as the original, is asked for the
//! devices' reports instead (see `reported`), which tell less.

use super::failure::Failure;
use super::nearest::nearest;
use super::objects::{self, Field, cell, single};
use super::output::{self, plain_value, printable};
use super::prompt;
use super::report;
use super::reported;
use super::rollout::is_unknown_route;
use super::session::{Session, flag};
use super::times;
use crate::client::{ClientError, Object};
use crate::model::{DeviceQuery, Standing};
use clap::{Args, Subcommand};
use serde_json::Value;

/// The size of a page: the most that the API gives, and still a few megabytes.
const PAGE: u32 = 500;
/// The most pages of one command. A million devices are more than anybody reads.
const MAX_PAGES: u32 = 2_000;

/// Devices: which there are, and how each is
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Devices {
    List(List),
    /// Show how a device is, and what it last said of itself
    Info {
        /// The device's hostname
        hostname: String,
    },
    /// Forget a device until it is heard of again
    Delete {
        /// The device's hostname
        hostname: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Let a device in no longer: its own token and its certificates of until now stop working
    #[command(after_help = "\
It keeps what it runs. A new enrollment, or a certificate that is issued later, lets it in again.")]
    Revoke {
        /// The device's hostname
        hostname: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

const REVOKE: prompt::Deed = prompt::Deed { question: "Revoke", verb: "revoke", done: "revoked" };

/// List the devices that have been heard of
#[derive(Debug, Args)]
#[command(after_help = "\
STATE is converged, updating, held, rolled_back, failed, away or unknown.
TIME is an age such as 10m, 2h or 1d, a time such as 2026-01-31T12:00:00Z, or seconds since 1970.
With `-o json` each page is printed as it came, one after the other. A manager without an inventory,
as the original's, is asked for reports: of late, unless --seen-since says otherwise.")]
pub(super) struct List {
    /// Of this device group alone
    #[arg(long, value_name = "NAME")]
    device_group: Option<String>,
    /// In this state alone; with --app, the app's
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<Standing>,
    /// That run this app, or are to
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// On which this version of the app is up
    #[arg(long, value_name = "ID", requires = "app")]
    version: Option<u64>,
    /// Heard of since
    #[arg(long, alias = "since", value_name = "TIME", value_parser = times::parse)]
    seen_since: Option<i64>,
}

/// A state in which a device can be without a look at what is declared.
fn state(text: &str) -> Result<Standing, String> {
    let pairs = vec![("state".to_owned(), text.to_owned())];
    let query = DeviceQuery::decode(pairs).map_err(super::flags::reason)?;
    query.state.ok_or_else(|| "is missing".to_owned())
}

impl Devices {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Info { hostname } => info(session, &hostname).await,
            Self::Delete { hostname, yes } => delete(session, &hostname, yes).await,
            Self::Revoke { hostname, yes } => revoke(session, &hostname, yes).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut query = DeviceQuery {
            page_size: PAGE,
            device_group: self.device_group,
            state: self.state,
            app: self.app,
            version: self.version,
            seen_since: self.seen_since,
            after: None,
        };
        let mut rows = Vec::new();
        for _ in 0..MAX_PAGES {
            let reply = match session.client().devices(&query).await {
                Ok(reply) => reply,
                Err(error) if is_unknown_route(&error) => return without(session, query).await,
                Err(error) => return Err(session.explain(&error)),
            };
            if session.output().is_table() {
                rows.extend(reply.content.devices.iter().map(|device| row(device, &query)));
            } else {
                session.output().reply(&reply, |_| String::new())?;
            }
            let after = reply.content.after;
            if after.is_none() {
                return table(session, &query, rows);
            }
            if after <= query.after {
                // To go on would be to go in a circle.
                return Err(Failure::new("the manager gives the same page of devices again"));
            }
            query.after = after;
        }
        output::say("warning: there are more devices; ask for less with --device-group");
        table(session, &query, rows)
    }
}

/// The same of a manager that keeps no inventory.
async fn without(session: &Session, query: DeviceQuery) -> Result<(), Failure> {
    if query.state.is_some() || query.app.is_some() {
        return Err(Failure::new("this manager keeps no inventory of devices")
            .hint("without --state and --app it is asked for reports"));
    }
    reported::list(session, query.device_group, query.seen_since).await
}

fn table(session: &Session, query: &DeviceQuery, rows: Vec<Vec<String>>) -> Result<(), Failure> {
    if !session.output().is_table() {
        return Ok(());
    }
    if rows.is_empty() {
        output::say("there are no such devices");
        return Ok(());
    }
    let last = if query.app.is_some() { "VERSIONS" } else { "APPS" };
    let headings = ["HOSTNAME", "DEVICE GROUP", "STATE", "LAST SEEN", last, "REASON"];
    output::print(&output::table(&headings, rows))
}

/// A device in a list: of an app that was asked for, how that app is.
fn row(device: &Object, query: &DeviceQuery) -> Vec<String> {
    let apps = list_of(device, "apps");
    let app = query.app.as_deref().and_then(|name| {
        apps.iter().find(|app| app.get("app_name").and_then(Value::as_str) == Some(name)).copied()
    });
    let is_away = device.get("state").and_then(Value::as_str) == Some(Standing::Away.as_str());
    // A device that is away says nothing of its apps.
    let about = app.filter(|_| !is_away).unwrap_or(device);
    let counted = match (app, &query.app) {
        (Some(app), _) => cell(app, "running_ids", objects::items),
        (None, Some(_)) => "-".to_owned(),
        (None, None) => apps.len().to_string(),
    };
    vec![
        cell(device, "hostname", single),
        cell(device, "device_group", single),
        cell(about, "state", single),
        cell(device, "last_seen", report::time),
        counted,
        cell(about, "reason", single),
    ]
}

fn list_of<'a>(device: &'a Object, key: &str) -> Vec<&'a Object> {
    let items = device.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_object).collect()
}

async fn info(session: &Session, hostname: &str) -> Result<(), Failure> {
    match session.client().device(hostname).await {
        Ok(reply) => session.output().reply(&reply, |device| objects::all_fields(device, FIELDS)),
        Err(error) if is_unknown_route(&error) => reported::info(session, hostname).await,
        Err(error) => Err(explain(session, hostname, &error).await),
    }
}

async fn delete(session: &Session, hostname: &str, yes: bool) -> Result<(), Failure> {
    let what = format!("device `{hostname}`");
    prompt::agree_to_delete(&what, "it is forgotten until it is heard of again", yes)?;
    match session.client().delete_device(hostname).await {
        Ok(reply) => session.output().done(&reply, &format!("{what} deleted")),
        Err(error) if is_unknown_route(&error) => {
            Err(Failure::new("this manager keeps no inventory of devices"))
        }
        Err(error) => Err(explain(session, hostname, &error).await),
    }
}

async fn revoke(session: &Session, hostname: &str, yes: bool) -> Result<(), Failure> {
    let what = format!("device `{hostname}`");
    prompt::agree(&REVOKE, &what, "it keeps what it runs, and hears of no change", yes)?;
    match session.client().revoke_device(hostname).await {
        Ok(reply) => session.output().done(&reply, &format!("{what} revoked")),
        Err(error) if is_unknown_route(&error) => {
            Err(Failure::new("this manager knows no credentials of devices"))
        }
        Err(error) => Err(explain(session, hostname, &error).await),
    }
}

/// What the device presents as itself: when it enrolled, and when that was ended.
fn credential(value: &Value) -> Vec<String> {
    let Some(credential) = value.as_object() else {
        return if value.is_null() { vec!["none".to_owned()] } else { single(value) };
    };
    let at = |key: &str| {
        let seconds = credential.get(key)?;
        (!seconds.is_null()).then(|| report::time(seconds).join(", "))
    };
    let enrolled = at("enrolled_at").map(|time| format!("enrolled at {time}"));
    let revoked = at("revoked_at").map(|time| format!("revoked at {time}"));
    let said: Vec<String> = [enrolled, revoked].into_iter().flatten().collect();
    if said.is_empty() { vec!["none".to_owned()] } else { said }
}

/// Says a refusal about one device.
async fn explain(session: &Session, hostname: &str, error: &ClientError) -> Failure {
    if flag(error, "device_exists") != Some(false) {
        return session.explain(error);
    }
    let query = DeviceQuery { page_size: PAGE, ..DeviceQuery::default() };
    let page = session.client().devices(&query).await.map(|reply| reply.content.devices);
    let name = |device: &Object| Some(device.get("hostname")?.as_str()?.to_owned());
    let names: Vec<String> = page.unwrap_or_default().iter().filter_map(name).collect();
    let failure = Failure::new(format!("device `{}` has not been heard of", printable(hostname)));
    match nearest(hostname, &names) {
        Some(name) => failure.hint(format!("did you mean `{}`?", printable(name))),
        None => failure.hint("see which have: nebula ctl devices list"),
    }
}

/// `web: converged, version 3, 2 of 2 replicas`, a line for each app.
fn apps(value: &Value) -> Vec<String> {
    lines(value, |app| {
        let up = cell(app, "replicas_up", single);
        let wanted = cell(app, "replicas_wanted", single);
        let running = cell(app, "running_ids", objects::items);
        format!(
            "{}: {}, {up} of {wanted} replicas up, of version {running}{}",
            cell(app, "app_name", single),
            cell(app, "state", single),
            because(app)
        )
    })
}

fn cron_jobs(value: &Value) -> Vec<String> {
    lines(value, |job| {
        let runs = list_of(job, "last_runs");
        let last = runs.last().map_or_else(
            || "no run yet".to_owned(),
            |run| {
                let (due, outcome) = (cell(run, "due", report::time), cell(run, "outcome", single));
                format!("last run of {due} {outcome}")
            },
        );
        let (name, state) = (cell(job, "cron_job_name", single), cell(job, "state", single));
        format!("{name}: {state}, {last}{}", because(job))
    })
}

fn because(about: &Object) -> String {
    about.get("reason").map_or_else(String::new, |reason| format!(" ({})", plain_value(reason)))
}

fn lines(value: &Value, line: impl Fn(&Object) -> String) -> Vec<String> {
    match value.as_array().map(Vec::as_slice) {
        None => single(value),
        Some([]) => vec!["-".to_owned()],
        Some(items) => items
            .iter()
            .map(|item| item.as_object().map_or_else(|| plain_value(item), &line))
            .collect(),
    }
}

/// A device's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("hostname", single),
    ("device_group", single),
    ("state", single),
    ("reason", single),
    ("reported_state", single),
    ("last_seen", report::time),
    ("credential", credential),
    ("report_creation_time", report::time),
    ("revision", single),
    ("apps", apps),
    ("cron_jobs", cron_jobs),
    ("worker", super::containers::parts),
    ("docker", super::containers::parts),
    ("memory_usage", report::megabytes),
    ("root_disk_usage", report::megabytes),
    ("cpu_usage", report::cpu),
];
