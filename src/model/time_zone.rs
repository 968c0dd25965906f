//! A time zone by its name in the IANA database, such as `Europe/Berlin`.

use super::fields::clip;
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

/// A known time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeZone(Tz);

impl TimeZone {
    /// Looks a name up.
    pub fn parse(name: &str) -> Result<Self, String> {
        name.parse().map(Self).map_err(|_| {
            format!("`{}` is no time zone: expected a name such as `Europe/Berlin`", clip(name))
        })
    }

    /// Its rules.
    pub const fn rules(self) -> Tz {
        self.0
    }
}

impl Default for TimeZone {
    /// A fleet has no one local time, and a container's is UTC.
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl Serialize for TimeZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}
