//! Parse, run the mode, print one error chain, exit with its code.

use nebula::cli::{self, Invocation};
use nebula::config::{Environment, Given, Inputs, environment};
use nebula::engine::DockerEngine;
use nebula::health;
use nebula::modes::ctl::{self, Ctl};
use nebula::modes::{manager, reporter, worker};
use nebula::monitoring::notify;
use nebula::run_as::leave_root;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Refused or failed.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            // A closed pipe under `--help | head` is no failure of ours.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    nebula::client::install_crypto_provider();
    let environment = environment(std::env::vars_os());
    match invocation {
        Invocation::Manager(given) => run_manager(&given, &environment),
        Invocation::Worker(given) => run_worker(&given, &environment),
        Invocation::Reporter(given) => run_reporter(&given, &environment),
        Invocation::Ctl(ctl) => run_ctl(ctl, &environment),
        Invocation::Health => run_health(&environment),
    }
}

/// Exits with 1 for whatever is wrong: container engines know no other failure of a health check.
fn run_health(environment: &Environment) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &error),
    };
    match runtime.block_on(health::check(environment, &hostname())) {
        Ok(mode) => {
            // Nobody has to read it.
            let _ = writeln!(std::io::stdout(), "the {mode} is well");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, &error),
    }
}

fn run_ctl(ctl: Ctl, environment: &Environment) -> ExitCode {
    if let Err(error) = leave_root(environment, None) {
        return fail(MISUSED, &error);
    }
    let mut runtime = if ctl.wants_every_core() {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(ctl::run(ctl, environment, cli::command)),
        Err(error) => fail(FAILED, &error),
    }
}

fn run_manager(given: &Given, environment: &Environment) -> ExitCode {
    let config = match given.load(environment, manager::Config::load) {
        Ok(config) => config,
        Err(error) => return fail(MISUSED, &error),
    };
    if let Err(code) = begin(environment, Some(&config.data_dir)) {
        return code;
    }
    // Many connections and the store's blocking calls: every core.
    serve(&mut Builder::new_multi_thread(), async |shutdown| {
        let manager::Stores { store, reports } = manager::open_stores(&config).await?;
        let limits = manager::Limits::default();
        let dependencies = manager::Dependencies { store, reports, limits };
        let watched = tokio::spawn(notify::watchdog(|| true));
        manager::run(config, dependencies, |_| notify::ready(), shutdown).await?;
        watched.abort();
        Ok(())
    })
}

fn run_worker(given: &Given, environment: &Environment) -> ExitCode {
    let hostname = hostname();
    let load = |inputs: &Inputs<'_>| worker::Config::load(inputs, &hostname);
    let config = match given.load(environment, load) {
        Ok(config) => config,
        Err(error) => return fail(MISUSED, &error),
    };
    log_to_stderr();
    let engine = Arc::new(DockerEngine::new(config.docker_host.clone()));
    // A device's memory is for its apps: one thread does.
    serve(&mut Builder::new_current_thread(), async |shutdown| {
        Ok(Box::pin(worker::run(config, engine, shutdown)).await?)
    })
}

fn run_reporter(given: &Given, environment: &Environment) -> ExitCode {
    let config = match given.load(environment, reporter::Config::load) {
        Ok(config) => config,
        Err(error) => return fail(MISUSED, &error),
    };
    if let Err(code) = begin(environment, None) {
        return code;
    }
    // Reports are read as what they say beside those that are written: every core.
    serve(&mut Builder::new_multi_thread(), async |shutdown| {
        let dependencies = reporter::Dependencies { store: reporter::open_store(&config)? };
        let watched = tokio::spawn(notify::watchdog(|| true));
        reporter::run(config, dependencies, |_| notify::ready(), shutdown).await?;
        watched.abort();
        Ok(())
    })
}

/// What a daemon that may leave root does before anything else: threads keep the user that they
/// began with.
fn begin(environment: &Environment, folder: Option<&Path>) -> Result<(), ExitCode> {
    let left = leave_root(environment, folder).map_err(|error| fail(MISUSED, &error))?;
    log_to_stderr();
    if let Some(run_as) = left {
        tracing::info!(user = %run_as, "root is left, as NEBULA_RUN_AS says");
    }
    Ok(())
}

fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Runs a daemon until a signal: the first drains it, the second ends it at once.
fn serve(
    runtime: &mut Builder,
    run: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<()>,
) -> ExitCode {
    let runtime: Runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, &error),
    };
    let shutdown = CancellationToken::new();
    let outcome = runtime.block_on(async {
        if let Err(error) = drain_on_signal(shutdown.clone()) {
            tracing::warn!(%error, "signals cannot be heard; the process ends without draining");
        }
        run(shutdown).await
    });
    // Blocking calls that outlive the drain must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, error.as_ref()),
    }
}

fn drain_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_first {
                tracing::info!("shutting down; a second signal ends it at once");
                notify::stopping();
                shutdown.cancel();
            } else {
                std::process::exit(i32::from(FAILED));
            }
        }
    });
    Ok(())
}

/// What is told when `RUST_LOG` says nothing else: the scheduler tells its own steps at `info`.
const TOLD: &str = "info,tokio_cron_scheduler=warn";

/// `RUST_LOG` sets what is told (`info`, `debug`, `nebula=debug`). Targets and levels alone: a
/// filter that knows spans and fields as well brings regular expressions, of which a small device
/// would bear the code.
fn log_to_stderr() {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let asked = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let asked = asked.and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.or_else(|| TOLD.parse().ok()).unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // It would tell on standard error that it cannot write there, and panic: a log on a full
        // disk must not end a daemon.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Prints an error with its causes, once.
fn fail(code: u8, error: &dyn Error) -> ExitCode {
    let mut out = std::io::stderr().lock();
    // There is nobody to tell that standard error is closed.
    let _ = writeln!(out, "error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = writeln!(out, "caused by: {cause}");
        source = cause.source();
    }
    ExitCode::from(code)
}
