//! A cron job's schedule.
//!
//! What is accepted prints as it was given, and names only minutes, hours, days and months that
//! there are, at least one of each.

use nebula::model::{Schedule, Set};

/// A text that may be a schedule.
pub fn check(bytes: &[u8]) {
    let Ok(given) = std::str::from_utf8(bytes) else { return };
    let schedule = match Schedule::parse(given.to_owned()) {
        Ok(schedule) => schedule,
        Err(error) => {
            let length = error.to_string().len();
            return assert!(length < 1_000, "{length} bytes of reason");
        }
    };
    assert_eq!(schedule.as_str(), given);
    assert_eq!(Schedule::parse(given.to_owned()).as_ref(), Ok(&schedule));
    within("minutes", schedule.minutes, 0, 59);
    within("hours", schedule.hours, 0, 23);
    within("days", schedule.days, 1, 31);
    within("months", schedule.months, 1, 12);
    within("days of the week", schedule.weekdays, 0, 6);
}

fn within(what: &str, set: Set, first: u32, last: u32) {
    assert!(set.iter().next().is_some(), "no {what}");
    for number in set.iter() {
        assert!((first..=last).contains(&number), "{number} among the {what}");
        assert!(set.contains(number), "{number} is and is not among the {what}");
    }
}
