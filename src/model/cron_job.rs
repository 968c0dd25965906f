//! A cron job: what runs on every device of its groups at the times of a schedule.

use super::container_settings::{ContainerFields, ContainerSettings, known_keys};
use super::fields::{Fields, Invalid, Optional, Unknown, boolean, string, unsigned, word};
use super::identity::{Identity, READ_ONLY};
use super::name::Name;
use super::schedule::Schedule;
use super::time_zone::TimeZone;
use super::version::{AppVersion, SpecHash, Uid};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The keys of a body that a cron job has beside those of its containers.
const CRON_JOB_KEYS: [&str; 5] = ["schedule", "running", "timezone", "overlap", "missed_runs"];

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
    /// Whose clock the schedule means; UTC when none is given.
    pub timezone: Option<TimeZone>,
    /// What a run does while the last one lives, when it was given.
    pub overlap: Option<Overlap>,
    /// What becomes of a run that was missed, when it was given.
    pub missed_runs: Option<MissedRuns>,
}

/// What a run that is due does while an earlier one lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It does not take place.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// The earlier one is stopped.
    Replace,
}

/// What becomes of a run that was due while the worker did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedRuns {
    /// It takes place as soon as the worker runs again, if it is the only one that was missed.
    #[default]
    CatchUp,
    /// It does not take place.
    Skip,
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CronJobFields {
    container: ContainerFields,
    schedule: Option<Schedule>,
    running: Option<bool>,
    timezone: Optional<TimeZone>,
    overlap: Optional<Overlap>,
    missed_runs: Optional<MissedRuns>,
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
            container: ContainerFields::take(&mut fields, unknown),
            schedule: fields.take("schedule", |value| {
                Schedule::parse(string(value)?).map_err(|error| error.to_string())
            }),
            running: fields.take("running", boolean),
            timezone: Optional::take(&mut fields, "timezone", |v| TimeZone::parse(&string(v)?)),
            overlap: Optional::take(&mut fields, "overlap", |value| {
                let skip = ("skip", Overlap::Skip);
                word(value, &[skip, ("allow", Overlap::Allow), ("replace", Overlap::Replace)])
            }),
            missed_runs: Optional::take(&mut fields, "missed_runs", |value| {
                word(value, &[("catch_up", MissedRuns::CatchUp), ("skip", MissedRuns::Skip)])
            }),
        };
        if let Optional::Set(restart) = &decoded.container.options.restart
            && !restart.ends()
        {
            let reason = "must be no or on-failure:N for a cron job, whose runs end";
            fields.refuse("restart", reason);
        }
        fields.finish(unknown, &known_keys(&CRON_JOB_KEYS)).map_err(|invalid| {
            let schedule = invalid.fields.contains_key("schedule");
            Invalid { schedule, ..invalid }
        })?;
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
        Ok(CronJobSpec {
            container,
            schedule,
            running: self.running.unwrap_or(true),
            timezone: self.timezone.after(None),
            overlap: self.overlap.after(None),
            missed_runs: self.missed_runs.after(None),
        })
    }
}

impl CronJobSpec {
    /// This spec with the given fields changed.
    pub fn with(&self, fields: CronJobFields) -> Result<Self, Invalid> {
        Ok(Self {
            container: self.container.with(fields.container)?,
            schedule: fields.schedule.unwrap_or_else(|| self.schedule.clone()),
            running: fields.running.unwrap_or(self.running),
            timezone: fields.timezone.after(self.timezone),
            overlap: fields.overlap.after(self.overlap),
            missed_runs: fields.missed_runs.after(self.missed_runs),
        })
    }
}

/// What the due times of a cron job hang on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobVersion {
    /// The object's identity; none when the manager is the original, which has none.
    pub uid: Option<Uid>,
    /// When it runs: the schedule's canonical form and its time zone.
    pub times: String,
}

impl CronJob {
    /// What its due times hang on. As long as it stays, what was due and dealt with stays dealt
    /// with, whatever else of the cron job changes.
    pub fn version(&self) -> JobVersion {
        let zone = self.spec.timezone.unwrap_or_default().rules().name();
        let times = format!("{} {zone}", self.spec.schedule.canonical());
        JobVersion { uid: self.identity.uid, times }
    }

    /// The image that its runs need, as a version of what pulls it: pulled again with each change.
    pub fn image_version(&self) -> AppVersion {
        let spec = SpecHash::of_shape(&self.spec.container.shape());
        AppVersion { uid: self.identity.uid, app_id: self.cron_job_id, spec }
    }

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
        if let Some(zone) = &self.spec.timezone {
            map.serialize_entry("timezone", zone)?;
        }
        if let Some(overlap) = &self.spec.overlap {
            map.serialize_entry("overlap", overlap)?;
        }
        if let Some(missed_runs) = &self.spec.missed_runs {
            map.serialize_entry("missed_runs", missed_runs)?;
        }
        self.identity.entries(&mut map)?;
        map.end()
    }
}
