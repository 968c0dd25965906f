//! A device group: the states that its devices are in, and which of them has seen which change.
//!
//! A change is answered to whoever made it about when devices are told of it, and a device may be
//! told first. What arrives while a change is being made is therefore counted once its answer is
//! read.

use super::connection::Answer;
use super::engine::State;
use super::figures::{Figures, Trouble};
use crate::model::Revision;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// States that are remembered. Devices are in the last, or about to be.
const MAX_STATES: usize = 8;
/// Changes that are remembered. A device that has missed more is counted for these alone.
const MAX_CHANGES: usize = 64;

/// A device group.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
    devices: usize,
    states: Mutex<VecDeque<Arc<State>>>,
    arrivals: Mutex<Arrivals>,
}

/// A change that was answered with 2xx.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) sent: Instant,
    /// When its answer was read.
    pub(super) answered: Instant,
}

/// A device that went from one revision to another.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    before: Option<Revision>,
    to: Option<Revision>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Arrivals {
    changes: VecDeque<Change>,
    /// While a change is being made.
    early: Option<Vec<Arrival>>,
    /// Devices that run something.
    running: usize,
    /// Devices that have the last change.
    reached: usize,
}

impl Group {
    pub(super) fn new(name: String, devices: usize) -> Self {
        Self { name, devices, states: Mutex::default(), arrivals: Mutex::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn devices(&self) -> usize {
        self.devices
    }

    /// The state that an answer puts a device into. An answer that another device got before is
    /// known by its bytes, and is neither read nor run again.
    pub(super) fn state(
        &self,
        from: Option<&Arc<State>>,
        answer: &Answer,
        figures: &Figures,
    ) -> Result<Arc<State>, Trouble> {
        let etag = answer.etag.as_ref().ok_or(Trouble::Invalid)?;
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.iter().rev().find(|known| known.is_of(&answer.body, etag)) {
            return Ok(Arc::clone(known));
        }
        let state = Arc::new(State::new(answer.body.clone(), etag.clone(), from)?);
        figures.planned();
        if states.len() == MAX_STATES {
            states.pop_front();
        }
        states.push_back(Arc::clone(&state));
        Ok(state)
    }

    /// A device has come from one revision to another.
    pub(super) fn arrived(
        &self,
        before: Option<Revision>,
        to: Option<Revision>,
        at: Instant,
        figures: &Figures,
    ) {
        let arrival = Arrival { before, to, at };
        let mut arrivals = self.arrivals();
        if before.is_none() {
            arrivals.running += 1;
        }
        match &mut arrivals.early {
            Some(early) => early.push(arrival),
            None => arrivals.count(arrival, figures),
        }
    }

    /// A change of this group is about to be sent.
    pub(super) fn begin(&self) {
        self.arrivals().early = Some(Vec::new());
    }

    /// The change was answered; or it failed, and then nobody knows whether it was made.
    pub(super) fn end(&self, change: Option<Change>, figures: &Figures) {
        let mut arrivals = self.arrivals();
        if let Some(change) = change {
            if arrivals.changes.len() == MAX_CHANGES {
                arrivals.changes.pop_front();
            }
            arrivals.changes.push_back(change);
            arrivals.reached = 0;
        }
        for arrival in arrivals.early.take().unwrap_or_default() {
            arrivals.count(arrival, figures);
        }
    }

    /// How many devices have the last change of this group, or run something when there was none.
    pub(super) fn converged(&self) -> usize {
        let arrivals = self.arrivals();
        if arrivals.changes.is_empty() { arrivals.running } else { arrivals.reached }
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals {
    fn count(&mut self, arrival: Arrival, figures: &Figures) {
        let has = |revision: Option<Revision>, change: &Change| {
            revision.is_some_and(|revision| revision >= change.revision)
        };
        for change in &self.changes {
            // A device's first answer says nothing of how long a change took.
            if arrival.before.is_some() && !has(arrival.before, change) && has(arrival.to, change) {
                let since = |from| arrival.at.saturating_duration_since(from);
                figures.arrived(since(change.answered), since(change.sent));
            }
        }
        let Some(last) = self.changes.back() else { return };
        match (has(arrival.before, last), has(arrival.to, last)) {
            (false, true) => self.reached += 1,
            (true, false) => self.reached = self.reached.saturating_sub(1),
            _ => {}
        }
    }
}
