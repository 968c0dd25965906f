//! The observed state: what the engine has now, of what is ours.

use super::containers_per::Machine;
use super::disk::Disk;
use super::port::HostPort;
use super::version::AppVersion;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Everything a plan looks at. It is whole: an engine that could not tell all of it gave an error
/// instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The containers of apps that carry our label, in any state.
    pub containers: Vec<ObservedContainer>,
    /// The containers of cron jobs that carry our label, in any state.
    pub runs: Vec<ObservedRun>,
    /// The names of all networks.
    pub networks: BTreeSet<String>,
    /// All images on the device, but for those that only other images are made of.
    pub images: Vec<ObservedImage>,
    /// The ids of images that any container on the device was made from, ours or not.
    pub used_images: BTreeSet<String>,
    /// The disk they lie on; none when it cannot be seen from where the worker runs.
    pub disk: Option<Disk>,
    /// The device's size.
    pub machine: Machine,
    /// The container in which the worker itself runs; none when it runs outside of any. It is in no
    /// other list, whatever its labels say, so that no plan can touch it.
    pub worker: Option<WorkerContainer>,
}

impl Observed {
    /// The image of this name, as [`super::ImageReference::familiar`] gives it.
    pub fn image(&self, familiar: &str) -> Option<&ObservedImage> {
        self.images.iter().find(|image| image.names.contains(familiar))
    }
}

/// The worker's own container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerContainer {
    /// The engine's id for it.
    pub id: String,
    /// Its name, without Docker's leading slash.
    pub name: String,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedImage {
    /// The engine's id for it, which its content makes.
    pub id: String,
    /// Its names, as [`super::ImageReference::familiar`] gives them; none when its last name went
    /// to a newer image.
    pub names: BTreeSet<String>,
    /// Its size in bytes, with what it shares with other images.
    pub size_bytes: u64,
}

/// One container of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedContainer {
    /// The engine's id for it.
    pub id: String,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// The app it belongs to.
    pub app: String,
    /// Which replica, from 1; none when neither label nor name tells.
    pub replica: Option<u32>,
    /// The version it was made from; none when the original made it.
    pub version: Option<AppVersion>,
    /// The engine's id for the image it was made from.
    pub image_id: String,
    /// What it does.
    pub state: ContainerState,
    /// What its health check says.
    pub health: Health,
    /// The networks it is joined to.
    pub networks: BTreeSet<String>,
    /// The device's ports it has bound; empty while it does not run.
    pub host_ports: BTreeSet<HostPort>,
    /// What its process said at its end, while it does not run.
    pub exit_code: Option<i64>,
    /// For how long its process has run, in seconds, during its first minute.
    pub up_seconds: Option<u64>,
    /// How long its health check can take to decide, in ms, while it has not.
    pub verdict_ms: Option<u64>,
    /// How often Docker's restart policy has started it since it was last started by a call. It
    /// is told of a container that ended and is being started again, and 0 of all others.
    pub restarts: u32,
}

/// One run of a cron job: a container that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRun {
    /// The engine's id for it.
    pub id: String,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// The cron job it belongs to.
    pub cron_job: String,
    /// When it was due, in seconds since 1970; none when neither label nor name tells.
    pub due: Option<u64>,
    /// What it does.
    pub state: ContainerState,
    /// What came of it, when it ended.
    pub result: Option<RunResult>,
    /// The networks it is joined to.
    pub networks: BTreeSet<String>,
}

/// What came of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResult {
    /// What its process said at its end; 0 is well.
    pub exit_code: i64,
    /// How long it ran, in ms.
    pub duration_ms: u64,
}

/// A container's state, in Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process lives.
    Running,
    /// Frozen.
    Paused,
    /// Its process ended and Docker's restart policy will start it again.
    Restarting,
    /// Its process ended, or it was stopped.
    Exited,
    /// Being removed.
    Removing,
    /// Removal failed half-way.
    Dead,
    /// A word that this version does not know; such a container is left alone.
    Unknown,
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    None,
    /// Not yet decided.
    Starting,
    /// Passing.
    Healthy,
    /// Failing.
    Unhealthy,
}
