//! What a plan tells the executor to do. Every name, id and port is chosen; each step may be done
//! again without harm.

use crate::model::{AppVersion, ContainerSpec, ImageReference};

/// One step. The executor is one `match` over these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create a bridge network.
    CreateNetwork {
        /// Its name.
        name: String,
    },
    /// Fetch an image, in the background: nothing else waits for it.
    Pull {
        /// The app that needs it.
        app: String,
        /// The version that needs it.
        version: AppVersion,
        /// The image.
        image: ImageReference,
    },
    /// Remove an image that nothing uses, with all its names.
    RemoveImage {
        /// The engine's id for it.
        id: String,
        /// Its names. A name that went to another image meanwhile is left to that one.
        names: Vec<String>,
    },
    /// A step on one container of an app.
    Container {
        /// The app.
        app: String,
        /// The container.
        target: Target,
        /// What to do with it.
        step: Step,
    },
}

/// A container by what the engine takes for it, and by what a person calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The engine's id; for a container that this same plan creates, its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The attempt to which a failure of the step counts.
    pub attempt: String,
}

/// A step on one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Create it, in its first network.
    Create(Box<ContainerSpec>),
    /// Join it to a further network.
    Connect {
        /// The network.
        network: String,
        /// The name, beside its own, that it answers to there.
        alias: Option<String>,
    },
    /// Stop it: its stop signal, and after the grace that it was made with a kill.
    Stop,
    /// Start it.
    Start,
    /// Thaw it.
    Unpause,
    /// Remove it. It does not run; if it does again, the world moved and the step fails.
    Remove,
    /// Give it its lasting name.
    Rename {
        /// The new name.
        to: String,
    },
}

impl Step {
    /// Steps of the same kind that follow one another for one app may be done at once.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CreateNetwork { name } => write!(f, "create network {name}"),
            Self::Pull { app, image, .. } => write!(f, "{app}: pull {image}"),
            Self::RemoveImage { id, names } if names.is_empty() => write!(f, "remove image {id}"),
            Self::RemoveImage { names, .. } => write!(f, "remove image {}", names.join(" ")),
            Self::Container { app, target, step } => write!(f, "{app}: {step} {}", target.name)
                .and_then(|()| match step {
                    Step::Create(spec) => write!(f, " from {}", spec.image)
                        .and_then(|()| spec.ports.iter().try_for_each(|p| write!(f, " {p}"))),
                    Step::Connect { network, .. } => write!(f, " to {network}"),
                    Step::Rename { to } => write!(f, " to {to}"),
                    Step::Stop | Step::Start | Step::Unpause | Step::Remove => Ok(()),
                }),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Create(_) => "create",
            Self::Connect { .. } => "connect",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Unpause => "unpause",
            Self::Remove => "remove",
            Self::Rename { .. } => "rename",
        })
    }
}
