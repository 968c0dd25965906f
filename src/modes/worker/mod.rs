//! The worker: makes this device run what its group declares, and keeps it so.
//!
//! The pass, in reading order: [`identity`] sees to it that the manager knows the device, by a
//! certificate ([`certificates`]) or a [`credential`]; [`checkin`] learns the desired state from the manager, at the [`pace`]
//! that the way to it allows, [`reconciler`] observes the engine, has the plan made by [`crate::reconcile`] and sees to it
//! that [`execute`] carries it out. [`reports`] tells what was seen. [`state`] is what survives a restart; [`trouble`] is what is told of
//! check-ins that fail; [`monitor`] is how others look at it.
//!
//! What it is not: it decides nothing about containers; that is the planner's.
//!
//! Invariants: nothing that a manager, a registry, an app or Docker does ends it; without a
//! desired state that a manager gave complete it touches nothing; no step of one app waits for
//! another app.

mod certificates;
mod checkin;
pub mod config;
mod credential;
mod execute;
mod identity;
mod monitor;
pub mod pace;
mod reconciler;
pub mod registries;
pub mod reports;
mod state;
mod ticker;
mod trouble;

pub use config::Config;
pub use monitor::place;
pub use state::StateError;

use crate::bus::{Bus, KafkaBus, KafkaConfigError, ManagerBus};
use crate::client::{Client, ClientError, Credentials};
use crate::engine::{ContainerEngine, RegistryAuth, RegistryLogin, container_id};
use crate::monitoring::notify;
use crate::reconcile::Policy;
use certificates::CertificateWatch;
use identity::Identity;
use registries::Registries;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long the first pass waits for the first answer of the manager, or its failure. A manager
/// that is away refuses at once; a network that swallows requests must not keep a device from
/// running what it has.
const FIRST_ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Of a container's id, as Docker shows it to people and makes hostnames of it.
const SHORT_ID_LENGTH: usize = 12;

/// Why a worker cannot start. Once it runs, nothing ends it but its shutdown.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The manager's address or credentials cannot be used.
    #[error("cannot make requests to the manager")]
    Client(#[source] ClientError),
    /// The settings of Kafka cannot be used.
    #[error("cannot report to Kafka")]
    Kafka(#[source] KafkaConfigError),
    /// Another worker runs with the same folder.
    #[error("cannot use the data folder")]
    State(#[source] StateError),
}

/// Runs until `shutdown`. Containers go on running after it.
pub async fn run(
    config: Config,
    engine: Arc<dyn ContainerEngine>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let client = client(&config).map_err(WorkerError::Client)?;
    let state = state::State::open(&config.data_dir).map_err(WorkerError::State)?;
    let group = config.device_group.as_str().to_owned();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        device_group = group,
        hostname = config.hostname,
        manager = client.url(),
        "worker started"
    );
    tell_unstable_name(&config.hostname);
    let policy = policy(&config);
    let bus = bus(&config, &client).map_err(WorkerError::Kafka)?;
    let certificates = Arc::new(CertificateWatch::new(client.clone()));
    let identity = Identity::new(&config, &client, Arc::clone(&certificates), state.credential())
        .map_err(WorkerError::Client)?;
    let ready = identity.ready();
    let (checkin, desired) = checkin::CheckIn::new(
        client,
        certificates,
        identity.asked_as(),
        (group, config.check_in_time),
        state.accepted(),
    );
    // The way to Kafka tells its own troubles.
    let is_told_elsewhere = match &config.kafka {
        Some(_) => Arc::new(AtomicBool::new(true)),
        None => checkin.is_away(),
    };
    let settings = report_settings(&config, is_told_elsewhere);
    let executor = execute::Executor::new(engine.clone(), registries(&config));
    let reconciler =
        reconciler::Reconciler::new(engine.clone(), executor, policy, state.memory(), desired);
    // The manager takes reports from whom it knows; a Kafka knows nothing of that.
    let may_report = if config.kafka.is_some() { None } else { Some(ready.clone()) };
    let seen = reconciler.seen();
    let reporting = async {
        if let Some(ready) = may_report
            && shutdown.run_until_cancelled(ready.cancelled()).await.is_none()
        {
            return;
        }
        reports::run(settings, engine, bus, seen, shutdown.clone()).await;
    };
    let asked = checkin.asked();
    let monitor = monitor::Monitor::new();
    // Each has a whole request in it, of which main's own would have to be large.
    let watching =
        Box::pin(monitor::watch(Arc::clone(&monitor), &config.data_dir, shutdown.clone()));
    let enrolling = Box::pin(identity.run(asked.clone(), shutdown.clone()));
    let checking = Box::pin(checkin.run(ready, &monitor, shutdown.clone()));
    let reconciling = async {
        // What is kept may be older than what was last carried out: the disk was full, or an old
        // one was put in.
        let first_answer = timeout(FIRST_ANSWER_LIMIT, asked.cancelled());
        if shutdown.run_until_cancelled(first_answer).await.is_some() {
            notify::ready();
            reconciler.run(&monitor, shutdown.clone()).await;
        }
    };
    tokio::join!(enrolling, checking, reconciling, reporting, watching);
    info!("worker stopped; its containers go on running");
    Ok(())
}

/// Docker names a container's host after the container. Such a device would be another one after each
/// update of its worker.
fn tell_unstable_name(hostname: &str) {
    if hostname.len() >= SHORT_ID_LENGTH
        && container_id().is_some_and(|id| id.starts_with(hostname))
    {
        warn!(
            hostname,
            "this device is known by the id of the worker's container, and the next container is another device; set `hostname` (NEBULA_HOSTNAME), or start it with --network host"
        );
    }
}

/// The planner's waits on this device. Devices of one kind are often left with one name for all,
/// so a number of chance makes their waits differ.
fn policy(config: &Config) -> Policy {
    let wait = config.max_restart_wait.as_millis();
    Policy {
        jitter_seed: format!("{}/{}", config.hostname, rand::random::<u64>()),
        pull_spread_ms: u64::try_from(wait).unwrap_or(u64::MAX),
        disk_percent: config.prune_disk_percent,
        ..Policy::default()
    }
}

/// Where reports go: to Kafka once it is configured, else to the manager.
fn bus(config: &Config, client: &Client) -> Result<Arc<dyn Bus>, KafkaConfigError> {
    Ok(match &config.kafka {
        Some(kafka) => Arc::new(KafkaBus::new(kafka)?),
        None => Arc::new(ManagerBus::new(client.clone())),
    })
}

fn report_settings(config: &Config, is_told_elsewhere: Arc<AtomicBool>) -> reports::Settings {
    let url = &config.manager_url;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    reports::Settings {
        hostname: config.hostname.clone(),
        device_group: config.device_group.as_str().to_owned(),
        check_in_time: config.check_in_time,
        on_update_only: config.report_on_update_only,
        towards: (host, url.port_or_known_default().unwrap_or(80)),
        is_told_elsewhere,
    }
}

fn registries(config: &Config) -> Registries {
    let configured = config.registry_auth.clone().map(|credentials| RegistryAuth {
        server: config.registry_host.clone(),
        login: RegistryLogin::Password { user: credentials.user, password: credentials.password },
    });
    Registries::new(configured, config.docker_config.clone())
}

/// Who asks is the identity's.
fn client(config: &Config) -> Result<Client, ClientError> {
    let (url, files) = (config.manager_url.as_str(), config.manager_tls.clone());
    let (none, limit) = (Credentials::None, config.request_timeout);
    let client = match Client::with_tls(url, &none, files.clone(), limit) {
        // Told by whoever looks at them before each check-in; what is on disk runs until then.
        Err(ClientError::TlsFile(_)) => Client::with_tls_later(url, &none, files, limit)?,
        client => client?,
    };
    if client.is_in_clear() {
        warn!(
            manager = client.url(),
            "the manager is reached by plain http: whoever listens on the way reads this device's credentials and what \
             its apps are given; use https"
        );
    }
    Ok(client)
}

/// A wait with up to a tenth less or more, so that devices that were started together spread.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..=1.1))
}
