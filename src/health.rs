//! `nebula health`: is the mode that runs as process 1 of this container well?
//!
//! What it is: the health check of the image. It reads from the kernel what process 1 was started as, takes the
//! same configuration (a container's processes share environment and files), and asks that mode at
//! its own place. What it is not: a look at what a mode needs; a manager without its database is
//! well, for starting it again would help nobody.
//!
//! Invariant: it changes nothing, and ends within seconds.

use crate::cli::{self, Invocation};
use crate::config::{ConfigError, Environment, Inputs};
use crate::modes::{manager, reporter, worker};
use crate::monitoring::{AskError, Place};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Where the kernel tells how process 1 was started.
pub const PROCESS_1: &str = "/proc/1/cmdline";
/// The name of our program.
const PROGRAM: &str = "nebula";

/// Why nobody can say that it is well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The kernel does not tell.
    #[error("cannot read `{PROCESS_1}`")]
    Process(#[source] std::io::Error),
    /// It is another program.
    #[error("process 1 is `{0}`, and no mode of nebula; `nebula health` is for within a container")]
    NoMode(String),
    /// Its command line is not one of this version.
    #[error("the command line of process 1 cannot be read: {0}")]
    CommandLine(String),
    /// It runs with another configuration, or with one that was changed under it.
    #[error("the configuration of process 1 cannot be read")]
    Config(#[source] ConfigError),
    /// It does not say that it is well.
    #[error("the {mode} is not well")]
    Unwell {
        /// The mode.
        mode: &'static str,
        /// What it said.
        source: AskError,
    },
}

/// How process 1 was started, without the init that may stand before it
/// (`docker-init -- nebula worker`).
fn arguments(cmdline: &[u8]) -> Result<Vec<OsString>, HealthError> {
    let words = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0);
    let words: Vec<OsString> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
    let is_ours = |word: &OsString| Path::new(word).file_name().is_some_and(|name| name == PROGRAM);
    let at = words.iter().position(is_ours).ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        HealthError::NoMode(all.join(" ").chars().take(200).collect())
    })?;
    Ok(words[at..].to_vec())
}

/// Which mode this is the command line of, and where it is asked; nowhere for `nebula ctl`, which is well as
/// long as it runs.
pub fn place(
    cmdline: &[u8],
    environment: &Environment,
    hostname: &str,
) -> Result<(&'static str, Option<Place>), HealthError> {
    let invocation = cli::parse(arguments(cmdline)?).map_err(|error| {
        let first = error.to_string().lines().next().unwrap_or_default().to_owned();
        HealthError::CommandLine(first)
    })?;
    let place = match invocation {
        Invocation::Manager(given) => {
            let config = given.load(environment, manager::Config::load);
            ("manager", Some(manager::place(&config.map_err(HealthError::Config)?)))
        }
        Invocation::Reporter(given) => {
            let config = given.load(environment, reporter::Config::load);
            ("reporter", Some(reporter::place(&config.map_err(HealthError::Config)?)))
        }
        Invocation::Worker(given) => {
            let load = |inputs: &Inputs<'_>| worker::Config::load(inputs, hostname);
            let config = given.load(environment, load).map_err(HealthError::Config)?;
            ("worker", Some(worker::place(&config.data_dir)))
        }
        Invocation::Ctl(_) => ("ctl", None),
        Invocation::Health => return Err(HealthError::NoMode("nebula health".to_owned())),
    };
    Ok(place)
}

/// Asks process 1; gives the mode that is well.
pub async fn check(environment: &Environment, hostname: &str) -> Result<&'static str, HealthError> {
    let cmdline = std::fs::read(PROCESS_1).map_err(HealthError::Process)?;
    let (mode, place) = place(&cmdline, environment, hostname)?;
    if let Some(place) = place {
        place.ask().await.map_err(|source| HealthError::Unwell { mode, source })?;
    }
    Ok(mode)
}
