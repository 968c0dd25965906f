//! What a report tells of each app and cron job.

use super::super::version::Uid;
use super::state::DeviceState;
use serde::{Deserialize, Serialize};

/// An app on one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppReport {
    /// Its name.
    pub app_name: String,
    /// The declared object's identity; none from a manager that gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// The declared id.
    pub app_id: u64,
    /// How far it is.
    #[serde(default)]
    pub state: DeviceState,
    /// Why it is not converged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Replicas that are up, of any version.
    #[serde(default)]
    pub replicas_up: u64,
    /// Replicas that this device is to run.
    #[serde(default)]
    pub replicas_wanted: u64,
    /// The ids of the versions whose replicas are up, each once, in order.
    #[serde(default)]
    pub running_ids: Vec<u64>,
    /// The declared image.
    #[serde(default)]
    pub image: String,
    /// The digest by which its registry knows the image that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// How often Docker and the worker have started its containers again.
    #[serde(default)]
    pub restarts: u64,
}

/// A cron job on one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CronJobReport {
    /// Its name.
    pub cron_job_name: String,
    /// The declared object's identity; none from a manager that gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
    /// The declared id.
    pub cron_job_id: u64,
    /// How far it is: whether its next run can take place.
    #[serde(default)]
    pub state: DeviceState,
    /// Why it is not converged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The declared image.
    #[serde(default)]
    pub image: String,
    /// The digest by which its registry knows the image that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Its last runs, the newest last.
    #[serde(default)]
    pub last_runs: Vec<RunReport>,
}

/// One run of a cron job, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReport {
    /// When it was due, in seconds since 1970.
    pub due: u64,
    /// What became of it, in words: `ended`, `missed`, ...
    pub outcome: String,
    /// What its process said at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// How long it ran, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}
