//! What others write to the store, and when: other managers, the original, a person with a shell.
//!
//! What it is: one task a process that follows the store's changes and raises what memory must not
//! serve any more; whoever waits for a change looks again. It begins anew when the store stops
//! telling, and asks for what it missed.
//! What it is not: it reads no object. What is told carries no content; whoever is woken reads.
//!
//! Invariant: while the store is in reach, a write is heard of within a moment where the store
//! tells it, and within `cache_time` where it must be asked.

use super::declarations::Declarations;
use super::metrics::{Metrics, Source};
use super::reply::causes;
use crate::model::Revision;
use crate::store::{Changes, Manner};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The first wait after the store stopped telling. An election takes seconds, a lost connection
/// none.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// The shortest time between two questions, however short `cache_time` is: each reads all
/// collections' sums.
const SHORTEST_POLL: Duration = Duration::from_millis(500);
/// How often it is told that the store cannot be followed.
const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// The longest a store may take to begin telling.
const BEGIN: Duration = Duration::from_secs(20);

/// Follows a store's changes until the task is dropped.
pub(super) async fn follow(
    declarations: Declarations,
    metrics: Arc<Metrics>,
    cache_time: Duration,
) {
    // Half of it, for a write is heard of up to one interval late, and its readers come later.
    let poll = (cache_time / 2).max(SHORTEST_POLL);
    let (mut last, mut wait, mut told_at) = (None, FIRST_WAIT, None::<Instant>);
    loop {
        match timeout(BEGIN, declarations.store().changes(last, poll)).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(changes))) => {
                let source = match changes.manner() {
                    Manner::Stream => Source::Stream,
                    Manner::Poll => Source::Poll,
                };
                metrics.followed_by(source);
                tracing::info!(by = source.as_str(), "changes of the store are followed");
                let told = listen(&declarations, &metrics, changes, &mut last).await;
                if told > 0 {
                    wait = FIRST_WAIT;
                }
            }
            // Once a minute: this may be the only word of a wrong address.
            Ok(Err(error)) if told_at.is_none_or(|told| told.elapsed() >= TOLD_AGAIN) => {
                told_at = Some(Instant::now());
                let causes = causes(&error);
                tracing::warn!(%error, causes, "store cannot be followed; trying again");
            }
            Ok(Err(error)) => tracing::debug!(%error, "store cannot be followed"),
            Err(_) => tracing::debug!("store cannot be followed: no answer in time"),
        }
        metrics.followed_by(Source::None);
        // Not all managers in the same moment.
        sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Listens until the store stops telling; the number of what was told.
async fn listen(
    declarations: &Declarations,
    metrics: &Metrics,
    mut changes: Box<dyn Changes>,
    last: &mut Option<Revision>,
) -> u64 {
    let mut count = 0;
    loop {
        match changes.next().await {
            Ok(told) => {
                declarations.told(&told);
                metrics.changes_told.inc();
                *last = (*last).max(Some(told.revision()));
                count += 1;
            }
            Err(error) => {
                tracing::info!(%error, "changes of the store are told no longer; trying again");
                return count;
            }
        }
    }
}
