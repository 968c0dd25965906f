//! `nebula ctl`: what a person or a script tells a manager, and asks it.
//!
//! What it is: a thin skin over [`crate::client`], and for exports and imports over
//! [`crate::store`]. Flags become the fields of one request, checked by the model's own decoders; a
//! reply becomes a table, or with `-o json` goes out as it came.
//! What it is not: it keeps no state but the login, and knows no rule that the manager does not.
//!
//! Invariants: data goes to stdout, everything else to stderr; a value that no manager would take
//! fails before the first request; a closed pipe is no error; secrets are read from where they
//! stand and written nowhere but into the login file.
//!
//! In reading order: `config` who asks whom; `session` one manager and how its refusals are
//! said; one file a command; `objects` what all nouns have in common, `containers` what apps and
//! cron jobs have, `lists` what groups have, `report` what reports and devices have; `rollout` how far
//! devices are, which `status` shows and `wait` waits for; `place` the
//! store that an export or import is of, `export_file` its file, `new_file` how files are written;
//! `flags` the fields; `output` and `failure` what people read.

mod apps;
mod backup;
mod completions;
mod config;
mod containers;
mod cron_jobs;
mod device_groups;
mod devices;
mod enroll;
mod env;
mod export;
mod export_file;
mod failure;
mod flags;
mod from_file;
mod history;
mod import;
mod list_flags;
mod lists;
mod login;
mod login_file;
mod man;
mod nearest;
mod new_file;
mod nouns;
mod objects;
mod option_flags;
mod output;
mod ping;
mod place;
mod progress;
mod prompt;
mod prune;
mod report;
mod reported;
mod reports;
mod rollout;
mod session;
mod simulate;
mod status;
mod times;
mod user_groups;
mod users;
mod wait;

use crate::config::Environment;
use clap::{Args, Subcommand};
use failure::Failure;
use output::Output;
use session::Session;
use std::process::ExitCode;

/// Manage apps, cron jobs and device groups, who may, and the manager itself.
#[derive(Debug, Args)]
#[command(after_help = config::HELP, disable_help_subcommand = true, term_width = 100)]
pub struct Ctl {
    #[command(flatten)]
    connection: config::Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apps: what runs on every device of their groups
    #[command(subcommand)]
    Apps(apps::Apps),
    /// Cron jobs: what runs on every device of their groups at the times of a schedule
    #[command(subcommand)]
    CronJobs(cron_jobs::CronJobs),
    /// Device groups: which apps and cron jobs a device runs
    #[command(subcommand)]
    DeviceGroups(device_groups::DeviceGroups),
    /// Users: who may ask the manager
    #[command(subcommand)]
    Users(users::Users),
    /// User groups: what their members may do
    #[command(subcommand)]
    UserGroups(user_groups::UserGroups),
    /// Devices: which there are, and how each is
    #[command(subcommand)]
    Devices(devices::Devices),
    /// Reports: what devices say of themselves at each check-in
    #[command(subcommand)]
    Reports(reports::Reports),
    /// Remove the images that no container uses
    #[command(subcommand)]
    Prune(prune::Prune),
    /// Ask whether the manager answers and takes the credentials
    Ping,
    /// Check credentials against the manager and keep them
    #[command(after_help = login::HELP)]
    Login,
    /// Forget the kept credentials
    Logout,
    Backup(backup::Backup),
    Simulate(simulate::Simulate),
    Export(export::Export),
    Import(import::Import),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Ctl {
    /// Whether the command has work for every core. All others ask and wait.
    pub fn wants_every_core(&self) -> bool {
        matches!(self.command, Command::Simulate(_))
    }
}

/// Runs one command, and prints its answer or its failure. `environment` is the process's, an
/// argument so that nothing here reads it on its own; `root` is the whole command line, for the
/// completion scripts.
pub async fn run(ctl: Ctl, environment: &Environment, root: fn() -> clap::Command) -> ExitCode {
    match dispatch(ctl, environment, root).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

async fn dispatch(
    ctl: Ctl,
    environment: &Environment,
    root: fn() -> clap::Command,
) -> Result<(), Failure> {
    let Ctl { connection, command } = ctl;
    // These need no manager, nor a configuration that makes sense.
    match command {
        Command::Completions(completions) => return completions.run(root()),
        Command::Man(man) => return man.run(root()),
        Command::Logout => return login::logout(),
        _ => {}
    }
    let config = config::resolve(connection, environment)?;
    // Nor need these a manager, for a database may be meant.
    match command {
        Command::Login => return login::login(config, environment).await,
        Command::Export(export) => return export.run(config).await,
        Command::Import(import) => return import.run(config).await,
        _ => {}
    }
    let output = Output::new(config.format);
    let session = Session::new(config, output)?;
    match command {
        Command::Apps(apps) => apps.run(&session).await,
        Command::CronJobs(jobs) => jobs.run(&session).await,
        Command::DeviceGroups(groups) => groups.run(&session).await,
        Command::Users(users) => users.run(&session).await,
        Command::UserGroups(groups) => groups.run(&session).await,
        Command::Devices(devices) => devices.run(&session).await,
        Command::Reports(reports) => reports.run(&session).await,
        Command::Prune(prune) => prune.run(&session).await,
        Command::Backup(backup) => backup.run(&session).await,
        Command::Simulate(simulate) => simulate.run(&session).await,
        Command::Ping => ping::run(&session).await,
        Command::Login
        | Command::Logout
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Export(_)
        | Command::Import(_) => Ok(()),
    }
}
