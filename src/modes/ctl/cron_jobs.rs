//! `cron-jobs`: list, info, create, update, delete.
//!
//! There is no `start` and `stop`: `start` would read as "run it now", which the API cannot do.

use super::containers::{self, ContainerChange, NewContainer, OPTION_FIELDS, put_value};
use super::failure::Failure;
use super::flags;
use super::nouns::About;
use super::objects::{self, Field, cell, items, single, variables, yes_or_no};
use super::session::Session;
use crate::client::{Noun, Object};
use clap::{Args, Subcommand};
use serde_json::Value;

/// What both help pages say of a schedule.
const SCHEDULE: &str = "Five fields in quotes: minute, hour, day of month, month, day of week; or @hourly, @daily, ...";

/// Cron jobs: what runs on every device of their groups at the times of a schedule
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum CronJobs {
    /// List cron jobs
    List,
    /// Show every field of a cron job, the values of its variables included
    Info {
        /// The cron job
        name: String,
    },
    Create(Box<Create>),
    Update(Box<Update>),
    /// Delete a cron job; no device starts it any more
    Delete {
        /// The cron job
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Create a cron job
#[derive(Debug, Args)]
#[command(after_help = "\
Example: nebula ctl cron-jobs create clean --image cleaner:1 --schedule '0 4 * * mon-fri'
The cron job runs on the devices of every device group that has it: see `nebula ctl device-groups
update --add-cron-job`. Created with --running false, it waits until it is told to run.")]
pub(super) struct Create {
    /// The cron job's name, with which its containers' names begin
    #[arg(value_parser = flags::name)]
    name: String,
    #[arg(
        long,
        value_name = "SCHEDULE",
        value_parser = flags::schedule,
        required_unless_present = "from_file",
        help = SCHEDULE
    )]
    schedule: Option<String>,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    container: NewContainer,
}

/// What a schedule leaves open.
#[derive(Debug, Args)]
struct Timing {
    /// Whose clock the schedule means, as in Europe/Berlin; `none` is UTC again
    #[arg(long, value_name = "ZONE", value_parser = flags::timezone)]
    timezone: Option<Value>,
    /// What a run does that is due while the last one lives: `skip` it if nothing is set
    #[arg(long, value_name = "skip|allow|replace", value_parser = ["skip", "allow", "replace"])]
    overlap: Option<String>,
    /// What becomes of the one run that was due while the worker was down: `catch_up` if nothing is set
    #[arg(long, value_name = "catch_up|skip", value_parser = ["catch_up", "skip"])]
    missed_runs: Option<String>,
}

/// Change the given fields of a cron job, and nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
--running false keeps it from running, --running true lets it run at its times again.
A list that is given replaces the whole list: `--volume a:/a` leaves one volume, however many there
were. Variables are kept: --env and --env-file set those that they name, --unset-env takes one away,
and with --no-env only those given here are left. --unset takes an optional key away; of a health
check and of logging the parts that are not given are kept.")]
pub(super) struct Update {
    /// The cron job
    name: String,
    #[arg(long, value_name = "SCHEDULE", value_parser = flags::schedule, help = SCHEDULE)]
    schedule: Option<String>,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    container: ContainerChange,
}

impl CronJobs {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => {
                let fields = [FIELDS, OPTION_FIELDS].concat();
                objects::info(session, cron_job(&name), &fields).await
            }
            Self::Create(create) => {
                let Create { name, schedule, timing, container } = *create;
                let own = scheduled(schedule, timing);
                containers::create(session, cron_job(&name), container, own).await.map(drop)
            }
            Self::Update(update) => {
                let Update { name, schedule, timing, container } = *update;
                let own = scheduled(schedule, timing);
                containers::update(session, cron_job(&name), container, own).await.map(drop)
            }
            Self::Delete { name, yes } => objects::delete(session, cron_job(&name), yes).await,
        }
    }
}

/// What a cron job has beside its containers' settings.
fn scheduled(schedule: Option<String>, timing: Timing) -> Object {
    let mut fields = Object::new();
    put_value(&mut fields, "schedule", schedule.map(Value::String));
    put_value(&mut fields, "timezone", timing.timezone);
    put_value(&mut fields, "overlap", timing.overlap.map(Value::String));
    put_value(&mut fields, "missed_runs", timing.missed_runs.map(Value::String));
    fields
}

async fn list(session: &Session) -> Result<(), Failure> {
    let headings = ["NAME", "SCHEDULE", "IMAGE", "RUNNING"];
    objects::list(session, Noun::CronJob, &headings, |job| {
        vec![
            cell(job, "schedule", single),
            cell(job, "docker_image", single),
            cell(job, "running", yes_or_no),
        ]
    })
    .await
}

fn cron_job(name: &str) -> About<'_> {
    About { noun: Noun::CronJob, name }
}

/// A cron job's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("cron_job_name", single),
    ("cron_job_id", single),
    ("schedule", single),
    ("timezone", single),
    ("overlap", single),
    ("missed_runs", single),
    ("docker_image", single),
    ("running", yes_or_no),
    ("env_vars", variables),
    ("networks", items),
    ("volumes", items),
    ("devices", items),
    ("privileged", yes_or_no),
];
