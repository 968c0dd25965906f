//! A container engine of the mind: it carries out a plan on plain data, the way Docker would.
//!
//! The laws of the planner are tested on it, and the fake engine is a thin coat around it. One
//! contract test runs the fake and the real engine through the same steps, so that it stays true
//! to Docker in what it pretends: names and device ports are taken once, a network in use and an
//! image that is not there make a step fail, a running container is not removed.

use super::{Action, Step};
use crate::model::{
    ContainerSpec, ContainerState, Disk, Health, HostPort, Labels, Machine, Observed,
    ObservedContainer, ObservedImage, ObservedRun, PortMapping, RestartPolicy, RunLabels,
    RunResult, WorkerContainer,
};
use std::collections::{BTreeMap, BTreeSet};

/// How containers of an image behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Runs.
    #[default]
    Runs,
    /// Runs, with a health check that passes.
    Healthy,
    /// Runs, with a health check that fails.
    Unhealthy,
    /// Ends at once, and Docker starts it again and again.
    Crashes,
    /// Ends by itself, with this exit code.
    Ends(i64),
    /// Cannot be created, as with a bad volume.
    RefusesCreate,
    /// Cannot be started, as with a device that is not there.
    RefusesStart,
}

/// A container, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Container {
    observed: ObservedContainer,
    spec: ContainerSpec,
    /// The id of its image.
    image: String,
}

/// A run of a cron job, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    observed: ObservedRun,
    spec: ContainerSpec,
    /// The id of its image.
    image: String,
}

/// The pretended device.
#[derive(Debug, Clone, Default)]
pub struct World {
    containers: Vec<Container>,
    runs: Vec<Run>,
    /// Containers without our label: name and device ports. They are never touched.
    pub foreign: Vec<(String, BTreeSet<HostPort>)>,
    /// The worker's own container. It is never touched either.
    pub worker: Option<WorkerContainer>,
    /// Networks by name.
    pub networks: BTreeSet<String>,
    /// Images on the device: familiar names with the id of the image that has each.
    pub images: BTreeMap<String, String>,
    /// Images on the device that have no name any more.
    pub nameless: BTreeSet<String>,
    /// Images that containers without our label use, by id.
    pub foreign_images: BTreeSet<String>,
    /// The size of every image, in bytes.
    pub image_bytes: u64,
    /// The disk; removing an image frees its size.
    pub disk: Option<Disk>,
    /// Images that a pull can get.
    pub registry: BTreeSet<String>,
    /// The id that a pull gives, by familiar name, where it is not [`World::built`].
    pub builds: BTreeMap<String, String>,
    /// Behaviour by the image's id, or else by its familiar name.
    pub behaviours: BTreeMap<String, Behaviour>,
    /// Steps carried out or tried, as text.
    pub log: Vec<String>,
    made: u64,
}

impl World {
    /// A device with Docker's own networks and nothing on it.
    pub fn new() -> Self {
        let networks = ["bridge", "host", "none"].map(str::to_owned).into();
        Self { networks, ..Self::default() }
    }

    /// What a worker sees.
    pub fn observe(&self, machine: Machine) -> Observed {
        Observed {
            containers: self.containers.iter().map(|c| c.observed.clone()).collect(),
            runs: self.runs.iter().map(|run| run.observed.clone()).collect(),
            networks: self.networks.clone(),
            images: self.observed_images(),
            used_images: self.used_images().into_iter().collect(),
            disk: self.disk,
            machine,
            worker: self.worker.clone(),
        }
    }

    /// The id of the one image that was ever built under a name.
    pub fn built(name: &str) -> String {
        format!("sha256:{name}")
    }

    /// Puts an image on the device under a name; whichever had the name before loses it.
    pub fn add_image(&mut self, name: &str, id: &str) {
        self.nameless.remove(id);
        let before = self.images.insert(name.to_owned(), id.to_owned());
        self.nameless.extend(before.filter(|before| !self.images.values().any(|id| id == before)));
    }

    fn observed_images(&self) -> Vec<ObservedImage> {
        let ids: BTreeSet<&String> = self.images.values().chain(&self.nameless).collect();
        let names_of = |id: &String| {
            let of_id = self.images.iter().filter(|(_, of)| *of == id);
            of_id.map(|(name, _)| name.clone()).collect()
        };
        let size_bytes = self.image_bytes;
        ids.into_iter()
            .map(|id| ObservedImage { id: id.clone(), names: names_of(id), size_bytes })
            .collect()
    }

    fn used_images(&self) -> BTreeSet<String> {
        let of_apps = self.containers.iter().map(|container| &container.image);
        let of_cron_jobs = self.runs.iter().map(|run| &run.image);
        of_apps.chain(of_cron_jobs).chain(&self.foreign_images).cloned().collect()
    }

    fn remove_image(&mut self, id: &str, names: &[String]) -> Result<(), String> {
        if self.used_images().contains(id) {
            return Err(format!("conflict: image {id} is being used by a container"));
        }
        self.images.retain(|name, of| of != id || !names.contains(name));
        let is_named = self.images.values().any(|of| of == id);
        let was_there = self.nameless.remove(id) || !names.is_empty();
        if let Some(disk) = self.disk.as_mut().filter(|_| was_there && !is_named) {
            disk.free_bytes = (disk.free_bytes + self.image_bytes).min(disk.total_bytes);
        }
        Ok(())
    }

    /// Changes a container as a person at the device would.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut ObservedContainer)) {
        if let Some(container) = self.containers.iter_mut().find(|c| c.observed.name == name) {
            change(&mut container.observed);
            if !is_running(&container.observed) {
                container.observed.host_ports.clear();
            }
        }
    }

    /// Removes a container as a person at the device would.
    pub fn vanish(&mut self, name: &str) {
        self.containers.retain(|c| c.observed.name != name);
        self.runs.retain(|run| run.observed.name != name);
    }

    /// Lets every run of a cron job that lives come to its end.
    pub fn end_runs(&mut self, exit_code: i64) {
        for run in &mut self.runs {
            if run.observed.state == ContainerState::Running {
                run.observed.state = ContainerState::Exited;
                run.observed.result = Some(RunResult { exit_code, duration_ms: 1_000 });
            }
        }
    }

    /// Lets Docker's restart policy start again what ended, if it can be started by now.
    pub fn restart_what_ended(&mut self) {
        let is_restarting = |c: &&Container| c.observed.state == ContainerState::Restarting;
        let ended: Vec<String> =
            self.containers.iter().filter(is_restarting).map(|c| c.observed.id.clone()).collect();
        for id in ended {
            let mut restarts = 0;
            if let Ok(container) = self.find(&id) {
                container.observed.state = ContainerState::Exited;
                container.observed.host_ports.clear();
                restarts = container.observed.restarts.saturating_add(1);
            }
            let started = self.start(&id);
            if let Ok(container) = self.find(&id) {
                if started.is_err() {
                    container.observed.state = ContainerState::Restarting;
                }
                container.observed.restarts = restarts;
            }
        }
    }

    /// Carries out one action.
    pub fn apply(&mut self, action: &Action) -> Result<(), String> {
        self.log.push(action.to_string());
        match action {
            Action::CreateNetwork { name } => {
                self.networks.insert(name.clone());
                Ok(())
            }
            Action::Pull { image, .. } => self.pull(&image.familiar()),
            Action::RemoveImage { id, names } => self.remove_image(id, names),
            Action::Container { target, step, .. } if self.run(&target.id).is_some() => {
                self.apply_to_run(&target.id, step)
            }
            Action::Container { target, step, .. } => match step {
                Step::Create(spec) => self.create(spec),
                Step::Connect { network, .. } => self.connect(&target.id, network),
                Step::Stop => self.stop(&target.id),
                Step::Start => self.start(&target.id),
                Step::Unpause => self.unpause(&target.id),
                Step::Remove => self.remove(&target.id),
                Step::Rename { to } => self.rename(&target.id, to),
            },
        }
    }

    fn pull(&mut self, image: &str) -> Result<(), String> {
        if !self.registry.contains(image) {
            return Err(format!("manifest for {image} not found"));
        }
        let id = self.builds.get(image).cloned().unwrap_or_else(|| Self::built(image));
        self.add_image(image, &id);
        Ok(())
    }

    fn create(&mut self, spec: &ContainerSpec) -> Result<(), String> {
        let image = spec.image.familiar();
        let is_here = |id: &&String| {
            self.nameless.contains(*id) || self.images.values().any(|known| known == *id)
        };
        let id = match &spec.image_id {
            Some(id) => Some(id).filter(is_here),
            None => self.images.get(&image),
        };
        let Some(id) = id.cloned() else {
            return Err(format!("no such image: {image}"));
        };
        if !self.networks.contains(&spec.network) {
            return Err(format!("network {} not found", spec.network));
        }
        if self.behaviours.get(&image) == Some(&Behaviour::RefusesCreate) {
            return Err("invalid volume specification".to_owned());
        }
        self.name_is_free(&spec.name)?;
        self.made += 1;
        let labels = spec.labels.clone().into_iter().collect();
        if let Some(RunLabels { cron_job, due }) = RunLabels::read(&labels, &spec.name) {
            let observed = ObservedRun {
                id: format!("id{:06}", self.made),
                name: spec.name.clone(),
                cron_job,
                due,
                state: ContainerState::Created,
                result: None,
                networks: BTreeSet::from([spec.network.clone()]),
            };
            self.runs.push(Run { observed, spec: spec.clone(), image: id });
            return Ok(());
        }
        let Some((app, replica, version)) = Labels::read(&labels, &spec.name) else {
            return Err("the container carries no label of ours".to_owned());
        };
        let observed = ObservedContainer {
            id: format!("id{:06}", self.made),
            name: spec.name.clone(),
            app,
            replica,
            version,
            image_id: id.clone(),
            state: ContainerState::Created,
            health: Health::None,
            networks: BTreeSet::from([spec.network.clone()]),
            host_ports: BTreeSet::new(),
            exit_code: None,
            up_seconds: None,
            verdict_ms: None,
            restarts: 0,
        };
        self.containers.push(Container { observed, spec: spec.clone(), image: id });
        Ok(())
    }

    fn name_is_free(&self, name: &str) -> Result<(), String> {
        let ours = self.containers.iter().any(|c| c.observed.name == name)
            || self.runs.iter().any(|run| run.observed.name == name);
        let is_workers = self.worker.as_ref().is_some_and(|worker| worker.name == name);
        if ours || is_workers || self.foreign.iter().any(|(taken, _)| taken == name) {
            return Err(format!("the container name {name} is already in use"));
        }
        Ok(())
    }

    fn run(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.observed.id == id || run.observed.name == id)
    }

    fn apply_to_run(&mut self, id: &str, step: &Step) -> Result<(), String> {
        let networks = self.networks.clone();
        let behaviours = self.behaviours.clone();
        let Some(run) = self.run(id) else { return Err(format!("no such container: {id}")) };
        let behaviour = behaviours.get(&run.spec.image.familiar()).copied().unwrap_or_default();
        let observed = &mut run.observed;
        match step {
            Step::Create(spec) => return Err(format!("the name {} is in use", spec.name)),
            Step::Rename { .. } | Step::Unpause => return Err("a run has neither".to_owned()),
            Step::Connect { network, .. } if !networks.contains(network) => {
                return Err(format!("network {network} not found"));
            }
            Step::Connect { network, .. } => {
                observed.networks.insert(network.clone());
            }
            Step::Start if behaviour == Behaviour::RefusesStart => {
                return Err("error gathering device information".to_owned());
            }
            Step::Start if behaviour == Behaviour::Crashes => {
                observed.state = ContainerState::Exited;
                observed.result = Some(RunResult { exit_code: 1, duration_ms: 10 });
            }
            Step::Start => observed.state = ContainerState::Running,
            Step::Stop => {
                observed.state = ContainerState::Exited;
                observed.result = Some(RunResult { exit_code: 137, duration_ms: 1_000 });
            }
            Step::Remove if observed.state == ContainerState::Running => {
                return Err("you cannot remove a running container".to_owned());
            }
            Step::Remove => {
                let id = observed.id.clone();
                self.runs.retain(|run| run.observed.id != id);
            }
        }
        Ok(())
    }

    fn find(&mut self, id: &str) -> Result<&mut Container, String> {
        self.containers
            .iter_mut()
            .find(|c| c.observed.id == id || c.observed.name == id)
            .ok_or_else(|| format!("no such container: {id}"))
    }

    fn connect(&mut self, id: &str, network: &str) -> Result<(), String> {
        if !self.networks.contains(network) {
            return Err(format!("network {network} not found"));
        }
        self.find(id)?.observed.networks.insert(network.to_owned());
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<(), String> {
        let container = self.find(id)?.clone();
        if is_running(&container.observed) {
            return Ok(());
        }
        let of_name = self.behaviours.get(&container.spec.image.familiar());
        let behaviour = self.behaviours.get(&container.image).or(of_name);
        let behaviour = behaviour.copied().unwrap_or_default();
        if behaviour == Behaviour::RefusesStart {
            return Err("error gathering device information".to_owned());
        }
        let ports: BTreeSet<HostPort> =
            container.spec.ports.iter().map(PortMapping::host_port).collect();
        let taken = |bound: &BTreeSet<HostPort>| {
            bound.iter().any(|bound| ports.iter().any(|port| port.collides(bound)))
        };
        if self.containers.iter().any(|c| taken(&c.observed.host_ports))
            || self.foreign.iter().any(|(_, bound)| taken(bound))
        {
            return Err("port is already allocated".to_owned());
        }
        if let Some(missing) = container.observed.networks.difference(&self.networks).next() {
            return Err(format!("network {missing} not found"));
        }
        let observed = &mut self.find(id)?.observed;
        observed.restarts = 0;
        observed.verdict_ms = None;
        let ends_with = match behaviour {
            Behaviour::Crashes => Some(1),
            Behaviour::Ends(code) => Some(code),
            _ => None,
        };
        observed.exit_code = ends_with;
        (observed.state, observed.health) = match behaviour {
            Behaviour::Crashes | Behaviour::Ends(_) => {
                (after_the_end(container.spec.restart, ends_with), Health::None)
            }
            Behaviour::Healthy => (ContainerState::Running, Health::Healthy),
            Behaviour::Unhealthy => (ContainerState::Running, Health::Unhealthy),
            _ => (ContainerState::Running, Health::None),
        };
        if ends_with.is_none() {
            observed.host_ports = ports;
        }
        Ok(())
    }

    fn unpause(&mut self, id: &str) -> Result<(), String> {
        let observed = &mut self.find(id)?.observed;
        if observed.state != ContainerState::Paused {
            return Err("the container is not paused".to_owned());
        }
        observed.state = ContainerState::Running;
        Ok(())
    }

    fn stop(&mut self, id: &str) -> Result<(), String> {
        let observed = &mut self.find(id)?.observed;
        if observed.state != ContainerState::Created {
            observed.state = ContainerState::Exited;
        }
        observed.health = Health::None;
        observed.host_ports.clear();
        Ok(())
    }

    fn remove(&mut self, id: &str) -> Result<(), String> {
        let container = self.find(id)?.clone();
        if is_running(&container.observed) {
            return Err("you cannot remove a running container".to_owned());
        }
        self.containers.retain(|c| c.observed.id != container.observed.id);
        Ok(())
    }

    fn rename(&mut self, id: &str, to: &str) -> Result<(), String> {
        self.find(id)?;
        self.name_is_free(to)?;
        to.clone_into(&mut self.find(id)?.observed.name);
        Ok(())
    }
}

/// What Docker makes of a container whose process ended.
fn after_the_end(policy: RestartPolicy, exit_code: Option<i64>) -> ContainerState {
    let is_restarted = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { most } => most.is_none() && exit_code != Some(0),
    };
    if is_restarted { ContainerState::Restarting } else { ContainerState::Exited }
}

fn is_running(container: &ObservedContainer) -> bool {
    matches!(
        container.state,
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
    )
}
