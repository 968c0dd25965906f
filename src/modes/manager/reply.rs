//! Answers: JSON always, refusals included, in the words of the contract.

use super::auth::{Busy, Denied, TooMany};
use crate::clock::unix_seconds;
use crate::model::Invalid;
use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The browser's and every client's word for where the credentials belong.
const REALM: HeaderValue = HeaderValue::from_static("Basic realm=\"nebula\"");
/// What a client waits before it repeats what the store could not do now, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("2");

/// Why a request was refused, in a word for the log; it travels as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Why(pub(super) &'static str);

impl Why {
    /// Valid credentials that do not permit it.
    pub(super) const FORBIDDEN: Self = Self("access_allowed");
}

/// The existing user whom wrong credentials were meant for, for the log. A name that is nobody's
/// is not logged: it may be a password in the wrong field.
#[derive(Debug, Clone)]
pub(super) struct Claimed(pub(super) String);

/// What the service counts about an answer; it travels as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// A limit was met, by this name.
    Limit(&'static str),
    /// The store failed.
    StoreError,
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => bytes_reply(status, bytes.into()),
        // A type of ours that cannot be written is a bug; the client is told no lie.
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            let body = Bytes::from_static(b"{\"error\": \"internal error\"}");
            bytes_reply(StatusCode::INTERNAL_SERVER_ERROR, body)
        }
    }
}

pub(super) fn bytes_reply(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An error in words, for what the contract has no flag for.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, &json!({ "error": message }))
}

/// Every answer may be kept by nobody, except the ones that say otherwise.
pub(super) fn forbid_storing(headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, NO_STORE);
    }
}

/// Why a request is not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The contract's one-flag answers: `{"app_exists": false}`.
    Flag(StatusCode, &'static str, bool),
    /// Required fields that are not there.
    Missing(Vec<&'static str>),
    /// An update that updates nothing.
    NothingGiven,
    /// Fields that could not run on a device, each with its reason.
    Invalid(Invalid),
    /// A body that is no JSON object.
    Body(String),
    /// No credentials, or not ours.
    Unauthorized,
    /// Credentials that do not let in, for another reason than being wrong.
    Denied(Arc<Denied>),
    /// Valid credentials, which do not permit this.
    Forbidden,
    /// Nothing has this path.
    UnknownPath,
    /// The path has other methods.
    WrongMethod,
    /// The body is larger than this.
    TooLarge(usize),
    /// The body did not come in time.
    BodyTooSlow,
    /// The answer was not ready in time.
    TooSlow,
    /// Something of this kind is already going on.
    Busy,
    /// More reports wait to be kept than there is room for.
    ReportsWait,
    /// One device sends reports faster than any does; when it may go on.
    ReportsTooFast(Duration),
    /// A bug.
    Panic,
    /// The store could not.
    Store(StoreError),
}

impl Refusal {
    /// A 403 flag.
    pub(super) const fn flag(name: &'static str, value: bool) -> Self {
        Self::Flag(StatusCode::FORBIDDEN, name, value)
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Busy> for Refusal {
    fn from(Busy: Busy) -> Self {
        Self::Denied(Arc::new(Denied::Busy))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let why = self.why();
        let denied = if let Self::Denied(denied) = &self { Some(Arc::clone(denied)) } else { None };
        let mut response = self.response();
        if let Some(Denied::Wrong(Some(user))) = denied.as_deref() {
            response.extensions_mut().insert(Claimed(user.clone()));
        }
        response.extensions_mut().insert(why);
        response
    }
}

impl Refusal {
    const fn why(&self) -> Why {
        match self {
            Self::Flag(_, flag, _) => Why(flag),
            Self::Missing(_) | Self::NothingGiven => Why("missing_parameters"),
            Self::Invalid(_) => Why("invalid"),
            Self::Body(_) | Self::TooLarge(_) | Self::BodyTooSlow => Why("body"),
            Self::Unauthorized | Self::Denied(_) => Why("credentials"),
            Self::Forbidden => Why::FORBIDDEN,
            Self::UnknownPath | Self::WrongMethod => Why("path"),
            Self::TooSlow | Self::Busy | Self::ReportsWait | Self::ReportsTooFast(_) => Why("busy"),
            Self::Panic => Why("bug"),
            Self::Store(_) => Why("store"),
        }
    }

    fn response(self) -> Response {
        use StatusCode as Code;
        match self {
            Self::Flag(status, name, value) => json(status, &json!({ name: value })),
            Self::Missing(fields) => {
                json(Code::BAD_REQUEST, &json!({ "missing_parameters": fields }))
            }
            Self::NothingGiven => json(Code::BAD_REQUEST, &json!({ "missing_parameters": true })),
            Self::Invalid(invalid) => {
                let ports_only = invalid.ports_form && invalid.fields.len() == 1;
                let status = if ports_only { Code::FORBIDDEN } else { Code::BAD_REQUEST };
                let mut body = json!(invalid.fields);
                if invalid.schedule {
                    body["schedule_valid"] = false.into();
                }
                json(status, &body)
            }
            Self::Body(reason) => error(Code::BAD_REQUEST, &reason),
            Self::Unauthorized => unauthorized(),
            Self::Denied(denied) => match &*denied {
                Denied::Wrong(_) => unauthorized(),
                Denied::TooMany(too_many) => too_many_failures(*too_many),
                Denied::Busy => {
                    noted(later("too many logins at once"), Note::Limit("hashing_queue"))
                }
                Denied::Store(failure) => store_failed(failure),
            },
            Self::Forbidden => json(Code::FORBIDDEN, &json!({ "access_allowed": false })),
            Self::UnknownPath => error(Code::NOT_FOUND, "nothing has this path"),
            Self::WrongMethod => error(Code::METHOD_NOT_ALLOWED, "this path has other methods"),
            Self::TooLarge(limit) => {
                let message = format!("the body is larger than {limit} bytes");
                noted(error(Code::PAYLOAD_TOO_LARGE, &message), Note::Limit("body_bytes"))
            }
            Self::BodyTooSlow => {
                let reply = error(Code::REQUEST_TIMEOUT, "the body did not come in time");
                noted(reply, Note::Limit("body_time"))
            }
            Self::TooSlow => noted(later("the answer took too long"), Note::Limit("request_time")),
            Self::Busy => noted(later("another one is going on"), Note::Limit("backups")),
            Self::ReportsWait => {
                noted(later("too many reports wait to be kept"), Note::Limit("reports_bytes"))
            }
            Self::ReportsTooFast(wait) => {
                let words = "a device sends reports too fast";
                noted(too_many(words, wait), Note::Limit("reports"))
            }
            Self::Panic => error(Code::INTERNAL_SERVER_ERROR, "internal error"),
            Self::Store(failure) => store_failed(&failure),
        }
    }
}

fn unauthorized() -> Response {
    let mut reply = error(StatusCode::UNAUTHORIZED, "valid credentials are required");
    reply.headers_mut().insert(WWW_AUTHENTICATE, REALM);
    reply
}

/// A 429. Whether these credentials are right was not looked at.
fn too_many_failures(too_many: TooMany) -> Response {
    let words = "too many failed logins, try again later";
    noted(self::too_many(words, too_many.retry_after), Note::Limit("failed_logins"))
}

fn too_many(words: &str, retry_after: Duration) -> Response {
    let mut reply = error(StatusCode::TOO_MANY_REQUESTS, words);
    let seconds = retry_after.as_secs().saturating_add(1);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    reply
}

/// A 503: the same may work in a moment.
fn later(message: &str) -> Response {
    let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, message);
    reply.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
    reply
}

/// The cause is for the log alone: it may hold paths of the machine.
/// The second in which a failure of the store was last told: a fleet that asks while it is away
/// would fill the disk with the same line.
static TOLD_AT: AtomicU64 = AtomicU64::new(0);

fn store_failed(failure: &StoreError) -> Response {
    if let StoreError::Elsewhere { .. } = failure {
        return error(StatusCode::NOT_IMPLEMENTED, &failure.to_string());
    }
    let causes = causes(failure);
    let now = unix_seconds().cast_unsigned();
    if TOLD_AT.swap(now, Ordering::Relaxed) == now {
        tracing::debug!(error = %failure, causes, "the store failed");
    } else {
        tracing::error!(error = %failure, causes, "the store failed");
    }
    let reply = match failure {
        StoreError::Unavailable { .. } | StoreError::Conflict => later(&failure.to_string()),
        _ => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    };
    noted(reply, Note::StoreError)
}

/// What lies under a failure of the store, for a line of the log.
pub(super) fn causes(failure: &StoreError) -> String {
    let first = std::error::Error::source(failure);
    let all = std::iter::successors(first, |cause| cause.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn noted(mut reply: Response, note: Note) -> Response {
    reply.extensions_mut().insert(note);
    reply
}

/// An answer's body: ready bytes without a box around them, or what a route made.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// All of it.
    Ready(Option<Bytes>),
    /// From the router.
    Routed(axum::body::Body),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Ready(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Routed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(bytes) => bytes.is_none(),
            Self::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Routed(body) => body.size_hint(),
        }
    }
}

/// What every success of the API is.
pub(super) type Answer = Result<Response, Refusal>;

/// 200 with a body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// 202 with a body: done, and devices will follow.
pub(super) fn accepted(body: &impl Serialize) -> Response {
    json(StatusCode::ACCEPTED, body)
}

/// 200 with `{}`, of deletions.
pub(super) fn empty() -> Response {
    ok(&Value::Object(serde_json::Map::new()))
}
