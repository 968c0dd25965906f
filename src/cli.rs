//! The command line of the binary: one subcommand a mode. A mode's own flags live with the mode.

use crate::config::{Given, command as mode, given, tables};
use crate::modes::ctl::Ctl;
use clap::{Args, Command, FromArgMatches};
use std::ffi::OsString;

/// What was asked for on the command line.
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process, for a moment")]
pub enum Invocation {
    /// `nebula manager`
    Manager(Given),
    /// `nebula worker`
    Worker(Given),
    /// `nebula reporter`
    Reporter(Given),
    /// `nebula ctl`
    Ctl(Ctl),
    /// `nebula health`
    Health,
}

/// The whole command line, for help and completions too.
pub fn command() -> Command {
    let ctl = Ctl::augment_args(Command::new("ctl"))
        .about("Manage apps, cron jobs and device groups, who may, and the manager itself");
    // No mode, and nothing for people: an image's health check types it.
    let health = Command::new("health").hide(true).about(
        "Exits with 0 when the mode that runs as process 1 of this container is well, else with 1",
    );
    Command::new("nebula")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs Docker apps on fleets of devices")
        // Help reads the same in a log, a manual and a terminal of any width.
        .term_width(100)
        .after_help("Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(mode(&tables::MANAGER))
        .subcommand(mode(&tables::WORKER))
        .subcommand(mode(&tables::REPORTER))
        .subcommand(ctl)
        .subcommand(health)
}

/// Reads the command line. An error carries its own words and exit code; help is one too.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some(("manager", of_mode)) => Ok(Invocation::Manager(given(&tables::MANAGER, of_mode))),
        Some(("worker", of_mode)) => Ok(Invocation::Worker(given(&tables::WORKER, of_mode))),
        Some(("reporter", of_mode)) => Ok(Invocation::Reporter(given(&tables::REPORTER, of_mode))),
        Some(("health", _)) => Ok(Invocation::Health),
        Some((_, of_mode)) => Ctl::from_arg_matches(of_mode).map(Invocation::Ctl),
        None => Err(command().error(clap::error::ErrorKind::MissingSubcommand, "which mode?")),
    }
}
