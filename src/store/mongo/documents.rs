//! Between the documents of a database and the objects of the model.
//!
//! A document is the object as the API shows it, with `_id` in place of `uid`. So a database that
//! the original wrote is read as it is, and the original reads what is written here; keys that this
//! version does not know stay in the document.
//!
//! Values go over by their plain types: no key of a user's map is ever read as an operator or as
//! extended JSON.

use super::super::{Kind, Object, StoreError};
use crate::model::{Invalid, Revision, Uid};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use serde_json::{Map, Value};

/// A document's own id, which is the object's uid.
pub(super) const ID: &str = "_id";
/// The revision of its last change.
pub(super) const REVISION: &str = "revision";

/// The environment of a container.
const ENV: &str = "env_vars";

/// Where objects of a kind are kept.
pub(super) const fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::App => "nebula_apps",
        Kind::CronJob => "nebula_cron_jobs",
        Kind::DeviceGroup => "nebula_device_groups",
        Kind::User => "nebula_users",
        Kind::UserGroup => "nebula_user_groups",
        Kind::DeviceCredential => "nebula_device_credentials",
        Kind::Enrollment => "nebula_enrollments",
    }
}

/// The key that holds the name of an object of a kind.
pub(super) const fn name_key(kind: Kind) -> &'static str {
    kind.name_key()
}

/// The key by which a device group lists objects of a kind; none for what no device runs.
pub(super) const fn list_key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::App => Some("apps"),
        Kind::CronJob => Some("cron_jobs"),
        Kind::DeviceGroup
        | Kind::User
        | Kind::UserGroup
        | Kind::DeviceCredential
        | Kind::Enrollment => None,
    }
}

/// A document as it came.
pub(super) fn read(raw: &RawDocumentBuf) -> Result<Document, StoreError> {
    let malformed =
        |error| StoreError::unavailable("read a document", std::io::Error::other(error));
    Document::try_from(&**raw).map_err(malformed)
}

/// A document on its way.
pub(in crate::store) fn write(document: &Document) -> Result<RawDocumentBuf, StoreError> {
    let malformed =
        |error| StoreError::unavailable("write a document", std::io::Error::other(error));
    RawDocumentBuf::try_from(document).map_err(malformed)
}

/// The keys whose numbers rise when an object of a kind is changed, by whomever.
pub(super) const fn id_keys(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::App => &["app_id"],
        Kind::CronJob => &["cron_job_id"],
        Kind::DeviceGroup => &["device_group_id", "prune_id"],
        Kind::User | Kind::UserGroup | Kind::DeviceCredential | Kind::Enrollment => &[],
    }
}

/// How many objects there are, and the sum of their ids; or by how much a write changed both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    count: i64,
    ids: i64,
}

impl Tally {
    /// One object.
    pub(super) fn of(kind: Kind, document: &Document) -> Self {
        let ids = id_keys(kind).iter().filter_map(|key| document.get(key));
        let ids = ids.map(|id| whole_number(id).unwrap_or_default()).sum();
        Self { count: 1, ids }
    }

    /// What a note says.
    pub(super) fn of_note(note: &Document) -> Self {
        let part = |key| note.get(key).and_then(whole_number).unwrap_or_default();
        Self { count: part("count"), ids: part("ids") }
    }

    /// Ids that were raised.
    pub(super) const fn raised(ids: i64) -> Self {
        Self { count: 0, ids }
    }

    /// Says it in a note.
    pub(super) fn note(self, note: &mut Document) {
        note.insert("count", self.count);
        note.insert("ids", self.ids);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.ids += other.ids;
    }

    pub(super) fn subtract(&mut self, other: Self) {
        self.count -= other.count;
        self.ids -= other.ids;
    }
}

/// An object by its name.
pub(super) fn named(kind: Kind, name: &str) -> Document {
    doc! { name_key(kind): name }
}

/// A document that still has the revision by which it was read. One that the original wrote has
/// none.
pub(super) fn unchanged(id: ObjectId, revision: Revision) -> Document {
    let revision = if revision.0 == 0 { Bson::Null } else { signed(revision).into() };
    doc! { ID: id, REVISION: revision }
}

/// A database counts with a sign; a revision stays far below that limit.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The revision in a document, zero when it has none.
pub(super) fn revision_of(document: &Document) -> Revision {
    Revision(document.get(REVISION).map_or(0, number))
}

/// A whole number, however wide it was written.
pub(super) fn number(value: &Bson) -> u64 {
    whole_number(value).and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn whole_number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => whole(*number),
        _ => None,
    }
}

/// The object as a document, under the identity that the store gives it.
pub(super) fn to_document(
    object: &Object,
    id: ObjectId,
    revision: Revision,
) -> Result<Document, StoreError> {
    let encode = |error| StoreError::unavailable("encode an object", error);
    let body = object.to_map().map_err(encode)?;
    let mut document = doc! { ID: id };
    for (key, value) in body {
        document.insert(key, to_bson(value)?);
    }
    document.insert(REVISION, signed(revision));
    Ok(document)
}

/// Takes over what a document holds beside the object, so that it stays when the object is replaced.
/// What this version knows of the old one is in the new one, or was taken away.
pub(super) fn keep_unknown_keys(new: &mut Document, old: &Document, kind: Kind) {
    let Ok(object) = to_object(kind, old.clone()) else { return };
    let Ok(known) = object.to_map() else { return };
    for (key, value) in old {
        if !new.contains_key(key) && !known.contains_key(key) {
            new.insert(key, value.clone());
        }
    }
}

/// Reads a document.
pub(super) fn to_object(kind: Kind, document: Document) -> Result<Object, StoreError> {
    let name = document.get_str(name_key(kind)).unwrap_or_default().to_owned();
    let unreadable = |source: Invalid| StoreError::Unreadable { kind, name: name.clone(), source };
    let Ok(id) = document.get_object_id(ID) else {
        return Err(unreadable(Invalid::field(ID, "is no ObjectId")));
    };
    let identity = (Uid::from_bytes(id.bytes()), revision_of(&document));
    let mut body = Map::new();
    for (key, value) in document {
        if key == ID || key == REVISION {
            continue;
        }
        let value = if key == ENV { as_texts(value) } else { value };
        // What no object has, such as a date, is none of ours.
        if let Some(value) = to_json(value) {
            body.insert(key, value);
        }
    }
    Object::from_map(kind, body, identity).map_err(unreadable)
}

/// The original took environment values of any type, and its workers wrote them as Python does.
fn as_texts(value: Bson) -> Bson {
    let text = |value: Bson| match value {
        Bson::Int32(number) => number.to_string().into(),
        Bson::Int64(number) => number.to_string().into(),
        Bson::Double(number) => format!("{number:?}").into(),
        Bson::Boolean(true) => "True".into(),
        Bson::Boolean(false) => "False".into(),
        other => other,
    };
    match value {
        Bson::Document(all) => {
            all.into_iter().map(|(key, value)| (key, text(value))).collect::<Document>().into()
        }
        other => other,
    }
}

/// The names in a list of names.
pub(super) fn strings(document: &Document, key: &str) -> Vec<String> {
    let list = document.get_array(key).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn to_bson(value: Value) -> Result<Bson, StoreError> {
    Ok(match value {
        Value::Null => Bson::Null,
        Value::Bool(truth) => truth.into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            // As narrow as it goes, which is what the original writes.
            (Some(whole), _) => i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
            (None, Some(decimal)) if !number.is_u64() => Bson::Double(decimal),
            _ => {
                let source = Invalid::field("number", format!("`{number}` is too large to keep"));
                let error = std::io::Error::new(std::io::ErrorKind::InvalidData, source);
                return Err(StoreError::unavailable("encode an object", error));
            }
        },
        Value::Array(list) => Bson::Array(list.into_iter().map(to_bson).collect::<Result<_, _>>()?),
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, value)| Ok((key, to_bson(value)?)));
            Bson::Document(entries.collect::<Result<_, StoreError>>()?)
        }
    })
}

fn to_json(value: Bson) -> Option<Value> {
    Some(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(truth) => truth.into(),
        Bson::String(text) => text.into(),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Double(number) => whole(number).map_or_else(|| number.into(), Value::from),
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::Array(list) => Value::Array(list.into_iter().filter_map(to_json).collect()),
        Bson::Document(document) => {
            let entries = document.into_iter();
            Value::Object(entries.filter_map(|(key, value)| Some((key, to_json(value)?))).collect())
        }
        _ => return None,
    })
}

/// A database shell writes every number as a double.
#[expect(clippy::cast_possible_truncation, reason = "it is within the range of what it becomes")]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}
