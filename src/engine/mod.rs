//! The container engine of a device, behind one trait in model types.
//!
//! What it is: observing and the steps that a plan is made of, each of which may be repeated
//! without harm. What it is not: it decides nothing and retries nothing; whoever calls it plans
//! again.
//!
//! Invariants: [`ContainerEngine::observe`] gives the whole state or an error, never a part of
//! it; every call ends within a time that is written down beside it.

mod body;
mod disk;
mod docker;
mod fake;
mod layers;
mod own;
mod patience;
mod summary;

pub use docker::DockerEngine;
pub use fake::{FakeEngine, Fault};
pub use own::container_id;

use crate::config::Secret;
use crate::model::{ContainerSpec, ImageReference, Observed};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value};
use std::time::Duration;

/// Why a call failed. `Display` is what a report shows, so each says what the engine said.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at the engine's address.
    #[error("docker cannot be reached at `{address}`: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the connection said.
        reason: String,
    },
    /// It took longer than the call may take.
    #[error("docker did not {operation} within {limit_seconds} s")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// The limit.
        limit_seconds: u64,
    },
    /// The engine said no.
    #[error("docker refused to {operation}: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The engine's words.
        message: String,
    },
    /// The engine answered something that cannot be understood.
    #[error("docker's answer to {operation} cannot be understood: {message}")]
    Answer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A registry says that it is asked too often.
    #[error("the registry asks for patience: {message}")]
    TooManyRequests {
        /// The registry's words, as the engine passes them on.
        message: String,
        /// How long it asks to be left alone, where its words say so.
        retry_after: Option<Duration>,
    },
    /// The layers of an image do not fit on the disk.
    #[error(
        "the image needs {} MB on docker's disk, and {} MB are free",
        needed_bytes.div_ceil(1 << 20),
        free_bytes >> 20
    )]
    NoRoom {
        /// What it needs at least, with what must stay free beside it, in bytes.
        needed_bytes: u64,
        /// What was free before, in bytes.
        free_bytes: u64,
    },
}

/// What a registry asks of a pull.
#[derive(Debug, Clone)]
pub struct RegistryAuth {
    /// The registry it is for.
    pub server: String,
    /// Who pulls.
    pub login: RegistryLogin,
}

/// How a registry knows who pulls.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// By a user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// By a token that a login left behind.
    IdentityToken(Secret<String>),
}

/// A container engine. Containers are named by id or by name; both will do.
#[async_trait]
pub trait ContainerEngine: Send + Sync + 'static {
    /// All that is ours, with the networks and images of the device.
    async fn observe(&self) -> Result<Observed, EngineError>;

    /// One item whenever something about our containers changed. It ends, or gives an error, when
    /// the engine goes away.
    async fn changes(&self) -> Result<BoxStream<'static, Result<(), EngineError>>, EngineError>;

    /// The engine's version.
    async fn version(&self) -> Result<String, EngineError>;

    /// What a container takes of the device: Docker's own object for it, of this moment, so that what
    /// it compares with the moment before is empty. None when there is no such container.
    async fn stats(&self, container: &str) -> Result<Option<Map<String, Value>>, EngineError>;

    /// How often the engine has started a container again since it was last started by a call. None
    /// when there is no such container.
    async fn restarts(&self, container: &str) -> Result<Option<u64>, EngineError>;

    /// Creates a bridge network; one that is there already will do.
    async fn create_network(&self, name: &str) -> Result<(), EngineError>;

    /// Fetches an image, until it is on the device, and gives its id.
    async fn pull(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Result<String, EngineError>;

    /// Removes an image with these names of it, unless a container uses it; one that is gone will
    /// do, and a name that went to another image is left to that one.
    async fn remove_image(&self, id: &str, names: &[String]) -> Result<(), EngineError>;

    /// Creates a container.
    async fn create(&self, spec: &ContainerSpec) -> Result<(), EngineError>;

    /// Joins a container to a network, where it answers to the alias as well; one that it has
    /// joined already will do.
    async fn connect(
        &self,
        container: &str,
        network: &str,
        alias: Option<&str>,
    ) -> Result<(), EngineError>;

    /// Starts a container; one that runs will do.
    async fn start(&self, container: &str) -> Result<(), EngineError>;

    /// Stops a container: its stop signal, and after the grace that it was made with a kill; one
    /// that is stopped will do.
    async fn stop(&self, container: &str) -> Result<(), EngineError>;

    /// Thaws a container.
    async fn unpause(&self, container: &str) -> Result<(), EngineError>;

    /// Removes a container that does not run, with its anonymous volumes; one that is gone will do.
    async fn remove(&self, container: &str) -> Result<(), EngineError>;

    /// Renames a container.
    async fn rename(&self, container: &str, to: &str) -> Result<(), EngineError>;
}
