//! An app: what is declared once, and runs as replicas on every device of its groups.

use super::containers_per::ContainersPer;
use super::env::EnvVars;
use super::fields::{Fields, Invalid, Unknown, boolean, list, string, unsigned};
use super::image::ImageReference;
use super::mount::{Device, Volume};
use super::name::{Name, NetworkName};
use super::port::StartingPorts;
use super::version::{AppVersion, Revision, SpecHash, Uid};
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value, json};

/// The most networks, volumes or devices one app may declare.
pub const MAX_LIST_ITEMS: usize = 100;

/// The keys that an app's body may hold and set.
const SPEC_KEYS: [&str; 10] = [
    "docker_image",
    "starting_ports",
    "containers_per",
    "env_vars",
    "running",
    "networks",
    "volumes",
    "devices",
    "privileged",
    "rolling_restart",
];

/// An app with its identity.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its identity for its life; none when it came from a manager that gives none.
    pub uid: Option<Uid>,
    /// The revision of its last change, with the same exception.
    pub revision: Option<Revision>,
    /// Starts at 1, one higher at each change.
    pub app_id: u64,
    /// Its name.
    pub app_name: Name,
    /// What is declared.
    pub spec: AppSpec,
}

/// What is declared of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppSpec {
    /// The image its replicas run.
    pub docker_image: ImageReference,
    /// Where its first replica is reached.
    pub starting_ports: StartingPorts,
    /// How many replicas a device runs.
    pub containers_per: ContainersPer,
    /// Environment variables.
    pub env_vars: EnvVars,
    /// False stops the app everywhere.
    pub running: bool,
    /// Networks, beside `nebula`.
    pub networks: Vec<NetworkName>,
    /// Binds and named volumes.
    pub volumes: Vec<Volume>,
    /// Device files.
    pub devices: Vec<Device>,
    /// All of the device's devices and capabilities.
    pub privileged: bool,
    /// Updates one replica at a time.
    pub rolling_restart: bool,
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppFields {
    docker_image: Option<ImageReference>,
    starting_ports: Option<StartingPorts>,
    containers_per: Option<ContainersPer>,
    env_vars: Option<EnvVars>,
    running: Option<bool>,
    networks: Option<Vec<NetworkName>>,
    volumes: Option<Vec<Volume>>,
    devices: Option<Vec<Device>>,
    privileged: Option<bool>,
    rolling_restart: Option<bool>,
}

impl AppFields {
    /// Reads a body. The object's own read-only keys may come back as a client read them; `name`
    /// is the one in the path, which they must not contradict.
    pub fn decode(
        body: Map<String, Value>,
        name: Option<&str>,
        unknown: Unknown,
    ) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        fields.same_name("app_name", name);
        for read_only in ["_id", "app_id", "uid", "revision"] {
            fields.ignore(read_only);
        }
        let decoded = Self {
            docker_image: fields.take("docker_image", image),
            starting_ports: StartingPorts::take(&mut fields),
            containers_per: fields.take("containers_per", ContainersPer::decode),
            env_vars: fields.take("env_vars", EnvVars::decode),
            running: fields.take("running", boolean),
            networks: fields.take("networks", networks),
            volumes: fields.take("volumes", volumes),
            devices: fields.take("devices", |v| list(v, MAX_LIST_ITEMS, Device::decode)),
            privileged: fields.take("privileged", boolean),
            rolling_restart: fields.take("rolling_restart", boolean),
        };
        fields.finish(unknown, &SPEC_KEYS)?;
        Ok(decoded)
    }

    /// True when nothing is given that could change an app.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True when the body holds no image, which a new app must have.
    pub fn lacks_image(&self) -> bool {
        self.docker_image.is_none()
    }

    /// A spec of these fields, with defaults for what is not given.
    pub fn into_spec(self) -> Result<AppSpec, Invalid> {
        let Some(docker_image) = self.docker_image else {
            return Err(Invalid::field("docker_image", "is required"));
        };
        let default_networks = || vec![NetworkName::new("nebula"), NetworkName::new("bridge")];
        let spec = AppSpec {
            docker_image,
            starting_ports: self.starting_ports.unwrap_or_default(),
            containers_per: self.containers_per.unwrap_or_default(),
            env_vars: self.env_vars.unwrap_or_default(),
            running: self.running.unwrap_or(true),
            networks: self
                .networks
                .unwrap_or_else(|| default_networks().into_iter().flatten().collect()),
            volumes: self.volumes.unwrap_or_default(),
            devices: self.devices.unwrap_or_default(),
            privileged: self.privileged.unwrap_or(false),
            rolling_restart: self.rolling_restart.unwrap_or(false),
        };
        spec.check()?;
        Ok(spec)
    }

    /// A spec of these fields for an update that replaces all: `env_vars` not given comes back as
    /// `[]`, which the original's clients assert.
    pub fn into_replacement(mut self) -> Result<AppSpec, Invalid> {
        self.env_vars.get_or_insert_with(EnvVars::empty_list);
        self.into_spec()
    }
}

impl AppSpec {
    /// This spec with the given fields changed.
    pub fn with(&self, fields: AppFields) -> Result<Self, Invalid> {
        let old = self.clone();
        let spec = Self {
            docker_image: fields.docker_image.unwrap_or(old.docker_image),
            starting_ports: fields.starting_ports.unwrap_or(old.starting_ports),
            containers_per: fields.containers_per.unwrap_or(old.containers_per),
            env_vars: fields.env_vars.unwrap_or(old.env_vars),
            running: fields.running.unwrap_or(old.running),
            networks: fields.networks.unwrap_or(old.networks),
            volumes: fields.volumes.unwrap_or(old.volumes),
            devices: fields.devices.unwrap_or(old.devices),
            privileged: fields.privileged.unwrap_or(old.privileged),
            rolling_restart: fields.rolling_restart.unwrap_or(old.rolling_restart),
        };
        spec.check()?;
        Ok(spec)
    }

    /// What no single field shows: fields that cannot go together on any device.
    fn check(&self) -> Result<(), Invalid> {
        let replicas = self.containers_per.fixed().unwrap_or(1);
        self.starting_ports
            .check(replicas)
            .map_err(|reason| Invalid::field("starting_ports", reason))
    }

    /// The hash of what shapes a container. How many there are, whether they run and how they are
    /// updated is not part of it.
    pub fn hash(&self) -> SpecHash {
        let ports: Vec<[u16; 2]> =
            self.starting_ports.mappings().iter().map(|m| [m.host, m.container]).collect();
        let env: Map<String, Value> =
            self.env_vars.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let shape = json!({
            "docker_image": self.docker_image,
            "starting_ports": ports,
            "env_vars": env,
            "networks": self.networks.iter().map(NetworkName::as_str).collect::<Vec<_>>(),
            "volumes": self.volumes,
            "devices": self.devices,
            "privileged": self.privileged,
        });
        // A `Value` of strings, numbers and lists always has a canonical form; should that ever
        // fail, the plain form is as good, because its keys stand in a fixed order here.
        let canonical = serde_json_canonicalizer::to_vec(&shape)
            .unwrap_or_else(|_| shape.to_string().into_bytes());
        SpecHash::of(&canonical)
    }
}

impl App {
    /// The version its containers carry.
    pub fn version(&self) -> AppVersion {
        AppVersion { uid: self.uid, app_id: self.app_id, spec: self.spec.hash() }
    }

    /// The name of a replica's container; replicas count from 1.
    pub fn container_name(&self, replica: u32) -> String {
        format!("{}-{replica}", self.app_name)
    }

    /// Reads a whole app, as a manager hands it out and a store keeps it.
    pub fn decode(mut object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut identity = Fields::new(Map::new());
        let mut take = |key: &str| object.shift_remove(key);
        let name = take("app_name")
            .ok_or("is missing".to_owned())
            .and_then(|value| Name::new(string(value)?).map_err(|error| error.to_string()));
        let id = take("app_id").ok_or("is missing".to_owned()).and_then(|value| unsigned(&value));
        let uid = take("uid").map(|value| {
            let text = string(value)?;
            Uid::parse(&text).ok_or_else(|| "must be 24 hexadecimal digits".to_owned())
        });
        let revision = take("revision").map(|value| unsigned(&value).map(Revision));
        let mut keep = |field: &str, reason: String| identity.refuse(field, reason);
        let name = name.map_err(|reason| keep("app_name", reason)).ok();
        let id = id.map_err(|reason| keep("app_id", reason)).ok();
        let uid = uid.transpose().map_err(|reason| keep("uid", reason)).ok();
        let revision = revision.transpose().map_err(|reason| keep("revision", reason)).ok();
        identity.finish(Unknown::Ignore, &[])?;
        let spec = AppFields::decode(object, None, Unknown::Ignore)?.into_spec()?;
        let (Some(app_name), Some(app_id), Some(uid), Some(revision)) = (name, id, uid, revision)
        else {
            return Err(Invalid::field("app_name", "is missing"));
        };
        Ok(Self { uid, revision, app_id, app_name, spec })
    }
}

fn image(value: Value) -> Result<ImageReference, String> {
    ImageReference::parse(&string(value)?).map_err(|error| error.to_string())
}

fn networks(value: Value) -> Result<Vec<NetworkName>, String> {
    let names = list(value, MAX_LIST_ITEMS, |item| {
        NetworkName::new(string(item)?).map_err(|error| error.to_string())
    })?;
    if names.len() > 1
        && let Some(name) = names.iter().find(|name| name.is_exclusive())
    {
        return Err(format!("`{name}` excludes every other network"));
    }
    Ok(names)
}

fn volumes(value: Value) -> Result<Vec<Volume>, String> {
    let volumes = list(value, MAX_LIST_ITEMS, Volume::decode)?;
    for (index, volume) in volumes.iter().enumerate() {
        if volumes[..index].iter().any(|earlier| earlier.target() == volume.target()) {
            return Err(format!("two volumes have the target `{}`", volume.target()));
        }
    }
    Ok(volumes)
}

impl Serialize for AppSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl AppSpec {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let networks: Vec<&str> = self.networks.iter().map(NetworkName::as_str).collect();
        map.serialize_entry("docker_image", &self.docker_image)?;
        map.serialize_entry("starting_ports", &self.starting_ports)?;
        map.serialize_entry("containers_per", &self.containers_per)?;
        map.serialize_entry("env_vars", &self.env_vars)?;
        map.serialize_entry("running", &self.running)?;
        map.serialize_entry("networks", &networks)?;
        map.serialize_entry("volumes", &self.volumes)?;
        map.serialize_entry("devices", &self.devices)?;
        map.serialize_entry("privileged", &self.privileged)?;
        map.serialize_entry("rolling_restart", &self.rolling_restart)
    }
}

impl Serialize for App {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("app_id", &self.app_id)?;
        map.serialize_entry("app_name", &self.app_name)?;
        self.spec.entries(&mut map)?;
        if let Some(uid) = &self.uid {
            map.serialize_entry("uid", uid)?;
        }
        if let Some(revision) = &self.revision {
            map.serialize_entry("revision", revision)?;
        }
        map.end()
    }
}
