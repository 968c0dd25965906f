//! An engine in memory, for tests of what only a failing engine shows.
//!
//! It is a [`World`] behind the trait, with faults that can be set for any call. One
//! contract test runs it and Docker through the same steps.

use super::{ContainerEngine, EngineError, RegistryAuth};
use crate::model::{ContainerSpec, ImageReference, Machine, Observed, ObservedContainer};
use crate::reconcile::pretend::World;
use crate::reconcile::{Action, Step, Target};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// It fails and did nothing.
    Before,
    /// It fails and yet did what was asked, as when the connection is cut before the answer.
    After,
    /// It never answers and did nothing.
    Hang,
}

/// An engine in memory. Clones share one world.
#[derive(Debug, Clone)]
pub struct FakeEngine {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    world: World,
    machine: Machine,
    is_away: bool,
    faults: VecDeque<Fault>,
}

impl FakeEngine {
    /// An engine around a world.
    pub fn new(world: World, machine: Machine) -> Self {
        let inner = Inner { world, machine, is_away: false, faults: VecDeque::new() };
        Self { inner: Arc::new(Mutex::new(inner)), changed: watch::channel(0).0 }
    }

    /// Looks at the world, or changes it as a person at the device would. A change is seen as one
    /// of Docker's events.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let seen = look(&mut self.lock().world);
        self.changed.send_modify(|count| *count += 1);
        seen
    }

    /// Makes the engine go away or come back.
    pub fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
        self.changed.send_modify(|count| *count += 1);
    }

    /// Sets what happens to the next mutating calls, in order.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults = faults.into_iter().collect();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<(), EngineError> {
        if self.lock().is_away {
            let reason = "connection refused".to_owned();
            return Err(EngineError::Unreachable { address: "fake".to_owned(), reason });
        }
        Ok(())
    }

    fn container(&self, container: &str) -> Result<Option<ObservedContainer>, EngineError> {
        self.reach()?;
        let inner = self.lock();
        let observed = inner.world.observe(inner.machine).containers;
        Ok(observed.into_iter().find(|it| it.id == container || it.name == container))
    }

    async fn act(&self, operation: &'static str, action: Action) -> Result<(), EngineError> {
        self.reach()?;
        let fault = self.lock().faults.pop_front().unwrap_or(Fault::Pass);
        let broken = || EngineError::Refused { operation, message: "made to fail".to_owned() };
        match fault {
            Fault::Before => return Err(broken()),
            Fault::Hang => std::future::pending::<()>().await,
            Fault::Pass | Fault::After => {}
        }
        let done = self.lock().world.apply(&action);
        self.changed.send_modify(|count| *count += 1);
        done.map_err(|message| EngineError::Refused { operation, message })?;
        if fault == Fault::After { Err(broken()) } else { Ok(()) }
    }

    async fn step(
        &self,
        operation: &'static str,
        container: &str,
        step: Step,
    ) -> Result<(), EngineError> {
        let target =
            Target { id: container.to_owned(), name: container.to_owned(), attempt: String::new() };
        self.act(operation, Action::Container { app: String::new(), target, step }).await
    }
}

#[async_trait]
impl ContainerEngine for FakeEngine {
    async fn observe(&self) -> Result<Observed, EngineError> {
        self.reach()?;
        let inner = self.lock();
        Ok(inner.world.observe(inner.machine))
    }

    async fn changes(&self) -> Result<BoxStream<'static, Result<(), EngineError>>, EngineError> {
        self.reach()?;
        let changed = self.changed.subscribe();
        let engine = self.clone();
        let stream =
            futures_util::stream::unfold((changed, engine), |(mut changed, engine)| async {
                changed.changed().await.ok()?;
                let seen = engine.reach();
                Some((seen, (changed, engine)))
            });
        Ok(Box::pin(stream))
    }

    async fn version(&self) -> Result<String, EngineError> {
        self.reach()?;
        Ok("fake".to_owned())
    }

    async fn stats(&self, container: &str) -> Result<Option<Map<String, Value>>, EngineError> {
        Ok(self.container(container)?.map(|found| {
            let name = format!("/{}", found.name);
            Map::from_iter([("id".to_owned(), found.id.into()), ("name".to_owned(), name.into())])
        }))
    }

    async fn restarts(&self, container: &str) -> Result<Option<u64>, EngineError> {
        Ok(self.container(container)?.map(|found| found.restarts.into()))
    }

    async fn create_network(&self, name: &str) -> Result<(), EngineError> {
        self.act("create a network", Action::CreateNetwork { name: name.to_owned() }).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        _auth: Option<&RegistryAuth>,
    ) -> Result<String, EngineError> {
        let version = crate::model::AppVersion {
            uid: None,
            app_id: 0,
            spec: crate::model::SpecHash::from_label(""),
        };
        self.act("pull", Action::Pull { app: String::new(), version, image: image.clone() })
            .await?;
        let familiar = image.familiar();
        let id = self.lock().world.images.get(&familiar).cloned();
        let message = format!("no such image: {familiar}");
        id.ok_or(EngineError::Refused { operation: "pull", message })
    }

    async fn remove_image(&self, id: &str, names: &[String]) -> Result<(), EngineError> {
        let (id, names) = (id.to_owned(), names.to_vec());
        self.act("remove the image", Action::RemoveImage { id, names }).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let step = Step::Create(Box::new(spec.clone()));
        self.step("create the container", &spec.name, step).await
    }

    async fn connect(
        &self,
        container: &str,
        network: &str,
        alias: Option<&str>,
    ) -> Result<(), EngineError> {
        let alias = alias.map(str::to_owned);
        let step = Step::Connect { network: network.to_owned(), alias };
        self.step("connect the network", container, step).await
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        self.step("start the container", container, Step::Start).await
    }

    async fn stop(&self, container: &str) -> Result<(), EngineError> {
        self.step("stop the container", container, Step::Stop).await
    }

    async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        self.step("unpause the container", container, Step::Unpause).await
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        match self.step("remove the container", container, Step::Remove).await {
            Err(EngineError::Refused { message, .. }) if message.contains("no such container") => {
                Ok(())
            }
            other => other,
        }
    }

    async fn rename(&self, container: &str, to: &str) -> Result<(), EngineError> {
        self.step("rename the container", container, Step::Rename { to: to.to_owned() }).await
    }
}
