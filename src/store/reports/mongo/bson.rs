//! Reports and devices as documents, straight between JSON and the bytes of BSON.
//!
//! Values go over by their plain types: no key of what a device says is ever read as an operator or
//! as extended JSON.

use super::super::MAX_REPORT_BYTES;
use crate::model::Report;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::CStr;
use mongodb::bson::{DateTime, RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};
use std::borrow::Cow;

/// How deep a server lets documents be nested.
const MAX_DEPTH: usize = 100;

/// What no document can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unkept {
    #[error("it has a key with NUL in it, which MongoDB does not keep")]
    Nul,
    #[error("it is nested deeper than {MAX_DEPTH} levels, which MongoDB does not keep")]
    Deep,
    #[error("it is larger than {MAX_REPORT_BYTES} bytes, which MongoDB does not keep")]
    Large,
    #[error("it cannot be read: {0}")]
    Unread(String),
}

/// A report: its keys as they came, with its identity before them and its time behind, as the
/// original's reporter writes it.
pub(super) fn report(
    id: ObjectId,
    report: &Report,
    now: DateTime,
) -> Result<RawDocumentBuf, Unkept> {
    let mut document = RawDocumentBuf::new();
    document.append(key("_id")?, id);
    append_all(&mut document, &report.body, 1)?;
    for (name, text) in &report.unread {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = Text { depth: 1 }.deserialize(&mut json);
        let value = value.map_err(|error| Unkept::Unread(error.to_string()))?;
        value.append(&mut document, key(name)?);
    }
    document.append(key("report_insert_date")?, now);
    if document.as_bytes().len() > MAX_REPORT_BYTES {
        return Err(Unkept::Large);
    }
    Ok(document)
}

/// An object.
pub(super) fn object(map: &Map<String, Value>) -> Result<RawDocumentBuf, Unkept> {
    let mut document = RawDocumentBuf::new();
    append_all(&mut document, map, 1)?;
    Ok(document)
}

fn key(text: &str) -> Result<&CStr, Unkept> {
    text.try_into().map_err(|_| Unkept::Nul)
}

fn append_all(
    document: &mut RawDocumentBuf,
    map: &Map<String, Value>,
    depth: usize,
) -> Result<(), Unkept> {
    for (name, value) in map {
        let name = key(name)?;
        match value {
            Value::Null => document.append(name, RawBsonRef::Null),
            Value::Bool(truth) => document.append(name, *truth),
            Value::Number(value) => document.append(name, number(value)),
            Value::String(text) => document.append(name, text.as_str()),
            Value::Array(list) => document.append(name, array(list, deeper(depth)?)?),
            Value::Object(map) => {
                let mut inner = RawDocumentBuf::new();
                append_all(&mut inner, map, deeper(depth)?)?;
                document.append(name, inner);
            }
        }
    }
    Ok(())
}

fn array(list: &[Value], depth: usize) -> Result<RawArrayBuf, Unkept> {
    let mut array = RawArrayBuf::new();
    for value in list {
        match value {
            Value::Null => array.push(RawBsonRef::Null),
            Value::Bool(truth) => array.push(*truth),
            Value::Number(value) => array.push(number(value)),
            Value::String(text) => array.push(text.as_str()),
            Value::Array(list) => array.push(self::array(list, deeper(depth)?)?),
            Value::Object(map) => {
                let mut inner = RawDocumentBuf::new();
                append_all(&mut inner, map, deeper(depth)?)?;
                array.push(inner);
            }
        }
    }
    Ok(array)
}

fn deeper(depth: usize) -> Result<usize, Unkept> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(Unkept::Deep) }
}

/// A value that was read from text, straight into the bytes of BSON.
enum Owned {
    Null,
    Bool(bool),
    Number(RawBsonRef<'static>),
    String(String),
    Array(RawArrayBuf),
    Object(RawDocumentBuf),
}

impl Owned {
    fn append(self, document: &mut RawDocumentBuf, name: &CStr) {
        match self {
            Self::Null => document.append(name, RawBsonRef::Null),
            Self::Bool(truth) => document.append(name, truth),
            Self::Number(number) => document.append(name, number),
            Self::String(text) => document.append(name, text),
            Self::Array(list) => document.append(name, list),
            Self::Object(inner) => document.append(name, inner),
        }
    }

    fn push(self, array: &mut RawArrayBuf) {
        match self {
            Self::Null => array.push(RawBsonRef::Null),
            Self::Bool(truth) => array.push(truth),
            Self::Number(number) => array.push(number),
            Self::String(text) => array.push(text),
            Self::Array(list) => array.push(list),
            Self::Object(inner) => array.push(inner),
        }
    }
}

/// Reads a value. No key has a meaning of its own.
#[derive(Clone, Copy)]
struct Text {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Owned;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Owned, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Owned;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Owned, E> {
        Ok(Owned::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Owned, E> {
        Ok(Owned::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Owned, E> {
        Ok(Owned::Number(number(&value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Owned, E> {
        Ok(Owned::Number(number(&value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Owned, E> {
        Ok(Owned::Number(RawBsonRef::Double(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Owned, E> {
        Ok(Owned::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Owned, A::Error> {
        let inner = Self { depth: deeper(self.depth).map_err(A::Error::custom)? };
        let mut array = RawArrayBuf::new();
        while let Some(item) = items.next_element_seed(inner)? {
            item.push(&mut array);
        }
        Ok(Owned::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Owned, A::Error> {
        let inner = Self { depth: deeper(self.depth).map_err(A::Error::custom)? };
        let mut document = RawDocumentBuf::new();
        while let Some(Key(name)) = entries.next_key()? {
            let name = key(&name).map_err(A::Error::custom)?;
            entries.next_value_seed(inner)?.append(&mut document, name);
        }
        Ok(Owned::Object(document))
    }
}

/// A key, which is a part of the text as a rule.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// As narrow as it goes, which is what the original writes. Beyond what a document counts to,
/// Docker's word for "no limit" among it, a number loses its last digits rather than its report.
fn number(number: &Number) -> RawBsonRef<'static> {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => {
            i32::try_from(whole).map_or(RawBsonRef::Int64(whole), RawBsonRef::Int32)
        }
        (None, decimal) => RawBsonRef::Double(decimal.unwrap_or(f64::MAX)),
    }
}

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
