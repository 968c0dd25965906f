//! The desired state of a device: what `/info` of its group says, read as a device reads it.
//!
//! Invariant: it is made from a complete and valid answer only. One app that cannot be read does
//! not spoil the others and is never taken for "this app is gone".

use super::app::App;
use super::cron_job::CronJob;
use super::fields::{Fields, Invalid, Unknown, list, object, string, unsigned};
use super::json::json_value;
use super::version::Revision;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The most apps one answer may hold, over a group's own limit so that it is never the first met.
const MAX_APPS: usize = 2_000;

/// Why an answer is no desired state.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// Cut short, a proxy's page, or otherwise not JSON.
    #[error("the answer is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("the answer is not a device group's state: {0}")]
    Shape(String),
}

/// What every device of a group runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The highest revision of anything in it; none from a manager that gives none.
    pub revision: Option<Revision>,
    /// The group's id.
    pub device_group_id: u64,
    /// The group's order to prune.
    pub prune_id: u64,
    /// Its apps, each name once.
    pub apps: Vec<DesiredApp>,
    /// Its cron jobs, each name once.
    pub cron_jobs: Vec<DesiredCronJob>,
}

/// A declared object as a device was told it.
#[derive(Debug, Clone, PartialEq)]
pub enum Told<T> {
    /// It can be run.
    Readable(Box<T>),
    /// It exists, but this version cannot run it. Its containers are kept as they are.
    Unreadable {
        /// Its name.
        name: String,
        /// Which field and why.
        reason: String,
    },
}

/// An app as a device was told it.
pub type DesiredApp = Told<App>;
/// A cron job as a device was told it.
pub type DesiredCronJob = Told<CronJob>;

impl DesiredApp {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Readable(app) => app.app_name.as_str(),
            Self::Unreadable { name, .. } => name,
        }
    }
}

impl DesiredCronJob {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Readable(job) => job.cron_job_name.as_str(),
            Self::Unreadable { name, .. } => name,
        }
    }
}

impl<T> Told<T> {
    /// Reads one; one that cannot be run is kept by name with its reason, one without a name makes
    /// the whole answer unreadable.
    fn read(
        value: Value,
        name_key: &str,
        decode: impl FnOnce(Map<String, Value>) -> Result<T, Invalid>,
    ) -> Result<Self, String> {
        let map = object(value)?;
        let name = match map.get(name_key) {
            Some(Value::String(name)) => name.clone(),
            _ => return Err(format!("has no `{name_key}`")),
        };
        Ok(match decode(map) {
            Ok(told) => Self::Readable(Box::new(told)),
            Err(invalid) => Self::Unreadable { name, reason: invalid.to_string() },
        })
    }
}

impl Desired {
    /// Reads the bytes of an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, DesiredError> {
        let value = json_value(bytes).map_err(DesiredError::Json)?;
        let map = object(value).map_err(DesiredError::Shape)?;
        let mut fields = Fields::new(map);
        let apps = fields.take("apps", |value| {
            list(value, MAX_APPS, |app| Told::read(app, "app_name", App::decode))
        });
        let names = fields.take("apps_list", |value| list(value, MAX_APPS, string));
        let cron_jobs = fields.take("cron_jobs", |value| {
            list(value, MAX_APPS, |job| Told::read(job, "cron_job_name", CronJob::decode))
        });
        let job_names = fields.take("cron_jobs_list", |value| list(value, MAX_APPS, string));
        let prune_id = fields.take("prune_id", |value| unsigned(&value));
        let group_id = fields.take("device_group_id", |value| unsigned(&value));
        let revision = fields.take("revision", |value| unsigned(&value).map(Revision));
        fields
            .finish(Unknown::Ignore, &[])
            .map_err(|invalid| DesiredError::Shape(invalid.to_string()))?;
        let ids = (prune_id, group_id);
        let (
            Some(apps),
            Some(names),
            Some(cron_jobs),
            Some(job_names),
            (Some(prune_id), Some(device_group_id)),
        ) = (apps, names, cron_jobs, job_names, ids)
        else {
            let keys = "apps, apps_list, cron_jobs, cron_jobs_list, prune_id and device_group_id";
            return Err(DesiredError::Shape(format!("it must have {keys}")));
        };
        if !is_listed(apps.iter().map(DesiredApp::name), &names) {
            return Err(DesiredError::Shape("`apps` and `apps_list` differ".to_owned()));
        }
        if !is_listed(cron_jobs.iter().map(DesiredCronJob::name), &job_names) {
            return Err(DesiredError::Shape("`cron_jobs` and `cron_jobs_list` differ".to_owned()));
        }
        Ok(Self { revision, device_group_id, prune_id, apps, cron_jobs })
    }
}

/// What stands for a value that may be a secret.
const MASK: &str = "***";

impl Desired {
    /// The answer that it was read from, in the contract's form, without the values of variables.
    /// Of what this version cannot read there is the name.
    pub fn masked(&self) -> Value {
        fn all<T: Serialize>(told: &[Told<T>], name_key: &str) -> Vec<Value> {
            let one = |told: &Told<T>| match told {
                Told::Readable(object) => mask(json!(object)),
                Told::Unreadable { name, .. } => json!({ name_key: name }),
            };
            told.iter().map(one).collect()
        }
        let names: Vec<&str> = self.apps.iter().map(DesiredApp::name).collect();
        let job_names: Vec<&str> = self.cron_jobs.iter().map(DesiredCronJob::name).collect();
        json!({
            "apps": all(&self.apps, "app_name"),
            "apps_list": names,
            "cron_jobs": all(&self.cron_jobs, "cron_job_name"),
            "cron_jobs_list": job_names,
            "prune_id": self.prune_id,
            "device_group_id": self.device_group_id,
        })
    }
}

/// Variables may be secrets, and so may what a log driver signs in with.
fn mask(mut object: Value) -> Value {
    let hide = |values: Option<&mut Value>| {
        let values = values.and_then(Value::as_object_mut);
        for (_, value) in values.into_iter().flatten() {
            *value = MASK.into();
        }
    };
    hide(object.get_mut("env_vars"));
    hide(object.get_mut("logging").and_then(|logging| logging.get_mut("options")));
    object
}

/// Whether each name is told once, and the list has the same ones.
fn is_listed<'a>(told: impl Iterator<Item = &'a str>, names: &[String]) -> bool {
    let told: Vec<&str> = told.collect();
    let once: BTreeSet<&str> = told.iter().copied().collect();
    let listed: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    once.len() == told.len() && once == listed
}
