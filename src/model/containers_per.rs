//! How many replicas of an app a device runs.

use super::fields::{clip, object};
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Number, Value};

/// The most replicas of one app on one device. Docker's default bridge has about this many
/// addresses; a typing error must not start a million containers.
pub const MAX_REPLICAS: u32 = 1_000;

/// What of a device decides how many replicas it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Processor cores.
    pub cores: u32,
    /// Total memory in MB (1024 x 1024 bytes).
    pub memory_mb: u64,
}

/// The rule, as it was given: one key, one number.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainersPer {
    key: Key,
    number: Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Server,
    Instance,
    Cpu,
    Memory,
    Mem,
}

impl Key {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Server, "server"),
        (Self::Instance, "instance"),
        (Self::Cpu, "cpu"),
        (Self::Memory, "memory"),
        (Self::Mem, "mem"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(key, _)| *key == self).map_or("server", |(_, name)| name)
    }
}

impl Default for ContainersPer {
    fn default() -> Self {
        Self { key: Key::Server, number: Number::from(1) }
    }
}

impl ContainersPer {
    /// The number of replicas on this machine; it may pass [`MAX_REPLICAS`], which the planner
    /// holds with its reason.
    pub fn replicas(&self, machine: Machine) -> u64 {
        let value = self.number.as_f64().unwrap_or(0.0);
        match self.key {
            Key::Server | Key::Instance => self.number.as_u64().unwrap_or(0),
            Key::Cpu => whole(f64::from(machine.cores) * value),
            #[expect(clippy::cast_precision_loss, reason = "no device has 2^53 MB of memory")]
            Key::Memory | Key::Mem => whole(machine.memory_mb as f64 / value),
        }
    }

    /// The number of replicas, when it is the same on every machine.
    pub fn fixed(&self) -> Option<u32> {
        match self.key {
            Key::Server | Key::Instance => u32::try_from(self.number.as_u64()?).ok(),
            Key::Cpu | Key::Memory | Key::Mem => None,
        }
    }

    pub(super) fn decode(value: Value) -> Result<Self, String> {
        let map = object(value)?;
        let names = Key::ALL.map(|(_, name)| name).join(", ");
        let mut entries = map.into_iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else {
            return Err(format!("must have exactly one key of {names}"));
        };
        let Some((key, _)) = Key::ALL.into_iter().find(|(_, known)| *known == name) else {
            return Err(format!("unknown key `{}`, expected one of {names}", clip(&name)));
        };
        let Value::Number(number) = value else {
            return Err(format!("`{name}` must be a number"));
        };
        let fits = match key {
            Key::Server | Key::Instance => {
                number.as_u64().is_some_and(|count| count <= u64::from(MAX_REPLICAS))
            }
            // At most a hundred a core, at least a hundredth of a megabyte each: beyond it is a
            // typing error, and the bounds keep the arithmetic exact.
            Key::Cpu => number.as_f64().is_some_and(|v| v > 0.0 && v <= 100.0),
            Key::Memory | Key::Mem => number.as_f64().is_some_and(|v| (0.01..=1e12).contains(&v)),
        };
        if fits {
            return Ok(Self { key, number });
        }
        Err(match key {
            Key::Server | Key::Instance => {
                format!("`{name}` must be a whole number from 0 to {MAX_REPLICAS}, got {number}")
            }
            Key::Cpu => format!("`cpu` must be more than 0 and at most 100, got {number}"),
            Key::Memory | Key::Mem => {
                format!("`{name}` must be a number of MB from 0.01 up, got {number}")
            }
        })
    }
}

/// The whole part of a non-negative number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the contract's formula truncates, and `as` saturates at the ends"
)]
fn whole(value: f64) -> u64 {
    // A product such as 0.1 x 30 falls just under the whole number that was meant.
    (value + 1e-9) as u64
}

impl Serialize for ContainersPer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.key.name(), &self.number)?;
        map.end()
    }
}

impl std::fmt::Display for ContainersPer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key.name(), self.number)
    }
}
