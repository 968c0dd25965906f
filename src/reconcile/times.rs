//! When a cron job is due: the times that its schedule names in its time zone.
//!
//! Summer time, by the rules of Linux's cron: a time of day that the clock jumps over is due right
//! after the jump, one that comes twice is due once.

use crate::model::CronJob;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// The times of one cron job.
pub(super) struct Times {
    schedule: Cron,
    zone: Tz,
}

impl Times {
    /// None for a schedule that the library cannot read, which the model's own check excludes.
    pub(super) fn of(job: &CronJob) -> Option<Self> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .dom_and_dow(false)
            .build();
        let schedule = parser.parse(&job.spec.schedule.canonical()).ok()?;
        Some(Self { schedule, zone: job.spec.timezone.unwrap_or_default().rules() })
    }

    /// The first time after another, both in seconds since 1970.
    pub(super) fn next(&self, after: u64) -> Option<u64> {
        let after = DateTime::<Utc>::from_timestamp(i64::try_from(after).ok()?, 0)?;
        let next = self.schedule.find_next_occurrence(&after.with_timezone(&self.zone), false);
        let next = next.ok()?.with_timezone(&Utc);
        // Going back, or not on, would be a run that is due for ever.
        (next > after).then(|| u64::try_from(next.timestamp()).ok()).flatten()
    }
}
