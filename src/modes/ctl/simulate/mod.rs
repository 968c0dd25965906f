//! `simulate`: a fleet that is not there, against managers that are.
//!
//! What it is: many devices in one process. Each has a connection, credentials and a state of its
//! own and speaks to a manager as a worker does; its engine is the pretended one of
//! [`crate::reconcile::pretend`], driven by the real planner. At the end stands what the managers
//! needed and how long everything took.
//! What it is not: no containers, no reports, no network but the one between here and the managers.
//!
//! Invariants: it touches what carries its own prefix, and nothing else; it refuses a manager that
//! holds more than that, unless told; what it made it removes, also when it is interrupted; it says
//! so when it measured itself rather than a manager.
//!
//! Built on hyper's own connections and not on [`crate::client`]: that client keeps a pool, a timer
//! and a chain of layers for each request, which one device never notices, and tens of thousands
//! in one process would be measured in place of the manager. What is asked once, the preparations
//! and the changes, goes through the client like every other command.
//!
//! In reading order: `flags` what is asked for; `room` whether this machine can; `fleet` what is
//! made and removed; `managers` where they are; `connection`, `device` one device; `engine` what it
//! runs; `group` who has seen which change; `changes`; `figures`, `watch` what is counted here
//! and there; `progress`, `result` what people see.

mod changes;
mod connection;
mod device;
mod engine;
mod figures;
mod flags;
mod fleet;
mod group;
mod managers;
mod metrics;
mod progress;
mod result;
mod room;
mod watch;

pub(super) use flags::Simulate;

use super::failure::Failure;
use super::output;
use super::session::Session;
use changes::Changes;
use device::Device;
use figures::Figures;
use fleet::Fleet;
use group::Group;
use managers::Manager;
use progress::Progress;
use result::Outcome;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use watch::Watch;

/// How often the state of the run is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long all devices may take to be parked once all are answered.
const PARKING: Duration = Duration::from_secs(5);

/// What all devices of a run share.
#[derive(Debug)]
struct Shared {
    groups: Vec<Group>,
    managers: Vec<Manager>,
    tokens: Vec<hyper::header::HeaderValue>,
    figures: Figures,
    rhythm: flags::Rhythm,
}

impl Simulate {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let interrupted = on_signals()?;
        let mut managers = Vec::new();
        for url in self.urls(session.client().url()) {
            managers.push(Manager::find(&url, session.tls()).await?);
        }
        room::make(self.devices, &managers)?;
        let fleet = Fleet::of(&self);
        fleet.refuse_real(session, self.beside_real_groups).await?;
        let left = fleet.remove(session).await?;
        if left > 0 {
            output::say(&format!("removed {left} objects that an earlier run had left"));
        }
        let ran = tokio::select! {
            biased;
            () = interrupted.cancelled() => Err(Failure::Interrupted),
            prepared = self.prepare(session, &fleet, managers) => match prepared {
                Ok(shared) => Ok(self.measure(session, shared, &interrupted).await),
                Err(failure) => Err(failure),
            },
        };
        let removed = fleet.remove(session).await;
        let outcome = ran?;
        outcome.print(session.output())?;
        removed?;
        if interrupted.is_cancelled() {
            return Err(Failure::Interrupted);
        }
        outcome.verdict(self.allow_errors)
    }

    /// Makes what the devices will ask for, and waits until every manager answers one of them.
    async fn prepare(
        &self,
        session: &Session,
        fleet: &Fleet,
        managers: Vec<Manager>,
    ) -> Result<Arc<Shared>, Failure> {
        output::say(&format!(
            "preparing {} devices in {} groups at {}",
            self.devices,
            self.groups,
            managers.iter().map(Manager::url).collect::<Vec<_>>().join(", ")
        ));
        let tokens = fleet.make(session).await?;
        for manager in &managers {
            managers::wait_until_known(manager, &tokens, &fleet.group(0)).await?;
        }
        let groups = (0..self.groups).map(|group| {
            // Devices are dealt out in turn, so the first groups have those that are left over.
            let more = usize::from(group < self.devices % self.groups);
            Group::new(fleet.group(group), self.devices / self.groups + more)
        });
        let (groups, figures) = (groups.collect(), Figures::new()?);
        Ok(Arc::new(Shared { groups, managers, tokens, figures, rhythm: self.rhythm() }))
    }

    /// Connects the devices, makes the changes and waits for them to arrive. An interrupt ends it
    /// early.
    async fn measure(
        &self,
        session: &Session,
        shared: Arc<Shared>,
        interrupted: &CancellationToken,
    ) -> Outcome {
        let watch = Watch::start(Arc::clone(&shared)).await;
        let progress = Progress::start(Arc::clone(&shared), watch.view(), self.devices);
        let started = Instant::now();
        let mut devices = JoinSet::new();
        for index in 0..self.devices {
            let begin = self.ramp().mul_f64(rand::random());
            devices.spawn(Device::new(index, Arc::clone(&shared)).run(begin));
        }
        let mut changes = Changes::new(self, session, &shared);
        let mut connected_after = None;
        tokio::select! {
            biased;
            () = interrupted.cancelled() => {}
            () = async {
                self.connect(&shared, &watch).await;
                connected_after = Some(started.elapsed());
                watch.all_parked().await;
                changes.make().await;
                self.converge(&shared).await;
            } => {}
        }
        let ran_for = started.elapsed();
        drop(progress);
        let simulator = watch.simulator();
        watch.during_is_over().await;
        // Dropped devices close their connections; what the managers then keep is told as well.
        devices.shutdown().await;
        let managers = watch.finish().await;
        Outcome::new(self, &shared, &changes, &managers, simulator, connected_after, ran_for)
    }

    /// Until every device holds an answer, and is parked where it should be, or the time is up.
    async fn connect(&self, shared: &Shared, watch: &Watch) {
        let all = async {
            while (shared.figures.ready.load(Relaxed)) < self.devices as u64 {
                sleep(LOOK).await;
            }
        };
        if timeout(self.ramp() + self.patience(), all).await.is_err() || !self.rhythm().parks() {
            return;
        }
        let parked = async {
            while watch.parked_more() < self.devices as u64 {
                sleep(LOOK).await;
            }
        };
        // Another manager behind the same URL may be the one that is asked for its metrics.
        let _ = timeout(PARKING, parked).await;
    }

    /// Until every device has the last change of its group, or the time is up.
    async fn converge(&self, shared: &Shared) {
        let all = async {
            while shared.groups.iter().map(Group::converged).sum::<usize>() < self.devices {
                sleep(LOOK).await;
            }
        };
        // That they have not is told with the results.
        let _ = timeout(self.patience(), all).await;
    }
}

/// Cancelled by the first signal; the second ends the process.
fn on_signals() -> Result<CancellationToken, Failure> {
    let failed = |error| Failure::new("cannot listen for signals").because(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_first {
                output::say("\nremoving what was made; a second signal ends it at once");
                first.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(token)
}
