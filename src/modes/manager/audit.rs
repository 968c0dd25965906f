//! Who did what, for the log: a line for each write, done or refused, and for each request that was
//! not let in.
//!
//! Invariants: no line holds a body, a credential or anything else that may be secret; whoever is
//! refused over and over cannot fill the disk.

use super::auth::Principal;
use super::reply::{Claimed, Why};
use super::routes::{REPORTS_ROUTE, Route};
use axum::response::Response;
use hyper::{Method, StatusCode};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Lines about refusals in each [`WINDOW`]. Guessers come in hundreds a second, and tell nothing
/// new.
const MAX_LINES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);
/// The longest path that is logged.
const MAX_PATH: usize = 300;

/// Principals whose refusals are counted apart; it begins anew when there are more.
const MAX_PRINCIPALS: usize = 1_000;

/// Counts the lines about refusals: of those who were not let in, all together, and of each
/// principal, so that none can hide another's.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<HashMap<String, Window>>);

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

/// A request, as far as the log needs it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) address: IpAddr,
    pub(super) who: Option<&'a Principal>,
}

impl Audit {
    /// Logs a request's outcome, if it is one that is logged. Returns true when a line was left
    /// out, to be counted.
    pub(super) fn answered(&self, asked: &Asked<'_>, response: &Response) -> bool {
        let status = response.status();
        let is_read = matches!(*asked.method, Method::GET | Method::HEAD);
        let route = response.extensions().get::<Route>().map_or("", |route| route.0);
        // A fleet brings hundreds a second, and nothing is declared by them.
        let is_quiet = is_read || route.is_empty() || route == REPORTS_ROUTE;
        let why = response.extensions().get::<Why>().map_or("", |why| why.0);
        let who = asked.who.map_or("", Principal::name);
        let (method, address) = (asked.method.as_str(), asked.address);
        let path: String = asked.path.chars().take(MAX_PATH).collect();
        let code = status.as_u16();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => {
                let Some(left_out) = self.line("") else { return true };
                let claimed = response.extensions().get::<Claimed>();
                let who = claimed.map_or("", |claimed| claimed.0.as_str());
                tracing::info!(who, %address, method, path, status = code, why, left_out, "not let in");
            }
            _ if status.is_success() && !is_quiet => {
                tracing::info!(who, %address, method, path, status = code, "write done");
            }
            _ if why == Why::FORBIDDEN.0 => {
                let Some(left_out) = self.line(who) else { return true };
                tracing::info!(who, %address, method, path, status = code, left_out, "not permitted");
            }
            _ if is_quiet => {}
            _ => {
                let Some(left_out) = self.line(who) else { return true };
                tracing::info!(who, %address, method, path, status = code, why, left_out, "write refused");
            }
        }
        false
    }

    /// Takes a line, with the number of those that were left out before it.
    fn line(&self, who: &str) -> Option<u64> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_PRINCIPALS && !windows.contains_key(who) {
            windows.clear();
        }
        let window = windows.entry(who.to_owned()).or_default();
        let now = Instant::now();
        if window.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            (window.since, window.lines) = (Some(now), 0);
        }
        if window.lines >= MAX_LINES {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}
