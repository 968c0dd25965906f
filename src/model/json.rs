//! JSON, read without the readings that its library adds.
//!
//! What it is: [`strict_object`] for what clients send, [`json_value`] for what a manager or a store
//! hands out, [`json_object_outside`] for what is mostly passed on.
//! What it is not: it knows no field. Each noun reads its own, out of the object that this gives.
//!
//! Invariants: in a client's body a key given twice is refused rather than guessed; no key has a
//! meaning of its own; nothing here panics on any bytes.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// The most keys of a body. Each unknown one is answered with its reason, and a megabyte of them
/// would be answered with many megabytes.
const MAX_KEYS: usize = 100;

/// The crate that reads JSON gives keys with this beginning a meaning of their own: an object with
/// one would be printed, kept, and never be read again.
const RESERVED: &str = "$serde_json::private::";

/// Reads a body: nothing at all is an empty object. The error says what is wrong with it, in words
/// for whoever sent it.
pub fn strict_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match read(bytes, Reader { is_strict: true }) {
        Ok(Value::Object(map)) if map.len() > MAX_KEYS => {
            Err(format!("the body has more than {MAX_KEYS} keys"))
        }
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("the body must be a JSON object".to_owned()),
        Err(error) => Err(format!("the body is not JSON: {error}")),
    }
}

/// Reads any JSON. The library's own way gives some keys a meaning, so that one object with such a
/// key would make all that it stands in unreadable.
pub fn json_value(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    read(bytes, Reader { is_strict: false })
}

/// An object of plain values, and its objects and lists as text.
type OuterRead = (Map<String, Value>, BTreeMap<String, Box<str>>);

/// Reads an object but for the objects and lists in it, which are given as the text that they are:
/// JSON in form, which need not hold what can be read, such as numbers out of range.
pub fn json_object_outside(bytes: &[u8]) -> Result<OuterRead, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let object = deserializer.deserialize_map(Outside)?;
    deserializer.end()?;
    Ok(object)
}

struct Outside;

impl<'de> Visitor<'de> for Outside {
    type Value = OuterRead;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut map, mut unread) = Self::Value::default();
        while let Some(key) = entries.next_key::<String>()? {
            let text: &RawValue = entries.next_value()?;
            // Of a key that is given twice the last counts.
            if text.get().starts_with(['{', '[']) {
                map.shift_remove(&key);
                unread.insert(key, text.get().into());
            } else {
                unread.remove(&key);
                let value = json_value(text.get().as_bytes()).map_err(A::Error::custom)?;
                map.insert(key, value);
            }
        }
        Ok((map, unread))
    }
}

fn read(bytes: &[u8], reader: Reader) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value. The depth is limited by `serde_json`.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Refuses what a client should not send.
    is_strict: bool,
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let shown = || key.chars().take(100).collect::<String>();
            if self.is_strict && key.starts_with(RESERVED) {
                return Err(A::Error::custom(format!("a key must not begin with `{RESERVED}`")));
            }
            if self.is_strict && map.contains_key(&key) {
                return Err(A::Error::custom(format!("`{}` is given twice", shown())));
            }
            let value = entries.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
