//! A cron job: what runs on every device of its groups at the times of a schedule.

use super::container_settings::{CONTAINER_KEYS, ContainerFields, ContainerSettings};
use super::fields::{Fields, Invalid, Unknown, boolean, known_keys, string, unsigned};
use super::identity::{Identity, READ_ONLY};
use super::name::Name;
use super::schedule::Schedule;
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value};

/// The keys of a body that a cron job has beside those of its containers.
const CRON_JOB_KEYS: [&str; 2] = ["schedule", "running"];

/// A cron job with its identity.
#[derive(Debug, Clone, PartialEq)]
pub struct CronJob {
    /// What the store gave it.
    pub identity: Identity,
    /// Starts at 1, one higher at each change.
    pub cron_job_id: u64,
    /// Its name.
    pub cron_job_name: Name,
    /// What is declared.
    pub spec: CronJobSpec,
}

/// What is declared of a cron job.
#[derive(Debug, Clone, PartialEq)]
pub struct CronJobSpec {
    /// What shapes the container of a run.
    pub container: ContainerSettings,
    /// When it runs.
    pub schedule: Schedule,
    /// False keeps it from running.
    pub running: bool,
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CronJobFields {
    container: ContainerFields,
    schedule: Option<Schedule>,
    running: Option<bool>,
}

impl CronJobFields {
    /// Reads a body. The object's own read-only keys may come back as a client read them; `name`
    /// is the one in the path, which they must not contradict.
    pub fn decode(
        body: Map<String, Value>,
        name: Option<&str>,
        unknown: Unknown,
    ) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        fields.same_name("cron_job_name", name);
        fields.ignore(&READ_ONLY);
        fields.ignore(&["cron_job_id"]);
        let decoded = Self {
            container: ContainerFields::take(&mut fields),
            schedule: fields.take("schedule", |value| {
                Schedule::parse(string(value)?).map_err(|error| error.to_string())
            }),
            running: fields.take("running", boolean),
        };
        fields.finish(unknown, &known_keys(&CONTAINER_KEYS, &CRON_JOB_KEYS)).map_err(
            |invalid| {
                let schedule = invalid.fields.contains_key("schedule");
                Invalid { schedule, ..invalid }
            },
        )?;
        Ok(decoded)
    }

    /// True when nothing is given that could change a cron job.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A spec of these fields, with defaults for what is not given.
    pub fn into_spec(self) -> Result<CronJobSpec, Invalid> {
        let schedule = self.schedule.ok_or_else(|| Invalid::field("schedule", "is required"))?;
        let container = self.container.into_settings()?;
        Ok(CronJobSpec { container, schedule, running: self.running.unwrap_or(true) })
    }
}

impl CronJobSpec {
    /// This spec with the given fields changed.
    #[must_use]
    pub fn with(&self, fields: CronJobFields) -> Self {
        Self {
            container: self.container.with(fields.container),
            schedule: fields.schedule.unwrap_or_else(|| self.schedule.clone()),
            running: fields.running.unwrap_or(self.running),
        }
    }
}

impl CronJob {
    /// Reads a whole cron job, as a manager hands it out and a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let cron_job_name = fields.required("cron_job_name", |value| {
            Name::new(string(value)?).map_err(|error| error.to_string())
        });
        let cron_job_id = fields.required("cron_job_id", |value| unsigned(&value));
        let identity = Identity::take(&mut fields);
        let rest = fields.rest()?;
        let spec = CronJobFields::decode(rest, None, Unknown::Ignore)?.into_spec()?;
        Ok(Self { identity, cron_job_id: cron_job_id?, cron_job_name: cron_job_name?, spec })
    }
}

impl Serialize for CronJob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("cron_job_id", &self.cron_job_id)?;
        map.serialize_entry("cron_job_name", &self.cron_job_name)?;
        map.serialize_entry("schedule", &self.spec.schedule)?;
        self.spec.container.entries(&mut map)?;
        map.serialize_entry("running", &self.spec.running)?;
        self.identity.entries(&mut map)?;
        map.end()
    }
}
