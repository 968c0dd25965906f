//! What every test here needs: a Docker to itself, a worker on it, and looking until it is so.

use crate::docker::Docker;
use crate::manager::Manager;
use nebula::config::Inputs;
use nebula::engine::{ContainerEngine, DockerEngine};
use nebula::modes::worker;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything here may take before it counts as never.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A worker removes every labelled container that is not declared to it, so there is one worker on
/// one Docker at a time.
static DOCKER: Mutex<()> = Mutex::const_new(());

/// A Docker to itself with a manager and a data folder.
pub(crate) struct World {
    pub(crate) docker: Docker,
    pub(crate) manager: Manager,
    pub(crate) folder: TempDir,
    pub(crate) extra: BTreeMap<String, String>,
    alone: Option<MutexGuard<'static, ()>>,
}

impl World {
    /// The shared Docker, cleaned, for this test alone.
    pub(crate) async fn new() -> Self {
        let alone = DOCKER.lock().await;
        let docker = Docker::at(&variable("NEBULA_TEST_DOCKER_HOST"));
        docker.clean().await;
        let mut world = Self::on(docker).await;
        world.alone = Some(alone);
        world
    }

    /// A Docker that nobody else uses.
    pub(crate) async fn on(docker: Docker) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let manager = Manager::start().await;
        Self { docker, manager, folder, extra: BTreeMap::new(), alone: None }
    }

    /// The worker's environment, as a user would set it.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let data_dir = self.folder.path().join("data");
        let mut environment = BTreeMap::from([
            ("NEBULA_MANAGER_HOST".to_owned(), self.manager.address.ip().to_string()),
            ("NEBULA_MANAGER_PORT".to_owned(), self.manager.address.port().to_string()),
            ("NEBULA_MANAGER_AUTH_TOKEN".to_owned(), "token".to_owned()),
            ("NEBULA_MANAGER_CHECK_IN_TIME".to_owned(), "1".to_owned()),
            ("NEBULA_MANAGER_REQUEST_TIMEOUT".to_owned(), "2".to_owned()),
            ("NEBULA_DATA_DIR".to_owned(), data_dir.display().to_string()),
            ("NEBULA_DOCKER_HOST".to_owned(), self.docker.host.clone()),
            ("DEVICE_GROUP".to_owned(), "tills".to_owned()),
        ]);
        environment.extend(self.extra.clone());
        environment
    }

    /// Starts a worker in this process.
    pub(crate) fn worker(&self) -> Worker {
        self.worker_on(Arc::new(DockerEngine::new(self.docker.host.clone())))
    }

    /// The same on another engine.
    pub(crate) fn worker_on(&self, engine: Arc<dyn ContainerEngine>) -> Worker {
        nebula::client::install_crypto_provider();
        // What the worker says stands with the output of a test that failed.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("nebula=debug")
            .with_test_writer()
            .with_ansi(false)
            .try_init();
        let environment = self.environment();
        let inputs = Inputs {
            flags: &BTreeMap::new(),
            environment: &environment,
            config: None,
            files: &[],
            read: &nebula::config::read_file,
        };
        let config = worker::Config::load(&inputs, "till-7").expect("a sound configuration");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(worker::run(config, engine, shutdown.clone()));
        Worker { shutdown, task }
    }

    pub(crate) fn data_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }
}

/// A worker that runs.
pub(crate) struct Worker {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), worker::WorkerError>>,
}

impl Worker {
    pub(crate) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

/// Looks until it is so. `what` says what was waited for when it never is.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    until_within(PATIENCE, what, async || look().await.then_some(())).await;
}

/// Looks until there is something, for no longer than this.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < patience, "it never came to be: {what}");
        ticks.tick().await;
    }
}

/// A variable that `scripts/with-services` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test`"))
}
