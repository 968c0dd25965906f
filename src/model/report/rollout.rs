//! How far the devices of a declaration are with it.

use super::super::version::{Revision, Uid};
use super::device::DeviceLine;
use super::state::{DeviceState, Standing};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;

/// Devices that are told by name: those that a person may have to look at. Of the others the counts
/// tell.
pub const MAX_LINES: usize = 100;

/// What was declared, of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declared {
    /// All that a device group's devices run.
    Group {
        /// The group.
        name: String,
        /// The highest revision of what they are told.
        revision: Revision,
    },
    /// One app, on the devices of all groups that list it.
    App {
        /// The app.
        name: String,
        /// Its identity.
        uid: Option<Uid>,
        /// Its id.
        app_id: u64,
        /// The groups that list it and that whoever asks may read.
        device_groups: Vec<String>,
    },
}

impl Declared {
    /// The groups whose devices are asked about.
    pub fn device_groups(&self) -> &[String] {
        match self {
            Self::Group { name, .. } => std::slice::from_ref(name),
            Self::App { device_groups, .. } => device_groups,
        }
    }
}

/// How far they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rollout {
    /// How many devices stand how.
    pub states: BTreeMap<Standing, u64>,
    /// Those that are neither converged nor on their way, the worst first, at most [`MAX_LINES`].
    pub devices: Vec<DeviceLine>,
}

impl Rollout {
    /// How many devices there are.
    pub fn total(&self) -> u64 {
        self.states.values().sum()
    }

    /// How many stand like this.
    pub fn count(&self, standing: Standing) -> u64 {
        self.states.get(&standing).copied().unwrap_or_default()
    }
}

impl Standing {
    /// The order in which devices are told by name; none for those that the counts tell of.
    pub const fn urgency(self) -> Option<u8> {
        match self {
            Self::Says(DeviceState::Failed) => Some(0),
            Self::Says(DeviceState::RolledBack) => Some(1),
            Self::Says(DeviceState::Held) => Some(2),
            Self::Outdated => Some(3),
            Self::Says(DeviceState::Updating) => Some(4),
            // Nobody waits for these: they must not hide those that are waited for.
            Self::Away => Some(5),
            Self::Says(DeviceState::Unknown) => Some(6),
            Self::Says(DeviceState::Converged) => None,
        }
    }
}

/// `{"devices": N, "states": {word: N, ...}, "not_converged": [...]}`, with every word there.
impl Serialize for Rollout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let states: serde_json::Map<_, _> = Standing::ALL
            .into_iter()
            .map(|standing| (standing.as_str().to_owned(), self.count(standing).into()))
            .collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("devices", &self.total())?;
        map.serialize_entry("states", &states)?;
        map.serialize_entry("not_converged", &self.devices)?;
        map.end()
    }
}
