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

mod error;
mod refusal;
mod tls;

pub use error::{ClientError, Problem, Transport};
pub use refusal::Refusal;
pub use tls::install_crypto_provider;

use crate::config::Secret;
use base64::Engine as _;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The largest answer that is read. A group of a thousand apps is about one megabyte.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// How much of a refusal's body is read: it is for one line of text.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;
/// The most redirects of one request. A proxy in front of a manager needs one.
const MAX_REDIRECTS: usize = 5;
/// The longest wait for a connection; the request's own limit counts when it is shorter. A
/// manager that is there answers at once, even around the world.
const MAX_CONNECT_TIME: Duration = Duration::from_secs(10);
/// The longest wait for the first byte of a backup: the manager copies its store before it sends.
const MAX_BACKUP_PREPARATION: Duration = Duration::from_secs(600);
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

/// What kind of object a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// Apps.
    App,
    /// Device groups.
    DeviceGroup,
}

impl Noun {
    /// Its part of the path, which is also the key of a list's reply.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::App => "apps",
            Self::DeviceGroup => "device_groups",
        }
    }
}

/// What can be done to an app beside changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Run its replicas.
    Start,
    /// Stop its replicas everywhere.
    Stop,
    /// Pull its image and replace its replicas.
    Restart,
}

impl Action {
    /// The verb, as it stands in the path.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// A JSON object on its way in or out.
///
/// Not [`crate::model::App`]: an existing database may hold an app that this version would refuse,
/// and whoever asks to see it, in order to mend it, must see it. The model's `decode` functions
/// read one.
pub type Object = Map<String, Value>;

/// A reply: the bytes as they came, and what they say.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<T> {
    /// The body, byte for byte.
    pub bytes: Vec<u8>,
    /// Its content.
    pub content: T,
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

/// The client of one manager, or of the load balancer in front of several. Cheap to clone: clones
/// share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// With the path prefix, without a trailing slash.
    base: Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// One request, before redirects.
struct Ask<'a> {
    method: Method,
    url: Url,
    body: Option<&'a Object>,
    etag: Option<&'a str>,
    /// False where the body is long and only a stall counts.
    whole_in_time: bool,
}

impl Client {
    /// A client for the manager at `url`, which may carry a path prefix. `limit` is the longest one
    /// request may take, its body included; of a backup, the longest silence.
    pub fn new(url: &str, credentials: &Credentials, limit: Duration) -> Result<Self, ClientError> {
        let base = base_url(url)?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("nebula/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limit.min(MAX_CONNECT_TIME))
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls::client_config(base.scheme() == "https")?);
        if is_loopback(&base) {
            // No proxy can reach our own loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Prepare(Transport::new(error)))?;
        let authorization = authorization(credentials)?;
        Ok(Self { http, base, authorization, timeout: limit })
    }

    /// The manager's URL as it is used: with the path prefix, without a trailing slash.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks whether the API is there and takes the credentials.
    pub async fn status(&self) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &["status"], None).await
    }

    /// The names of all objects of a kind that the user may read.
    pub async fn list(&self, noun: Noun) -> Result<Reply<Vec<String>>, ClientError> {
        let reply = self.object(Method::GET, &[noun.collection()], None).await?;
        let names = reply.content.get(noun.collection()).and_then(Value::as_array).map(|items| {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        match names.flatten() {
            Some(content) => Ok(Reply { bytes: reply.bytes, content }),
            None => Err(ClientError::Shape { expected: "a list of names" }),
        }
    }

    /// One object.
    pub async fn get(&self, noun: Noun, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::GET, &[noun.collection(), name], None).await
    }

    /// Creates an object and returns it.
    pub async fn create(
        &self,
        noun: Noun,
        name: &str,
        body: &Object,
    ) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[noun.collection(), name], Some(body)).await
    }

    /// Changes the given fields of an object and returns it.
    pub async fn update(
        &self,
        noun: Noun,
        name: &str,
        body: &Object,
    ) -> Result<Reply<Object>, ClientError> {
        self.object(Method::PATCH, &[noun.collection(), name, "update"], Some(body)).await
    }

    /// Deletes an object.
    pub async fn delete(&self, noun: Noun, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::DELETE, &[noun.collection(), name], None).await
    }

    /// Starts, stops or restarts an app everywhere, and returns it.
    pub async fn act(&self, app: &str, action: Action) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[Noun::App.collection(), app, action.verb()], None).await
    }

    /// Orders every device of every group to remove unused images.
    pub async fn prune_all(&self) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &["prune"], None).await
    }

    /// Orders every device of a group to remove unused images, and returns the group.
    pub async fn prune_device_group(&self, name: &str) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &[Noun::DeviceGroup.collection(), name, "prune"], None).await
    }

    /// What a device of the group runs. With the `etag` of an earlier answer the manager may say
    /// that it still holds.
    pub async fn info(&self, group: &str, etag: Option<&str>) -> Result<Info, ClientError> {
        let url = self.route(&[Noun::DeviceGroup.collection(), group, "info"])?;
        let ask = Ask { method: Method::GET, url, body: None, etag, whole_in_time: true };
        let response = self.send(ask).await?;
        match (response.status(), etag) {
            (StatusCode::NOT_MODIFIED, Some(_)) => Ok(Info::NotModified),
            (StatusCode::OK, _) => {
                let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok());
                let etag = etag.map(str::to_owned);
                Ok(Info::Answer { bytes: self.json_body(response).await?, etag })
            }
            _ => Err(refusal::read(response).await),
        }
    }

    /// Copies the manager's whole embedded store into `file` while it runs, and returns the number
    /// of bytes. What stands in `file` after an error is not a backup.
    pub async fn backup<W>(&self, file: &mut W) -> Result<u64, ClientError>
    where
        W: AsyncWrite + Unpin,
    {
        let url = self.route(&["backup"])?;
        let ask = Ask { method: Method::GET, url, body: None, etag: None, whole_in_time: false };
        let sent = timeout(MAX_BACKUP_PREPARATION, self.send(ask)).await;
        let mut response = sent.unwrap_or_else(|_| Err(self.timed_out(MAX_BACKUP_PREPARATION)))?;
        let stalled = |_| self.timed_out(self.timeout);
        if response.status() != StatusCode::OK {
            return Err(timeout(self.timeout, refusal::read(response))
                .await
                .unwrap_or_else(stalled));
        }
        let mut written = 0;
        loop {
            let chunk = timeout(self.timeout, response.chunk()).await.map_err(stalled)?;
            let Some(chunk) = chunk.map_err(|error| self.body_error(error))? else { break };
            file.write_all(&chunk).await.map_err(ClientError::Write)?;
            written += chunk.len() as u64;
        }
        file.flush().await.map_err(ClientError::Write)?;
        Ok(written)
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

    /// A request whose answer is a JSON object.
    async fn object(
        &self,
        method: Method,
        parts: &[&str],
        body: Option<&Object>,
    ) -> Result<Reply<Object>, ClientError> {
        let ask = Ask { method, url: self.route(parts)?, body, etag: None, whole_in_time: true };
        let response = self.send(ask).await?;
        if !response.status().is_success() {
            return Err(refusal::read(response).await);
        }
        let bytes = self.json_body(response).await?;
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
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(etag) = ask.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if ask.whole_in_time {
            request = request.header(ACCEPT, JSON).timeout(self.timeout);
        }
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        request.send().await.map_err(|error| self.send_error(error))
    }

    /// Reads a JSON body to its end, within [`MAX_BODY_BYTES`].
    async fn json_body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let status = response.status();
        let content_type = content_type(response.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.body_error(error))? {
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

    fn send_error(&self, error: reqwest::Error) -> ClientError {
        if error.is_timeout() {
            return self.timed_out(self.timeout);
        }
        let url = self.url().to_owned();
        let is_connect = error.is_connect();
        let source = Transport::new(error);
        if is_connect {
            return ClientError::Unreachable { url, problem: source.problem(), source };
        }
        ClientError::Broken { url, source }
    }

    fn body_error(&self, error: reqwest::Error) -> ClientError {
        if error.is_timeout() {
            return self.timed_out(self.timeout);
        }
        ClientError::Cut { source: Transport::new(error) }
    }
}

/// Checks a base URL.
fn base_url(text: &str) -> Result<Url, ClientError> {
    let refuse = |reason| Err(ClientError::Url { url: error::without_userinfo(text), reason });
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => return refuse("expected http://HOST[:PORT][/PREFIX] or https://..."),
    };
    if !url.username().is_empty() || url.password().is_some() {
        // They would show in process lists, in logs and in every error.
        return refuse("it must not hold a user or password, give them separately");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it must not have a query or a fragment");
    }
    Ok(url)
}

/// The header that carries the credentials, marked so that no `Debug` prints it.
fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>, ClientError> {
    let text = match credentials {
        Credentials::None => return Ok(None),
        Credentials::Basic { user, .. } if user.contains(':') => {
            return Err(ClientError::Credentials { reason: "a user's name cannot hold a colon" });
        }
        Credentials::Basic { user, password } => {
            let pair = format!("{user}:{}", password.expose());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::Credentials {
        reason: "a token cannot hold line breaks or other control characters",
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
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
