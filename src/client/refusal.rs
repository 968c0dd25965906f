//! What a manager, or whatever stands before it, answers instead of what was asked for.

use super::{ClientError, MAX_REFUSAL_BYTES, Object, content_type, is_json};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use std::time::Duration;

/// The longest reason that is kept, in characters.
const MAX_REASON_LENGTH: usize = 300;

/// A reply that is not the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The body in one clipped line; the status's own words when there is none.
    pub reason: String,
    /// The body, when it is a JSON object that came whole.
    pub body: Option<Object>,
    /// How long to wait before asking again, when the reply says it in seconds.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.reason)
    }
}

/// Reads a reply that is not the answer into its error.
pub(super) async fn read(response: Response) -> ClientError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let is_json = is_json(&content_type(response.headers()));
    let (bytes, whole) = start_of_body(response).await;
    let body: Option<Object> =
        if whole && is_json { serde_json::from_slice(&bytes).ok() } else { None };
    // The manager's words, where it has some beside the contract's flags.
    let words = body.as_ref().and_then(|body| body.get("error")?.as_str());
    let mut reason = first_line(words.map_or(&bytes, str::as_bytes));
    if matches!(reason.as_str(), "" | "{}") || (body.is_none() && reason.starts_with('<')) {
        // Nothing, or markup, helps nobody on a line of a log.
        reason = status.canonical_reason().unwrap_or("no reason given").into();
    }
    let refusal = Box::new(Refusal { status: status.as_u16(), reason, body, retry_after });
    match status {
        StatusCode::UNAUTHORIZED => ClientError::Unauthorized(refusal),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            ClientError::Unavailable(refusal)
        }
        _ if status.is_client_error() => ClientError::Refused(refusal),
        _ if status.is_server_error() => ClientError::Failed(refusal),
        _ => ClientError::Unexpected(refusal),
    }
}

/// How long to wait before asking again, when a reply says it in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// What of the body could be read, and whether that is all of it. A refusal stays one when its
/// body breaks off.
async fn start_of_body(mut response: Response) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
        if bytes.len() > MAX_REFUSAL_BYTES {
            return (bytes, false);
        }
    }
}

/// A body as one line of text, clipped, without control characters.
pub(super) fn first_line(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(4 * MAX_REASON_LENGTH)];
    let text = String::from_utf8_lossy(start);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let mut line = String::new();
    for word in text.chars().map(printable).collect::<String>().split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > MAX_REASON_LENGTH {
        line = line.chars().take(MAX_REASON_LENGTH).chain(['…']).collect();
    }
    line
}
