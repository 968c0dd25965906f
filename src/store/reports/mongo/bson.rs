//! Reports and devices as documents, straight between JSON and the bytes of BSON.
//!
//! Values go over by their plain types: no key of what a device says is ever read as an operator or
//! as extended JSON.

use super::super::MAX_REPORT_BYTES;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::CStr;
use mongodb::bson::{DateTime, RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::{Map, Number, Value, json};

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
}

/// A report: its keys as they came, with its identity before them and its time behind, as the
/// original's reporter writes it.
pub(super) fn report(
    id: ObjectId,
    body: &Map<String, Value>,
    now: DateTime,
) -> Result<RawDocumentBuf, Unkept> {
    let mut document = RawDocumentBuf::new();
    document.append(key("_id")?, id);
    append_all(&mut document, body, 1)?;
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
