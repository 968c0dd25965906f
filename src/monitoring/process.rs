//! What this process takes of the machine, under Prometheus' own names for it.
//!
//! Read from the kernel when somebody asks, so that it costs nothing between. Where the kernel does
//! not tell a value, it is left out: a wrong zero would hide that memory grows.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The field of `/proc/self/stat` that tells when the process started, counted after its name.
const START_FIELD: usize = 19;

/// Makes a registry of this process alone: its metrics carry no prefix of ours.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process { start_seconds: start_seconds() }));
    registry
}

#[derive(Debug)]
struct Process {
    /// Looked up once: computed from two clocks, it would waver in its last digits.
    start_seconds: Option<f64>,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            let encoder = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(encoder)
        };
        gauge("process_resident_memory_bytes", "Resident memory", resident_bytes())?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        gauge("process_max_fds", "The limit of open file descriptors", max_files())?;
        let started = "When the process started, in seconds since 1970";
        gauge("process_start_time_seconds", started, self.start_seconds)?;
        let cpu = ConstCounter::new(cpu_seconds());
        let help = "Processor time that was used, in the process and for it";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)
    }
}

fn seconds(time: Timespec) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^52")]
    let (whole, rest) = (time.tv_sec as f64, time.tv_nsec as f64);
    whole + rest / 1e9
}

fn cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn resident_bytes() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((pages * rustix::param::page_size() as u64) as f64)
}

/// Since Linux 6.2 the folder's size is the number of its entries; before, they are counted.
#[expect(clippy::cast_precision_loss, reason = "files are far below 2^52")]
fn open_files() -> Option<f64> {
    let told = std::fs::metadata("/proc/self/fd").ok()?.len();
    let count =
        if told > 0 { told } else { std::fs::read_dir("/proc/self/fd").ok()?.count() as u64 };
    Some(count as f64)
}

/// None when there is no limit.
#[expect(clippy::cast_precision_loss, reason = "files are far below 2^52")]
fn max_files() -> Option<f64> {
    getrlimit(Resource::Nofile).current.map(|most| most as f64)
}

/// The kernel tells how long after its own start the process started.
#[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
fn start_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The process's name stands in brackets and may hold spaces and brackets.
    let (_, fields) = text.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(START_FIELD)?.parse().ok()?;
    let after_boot = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    let up = seconds(clock_gettime(ClockId::Boottime));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - up + after_boot)
}
