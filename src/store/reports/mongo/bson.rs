//! Reports and devices as documents, straight between JSON and the bytes of BSON.
//!
//! Values go over by their plain types: no key of what a device says is ever read as an operator or
//! as extended JSON.

use super::super::MAX_REPORT_BYTES;
use crate::model::Report;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{
    DateTime, RawArray, RawBsonRef, RawDocument, RawDocumentBuf, serialize_to_raw_document_buf,
};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::cell::Cell;

/// How deep a server lets documents be nested.
const MAX_DEPTH: usize = 100;

/// Why no document can hold it, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unkept(String);

/// A report: its keys, plain values first, with its identity before them and its time behind, as the
/// original's reporter writes it.
pub(super) fn report(
    id: ObjectId,
    report: &Report,
    now: DateTime,
) -> Result<RawDocumentBuf, Unkept> {
    let document = written(&Stored { id, report, now })?;
    if document.as_bytes().len() > MAX_REPORT_BYTES {
        let reason = "which MongoDB does not keep";
        return Err(Unkept(format!("it is larger than {MAX_REPORT_BYTES} bytes, {reason}")));
    }
    Ok(document)
}

/// An object.
pub(super) fn object(map: &Map<String, Value>) -> Result<RawDocumentBuf, Unkept> {
    written(&Written::new(map, 0))
}

fn written(value: &impl Serialize) -> Result<RawDocumentBuf, Unkept> {
    serialize_to_raw_document_buf(value)
        .map_err(|error| Unkept(error.message.unwrap_or_else(|| error.kind.to_string())))
}

/// A report as it is kept.
struct Stored<'a> {
    id: ObjectId,
    report: &'a Report,
    now: DateTime,
}

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report { body, unread, .. } = self.report;
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("_id", &self.id)?;
        for (name, value) in body {
            entry(&mut document, name, value)?;
        }
        for (name, text) in unread {
            entry(&mut document, name, &mut serde_json::Deserializer::from_str(text))?;
        }
        document.serialize_entry("report_insert_date", &self.now)?;
        document.end()
    }
}

/// Writes what a report says under a key. An error names it.
fn entry<'de, M: SerializeMap>(
    document: &mut M,
    name: &str,
    source: impl Deserializer<'de>,
) -> Result<(), M::Error> {
    let value = Written::new(source, 1);
    let entry = key(name).and_then(|key| document.serialize_entry(key, &value));
    entry.map_err(|error: M::Error| {
        let name = name.escape_debug();
        ser::Error::custom(format_args!("`{name}` cannot be kept: {error}"))
    })
}

fn key<E: ser::Error>(text: &str) -> Result<&str, E> {
    if text.contains('\0') {
        Err(E::custom("it has a key with NUL in it, which MongoDB does not keep"))
    } else {
        Ok(text)
    }
}

/// A value that is written while it is read, once: no tree of it is ever made.
struct Written<D> {
    source: Cell<Option<D>>,
    /// Of the objects and lists that it is in.
    depth: usize,
}

impl<'de, D: Deserializer<'de>> Written<D> {
    const fn new(source: D, depth: usize) -> Self {
        Self { source: Cell::new(Some(source)), depth }
    }
}

impl<'de, D: Deserializer<'de>> Serialize for Written<D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(source) = self.source.take() else {
            return Err(ser::Error::custom("it was written before"));
        };
        let target = Target { serializer, depth: self.depth };
        source.deserialize_any(target).map_err(ser::Error::custom)
    }
}

/// Where a value goes. No key has a meaning of its own.
struct Target<S> {
    serializer: S,
    depth: usize,
}

impl<'de, S: Serializer> Visitor<'de> for Target<S> {
    type Value = S::Ok;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<S::Ok, E> {
        self.serializer.serialize_unit().map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<S::Ok, E> {
        self.serializer.serialize_bool(value).map_err(E::custom)
    }

    /// As narrow as it goes, which is what the original writes.
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<S::Ok, E> {
        match i32::try_from(value) {
            Ok(value) => self.serializer.serialize_i32(value),
            Err(_) => self.serializer.serialize_i64(value),
        }
        .map_err(E::custom)
    }

    /// Beyond what a document counts to, Docker's word for "no limit" among it, a number loses its
    /// last digits rather than its report.
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<S::Ok, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            #[expect(clippy::cast_precision_loss, reason = "the last digits are lost, as said")]
            Err(_) => self.serializer.serialize_f64(value as f64).map_err(E::custom),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<S::Ok, E> {
        self.serializer.serialize_f64(value).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<S::Ok, E> {
        self.serializer.serialize_str(value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<S::Ok, A::Error> {
        let depth = deeper(self.depth)?;
        let mut list = self.serializer.serialize_seq(None).map_err(A::Error::custom)?;
        while items.next_element_seed(Item { list: &mut list, depth })?.is_some() {}
        list.end().map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<S::Ok, A::Error> {
        let depth = deeper(self.depth)?;
        let mut map = self.serializer.serialize_map(None).map_err(A::Error::custom)?;
        while let Some(Key(name)) = entries.next_key()? {
            let name = key::<S::Error>(&name).and_then(|name| map.serialize_key(name));
            name.map_err(A::Error::custom)?;
            entries.next_value_seed(Entry { map: &mut map, depth })?;
        }
        map.end().map_err(A::Error::custom)
    }
}

fn deeper<E: de::Error>(depth: usize) -> Result<usize, E> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        let reason = "which MongoDB does not keep";
        Err(E::custom(format_args!("it is nested deeper than {MAX_DEPTH} levels, {reason}")))
    }
}

/// What comes next in a list.
struct Item<'a, L> {
    list: &'a mut L,
    depth: usize,
}

impl<'de, L: SerializeSeq> DeserializeSeed<'de> for Item<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        self.list.serialize_element(&Written::new(source, self.depth)).map_err(de::Error::custom)
    }
}

/// The value of the key that was written last.
struct Entry<'a, M> {
    map: &'a mut M,
    depth: usize,
}

impl<'de, M: SerializeMap> DeserializeSeed<'de> for Entry<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        self.map.serialize_value(&Written::new(source, self.depth)).map_err(de::Error::custom)
    }
}

/// A key, which is a part of the text as a rule.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// What a document holds. None when its bytes are no document.
pub(super) fn to_map(document: &RawDocument) -> Option<Map<String, Value>> {
    let mut map = Map::new();
    for entry in document {
        let (key, value) = entry.ok()?;
        map.insert(key.as_str().to_owned(), to_value(value)?);
    }
    Some(map)
}

fn to_list(array: &RawArray) -> Option<Vec<Value>> {
    array.into_iter().map(|value| to_value(value.ok()?)).collect()
}

fn to_value(value: RawBsonRef<'_>) -> Option<Value> {
    Some(match value {
        RawBsonRef::Boolean(truth) => truth.into(),
        RawBsonRef::String(text) => text.into(),
        RawBsonRef::Int32(number) => number.into(),
        RawBsonRef::Int64(number) => number.into(),
        RawBsonRef::Double(number) => number.into(),
        RawBsonRef::Array(array) => Value::Array(to_list(array)?),
        RawBsonRef::Document(document) => Value::Object(to_map(document)?),
        // The two that every report has from a store, in the form of the original's replies.
        RawBsonRef::ObjectId(id) => json!({ "$oid": id.to_hex() }),
        RawBsonRef::DateTime(time) => json!({ "$date": time.timestamp_millis() }),
        // JSON has no others, and so has no report.
        _ => Value::Null,
    })
}
