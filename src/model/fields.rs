//! Reading the fields of a JSON object one by one, so that a refusal names each field and why.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What to do with a key that the reader does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// At the edge: a key that would do nothing is a mistake worth telling.
    Refuse,
    /// From a newer manager or an existing database: what we do not know, we leave alone.
    Ignore,
}

/// Why a body was refused: each field with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
pub struct Invalid {
    /// Field name to reason.
    pub fields: BTreeMap<String, String>,
    /// The original answers 403 instead of 400 when ports have the wrong form; clients rely on it.
    pub ports_form: bool,
    /// It says so in a flag of its own when a cron job's schedule is wrong; they rely on that too.
    pub schedule: bool,
}

impl Invalid {
    /// One field, one reason.
    pub fn field(name: &str, reason: impl Into<String>) -> Self {
        let fields = BTreeMap::from([(name.to_owned(), reason.into())]);
        Self { fields, ..Self::default() }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (field, reason)) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}`{field}`: {reason}")?;
        }
        Ok(())
    }
}

/// A JSON object whose fields are taken out one at a time; what is left at the end was unknown.
#[derive(Debug)]
pub struct Fields {
    left: Map<String, Value>,
    invalid: Invalid,
}

impl Fields {
    /// Starts reading an object.
    pub fn new(object: Map<String, Value>) -> Self {
        Self { left: object, invalid: Invalid::default() }
    }

    /// Starts reading an object that is the value of a field.
    pub(super) fn inner(value: Value) -> Result<Self, String> {
        /// More than any object within an object has.
        const MAX_KEYS: usize = 100;
        let map = object(value)?;
        if map.len() > MAX_KEYS {
            return Err(format!("must have at most {MAX_KEYS} keys, this has {}", map.len()));
        }
        Ok(Self::new(map))
    }

    /// Takes a field, if it is there. A value that does not fit is remembered under its name.
    pub fn take<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.left.shift_remove(name)?;
        decode(value).map_err(|reason| self.refuse(name, reason)).ok()
    }

    /// Takes a field that must be there. The error is for a caller that read on past it: by then
    /// [`Fields::finish`] or [`Fields::rest`] has told every reason at once.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(Value) -> Result<T, String>,
    ) -> Result<T, Invalid> {
        if !self.left.contains_key(name) {
            self.refuse(name, "is missing");
        }
        self.take(name, decode).ok_or_else(|| Invalid::field(name, "is missing"))
    }

    /// Takes fields and drops them, whatever they hold: read-only keys that a client sends back.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.left.shift_remove(*name);
        }
    }

    /// Takes a read-only name that a client sends back. It may be there, but must not contradict
    /// the name in the path.
    pub fn same_name(&mut self, field: &str, expected: Option<&str>) {
        if let (Some(value), Some(expected)) = (self.left.shift_remove(field), expected)
            && value != *expected
        {
            self.refuse(field, format!("contradicts the name in the path, `{expected}`"));
        }
    }

    /// Remembers a refusal.
    pub fn refuse(&mut self, field: &str, reason: impl Into<String>) {
        self.invalid.fields.insert(field.to_owned(), reason.into());
    }

    /// Remembers that the ports have the wrong form altogether.
    pub fn refuse_ports_form(&mut self, reason: &str) {
        self.invalid.ports_form = true;
        self.refuse("starting_ports", reason);
    }

    /// Ends the reading for another reader: what is left, if nothing was refused so far.
    pub(super) fn rest(self) -> Result<Map<String, Value>, Invalid> {
        if self.invalid.fields.is_empty() { Ok(self.left) } else { Err(self.invalid) }
    }

    /// Ends the reading of an object that is the value of a field. The reason is the first one: a
    /// field has one, of a length that can be read.
    pub(super) fn finish_inner(self, unknown: Unknown, known: &[&str]) -> Result<(), String> {
        self.finish(unknown, known).map_err(|invalid| {
            let first = invalid.fields.into_iter().next();
            first.map_or_else(String::new, |(field, reason)| format!("`{field}`: {reason}"))
        })
    }

    /// Ends the reading: what is left is unknown.
    pub fn finish(mut self, unknown: Unknown, known: &[&str]) -> Result<(), Invalid> {
        if unknown == Unknown::Refuse {
            for (key, _) in std::mem::take(&mut self.left) {
                let reason = format!("unknown key, expected one of {}", known.join(", "));
                self.invalid.fields.insert(clip(&key), reason);
            }
        }
        if self.invalid.fields.is_empty() { Ok(()) } else { Err(self.invalid) }
    }
}

/// Shortens a client's text for an error: nobody needs a megabyte of it back.
pub(super) fn clip(text: &str) -> String {
    const LONGEST: usize = 100;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST).collect();
    short.push('…');
    short
}

/// The JSON type of a value, for "expected a string, got a number".
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A key that may be set or not, as a body gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Optional<T> {
    /// It says nothing of it.
    #[default]
    NotGiven,
    /// `null`: it is not to be set any more.
    Unset,
    /// It is to be this.
    Set(T),
}

impl<T> Optional<T> {
    /// Takes one out of a body.
    pub(super) fn take(
        fields: &mut Fields,
        name: &str,
        decode: impl FnOnce(Value) -> Result<T, String>,
    ) -> Self {
        let read = |value: Value| {
            if value.is_null() { Ok(Self::Unset) } else { decode(value).map(Self::Set) }
        };
        fields.take(name, read).unwrap_or_default()
    }

    /// What is set after it, with what was set before.
    pub(super) fn after(self, before: Option<T>) -> Option<T> {
        match self {
            Self::NotGiven => before,
            Self::Unset => None,
            Self::Set(value) => Some(value),
        }
    }
}

/// Reads one of some words.
pub(super) fn word<T: Copy>(value: Value, words: &[(&str, T)]) -> Result<T, String> {
    let text = string(value)?;
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("must be one of {}, got `{}`", words.join(", "), clip(&text))
    })
}

/// Reads a boolean.
pub(super) fn boolean(value: Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(flag),
        other => Err(format!("must be true or false, got {}", kind(&other))),
    }
}

/// Reads a string.
pub(super) fn string(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("must be a string, got {}", kind(&other))),
    }
}

/// Reads a whole number from 0 up.
pub(super) fn unsigned(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("must be a whole number from 0 up, got {}", kind(value)))
}

/// Reads a list, each item by its own reader; the reason names the item's position.
pub(super) fn list<T>(
    value: Value,
    limit: usize,
    mut item: impl FnMut(Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let Value::Array(values) = value else {
        return Err(format!("must be a list, got {}", kind(&value)));
    };
    if values.len() > limit {
        return Err(format!("must have at most {limit} items, this has {}", values.len()));
    }
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| item(value).map_err(|reason| format!("item {}: {reason}", index + 1)))
        .collect()
}

/// Reads an object with string values.
pub(super) fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(format!("must be an object, got {}", kind(&other))),
    }
}
