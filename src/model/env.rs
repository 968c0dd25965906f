//! Environment variables of an app.

use super::fields::{clip, object, string};
use serde::ser::{Serialize, SerializeMap, SerializeSeq};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most variables one app may declare; a kernel's limit on a process's environment is near.
const MAX_VARIABLES: usize = 1_000;
/// The longest `NAME=value` that Linux hands to a process, its end included (`MAX_ARG_STRLEN`).
const MAX_VARIABLE_BYTES: usize = 128 * 1024;

/// Names and values, both strings. Values may be secrets: `Debug` shows names alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct EnvVars {
    variables: BTreeMap<String, String>,
    /// The original's clients assert `[]` after an update that gave none, and send it too.
    empty_as_list: bool,
}

impl EnvVars {
    /// None, printed as `[]`, as an update that does not give any leaves behind.
    pub fn empty_list() -> Self {
        Self { variables: BTreeMap::new(), empty_as_list: true }
    }

    /// Names with values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads `{"NAME": "value"}`, or `[]` for none.
    pub fn decode(value: Value) -> Result<Self, String> {
        if value.as_array().is_some_and(Vec::is_empty) {
            return Ok(Self::empty_list());
        }
        let map = object(value)?;
        if map.len() > MAX_VARIABLES {
            return Err(format!("must have at most {MAX_VARIABLES} names, this has {}", map.len()));
        }
        let mut variables = BTreeMap::new();
        for (name, value) in map {
            let shown = clip(&name);
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("`{shown}` is no name: it must not be empty or hold `=`"));
            }
            let value = string(value).map_err(|reason| format!("`{shown}` {reason}"))?;
            if value.contains('\0') {
                return Err(format!("`{shown}` must not hold a NUL character"));
            }
            if name.len() + value.len() + 2 > MAX_VARIABLE_BYTES {
                return Err(format!("`{shown}` is longer than the 128 KiB that Linux takes"));
            }
            variables.insert(name, value);
        }
        Ok(Self { variables, empty_as_list: false })
    }
}

impl std::fmt::Debug for EnvVars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.variables.keys().map(|name| (name, "***"))).finish()
    }
}

impl Serialize for EnvVars {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.empty_as_list && self.variables.is_empty() {
            return serializer.serialize_seq(Some(0))?.end();
        }
        let mut map = serializer.serialize_map(Some(self.variables.len()))?;
        for (name, value) in &self.variables {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
