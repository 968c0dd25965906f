//! `GET /device_groups/N/info` when it is not answered on the spot: the bytes must be made, or the
//! client waits for other ones.
//!
//! A waiting client is told nothing but to look: it gets the whole answer of the moment it is woken
//! in, or 304 when its time is up.
//!
//! Invariant: a parked request is authorised again whenever a user or user group changes, and each
//! time that memory of credentials may end.

use super::Shared;
use super::body::ObjectName;
use super::objects::unknown;
use super::operation::permit_again;
use super::reply::{Answer, Refusal};
use crate::model::{DeviceGroup, Invalid};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use axum::response::Response;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use url::form_urlencoded;

/// The longest wait. Proxies cut what is silent for longer, and a device asks again anyway.
pub(super) const MAX_WAIT_SECONDS: u64 = 300;
/// A parked request is authorised again at least this often, for what changed on another manager.
const AUTHORISED_AGAIN: Duration = Duration::from_secs(50);

/// The pace of devices that find no place to wait: they poll, spread over this time, and need a
/// connection for a moment only.
const PACE_SECONDS: std::ops::Range<u64> = 30..90;

/// `GET /device_groups/N/info`
pub(super) async fn info(
    State(manager): State<Arc<Shared>>,
    ObjectName(name): ObjectName,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let deadline = Instant::now() + wait(parts.uri.query().unwrap_or_default())?;
    loop {
        let mut changed = std::pin::pin!(manager.info.changed(&name));
        let mut users_changed = std::pin::pin!(manager.auth.changed());
        changed.as_mut().enable();
        users_changed.as_mut().enable();
        let ready = manager.info.get(&name, manager.declarations.store()).await?;
        let ready = ready.ok_or_else(unknown::<DeviceGroup>)?;
        let is_over = Instant::now() >= deadline || manager.parked.is_cancelled();
        if is_over || !ready.is_known_to(&parts.headers) {
            return Ok(ready.reply(&parts.headers).map(axum::body::Body::new));
        }
        if manager.is_crowded() {
            manager.metrics.limit_met("parked");
            return Ok(paced(ready.reply(&parts.headers).map(axum::body::Body::new)));
        }
        let _parked = Parked::new(&manager.metrics.parked);
        tokio::select! {
            () = changed => {}
            () = users_changed => {}
            () = sleep_until(deadline.min(Instant::now() + AUTHORISED_AGAIN)) => {}
            () = manager.parked.cancelled() => {}
        }
        permit_again(&manager, &parts).await?;
    }
}

/// An answer that gives its place free, and says when to come back.
fn paced(mut response: Response) -> Response {
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
