//! The reporter, and the way to Kafka, on a real Apache Kafka and a real `MongoDB`: what the
//! original's client sends, what is no report, and what breaks them. Tests are named after the
//! invariants that they try.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test fails where what it needs is not there")]

mod away;
mod broker;
mod bus;
mod exactly_once;
mod original;
mod poison;
mod process;
mod rebalance;
mod secure;
#[path = "../mongo_servers/servers.rs"]
#[expect(dead_code, reason = "these tests cut no network and have one member each")]
mod servers;
mod stored;

use std::time::{Duration, Instant};

/// A deadline for what must happen at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
    }
}
