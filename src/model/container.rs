//! One container of an app, with every name, port and label chosen, and the labels by which it is
//! found again.

use super::NEBULA_NETWORK;
use super::app::App;
use super::container_options::{ContainerOptions, RestartPolicy};
use super::container_settings::ContainerSettings;
use super::cron_job::CronJob;
use super::image::ImageReference;
use super::mount::{MappedDevice, Volume};
use super::name::Name;
use super::port::{HostPort, PortMapping};
use super::version::{AppVersion, SpecHash, Uid};
use std::collections::BTreeMap;

/// The label that says a container is ours; one without it is never touched.
pub const MANAGED_LABEL: &str = "orchestrator";
/// The value of [`MANAGED_LABEL`].
pub const MANAGED_VALUE: &str = "nebula";

const CRON_JOB: &str = "cron_job_name";
const CRON_JOB_TYPE: &str = "cron_job";
const CRON_JOB_ID: &str = "nebula.cron_job_id";
const DUE: &str = "nebula.due";
const APP: &str = "app_name";
const TYPE: &str = "container_type";
const UID: &str = "nebula.uid";
const ID: &str = "nebula.app_id";
const SPEC: &str = "nebula.spec";
const REPLICA: &str = "nebula.replica";

/// What to create. Nothing in it is left to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The image it runs.
    pub image: ImageReference,
    /// The image's id, when its name stands for another one by now.
    pub image_id: Option<String>,
    /// Environment, `NAME=value`. Values may be secrets.
    pub env: Vec<Variable>,
    /// Device port and container port, of this replica.
    pub ports: Vec<PortMapping>,
    /// Binds and named volumes.
    pub volumes: Vec<Volume>,
    /// Device files.
    pub devices: Vec<MappedDevice>,
    /// All devices and capabilities.
    pub privileged: bool,
    /// The network it is created in.
    pub network: String,
    /// The name, beside its own, that it answers to there.
    pub alias: Option<String>,
    /// When Docker starts it again.
    pub restart: RestartPolicy,
    /// What else is set of it. Its labels are among those above.
    pub options: ContainerOptions,
}

/// One environment variable. Its value may be a secret, so `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

impl ContainerSettings {
    /// When Docker starts it again, with what holds where nothing is said of it.
    fn restart_or(&self, restart: RestartPolicy) -> RestartPolicy {
        self.options.restart.as_deref().copied().unwrap_or(restart)
    }

    /// A container of these settings, under a name of the planner's choice.
    fn container(
        &self,
        name: String,
        ours: BTreeMap<String, String>,
        restart: RestartPolicy,
    ) -> ContainerSpec {
        let options = self.options.clone();
        let mut labels = options.labels.as_deref().map_or_else(BTreeMap::new, |l| l.0.clone());
        labels.extend(ours);
        let variable = |(name, value): (&str, &str)| Variable {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        ContainerSpec {
            name,
            labels,
            image: self.docker_image.clone(),
            image_id: None,
            env: self.env_vars.iter().map(variable).collect(),
            ports: Vec::new(),
            volumes: self.volumes.clone(),
            devices: self.devices.clone(),
            privileged: self.privileged,
            network: self.all_networks()[0].clone(),
            alias: None,
            restart,
            options,
        }
    }

    /// Every network that the container is joined to, `nebula` first unless it is excluded.
    pub fn all_networks(&self) -> Vec<String> {
        if let Some(only) = self.networks.iter().find(|name| name.is_exclusive()) {
            return vec![only.as_str().to_owned()];
        }
        let mut networks = vec![NEBULA_NETWORK.to_owned()];
        for name in &self.networks {
            if !networks.iter().any(|known| known == name.as_str()) {
                networks.push(name.as_str().to_owned());
            }
        }
        networks
    }
}

impl CronJob {
    /// The container of the run that is due at a time, in seconds since 1970.
    pub fn container_spec(&self, due: u64) -> ContainerSpec {
        let cron_job = self.cron_job_name.as_str().to_owned();
        let labels = RunLabels { cron_job, due: Some(due) }.to_map(self);
        self.spec.container.container(
            self.container_name(due),
            labels,
            self.spec.container.restart_or(RestartPolicy::No),
        )
    }

    /// The name of a run's container.
    pub fn container_name(&self, due: u64) -> String {
        format!("{}-{due}-1", self.cron_job_name)
    }
}

impl App {
    /// The container of a replica, under a name of the planner's choice.
    pub fn container_spec(&self, replica: u32, name: String) -> ContainerSpec {
        let app = self.app_name.as_str().to_owned();
        let labels = Labels { app, replica, version: self.version() }.to_map();
        let made = self.spec.container.container(name, labels, self.restart());
        ContainerSpec { ports: self.ports(replica), alias: self.alias_on(&made.network), ..made }
    }

    /// When Docker starts its replicas again.
    pub fn restart(&self) -> RestartPolicy {
        self.spec.container.restart_or(RestartPolicy::UnlessStopped)
    }

    /// Every replica answers to the app's name on the network `nebula`, so that a balancer finds
    /// them by asking for it. Other networks are not ours to take names on.
    pub fn alias_on(&self, network: &str) -> Option<String> {
        (network == NEBULA_NETWORK).then(|| self.app_name.as_str().to_owned())
    }

    /// Every network that its containers are joined to.
    pub fn networks(&self) -> Vec<String> {
        self.spec.container.all_networks()
    }

    /// The device's ports that a replica binds.
    pub fn host_ports(&self, replica: u32) -> Vec<HostPort> {
        self.ports(replica).iter().map(PortMapping::host_port).collect()
    }

    fn ports(&self, replica: u32) -> Vec<PortMapping> {
        // On the device's own network, or on none, a port cannot be bound to another.
        if self.spec.container.networks.iter().any(super::NetworkName::is_exclusive) {
            return Vec::new();
        }
        let offset = u16::try_from(replica.saturating_sub(1)).unwrap_or(u16::MAX);
        let shift = |m: PortMapping| PortMapping { host: m.host.saturating_add(offset), ..m };
        self.spec.starting_ports.mappings().into_iter().map(shift).collect()
    }
}

/// What a container of ours says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Its app.
    pub app: String,
    /// Which replica, from 1.
    pub replica: u32,
    /// The version it was made from.
    pub version: AppVersion,
}

impl Labels {
    /// The labels as Docker takes them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            (MANAGED_LABEL.to_owned(), MANAGED_VALUE.to_owned()),
            (APP.to_owned(), self.app.clone()),
            (TYPE.to_owned(), "app".to_owned()),
            (ID.to_owned(), self.version.app_id.to_string()),
            (SPEC.to_owned(), self.version.spec.as_str().to_owned()),
            (REPLICA.to_owned(), self.replica.to_string()),
        ]);
        if let Some(uid) = self.version.uid {
            map.insert(UID.to_owned(), uid.to_string());
        }
        map
    }

    /// Reads the app, replica and version from a container's labels and name. None for a container
    /// that is not ours or not an app's; a container of the original has no replica label, so its
    /// name tells, and no version.
    #[expect(clippy::disallowed_types, reason = "Docker's client gives one; it is only looked up")]
    pub fn read(
        labels: &std::collections::HashMap<String, String>,
        container_name: &str,
    ) -> Option<(String, Option<u32>, Option<AppVersion>)> {
        let get = |key: &str| labels.get(key).map(String::as_str);
        if get(MANAGED_LABEL) != Some(MANAGED_VALUE) || get(TYPE).is_some_and(|kind| kind != "app")
        {
            return None;
        }
        let app = get(APP).filter(|app| Name::new(*app).is_ok())?;
        let from_name = || container_name.strip_prefix(app)?.strip_prefix('-')?.parse().ok();
        let replica = get(REPLICA).map_or_else(from_name, |text| text.parse().ok());
        let version = || {
            Some(AppVersion {
                uid: match get(UID) {
                    Some(text) => Some(Uid::parse(text)?),
                    None => None,
                },
                app_id: get(ID)?.parse().ok()?,
                spec: SpecHash::from_label(get(SPEC)?),
            })
        };
        Some((app.to_owned(), replica, version()))
    }
}

/// What the container of a run says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLabels {
    /// Its cron job.
    pub cron_job: String,
    /// When it was due, in seconds since 1970.
    pub due: Option<u64>,
}

impl RunLabels {
    /// The labels as Docker takes them.
    fn to_map(&self, job: &CronJob) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            (MANAGED_LABEL.to_owned(), MANAGED_VALUE.to_owned()),
            (CRON_JOB.to_owned(), self.cron_job.clone()),
            (TYPE.to_owned(), CRON_JOB_TYPE.to_owned()),
            (CRON_JOB_ID.to_owned(), job.cron_job_id.to_string()),
        ]);
        if let Some(due) = self.due {
            map.insert(DUE.to_owned(), due.to_string());
        }
        if let Some(uid) = job.identity.uid {
            map.insert(UID.to_owned(), uid.to_string());
        }
        map
    }

    /// Reads the cron job and the time from a container's labels and name. None for a container
    /// that is not ours or not a cron job's. One of the original has no label for its time, so its
    /// name tells.
    #[expect(clippy::disallowed_types, reason = "Docker's client gives one; it is only looked up")]
    pub fn read(
        labels: &std::collections::HashMap<String, String>,
        container_name: &str,
    ) -> Option<Self> {
        let get = |key: &str| labels.get(key).map(String::as_str);
        if get(MANAGED_LABEL) != Some(MANAGED_VALUE) || get(TYPE) != Some(CRON_JOB_TYPE) {
            return None;
        }
        let cron_job = get(CRON_JOB).filter(|name| Name::new(*name).is_ok())?;
        let from_name = || {
            let rest = container_name.strip_prefix(cron_job)?.strip_prefix('-')?;
            rest.strip_suffix("-1")?.parse().ok()
        };
        let due = get(DUE).map_or_else(from_name, |text| text.parse().ok());
        Some(Self { cron_job: cron_job.to_owned(), due })
    }
}
