//! Carrying out a plan. It decides nothing: one `match` from step to engine call.
//!
//! Invariants: the steps of one app are done in order, those of the same kind at once; the first
//! that fails ends the app's list, and the next pass plans from what is then there; apps never
//! wait for one another; pulls run beside everything else.

use super::registries::Registries;
use crate::engine::{ContainerEngine, EngineError};
use crate::model::{AppVersion, ImageReference};
use crate::reconcile::{Action, Step, Target};
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
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
        /// The image's id.
        result: Result<String, EngineError>,
    },
    /// Images that were to go: id, and what came of each.
    Images { results: Vec<(String, Result<(), EngineError>)> },
    /// A network.
    Network { name: String, result: Result<(), EngineError> },
}

/// Carries out actions on an engine.
#[derive(Clone)]
pub(super) struct Executor {
    engine: Arc<dyn ContainerEngine>,
    registries: Arc<Registries>,
    calls: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

impl Executor {
    pub(super) fn new(engine: Arc<dyn ContainerEngine>, registries: Registries) -> Self {
        Self {
            engine,
            registries: Arc::new(registries),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            pulls: Arc::new(Semaphore::new(MAX_PULLS)),
        }
    }

    pub(super) async fn network(self, name: String) -> Outcome {
        let result = self.engine.create_network(&name).await;
        Outcome::Network { name, result }
    }

    /// Pulls an image.
    pub(super) async fn pull(
        self,
        app: String,
        version: AppVersion,
        image: ImageReference,
    ) -> Outcome {
        let _permit = self.pulls.acquire().await;
        let auth = self.registries.auth(&image).await;
        let result = self.engine.pull(&image, auth.as_ref()).await;
        Outcome::Pull { app, version, image, result }
    }

    /// Removes images, one after the other: it makes the disk busy, and nobody waits for it.
    pub(super) async fn images(self, images: Vec<(String, Vec<String>)>) -> Outcome {
        let mut results = Vec::new();
        for (id, names) in images {
            let result = self.engine.remove_image(&id, &names).await;
            if result.is_ok() {
                info!(image = names.first().unwrap_or(&id), "image removed");
            }
            results.push((id, result));
        }
        Outcome::Images { results }
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

/// The actions of a plan as pieces of work that do not wait for one another.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) networks: Vec<String>,
    pub(super) pulls: Vec<(String, AppVersion, ImageReference)>,
    pub(super) images: Vec<(String, Vec<String>)>,
    pub(super) apps: Vec<(String, Vec<(Target, Step)>)>,
}

impl Work {
    pub(super) fn of(actions: Vec<Action>) -> Self {
        let mut work = Self::default();
        for action in actions {
            match action {
                Action::CreateNetwork { name } => work.networks.push(name),
                Action::Pull { app, version, image } => work.pulls.push((app, version, image)),
                Action::RemoveImage { id, names } => work.images.push((id, names)),
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
