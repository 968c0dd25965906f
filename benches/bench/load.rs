//! Load by `wrk`: one thread of it, on the same cores as what it loads.

use crate::{Outcome, median};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is asked, again and again.
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) headers: Vec<String>,
    /// A script of wrk's, with its arguments.
    pub(crate) script: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
}

impl Load {
    pub(crate) fn new(url: impl Into<String>, headers: &[&str]) -> Self {
        let headers = headers.iter().map(|header| (*header).to_owned()).collect();
        Self { url: url.into(), headers, script: Vec::new() }
    }

    pub(crate) fn with_script(mut self, file: &Path, arguments: &[&str]) -> Self {
        self.script = vec![file.display().to_string()];
        self.script.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Any refusal and any broken connection is an error: what is measured are whole answers.
    pub(crate) fn run(&self, connections: usize, time: &str) -> Outcome<Loaded> {
        let mut command = Command::new("wrk");
        let connections = connections.to_string();
        command.args(["-t1", "--latency", "-d", time, "-c", &connections]).stdin(Stdio::null());
        for header in &self.headers {
            command.args(["-H", header]);
        }
        if let Some(file) = self.script.first() {
            command.args(["-s", file]);
        }
        command.arg(&self.url);
        if self.script.len() > 1 {
            command.arg("--").args(&self.script[1..]);
        }
        let output = command.output()?;
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} under load: {text}{error}", self.url).into());
        }
        let after = |name| {
            let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
            line.map(str::trim).ok_or_else(|| format!("wrk says: {text}"))
        };
        let per_second = after("Requests/sec:")?.parse()?;
        Ok(Loaded { per_second, p99_ms: milliseconds(after("99%")?)? })
    }
}

/// Each load in each round, one after the other: what else the machine does falls on all of them.
/// The result has the rounds of each.
pub(crate) fn in_turn(
    loads: &[&Load],
    rounds: usize,
    connections: usize,
    time: &str,
) -> Outcome<Vec<Vec<Loaded>>> {
    let mut all = vec![Vec::new(); loads.len()];
    for _ in 0..rounds {
        for (load, of_load) in loads.iter().zip(&mut all) {
            of_load.push(load.run(connections, time)?);
        }
    }
    Ok(all)
}

/// The median rate.
pub(crate) fn rate(rounds: &[Loaded]) -> f64 {
    median(rounds.iter().map(|round| round.per_second).collect())
}

/// The median of the rounds' ratios.
pub(crate) fn ratio(ours: &[Loaded], theirs: &[Loaded]) -> f64 {
    median(
        ours.iter().zip(theirs).map(|(ours, theirs)| ours.per_second / theirs.per_second).collect(),
    )
}

/// The median of the rounds' p99.
pub(crate) fn p99_ms(rounds: &[Loaded]) -> f64 {
    median(rounds.iter().map(|round| round.p99_ms).collect())
}

/// `1.50ms`, `812.00us`, `1.02s`.
fn milliseconds(text: &str) -> Outcome<f64> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        _ => return Err(format!("no time: {text}").into()),
    };
    Ok(digits.parse::<f64>()? * factor)
}
