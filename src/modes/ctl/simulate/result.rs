//! What a run came to: tables for people, JSON for programs. `docs/sizing.md` says what each figure
//! means; keys are added to the JSON, never changed.

use super::super::failure::Failure;
use super::super::output::{self, Output, fields, table};
use super::Shared;
use super::changes::Changes;
use super::figures::{Figures, Times};
use super::flags::{Rhythm, Simulate};
use super::group::Group;
use super::metrics::Sample;
use super::watch::{Seen, Simulator};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    devices: usize,
    groups: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_in_seconds: Option<f64>,
    seconds: f64,
    connected: u64,
    connected_after_seconds: Option<f64>,
    converged: usize,
    unsettled: u64,
    changes: Counted,
    answers: Answers,
    connections: u64,
    containers_started: u64,
    containers_stopped: u64,
    errors: BTreeMap<&'static str, u64>,
    #[serde(skip)]
    errors_in_words: Vec<(&'static str, u64)>,
    milliseconds: Milliseconds,
    managers: Vec<OfManager>,
    simulator: OfSimulator,
}

#[derive(Debug, Serialize)]
struct Counted {
    made: usize,
    failed: Vec<String>,
    deliveries: u64,
    deliveries_expected: usize,
}

#[derive(Debug, Serialize)]
struct Answers {
    whole: u64,
    whole_bytes: u64,
    not_modified: u64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Milliseconds {
    connect: Percentiles,
    check_in: Percentiles,
    change: Percentiles,
    change_to_device: Percentiles,
    change_to_device_since_sent: Percentiles,
}

#[derive(Debug, Serialize)]
struct Percentiles {
    count: u64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

/// What one manager needed; nothing where it does not tell.
#[derive(Debug, Serialize)]
struct OfManager {
    url: String,
    memory_bytes_before: Option<f64>,
    memory_bytes_connected: Option<f64>,
    memory_bytes_peak: f64,
    memory_bytes_end: Option<f64>,
    memory_bytes_after: Option<f64>,
    memory_bytes_per_device: Option<f64>,
    cpu_seconds: Option<f64>,
    cpu_cores_peak: f64,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    parked_peak: f64,
    info_cache_hits: Option<f64>,
    info_cache_misses: Option<f64>,
    connections_refused: Option<f64>,
    is_one_process: bool,
}

#[derive(Debug, Serialize)]
struct OfSimulator {
    cpu_seconds: f64,
    cpu_cores_peak: f64,
    seconds: u32,
    seconds_busy: u32,
    is_bottleneck: bool,
}

impl Outcome {
    pub(super) fn new(
        simulate: &Simulate,
        shared: &Shared,
        changes: &Changes<'_>,
        managers: &[Seen],
        simulator: Simulator,
        connected_after: Option<Duration>,
        ran_for: Duration,
    ) -> Self {
        let Shared { figures, .. } = shared;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let times = figures.times().clone();
        let errors = figures.errors();
        let all_connected = count(&figures.ready) >= simulate.devices as u64;
        let (wait_seconds, check_in_seconds) = match shared.rhythm {
            Rhythm::Park(seconds) => (Some(seconds), None),
            Rhythm::CheckIn(interval) => (None, Some(interval.as_secs_f64())),
        };
        let urls = shared.managers.iter().map(|manager| manager.url().to_owned());
        Self {
            devices: simulate.devices,
            groups: simulate.groups,
            wait_seconds,
            check_in_seconds,
            seconds: ran_for.as_secs_f64(),
            connected: count(&figures.ready),
            connected_after_seconds: connected_after
                .filter(|_| all_connected)
                .map(|after| after.as_secs_f64()),
            converged: shared.groups.iter().map(Group::converged).sum(),
            unsettled: count(&figures.unsettled),
            changes: Counted {
                made: changes.made,
                failed: changes.failed.clone(),
                deliveries: times.to_device.len(),
                deliveries_expected: changes.deliveries,
            },
            answers: Answers::of(figures, ran_for),
            connections: count(&figures.connections),
            containers_started: count(&figures.started),
            containers_stopped: count(&figures.stopped),
            errors: errors.iter().map(|(trouble, count)| (trouble.key(), *count)).collect(),
            errors_in_words: errors.iter().map(|(t, count)| (t.words(), *count)).collect(),
            milliseconds: Milliseconds::of(&times),
            managers: urls.zip(managers).map(|(url, seen)| OfManager::of(url, seen)).collect(),
            simulator: OfSimulator {
                cpu_seconds: simulator.cpu_seconds,
                cpu_cores_peak: simulator.peak_cores,
                seconds: simulator.seconds,
                seconds_busy: simulator.busy_seconds,
                is_bottleneck: simulator.busy_seconds > 0,
            },
        }
    }

    pub(super) fn print(&self, to: &Output) -> Result<(), Failure> {
        if self.simulator.is_bottleneck {
            output::say(&format!(
                "warning: in {} of {} seconds this process used more than 90 % of a core; figures of \
                 these seconds may be its own and not the managers'",
                self.simulator.seconds_busy, self.simulator.seconds
            ));
        }
        for manager in self.managers.iter().filter(|manager| !manager.is_one_process) {
            output::say(&format!(
                "warning: {} restarted, or several managers answer there; its memory and processor \
                 time mean nothing",
                manager.url
            ));
        }
        if to.is_table() {
            return output::print(&self.text());
        }
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new("cannot write the result as JSON").because(error))?;
        output::print(&format!("{json}\n"))
    }

    /// Whether the run was a success.
    pub(super) fn verdict(&self, allowed_errors: u64) -> Result<(), Failure> {
        let errors: u64 = self.errors.values().sum();
        let mut reasons = Vec::new();
        let missing = self.devices.saturating_sub(usize::try_from(self.connected).unwrap_or(0));
        if missing > 0 {
            reasons.push(format!("{missing} devices never got an answer"));
        }
        let behind = self.devices.saturating_sub(self.converged);
        if behind > 0 {
            reasons.push(format!("{behind} devices did not converge on the last change"));
        }
        if let Some(first) = self.changes.failed.first() {
            reasons
                .push(format!("{} changes failed, the first: {first}", self.changes.failed.len()));
        }
        if errors > allowed_errors {
            reasons.push(format!("{errors} errors of devices, {allowed_errors} are allowed"));
        }
        if reasons.is_empty() { Ok(()) } else { Err(Failure::new(reasons.join("; "))) }
    }

    fn text(&self) -> String {
        let mut parts = vec![self.run_in_words(), self.times_in_words()];
        parts.extend(self.managers.iter().map(OfManager::in_words));
        if !self.errors.is_empty() {
            let row = |(words, count): &(&str, u64)| vec![(*words).to_owned(), count.to_string()];
            parts.push(table(&["ERROR", "COUNT"], self.errors_in_words.iter().map(row).collect()));
        }
        parts.join("\n")
    }

    fn run_in_words(&self) -> String {
        let rhythm = match (self.wait_seconds, self.check_in_seconds) {
            (_, Some(interval)) => format!("asking every {interval} s"),
            (wait, _) => format!("parked for up to {} s", wait.unwrap_or(0)),
        };
        let connected = match self.connected_after_seconds {
            Some(after) => format!("{} after {after:.1} s", self.connected),
            None => self.connected.to_string(),
        };
        let Answers { whole, whole_bytes, not_modified, per_second } = self.answers;
        let simulator = &self.simulator;
        rows([
            ("devices", format!("{} in {} groups, {rhythm}", self.devices, self.groups)),
            ("connected", connected),
            ("converged", self.converged.to_string()),
            ("changes", format!("{}, and {} failed", self.changes.made, self.changes.failed.len())),
            (
                "answers",
                format!(
                    "{whole} whole ({}), {not_modified} unchanged, {per_second:.0} a second",
                    size(Some(bytes(whole_bytes)))
                ),
            ),
            ("connections", self.connections.to_string()),
            (
                "containers",
                format!(
                    "{} started, {} stopped, all simulated",
                    self.containers_started, self.containers_stopped
                ),
            ),
            (
                "simulator",
                format!(
                    "{:.1} s of processor time in {:.1} s, at most {:.2} cores",
                    simulator.cpu_seconds, self.seconds, simulator.cpu_cores_peak
                ),
            ),
        ])
    }

    fn times_in_words(&self) -> String {
        let row = |name: &str, of: &Percentiles| {
            let mut row = vec![name.to_owned(), of.count.to_string()];
            row.extend([of.p50, of.p90, of.p99, of.p99_9, of.max].map(|ms| format!("{ms:.1}")));
            row
        };
        let of = &self.milliseconds;
        table(
            &["MILLISECONDS", "COUNT", "P50", "P90", "P99", "P99.9", "MAX"],
            vec![
                row("connect", &of.connect),
                row("check-in", &of.check_in),
                row("change", &of.change),
                row("change to device", &of.change_to_device),
                row("  since it was sent", &of.change_to_device_since_sent),
            ],
        )
    }
}

impl Answers {
    fn of(figures: &Figures, ran_for: Duration) -> Self {
        let whole = figures.whole.load(Relaxed);
        let not_modified = figures.not_modified.load(Relaxed);
        let per_second = bytes(whole + not_modified) / ran_for.as_secs_f64().max(0.001);
        Self { whole, whole_bytes: figures.bytes.load(Relaxed), not_modified, per_second }
    }
}

impl Milliseconds {
    fn of(times: &Times) -> Self {
        Self {
            connect: Percentiles::of(&times.connect),
            check_in: Percentiles::of(&times.check_in),
            change: Percentiles::of(&times.change),
            change_to_device: Percentiles::of(&times.to_device),
            change_to_device_since_sent: Percentiles::of(&times.since_sent),
        }
    }
}

impl Percentiles {
    fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| bytes(times.value_at_quantile(quantile)) / 1_000.0;
        let count = times.len();
        let max = bytes(times.max()) / 1_000.0;
        Self { count, p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max }
    }
}

impl OfManager {
    fn of(url: String, seen: &Seen) -> Self {
        let grown = |value: fn(&Sample) -> Option<f64>, until: Option<Sample>| {
            Some(value(&until?)? - value(&seen.before?)?)
        };
        let connections = grown(|sample| sample.connections, seen.parked);
        let per_device = connections
            .filter(|count| *count >= 1.0)
            .and_then(|count| Some(grown(|sample| sample.resident_bytes, seen.parked)? / count));
        let resident = |sample: Option<Sample>| sample.and_then(|sample| sample.resident_bytes);
        Self {
            url,
            memory_bytes_before: resident(seen.before),
            memory_bytes_connected: resident(seen.parked),
            memory_bytes_peak: seen.peak_resident_bytes,
            memory_bytes_end: resident(seen.during),
            memory_bytes_after: resident(seen.after),
            memory_bytes_per_device: per_device,
            cpu_seconds: grown(|sample| sample.cpu_seconds, seen.during),
            cpu_cores_peak: seen.peak_cores,
            open_fds: seen.parked.and_then(|sample| sample.open_fds),
            max_fds: seen.before.and_then(|sample| sample.max_fds),
            parked_peak: seen.peak_parked,
            info_cache_hits: grown(|sample| sample.cache_hits, seen.during),
            info_cache_misses: grown(|sample| sample.cache_misses, seen.during),
            connections_refused: grown(|sample| sample.refused, seen.during),
            is_one_process: seen.is_one_process(),
        }
    }

    fn in_words(&self) -> String {
        let number = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| format!("{v:.0}"));
        let cpu = self.cpu_seconds.map_or("unknown".to_owned(), |used| format!("{used:.1} s"));
        rows([
            ("manager", self.url.clone()),
            (
                "memory",
                format!(
                    "{} before, {} with all connected, {} at most, {} at the end, {} after",
                    size(self.memory_bytes_before),
                    size(self.memory_bytes_connected),
                    size(Some(self.memory_bytes_peak)),
                    size(self.memory_bytes_end),
                    size(self.memory_bytes_after)
                ),
            ),
            ("memory a device", size(self.memory_bytes_per_device)),
            ("processor time", format!("{cpu}, at most {:.2} cores", self.cpu_cores_peak)),
            ("open files", format!("{} of {}", number(self.open_fds), number(self.max_fds))),
            ("parked", format!("{:.0} at most", self.parked_peak)),
            (
                "answers from memory",
                format!(
                    "{}, and {} made",
                    number(self.info_cache_hits),
                    number(self.info_cache_misses)
                ),
            ),
            ("connections refused", number(self.connections_refused)),
        ])
    }
}

fn rows<const N: usize>(rows: [(&str, String); N]) -> String {
    fields(rows.into_iter().map(|(name, value)| (name.to_owned(), vec![value])).collect())
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
fn bytes(count: u64) -> f64 {
    count as f64
}

/// A size as people read it.
fn size(bytes: Option<f64>) -> String {
    match bytes {
        None => "unknown".to_owned(),
        Some(bytes) if bytes.abs() >= 10e6 => format!("{:.0} MB", bytes / 1e6),
        Some(bytes) if bytes.abs() >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        Some(bytes) => format!("{:.1} kB", bytes / 1e3),
    }
}
