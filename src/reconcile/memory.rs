//! What a worker remembers from pass to pass, handed to the planner and handed back changed.
//!
//! It holds how often something was tried and what failed, never what to do: with an empty memory
//! the planner ends in the same state, only with less patience, and after it has seen once more
//! that a version fails.

use super::app::NO_APP;
use super::cron::CronMemory;
use super::images::ImageMemory;
use super::pull::PullMemory;
use super::{Inputs, Policy};
use crate::model::{App, AppVersion, ImageReference, Observed, ObservedContainer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The longest error text that is kept.
const MAX_ERROR_LENGTH: usize = 500;

/// What is remembered. The worker keeps it on disk.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// By app: the version whose image was fetched from its registry.
    fetched: BTreeMap<String, AppVersion>,
    /// What pulls wait for.
    pub(super) pulls: PullMemory,
    /// The images that came from a registry, and the last order to prune.
    pub(super) images: ImageMemory,
    /// By app and subject: the attempts so far.
    attempts: BTreeMap<String, BTreeMap<String, Attempts>>,
    /// By cron job: its due times and its last runs.
    cron_jobs: BTreeMap<String, CronMemory>,
    /// By app: the last version of which all replicas were up. It holds values of variables, so the
    /// file is the owner's alone.
    #[serde(deserialize_with = "readable")]
    healthy: BTreeMap<String, Healthy>,
    /// By app: the version that failed and is not tried again.
    held_back: BTreeMap<String, HeldBack>,
    /// By container id: since when its health check has not decided.
    undecided: BTreeMap<String, u64>,
}

/// A version that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeldBack {
    version: AppVersion,
    /// What was declared of it beside what shapes its containers.
    manner: String,
    error: String,
}

impl HeldBack {
    fn has_shape_of(&self, version: &AppVersion) -> bool {
        (self.version.uid, &self.version.spec) == (version.uid, &version.spec)
    }
}

/// What of a declaration does not shape containers: how many, whether they run, how they are
/// updated.
fn manner(app: &App) -> String {
    let spec = &app.spec;
    json!([spec.containers_per, spec.running, spec.rolling_restart, spec.update_config]).to_string()
}

/// A version of which all replicas were up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Healthy {
    /// The version of the declaration, which takes a hash to find out.
    #[serde(skip)]
    pub(super) version: AppVersion,
    /// The whole declaration.
    pub(super) app: App,
    /// The image that its name stood for.
    pub(super) image_id: Option<String>,
}

/// A declaration that another version of nebula kept, and this one cannot read, is none.
fn readable<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Healthy>, D::Error> {
    #[derive(Deserialize)]
    struct Kept {
        app: Map<String, Value>,
        image_id: Option<String>,
    }
    let read = |(name, kept): (String, Kept)| {
        let app = App::decode(kept.app).ok()?;
        Some((name, Healthy { version: app.version(), app, image_id: kept.image_id }))
    };
    Ok(BTreeMap::<String, Kept>::deserialize(from)?.into_iter().filter_map(read).collect())
}

/// How often one thing was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How often.
    pub count: u32,
    /// When the last one was planned, in ms since 1970.
    pub last_ms: u64,
    /// What the last one said, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the one before said, while the last one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_before: Option<String>,
    /// True when it was the container's process that failed, after a start that went well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_crash: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Whether something may be tried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Now.
    Open,
    /// In this many ms.
    Wait(u64),
}

impl Memory {
    /// The pull of an app's version succeeded. `id` is the engine's for the image.
    pub fn pulled(&mut self, app: &str, version: &AppVersion, image: &ImageReference, id: &str) {
        self.fetched.insert(app.to_owned(), version.clone());
        self.pulls.succeeded(app, image);
        self.images.pulled(id);
        self.forget(app, &pull_subject(version));
    }

    /// The pull of an app's version failed.
    pub fn pull_failed(&mut self, app: &str, version: &AppVersion, error: &str) {
        self.failed(app, &pull_subject(version), error);
    }

    /// The pull of an app's version failed because its registry asks for patience, for so long if
    /// it says so.
    pub fn registry_is_busy(
        &mut self,
        image: &ImageReference,
        retry_after_ms: Option<u64>,
        error: &str,
        now_ms: u64,
    ) {
        self.pulls.registry_is_busy(image, retry_after_ms, &clipped(error), now_ms);
    }

    /// The pull of an app's version failed because the image needs so much room.
    pub fn needs_room(&mut self, app: &str, version: &AppVersion, needed_bytes: u64) {
        self.pulls.needs_room(app, version, needed_bytes);
    }

    /// The removal of an image failed.
    pub fn image_kept(&mut self, id: &str, error: &str) {
        self.failed(NO_APP, &removal_subject(id), error);
    }

    /// The creation of a network failed.
    pub fn network_failed(&mut self, network: &str, error: &str) {
        self.failed(NO_APP, &format!("network {network}"), error);
    }

    /// A step failed. An attempt that is no longer remembered has been overtaken by a change.
    pub fn failed(&mut self, app: &str, subject: &str, error: &str) {
        if let Some(attempts) = self.attempts_mut(app, subject) {
            attempts.error = Some(clipped(error));
        }
    }

    /// A container that was started well ends by itself again and again.
    pub(super) fn crashed(&mut self, app: &str, subject: &str, error: &str, now_ms: u64) {
        if self.attempts(app, subject).is_none() {
            self.count(app, subject, now_ms);
        }
        self.failed(app, subject, error);
        if let Some(attempts) = self.attempts_mut(app, subject) {
            attempts.is_crash = true;
        }
    }

    /// The last version of an app of which all replicas were up.
    pub(super) fn healthy(&self, app: &str) -> Option<&Healthy> {
        self.healthy.get(app)
    }

    pub(super) fn keep_healthy(&mut self, app: &App, version: &AppVersion, image_id: Option<&str>) {
        let name = app.app_name.as_str();
        if self.healthy.get(name).is_none_or(|kept| kept.version != *version) {
            let image_id = image_id.map(str::to_owned);
            let healthy = Healthy { version: version.clone(), app: app.clone(), image_id };
            self.healthy.insert(name.to_owned(), healthy);
        }
    }

    /// Is this the version that an app has gone back to, or would?
    pub fn may_go_back_to(&self, app: &str, version: &AppVersion) -> bool {
        self.healthy.get(app).is_some_and(|kept| kept.version == *version)
    }

    /// Why what an app declares is not tried any more. It stays so when no more than its manner
    /// changes: whoever scales an app does not ask for another try. A change of nothing at all is a
    /// restart, and asks for one.
    pub(super) fn held_back(&mut self, app: &App, version: &AppVersion) -> Option<&str> {
        let name = app.app_name.as_str();
        let held = self.held_back.get_mut(name)?;
        if held.version != *version {
            let manner = manner(app);
            if !held.has_shape_of(version) || held.manner == manner {
                self.held_back.remove(name);
                return None;
            }
            (held.version, held.manner) = (version.clone(), manner);
        }
        self.held_back.get(name).map(|held| held.error.as_str())
    }

    pub(super) fn hold_back(&mut self, app: &App, version: &AppVersion, error: &str) {
        let (version, manner) = (version.clone(), manner(app));
        let held = HeldBack { version, manner, error: error.to_owned() };
        self.held_back.insert(app.app_name.as_str().to_owned(), held);
    }

    /// Notes since when the health checks of containers have not decided.
    pub(super) fn note_undecided(&mut self, observed: &Observed, now_ms: u64) {
        let before = std::mem::take(&mut self.undecided);
        let starting = observed.containers.iter().filter(|c| c.verdict_ms.is_some());
        self.undecided = starting
            .map(|c| {
                let since = before.get(&c.id).copied().filter(|since| *since <= now_ms);
                (c.id.clone(), since.unwrap_or(now_ms))
            })
            .collect();
    }

    /// For how long the health check of a container has not decided, in ms.
    pub(super) fn undecided_ms(&self, id: &str, now_ms: u64) -> u64 {
        self.undecided.get(id).map_or(0, |since| now_ms.saturating_sub(*since))
    }

    /// Has the health check of a container not decided though it has had the time?
    pub(super) fn has_stalled(&self, container: &ObservedContainer, inputs: &Inputs<'_>) -> bool {
        let waited_ms = self.undecided_ms(&container.id, inputs.now_ms);
        let slack_ms = inputs.policy.verdict_slack_ms;
        let verdict_ms = container.verdict_ms;
        verdict_ms.is_some_and(|verdict_ms| waited_ms > verdict_ms.saturating_add(slack_ms))
    }

    /// A container is started anew, and its health check with it.
    pub(super) fn forget_undecided(&mut self, id: &str) {
        self.undecided.remove(id);
    }

    /// The images that an app may go back to, by familiar name and by id: the name may have gone
    /// to a newer build.
    pub fn kept_images(&self) -> BTreeSet<String> {
        let name = |healthy: &Healthy| healthy.app.spec.container.docker_image.familiar();
        let names = self.healthy.values().map(name);
        names.chain(self.healthy.values().filter_map(|kept| kept.image_id.clone())).collect()
    }

    /// A step is done. What follows is measured from here, not from when it was planned: a stop
    /// takes its time.
    pub fn done(&mut self, app: &str, subject: &str, now_ms: u64) {
        if let Some(attempts) = self.attempts_mut(app, subject) {
            attempts.last_ms = now_ms;
        }
    }

    /// A step that was planned was not tried, because one before it failed. It does not count.
    pub fn not_made(&mut self, app: &str, subject: &str) {
        match self.attempts_mut(app, subject) {
            Some(attempts) if attempts.count > 1 => attempts.count -= 1,
            Some(_) => self.forget(app, subject),
            None => {}
        }
    }

    pub(super) fn has_fetched(&self, app: &str, version: &AppVersion) -> bool {
        self.fetched.get(app) == Some(version)
    }

    pub(super) fn attempts(&self, app: &str, subject: &str) -> Option<&Attempts> {
        self.attempts.get(app)?.get(subject)
    }

    /// Of what has failed for an app, what was tried most often: how often it failed, and what the
    /// last failure said.
    pub(super) fn most_failed(&self, app: &str) -> Option<(u32, &str)> {
        fn failed(tried: &Attempts) -> Option<(u32, &str)> {
            let under_way = u32::from(tried.error.is_none());
            let error = tried.error.as_deref().or(tried.error_before.as_deref())?;
            Some((tried.count.saturating_sub(under_way), error))
        }
        self.attempts.get(app)?.values().filter_map(failed).max()
    }

    fn attempts_mut(&mut self, app: &str, subject: &str) -> Option<&mut Attempts> {
        self.attempts.get_mut(app)?.get_mut(subject)
    }

    pub(super) fn forget(&mut self, app: &str, subject: &str) {
        if let Some(of_app) = self.attempts.get_mut(app) {
            of_app.remove(subject);
            if of_app.is_empty() {
                self.attempts.remove(app);
            }
        }
    }

    /// Counts a try that is being planned now.
    pub(super) fn count(&mut self, app: &str, subject: &str, now_ms: u64) {
        let attempts =
            self.attempts.entry(app.to_owned()).or_default().entry(subject.to_owned()).or_insert(
                Attempts {
                    count: 0,
                    last_ms: now_ms,
                    error: None,
                    error_before: None,
                    is_crash: false,
                },
            );
        attempts.count = attempts.count.saturating_add(1);
        attempts.last_ms = now_ms;
        attempts.error_before = attempts.error.take().or(attempts.error_before.take());
        attempts.is_crash = false;
    }

    /// May it be tried? The first try may at once, each further one waits twice as long as the
    /// one before, up to the policy's longest.
    pub(super) fn gate(&self, app: &str, subject: &str, now_ms: u64, policy: &Policy) -> Gate {
        let Some(attempts) = self.attempts(app, subject) else { return Gate::Open };
        // A clock that went back would hold for as long as it jumped; nothing was tried in the
        // future, so it may be tried now.
        let Some(elapsed) = now_ms.checked_sub(attempts.last_ms) else { return Gate::Open };
        let wait = policy.backoff_ms(attempts.count, &format!("{app}/{subject}"));
        match wait.checked_sub(elapsed) {
            None | Some(0) => Gate::Open,
            Some(left) => Gate::Wait(left),
        }
    }

    pub(super) fn cron_job(&self, name: &str) -> Option<&CronMemory> {
        self.cron_jobs.get(name)
    }

    pub(super) fn keep_cron_job(&mut self, name: &str, memory: CronMemory) {
        self.cron_jobs.insert(name.to_owned(), memory);
    }

    pub(super) fn retain_cron_jobs(&mut self, desired: &BTreeSet<&str>) {
        self.cron_jobs.retain(|name, _| desired.contains(name.as_str()));
    }

    /// Drops what no app of this pass needs any more. Apps that are busy keep all of theirs.
    pub(super) fn retain(
        &mut self,
        seen: &BTreeSet<(String, String)>,
        busy: &BTreeSet<String>,
        versions: &BTreeMap<String, AppVersion>,
        apps: &BTreeSet<&str>,
    ) {
        self.attempts.retain(|app, of_app| {
            if !busy.contains(app) {
                of_app.retain(|subject, _| seen.contains(&(app.clone(), subject.clone())));
            }
            !of_app.is_empty()
        });
        self.fetched.retain(|app, version| versions.get(app) == Some(version));
        self.healthy.retain(|app, _| apps.contains(app.as_str()));
        let is_declared = |app: &str, held: &HeldBack| {
            versions.get(app).is_some_and(|version| held.has_shape_of(version))
        };
        self.held_back.retain(|app, held| is_declared(app, held));
        let healthy = &self.healthy;
        self.pulls.retain(versions, |app, version| {
            healthy.get(app).is_some_and(|kept| kept.version == *version)
        });
    }
}

fn clipped(error: &str) -> String {
    error.chars().take(MAX_ERROR_LENGTH).collect()
}

/// The subject under which removals of an image are counted.
pub(super) fn removal_subject(id: &str) -> String {
    format!("remove image {id}")
}

/// The subject under which pulls of a version are counted.
pub(super) fn pull_subject(version: &AppVersion) -> String {
    format!("pull {version}")
}
