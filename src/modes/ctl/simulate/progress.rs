//! How far the run is: one line that is written over on a terminal, a line now and then elsewhere.

use super::super::output;
use super::Shared;
use super::group::Group;
use super::watch::View;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const ON_TERMINAL: Duration = Duration::from_secs(1);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Writes until it is dropped.
pub(super) struct Progress {
    task: JoinHandle<()>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn start(shared: Arc<Shared>, view: Arc<View>, devices: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let started = Instant::now();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(if is_terminal { ON_TERMINAL } else { ELSEWHERE }).await;
                let line = line(&shared, &view, devices, started.elapsed());
                if is_terminal {
                    // Nobody is left to tell when stderr is closed.
                    let _ = write!(anstream::stderr().lock(), "\r\x1b[2K{line}");
                } else {
                    output::say(&line);
                }
            }
        });
        Self { task, is_terminal }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if self.is_terminal {
            output::say("");
        }
    }
}

fn line(shared: &Shared, view: &View, devices: usize, passed: Duration) -> String {
    let figures = &shared.figures;
    let errors: u64 = figures.errors().iter().map(|(_, count)| count).sum();
    let converged: usize = shared.groups.iter().map(Group::converged).sum();
    let (changes, p99_ms) = {
        let times = figures.times();
        (times.change.len(), times.to_device.value_at_quantile(0.99) / 1_000)
    };
    let arrived = if changes == 0 {
        String::new()
    } else {
        format!(", the last one on {converged}, 99 % within {p99_ms} ms")
    };
    format!(
        "{} s: {} of {devices} devices connected, {} parked, {changes} changes{arrived}, {errors} errors",
        passed.as_secs(),
        figures.open.load(Relaxed),
        view.parked_more(),
    )
}
