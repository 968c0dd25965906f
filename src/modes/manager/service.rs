//! One request: who asks, is the answer ready, else the router within its limits.
//!
//! Invariants: credentials are checked first, on every path that is not open; a panic is one
//! request's 500; every answer is counted and says who may keep it.

use super::Shared;
use super::audit::Asked;
use super::auth::{Claim, DeviceCertificate, Principal, Recognised};
use super::connection::Progress;
use super::metrics::{self, INFO_ROUTE};
use super::reply::{Note, Refusal, ReplyBody, forbid_storing};
use super::routes::{self, CHECK_IN, Route, is_open};
use super::wait::{MAX_WAIT_SECONDS, Waiter};
use axum::Router;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service as _;

const GROUPS: &str = "/api/v2/device_groups/";
const INFO: &str = "/info";
/// Answers that are made in whole before they are sent.
const COPIES: [&str; 2] = ["/api/v2/backup", "/api/v2/export"];
const MAX_WAIT: Duration = Duration::from_secs(MAX_WAIT_SECONDS);

/// What answers the requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Service {
    manager: Arc<Shared>,
    router: Router,
    progress: Arc<Progress>,
    /// The other end.
    address: IpAddr,
    /// The certificate that it presented.
    certificate: Option<Arc<DeviceCertificate>>,
}

/// What is left to do for a request that cannot be answered on the spot.
enum Next {
    /// Everybody may ask.
    Open,
    /// It has a principal.
    Route(Principal),
    /// Whether it has one must be found out.
    Verify(Claim),
    /// It has none.
    Refuse,
}

impl Service {
    pub(super) fn new(manager: Arc<Shared>) -> Self {
        let router = routes::router(Arc::clone(&manager));
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { manager, router, progress: Arc::default(), address, certificate: None }
    }

    /// The same for one more connection.
    pub(super) fn of_connection(
        &self,
        progress: Arc<Progress>,
        address: IpAddr,
        certificate: Option<Arc<DeviceCertificate>>,
    ) -> Self {
        Self { progress, address, certificate, ..self.clone() }
    }

    pub(super) fn manager(&self) -> &Arc<Shared> {
        &self.manager
    }

    /// Answers with ready bytes, or says what is to be done.
    fn at_once(&self, request: &Request<Incoming>) -> Result<Answering, Next> {
        let path = request.uri().path();
        if is_open(path) {
            return Err(Next::Open);
        }
        match self.manager.auth.recognise(request.headers(), self.certificate.as_ref()) {
            Recognised::Nobody => Err(Next::Refuse),
            Recognised::Unknown(claim) => Err(Next::Verify(claim)),
            Recognised::Principal(principal) => {
                self.progress.recognised();
                self.info(request, path, &principal).ok_or(Next::Route(principal))
            }
        }
    }

    /// The hot path: what every device asks for at every check-in.
    fn info(
        &self,
        request: &Request<Incoming>,
        path: &str,
        principal: &Principal,
    ) -> Option<Answering> {
        // A path with `%` in it is no group's name here; the router decodes it.
        let group = path.strip_prefix(GROUPS)?.strip_suffix(INFO)?;
        let is_plain = request.method() == Method::GET && !group.contains(['%', '/']);
        if !is_plain || !principal.may(CHECK_IN, group) {
            return None;
        }
        match request.uri().query() {
            None => self.ready_info(request, group),
            // The router says what is wrong with another query.
            Some(query) => {
                let certificate = self.certificate.clone();
                let waiter = Waiter::new(group, query, request.headers(), certificate).ok()?;
                let (service, who) = (self.clone(), principal.clone());
                Some(Answering::Routed(Box::pin(service.wait(waiter, who))))
            }
        }
    }

    fn ready_info(&self, request: &Request<Incoming>, group: &str) -> Option<Answering> {
        let started = Instant::now();
        let metrics = &self.manager.metrics;
        let ready = self.manager.info.ready(group)?;
        let mut response = ready.reply(request.headers());
        if self.manager.is_crowded() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        metrics.info_hits.inc();
        if response.status() == StatusCode::OK {
            metrics.info_full.inc();
        } else {
            metrics.info_not_modified.inc();
        }
        metrics.durations.observe(started.elapsed().as_secs_f64());
        Some(Answering::Ready(Some(response)))
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.progress.begin(request.version());
        match self.at_once(&request) {
            Ok(answering) => answering,
            Err(next) => {
                let guard = Progress::enter(&self.progress);
                let service = self.clone();
                Answering::Routed(Box::pin(async move {
                    let response = service.answer(request, next).await;
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

impl Service {
    /// The way of every other request.
    async fn answer(self, request: Request<Incoming>, next: Next) -> Response<ReplyBody> {
        let (manager, started) = (&*self.manager, Instant::now());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let address = manager.proxies.client(self.address, request.headers());
        let limit = match path.as_str() {
            path if COPIES.contains(&path) => manager.limits.backup,
            path if path.ends_with(INFO) => manager.limits.request + MAX_WAIT,
            _ => manager.limits.request,
        };
        let mut who = None;
        let answer = AssertUnwindSafe(async {
            who = match self.principal(next, address).await {
                Ok(principal) => principal,
                Err(refusal) => return refusal.into_response(),
            };
            route(self.router.clone(), request, who.clone(), self.certificate.clone()).await
        });
        let response = match tokio::time::timeout(limit, answer.catch_unwind()).await {
            Ok(Ok(response)) => response,
            Ok(Err(_panic)) => {
                tracing::error!(%method, path, "a request's handler panicked");
                Refusal::Panic.into_response()
            }
            Err(_) => Refusal::TooSlow.into_response(),
        };
        let status = response.status().as_u16();
        tracing::debug!(%method, path, status, elapsed = ?started.elapsed(), "request answered");
        let asked = Asked { method: &method, path: &path, address, who: who.as_ref() };
        if manager.audit.answered(&asked, &response) {
            manager.metrics.limit_met("audit_lines");
        }
        count(manager, &response, method_label(&method), started);
        finish(response)
    }

    /// The way of a device that waits for news. It passes by the router, whose room it would hold
    /// all the time.
    async fn wait(self, waiter: Waiter, who: Principal) -> Response<ReplyBody> {
        let manager = &*self.manager;
        let _guard = Progress::enter(&self.progress);
        let answer = AssertUnwindSafe(waiter.answer(manager, &who)).catch_unwind().await;
        let refusal = match answer {
            Ok(Ok(response)) => {
                if response.status() == StatusCode::OK {
                    manager.metrics.info_full.inc();
                } else {
                    manager.metrics.info_not_modified.inc();
                }
                return response;
            }
            Ok(Err(refusal)) => refusal,
            Err(_panic) => {
                tracing::error!(group = waiter.group(), "a waiting request's handler panicked");
                Refusal::Panic
            }
        };
        let mut response = refusal.into_response();
        response.extensions_mut().insert(Route(INFO_ROUTE));
        let path = format!("{GROUPS}{}{INFO}", waiter.group());
        let address = self.address;
        let asked = Asked { method: &Method::GET, path: &path, address, who: Some(&who) };
        if manager.audit.answered(&asked, &response) {
            manager.metrics.limit_met("audit_lines");
        }
        count(manager, &response, "GET", Instant::now());
        finish(response)
    }

    /// Whoever asks, none where everybody may.
    async fn principal(&self, next: Next, address: IpAddr) -> Result<Option<Principal>, Refusal> {
        match next {
            Next::Open => Ok(None),
            Next::Route(principal) => Ok(Some(principal)),
            Next::Refuse => Err(Refusal::Unauthorized),
            Next::Verify(claim) => {
                let verified = self.manager.auth.verify(&claim, address).await;
                if verified.is_ok() {
                    self.progress.recognised();
                }
                verified.map(Some).map_err(Refusal::Denied)
            }
        }
    }
}

async fn route(
    mut router: Router,
    request: Request<Incoming>,
    principal: Option<Principal>,
    certificate: Option<Arc<DeviceCertificate>>,
) -> axum::response::Response {
    let mut request = request.map(axum::body::Body::new);
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal);
    }
    if let Some(certificate) = certificate {
        request.extensions_mut().insert(certificate);
    }
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn count(manager: &Shared, response: &axum::response::Response, method: &'static str, at: Instant) {
    let metrics = &manager.metrics;
    if response.status() == StatusCode::UNAUTHORIZED {
        metrics.unauthorized.inc();
        return;
    }
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
