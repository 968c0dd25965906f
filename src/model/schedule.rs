//! When a cron job runs: the five fields of Linux's cron.
//!
//! What it is: the form, checked, and the set of minutes, hours, days and months that it names.
//! What it is not: it computes no times and knows no time zone.
//!
//! The form is `crontab(5)`'s: minute, hour, day of month, month, day of week; `*`, numbers, names of
//! months and days, lists, ranges and steps. What other crons add (`L`, `W`, `#`, `?`, a sixth
//! field) is refused rather than guessed. Three readings that implementations differ in: `a/n` is
//! `a-last/n`, a range that ends before it begins goes over the end (`fri-mon`, `22-2`), and day 7
//! of the week is Sunday.

use super::fields::clip;
use serde::{Serialize, Serializer};

/// The longest schedule in bytes. Every minute written out is a third of it.
const MAX_LENGTH: usize = 512;
/// The days of each month, in the longest year.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The short forms and what they stand for. `@reboot` is not among them: a device's start is no
/// point of time.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("must have five fields (minute, hour, day of month, month, day of week), this has {0}")]
    FieldCount(usize),
    /// More than `MAX_LENGTH` bytes.
    #[error("must be at most {MAX_LENGTH} characters")]
    TooLong,
    /// A word that starts with `@` and is none of the known ones.
    #[error("`{0}` is none of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually")]
    Nickname(String),
    /// A field that cannot be read.
    #[error("the {field} `{text}` must be `*`, or a list of {expected}, ranges or steps")]
    Field {
        /// Which of the five.
        field: &'static str,
        /// What it says.
        text: String,
        /// Its numbers and names.
        expected: String,
    },
    /// The 30th of February.
    #[error("never runs: none of these months has such a day")]
    Never,
}

/// The numbers that one field names, as the bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// Whether a number is in it.
    pub const fn contains(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// Its numbers, rising.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |number| self.contains(*number))
    }
}

/// A schedule, with the words it was given in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Minutes, 0 to 59.
    pub minutes: Set,
    /// Hours, 0 to 23.
    pub hours: Set,
    /// Days of the month, 1 to 31.
    pub days: Set,
    /// Months, 1 to 12.
    pub months: Set,
    /// Days of the week, 0 (Sunday) to 6.
    pub weekdays: Set,
    /// True when a day must be in both sets. Linux runs on a day that is in either, unless one of
    /// the two fields begins with `*`.
    pub both_days: bool,
}

/// What one field may hold.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// After how many numbers it begins again.
    period: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, period: 60, names: &[] },
    Field { name: "hour", first: 0, last: 23, period: 24, names: &[] },
    Field { name: "day of month", first: 1, last: 31, period: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, period: 12, names: &MONTHS },
    Field { name: "day of week", first: 0, last: 7, period: 7, names: &WEEKDAYS },
];

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: String) -> Result<Self, ScheduleError> {
        if text.len() > MAX_LENGTH {
            return Err(ScheduleError::TooLong);
        }
        let trimmed = text.trim();
        let written_out = if trimmed.starts_with('@') {
            let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed));
            known.ok_or_else(|| ScheduleError::Nickname(clip(trimmed)))?.1
        } else {
            trimmed
        };
        let parts: Vec<&str> = written_out.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(ScheduleError::FieldCount(parts.len()));
        };
        let [minutes, hours, days, months, weekdays] = [
            FIELDS[0].read(minute)?,
            FIELDS[1].read(hour)?,
            FIELDS[2].read(day)?,
            FIELDS[3].read(month)?,
            FIELDS[4].read(weekday)?,
        ];
        let both_days = day.starts_with('*') || weekday.starts_with('*');
        let runs = !both_days || months.iter().any(|month| days.fits(month));
        if !runs {
            return Err(ScheduleError::Never);
        }
        Ok(Self { text, minutes, hours, days, months, weekdays, both_days })
    }

    /// The schedule as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same schedule in numbers and lists alone, `*` for "all", and `+` before days of the week
    /// that must hold together with the days of the month: a form that no two implementations read
    /// differently.
    pub fn canonical(&self) -> String {
        let [minute, hour, day, month, weekday] = &FIELDS;
        let (mut days, mut weekdays) = (day.write(self.days), weekday.write(self.weekdays));
        let is_restricted = |text: &str| text != "*";
        if self.both_days && is_restricted(&days) && is_restricted(&weekdays) {
            weekdays.insert(0, '+');
        } else if !self.both_days && (!is_restricted(&days) || !is_restricted(&weekdays)) {
            // "This day or any weekday" is any day.
            (days, weekdays) = ("*".to_owned(), "*".to_owned());
        }
        let (minutes, hours) = (minute.write(self.minutes), hour.write(self.hours));
        format!("{minutes} {hours} {days} {} {weekdays}", month.write(self.months))
    }
}

impl Set {
    /// Whether a month has one of these days.
    fn fits(self, month: u32) -> bool {
        let last = DAYS.get(month.wrapping_sub(1) as usize).copied().unwrap_or(0);
        self.iter().next().is_some_and(|first| first <= last)
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<Set, ScheduleError> {
        let mut set = 0;
        for item in text.split(',') {
            set |= self.item(item).ok_or_else(|| self.refusal(text))?;
        }
        Ok(Set(set))
    }

    /// `*`, `a`, `a-b`, each with or without `/step`.
    fn item(&self, item: &str) -> Option<u64> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (item, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.first, self.last),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if item.contains('/') => (self.value(range)?, self.last),
            None => self.value(range).map(|value| (value, value))?,
        };
        // A range over the end is walked past it and brought back, so that its steps go on.
        let end = if first <= last { last } else { last + self.period };
        let walk = (first..=end).step_by(step as usize);
        Some(
            walk.fold(0, |set, value| set | 1 << (self.first + (value - self.first) % self.period)),
        )
    }

    /// A number in bounds, or a name.
    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|index| u32::try_from(index).ok()).map(|i| i + self.first);
        named.or_else(|| number(text)).filter(|value| (self.first..=self.last).contains(value))
    }

    /// A set as a list of numbers.
    fn write(&self, set: Set) -> String {
        let numbers: Vec<String> = set.iter().map(|number| number.to_string()).collect();
        if numbers.len() == self.period as usize { "*".to_owned() } else { numbers.join(",") }
    }

    fn refusal(&self, text: &str) -> ScheduleError {
        let mut expected = format!("numbers from {} to {}", self.first, self.last);
        if let [first, .., last] = self.names {
            expected = format!("{expected}, names ({first} to {last})");
        }
        ScheduleError::Field { field: self.name, text: clip(text), expected }
    }
}

/// Digits alone: Rust would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
