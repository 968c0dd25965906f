//! How other programs look at a daemon: is it alive, can it do its work, what has it counted.
//!
//! What it is: what modes share of it, a small server for a mode that has no other ([`serve`]), the
//! question of `nebula health` ([`Place`]), and what a service manager is told ([`notify`]). What it is
//! not: authenticated. Everything here is cheap however often it is asked, and holds no secret.

mod ask;
mod listener;
pub mod notify;
mod process;

pub use ask::{AskError, Place};
pub use listener::Listener;
pub use process::registry as process_registry;

use async_trait::async_trait;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The form in which Prometheus asks for metrics.
pub const METRICS_MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Who looks is a few programs; more than these wait until one is answered.
const CONNECTIONS: usize = 32;
/// From a connection's begin to its end: each has one request.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an error of accepting, mostly "too many open files": only time closes some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The text of what the process takes, and then of what was counted; empty when it cannot be made.
pub fn metrics_text(process: &Registry, counted: &Registry) -> String {
    let mut text = String::new();
    let encoded = encode_registry(&mut text, process);
    if encoded.and_then(|()| encode(&mut text, counted)).is_err() {
        text.clear();
    }
    text
}

/// What is looked at.
#[async_trait]
pub trait Monitored: Send + Sync {
    /// What it needs for its work, by name, and whether it has it.
    async fn needs(&self) -> Vec<(&'static str, bool)>;

    /// Whether its own loop goes on, whatever it lacks; answering alone says so of most.
    fn is_alive(&self) -> bool {
        true
    }

    /// What it has counted, in the `OpenMetrics` text form.
    fn metrics(&self) -> String;
}

/// Answers `GET /healthz`, `/readyz` and `/metrics` until the signal.
pub async fn serve(
    listener: impl Listener,
    monitored: Arc<dyn Monitored>,
    shutdown: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < CONNECTIONS;
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.next(), if has_room => match accepted {
                Ok(stream) => {
                    connections.spawn(answer(stream, Arc::clone(&monitored)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(BACK_OFF).await;
                }
            }
        }
    }
}

async fn answer<S>(stream: S, monitored: Arc<dyn Monitored>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let monitored = Arc::clone(&monitored);
        async move { Ok::<_, Infallible>(reply(&request, &*monitored).await) }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // Who asked and went away has nobody to tell.
    let _ = timeout(PATIENCE, server.serve_connection(TokioIo::new(stream), service)).await;
}

async fn reply(request: &Request<Incoming>, monitored: &dyn Monitored) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return json_reply(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "only GET" }));
    }
    match request.uri().path() {
        "/healthz" => {
            let is_alive = monitored.is_alive();
            let status = if is_alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json_reply(status, &json!({ "alive": is_alive }))
        }
        "/readyz" => {
            let needs = monitored.needs().await;
            let is_ready = needs.iter().all(|(_, has)| *has);
            let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let mut body = Map::from_iter([("ready".to_owned(), json!(is_ready))]);
            body.extend(needs.into_iter().map(|(name, has)| (name.to_owned(), json!(has))));
            json_reply(status, &Value::Object(body))
        }
        "/metrics" => with_type(StatusCode::OK, METRICS_MEDIA, monitored.metrics()),
        _ => json_reply(StatusCode::NOT_FOUND, &json!({ "error": "no such path" })),
    }
}

fn json_reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    with_type(status, "application/json", body.to_string())
}

fn with_type(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
