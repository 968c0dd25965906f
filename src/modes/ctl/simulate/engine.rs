//! What a simulated device runs: the real planner on a pretended engine.
//!
//! How tens of thousands fit into one process: devices that were told the same and ran the same
//! before run the same now, for the planner depends on nothing else. So one device of each kind is
//! carried through the plan, and all of that kind share the outcome.
//!
//! Invariants: an answer counts as run only when the planner has nothing left to do; time goes by
//! in the pretended world alone, so that no wait of a rollout stands in a measured time.

use super::figures::Trouble;
use crate::model::{Desired, Machine, Revision};
use crate::reconcile::pretend::World;
use crate::reconcile::{Action, Busy, Inputs, Memory, Policy, Step, plan, wanted_images};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The pretended device's size.
const MACHINE: Machine = Machine { cores: 4, memory_mb: 4096 };
/// Passes after which a plan that still does something is given up.
const MAX_PASSES: usize = 2_000;
/// The time that a pass takes, and the longest that is waited for the next, in ms.
const PASS_MS: u64 = 20;
const LONGEST_WAIT_MS: u64 = 30_000;
/// Ways to one state that are remembered.
const MAX_WAYS: usize = 16;

/// Gives each state a number of its own, by which the ways from it are known.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A state that devices are in: the answer that they hold, and what runs on them.
#[derive(Debug)]
pub(super) struct State {
    id: u64,
    pub(super) etag: HeaderValue,
    bytes: Bytes,
    desired: Desired,
    engine: Engine,
    is_settled: bool,
    /// By the state before, what was to be done to come here.
    ways: Mutex<Vec<(Option<u64>, Steps)>>,
}

/// What a device did to come from one state to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) started: u64,
    pub(super) stopped: u64,
}

/// A pretended device with what its worker remembers.
#[derive(Debug, Clone, Default)]
struct Engine {
    world: World,
    memory: Memory,
    now_ms: u64,
}

impl State {
    /// Reads an answer, and carries a device from the state before to it.
    pub(super) fn new(
        bytes: Bytes,
        etag: HeaderValue,
        from: Option<&Arc<Self>>,
    ) -> Result<Self, Trouble> {
        let desired = Desired::decode(&bytes).map_err(|_| Trouble::Invalid)?;
        let mut engine = Engine::of(from);
        let (steps, is_settled) = engine.converge(&desired);
        let ways = Mutex::new(vec![(from.map(|from| from.id), steps)]);
        let id = NEXT_ID.fetch_add(1, Relaxed);
        Ok(Self { id, etag, bytes, desired, engine, is_settled, ways })
    }

    pub(super) fn is_of(&self, bytes: &Bytes, etag: &HeaderValue) -> bool {
        self.bytes == *bytes && self.etag == *etag
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.desired.revision
    }

    /// Whether the planner had nothing left to do.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// What a device in that state does to come to this one.
    pub(super) fn steps_from(&self, from: Option<&Arc<Self>>) -> Steps {
        let id = from.map(|from| from.id);
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, steps)) = ways.iter().find(|(known, _)| *known == id) {
            return *steps;
        }
        let (steps, _) = Engine::of(from).converge(&self.desired);
        if ways.len() == MAX_WAYS {
            ways.remove(0);
        }
        ways.push((id, steps));
        steps
    }
}

impl Engine {
    fn of(state: Option<&Arc<State>>) -> Self {
        let new = || Self { world: World::new(), ..Self::default() };
        state.map_or_else(new, |state| state.engine.clone())
    }

    /// Passes until nothing is left to do; false when that does not come.
    fn converge(&mut self, desired: &Desired) -> (Steps, bool) {
        self.world.registry =
            wanted_images(desired).map(|(_, _, image)| image.familiar()).collect();
        let mut steps = Steps::default();
        let policy = Policy::default();
        for _ in 0..MAX_PASSES {
            let observed = self.world.observe(MACHINE);
            let busy = Busy::default();
            let now_ms = self.now_ms;
            let inputs =
                Inputs { desired, observed: &observed, busy: &busy, policy: &policy, now_ms };
            let made = plan(&inputs, &mut self.memory);
            if made.actions.is_empty() && made.holds.is_empty() {
                return (steps, true);
            }
            let mut broken = BTreeSet::new();
            for action in &made.actions {
                self.carry_out(action, &mut steps, &mut broken);
            }
            let wait = made.recheck_after_ms.unwrap_or(LONGEST_WAIT_MS).min(LONGEST_WAIT_MS);
            self.now_ms += if made.actions.is_empty() { wait } else { PASS_MS };
            self.world.log.clear();
        }
        (steps, false)
    }

    /// As the worker does: what fails ends the app's part of the plan.
    fn carry_out(&mut self, action: &Action, steps: &mut Steps, broken: &mut BTreeSet<String>) {
        if matches!(action, Action::Container { app, .. } if broken.contains(app)) {
            return;
        }
        let outcome = self.world.apply(action);
        match (action, outcome) {
            (Action::CreateNetwork { .. } | Action::RemoveImage { .. }, Ok(())) => {}
            (Action::CreateNetwork { name }, Err(error)) => {
                self.memory.network_failed(name, &error);
            }
            (Action::RemoveImage { id, .. }, Err(error)) => self.memory.image_kept(id, &error),
            (Action::Pull { app, version, image }, Ok(())) => {
                let id = World::built(&image.familiar());
                self.memory.pulled(app, version, image, &id);
            }
            (Action::Pull { app, version, .. }, Err(error)) => {
                self.memory.pull_failed(app, version, &error);
            }
            (Action::Container { app, target, step }, Ok(())) => {
                match step {
                    Step::Start => steps.started += 1,
                    Step::Stop => steps.stopped += 1,
                    _ => {}
                }
                self.memory.done(app, &target.attempt, self.now_ms);
            }
            (Action::Container { app, target, .. }, Err(error)) => {
                self.memory.failed(app, &target.attempt, &error);
                broken.insert(app.clone());
            }
        }
    }
}
