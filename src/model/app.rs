//! An app: what is declared once, and runs as replicas on every device of its groups.

use super::container_settings::{ContainerFields, ContainerSettings, known_keys};
use super::containers_per::ContainersPer;
use super::fields::{Fields, Invalid, Optional, Unknown, boolean, string, unsigned};
use super::identity::{Identity, READ_ONLY};
use super::name::Name;
use super::port::{PortMapping, StartingPorts};
use super::update_config::UpdateConfig;
use super::version::{AppVersion, SpecHash};
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value, json};

/// The keys of a body that an app has beside those of its containers.
const APP_KEYS: [&str; 5] =
    ["starting_ports", "containers_per", "running", "rolling_restart", "update_config"];

/// An app with its identity.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// What the store gave it.
    pub identity: Identity,
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
    /// What shapes its containers.
    pub container: ContainerSettings,
    /// Where its first replica is reached.
    pub starting_ports: StartingPorts,
    /// How many replicas a device runs.
    pub containers_per: ContainersPer,
    /// False stops the app everywhere.
    pub running: bool,
    /// Updates one replica at a time.
    pub rolling_restart: bool,
    /// How it is updated, where that is said.
    pub update_config: Option<UpdateConfig>,
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppFields {
    container: ContainerFields,
    starting_ports: Option<StartingPorts>,
    containers_per: Option<ContainersPer>,
    running: Option<bool>,
    rolling_restart: Option<bool>,
    update_config: Optional<UpdateConfig>,
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
        fields.ignore(&READ_ONLY);
        fields.ignore(&["app_id"]);
        let decoded = Self {
            container: ContainerFields::take(&mut fields, unknown),
            starting_ports: StartingPorts::take(&mut fields),
            containers_per: fields.take("containers_per", ContainersPer::decode),
            running: fields.take("running", boolean),
            rolling_restart: fields.take("rolling_restart", boolean),
            update_config: Optional::take(&mut fields, "update_config", |value| {
                UpdateConfig::decode(value, unknown)
            }),
        };
        fields.finish(unknown, &known_keys(&APP_KEYS))?;
        Ok(decoded)
    }

    /// True when nothing is given that could change an app.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A spec of these fields, with defaults for what is not given.
    pub fn into_spec(self) -> Result<AppSpec, Invalid> {
        let spec = AppSpec {
            container: self.container.into_settings()?,
            starting_ports: self.starting_ports.unwrap_or_default(),
            containers_per: self.containers_per.unwrap_or_default(),
            running: self.running.unwrap_or(true),
            rolling_restart: self.rolling_restart.unwrap_or(false),
            update_config: self.update_config.after(None),
        };
        spec.check()?;
        Ok(spec)
    }

    /// A spec of these fields for an update that replaces all.
    pub fn into_replacement(self) -> Result<AppSpec, Invalid> {
        Self { container: self.container.replacing(), ..self }.into_spec()
    }
}

impl AppSpec {
    /// This spec with the given fields changed.
    pub fn with(&self, fields: AppFields) -> Result<Self, Invalid> {
        let old = self.clone();
        let spec = Self {
            container: old.container.with(fields.container)?,
            starting_ports: fields.starting_ports.unwrap_or(old.starting_ports),
            containers_per: fields.containers_per.unwrap_or(old.containers_per),
            running: fields.running.unwrap_or(old.running),
            rolling_restart: fields.rolling_restart.unwrap_or(old.rolling_restart),
            update_config: fields.update_config.after(old.update_config),
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
        let ports: Vec<Value> =
            self.starting_ports.mappings().iter().map(PortMapping::shape).collect();
        let mut shape = self.container.shape();
        shape.insert("starting_ports".to_owned(), json!(ports));
        SpecHash::of_shape(&shape)
    }
}

impl App {
    /// The version its containers carry.
    pub fn version(&self) -> AppVersion {
        AppVersion { uid: self.identity.uid, app_id: self.app_id, spec: self.spec.hash() }
    }

    /// The name of a replica's container; replicas count from 1.
    pub fn container_name(&self, replica: u32) -> String {
        format!("{}-{replica}", self.app_name)
    }

    /// Reads a whole app, as a manager hands it out and a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let app_name = fields.required("app_name", |value| {
            Name::new(string(value)?).map_err(|error| error.to_string())
        });
        let app_id = fields.required("app_id", |value| unsigned(&value));
        let identity = Identity::take(&mut fields);
        let rest = fields.rest()?;
        let spec = AppFields::decode(rest, None, Unknown::Ignore)?.into_spec()?;
        Ok(Self { identity, app_id: app_id?, app_name: app_name?, spec })
    }
}

impl AppSpec {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.container.entries(map)?;
        map.serialize_entry("starting_ports", &self.starting_ports)?;
        map.serialize_entry("containers_per", &self.containers_per)?;
        map.serialize_entry("running", &self.running)?;
        map.serialize_entry("rolling_restart", &self.rolling_restart)?;
        match &self.update_config {
            Some(update_config) => map.serialize_entry("update_config", update_config),
            None => Ok(()),
        }
    }
}

impl Serialize for AppSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl Serialize for App {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("app_id", &self.app_id)?;
        map.serialize_entry("app_name", &self.app_name)?;
        self.spec.entries(&mut map)?;
        self.identity.entries(&mut map)?;
        map.end()
    }
}
