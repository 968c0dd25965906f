//! Planning cron jobs: what is due, what of it runs, and what becomes of runs that ended.
//!
//! A due time is dealt with once: it runs, or it is passed over with a reason, and either is kept.
//! What is kept is the last time that was dealt with and the run that is being made. Both are on
//! disk before the first step, and the container carries its due time, so that a worker killed
//! anywhere finds out whether a run took place.
//!
//! Clocks: times are compared as seconds since 1970, which no summer time moves. A clock that goes
//! back by less than a period runs nothing twice, because what was dealt with stays so; one that
//! goes back further is believed, and the count begins anew. A clock that jumps ahead passes
//! several times over at once, which is told like any run that was missed.

use super::action::{Step, Target};
use super::app::{Phase, Planner, Steps};
use super::hold::Reason;
use super::memory::Gate;
use super::pull::Image;
use super::times::Times;
use crate::model::{
    ContainerState, CronJob, DesiredCronJob, JobVersion, MissedRuns, ObservedRun, Overlap,
    RunResult,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// 2023: a clock that says earlier has not been set since the device was switched on.
pub(super) const EARLIEST_CLOCK: u64 = 1_672_531_200;
/// A run that is later than this was missed: a pass is made every half minute whatever happens.
const LATE_SECONDS: u64 = 90;
/// Times that were passed over are counted to here; a device that slept for a year need not know
/// the number of its minutes.
const MAX_COUNTED: u32 = 1_000;
/// The last runs that are kept.
const MAX_RECORDS: usize = 5;

/// What is remembered of a cron job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CronMemory {
    /// What its times hang on.
    version: JobVersion,
    /// Every time up to this one was dealt with, in seconds since 1970.
    dealt_with: u64,
    /// The run that is to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<u64>,
    /// The last runs, the newest last.
    #[serde(default)]
    records: Vec<RunRecord>,
}

impl CronMemory {
    /// The last runs, the newest last.
    pub(super) fn records(&self) -> &[RunRecord] {
        &self.records
    }
}

/// What became of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// When it was due, in seconds since 1970.
    pub due: u64,
    /// What became of it.
    pub outcome: RunOutcome,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It ran to its end.
    Ended(RunResult),
    /// It was due while the worker did not run, or its clock was wrong; this and the ones before.
    Missed {
        /// How many were.
        times: u32,
    },
    /// An earlier one was still running.
    Overlapped,
    /// It could not be started before the next one was due.
    NotStarted,
    /// The clock went back past it; times from then on count again.
    ClockWentBack,
}

impl std::fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(RunResult { exit_code, duration_ms }) => {
                write!(f, "ended with {exit_code} after {duration_ms} ms")
            }
            Self::Missed { times: 1 } => f.write_str("missed"),
            Self::Missed { times } => write!(f, "missed, the last of {times}"),
            Self::Overlapped => f.write_str("skipped, an earlier one was still running"),
            Self::NotStarted => f.write_str("could not be started before the next one"),
            Self::ClockWentBack => f.write_str("the clock went back past it"),
        }
    }
}

/// What a pass found out of a cron job's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The cron job.
    pub cron_job: String,
    /// What became of which time.
    pub record: RunRecord,
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}: {}", self.cron_job, self.record.due, self.record.outcome)
    }
}

/// A cron job as the key of what is remembered, busy and told. A blank is in no app's name, so the
/// two never meet.
pub fn owner(cron_job: &str) -> String {
    format!("cron job {cron_job}")
}

impl Planner<'_> {
    /// Plans every cron job, and removes what is left of those that are in no list any more.
    pub(super) fn cron_jobs(&mut self) {
        for desired in &self.inputs.desired.cron_jobs {
            match desired {
                DesiredCronJob::Readable(job) => self.cron_job(job),
                DesiredCronJob::Unreadable { name, reason } => {
                    let reason = Reason::Unreadable { why: reason.clone() };
                    self.plan.hold(&owner(name), None, reason);
                }
            }
        }
        let desired: BTreeSet<&str> =
            self.inputs.desired.cron_jobs.iter().map(DesiredCronJob::name).collect();
        let mut gone: BTreeMap<&str, Vec<&ObservedRun>> = BTreeMap::new();
        for run in &self.inputs.observed.runs {
            if !desired.contains(run.cron_job.as_str()) {
                gone.entry(&run.cron_job).or_default().push(run);
            }
        }
        for (job, runs) in gone {
            if self.is_free(&owner(job)) {
                let mut steps = Steps::default();
                for run in runs {
                    self.remove_run(&owner(job), run, &mut steps);
                }
                self.emit(steps);
            }
        }
        self.memory.retain_cron_jobs(&desired);
    }

    fn cron_job(&mut self, job: &CronJob) {
        let (name, owner) = (job.cron_job_name.as_str(), owner(job.cron_job_name.as_str()));
        let runs: Vec<&ObservedRun> =
            self.inputs.observed.runs.iter().filter(|run| run.cron_job == name).collect();
        if self.now() < EARLIEST_CLOCK {
            return self.plan.hold(&owner, None, Reason::ClockNotSet);
        }
        let mut memory = self.remembered(job);
        if self.is_free(&owner) {
            let mut steps = Steps::default();
            self.ended(&owner, name, &runs, &mut memory, &mut steps);
            if job.spec.running {
                self.due(job, &runs, &mut memory, &mut steps);
                self.pending(job, &runs, &mut memory, &mut steps);
            } else {
                // What is due while it is stopped is not missed.
                memory.dealt_with = memory.dealt_with.max(self.now());
                memory.pending = None;
            }
            // A run that was made and is not to be started any more.
            for run in runs.iter().filter(|run| run.state == ContainerState::Created) {
                if run.due != memory.pending {
                    self.remove_run(&owner, run, &mut steps);
                }
            }
            self.emit(steps);
        }
        self.memory.keep_cron_job(name, memory);
    }

    /// In seconds since 1970.
    fn now(&self) -> u64 {
        self.inputs.now_ms / 1_000
    }

    /// What is remembered; a job that is new, or whose times changed, is first due in the future.
    fn remembered(&self, job: &CronJob) -> CronMemory {
        let version = job.version();
        match self.memory.cron_job(job.cron_job_name.as_str()) {
            Some(memory) if memory.version == version => memory.clone(),
            known => {
                let records = known.map(|memory| memory.records.clone()).unwrap_or_default();
                CronMemory { version, dealt_with: self.now(), pending: None, records }
            }
        }
    }

    fn record(&mut self, name: &str, memory: &mut CronMemory, due: u64, outcome: RunOutcome) {
        let record = RunRecord { due, outcome };
        self.plan.recorded.push(Recorded { cron_job: name.to_owned(), record: record.clone() });
        memory.records.push(record);
        let surplus = memory.records.len().saturating_sub(MAX_RECORDS);
        memory.records.drain(..surplus);
    }

    /// Keeps the results of runs that ended, and removes their containers.
    fn ended(
        &mut self,
        owner: &str,
        name: &str,
        runs: &[&ObservedRun],
        memory: &mut CronMemory,
        steps: &mut Steps,
    ) {
        for run in runs {
            let Some(result) = run.result else { continue };
            let due = run.due.unwrap_or_default();
            let is_kept = memory
                .records
                .iter()
                .any(|kept| kept.due == due && matches!(kept.outcome, RunOutcome::Ended(_)));
            if !is_kept {
                self.record(name, memory, due, RunOutcome::Ended(result));
            }
            if memory.pending == run.due {
                memory.pending = None;
            }
            self.remove_run(owner, run, steps);
        }
    }

    /// Looks at the times that passed since the last look.
    fn due(
        &mut self,
        job: &CronJob,
        runs: &[&ObservedRun],
        memory: &mut CronMemory,
        steps: &mut Steps,
    ) {
        let name = job.cron_job_name.as_str();
        let Some(times) = Times::of(job) else {
            let why = format!("schedule `{}` cannot be read", job.spec.schedule.as_str());
            return self.plan.hold(&owner(name), None, Reason::Unreadable { why });
        };
        let now = self.now();
        if let Some(next) = times.next(memory.dealt_with)
            && memory.dealt_with > now
            && memory.dealt_with - now > next - memory.dealt_with
        {
            self.record(name, memory, memory.dealt_with, RunOutcome::ClockWentBack);
            (memory.dealt_with, memory.pending) = (now, None);
        }
        let (mut last, mut count) = (None, 0);
        let mut next = times.next(memory.dealt_with);
        while let Some(due) = next.filter(|due| *due <= now && count < MAX_COUNTED) {
            (last, count) = (Some(due), count + 1);
            next = times.next(due);
        }
        if count == MAX_COUNTED {
            // The rest is not counted, and the next one is found from here.
            next = times.next(now);
        }
        if let Some(next) = next {
            self.plan.recheck((next * 1_000).saturating_sub(self.inputs.now_ms));
        }
        let Some(due) = last else { return };
        if let Some(earlier) = memory.pending.take() {
            self.record(name, memory, earlier, RunOutcome::NotStarted);
        }
        memory.dealt_with = if count == MAX_COUNTED { now } else { due };
        let is_late = now - due > LATE_SECONDS;
        let may_catch_up = job.spec.missed_runs.unwrap_or_default() == MissedRuns::CatchUp;
        if is_late && !(count == 1 && may_catch_up) {
            return self.record(name, memory, due, RunOutcome::Missed { times: count });
        }
        if count > 1 {
            self.record(name, memory, due, RunOutcome::Missed { times: count - 1 });
        }
        let mut living = runs.iter().filter(|run| lives(run)).peekable();
        match job.spec.overlap.unwrap_or_default() {
            Overlap::Skip if living.peek().is_some() => {
                return self.record(name, memory, due, RunOutcome::Overlapped);
            }
            Overlap::Replace => {
                for run in living {
                    self.remove_run(&owner(name), run, steps);
                }
            }
            Overlap::Skip | Overlap::Allow => {}
        }
        memory.pending = Some(due);
    }

    /// Makes the run that is to be made, as far as it has not been.
    fn pending(
        &mut self,
        job: &CronJob,
        runs: &[&ObservedRun],
        memory: &mut CronMemory,
        steps: &mut Steps,
    ) {
        let owner = owner(job.cron_job_name.as_str());
        let (version, reference) = (job.image_version(), &job.spec.container.docker_image);
        // Also while nothing is due: a run must not wait for a registry that is away.
        let ready =
            self.image(&Image { owner: &owner, version: &version, reference, is_made: false });
        let Some(due) = memory.pending else {
            if let Err(reason) = ready {
                self.plan.hold(&owner, None, reason);
            }
            return;
        };
        let subject = format!("run {due}");
        let made = runs.iter().find(|run| run.due == Some(due));
        if made.is_some_and(|run| run.state != ContainerState::Created) {
            memory.pending = None;
            return;
        }
        let networks = job.spec.container.all_networks();
        let known = &self.inputs.observed.networks;
        let missing = networks.iter().find(|network| !known.contains(*network)).cloned();
        if let Some(network) = missing {
            return self.plan.hold(&owner, None, Reason::NetworkMissing { network });
        }
        if made.is_none()
            && let Err(reason) = ready
        {
            return self.plan.hold(&owner, None, reason);
        }
        match self.gate(&owner, &subject) {
            Gate::Open => self.memory.count(&owner, &subject, self.inputs.now_ms),
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(&owner, &subject, wait_ms);
                return self.plan.hold(&owner, None, reason);
            }
        }
        let spec = job.container_spec(due);
        let id = made.map_or_else(|| spec.name.clone(), |run| run.id.clone());
        let target = Target { id, name: spec.name.clone(), attempt: subject };
        let joined = made.map(|run| run.networks.clone());
        let joined = joined.unwrap_or_else(|| BTreeSet::from([spec.network.clone()]));
        if made.is_none() {
            steps.push(Phase::Create, &owner, &target, Step::Create(Box::new(spec)));
        }
        for network in networks.into_iter().filter(|network| !joined.contains(network)) {
            steps.push(Phase::Connect, &owner, &target, Step::Connect { network, alias: None });
        }
        steps.push(Phase::Start, &owner, &target, Step::Start);
    }

    /// Stops a run, if it lives, and removes its container.
    fn remove_run(&mut self, owner: &str, run: &ObservedRun, steps: &mut Steps) {
        let subject = format!("remove {}", run.id);
        match self.gate(owner, &subject) {
            Gate::Open => self.memory.count(owner, &subject, self.inputs.now_ms),
            Gate::Wait(wait_ms) => {
                let reason = self.backing_off(owner, &subject, wait_ms);
                return self.plan.hold(owner, None, reason);
            }
        }
        let target = Target { id: run.id.clone(), name: run.name.clone(), attempt: subject };
        if lives(run) {
            steps.push(Phase::Stop, owner, &target, Step::Stop);
        }
        match run.state {
            ContainerState::Removing | ContainerState::Unknown => {}
            _ => steps.push(Phase::Remove, owner, &target, Step::Remove),
        }
    }

    /// Whether nothing of an earlier pass is under way for an owner; if it is, that is told.
    fn is_free(&mut self, owner: &str) -> bool {
        let is_busy = self.inputs.busy.apps.contains(owner);
        if is_busy {
            self.plan.hold(owner, None, Reason::Busy);
        }
        !is_busy
    }
}

fn lives(run: &ObservedRun) -> bool {
    matches!(
        run.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    )
}
