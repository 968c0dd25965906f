//! The planner: from what is desired and what is there, to what to do next.
//!
//! What it is: one pure function, [`plan`]. Time, the device's size, jitter and what the worker
//! remembers all come in as arguments; the same arguments give the same plan.
//! What it is not: it starts nothing, waits for nothing and asks nobody. It knows the model only.
//!
//! Invariants, each with a property test in `tests/reconcile`:
//! - *fixpoint*: carried out a few times, the plan becomes empty, and stays so;
//! - *determinism*: equal arguments give equal plans;
//! - *ownership*: no step names a container that was not observed with our label or created by the
//!   same plan;
//! - *budget*: a rolling app never has more than one replica taken down by us;
//! - *explained*: whatever differs from the desired state has an action or a hold;
//! - *clean*: [`check()`] finds nothing.
//!
//! How one replica is replaced: the new container is created beside the old one under a name of
//! its own; where both need the same port of the device the old one is stopped; the new one is
//! started; only when it stays up is the old one removed and the name given over. Whatever fails on the way, the old container is still
//! there to be started again, and a worker killed between any two steps finds by the labels alone
//! where it was.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod accept;
mod action;
mod app;
mod check;
mod cron;
mod hold;
mod images;
mod memory;
mod ports;
pub mod pretend;
mod pull;
mod replica;
mod status;
mod times;
mod update;

pub use accept::{Acceptance, PATIENCE_MS, judge};
pub use action::{Action, Step, Target};
pub use check::check;
pub use cron::{Recorded, RunOutcome, RunRecord, owner};
pub use hold::{Hold, Reason};
pub use memory::{Attempts, Memory};
pub use pull::wanted_images;
pub use status::{Status, status, status_changes_after_ms, status_without_engine};

use crate::model::{AppVersion, Desired, DesiredApp, DesiredCronJob, NEBULA_NETWORK, Observed};
use std::collections::{BTreeMap, BTreeSet};

/// The waits of the planner. All are written down here, and none is anywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first attempt.
    pub backoff_first_ms: u64,
    /// The longest wait: a device must come back by itself soon after what was broken is mended.
    pub backoff_longest_ms: u64,
    /// A container that has been up this long starts again with no wait when it ends.
    pub backoff_forgotten_ms: u64,
    /// How long a new container must run before the old one is given up.
    pub settle_ms: u64,
    /// How much longer than it can take a health check may go without deciding, before that is
    /// taken for a check that Docker does not run.
    pub verdict_slack_ms: u64,
    /// How often Docker may start again what keeps ending, before that is left to the back-off
    /// here, whose waits are longer than Docker's.
    pub restarts_by_docker: u32,
    /// How long the changes of other apps wait for an image of the same change.
    pub images_wait_ms: u64,
    /// The longest that a pull waits for its turn; 0 waits not at all.
    pub pull_spread_ms: u64,
    /// The wait after a registry said for the first time that it is asked too often, where it does
    /// not say how long.
    pub registry_first_ms: u64,
    /// The longest such wait. Registries count in windows of hours.
    pub registry_longest_ms: u64,
    /// How long an image that nothing uses is kept, to be at hand again.
    pub image_kept_ms: u64,
    /// From how many percent of the disk on such images are removed at once.
    pub disk_percent: u64,
    /// Differs from device to device, so that their waits do.
    pub jitter_seed: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff_first_ms: 1_000,
            backoff_longest_ms: 300_000,
            backoff_forgotten_ms: 600_000,
            settle_ms: 2_000,
            verdict_slack_ms: 15_000,
            restarts_by_docker: 5,
            images_wait_ms: 120_000,
            pull_spread_ms: 0,
            registry_first_ms: 120_000,
            registry_longest_ms: 3_600_000,
            image_kept_ms: 7 * 24 * 3_600_000,
            disk_percent: 85,
            jitter_seed: String::new(),
        }
    }
}

impl Policy {
    /// The wait after so many attempts, with up to a fifth more as jitter from a hash.
    fn backoff_ms(&self, attempts: u32, subject: &str) -> u64 {
        if attempts == 0 {
            return 0;
        }
        let doublings = attempts.saturating_sub(1).min(20);
        let wait =
            self.backoff_first_ms.saturating_mul(1 << doublings).min(self.backoff_longest_ms);
        self.jittered(wait, &format!("{subject}/{attempts}"))
    }

    /// A wait with up to a fifth more.
    fn jittered(&self, wait_ms: u64, subject: &str) -> u64 {
        wait_ms.saturating_add(self.share(wait_ms / 5 + 1, subject))
    }

    /// A share of a time that differs from device to device.
    fn share(&self, of_ms: u64, subject: &str) -> u64 {
        hash(&format!("{}/{subject}", self.jitter_seed)) % of_ms.max(1)
    }
}

/// FNV-1a: spreads waits over devices. Nothing secret or chosen by others hangs on it.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is under way from earlier passes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Busy {
    /// Apps, and cron jobs as `cron job NAME`, whose containers are being worked on.
    pub apps: BTreeSet<String>,
    /// Pulls that are running.
    pub pulls: BTreeSet<(String, AppVersion)>,
    /// Whether images are being removed.
    pub images: bool,
    /// Whether a network is being made.
    pub network: bool,
}

/// All that a plan depends on, except what is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What every device of the group runs.
    pub desired: &'a Desired,
    /// What this device has.
    pub observed: &'a Observed,
    /// What is under way.
    pub busy: &'a Busy,
    /// The waits.
    pub policy: &'a Policy,
    /// The time, in ms since 1970.
    pub now_ms: u64,
}

/// What to do next. It prints as text that a person can read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps. Those of one app are in order; apps do not wait for one another.
    pub actions: Vec<Action>,
    /// What differs and is left as it is, with reasons.
    pub holds: Vec<Hold>,
    /// What became of runs of cron jobs, found out in this pass.
    pub recorded: Vec<Recorded>,
    /// When to look again if nothing happens before, in ms.
    pub recheck_after_ms: Option<u64>,
}

impl Plan {
    fn recheck(&mut self, after_ms: u64) {
        // Never at once: a pass that changes nothing must not run in a circle.
        let after_ms = after_ms.max(50);
        self.recheck_after_ms = Some(self.recheck_after_ms.map_or(after_ms, |t| t.min(after_ms)));
    }

    fn hold(&mut self, app: &str, replica: Option<u32>, reason: Reason) {
        self.holds.push(Hold { app: app.to_owned(), replica, reason });
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for action in &self.actions {
            writeln!(f, "{action}")?;
        }
        for hold in &self.holds {
            writeln!(f, "hold {hold}")?;
        }
        for recorded in &self.recorded {
            writeln!(f, "run {recorded}")?;
        }
        if let Some(after) = self.recheck_after_ms {
            writeln!(f, "look again in {after} ms")?;
        }
        Ok(())
    }
}

/// Plans one pass. `memory` comes back with the tries of this plan counted; the caller keeps it
/// before it carries anything out.
pub fn plan(inputs: &Inputs<'_>, memory: &mut Memory) -> Plan {
    memory.note_undecided(inputs.observed, inputs.now_ms);
    let mut plan = Plan::default();
    let mut seen = BTreeSet::new();
    let mut ports = ports::Ports::held(inputs);
    let mut planner = app::Planner { inputs, memory, plan: &mut plan, seen: &mut seen };
    if !inputs.observed.networks.contains(NEBULA_NETWORK) {
        planner.network(NEBULA_NETWORK);
    }
    let mut versions = BTreeMap::new();
    for desired in &inputs.desired.apps {
        match desired {
            DesiredApp::Readable(app) => {
                versions.insert(app.app_name.as_str().to_owned(), app.version());
                planner.app(app, &mut ports);
            }
            DesiredApp::Unreadable { name, reason } => {
                planner.plan.hold(name, None, Reason::Unreadable { why: reason.clone() });
            }
        }
    }
    planner.leftovers();
    for desired in &inputs.desired.cron_jobs {
        if let DesiredCronJob::Readable(job) = desired {
            versions.insert(owner(job.cron_job_name.as_str()), job.image_version());
        }
    }
    planner.cron_jobs();
    planner.images();
    let apps = inputs.desired.apps.iter().map(DesiredApp::name).collect();
    memory.retain(&seen, &inputs.busy.apps, &versions, &apps);
    plan
}
