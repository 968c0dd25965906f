//! Which answer of a manager a device acts on.
//!
//! Behind a load balancer an answer may come from a manager that has not seen the latest change
//! yet, so a lower revision is not acted on at once. A store that was restored from a backup gives
//! lower revisions too, and must win in the end: an answer that stays lower for longer than any
//! cache can live is the truth.

use crate::model::Revision;

/// How long answers must stay lower before one is accepted. Managers keep nothing for longer than
/// a minute; twice that leaves room for a slow one.
pub const PATIENCE_MS: u64 = 120_000;

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Act on it.
    Accept,
    /// Keep what was accepted before; this answer is older.
    KeepNewer,
}

/// Judges an answer by its revision. `lower_for_ms` is how long every answer until now has been
/// lower than the accepted one. A manager that gives no revisions is always believed.
pub fn judge(
    accepted: Option<Revision>,
    answered: Option<Revision>,
    lower_for_ms: u64,
) -> Acceptance {
    match (accepted, answered) {
        (Some(accepted), Some(answered)) if answered < accepted && lower_for_ms < PATIENCE_MS => {
            Acceptance::KeepNewer
        }
        _ => Acceptance::Accept,
    }
}
