//! Checks a plan against what it was made from: the second pair of eyes on every pass.
//!
//! It knows what must never be in a plan, and nothing of how plans are made.

use super::cron::owner;
use super::{Action, Inputs, Plan, Step};
use crate::model::{ContainerState, DesiredApp, DesiredCronJob};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with a plan, in words; nothing for a sound one.
pub fn check(inputs: &Inputs<'_>, plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = Check::new(inputs);
    for action in &plan.actions {
        match action {
            Action::CreateNetwork { name } => {
                if inputs.observed.networks.contains(name) {
                    wrong.push(format!("`{action}`: the network is there"));
                }
            }
            Action::Pull { app, version, .. } => {
                if !check.wants_image(app) {
                    wrong.push(format!("`{action}`: no running app wants it"));
                }
                if inputs.busy.pulls.contains(&(app.clone(), version.clone())) {
                    wrong.push(format!("`{action}`: it is being pulled"));
                }
            }
            Action::RemoveImage { id, .. } => {
                if let Err(why) = check.removal_of_image(id) {
                    wrong.push(format!("`{action}`: {why}"));
                }
            }
            Action::Container { app, target, step } => {
                if inputs.busy.apps.contains(app) {
                    wrong.push(format!("`{action}`: the app is busy"));
                }
                if let Err(why) = check.step(app, &target.id, &target.name, step) {
                    wrong.push(format!("`{action}`: {why}"));
                }
            }
        }
    }
    wrong
}

/// What is known of the containers while the plan is walked through.
struct Check<'a> {
    inputs: &'a Inputs<'a>,
    /// By id: the app, the name and whether it runs.
    containers: BTreeMap<String, (String, String, bool)>,
    removed: BTreeSet<String>,
}

impl<'a> Check<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Self {
        let runs = |state| {
            !matches!(
                state,
                ContainerState::Created | ContainerState::Exited | ContainerState::Dead
            )
        };
        let of_apps = inputs
            .observed
            .containers
            .iter()
            .map(|c| (c.id.clone(), (c.app.clone(), c.name.clone(), runs(c.state))));
        let of_cron_jobs =
            inputs.observed.runs.iter().map(|run| {
                (run.id.clone(), (owner(&run.cron_job), run.name.clone(), runs(run.state)))
            });
        let containers = of_apps.chain(of_cron_jobs).collect();
        Self { inputs, containers, removed: BTreeSet::new() }
    }

    fn wants_image(&self, app: &str) -> bool {
        let jobs = &self.inputs.desired.cron_jobs;
        jobs.iter().any(|desired| {
            matches!(desired, DesiredCronJob::Readable(job) if owner(job.cron_job_name.as_str()) == app && job.spec.running)
        }) || self.inputs.desired.apps.iter().any(|desired| {
            matches!(desired, DesiredApp::Readable(readable) if readable.app_name.as_str() == app && readable.spec.running)
        })
    }

    /// Invariant 27.
    fn removal_of_image(&self, id: &str) -> Result<(), String> {
        let observed = self.inputs.observed;
        let Some(image) = observed.images.iter().find(|image| image.id == id) else {
            return Err("the image was not observed".to_owned());
        };
        if observed.used_images.contains(id) {
            return Err("a container uses the image".to_owned());
        }
        if !self.inputs.busy.apps.is_empty() || self.inputs.busy.images {
            return Err("containers or images are being worked on".to_owned());
        }
        let desired = self.inputs.desired;
        let of_app = desired.apps.iter().any(|app| {
            matches!(app, DesiredApp::Readable(app) if image.names.contains(&app.spec.container.docker_image.familiar()))
        });
        let of_cron_job = desired.cron_jobs.iter().any(|job| {
            matches!(job, DesiredCronJob::Readable(job) if image.names.contains(&job.spec.container.docker_image.familiar()))
        });
        if of_app || of_cron_job {
            return Err("an app or a cron job is declared with the image".to_owned());
        }
        Ok(())
    }

    fn step(&mut self, app: &str, id: &str, name: &str, step: &Step) -> Result<(), String> {
        if let Step::Create(spec) = step {
            if self.containers.values().any(|(_, taken, _)| *taken == spec.name) {
                return Err("the name is taken".to_owned());
            }
            self.containers.insert(id.to_owned(), (app.to_owned(), name.to_owned(), false));
            return Ok(());
        }
        if self.removed.contains(id) {
            return Err("the container is removed before".to_owned());
        }
        let Some((owner, name, runs)) = self.containers.get_mut(id) else {
            return Err("the container is neither observed nor created before".to_owned());
        };
        if owner != app {
            return Err(format!("the container belongs to `{owner}`"));
        }
        match step {
            Step::Start | Step::Remove if *runs => return Err("the container runs".to_owned()),
            Step::Start | Step::Unpause => *runs = true,
            Step::Stop => *runs = false,
            Step::Remove => {
                self.containers.remove(id);
                self.removed.insert(id.to_owned());
            }
            Step::Rename { to } => {
                name.clone_from(to);
                let same = self.containers.values().filter(|(_, name, _)| name == to).count();
                if same > 1 {
                    return Err("the name is taken".to_owned());
                }
            }
            Step::Create(_) | Step::Connect { .. } => {}
        }
        Ok(())
    }
}
