//! The typed HTTP client of the manager, for the worker and for `nebula ctl`.
//!
//! What it is: one method a route, credentials on every request, and a typed error for everything
//! that is not the answer asked for.
//! What it is not: it retries nothing and remembers nothing; when to ask again is the caller's.
//!
//! Invariants:
//! - An answer is handed over whole or not at all: a cut body, an HTML page or an empty 200 is an
//!   error, never an empty answer.
//! - Credentials go to the configured origin (scheme, host and port) alone. A redirect elsewhere
//!   is an error that names the place; one within the origin is followed, but never so that a
//!   POST turns into a GET.
//! - No error, `Debug` or log line holds a credential.
//! - Every wait and every body has a limit.

mod address;
mod clock;
mod device_page;
mod error;
mod noun;
mod problem;
mod refusal;
mod report_page;
mod routes;
mod tls;
mod tls_files;
mod transfer;

pub use crate::config::{CertificateFiles, TlsFiles, TlsKeys};
pub use clock::ClockDifference;
pub use device_page::DevicePage;
pub use error::{ClientError, Transport};
pub use noun::{Action, Noun};
pub use problem::{Problem, in_words};
pub use refusal::Refusal;
pub use report_page::ReportPage;
pub use tls::{install_crypto_provider, tls_config, trusted_certificates};
pub use tls_files::TlsFileError;

use crate::config::Secret;
use address::{authorization, base_url, is_loopback};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    IF_NONE_MATCH, LOCATION,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Map, Value};
use std::io::Write;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tls_files::TlsContent;

/// The largest answer that is read. A group of a thousand apps is about one megabyte.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How much of a refusal's body is read: it is for one line of text.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// The most redirects of one request. A proxy in front of a manager needs one.
const MAX_REDIRECTS: usize = 5;
/// The longest wait for a connection; the request's own limit counts when it is shorter. A
/// manager that is there answers at once, even around the world.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);
/// The longest wait for the first byte of a backup or an export: the manager copies its store
/// before it sends.
const MAX_BACKUP_PREPARATION: Duration = Duration::from_secs(600);
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Who asks.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody: for a manager with `auth_enabled = false`.
    #[default]
    None,
    /// A user and a password.
    Basic {
        /// The user's name, without a colon.
        user: String,
        /// The password.
        password: Secret<String>,
    },
    /// A token.
    Bearer(Secret<String>),
}

/// A JSON object on its way in or out.
///
/// Not [`crate::model::App`]: an existing database may hold an app that this version would refuse,
/// and whoever asks to see it, in order to mend it, must see it. The model's `decode` functions
/// read one.
pub type Object = Map<String, Value>;

/// A reply: the bytes as they came, and what they say.
#[derive(Clone, PartialEq)]
pub struct Reply<T> {
    /// The body, byte for byte.
    pub bytes: Vec<u8>,
    /// Its content.
    pub content: T,
}

/// How long it is, and no more: a reply may hold a new token, or a variable that is a secret.
impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes)", self.bytes.len())
    }
}

/// What a device is told to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Info {
    /// Nothing changed since the `ETag` that was sent.
    NotModified,
    /// A complete answer, from a 200 with a JSON body, to be read by
    /// [`crate::model::Desired::decode`].
    Answer {
        /// The body, byte for byte.
        bytes: Vec<u8>,
        /// What to send next time; none from a manager that gives none.
        etag: Option<String>,
    },
}

/// What a check-in brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedIn {
    /// What the device is told.
    pub info: Info,
    /// How far this machine's clock is from the manager's, when the answer shows it.
    pub clock: Option<ClockDifference>,
    /// How long the manager asks to wait before the next request, when it says so. Not clamped.
    pub retry_after: Option<Duration>,
}

/// The client of one manager, or of the load balancer in front of several. Cheap to clone: clones
/// share their connections and their credentials, so that whoever renews them does it for all.
#[derive(Debug, Clone)]
pub struct Client {
    way: Arc<RwLock<Way>>,
    /// With the path prefix, without a trailing slash.
    base: Url,
    tls_files: TlsFiles,
    authorization: Arc<RwLock<Option<HeaderValue>>>,
    timeout: Duration,
}

/// The connections, and the content of the files that they were made with.
#[derive(Debug)]
struct Way {
    http: reqwest::Client,
    digest: [u8; 32],
}

/// One request, before redirects.
struct Ask<'a> {
    method: Method,
    url: Url,
    /// JSON.
    body: Option<Vec<u8>>,
    etag: Option<&'a str>,
    /// A report: the body is packed with gzip, and the connection closes. The one of the check-in waits
    /// at the manager, and with a second one kept open each device would take two places there. HTTP/2,
    /// which TLS brings, carries both on one connection, and knows no such header.
    is_report: bool,
    /// How long it may take with its body; none where the body is long and only a stall counts.
    limit: Option<Duration>,
}

impl Way {
    fn new(base: &Url, files: &TlsFiles, limit: Duration) -> Result<Self, ClientError> {
        if base.scheme() != "https" {
            return Self::over(base, tls::no_tls()?, limit, [0; 32]);
        }
        Self::with(base, &files.read().map_err(ClientError::TlsFile)?, limit)
    }

    fn with(base: &Url, content: &TlsContent, limit: Duration) -> Result<Self, ClientError> {
        Self::over(base, tls::client_config(content)?, limit, content.digest)
    }

    fn over(
        base: &Url,
        tls: rustls::ClientConfig,
        limit: Duration,
        digest: [u8; 32],
    ) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nebula/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limit.min(MAX_CONNECT_TIME))
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls);
        if is_loopback(base) {
            // No proxy can reach our own loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Prepare(Transport::new(error)))?;
        Ok(Self { http, digest })
    }
}

impl Client {
    /// A client for the manager at `url`, which may carry a path prefix. `limit` is the longest one
    /// request may take, its body included; of a backup, the longest silence.
    pub fn new(url: &str, credentials: &Credentials, limit: Duration) -> Result<Self, ClientError> {
        Self::with_tls(url, credentials, TlsFiles::default(), limit)
    }

    /// The same with authorities and a certificate of one's own, for a manager that is reached by
    /// `https`; of one that is not, the files are not looked at.
    pub fn with_tls(
        url: &str,
        credentials: &Credentials,
        tls_files: TlsFiles,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let base = base_url(url)?;
        let way = Arc::new(RwLock::new(Way::new(&base, &tls_files, limit)?));
        let authorization = Arc::new(RwLock::new(authorization(credentials)?));
        Ok(Self { way, base, tls_files, authorization, timeout: limit })
    }

    /// The same before the files can be read, which [`Client::renew`] then does: nothing of them is
    /// trusted or presented until then.
    pub fn with_tls_later(
        url: &str,
        credentials: &Credentials,
        tls_files: TlsFiles,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let client = Self::new(url, credentials, limit)?;
        Ok(Self { tls_files, ..client })
    }

    /// Looks at the files of TLS again. True when something else stands in them: connections from
    /// now on are made with it, and requests under way come to their end. After an error all goes
    /// on with what stood in them before.
    pub fn renew(&self) -> Result<bool, ClientError> {
        if self.tls_files.is_empty() || self.base.scheme() != "https" {
            return Ok(false);
        }
        let known = self.way.read().unwrap_or_else(PoisonError::into_inner).digest;
        let content = self.tls_files.read().map_err(ClientError::TlsFile)?;
        if content.digest == known {
            return Ok(false);
        }
        // A connection keeps the certificate that it was opened with, so none is taken along.
        let way = Way::with(&self.base, &content, self.timeout)?;
        *self.way.write().unwrap_or_else(PoisonError::into_inner) = way;
        Ok(true)
    }

    /// Asks as somebody else from now on, all clones included.
    pub fn present(&self, credentials: &Credentials) -> Result<(), ClientError> {
        let value = authorization(credentials)?;
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(())
    }

    fn http(&self) -> reqwest::Client {
        self.way.read().unwrap_or_else(PoisonError::into_inner).http.clone()
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client of its own that asks as somebody else over the same connections.
    fn asking_as(&self, credentials: &Credentials) -> Result<Self, ClientError> {
        let authorization = Arc::new(RwLock::new(authorization(credentials)?));
        Ok(Self { authorization, ..self.clone() })
    }

    /// Whether whoever listens on the way can read what is sent.
    pub fn is_in_clear(&self) -> bool {
        self.base.scheme() == "http" && !is_loopback(&self.base)
    }

    /// The manager's URL as it is used: with the path prefix, without a trailing slash.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The URL of a route. Each part is one segment, whatever it holds.
    fn route(&self, parts: &[&str]) -> Result<Url, ClientError> {
        // URLs have no way to write these as a name: they would silently address another route.
        if let Some(name) = parts.iter().find(|part| matches!(**part, "" | "." | "..")) {
            return Err(ClientError::Name { name: (*name).to_owned() });
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v2"]).extend(parts);
        }
        Ok(url)
    }

    /// Hands over reports, as a body of `POST /reports`. It goes packed: a device's line is thin.
    pub async fn report(&self, body: &[u8]) -> Result<(), ClientError> {
        let url = self.route(&["reports"])?;
        let limit = Some(self.timeout);
        let body = Some(packed(body).map_err(ClientError::Pack)?);
        let ask = Ask { method: Method::POST, url, body, etag: None, limit, is_report: true };
        self.reply(ask).await.map(|_| ())
    }

    /// A request whose answer is a JSON object.
    async fn object(
        &self,
        method: Method,
        parts: &[&str],
        body: Option<&Object>,
    ) -> Result<Reply<Object>, ClientError> {
        self.object_at(method, self.route(parts)?, body).await
    }

    async fn object_at(
        &self,
        method: Method,
        url: Url,
        body: Option<&Object>,
    ) -> Result<Reply<Object>, ClientError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(ClientError::Json)?;
        let limit = Some(self.timeout);
        self.reply(Ask { method, url, body, etag: None, limit, is_report: false }).await
    }

    /// A request whose answer is a JSON object.
    async fn reply(&self, ask: Ask<'_>) -> Result<Reply<Object>, ClientError> {
        let response = self.send(ask).await?;
        if !response.status().is_success() {
            return Err(refusal::read(response).await);
        }
        let bytes = self.json_body(response, self.timeout).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(content)) => Ok(Reply { bytes, content }),
            Ok(_) => Err(ClientError::Shape { expected: "a JSON object" }),
            Err(error) => Err(ClientError::Json(error)),
        }
    }

    /// Sends a request, and follows it within the origin.
    async fn send(&self, mut ask: Ask<'_>) -> Result<Response, ClientError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&ask).await?;
            let Some(next) = redirect(&response) else { return Ok(response) };
            let status = response.status();
            let keeps_method = matches!(status.as_u16(), 307 | 308) || ask.method == Method::GET;
            if next.origin() != self.base.origin() || !keeps_method {
                return Err(ClientError::redirected(status, next));
            }
            ask.url = next;
        }
        Err(ClientError::redirected(StatusCode::LOOP_DETECTED, ask.url))
    }

    async fn send_once(&self, ask: &Ask<'_>) -> Result<Response, ClientError> {
        let mut request = self.http().request(ask.method.clone(), ask.url.clone());
        if let Some(authorization) = self.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(etag) = ask.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(limit) = ask.limit {
            request = request.header(ACCEPT, JSON).timeout(limit);
        }
        if let Some(body) = &ask.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.clone());
        }
        if ask.is_report {
            request = request.header(CONTENT_ENCODING, GZIP);
            if ask.url.scheme() == "http" {
                request = request.header(CONNECTION, CLOSE);
            }
        }
        let limit = ask.limit.unwrap_or(self.timeout);
        request.send().await.map_err(|error| self.send_error(error, limit))
    }

    /// Reads a JSON body to its end, within [`MAX_BODY_BYTES`]. `limit` is the request's.
    async fn json_body(
        &self,
        mut response: Response,
        limit: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let content_type = content_type(response.headers());
        let mut bytes = Vec::new();
        let broken = |error| self.body_error(error, limit);
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(ClientError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        if is_json(&content_type) && !bytes.is_empty() {
            return Ok(bytes);
        }
        let status = status.as_u16();
        Err(ClientError::NotJson { status, content_type, start: refusal::first_line(&bytes) })
    }

    fn timed_out(&self, limit: Duration) -> ClientError {
        ClientError::TimedOut { url: self.url().to_owned(), limit }
    }

    fn send_error(&self, error: reqwest::Error, limit: Duration) -> ClientError {
        if error.is_timeout() {
            return self.timed_out(limit);
        }
        let url = self.url().to_owned();
        let is_connect = error.is_connect();
        let source = Transport::new(error);
        if is_connect {
            return ClientError::Unreachable { url, problem: source.problem(), source };
        }
        ClientError::Broken { url, source }
    }

    fn body_error(&self, error: reqwest::Error, limit: Duration) -> ClientError {
        if error.is_timeout() {
            return self.timed_out(limit);
        }
        ClientError::Cut { source: Transport::new(error) }
    }
}

fn packed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(body)?;
    packer.finish()
}

/// Where a redirect leads; none when the response is no redirect.
fn redirect(response: &Response) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(location).ok()
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// `application/json`, and its relatives such as `application/problem+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
