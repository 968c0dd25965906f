//! Everything that can come instead of an answer.

use super::{MAX_BODY_BYTES, Problem, Refusal, TlsFileError, problem};
use reqwest::{StatusCode, Url};
use std::error::Error;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL cannot be used.
    #[error("`{url}` is no manager's URL: {reason}")]
    Url {
        /// As it was given, without credentials.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The credentials cannot be written into a request.
    #[error("the credentials cannot be sent: {reason}")]
    Credentials {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A name that no URL can carry.
    #[error("`{name}` is no name")]
    Name {
        /// The name.
        name: String,
    },
    /// The body could not be packed.
    #[error("the body cannot be packed")]
    Pack(#[source] std::io::Error),
    /// The TLS side could not be set up.
    #[error("cannot prepare TLS")]
    Tls(#[source] rustls::Error),
    /// A file of a certificate cannot be used.
    #[error("cannot use the files of TLS")]
    TlsFile(#[source] TlsFileError),
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` names what cannot be read.
    #[error("cannot read the trusted certificates that SSL_CERT_FILE or SSL_CERT_DIR names")]
    TrustStore(#[source] rustls_native_certs::Error),
    /// The HTTP side could not be set up.
    #[error("cannot prepare the client")]
    Prepare(#[source] Transport),
    /// No connection.
    #[error("cannot reach the manager at `{url}`")]
    Unreachable {
        /// The base URL.
        url: String,
        /// What kind of obstacle.
        problem: Problem,
        /// The cause.
        #[source]
        source: Transport,
    },
    /// Too slow: the connection, the reply or its body.
    #[error("the manager at `{url}` did not answer within {} s", limit.as_secs_f64())]
    TimedOut {
        /// The base URL.
        url: String,
        /// The limit of one request.
        limit: Duration,
    },
    /// The connection broke before the reply. A change may or may not have been made.
    #[error("the connection to the manager at `{url}` broke")]
    Broken {
        /// The base URL.
        url: String,
        /// The cause.
        #[source]
        source: Transport,
    },
    /// The body ended before its end.
    #[error("the answer broke off")]
    Cut {
        /// The cause.
        #[source]
        source: Transport,
    },
    /// The body is over the limit.
    #[error("the answer is larger than {} MiB", MAX_BODY_BYTES / (1024 * 1024))]
    TooLarge,
    /// The manager, or a proxy, wants another address, or too many.
    #[error("the manager redirects to `{to}` ({status})")]
    Redirected {
        /// The HTTP status; 508 after too many redirects.
        status: u16,
        /// Where to, without credentials or query.
        to: String,
    },
    /// A success that is not JSON: a proxy's page, or another service.
    #[error("the answer ({status}) is not JSON but `{content_type}`: {start}")]
    NotJson {
        /// The HTTP status.
        status: u16,
        /// The content type, empty when there was none.
        content_type: String,
        /// How it starts.
        start: String,
    },
    /// The answer calls itself JSON and is not.
    #[error("the answer is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("the answer is not {expected}")]
    Shape {
        /// What was asked for.
        expected: &'static str,
    },
    /// 401: the credentials are missing or wrong.
    #[error("the manager does not accept the credentials ({0})")]
    Unauthorized(Box<Refusal>),
    /// Another 4xx: not permitted, unknown, there already, or a body that does not pass.
    #[error("the manager refused ({0})")]
    Refused(Box<Refusal>),
    /// 429 or 503: ask again later.
    #[error("the manager cannot answer now ({0})")]
    Unavailable(Box<Refusal>),
    /// Another 5xx.
    #[error("the manager failed ({0})")]
    Failed(Box<Refusal>),
    /// A status that this request cannot have.
    #[error("the manager gave an unexpected answer ({0})")]
    Unexpected(Box<Refusal>),
    /// The body arrived, but could not be written down.
    #[error("cannot write what arrived")]
    Write(#[source] std::io::Error),
}

impl ClientError {
    /// The reply, when there was one that said no.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Unauthorized(refusal)
            | Self::Refused(refusal)
            | Self::Unavailable(refusal)
            | Self::Failed(refusal)
            | Self::Unexpected(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The obstacle, when it was one and no reply.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Unreachable { problem, .. } => Some(*problem),
            Self::Broken { source, .. } => Some(source.problem()),
            _ => None,
        }
    }

    /// How long the manager asks to wait before the next request, when it refused and said so.
    /// Not clamped: the caller knows how long is too long.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal()?.retry_after
    }

    pub(super) fn redirected(status: StatusCode, mut to: Url) -> Self {
        // A sign-in page's address may carry a token in its query.
        to.set_query(None);
        to.set_fragment(None);
        Self::Redirected { status: status.as_u16(), to: without_userinfo(to.as_str()) }
    }
}

/// An error of the HTTP library, in our words for its root cause or else in its own: the layers
/// above say "error sending request" and the like, which ours have said already.
#[derive(Debug)]
pub struct Transport(reqwest::Error);

impl Transport {
    pub(super) fn new(error: reqwest::Error) -> Self {
        Self(error.without_url())
    }

    fn chain(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        std::iter::successors(Some(&self.0 as &(dyn Error + 'static)), |error| (*error).source())
    }

    pub(super) fn problem(&self) -> Problem {
        match problem::find(&self.0) {
            Some((problem, _)) => problem,
            None if self.0.is_dns() => Problem::UnknownHost,
            None => Problem::Other,
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((_, Some(words))) = problem::find(&self.0) {
            return f.write_str(&words);
        }
        match self.chain().last() {
            Some(root) => write!(f, "{root}"),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Error for Transport {}

/// A URL as text, without the part that may hold a password, even when it is no good URL.
pub(super) fn without_userinfo(text: &str) -> String {
    let start = text.find("://").map_or(0, |position| position + 3);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |position| start + position);
    match text[start..end].rfind('@') {
        Some(at) => format!("{}{}", &text[..start], &text[start + at + 1..]),
        None => text.to_owned(),
    }
}
