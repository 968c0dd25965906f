//! What was measured: printed for people, and kept as a file that the next run is compared with.
//!
//! What it is not: it decides nothing. A figure that misses its limit is told and fails no run, for
//! on a shared machine it may be somebody else's load that was measured; that load stands beside it.
//!
//! A figure is known by its part and name. Where it has a ratio to something that ran beside it,
//! the ratio is what counts: against its limit, and against the last run, for the machine's own
//! speed is on both sides of it.

use crate::Outcome;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// Everything a run has found, in the order of its parts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    date: String,
    machine: Machine,
    parts: Vec<Part>,
}

/// Where the run was.
#[derive(Debug, Serialize, Deserialize)]
struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    memory_bytes: u64,
    open_files_limit: u64,
    commit: String,
}

/// One part, with what else the machine did meanwhile: the load average includes the part's own.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    seconds: f64,
    load_before: String,
    load_after: String,
    error: Option<String>,
    figures: Vec<Figure>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    name: String,
    unit: String,
    value: f64,
    other: Option<f64>,
    ratio: Option<f64>,
    limit: Option<Limit>,
}

/// Of the ratio, where there is one, else of the value.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &str, value: f64) -> Self {
        let (name, unit) = (name.into(), unit.to_owned());
        Self { name, unit, value, other: None, ratio: None, limit: None }
    }

    /// Beside what it is to be compared with.
    pub(crate) fn beside(self, other: f64) -> Self {
        let ratio = self.value / other;
        self.beside_at(other, ratio)
    }

    /// The same, where the ratio is not that of the two numbers: a median of ratios is steadier
    /// than the ratio of medians.
    pub(crate) fn beside_at(mut self, other: f64, ratio: f64) -> Self {
        (self.other, self.ratio) = (Some(other), Some(ratio));
        self
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(Limit::AtMost(limit));
        self
    }

    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.limit = Some(Limit::AtLeast(limit));
        self
    }

    fn title(&self) -> String {
        format!("{} ({})", self.name, self.unit)
    }

    fn counts(&self) -> f64 {
        self.ratio.unwrap_or(self.value)
    }

    fn verdict(&self) -> &'static str {
        let holds = match self.limit {
            None => return "",
            Some(Limit::AtMost(limit)) => self.counts() <= limit,
            Some(Limit::AtLeast(limit)) => self.counts() >= limit,
        };
        if holds { "holds" } else { "missed" }
    }

    /// `last` is what counted of the same figure before.
    fn line(&self, width: usize, last: Option<f64>) -> String {
        let number = |value: Option<f64>| value.map_or(String::new(), short);
        let limit = match self.limit {
            None => String::new(),
            Some(Limit::AtMost(limit)) => format!("<= {}", short(limit)),
            Some(Limit::AtLeast(limit)) => format!(">= {}", short(limit)),
        };
        // Of two zeros nothing can be said, and nothing has to be.
        let last =
            last.filter(|last| *last != 0.0).map(|last| format!("x{:.2}", self.counts() / last));
        format!(
            "  {:<width$} {:>8} {:>8} {:>6} {limit:>9} {:>6} {:>7}",
            self.title(),
            short(self.value),
            number(self.other),
            self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.verdict(),
            last.unwrap_or_default()
        )
    }
}

impl Results {
    pub(crate) fn new() -> Self {
        let date: DateTime<Utc> = SystemTime::now().into();
        let date = date.format("%Y-%m-%dT%H-%M-%SZ").to_string();
        Self { date, machine: Machine::here(), parts: Vec::new() }
    }

    /// Runs one part. One that fails is told as such, and the others are measured all the same.
    pub(crate) async fn part(
        &mut self,
        name: &str,
        measure: impl AsyncFnOnce(&mut Vec<Figure>) -> Outcome<()>,
    ) {
        let (begun, load_before) = (Instant::now(), load());
        eprintln!("{name}: load average {load_before}");
        let mut figures = Vec::new();
        let error = measure(&mut figures).await.err().map(|error| error.to_string());
        if let Some(error) = &error {
            eprintln!("{name}: not measured to its end: {error}");
        }
        let (name, seconds) = (name.to_owned(), begun.elapsed().as_secs_f64());
        self.parts.push(Part { name, seconds, load_before, load_after: load(), error, figures });
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.error.is_none())
    }

    /// Beside what each figure was when it was last measured, in any of the earlier runs.
    pub(crate) fn text(&self, earlier: &[Self]) -> String {
        let Machine { cores, processor, kernel, commit, open_files_limit, .. } = &self.machine;
        let figures = self.parts.iter().flat_map(|part| &part.figures);
        let width = figures.map(|figure| figure.title().chars().count()).max().unwrap_or(0);
        let mut text = format!(
            "{}, commit {commit}: {cores} cores of {processor}, kernel {kernel}, {open_files_limit} \
             open files a process\n\n  {:<width$} {:>8} {:>8} {:>6} {:>9} {:>6} {:>7}\n",
            self.date, "", "value", "other", "ratio", "limit", "", "to last"
        );
        for part in &self.parts {
            let Part { name, seconds, load_before, load_after, error, figures } = part;
            let _ = writeln!(
                text,
                "{name}, in {seconds:.0} s, load average {load_before} before, {load_after} after"
            );
            for figure in figures {
                let last = earlier.iter().rev().find_map(|run| run.figure(name, &figure.name));
                let _ = writeln!(text, "{}", figure.line(width, last.map(Figure::counts)));
            }
            if let Some(error) = error {
                let _ = writeln!(text, "  not measured to its end: {error}");
            }
        }
        text
    }

    fn figure(&self, part: &str, name: &str) -> Option<&Figure> {
        let of_part = self.parts.iter().filter(|other| other.name == part);
        of_part.flat_map(|part| &part.figures).find(|figure| figure.name == name)
    }

    /// Writes the file, named by date, and gives its path.
    pub(crate) fn write(&self, folder: &Path) -> Outcome<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}.json", self.date));
        std::fs::write(&file, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(file)
    }

    pub(crate) fn read(file: &Path) -> Outcome<Self> {
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()).into())
    }

    /// The files of a folder, the oldest first.
    pub(crate) fn read_all(folder: &Path) -> Outcome<Vec<Self>> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Outcome<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }
}

impl Machine {
    fn here() -> Self {
        let after = |file, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
        };
        let memory = after("/proc/meminfo", "MemTotal:");
        let memory = memory.split(' ').next().and_then(|kilobytes| kilobytes.parse::<u64>().ok());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            processor: after("/proc/cpuinfo", "model name"),
            kernel: kernel.trim().to_owned(),
            memory_bytes: memory.unwrap_or(0) * 1024,
            open_files_limit: open_files_limit(),
            commit: std::env::var("NEBULA_BENCH_COMMIT").unwrap_or_else(|_| "unknown".to_owned()),
        }
    }
}

/// As many as a process may have, when it raises its own limit as far as it can.
pub(crate) fn open_files_limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.maximum.unwrap_or(u64::MAX)
}

/// Of the last minute, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// With as many digits as mean something.
fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}
