//! What devices report: the document on its way, the inventory that is kept from it, and how people
//! ask for either.
//!
//! Invariants: a report of the original's workers is read as it is; whatever a device says beyond
//! the contract is kept and never trusted: what cannot be read of it is as if it were not there.

mod device;
mod query;
mod rollout;
mod state;
mod told;

pub use device::{Device, DeviceLine, LONGEST_STEP_BACK};
pub use query::{Comparison, DeviceQuery, MAX_PAGE_SIZE, ReportQuery};
pub use rollout::{Declared, MAX_LINES, Rollout};
pub use state::{DeviceState, Standing};
pub use told::{AppReport, CronJobReport, RunReport};

use super::json::{json_object_outside, json_value};
use super::version::Uid;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest name of a device or of its group that is taken from a report.
const MAX_NAME_BYTES: usize = 255;
/// Keys that only a store gives.
const OF_STORE: [&str; 2] = ["_id", "report_insert_date"];

/// Why bytes are no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Cut short, or something else altogether.
    #[error("is not JSON: {0}")]
    Json(String),
    /// JSON, but no object.
    #[error("is not a JSON object")]
    Shape,
    /// A key without which a report says nothing.
    #[error("`{key}` {problem}")]
    Key {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// One report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its identity, made by its worker; none from the original's.
    pub id: Option<Uid>,
    /// The device.
    pub hostname: String,
    /// The group that it runs.
    pub device_group: String,
    /// When it was made, in seconds since 1970, by the device's clock.
    pub created: i64,
    /// Whether something changed since the one before.
    pub updated: bool,
    /// All of it, as it came, but for what is unread.
    pub body: Map<String, Value>,
    /// Further keys, each with its value as text: JSON in form, which a store may yet find that it
    /// cannot keep. They are most of its bytes, and reading them would be most of a reporter's work,
    /// which only hands them on.
    pub unread: BTreeMap<String, Box<str>>,
}

impl Report {
    /// What a key says. None when it is not there, or cannot be read.
    pub fn value(&self, key: &str) -> Option<Cow<'_, Value>> {
        let read = self.body.get(key).map(Cow::Borrowed);
        read.or_else(|| Some(Cow::Owned(json_value(self.unread.get(key)?.as_bytes()).ok()?)))
    }

    /// No more of the report than [`Device::with_details`] reads.
    #[must_use]
    pub fn details(mut self) -> Self {
        self.body.retain(|key, _| device::is_detail(key));
        self.unread.retain(|key, _| device::is_detail(key));
        self
    }

    /// Reads the bytes of a report.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReportError> {
        if let Ok((body, mut unread)) = json_object_outside(bytes) {
            unread.retain(|key, _| !OF_STORE.contains(&key.as_str()));
            return Ok(Self { unread, ..Self::read(body)? });
        }
        // What is wrong is said by whoever reads all of it.
        let value = json_value(bytes).map_err(|error| ReportError::Json(error.to_string()))?;
        match value {
            Value::Object(body) => Self::read(body),
            _ => Err(ReportError::Shape),
        }
    }

    /// Reads a report that is an object already.
    pub fn read(mut body: Map<String, Value>) -> Result<Self, ReportError> {
        for key in OF_STORE {
            body.shift_remove(key);
        }
        let hostname = name(&body, "hostname")?;
        let device_group = name(&body, "device_group")?;
        let created = seconds(&body, "report_creation_time")?;
        let updated = match body.get("updated") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(updated)) => *updated,
            Some(_) => {
                return Err(ReportError::Key { key: "updated", problem: "must be true or false" });
            }
        };
        let id = body.get("report_id").and_then(Value::as_str).and_then(Uid::parse);
        let unread = BTreeMap::new();
        Ok(Self { id, hostname, device_group, created, updated, body, unread })
    }
}

/// All of it, as JSON.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.body.len() + self.unread.len()))?;
        for (key, value) in &self.body {
            map.serialize_entry(key, value)?;
        }
        for (key, text) in &self.unread {
            let value = RawValue::from_string(text.to_string()).map_err(S::Error::custom)?;
            map.serialize_entry(key, &value)?;
        }
        map.end()
    }
}

fn name(body: &Map<String, Value>, key: &'static str) -> Result<String, ReportError> {
    let problem = match body.get(key) {
        None | Some(Value::Null) => "is missing",
        Some(Value::String(name)) if name.is_empty() => "must not be empty",
        Some(Value::String(name)) if name.len() > MAX_NAME_BYTES => "is longer than 255 bytes",
        Some(Value::String(name)) if name.contains(char::is_control) => {
            "must not contain control characters"
        }
        // A path to one of these is a path to something else.
        Some(Value::String(name)) if matches!(&**name, "." | "..") => "must not be `.` or `..`",
        Some(Value::String(name)) => return Ok(name.clone()),
        Some(_) => "must be a string",
    };
    Err(ReportError::Key { key, problem })
}

/// Python's clocks give fractions.
fn seconds(body: &Map<String, Value>, key: &'static str) -> Result<i64, ReportError> {
    /// The year 9999, which every store can keep.
    const LAST: i64 = 253_402_300_799;
    let given = match body.get(key) {
        None | Some(Value::Null) => return Err(ReportError::Key { key, problem: "is missing" }),
        Some(value) => value.as_i64().or_else(|| {
            #[expect(clippy::cast_possible_truncation, reason = "it saturates, and is checked")]
            value.as_f64().map(|seconds| seconds as i64)
        }),
    };
    let problem = "must be a number of seconds since 1970";
    given.filter(|seconds| (0..=LAST).contains(seconds)).ok_or(ReportError::Key { key, problem })
}
