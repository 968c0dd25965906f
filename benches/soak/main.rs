//! `scripts/soak`: random declarations and random faults for as long as one likes, on real Docker
//! with the real binary.
//!
//! Periods follow one another. In each there is first a storm: apps change, and all that can fail
//! on a device does, in any combination. Then the faults end, and everything has to converge; an
//! app that nobody changed or struck must have the very containers that it had before the storm.
//! One app is never touched, through all periods. The first thing that does not hold ends the run.
//!
//! Arguments: how many seconds (600), and how many of them a storm lasts (20). The seed is
//! `NEBULA_TEST_SEED`, or random; it gives the same deeds, though not the same moments.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod fleet;
mod storm;

#[expect(dead_code, reason = "the tests of the worker need more of it")]
#[path = "../../tests/worker/binary.rs"]
mod binary;
#[expect(dead_code, reason = "the tests of the worker need more of it")]
#[path = "../../tests/worker/daemon.rs"]
mod daemon;
#[path = "../../tests/worker/declared.rs"]
mod declared;
#[expect(dead_code, reason = "the tests of the worker need more of it")]
#[path = "../../tests/worker/docker.rs"]
mod docker;
#[expect(dead_code, reason = "the tests of the worker need more of it")]
#[path = "../../tests/worker/manager.rs"]
mod manager;
#[path = "../../tests/worker/random.rs"]
mod random;
#[expect(dead_code, reason = "the tests of the worker need more of it")]
#[path = "../../tests/worker/world.rs"]
mod world;

use std::time::{Duration, Instant};
use storm::Storm;

fn main() {
    let number = |argument: Option<String>, default| {
        argument.map_or(default, |text| text.parse().expect("a number of seconds"))
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let total = Duration::from_secs(number(arguments.next(), 600));
    let stormy = Duration::from_secs(number(arguments.next(), 20));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(soak(total, stormy));
}

async fn soak(total: Duration, stormy: Duration) {
    let begun = Instant::now();
    let mut storm = Storm::prepare(random::seed()).await;
    let mut period = 0;
    while begun.elapsed() < total {
        period += 1;
        let deeds = storm.rage(stormy).await;
        let calm = Instant::now();
        storm.end().await;
        let again = storm.converges().await;
        println!(
            "{:>6} s, period {period}: {deeds} deeds, converged in {:.1} s{}",
            begun.elapsed().as_secs(),
            calm.elapsed().as_secs_f64(),
            if again.is_empty() { String::new() } else { format!(", declared again: {again:?}") }
        );
    }
    println!("{period} periods, nothing broken; deeds by kind:");
    for (deed, count) in storm.finish().await {
        println!("{count:>6} {deed}");
    }
}
