//! How far a device is with each app and cron job: the pass, told to whoever is far away.
//!
//! It reads a plan and what the plan was made from, and decides nothing. What it says holds no
//! waits, so that it changes only when something happened; and no value of a variable, wherever an
//! error has picked one up.

use super::action::Action;
use super::cron::{RunOutcome, RunRecord, owner};
use super::hold::Reason;
use super::{Inputs, Memory, Plan};
use crate::model::{
    App, AppReport, ContainerState, CronJobReport, Desired, DesiredApp, DesiredCronJob,
    DeviceState, EnvVars, Health, NEBULA_NETWORK, Observed, ObservedContainer, ObservedImage,
    RunReport, RunResult,
};
use std::collections::BTreeSet;

/// So many tries in a row fail before what is tried counts as failed: a network that is away for a
/// moment is no failure.
const TRIES: u32 = 3;
/// So long a container without a health check must have run before it counts as up: what ends a few
/// seconds after each start has not converged.
const PROVEN_SECONDS: u64 = 10;
/// Shorter values of variables are words of any text.
const SHORTEST_SECRET: usize = 4;

/// How far a device is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The state of all together: the worst.
    pub state: DeviceState,
    /// The reason of the first that is in that state.
    pub reason: Option<String>,
    /// The apps, in the group's order.
    pub apps: Vec<AppReport>,
    /// The cron jobs, likewise.
    pub cron_jobs: Vec<CronJobReport>,
}

/// A state, and why.
type Verdict = (DeviceState, Option<String>);

/// How far the device is after a pass.
pub fn status(inputs: &Inputs<'_>, plan: &Plan, memory: &Memory) -> Status {
    let look = Look { inputs, plan, memory };
    let apps: Vec<AppReport> = inputs.desired.apps.iter().map(|app| look.app(app)).collect();
    let cron_jobs: Vec<CronJobReport> =
        inputs.desired.cron_jobs.iter().map(|job| look.cron_job(job)).collect();
    let told = apps.iter().map(|app| (app.state, &app.app_name, &app.reason));
    let told = told.chain(cron_jobs.iter().map(|job| (job.state, &job.cron_job_name, &job.reason)));
    let mut worst = (DeviceState::Converged, None);
    for (state, name, reason) in told {
        if state > worst.0 {
            worst = (state, reason.as_ref().map(|reason| format!("{name}: {reason}")));
        }
    }
    let (state, reason) = worst;
    Status { state, reason, apps, cron_jobs }
}

/// When a status may be another one though nothing happens, in ms.
pub fn status_changes_after_ms(observed: &Observed) -> Option<u64> {
    observed.containers.iter().filter_map(unproven_ms).min()
}

/// What is known of a device whose engine does not answer: what is desired, and that nobody can tell
/// how far it is.
pub fn status_without_engine(desired: &Desired, problem: &str) -> Status {
    let (state, reason) = (DeviceState::Failed, Some(problem.to_owned()));
    let apps = desired.apps.iter();
    let apps = apps.map(|app| AppReport { state, reason: reason.clone(), ..named_app(app) });
    let cron_jobs = desired.cron_jobs.iter();
    let cron_jobs =
        cron_jobs.map(|job| CronJobReport { state, reason: reason.clone(), ..named_job(job) });
    let (apps, cron_jobs) = (apps.collect(), cron_jobs.collect());
    Status { state, reason: reason.clone(), apps, cron_jobs }
}

/// What is declared of an app, as a report names it.
fn named_app(told: &DesiredApp) -> AppReport {
    let named = AppReport { app_name: told.name().to_owned(), ..AppReport::default() };
    match told {
        DesiredApp::Readable(app) => AppReport {
            uid: app.identity.uid,
            app_id: app.app_id,
            image: app.spec.container.docker_image.to_string(),
            ..named
        },
        DesiredApp::Unreadable { .. } => named,
    }
}

/// The same of a cron job.
fn named_job(told: &DesiredCronJob) -> CronJobReport {
    let named = CronJobReport { cron_job_name: told.name().to_owned(), ..CronJobReport::default() };
    match told {
        DesiredCronJob::Readable(job) => CronJobReport {
            uid: job.identity.uid,
            cron_job_id: job.cron_job_id,
            image: job.spec.container.docker_image.to_string(),
            ..named
        },
        DesiredCronJob::Unreadable { .. } => named,
    }
}

/// What holds a declaration that cannot be read.
fn unreadable(why: &str) -> Verdict {
    (DeviceState::Held, Some(Reason::Unreadable { why: why.to_owned() }.without_waits()))
}

/// How long until a container has shown that it stays up, in ms; none when it has, or when its health
/// check tells.
fn unproven_ms(container: &ObservedContainer) -> Option<u64> {
    let runs = container.state == ContainerState::Running && container.health == Health::None;
    let up = container.up_seconds.filter(|up| runs && *up < PROVEN_SECONDS)?;
    Some((PROVEN_SECONDS - up) * 1_000)
}

#[derive(Clone, Copy)]
struct Look<'a> {
    inputs: &'a Inputs<'a>,
    plan: &'a Plan,
    memory: &'a Memory,
}

impl Look<'_> {
    fn app(&self, told: &DesiredApp) -> AppReport {
        let named = named_app(told);
        let app = match told {
            DesiredApp::Readable(app) => app,
            DesiredApp::Unreadable { reason, .. } => {
                let (state, reason) = unreadable(reason);
                return AppReport { state, reason, ..named };
            }
        };
        let name = app.app_name.as_str();
        let busy = self.inputs.busy;
        let is_changed = |action: &Action| match action {
            Action::Container { app, .. } | Action::Pull { app, .. } => app == name,
            Action::CreateNetwork { .. } | Action::RemoveImage { .. } => false,
        };
        let is_moving = busy.apps.contains(name)
            || busy.pulls.iter().any(|(owner, _)| owner == name)
            || self.plan.actions.iter().any(is_changed);
        let containers: Vec<&ObservedContainer> =
            self.inputs.observed.containers.iter().filter(|c| c.app == name).collect();
        let up: Vec<&ObservedContainer> =
            containers.iter().copied().filter(|c| self.is_up(c)).collect();
        let is_checked = |c: &&ObservedContainer| {
            c.state == ContainerState::Running && c.health == Health::Starting
        };
        let is_moving = is_moving
            || containers.iter().any(|c| is_checked(c) && !self.is_up(c))
            || containers.iter().any(|c| unproven_ms(c).is_some());
        let (state, reason) = self.verdict(name, is_moving);
        let ids: BTreeSet<u64> =
            up.iter().filter_map(|c| c.version.as_ref()).map(|version| version.app_id).collect();
        AppReport {
            state,
            reason: reason.map(|reason| masked(reason, &app.spec.container.env_vars)),
            replicas_up: up.len() as u64,
            replicas_wanted: self.wanted(app),
            running_ids: ids.into_iter().collect(),
            image_digest: up.first().and_then(|c| self.digest(&c.image_id)),
            ..named
        }
    }

    fn cron_job(&self, told: &DesiredCronJob) -> CronJobReport {
        let named = named_job(told);
        let job = match told {
            DesiredCronJob::Readable(job) => job,
            DesiredCronJob::Unreadable { reason, .. } => {
                let (state, reason) = unreadable(reason);
                return CronJobReport { state, reason, ..named };
            }
        };
        let name = job.cron_job_name.as_str();
        let owner = owner(name);
        // A run is what a cron job is for, not a change of it; its image on the way is one.
        let is_moving = self.inputs.busy.pulls.iter().any(|(of, _)| *of == owner)
            || self
                .plan
                .actions
                .iter()
                .any(|action| matches!(action, Action::Pull { app, .. } if *app == owner));
        let (state, reason) = self.verdict(&owner, is_moving);
        let records = self.memory.cron_job(name).map(super::cron::CronMemory::records);
        let here = self.inputs.observed.image(&job.spec.container.docker_image.familiar());
        CronJobReport {
            state,
            reason: reason.map(|reason| masked(reason, &job.spec.container.env_vars)),
            image_digest: here.and_then(registry_digest),
            last_runs: records.unwrap_or_default().iter().map(run).collect(),
            ..named
        }
    }

    /// The worst of what holds it, and of what was tried for it.
    fn verdict(&self, owner: &str, is_moving: bool) -> Verdict {
        let mut worst: Verdict = (DeviceState::Converged, None);
        let mut note = |(state, reason): Verdict| {
            if state > worst.0 || (state == worst.0 && worst.1.is_none()) {
                worst = (state, reason);
            }
        };
        if is_moving {
            note((DeviceState::Updating, None));
        }
        for hold in self.plan.holds.iter().filter(|hold| hold.app == owner) {
            let Some(state) = state_of(&hold.reason) else { continue };
            let reason = hold.reason.without_waits();
            let replica = hold.replica.map(|replica| format!("replica {replica}: "));
            note((state, Some(format!("{}{reason}", replica.unwrap_or_default()))));
        }
        // What failed again and again is not well because the next try is under way.
        if let Some((times, error)) = self.memory.most_failed(owner)
            && worst.0 == DeviceState::Updating
            && times >= TRIES
        {
            worst = (DeviceState::Failed, Some(error.to_owned()));
        }
        worst
    }

    /// Does a container serve? One whose health check has not decided does not yet, unless Docker
    /// does not run the check.
    fn is_up(&self, container: &ObservedContainer) -> bool {
        let is_well = match container.health {
            Health::None | Health::Healthy => true,
            Health::Starting => self.memory.has_stalled(container, self.inputs),
            Health::Unhealthy => false,
        };
        container.state == ContainerState::Running && is_well
    }

    fn wanted(&self, app: &App) -> u64 {
        if app.spec.running {
            app.spec.containers_per.replicas(self.inputs.observed.machine)
        } else {
            0
        }
    }

    fn digest(&self, image_id: &str) -> Option<String> {
        let images = &self.inputs.observed.images;
        images.iter().find(|image| image.id == image_id).and_then(registry_digest)
    }
}

/// The digest by which a registry knows an image.
fn registry_digest(image: &ObservedImage) -> Option<String> {
    let digest = image.names.iter().find_map(|name| name.split_once('@'));
    digest.map(|(_, digest)| digest.to_owned())
}

/// What a hold says of what it holds; none when all is as it should be.
fn state_of(reason: &Reason) -> Option<DeviceState> {
    Some(match reason {
        Reason::Ended { exit_code: 0 } => return None,
        Reason::WentBack { .. } => DeviceState::RolledBack,
        Reason::UpdatePaused { .. } | Reason::Ended { .. } => DeviceState::Failed,
        Reason::PullFailed { attempts, .. } | Reason::BackingOff { attempts, .. } => {
            if *attempts >= TRIES { DeviceState::Failed } else { DeviceState::Updating }
        }
        Reason::Pulling { .. }
        | Reason::TakingTurns { .. }
        | Reason::Settling
        | Reason::WaitingForReplica { .. }
        | Reason::Delayed { .. }
        | Reason::WaitingForImage { .. }
        | Reason::Restarting
        | Reason::BeingRemoved { .. }
        | Reason::Busy => DeviceState::Updating,
        // Ours, which is made at the start and after somebody removed it.
        Reason::NetworkMissing { network } if network == NEBULA_NETWORK => DeviceState::Updating,
        Reason::RegistryBusy { .. }
        | Reason::NoRoom { .. }
        | Reason::NetworkMissing { .. }
        | Reason::PortHeld { .. }
        | Reason::PortsDoNotFit { .. }
        | Reason::TooManyReplicas { .. }
        | Reason::NameHeld { .. }
        | Reason::HeldByWorker { .. }
        | Reason::UnknownState { .. }
        | Reason::Unreadable { .. }
        | Reason::ClockNotSet => DeviceState::Held,
    })
}

fn run(record: &RunRecord) -> RunReport {
    let (outcome, result) = match &record.outcome {
        RunOutcome::Ended(result) => ("ended".to_owned(), Some(*result)),
        other => (other.to_string(), None),
    };
    RunReport {
        due: record.due,
        outcome,
        exit_code: result.map(|RunResult { exit_code, .. }| exit_code),
        duration_ms: result.map(|RunResult { duration_ms, .. }| duration_ms),
    }
}

/// A text without the values of variables.
fn masked(text: String, variables: &EnvVars) -> String {
    let secrets = variables.iter().filter(|(_, value)| value.len() >= SHORTEST_SECRET);
    secrets.fold(text, |text, (_, secret)| text.replace(secret, "***"))
}
