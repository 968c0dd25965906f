//! A request's body and the name in its path.
//!
//! Invariants: a body over its size or its time is refused before it is looked at; a key given
//! twice is refused rather than guessed; nothing here panics on any bytes.

use super::Shared;
use super::reply::Refusal;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::http::request::Parts;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::convert::Infallible;
use std::sync::Arc;

/// The most keys of a body. Each unknown one is answered with its reason, and a megabyte of them
/// would be answered with many megabytes.
const MAX_KEYS: usize = 100;

/// The name in a path. It need not be a valid one: what is not a name is merely not found.
pub(super) struct ObjectName(pub(super) String);

impl FromRequestParts<Arc<Shared>> for ObjectName {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<Shared>,
    ) -> Result<Self, Infallible> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        // Bytes that are no UTF-8 become a text that no object can have as its name.
        Ok(Self(name.map_or_else(|_| "\u{fffd}".to_owned(), |Path(name)| name)))
    }
}

/// A body that came whole, read when a handler asks for it: whether the object exists is answered
/// first, as the original does.
pub(super) struct Payload(Result<Map<String, Value>, String>);

impl Payload {
    /// The fields that were given.
    pub(super) fn fields(&self) -> Result<&Map<String, Value>, Refusal> {
        self.0.as_ref().map_err(|reason| Refusal::Body(reason.clone()))
    }

    /// Reads bytes: nothing at all is an empty object.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        if bytes.trim_ascii().is_empty() {
            return Self(Ok(Map::new()));
        }
        Self(match serde_json::from_slice(bytes) {
            Ok(Strict(Value::Object(map))) if map.len() > MAX_KEYS => {
                Err(format!("the body has more than {MAX_KEYS} keys"))
            }
            Ok(Strict(Value::Object(map))) => Ok(map),
            Ok(Strict(_)) => Err("the body must be a JSON object".to_owned()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        })
    }
}

impl FromRequest<Arc<Shared>> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Refusal> {
        let limit = state.limits.body_bytes;
        let body = request.into_body();
        if body.size_hint().lower() > limit as u64 {
            return Err(Refusal::TooLarge(limit));
        }
        let collected = Limited::new(body, limit).collect();
        match tokio::time::timeout(state.limits.body, collected).await {
            Ok(Ok(body)) => Ok(Self::parse(&body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(limit)),
            Ok(Err(_)) => Err(Refusal::Body("the body ended early".to_owned())),
            Err(_) => Err(Refusal::BodyTooSlow),
        }
    }
}

/// A JSON value in which no object has a key twice. The depth is limited by `serde_json`.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
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
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                let shown: String = key.chars().take(100).collect();
                return Err(A::Error::custom(format!("`{shown}` is given twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
