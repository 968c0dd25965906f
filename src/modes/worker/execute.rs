//! Carrying out a plan. It decides nothing: one `match` from step to engine call.
//!
//! Invariants: the steps of one app are done in order, those of the same kind at once; the first
//! that fails ends the app's list, and the next pass plans from what is then there; apps never
//! wait for one another; pulls run beside everything else.

use crate::engine::{ContainerEngine, EngineError, RegistryAuth};
use crate::model::{AppVersion, ImageReference};
use crate::reconcile::{Action, Step, Target};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::info;

/// Engine calls at once. Docker takes its own locks; more at once only queue there.
const MAX_CALLS: usize = 8;
/// Pulls at once: a device's line is shared by what it runs.
const MAX_PULLS: usize = 3;

/// What came of a piece of work.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An app's steps.
    Steps {
        /// The app.
        app: String,
        /// Attempt and what came of it, for each step that was tried.
        results: Vec<(String, Result<(), EngineError>)>,
        /// Attempts that were planned and not made, because another one failed before.
        not_made: BTreeSet<String>,
    },
    /// A pull.
    Pull {
        app: String,
        version: AppVersion,
        image: ImageReference,
        result: Result<(), EngineError>,
    },
    /// A network.
    Network { name: String, result: Result<(), EngineError> },
}

/// Carries out actions on an engine.
#[derive(Clone)]
pub(super) struct Executor {
    engine: Arc<dyn ContainerEngine>,
    registry: Option<Arc<RegistryAuth>>,
    max_wait: Duration,
    calls: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

impl Executor {
    pub(super) fn new(
        engine: Arc<dyn ContainerEngine>,
        registry: Option<RegistryAuth>,
        max_wait: Duration,
    ) -> Self {
        Self {
            engine,
            registry: registry.map(Arc::new),
            max_wait,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            pulls: Arc::new(Semaphore::new(MAX_PULLS)),
        }
    }

    pub(super) async fn network(self, name: String) -> Outcome {
        let result = self.engine.create_network(&name).await;
        Outcome::Network { name, result }
    }

    /// Pulls an image. `max_restart_wait_in_seconds` spreads the pulls of a fleet over that time.
    pub(super) async fn pull(
        self,
        app: String,
        version: AppVersion,
        image: ImageReference,
    ) -> Outcome {
        if !self.max_wait.is_zero() {
            tokio::time::sleep(self.max_wait.mul_f64(rand::random_range(0.0..1.0))).await;
        }
        let _permit = self.pulls.acquire().await;
        let auth = self.registry.as_deref().filter(|auth| is_for(auth, &image));
        let result = self.engine.pull(&image, auth).await;
        Outcome::Pull { app, version, image, result }
    }

    /// Carries out the steps of one app.
    pub(super) async fn steps(self, app: String, steps: Vec<(Target, Step)>) -> Outcome {
        let mut results: Vec<(String, Result<(), EngineError>)> = Vec::new();
        let mut has_failed = false;
        let mut not_made = BTreeSet::new();
        for kind in steps.chunk_by(|(_, a), (_, b)| a.is_same_kind(b)) {
            if has_failed {
                not_made.extend(kind.iter().map(|(target, _)| target.attempt.clone()));
                continue;
            }
            let calls: Vec<_> = kind
                .iter()
                .map(|(target, step)| self.clone().step(app.clone(), target.clone(), step.clone()))
                .collect();
            let done: Vec<_> = stream::iter(calls).buffer_unordered(MAX_CALLS).collect().await;
            has_failed = done.iter().any(|(_, result)| result.is_err());
            results.extend(done);
        }
        for (attempt, _) in results.iter().filter(|(_, result)| result.is_err()) {
            not_made.remove(attempt);
        }
        Outcome::Steps { app, results, not_made }
    }

    async fn step(
        self,
        app: String,
        target: Target,
        step: Step,
    ) -> (String, Result<(), EngineError>) {
        let _permit = self.calls.acquire().await;
        let (engine, id) = (&self.engine, target.id.as_str());
        let result = match &step {
            Step::Create(spec) => engine.create(spec).await,
            Step::Connect { network, alias } => engine.connect(id, network, alias.as_deref()).await,
            Step::Stop => engine.stop(id).await,
            Step::Start => engine.start(id).await,
            Step::Unpause => engine.unpause(id).await,
            Step::Remove => engine.remove(id).await,
            Step::Rename { to } => engine.rename(id, to).await,
        };
        if result.is_ok() {
            info!(app, container = target.name, step = %step, "step done");
        }
        (target.attempt, result)
    }
}

/// Credentials go to the registry they are for, and to no other.
fn is_for(auth: &RegistryAuth, image: &ImageReference) -> bool {
    const DEFAULT: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    let without_scheme =
        auth.server.split_once("://").map_or(auth.server.as_str(), |(_, rest)| rest);
    let server = without_scheme.split('/').next().unwrap_or_default();
    let registry = image.registry().unwrap_or("docker.io");
    server == registry || (DEFAULT.contains(&server) && DEFAULT.contains(&registry))
}

/// The actions of a plan as pieces of work that do not wait for one another.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) networks: Vec<String>,
    pub(super) pulls: Vec<(String, AppVersion, ImageReference)>,
    pub(super) apps: Vec<(String, Vec<(Target, Step)>)>,
}

impl Work {
    pub(super) fn of(actions: Vec<Action>) -> Self {
        let mut work = Self::default();
        for action in actions {
            match action {
                Action::CreateNetwork { name } => work.networks.push(name),
                Action::Pull { app, version, image } => work.pulls.push((app, version, image)),
                Action::Container { app, target, step } => {
                    match work.apps.iter_mut().find(|(name, _)| *name == app) {
                        Some((_, steps)) => steps.push((target, step)),
                        None => work.apps.push((app, vec![(target, step)])),
                    }
                }
            }
        }
        work
    }
}
