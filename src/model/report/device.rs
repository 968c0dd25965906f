//! A device as the inventory knows it: what its last report said, without what only the moment of
//! that report is about.

use super::super::fields::{Fields, Invalid, Unknown, string, unsigned};
use super::super::version::Revision;
use super::Report;
use super::state::{DeviceState, Standing};
use super::told::{AppReport, CronJobReport};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The most apps, and cron jobs, that are kept of one device.
const MAX_KEPT: usize = 1_000;
/// After how long a device is away whose reports do not say how far apart they are, in seconds:
/// three of the original's check-ins and their slack.
const DEFAULT_AWAY_AFTER: u64 = 120;
/// No report is further from the next than a day, the longest check-in time.
const LONGEST_AWAY_AFTER: u64 = 4 * 24 * 3_600;
/// By how much an older report may be older, in seconds: as long as one may be on its way. By more,
/// the clock was set: a clock that was once ahead must not end what a device says.
pub const LONGEST_STEP_BACK: i64 = 600;
/// What a device says of itself is kept up to this, in bytes of JSON: a worker's is a tenth of it.
const MAX_FACTS_BYTES: usize = 16 << 10;
/// The longest reason that is kept, in characters.
const MAX_REASON_CHARACTERS: usize = 500;
/// The longest of the other texts, in characters.
const MAX_TEXT_CHARACTERS: usize = 255;
/// The most versions of an app that are kept as running.
const MAX_RUNNING: usize = 100;
/// The most runs of a cron job that are kept.
const MAX_RUNS: usize = 10;
/// A worker's has 32.
const MAX_BOOT_ID_BYTES: usize = 64;
/// What a report says that is kept as it is.
const KEPT: [&str; 5] = ["worker", "docker", "memory_usage", "root_disk_usage", "cpu_usage"];
/// What else of a report is no part of its outline.
const TOLD: [&str; 5] = ["state", "reason", "revision", "apps", "cron_jobs"];

/// Whether a key of a report says how its device is.
pub(super) fn is_detail(key: &str) -> bool {
    KEPT.contains(&key) || TOLD.contains(&key)
}

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its name, by which it is known.
    pub hostname: String,
    /// The group that it runs.
    pub device_group: String,
    /// How it said it was.
    pub state: DeviceState,
    /// Why it is not converged: the first of its apps' reasons.
    pub reason: Option<String>,
    /// When its last report came, in seconds since 1970, by the clock of whoever took it.
    pub last_seen: i64,
    /// From when on it is away, if it is not heard of again.
    pub away_at: i64,
    /// When it made that report, by its own clock.
    pub report_creation_time: i64,
    /// The revision of the desired state that it spoke of; none when it did not say.
    pub revision: Option<Revision>,
    /// One life of its worker, and the number of the report in it.
    pub order: Option<(String, u64)>,
    /// Its apps.
    pub apps: Vec<AppReport>,
    /// Its cron jobs.
    pub cron_jobs: Vec<CronJobReport>,
    /// What it said of itself, as it said it: worker, docker, memory, disk, processor.
    pub facts: Map<String, Value>,
}

impl Device {
    /// What a report says of its device. What cannot be read of it is as if it were not there.
    pub fn of(report: &Report, seen: i64) -> Self {
        Self::outline(report, seen).with_details(report)
    }

    /// What tells which of two reports of a device is the newer one, and no more: the rest costs time.
    pub fn outline(report: &Report, seen: i64) -> Self {
        let number = |key: &str| number(report, key);
        let away_after = number("away_after_seconds").unwrap_or(DEFAULT_AWAY_AFTER);
        let boot = report.body.get("boot_id").and_then(Value::as_str);
        let boot = boot.filter(|boot| boot.len() <= MAX_BOOT_ID_BYTES).map(str::to_owned);
        Self {
            hostname: report.hostname.clone(),
            device_group: report.device_group.clone(),
            state: DeviceState::default(),
            reason: None,
            last_seen: seen,
            away_at: seen.saturating_add_unsigned(away_after.clamp(10, LONGEST_AWAY_AFTER)),
            report_creation_time: report.created,
            revision: None,
            order: boot.zip(number("sequence")),
            apps: Vec::new(),
            cron_jobs: Vec::new(),
            facts: Map::new(),
        }
    }

    /// With all that the report says, of which this is the outline.
    #[must_use]
    pub fn with_details(self, report: &Report) -> Self {
        let mut apps: Vec<AppReport> = kept(report.value("apps").as_deref());
        apps.iter_mut().for_each(bound_app);
        let mut cron_jobs: Vec<CronJobReport> = kept(report.value("cron_jobs").as_deref());
        cron_jobs.iter_mut().for_each(bound_cron_job);
        let state = report.body.get("state").and_then(Value::as_str).and_then(DeviceState::parse);
        let reason = report.body.get("reason").and_then(Value::as_str);
        let reason = reason.map(|reason| reason.chars().take(MAX_REASON_CHARACTERS).collect());
        let mut left = MAX_FACTS_BYTES;
        let facts = KEPT.into_iter().filter_map(|key| {
            let value = report.value(key).filter(|value| value.is_object())?;
            left = left.checked_sub(value.to_string().len())?;
            Some((key.to_owned(), value.into_owned()))
        });
        Self {
            state: state.unwrap_or_default(),
            reason,
            revision: number(report, "revision").map(Revision),
            apps,
            cron_jobs,
            facts: facts.collect(),
            ..self
        }
    }

    /// Is what this says older than what is known? Within one life of a worker its numbers tell;
    /// of workers that give none, their clocks do, unless they were set back; else the order in which
    /// reports come.
    pub fn is_older_than(&self, known: &Self) -> bool {
        match (&self.order, &known.order) {
            (Some((boot, number)), Some((known_boot, known_number))) if boot == known_boot => {
                number < known_number
            }
            (None, None) => {
                let back = known.report_creation_time.saturating_sub(self.report_creation_time);
                (1..=LONGEST_STEP_BACK).contains(&back)
            }
            _ => false,
        }
    }

    /// How it stands at a time, in seconds since 1970.
    pub fn standing(&self, now: i64) -> Standing {
        if self.away_at <= now { Standing::Away } else { Standing::Says(self.state) }
    }

    /// As a store keeps it.
    pub fn to_kept(&self) -> Map<String, Value> {
        let mut kept = self.entries();
        kept.insert("state".to_owned(), json!(self.state));
        kept.insert("away_at".to_owned(), json!(self.away_at));
        if let Some((boot, sequence)) = &self.order {
            kept.insert("boot_id".to_owned(), json!(boot));
            kept.insert("sequence".to_owned(), json!(sequence));
        }
        kept
    }

    /// Reads what a store kept.
    pub fn from_kept(kept: Map<String, Value>) -> Result<Self, Invalid> {
        let facts =
            KEPT.into_iter().filter_map(|key| Some((key.to_owned(), kept.get(key)?.clone())));
        let facts = facts.collect();
        let mut fields = Fields::new(kept);
        let whole = |value: Value| value.as_i64().ok_or_else(|| "must be a number".to_owned());
        let hostname = fields.required("hostname", string);
        let device_group = fields.required("device_group", string);
        let last_seen = fields.required("last_seen", whole);
        let away_at = fields.required("away_at", whole);
        let created = fields.take("report_creation_time", whole).unwrap_or_default();
        let state = fields.take("state", string).and_then(|word| DeviceState::parse(&word));
        let reason = fields.take("reason", string);
        let revision = fields.take("revision", |value| unsigned(&value).map(Revision));
        let boot = fields.take("boot_id", string);
        let sequence = fields.take("sequence", |value| unsigned(&value));
        let apps = fields.take("apps", |value| Ok(self::kept(Some(&value)))).unwrap_or_default();
        let cron_jobs =
            fields.take("cron_jobs", |value| Ok(self::kept(Some(&value)))).unwrap_or_default();
        fields.finish(Unknown::Ignore, &[])?;
        Ok(Self {
            hostname: hostname?,
            device_group: device_group?,
            state: state.unwrap_or_default(),
            reason,
            last_seen: last_seen?,
            away_at: away_at?,
            report_creation_time: created,
            revision,
            order: boot.zip(sequence),
            apps,
            cron_jobs,
            facts,
        })
    }

    /// As the API shows it at a time: its standing then, and beside it what it said itself.
    pub fn shown(&self, now: i64) -> Map<String, Value> {
        let mut shown = self.entries();
        shown.insert("state".to_owned(), json!(self.standing(now)));
        shown.insert("reported_state".to_owned(), json!(self.state));
        shown
    }

    fn entries(&self) -> Map<String, Value> {
        let mut entries = Map::new();
        let mut put = |key: &str, value: Value| entries.insert(key.to_owned(), value);
        put("hostname", json!(self.hostname));
        put("device_group", json!(self.device_group));
        put("state", Value::Null);
        put("reason", json!(self.reason));
        put("last_seen", json!(self.last_seen));
        put("report_creation_time", json!(self.report_creation_time));
        put("revision", json!(self.revision));
        put("apps", json!(self.apps));
        put("cron_jobs", json!(self.cron_jobs));
        entries.extend(self.facts.clone());
        if self.reason.is_none() {
            entries.shift_remove("reason");
        }
        if self.revision.is_none() {
            entries.shift_remove("revision");
        }
        entries
    }
}

/// A number that a database counts to; no device counts further.
fn number(report: &Report, key: &str) -> Option<u64> {
    let number = report.body.get(key).and_then(Value::as_u64);
    number.filter(|number| i64::try_from(*number).is_ok())
}

/// What can be read of a list.
fn kept<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Vec<T> {
    let items = value.and_then(Value::as_array).into_iter().flatten().take(MAX_KEPT);
    items.filter_map(|item| T::deserialize(item).ok()).collect()
}

/// An app without what only fills a store.
fn bound_app(app: &mut AppReport) {
    clip(&mut app.app_name, MAX_TEXT_CHARACTERS);
    clip(&mut app.image, MAX_TEXT_CHARACTERS);
    clip_some(&mut app.image_digest, MAX_TEXT_CHARACTERS);
    clip_some(&mut app.reason, MAX_REASON_CHARACTERS);
    app.running_ids.truncate(MAX_RUNNING);
}

fn bound_cron_job(job: &mut CronJobReport) {
    clip(&mut job.cron_job_name, MAX_TEXT_CHARACTERS);
    clip(&mut job.image, MAX_TEXT_CHARACTERS);
    clip_some(&mut job.image_digest, MAX_TEXT_CHARACTERS);
    clip_some(&mut job.reason, MAX_REASON_CHARACTERS);
    // The newest is the last.
    job.last_runs.drain(..job.last_runs.len().saturating_sub(MAX_RUNS));
    for run in &mut job.last_runs {
        clip(&mut run.outcome, MAX_TEXT_CHARACTERS);
    }
}

fn clip(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}

fn clip_some(text: &mut Option<String>, most: usize) {
    if let Some(text) = text {
        clip(text, most);
    }
}

/// A device in the result of a change: one line for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// Its name.
    pub hostname: String,
    /// Its group.
    pub device_group: String,
    /// How it stands.
    pub state: Standing,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was last heard of, in seconds since 1970.
    pub last_seen: i64,
}
