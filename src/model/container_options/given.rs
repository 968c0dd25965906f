//! A value with the form it was given in, so that a reply shows what was sent.

use super::super::fields::Unknown;
use super::OptionValue;
use serde_json::Value;
use std::ops::Deref;

/// A checked value. It is kept behind a pointer, because most objects set few of many keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T>(Box<Both<T>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Both<T> {
    wire: Value,
    value: T,
}

impl<T: OptionValue> Given<T> {
    pub(super) fn decode(wire: Value, unknown: Unknown) -> Result<Self, String> {
        let value = T::decode(wire.clone(), unknown)?;
        Ok(Self(Box::new(Both { wire, value })))
    }

    /// What it means, in one form for all ways to write it.
    pub(super) fn meaning(&self) -> Value {
        // Strings, numbers, lists and maps of strings always can be JSON; should that ever fail,
        // the form given is as good, for it says the same.
        serde_json::to_value(&self.0.value).unwrap_or_else(|_| self.0.wire.clone())
    }
}

impl<T> Given<T> {
    /// The value as it was given.
    pub(super) const fn wire(&self) -> &Value {
        &self.0.wire
    }
}

impl<T> Deref for Given<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0.value
    }
}
