//! A device group: which apps and cron jobs every device of it runs.

use super::fields::{Fields, Invalid, Unknown, list, string, unsigned};
use super::identity::{Identity, READ_ONLY};
use super::name::Name;
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value};

/// The most apps, and the most cron jobs, of one group.
const MAX_MEMBERS: usize = 1_000;
/// The keys that a group's body may hold and set.
const KEYS: [&str; 2] = ["apps", "cron_jobs"];

/// A device group with its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceGroup {
    /// What the store gave it. Its revision is that of the last change of what its devices run, a
    /// member's deletion included.
    pub identity: Identity,
    /// Its name.
    pub device_group: Name,
    /// Starts at 1, one higher at each change.
    pub device_group_id: u64,
    /// Starts at 1, one higher at each order to prune.
    pub prune_id: u64,
    /// Its apps, in the order given. A member that no longer exists stays in the list and is left
    /// out of what devices are told.
    pub apps: Vec<String>,
    /// Its cron jobs, likewise.
    pub cron_jobs: Vec<String>,
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceGroupFields {
    /// The apps, when given.
    pub apps: Option<Vec<String>>,
    /// The cron jobs, when given.
    pub cron_jobs: Option<Vec<String>>,
}

impl DeviceGroupFields {
    /// Reads a body. The object's own read-only keys may come back as a client read them; `name`
    /// is the one in the path, which they must not contradict.
    pub fn decode(
        body: Map<String, Value>,
        name: Option<&str>,
        unknown: Unknown,
    ) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        fields.same_name("device_group", name);
        fields.ignore(&READ_ONLY);
        fields.ignore(&["device_group_id", "prune_id"]);
        let decoded = Self {
            apps: fields.take("apps", members),
            cron_jobs: fields.take("cron_jobs", members),
        };
        fields.finish(unknown, &KEYS)?;
        Ok(decoded)
    }

    /// True when nothing is given that could change a group.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl DeviceGroup {
    /// Reads a whole group, as a manager hands it out and a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let device_group = fields.required("device_group", |value| {
            Name::new(string(value)?).map_err(|error| error.to_string())
        });
        let group_id = fields.take("device_group_id", |value| unsigned(&value));
        let prune_id = fields.take("prune_id", |value| unsigned(&value));
        let identity = Identity::take(&mut fields);
        let apps = fields.take("apps", members);
        let cron_jobs = fields.take("cron_jobs", members);
        fields.finish(Unknown::Ignore, &[])?;
        Ok(Self {
            identity,
            device_group: device_group?,
            device_group_id: group_id.unwrap_or(1),
            prune_id: prune_id.unwrap_or(1),
            apps: apps.unwrap_or_default(),
            cron_jobs: cron_jobs.unwrap_or_default(),
        })
    }
}

/// Reads a list of names; a name given twice counts once.
fn members(value: Value) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in list(value, MAX_MEMBERS, string)? {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Serialize for DeviceGroup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("device_group", &self.device_group)?;
        map.serialize_entry("device_group_id", &self.device_group_id)?;
        map.serialize_entry("prune_id", &self.prune_id)?;
        map.serialize_entry("apps", &self.apps)?;
        map.serialize_entry("cron_jobs", &self.cron_jobs)?;
        self.identity.entries(&mut map)?;
        map.end()
    }
}
