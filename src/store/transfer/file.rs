//! Everything that is declared, as JSON lines: a header, an object a line, and an end by which one
//! sees that nothing is missing.
//!
//! ```text
//! {"format":"nebula-export","format_version":1,"version":"0.1.0","source":"...","created":"..."}
//! {"kind":"app","object":{"app_id":1,"app_name":"web",...,"uid":"...","revision":1700000000000}}
//! {"unreadable":{"kind":"app","name":"old","reason":"`docker_image`: is required"}}
//! {"end":{"objects":1,"unreadable":1,"revision":1700000000000}}
//! ```

use super::super::{Cause, Kind, Object, Store, StoreError};
use super::{Exported, called};
use crate::model::{Invalid, Revision, json_value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io::SeekFrom;
use std::time::SystemTime;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc::{Receiver, channel};

/// Says what the file is.
const FORMAT: &str = "nebula-export";
/// A file of a higher version has what this one would misread.
const FORMAT_VERSION: u64 = 1;
/// The longest line in bytes. The API takes objects of a megabyte.
pub const MAX_LINE_BYTES: usize = 2 << 20;
/// The highest revision that is believed: what every reader of JSON still reads exactly. Revisions
/// are about milliseconds, which come to it in the year 287396.
pub const MAX_REVISION: u64 = 1 << 53;
/// Objects on their way to the file.
const WAITING: usize = 16;
/// How often an export begins anew where the store cannot show one moment and somebody writes.
const MAX_ROUNDS: usize = 20;
/// The longest reason that is kept of what cannot be read.
const MAX_REASON: usize = 1_000;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`] of whoever wrote it.
    pub format_version: u64,
    /// The Nebula that wrote it.
    pub version: String,
    /// Whence it came, in words.
    pub source: String,
    /// When, as RFC 3339 has it.
    pub created: String,
}

/// An object that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its kind.
    pub kind: String,
    /// Its name, or what else tells it from others.
    pub name: String,
    /// Which field and why.
    pub reason: String,
}

/// The last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How many objects stand above.
    pub objects: u64,
    /// How many could not be read.
    pub unreadable: u64,
    /// The store's last revision at that moment.
    pub revision: Revision,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// The first.
    Header(Header),
    /// An object.
    Object(Box<Object>),
    /// What is missing.
    Unreadable(Unreadable),
    /// The last.
    End(End),
}

/// Why a line, or an object of a request, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON.
    #[error("is not JSON: {0}")]
    Json(serde_json::Error),
    /// JSON, but none of ours.
    #[error("is no line of an export")]
    Shape,
    /// A later form.
    #[error(
        "is in version {found} of the format, and this Nebula reads up to version {FORMAT_VERSION}"
    )]
    Newer {
        /// Its version.
        found: u64,
    },
    /// A kind that this version does not know.
    #[error("`kind` must be one of app, cron_job, device_group, user and user_group, got `{0}`")]
    Kind(String),
    /// The object does not pass.
    #[error("{what}: {source}")]
    Object {
        /// Its kind and name.
        what: String,
        /// Which field and why.
        source: Invalid,
    },
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.replace('_', " ");
        write!(f, "{kind} `{}`: {}", self.name.escape_debug(), self.reason)
    }
}

impl Unreadable {
    /// One that cannot be read for a reason.
    pub(in super::super) fn new(kind: Kind, name: &str, reason: &impl ToString) -> Self {
        let reason = reason.to_string().chars().take(MAX_REASON).collect();
        Self { kind: kind.as_str().to_owned(), name: name.to_owned(), reason }
    }
}

impl Line {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, LineError> {
        let Value::Object(map) = json_value(bytes).map_err(LineError::Json)? else {
            return Err(LineError::Shape);
        };
        if map.contains_key("kind") {
            return object_of(map).map(|object| Self::Object(Box::new(object)));
        }
        if let Some(unreadable) = map.get("unreadable") {
            return as_is(unreadable).map(Self::Unreadable);
        }
        if let Some(end) = map.get("end") {
            return as_is(end).map(Self::End);
        }
        if map.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(LineError::Shape);
        }
        // Before anything else of it: a later version may say the rest otherwise.
        match map.get("format_version").and_then(Value::as_u64) {
            Some(1..=FORMAT_VERSION) => as_is(&Value::Object(map)).map(Self::Header),
            Some(found) => Err(LineError::Newer { found }),
            None => Err(LineError::Shape),
        }
    }

    /// Writes one, with its end.
    fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = match self {
            Self::Header(header) => serde_json::to_vec(header)?,
            Self::Object(object) => serde_json::to_vec(&wire(object)?)?,
            Self::Unreadable(unreadable) => {
                serde_json::to_vec(&json!({ "unreadable": unreadable }))?
            }
            Self::End(end) => serde_json::to_vec(&json!({ "end": end }))?,
        };
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn as_is<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, LineError> {
    T::deserialize(value).map_err(|_| LineError::Shape)
}

/// An object with its kind, as it stands in a file and in a request.
pub fn wire(object: &Object) -> Result<Value, serde_json::Error> {
    Ok(json!({ "kind": object.kind().as_str(), "object": object.to_wire()? }))
}

/// Reads an object with its kind.
pub fn object_of(mut map: Map<String, Value>) -> Result<Object, LineError> {
    let kind = map.remove("kind");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::parse(kind).ok_or_else(|| LineError::Kind(kind.chars().take(50).collect()))?;
    let Some(Value::Object(body)) = map.remove("object") else { return Err(LineError::Shape) };
    let name = body.get(kind.name_key()).and_then(Value::as_str).unwrap_or_default();
    let what = called(kind, &name.chars().take(128).collect::<String>());
    let refused = |source| LineError::Object { what: what.clone(), source };
    let object = Object::decode(kind, body).map_err(refused)?;
    let identity = object.identity();
    if identity.uid.is_none() {
        let reason = "is required: containers on devices carry it";
        return Err(refused(Invalid::field("uid", reason)));
    }
    if identity.revision.is_some_and(|revision| revision.0 > MAX_REVISION) {
        let reason = format!("must be at most {MAX_REVISION}");
        return Err(refused(Invalid::field("revision", reason)));
    }
    Ok(object)
}

/// Writes everything of a store into a file, from its beginning.
pub async fn export_to(
    store: &dyn Store,
    source: &str,
    file: &mut File,
) -> Result<End, StoreError> {
    for _ in 0..MAX_ROUNDS {
        let (sender, receiver) = channel(WAITING);
        let (sent, written) = tokio::join!(store.export(sender), write(source, receiver, file));
        // A file that cannot be written also ends the sending; it is what is to be told.
        let mut end = written?;
        match sent {
            Ok(revision) => {
                end.revision = revision;
                finish(end, file).await?;
                return Ok(end);
            }
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::unavailable("export itself between writes", Cause::TooSlow))
}

async fn write(
    source: &str,
    mut things: Receiver<Exported>,
    file: &mut File,
) -> Result<End, StoreError> {
    let failed = |error: std::io::Error| StoreError::unavailable("write the export", error);
    file.set_len(0).await.map_err(failed)?;
    file.seek(SeekFrom::Start(0)).await.map_err(failed)?;
    let mut file = BufWriter::new(file);
    let created = chrono::DateTime::<chrono::Utc>::from(SystemTime::now());
    let header = Header {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: source.to_owned(),
        created: created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    };
    let mut end = End { objects: 0, unreadable: 0, revision: Revision::default() };
    file.write_all(&encoded(&Line::Header(header))?).await.map_err(failed)?;
    while let Some(thing) = things.recv().await {
        let line = match thing {
            Exported::Object(object) => {
                end.objects += 1;
                Line::Object(object)
            }
            Exported::Unreadable(unreadable) => {
                end.unreadable += 1;
                Line::Unreadable(unreadable)
            }
        };
        file.write_all(&encoded(&line)?).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(end)
}

async fn finish(end: End, file: &mut File) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::unavailable("write the export", error);
    file.write_all(&encoded(&Line::End(end))?).await.map_err(failed)?;
    file.flush().await.map_err(failed)
}

fn encoded(line: &Line) -> Result<Vec<u8>, StoreError> {
    line.bytes().map_err(|error| StoreError::unavailable("write the export", error))
}
