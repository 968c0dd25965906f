//! Why something that differs from the desired state is left as it is in this pass.

use crate::model::HostPort;

/// A drift that no action answers now, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The app, or the cron job.
    pub app: String,
    /// Which replica; none when the whole app is held.
    pub replica: Option<u32>,
    /// Why.
    pub reason: Reason,
}

/// The reasons, each of which ends by itself or by a change of the declaration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The image is on its way.
    #[error("pulling `{image}`")]
    Pulling {
        /// The image.
        image: String,
    },
    /// The image could not be had; the next try is set.
    #[error("pull of `{image}` failed {attempts} times, again in {wait_ms} ms: {error}")]
    PullFailed {
        /// The image.
        image: String,
        /// How often it was tried.
        attempts: u32,
        /// Until the next try.
        wait_ms: u64,
        /// What the last try said.
        error: String,
    },
    /// The devices of a fleet do not pull in one moment; this one's turn comes.
    #[error("pull of `{image}` begins in {wait_ms} ms, so that devices take turns")]
    TakingTurns {
        /// The image.
        image: String,
        /// Until its turn.
        wait_ms: u64,
    },
    /// The registry says that it is asked too often.
    #[error("`{registry}` is asked again in {wait_ms} ms: {error}")]
    RegistryBusy {
        /// The registry.
        registry: String,
        /// Until it is asked again.
        wait_ms: u64,
        /// What it said.
        error: String,
    },
    /// The image does not fit on the disk.
    #[error("`{image}` needs {needed_mb} MB on the disk, and {free_mb} MB are free")]
    NoRoom {
        /// The image.
        image: String,
        /// What it needs, and what must stay free beside it.
        needed_mb: u64,
        /// What is free.
        free_mb: u64,
    },
    /// A container failed or died; the next try is set.
    #[error("failed after {attempts} attempts, again in {wait_ms} ms: {error}")]
    BackingOff {
        /// How often it was tried.
        attempts: u32,
        /// Until the next try.
        wait_ms: u64,
        /// What is known of why.
        error: String,
    },
    /// A network that the app names is not on this device.
    #[error("network `{network}` does not exist on this device")]
    NetworkMissing {
        /// The network.
        network: String,
    },
    /// A port it needs is bound by another container of ours.
    #[error("port {port} is held by `{holder}`")]
    PortHeld {
        /// The port.
        port: HostPort,
        /// The container's name.
        holder: String,
    },
    /// Its replicas would need ports that do not exist or that it uses itself.
    #[error("{replicas} replicas on this device do not fit its ports: {why}")]
    PortsDoNotFit {
        /// How many replicas this device would run.
        replicas: u64,
        /// Which port and why.
        why: String,
    },
    /// The rule gives more replicas than one device may run.
    #[error("{replicas} replicas are more than the {limit} that one device may run")]
    TooManyReplicas {
        /// What the rule gives here.
        replicas: u64,
        /// The limit.
        limit: u32,
    },
    /// Its new container runs, but has not yet shown that it stays up.
    #[error("waiting until the new container stays up")]
    Settling,
    /// A rolling app updates one replica at a time.
    #[error("waiting for replica {replica}")]
    WaitingForReplica {
        /// The one that goes first.
        replica: u32,
    },
    /// It waits between one replica and the next, as its declaration says.
    #[error("waiting {wait_ms} ms between replicas")]
    Delayed {
        /// Until the next one.
        wait_ms: u64,
    },
    /// What changes together changes at once, when all images are there.
    #[error("waiting for the image of `{owner}`, which changes too")]
    WaitingForImage {
        /// The app or cron job.
        owner: String,
    },
    /// The declared version failed here, and the last healthy one runs until it changes.
    #[error("version {failed} failed and version {to} runs until the declaration changes: {error}")]
    WentBack {
        /// The id of the declared version.
        failed: u64,
        /// The id of the one that runs.
        to: u64,
        /// What failed.
        error: String,
    },
    /// The declared version failed here, and no more replicas are brought to it.
    #[error(
        "version {failed} failed and its update is paused until the declaration changes: {error}"
    )]
    UpdatePaused {
        /// The id of the declared version.
        failed: u64,
        /// What failed.
        error: String,
    },
    /// Its process came to an end, and its restart policy does not start it again.
    #[error("it ended with code {exit_code} and its `restart` does not start it again")]
    Ended {
        /// What its process said.
        exit_code: i64,
    },
    /// Docker is starting it again by its restart policy.
    #[error("it ended and Docker is starting it again")]
    Restarting,
    /// Docker is removing a container whose name or port is needed.
    #[error("waiting until Docker has removed `{name}`")]
    BeingRemoved {
        /// The container.
        name: String,
    },
    /// Another container of ours has the name that is to be its own.
    #[error("the name `{name}` is held by another container")]
    NameHeld {
        /// The name.
        name: String,
    },
    /// The worker runs in a container that has the name.
    #[error(
        "the name `{name}` is that of the container in which this worker runs, which it leaves alone; give that one another name"
    )]
    HeldByWorker {
        /// The name.
        name: String,
    },
    /// Docker says a word that this version does not know.
    #[error("container `{name}` is in an unknown state")]
    UnknownState {
        /// The container.
        name: String,
    },
    /// The declaration cannot be read by this version.
    #[error("cannot be run by this version of nebula: {why}")]
    Unreadable {
        /// Which field and why.
        why: String,
    },
    /// Steps of an earlier pass are under way.
    #[error("busy with earlier steps")]
    Busy,
    /// Nothing is due by a clock that nobody has set.
    #[error("the device's clock has not been set")]
    ClockNotSet,
}

impl Reason {
    /// The reason without its waits and numbers of tries, which differ from pass to pass.
    pub fn without_waits(&self) -> String {
        match self {
            Self::PullFailed { image, error, .. } => format!("pull of `{image}` failed: {error}"),
            Self::BackingOff { error, .. } => format!("failed: {error}"),
            Self::Delayed { .. } => "waiting between replicas".to_owned(),
            Self::TakingTurns { image, .. } => {
                format!("pull of `{image}` waits for this device's turn")
            }
            Self::RegistryBusy { registry, error, .. } => {
                format!("`{registry}` asks for patience: {error}")
            }
            Self::NoRoom { image, needed_mb, .. } => {
                format!("`{image}` needs {needed_mb} MB on the disk, which are not free")
            }
            other => other.to_string(),
        }
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.replica {
            Some(replica) => write!(f, "{} replica {replica}: {}", self.app, self.reason),
            None => write!(f, "{}: {}", self.app, self.reason),
        }
    }
}
