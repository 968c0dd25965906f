//! Planning pulls: whether the image of a version must be fetched, and what its pull waits for.
//!
//! A pull waits for its turn, so that a fleet does not fetch an image in one moment; for a registry
//! that said it is asked too often; for room on the disk, when an earlier try showed how much it
//! takes; and after any other failure as long as everything here does. It never gives up.

use super::Policy;
use super::action::Action;
use super::app::Planner;
use super::hold::Reason;
use super::memory::{Gate, pull_subject};
use crate::model::{App, AppVersion, Desired, DesiredApp, DesiredCronJob, ImageReference};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Refusals of one registry within this time are one: pulls that ran side by side were all refused.
const ONE_REFUSAL_MS: u64 = 60_000;

/// An image that an app or a cron job needs.
pub(super) struct Image<'a> {
    /// Whose attempts and pulls it is.
    pub(super) owner: &'a str,
    pub(super) version: &'a AppVersion,
    pub(super) reference: &'a ImageReference,
    /// Whether a container of this version is there.
    pub(super) is_made: bool,
}

/// What is remembered of pulls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PullMemory {
    /// By app or cron job: since when the pull of a version has waited for its turn. A restart
    /// does not begin the wait anew, nor does a try that failed.
    turns: BTreeMap<String, Turn>,
    /// By registry: what it said when it was asked too often.
    registries: BTreeMap<String, Refusals>,
    /// By app or cron job: how much free disk the image of a version needs.
    rooms: BTreeMap<String, Room>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Turn {
    version: AppVersion,
    since_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refusals {
    count: u32,
    last_ms: u64,
    retry_after_ms: Option<u64>,
    error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Room {
    version: AppVersion,
    needed_bytes: u64,
}

/// What runs and needs an image: the app, or cron job as [`super::owner`] names it, with its version.
pub fn wanted_images(
    desired: &Desired,
) -> impl Iterator<Item = (String, AppVersion, &ImageReference)> {
    let apps = desired.apps.iter().filter_map(|desired| match desired {
        DesiredApp::Readable(app) if app.spec.running => {
            let owner = app.app_name.as_str().to_owned();
            Some((owner, app.version(), &app.spec.container.docker_image))
        }
        _ => None,
    });
    let cron_jobs = desired.cron_jobs.iter().filter_map(|desired| match desired {
        DesiredCronJob::Readable(job) if job.spec.running => {
            let owner = super::owner(job.cron_job_name.as_str());
            Some((owner, job.image_version(), &job.spec.container.docker_image))
        }
        _ => None,
    });
    apps.chain(cron_jobs)
}

impl PullMemory {
    pub(super) fn succeeded(&mut self, owner: &str, image: &ImageReference) {
        self.registries.remove(image.registry_or_default());
        self.rooms.remove(owner);
    }

    pub(super) fn registry_is_busy(
        &mut self,
        image: &ImageReference,
        retry_after_ms: Option<u64>,
        error: &str,
        now_ms: u64,
    ) {
        let registry = image.registry_or_default().to_owned();
        let before = self.registries.get(&registry);
        let count = before.map_or(1, |before| match now_ms.checked_sub(before.last_ms) {
            Some(since) if since < ONE_REFUSAL_MS => before.count,
            _ => before.count.saturating_add(1),
        });
        let refusals = Refusals { count, last_ms: now_ms, retry_after_ms, error: error.to_owned() };
        self.registries.insert(registry, refusals);
    }

    pub(super) fn needs_room(&mut self, owner: &str, version: &AppVersion, needed_bytes: u64) {
        let room = Room { version: version.clone(), needed_bytes };
        self.rooms.insert(owner.to_owned(), room);
    }

    fn is_taking_turns(&self, owner: &str, version: &AppVersion) -> bool {
        self.turns.get(owner).is_some_and(|turn| turn.version == *version)
    }

    /// The most that any image which is waited for needs.
    pub(super) fn most_room(&self) -> Option<u64> {
        self.rooms.values().map(|room| room.needed_bytes).max()
    }

    /// Drops what belongs to versions that nobody wants any more. A registry's refusals are kept
    /// for all that ask it, and dropped by the first success.
    pub(super) fn retain(
        &mut self,
        versions: &BTreeMap<String, AppVersion>,
        is_kept: impl Fn(&str, &AppVersion) -> bool,
    ) {
        let is_wanted = |owner: &String, version: &AppVersion| {
            versions.get(owner) == Some(version) || is_kept(owner, version)
        };
        self.turns.retain(|owner, turn| is_wanted(owner, &turn.version));
        self.rooms.retain(|owner, room| is_wanted(owner, &room.version));
        if versions.is_empty() {
            self.registries.clear();
        }
    }
}

impl Refusals {
    /// How long the registry is to be left alone from now on.
    fn left_ms(&self, registry: &str, now_ms: u64, policy: &Policy) -> u64 {
        // A clock that went back would hold for as long as it jumped.
        let Some(elapsed) = now_ms.checked_sub(self.last_ms) else { return 0 };
        let doublings = self.count.saturating_sub(1).min(20);
        let wait = self.retry_after_ms.unwrap_or_else(|| {
            policy.registry_first_ms.saturating_mul(1 << doublings).min(policy.registry_longest_ms)
        });
        policy.jittered(wait, &format!("{registry}/{}", self.count)).saturating_sub(elapsed)
    }
}

impl Planner<'_> {
    /// Is the image of a version on the device? If not, its pull is planned.
    pub(super) fn image(&mut self, wanted: &Image<'_>) -> Result<(), Reason> {
        let present = self.inputs.observed.image(&wanted.reference.familiar());
        // A container of this version is proof that its image was fetched for it.
        let was_fetched = wanted.is_made || self.memory.has_fetched(wanted.owner, wanted.version);
        match present {
            Some(_) if was_fetched => Ok(()),
            _ => self.pull(wanted, present.map(|image| image.id.as_str())),
        }
    }

    fn pull(&mut self, wanted: &Image<'_>, present: Option<&str>) -> Result<(), Reason> {
        let (owner, version) = (wanted.owner, wanted.version);
        let image = wanted.reference.as_str().to_owned();
        let subject = pull_subject(version);
        let gate = self.gate(owner, &subject);
        if self.inputs.busy.pulls.contains(&(owner.to_owned(), version.clone())) {
            return Err(Reason::Pulling { image });
        }
        let failure = self
            .memory
            .attempts(owner, &subject)
            .and_then(|tried| Some((tried.count, tried.error.clone()?)));
        // An image that was built here, or loaded by hand, is in no registry: once the registry
        // has failed to give it, what is here will do. One that came from a registry is waited
        // for, because "restart" means "fetch what is new under this tag".
        let is_built_here = present.is_some_and(|id| !self.memory.images.is_from_registry(id));
        if is_built_here && failure.is_some() {
            return Ok(());
        }
        let waits = [Self::turn, Self::registry, Self::room];
        if let Some(reason) = waits.iter().find_map(|wait| wait(self, wanted)) {
            return Err(reason);
        }
        match gate {
            Gate::Open => {
                self.memory.count(owner, &subject, self.inputs.now_ms);
                self.plan.actions.push(Action::Pull {
                    app: owner.to_owned(),
                    version: version.clone(),
                    image: wanted.reference.clone(),
                });
                Err(Reason::Pulling { image })
            }
            Gate::Wait(wait_ms) => {
                self.plan.recheck(wait_ms);
                let (attempts, error) = failure.unwrap_or((1, "interrupted".to_owned()));
                Err(Reason::PullFailed { image, attempts, wait_ms, error })
            }
        }
    }

    /// Whose image of this same change is on its way for the first time. All images are pulled
    /// before anything stops, so that what changes together changes at once. One that failed, or
    /// takes long, holds nobody up.
    pub(super) fn first_pull_under_way(&mut self, app: &App) -> Option<String> {
        let own = app.app_name.as_str();
        let mut others = wanted_images(self.inputs.desired).filter(|(owner, _, _)| owner != own);
        let (owner, _, _) = others.find(|(owner, version, reference)| {
            let is_made =
                self.inputs.observed.containers.iter().any(|c| c.version.as_ref() == Some(version));
            let is_here = self.inputs.observed.image(&reference.familiar()).is_some()
                && self.memory.has_fetched(owner, version);
            !is_made && !is_here && self.is_first_try(owner, version)
        })?;
        // A pull that is held up for long says nothing.
        self.plan.recheck(self.inputs.policy.images_wait_ms);
        Some(owner)
    }

    /// Is a pull tried for the first time, or waiting for its turn to be?
    fn is_first_try(&self, owner: &str, version: &AppVersion) -> bool {
        let Some(tried) = self.memory.attempts(owner, &pull_subject(version)) else {
            return self.memory.pulls.is_taking_turns(owner, version);
        };
        let elapsed = self.inputs.now_ms.saturating_sub(tried.last_ms);
        let is_recent = elapsed < self.inputs.policy.images_wait_ms;
        tried.count == 1 && tried.error.is_none() && is_recent
    }

    /// The wait for this device's turn, once a version.
    fn turn(&mut self, wanted: &Image<'_>) -> Option<Reason> {
        let (policy, now_ms) = (self.inputs.policy, self.inputs.now_ms);
        if policy.pull_spread_ms == 0 {
            return None;
        }
        let turns = &mut self.memory.pulls.turns;
        let begun = turns.get(wanted.owner).filter(|turn| turn.version == *wanted.version);
        // A clock that went back would make the wait longer than it may be.
        let since_ms = begun.map(|turn| turn.since_ms).filter(|since| *since <= now_ms);
        let since_ms = since_ms.unwrap_or(now_ms);
        turns.insert(wanted.owner.to_owned(), Turn { version: wanted.version.clone(), since_ms });
        // The same for all that is declared together, and another one for each change.
        let share = policy.share(policy.pull_spread_ms, &format!("turn {since_ms}"));
        let turn_ms = since_ms.saturating_add(share);
        let wait_ms = turn_ms.checked_sub(now_ms).filter(|wait| *wait > 0)?;
        self.plan.recheck(wait_ms);
        Some(Reason::TakingTurns { image: wanted.reference.as_str().to_owned(), wait_ms })
    }

    /// The wait that the registry asked for.
    fn registry(&mut self, wanted: &Image<'_>) -> Option<Reason> {
        let registry = wanted.reference.registry_or_default();
        let refusals = self.memory.pulls.registries.get(registry)?;
        let wait_ms = refusals.left_ms(registry, self.inputs.now_ms, self.inputs.policy);
        if wait_ms == 0 {
            return None;
        }
        let error = refusals.error.clone();
        self.plan.recheck(wait_ms);
        Some(Reason::RegistryBusy { registry: registry.to_owned(), wait_ms, error })
    }

    /// The room that the image is known to lack.
    fn room(&mut self, wanted: &Image<'_>) -> Option<Reason> {
        let room = self.memory.pulls.rooms.get(wanted.owner)?;
        let disk = self.inputs.observed.disk?;
        let is_known = room.version == *wanted.version && disk.free_bytes < room.needed_bytes;
        is_known.then(|| Reason::NoRoom {
            image: wanted.reference.as_str().to_owned(),
            needed_mb: room.needed_bytes.div_ceil(1 << 20),
            free_mb: disk.free_bytes >> 20,
        })
    }
}
