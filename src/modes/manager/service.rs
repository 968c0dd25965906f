//! One request: who asks, is the answer ready, else the router within its limits.
//!
//! Invariants: credentials are checked first, on every path that is not open; a panic is one
//! request's 500; every answer is counted and says who may keep it.

use super::Shared;
use super::auth::{Access, Permission, Principal};
use super::connection::Progress;
use super::metrics;
use super::reply::{Note, Refusal, ReplyBody, forbid_storing};
use super::routes::{self, Route, is_open};
use axum::Router;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;
use tower::Service as _;

const GROUPS: &str = "/api/v2/device_groups/";
const INFO: &str = "/info";
const BACKUP: &str = "/api/v2/backup";

/// What answers the requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Service {
    manager: Arc<Shared>,
    router: Router,
    progress: Arc<Progress>,
}

impl Service {
    pub(super) fn new(manager: Arc<Shared>) -> Self {
        let router = routes::router(Arc::clone(&manager));
        Self { manager, router, progress: Arc::default() }
    }

    /// The same for one more connection.
    pub(super) fn of_connection(&self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self.clone() }
    }

    pub(super) fn manager(&self) -> &Arc<Shared> {
        &self.manager
    }

    /// What can be answered on the spot: a refusal of the credentials, and ready bytes.
    fn at_once(
        &self,
        request: &Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Option<Principal>> {
        let path = request.uri().path();
        if is_open(path) {
            return Err(None);
        }
        let manager = &*self.manager;
        let Some(principal) = manager.auth.check(request.headers(), &manager.metrics) else {
            tracing::debug!(method = %request.method(), path, "request without valid credentials");
            return Ok(finish(Refusal::Unauthorized.into_response()));
        };
        match self.ready_info(request, path, principal) {
            Some(response) => Ok(response),
            None => Err(Some(principal.clone())),
        }
    }

    /// The hot path: what every device asks for at every check-in.
    fn ready_info(
        &self,
        request: &Request<Incoming>,
        path: &str,
        principal: &Principal,
    ) -> Option<Response<ReplyBody>> {
        let group = path.strip_prefix(GROUPS)?.strip_suffix(INFO)?;
        let is_allowed = principal.may(Permission::DeviceGroups(Access::Read));
        if request.method() != Method::GET || !is_allowed {
            return None;
        }
        let started = Instant::now();
        let metrics = &self.manager.metrics;
        // A path with `%` in it is no key here; the router decodes it.
        let Some(ready) = self.manager.info.ready(group) else {
            metrics.info_misses.inc();
            return None;
        };
        let response = ready.reply(request.headers());
        metrics.info_hits.inc();
        if response.status() == StatusCode::OK {
            metrics.info_full.inc();
        } else {
            metrics.info_not_modified.inc();
        }
        metrics.durations.observe(started.elapsed().as_secs_f64());
        Some(response)
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.progress.begin(request.version());
        match self.at_once(&request) {
            Ok(response) => Answering::Ready(Some(response)),
            Err(principal) => {
                let guard = Progress::enter(&self.progress);
                let (manager, router) = (Arc::clone(&self.manager), self.router.clone());
                Answering::Routed(Box::pin(async move {
                    let response = route(&manager, router, request, principal).await;
                    drop(guard);
                    response
                }))
            }
        }
    }
}

/// An answer on its way. The ready one needs no box.
pub(super) enum Answering {
    Ready(Option<Response<ReplyBody>>),
    Routed(Pin<Box<dyn Future<Output = Response<ReplyBody>> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(response) => response.take().map_or(Poll::Pending, |r| Poll::Ready(Ok(r))),
            Self::Routed(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

/// The way of every other request.
async fn route(
    manager: &Shared,
    mut router: Router,
    request: Request<Incoming>,
    principal: Option<Principal>,
) -> Response<ReplyBody> {
    let started = Instant::now();
    let method = method_label(request.method());
    let path = request.uri().path().to_owned();
    let mut request = request.map(axum::body::Body::new);
    let who = principal.as_ref().map_or_else(String::new, |who| who.name().to_owned());
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal);
    }
    let limit = if path == BACKUP { manager.limits.backup } else { manager.limits.request };
    let answer = AssertUnwindSafe(router.call(request)).catch_unwind();
    let response = match tokio::time::timeout(limit, answer).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_panic)) => {
            tracing::error!(method, path, "a request's handler panicked");
            Refusal::Panic.into_response()
        }
        Err(_) => Refusal::TooSlow.into_response(),
    };
    let status = response.status().as_u16();
    tracing::debug!(method, path, status, who, elapsed = ?started.elapsed(), "request answered");
    count(manager, &response, method, started);
    finish(response)
}

fn count(manager: &Shared, response: &axum::response::Response, method: &'static str, at: Instant) {
    let metrics = &manager.metrics;
    let route = response.extensions().get::<Route>().map_or("other", |route| route.0);
    let status = u32::from(response.status().as_u16());
    metrics.answered(&metrics::Request { route, method, status });
    metrics.durations.observe(at.elapsed().as_secs_f64());
    match response.extensions().get::<Note>() {
        Some(Note::Limit(limit)) => metrics.limit_met(limit),
        Some(Note::StoreError) => {
            metrics.store_errors.inc();
        }
        None => {}
    }
}

fn finish(mut response: axum::response::Response) -> Response<ReplyBody> {
    forbid_storing(response.headers_mut());
    response.map(ReplyBody::Routed)
}

/// A method as metrics name it: any other is the client's invention.
fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
