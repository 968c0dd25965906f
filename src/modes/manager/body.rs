//! A request's body and the name in its path.
//!
//! Invariants: a body over its size or its time is refused before it is looked at; nothing here
//! panics on any bytes.

use super::Shared;
use super::operation::permit_again;
use super::reply::Refusal;
use crate::model::strict_object;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A body that took longer has its sender asked again: what was taken away from them meanwhile
/// must not be used.
const SLOW: Duration = Duration::from_millis(500);

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

    /// Reads bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(strict_object(bytes))
    }
}

/// A body of many objects at once, not read yet: that takes too long for the threads that serve. It
/// may be so many times as large as one of a single object.
pub(super) struct LargeBody<const TIMES: usize>(pub(super) Bytes);

impl FromRequest<Arc<Shared>> for Payload {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Refusal> {
        Ok(Self::parse(&collected(request, state, state.limits.body_bytes).await?))
    }
}

impl<const TIMES: usize> FromRequest<Arc<Shared>> for LargeBody<TIMES> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Refusal> {
        let limit = state.limits.body_bytes.saturating_mul(TIMES);
        collected(request, state, limit).await.map(Self)
    }
}

/// All bytes of a body.
async fn collected(request: Request, state: &Shared, limit: usize) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    let begun = Instant::now();
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::TooLarge(limit));
    }
    let collected = Limited::new(body, limit).collect();
    match tokio::time::timeout(state.limits.body, collected).await {
        Ok(Ok(body)) => {
            // Who it was, and what they might, was asked before the body came.
            if begun.elapsed() > SLOW {
                permit_again(state, &parts).await?;
            }
            Ok(body.to_bytes())
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(limit)),
        Ok(Err(_)) => Err(Refusal::Body("the body ended early".to_owned())),
        Err(_) => Err(Refusal::BodyTooSlow),
    }
}
