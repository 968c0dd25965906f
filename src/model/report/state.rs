//! In what state a device, an app or a cron job is, in words that reports, replies and the command
//! line share.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a device says of an app, a cron job, or all of them together.
///
/// In the order of what a person must know first: the state of a device is the last in this order
/// of all that it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DeviceState {
    /// The device does not say: its worker is the original, or a newer one than this version.
    #[default]
    Unknown,
    /// What is declared is what runs.
    Converged,
    /// On the way, by itself.
    Updating,
    /// Left as it is for a reason that somebody else must end.
    Held,
    /// The declared version failed, and the last healthy one runs.
    RolledBack,
    /// It does not run as declared, and trying has not helped.
    Failed,
}

impl DeviceState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Converged,
        Self::Updating,
        Self::Held,
        Self::RolledBack,
        Self::Failed,
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Converged => "converged",
            Self::Updating => "updating",
            Self::Held => "held",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl std::fmt::Display for DeviceState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for DeviceState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A word that this version does not know is one that says nothing.
impl<'de> Deserialize<'de> for DeviceState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::parse(&word).unwrap_or_default())
    }
}

/// How a device stands in the eyes of the manager: what it says, unless that is too old or speaks
/// of something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// What it says.
    Says(DeviceState),
    /// It speaks of an older declaration than the one that was asked about.
    Outdated,
    /// It has not been heard of for longer than its reports are apart.
    Away,
}

impl Standing {
    /// All of them, in the order in which people read counts.
    pub const ALL: [Self; 8] = [
        Self::Says(DeviceState::Converged),
        Self::Says(DeviceState::Updating),
        Self::Outdated,
        Self::Says(DeviceState::Held),
        Self::Says(DeviceState::RolledBack),
        Self::Says(DeviceState::Failed),
        Self::Away,
        Self::Says(DeviceState::Unknown),
    ];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Says(state) => state.as_str(),
            Self::Outdated => "outdated",
            Self::Away => "away",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == word)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
