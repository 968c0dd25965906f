//! Why a store's operation failed.

use super::Kind;
use crate::model::Invalid;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An insert of a name that is taken.
    #[error("it exists already")]
    AlreadyExists,
    /// A replacement or deletion of what is not there.
    #[error("it does not exist")]
    NotFound,
    /// A replacement of a revision that is no longer the last; read again and repeat.
    #[error("it was changed in between")]
    Conflict,
    /// The store gave an object of another kind than it was asked for.
    #[error("the store gave an object of another kind")]
    WrongKind,
    /// What a device group's devices run is more than any of them reads.
    #[error("what the device group runs is larger than {limit} bytes together")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// A kept object that this version cannot read.
    #[error("the kept {kind} `{name}` cannot be read")]
    Unreadable {
        /// Its kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// Which field and why.
        source: Invalid,
    },
    /// This store does not do it; something else does.
    #[error("this manager's store does not give {what}; {instead}")]
    Elsewhere {
        /// What was asked for.
        what: &'static str,
        /// What to do in its place.
        instead: &'static str,
    },
    /// The store cannot do it now: it is full, slow, broken or closed. Nothing is known to have
    /// changed, and the same may work later.
    #[error("the store could not {operation}")]
    Unavailable {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Why it failed.
        source: Cause,
    },
}

impl StoreError {
    /// An [`StoreError::Unavailable`].
    pub fn unavailable(operation: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unavailable { operation, source: source.into() }
    }
}

/// What lies under a store that is not available.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The embedded database refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// An object could not be put into its kept form.
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
    /// The database refused, or is not in reach.
    #[error(transparent)]
    Mongo(#[from] Box<mongodb::error::Error>),
    /// A collection was dropped, and its content is waited for.
    #[error("a collection was dropped and is not whole again yet")]
    Restoring,
    /// No answer in time.
    #[error("it did not answer in time")]
    TooSlow,
    /// The thread that did it ended early.
    #[error("it stopped half-way")]
    Stopped,
}
