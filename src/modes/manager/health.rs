//! Is it alive, is its store in reach, and what has it counted: open to everybody, and therefore
//! cheap however often it is asked.

use super::Shared;
use super::reply::{Answer, json, ok};
use crate::monitoring::METRICS_MEDIA;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer of the store counts. Everybody may ask; the store is asked once in this
/// time whoever asks.
const REMEMBERED: Duration = Duration::from_millis(500);

/// What the store last said.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, bool)>>);

/// `GET /healthz`
pub(super) async fn alive() -> Response {
    ok(&json!({ "alive": true }))
}

/// `GET /readyz`
pub(super) async fn ready(State(manager): State<Arc<Shared>>) -> Response {
    let is_ready = is_ready(&manager).await;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &json!({ "ready": is_ready }))
}

async fn is_ready(manager: &Shared) -> bool {
    let mut last = manager.readiness.0.lock().await;
    if let Some((when, said)) = *last
        && when.elapsed() < REMEMBERED
    {
        return said;
    }
    let ping = tokio::time::timeout(manager.limits.ready, manager.declarations.store().ping());
    let is_ready = matches!(ping.await, Ok(Ok(())));
    if !is_ready {
        manager.metrics.store_errors.inc();
    }
    *last = Some((Instant::now(), is_ready));
    is_ready
}

/// `GET /metrics`
pub(super) async fn metrics(State(manager): State<Arc<Shared>>) -> Response {
    ([(CONTENT_TYPE, METRICS_MEDIA)], manager.metrics.text()).into_response()
}

/// `GET /api/v2/status`
pub(super) async fn status() -> Answer {
    Ok(ok(&json!({ "api_available": true })))
}
