//! Every metric, from what daemons that have something to count give.
//!
//! A metric with labels has no line before there is something to count, so manager and reporter are given something: a
//! login, a body that is too large, a message that is no report.

use super::{code, columns, head, plain, row};
use crate::process::{Daemon, Manager};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

/// The argument with which this program starts itself to collect the metrics, among the services.
pub(crate) const INSIDE: &str = "--metrics";

const WORDS: &str = "\
Every mode answers `GET /metrics` in the OpenMetrics text form that Prometheus reads, without credentials: the manager on its own port, the
reporter where `listen` says (`127.0.0.1:9180`), the worker at the socket `worker.sock` in its data folder, for its device alone. What to watch:
[Monitoring](../guides/monitoring.md).

A name stays as it is, and labels are only added. A metric with labels has a line for each combination that there was something to count
of.";

/// What one metric is.
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page, made among services of its own.
pub(super) fn outside() -> Result<String, String> {
    crate::run::among(&["python", "mongo", "kafka"], "", &[INSIDE.as_ref()])
}

/// The page, made here.
pub(crate) fn page() -> Result<String, String> {
    let mut page = head("Metrics", WORDS);
    for (title, text) in [
        ("Manager", of_a_manager()?),
        ("Reporter", of_a_reporter()?),
        ("Worker", Daemon::worker()?.metrics_with(&["nebula_"])?),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n{}", columns(["name", "type", "labels", "meaning"]));
        for (name, metric) in read(&text) {
            let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
            let name = code(&shown(&name, &metric.kind));
            page.push_str(&row([&name, &metric.kind, &labels.join(", "), &plain(&metric.help)]));
        }
    }
    Ok(page)
}

/// The name that a query uses.
fn shown(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

fn of_a_manager() -> Result<String, String> {
    let manager = Manager::start(&[])?;
    manager.send(
        "POST",
        "/api/v2/users/anna",
        r#"{"password": "a password", "token": "a token"}"#,
    )?;
    manager.get_as("anna:a password", "/api/v2/apps")?;
    manager.send("POST", "/api/v2/apps/web", &"x".repeat(3 << 20))?;
    manager.get("/metrics")
}

fn of_a_reporter() -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("`{name}` is not set"));
    let produce = "import os, kafka\n\
                   p = kafka.KafkaProducer(bootstrap_servers=os.environ['NEBULA_TEST_KAFKA'])\n\
                   p.send('nebula-reports', b'no report').get(30)";
    let python = Command::new(variable("NEBULA_TEST_PYTHON")?).args(["-c", produce]).output();
    let python = python.map_err(told)?;
    if !python.status.success() {
        return Err(String::from_utf8_lossy(&python.stderr).into_owned());
    }
    let reporter =
        Daemon::reporter(&variable("NEBULA_TEST_KAFKA")?, &variable("NEBULA_TEST_MONGO_URL")?)?;
    reporter.metrics_with(&["nebula_reporter_set_aside_total{", "nebula_reporter_lag{"])
}

/// The metrics of a text, by name.
fn read(text: &str) -> BTreeMap<String, Metric> {
    let mut found: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                let metric =
                    Metric { kind: String::new(), help: help.to_owned(), labels: BTreeSet::new() };
                found.insert(name.to_owned(), metric);
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                if let Some(metric) = found.get_mut(name) {
                    kind.clone_into(&mut metric.kind);
                }
            }
            _ => sample(line, &mut found),
        }
    }
    found
}

fn sample(line: &str, found: &mut BTreeMap<String, Metric>) {
    let Some((name, rest)) = line.split_once('{') else { return };
    // A counter's samples have a longer name than it has.
    let metric = found.iter_mut().filter(|(known, _)| name.starts_with(known.as_str()));
    let Some((_, metric)) = metric.max_by_key(|(known, _)| known.len()) else { return };
    for pair in rest.split("\",") {
        if let Some((label, _)) = pair.split_once('=')
            && label != "le"
        {
            metric.labels.insert(label.to_owned());
        }
    }
}
