//! One simulated device: it asks, judges and runs as a worker does, and waits as one does.

use super::Shared;
use super::connection::{Ask, Connection};
use super::engine::State;
use super::figures::{Figures, Trouble};
use super::flags::Rhythm;
use super::group::Group;
use super::managers::Manager;
use crate::model::Revision;
use crate::reconcile::{Acceptance, judge};
use hyper::StatusCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The worker's own waits after failures, and how long it believes a manager.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// The worker's limit of a request; one that is parked has that much more.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// A request that should have been parked and was answered sooner with nothing new: a manager that
/// drains, or one that does not park. It must not be asked in a circle.
const SUSPICIOUS: Duration = Duration::from_millis(500);

/// A device.
pub(super) struct Device {
    index: usize,
    shared: Arc<Shared>,
    /// What it runs. All devices that run the same share it.
    state: Option<Arc<State>>,
    connection: Option<Open>,
    failures: u32,
    older_since: Option<Instant>,
}

/// Why a round was no success, and how long the manager wants to be left alone.
type Failed = (Trouble, Option<Duration>);

impl Device {
    pub(super) fn new(index: usize, shared: Arc<Shared>) -> Self {
        Self { index, shared, state: None, connection: None, failures: 0, older_since: None }
    }

    fn group(&self) -> &Group {
        &self.shared.groups[self.index % self.shared.groups.len()]
    }

    /// Asks for as long as it is let.
    pub(super) async fn run(mut self, begin: Duration) {
        sleep(begin).await;
        loop {
            let wait = match self.round().await {
                Ok(wait) => {
                    self.failures = 0;
                    wait
                }
                Err((trouble, retry_after)) => {
                    self.shared.figures.count(trouble);
                    self.back_off(retry_after)
                }
            };
            if self.connection.as_ref().is_some_and(|open| open.connection.is_closed()) {
                self.connection = None;
            }
            if wait.is_zero() {
                continue;
            }
            match &mut self.connection {
                Some(open) => open.connection.idle(sleep(wait)).await,
                None => sleep(wait).await,
            }
        }
    }

    fn back_off(&mut self, retry_after: Option<Duration>) -> Duration {
        let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        let wait = retry_after.map_or(doubled, |after| after.clamp(doubled, LONGEST_RETRY_AFTER));
        // Up to half more: a fleet that failed together must not come back together.
        wait.mul_f64(rand::random_range(1.0..1.5))
    }

    /// Asks once, and says how long to wait until the next time.
    async fn round(&mut self) -> Result<Duration, Failed> {
        if self.connection.as_ref().is_none_or(|open| open.connection.is_closed()) {
            self.connection = None;
            // In a box of its own, because what a handshake needs is not needed afterwards.
            let shared = Arc::clone(&self.shared);
            let opened = Box::pin(Open::new(shared, self.index)).await;
            self.connection = Some(opened.map_err(|trouble| (trouble, None))?);
        }
        let waits_for = match (self.shared.rhythm, &self.state) {
            (Rhythm::Park(seconds), Some(_)) => Some(seconds),
            _ => None,
        };
        let query = waits_for.map(|seconds| format!("?wait={seconds}")).unwrap_or_default();
        let path = format!("/api/v2/device_groups/{}/info{query}", self.group().name());
        let (shared, state) = (Arc::clone(&self.shared), self.state.clone());
        let manager = manager(&shared, self.index);
        let path = manager.path(&path);
        let tokens = &shared.tokens;
        let ask = Ask {
            path: &path,
            token: tokens.get(self.index % tokens.len().max(1)),
            etag: state.as_ref().map(|state| &state.etag),
            limit: REQUEST_TIME + Duration::from_secs(waits_for.unwrap_or(0)),
        };
        let asked = Instant::now();
        let Some(open) = &mut self.connection else { return Err((Trouble::Reset, None)) };
        let answer = match open.connection.get(manager, &ask).await {
            Ok(answer) => answer,
            Err(trouble) => {
                self.connection = None;
                return Err((trouble, None));
            }
        };
        let answered = Instant::now();
        let took = answered - asked;
        if waits_for.is_none() {
            shared.figures.checked_in(took);
        }
        match answer.status {
            StatusCode::NOT_MODIFIED if state.is_some() => {
                shared.figures.not_modified.fetch_add(1, Relaxed);
                self.older_since = None;
                if waits_for.is_some() && took < SUSPICIOUS {
                    return Ok(jittered(FIRST_RETRY));
                }
            }
            StatusCode::OK => {
                shared.figures.whole.fetch_add(1, Relaxed);
                shared.figures.bytes.fetch_add(answer.body.len() as u64, Relaxed);
                let next = self.group().state(self.state.as_ref(), &answer, &shared.figures);
                let next = next.map_err(|trouble| (trouble, None))?;
                self.accept(&next, answered)?;
            }
            _ => return Err((answer.trouble(), answer.retry_after)),
        }
        Ok(match shared.rhythm {
            Rhythm::Park(_) => Duration::ZERO,
            Rhythm::CheckIn(interval) => jittered(interval),
        })
    }

    /// Takes an answer over what it has, unless it is older.
    fn accept(&mut self, next: &Arc<State>, at: Instant) -> Result<(), Failed> {
        let before = self.state.as_ref().and_then(|state| state.revision());
        let older_for = self.older_since.map_or(Duration::ZERO, |since| since.elapsed());
        let older_for_ms = u64::try_from(older_for.as_millis()).unwrap_or(u64::MAX);
        if judge(before, next.revision(), older_for_ms) == Acceptance::KeepNewer {
            self.older_since.get_or_insert(at);
            return Err((Trouble::Stale, None));
        }
        self.older_since = None;
        if self.state.is_none() {
            self.shared.figures.ready.fetch_add(1, Relaxed);
        }
        let from = self.state.replace(Arc::clone(next));
        self.run_it(from.as_ref(), next, at, before);
        Ok(())
    }

    /// Counts what the device did to come from one state to the other.
    fn run_it(&self, from: Option<&Arc<State>>, to: &State, at: Instant, before: Option<Revision>) {
        let steps = to.steps_from(from);
        let figures: &Figures = &self.shared.figures;
        figures.started.fetch_add(steps.started, Relaxed);
        figures.stopped.fetch_add(steps.stopped, Relaxed);
        if !to.is_settled() {
            figures.unsettled.fetch_add(1, Relaxed);
            return;
        }
        self.group().arrived(before, to.revision(), at, figures);
    }
}

/// An open connection, counted.
struct Open {
    connection: Connection,
    shared: Arc<Shared>,
}

impl Open {
    async fn new(shared: Arc<Shared>, device: usize) -> Result<Self, Trouble> {
        let asked = Instant::now();
        let connection = Connection::open(manager(&shared, device), device).await?;
        shared.figures.connected(asked.elapsed());
        Ok(Self { connection, shared })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.figures.open.fetch_sub(1, Relaxed);
    }
}

/// The manager that a device asks. Each group's devices spread over all managers.
fn manager(shared: &Shared, device: usize) -> &Manager {
    let turn = device / shared.groups.len();
    &shared.managers[turn % shared.managers.len()]
}

/// As the worker spreads its check-ins.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..=1.1))
}
