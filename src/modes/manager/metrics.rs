//! What the manager counts, for `/metrics`.

use crate::monitoring::{metrics_text, process_registry};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Seconds, from a ready answer (tens of microseconds) to the longest a request may take.
const BUCKETS: [f64; 9] = [0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// One combination of route, method and status. Every value comes from a closed list, so that no
/// client can make new ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
    pub(super) status: u32,
}

/// Whose credentials were hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Hashed {
    pub(super) lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

/// How the changes of the store are heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The store tells them.
    Stream,
    /// The store is asked.
    Poll,
    /// Not at the moment; or nobody else writes to it.
    None,
}

impl Source {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Poll => "poll",
            Self::None => "none",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

/// The counters. Those of the hot path are kept apart, so that no map is looked up there.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    process: Registry,
    requests: Family<Request, Counter>,
    limits: Family<Limit, Counter>,
    followed: Family<By, Gauge>,
    pub(super) changes_told: Counter,
    pub(super) hashes: Family<Hashed, Counter>,
    pub(super) durations: Histogram,
    pub(super) unauthorized: Counter,
    pub(super) info_hits: Counter,
    pub(super) info_misses: Counter,
    pub(super) info_full: Counter,
    pub(super) info_not_modified: Counter,
    pub(super) store_errors: Counter,
    pub(super) reports_accepted: Counter,
    pub(super) reports_refused: Counter,
    pub(super) reports_limited: Counter,
    pub(super) connections: Gauge,
    pub(super) parked: Gauge,
    pub(super) connections_refused: Counter,
    /// Seconds since 1970.
    pub(super) certificate_not_after: Gauge,
    pub(super) certificate_failures: Counter,
}

/// The path by which `/info` is counted.
pub(super) const INFO_ROUTE: &str = "/api/v2/device_groups/{name}/info";

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Family::<Request, Counter>::default();
        let info = |status| {
            requests.get_or_create_owned(&Request { route: INFO_ROUTE, method: "GET", status })
        };
        let mut metrics = Self {
            registry: Registry::with_prefix("nebula"),
            process: process_registry(),
            limits: Family::default(),
            followed: Family::default(),
            changes_told: Counter::default(),
            hashes: Family::default(),
            durations: Histogram::new(BUCKETS),
            unauthorized: requests.get_or_create_owned(&Request {
                route: "unauthorized",
                method: "any",
                status: 401,
            }),
            info_hits: Counter::default(),
            info_misses: Counter::default(),
            info_full: info(200),
            info_not_modified: info(304),
            store_errors: Counter::default(),
            reports_accepted: Counter::default(),
            reports_refused: Counter::default(),
            reports_limited: Counter::default(),
            connections: Gauge::default(),
            parked: Gauge::default(),
            connections_refused: Counter::default(),
            certificate_not_after: Gauge::default(),
            certificate_failures: Counter::default(),
            requests: requests.clone(),
        };
        metrics.followed_by(Source::None);
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        let registry = &mut self.registry;
        registry.register("build", "This manager", build);
        registry.register("requests", "Requests answered", self.requests.clone());
        let durations = self.durations.clone();
        registry.register(
            "request_duration_seconds",
            "From a request's headers to its answer's",
            durations,
        );
        let hits = self.info_hits.clone();
        registry.register("info_cache_hits", "Answers to /info that were ready in memory", hits);
        let misses = self.info_misses.clone();
        registry.register("info_cache_misses", "Answers to /info that had to be made", misses);
        let errors = self.store_errors.clone();
        registry.register("store_errors", "Operations the store could not do", errors);
        registry.register("limits_met", "Requests that met a limit", self.limits.clone());
        let hashes = self.hashes.clone();
        registry.register("hashes", "Hashes of passwords and tokens computed", hashes);
        let accepted = self.reports_accepted.clone();
        registry.register("reports_accepted", "Reports of devices that are kept", accepted);
        let refused = self.reports_refused.clone();
        registry.register("reports_refused", "Reports of devices that never will be", refused);
        let limited = self.reports_limited.clone();
        registry.register("reports_limited", "Reports that came too fast for one device", limited);
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("parked", "Requests that wait for a change", self.parked.clone());
        let followed = self.followed.clone();
        let how = "1 for how changes of the store by others are heard of: a change stream, asking, or none";
        registry.register("store_followed", how, followed);
        let told = self.changes_told.clone();
        registry.register("store_changes", "Changes of the store heard of", told);
        let refused = self.connections_refused.clone();
        registry.register("connections_refused", "Connections over the limit", refused);
        let not_after = self.certificate_not_after.clone();
        let end = "When the certificate in use ends, in seconds since 1970; 0 without HTTPS";
        registry.register("tls_certificate_not_after_seconds", end, not_after);
        let failures = self.certificate_failures.clone();
        let failed = "Looks at changed certificate files that could not be used";
        registry.register("tls_certificate_failures", failed, failures);
    }

    /// Says how changes of the store are heard of from now on.
    pub(super) fn followed_by(&self, source: Source) {
        for each in [Source::Stream, Source::Poll, Source::None] {
            let is_it = i64::from(each == source);
            self.followed.get_or_create(&By { by: each.as_str() }).set(is_it);
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, request: &Request) {
        self.requests.get_or_create(request).inc();
    }

    /// Counts a limit that was met.
    pub(super) fn limit_met(&self, limit: &'static str) {
        self.limits.get_or_create(&Limit { limit }).inc();
    }

    /// All of it in the `OpenMetrics` text form.
    pub(super) fn text(&self) -> String {
        metrics_text(&self.process, &self.registry)
    }
}
