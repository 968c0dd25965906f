//! What is declared of a container, whoever runs it: the replicas of an app or the runs of a cron
//! job.

use super::container_options::{ContainerOptions, OPTION_KEYS, OptionFields, Sysctls};
use super::env::EnvVars;
use super::fields::{Fields, Invalid, Unknown, boolean, list, string};
use super::image::ImageReference;
use super::mount::{MappedDevice, Volume};
use super::name::NetworkName;
use serde::ser::SerializeMap;
use serde_json::{Map, Value, json};

/// The most networks, volumes or devices of one container.
pub const MAX_LIST_ITEMS: usize = 100;

/// The keys of a body that shape the container, beside the optional ones.
const CONTAINER_KEYS: [&str; 6] =
    ["docker_image", "env_vars", "networks", "volumes", "devices", "privileged"];

/// All keys of a body that shape the container and these further ones.
pub(super) fn known_keys(own: &[&'static str]) -> Vec<&'static str> {
    [&CONTAINER_KEYS, OPTION_KEYS, own].concat()
}

/// What shapes a container. Ports are not among it: a run of a cron job publishes none.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSettings {
    /// The image it runs.
    pub docker_image: ImageReference,
    /// Environment variables.
    pub env_vars: EnvVars,
    /// Networks, beside `nebula`.
    pub networks: Vec<NetworkName>,
    /// Binds and named volumes.
    pub volumes: Vec<Volume>,
    /// Device files.
    pub devices: Vec<MappedDevice>,
    /// All of the device's devices and capabilities.
    pub privileged: bool,
    /// What else is set of the container.
    pub options: ContainerOptions,
}

/// The same as a request's body holds it: each may be given or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ContainerFields {
    docker_image: Option<ImageReference>,
    env_vars: Option<EnvVars>,
    networks: Option<Vec<NetworkName>>,
    volumes: Option<Vec<Volume>>,
    devices: Option<Vec<MappedDevice>>,
    privileged: Option<bool>,
    pub(super) options: OptionFields,
}

impl ContainerFields {
    /// Takes what is there out of a body.
    pub(super) fn take(fields: &mut Fields, unknown: Unknown) -> Self {
        Self {
            docker_image: fields.take("docker_image", image),
            env_vars: fields.take("env_vars", EnvVars::decode),
            networks: fields.take("networks", networks),
            volumes: fields.take("volumes", volumes),
            devices: fields.take("devices", |v| list(v, MAX_LIST_ITEMS, MappedDevice::decode)),
            privileged: fields.take("privileged", boolean),
            options: OptionFields::take(fields, unknown),
        }
    }

    /// Defaults for what is not given; there is none for the image.
    pub(super) fn into_settings(self) -> Result<ContainerSettings, Invalid> {
        let Some(docker_image) = self.docker_image else {
            return Err(Invalid::field("docker_image", "is required"));
        };
        let default_networks = || vec![NetworkName::new("nebula"), NetworkName::new("bridge")];
        let settings = ContainerSettings {
            docker_image,
            env_vars: self.env_vars.unwrap_or_default(),
            networks: self
                .networks
                .unwrap_or_else(|| default_networks().into_iter().flatten().collect()),
            volumes: self.volumes.unwrap_or_default(),
            devices: self.devices.unwrap_or_default(),
            privileged: self.privileged.unwrap_or(false),
            options: ContainerOptions::default().with(self.options),
        };
        settings.check()?;
        Ok(settings)
    }

    /// For an update that replaces all: `env_vars` not given comes back as `[]`, which the
    /// original's clients assert.
    pub(super) fn replacing(mut self) -> Self {
        self.env_vars.get_or_insert_with(EnvVars::empty_list);
        self
    }
}

impl ContainerSettings {
    /// These settings with the given fields changed.
    pub(super) fn with(&self, fields: ContainerFields) -> Result<Self, Invalid> {
        let old = self.clone();
        let settings = Self {
            docker_image: fields.docker_image.unwrap_or(old.docker_image),
            env_vars: fields.env_vars.unwrap_or(old.env_vars),
            networks: fields.networks.unwrap_or(old.networks),
            volumes: fields.volumes.unwrap_or(old.volumes),
            devices: fields.devices.unwrap_or(old.devices),
            privileged: fields.privileged.unwrap_or(old.privileged),
            options: old.options.with(fields.options),
        };
        settings.check()?;
        Ok(settings)
    }

    /// What no single field shows: fields that cannot go together on any device.
    fn check(&self) -> Result<(), Invalid> {
        let options = &self.options;
        if let Some(tmpfs) = &options.tmpfs
            && let Some(volume) = self.volumes.iter().find(|v| tmpfs.0.contains_key(v.target()))
        {
            let reason = format!("a volume has the target `{}` as well", volume.target());
            return Err(Invalid::field("tmpfs", reason));
        }
        let is_on_host = self.networks.iter().any(|name| name.as_str() == "host");
        if is_on_host
            && let Some(key) = options.sysctls.as_deref().and_then(Sysctls::of_the_network)
        {
            let reason = format!("`{key}` is the device's own on the network `host`: take it out");
            return Err(Invalid::field("sysctls", reason));
        }
        Ok(())
    }

    /// What a hash of the container's shape is made from. Equal settings give equal forms, however
    /// they were written: `[]` and `{}` are both "no variables". A key that is not set is not in it.
    pub(super) fn shape(&self) -> Map<String, Value> {
        let env: Map<String, Value> =
            self.env_vars.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let networks: Vec<&str> = self.networks.iter().map(NetworkName::as_str).collect();
        let mut shape = Map::from_iter([
            ("docker_image".to_owned(), json!(self.docker_image)),
            ("env_vars".to_owned(), env.into()),
            ("networks".to_owned(), json!(networks)),
            ("volumes".to_owned(), json!(self.volumes)),
            ("devices".to_owned(), json!(self.devices)),
            ("privileged".to_owned(), self.privileged.into()),
        ]);
        self.options.add_shape(&mut shape);
        shape
    }

    /// Its entries of the wire form.
    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let networks: Vec<&str> = self.networks.iter().map(NetworkName::as_str).collect();
        map.serialize_entry("docker_image", &self.docker_image)?;
        map.serialize_entry("env_vars", &self.env_vars)?;
        map.serialize_entry("networks", &networks)?;
        map.serialize_entry("volumes", &self.volumes)?;
        map.serialize_entry("devices", &self.devices)?;
        map.serialize_entry("privileged", &self.privileged)?;
        self.options.entries(map)
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
