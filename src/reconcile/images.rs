//! Planning which images go: by a group's order to prune, and by themselves.
//!
//! An order to prune takes all that nothing uses, whoever brought them. What goes by itself is
//! less: only images that this worker pulled, when nothing has used them for long, or at once, the
//! oldest first, when the disk is over its threshold or a pull lacks room.
//!
//! Used is what a container of anybody was made from, what an app or cron job of the group names,
//! running or not, and what going back to an earlier version needs. An image is known by its id:
//! one that is used under one name is not removed under another, and one whose name went to a newer
//! build is still known.
//!
//! Invariants: no image in use is removed (inv 27), and none while containers are being worked on,
//! for what is observed may be on its way to another image; an order is carried out once, and one
//! that is met for the first time by a device without a memory is only remembered.

use super::action::Action;
use super::app::{NO_APP, Planner};
use super::cron::EARLIEST_CLOCK;
use super::hold::Reason;
use super::memory::{Gate, removal_subject};
use crate::model::{DesiredApp, DesiredCronJob, Observed, ObservedImage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The name under which removals are told. A blank is in no app's name.
const SUBJECT: &str = "unused images";
/// How often an order to prune tries an image that the engine does not let go. What it keeps to
/// itself, such as an image that another one is built on, is no reason to try for ever.
const PRUNE_TRIES: u32 = 3;

/// What is remembered of images.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ImageMemory {
    /// The last order to prune that was carried out; none when no order was met yet.
    prune_id: Option<u64>,
    /// The images that this worker pulled, by id.
    pulled: BTreeMap<String, Pulled>,
}

/// An image that this worker pulled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Pulled {
    /// Since when nothing uses it; none while something does. It changes when use begins and
    /// ends, so that the memory is not written at each look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unused_since_ms: Option<u64>,
}

impl ImageMemory {
    pub(super) fn pulled(&mut self, id: &str) {
        self.pulled.insert(id.to_owned(), Pulled::default());
    }

    pub(super) fn is_from_registry(&self, id: &str) -> bool {
        self.pulled.contains_key(id)
    }

    /// Notes which of ours are there, and since when which of them are not used.
    fn note(&mut self, observed: &Observed, used: &BTreeSet<&str>, now_ms: u64) {
        let there: BTreeSet<&str> = observed.images.iter().map(|image| image.id.as_str()).collect();
        self.pulled.retain(|id, _| there.contains(id.as_str()));
        let is_clock_set = now_ms / 1_000 >= EARLIEST_CLOCK;
        for (id, image) in &mut self.pulled {
            let since = image.unused_since_ms.filter(|since| *since <= now_ms);
            image.unused_since_ms = if used.contains(id.as_str()) {
                None
            } else {
                since.or_else(|| is_clock_set.then_some(now_ms))
            };
        }
    }
}

/// The ids of the images that must stay.
pub(super) fn in_use<'a>(
    observed: &'a Observed,
    kept: &BTreeSet<String>,
    desired: (&[DesiredApp], &[DesiredCronJob]),
) -> BTreeSet<&'a str> {
    let (apps, cron_jobs) = desired;
    let of_apps = apps.iter().filter_map(|app| match app {
        DesiredApp::Readable(app) => Some(app.spec.container.docker_image.familiar()),
        DesiredApp::Unreadable { .. } => None,
    });
    let of_cron_jobs = cron_jobs.iter().filter_map(|job| match job {
        DesiredCronJob::Readable(job) => Some(job.spec.container.docker_image.familiar()),
        DesiredCronJob::Unreadable { .. } => None,
    });
    let named: BTreeSet<String> = of_apps.chain(of_cron_jobs).chain(kept.iter().cloned()).collect();
    let is_used = |image: &&ObservedImage| {
        observed.used_images.contains(&image.id)
            || kept.contains(&image.id)
            || !image.names.is_disjoint(&named)
    };
    observed.images.iter().filter(is_used).map(|image| image.id.as_str()).collect()
}

impl Planner<'_> {
    /// Plans the removal of images.
    pub(super) fn images(&mut self) {
        let (observed, desired) = (self.inputs.observed, self.inputs.desired);
        let kept = self.memory.kept_images();
        let used = in_use(observed, &kept, (&desired.apps, &desired.cron_jobs));
        self.memory.images.note(observed, &used, self.inputs.now_ms);
        let is_free = self.inputs.busy.apps.is_empty() && !self.inputs.busy.images;
        if self.is_ordered_to_prune() {
            if is_free {
                self.prune(&used);
            } else {
                self.plan.hold(SUBJECT, None, Reason::Busy);
            }
        } else if is_free {
            self.collect();
        }
    }

    /// Is there an order that was not carried out? A lower one comes from a group that was made
    /// anew or a store that was restored, and is where counting goes on from.
    fn is_ordered_to_prune(&mut self) -> bool {
        let ordered = self.inputs.desired.prune_id;
        let carried_out = &mut self.memory.images.prune_id;
        match *carried_out {
            Some(last) if last < ordered => true,
            _ => {
                *carried_out = Some(ordered);
                false
            }
        }
    }

    /// Removes all that nothing uses. The order is carried out when each is gone or was tried.
    fn prune(&mut self, used: &BTreeSet<&str>) {
        let observed = self.inputs.observed;
        let mut is_done = true;
        for image in observed.images.iter().filter(|image| !used.contains(image.id.as_str())) {
            let subject = removal_subject(&image.id);
            let tries = self.memory.attempts(NO_APP, &subject).map_or(0, |tried| tried.count);
            if tries < PRUNE_TRIES {
                is_done = false;
                self.remove_image(image);
            } else {
                // Until the others are done as well, the tries at this one stay known.
                self.seen.insert((NO_APP.to_owned(), subject));
            }
        }
        if is_done {
            self.memory.images.prune_id = Some(self.inputs.desired.prune_id);
        }
    }

    /// Removes what we pulled and nothing uses any more.
    fn collect(&mut self) {
        let (policy, now_ms) = (self.inputs.policy, self.inputs.now_ms);
        let observed = self.inputs.observed;
        let pulled = &self.memory.images.pulled;
        let mut unused: Vec<(u64, &ObservedImage)> = observed
            .images
            .iter()
            .filter_map(|image| Some((pulled.get(&image.id)?.unused_since_ms?, image)))
            .collect();
        unused.sort_by_key(|(since_ms, image)| (*since_ms, image.id.as_str()));
        let mut lacking = self.lacking_bytes();
        for (since_ms, image) in unused {
            let is_old = now_ms.saturating_sub(since_ms) >= policy.image_kept_ms;
            if is_old || lacking > 0 {
                // What it shares with others is not freed; the next look sees what is left to do.
                lacking = lacking.saturating_sub(image.size_bytes);
                self.remove_image(image);
            }
        }
    }

    /// How many bytes are to be freed: what is over the threshold, or what a pull lacks.
    fn lacking_bytes(&self) -> u64 {
        let Some(disk) = self.inputs.observed.disk else { return 0 };
        let over = disk.used_beyond(self.inputs.policy.disk_percent);
        let needed = self.memory.pulls.most_room().unwrap_or(0);
        over.max(needed.saturating_sub(disk.free_bytes))
    }

    fn remove_image(&mut self, image: &ObservedImage) {
        let subject = removal_subject(&image.id);
        match self.gate(NO_APP, &subject) {
            Gate::Open => {
                self.memory.count(NO_APP, &subject, self.inputs.now_ms);
                let names = image.names.iter().cloned().collect();
                self.plan.actions.push(Action::RemoveImage { id: image.id.clone(), names });
            }
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(NO_APP, &subject, wait_ms);
                self.plan.hold(SUBJECT, None, reason);
            }
        }
    }
}
