//! `GET /device_groups/N/info` when it is not answered on the spot: the bytes must be made, or the
//! client waits for other ones.
//!
//! A waiting client is told nothing but to look: it gets the whole answer of the moment it is woken
//! in, or 304 when its time is up.
//!
//! Invariants: a parked request is authorised again whenever a user or user group changes, and each
//! time that memory of credentials may end; it keeps nothing of its request but what is needed for
//! that, copied, because a header that is kept keeps the connection's whole buffer.

use super::Shared;
use super::auth::{DeviceCertificate, Principal};
use super::body::ObjectName;
use super::info::Ready;
use super::objects::unknown;
use super::operation::{Holder, permit_holder};
use super::reply::{Answer, Refusal, ReplyBody};
use super::routes::CHECK_IN;
use crate::model::{DeviceGroup, Invalid};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use hyper::{HeaderMap, Response};
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use url::form_urlencoded;

/// The longest wait. Proxies cut what is silent for longer, and a device asks again anyway.
pub(super) const MAX_WAIT_SECONDS: u64 = 300;
/// A parked request is authorised again at least this often, for what changed on another manager.
const AUTHORISED_AGAIN: Duration = Duration::from_secs(50);
/// The pace of devices that find no place to wait: they poll, spread over this time, and need a
/// connection for a moment only.
const PACE_SECONDS: std::ops::Range<u64> = 30..90;

/// A request that may wait.
pub(super) struct Waiter {
    group: String,
    /// Who asks, and what they have.
    headers: HeaderMap,
    certificate: Option<Arc<DeviceCertificate>>,
    deadline: Instant,
}

impl Waiter {
    /// From a request, whose query says how long.
    pub(super) fn new(
        group: &str,
        query: &str,
        headers: &HeaderMap,
        certificate: Option<Arc<DeviceCertificate>>,
    ) -> Result<Self, Refusal> {
        let deadline = Instant::now() + wait(query)?;
        let mut kept = HeaderMap::with_capacity(2);
        for name in [AUTHORIZATION, IF_NONE_MATCH] {
            for value in headers.get_all(&name) {
                // Bytes of a header are bytes of a header.
                if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
                    kept.append(name.clone(), copy);
                }
            }
        }
        Ok(Self { group: group.to_owned(), headers: kept, certificate, deadline })
    }

    /// The group it asks for.
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Waits for another answer than the client has, or for its time to be up.
    pub(super) async fn answer(
        &self,
        manager: &Shared,
        who: &Principal,
    ) -> Result<Response<ReplyBody>, Refusal> {
        loop {
            let mut changed = std::pin::pin!(manager.info.changed(&self.group));
            let mut users_changed = std::pin::pin!(manager.auth.changed(who));
            changed.as_mut().enable();
            users_changed.as_mut().enable();
            let (ready, was_made) = self.ready(manager).await?;
            let is_over = Instant::now() >= self.deadline || manager.parked.is_cancelled();
            if is_over || !ready.is_known_to(&self.headers) {
                if !was_made {
                    manager.metrics.info_hits.inc();
                }
                return Ok(ready.reply(&self.headers));
            }
            if manager.is_crowded() {
                manager.metrics.limit_met("parked");
                return Ok(paced(ready.reply(&self.headers)));
            }
            // Thousands wait with it in hand: it would outlive its truth in memory.
            drop(ready);
            let _parked = Parked::new(&manager.metrics.parked);
            tokio::select! {
                () = changed => {}
                () = users_changed => {}
                () = sleep_until(self.deadline.min(Instant::now() + AUTHORISED_AGAIN)) => {}
                () = manager.parked.cancelled() => {}
            }
            let holder = Holder { headers: &self.headers, certificate: self.certificate.as_ref() };
            permit_holder(manager, holder, CHECK_IN, &self.group).await?;
        }
    }

    /// The bytes, and whether they had to be made.
    async fn ready(&self, manager: &Shared) -> Result<(Arc<Ready>, bool), Refusal> {
        if let Some(ready) = manager.info.ready(&self.group) {
            return Ok((ready, false));
        }
        manager.metrics.info_misses.inc();
        // In a box, so that nobody waits with the room that this takes for a moment.
        let made = Box::pin(manager.info.get(&self.group, manager.declarations.store()));
        let made = timeout(manager.limits.request, made).await.map_err(|_| Refusal::TooSlow)?;
        made?.map(|made| (made, true)).ok_or_else(unknown::<DeviceGroup>)
    }
}

/// `GET /device_groups/N/info`, when the service did not take it.
pub(super) async fn info(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    request: Request,
) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let certificate = request.extensions().get().cloned();
    let waiter = Waiter::new(&name, query, request.headers(), certificate)?;
    drop(request);
    Ok(waiter.answer(&manager, &who).await?.map(axum::body::Body::new))
}

/// An answer that gives its place free, and says when to come back.
fn paced(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, rand::random_range(PACE_SECONDS).into());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A parked request, counted; also when its client goes away.
struct Parked<'a>(&'a Gauge);

impl<'a> Parked<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How long a client is willing to wait. Without `If-None-Match` there is nothing to wait for.
fn wait(query: &str) -> Result<Duration, Refusal> {
    let mut waits = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "wait");
    let (Some((_, given)), None) = (waits.next(), waits.next()) else {
        return if query.contains("wait=") { Err(refused()) } else { Ok(Duration::ZERO) };
    };
    let seconds = given.parse().ok().filter(|seconds| *seconds <= MAX_WAIT_SECONDS);
    seconds.map(Duration::from_secs).ok_or_else(refused)
}

fn refused() -> Refusal {
    let rule =
        format!("must be given once, as a whole number of seconds from 0 to {MAX_WAIT_SECONDS}");
    Invalid::field("wait", rule).into()
}
