//! What is asked for.

use clap::Args;
use std::time::Duration;

/// The longest wait that a manager takes.
const MAX_WAIT_SECONDS: i64 = 300;
/// Below the minute after which many proxies cut what is silent.
const WAIT_SECONDS: &str = "50";
/// As many names as a user group may hold, which the devices' users need.
const MAX_GROUPS: i64 = 10_000;
/// How many changes are made when nothing says otherwise.
const CHANGES: usize = 10;

/// Connect simulated devices to managers and measure what they need
#[derive(Debug, Args)]
#[command(after_help = "\
It makes device groups, apps, users and a user group whose names begin with `simulated-`, and removes
them at the end, after Ctrl-C too; what a killed run left is removed by the next of the same --name.
The user must be an admin. A manager that holds apps or device groups of others is refused. Exits
with 1 when a device did not get the last change, a change failed, or there were more errors than
allowed. docs/sizing.md says what the results mean.
Example: nebula ctl simulate --devices 10000 --groups 50 --changes 20")]
pub(in super::super) struct Simulate {
    /// How many devices
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count(1_000_000))]
    pub(super) devices: usize,
    /// How many device groups they are dealt out to
    #[arg(long, value_name = "N", default_value = "10", value_parser = count(MAX_GROUPS))]
    pub(super) groups: usize,
    /// How many apps each group has
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(100))]
    pub(super) apps_per_group: usize,
    /// As how many users the devices ask
    #[arg(long, value_name = "N", default_value = "1", value_parser = count(1_000))]
    pub(super) users: usize,
    /// Park each request until something changes, at most so long; this is the default, with 50
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = WAIT_SECONDS)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_WAIT_SECONDS as u64))]
    #[arg(conflicts_with = "check_in")]
    pub(super) wait: Option<u64>,
    /// Ask in this interval, without parking
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) check_in: Option<Duration>,
    /// How long it takes until all devices have begun; 0 is all at once
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds_or_none)]
    ramp: Duration,
    /// How many changes to make [default: 10, or what fits into --duration]
    #[arg(long, value_name = "N")]
    changes: Option<usize>,
    /// How long from one change to the next
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(super) change_every: Duration,
    /// Each change is of an app that all groups have, instead of one group's after the other
    #[arg(long)]
    pub(super) change_all: bool,
    /// How long to go on, counted from when all devices are connected [default: until the last
    /// change has arrived]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) duration: Option<Duration>,
    /// How long devices may take to connect, and to get the last change
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    patience: Duration,
    /// How many errors of devices are no failure
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) allow_errors: u64,
    /// A further manager of the same store; the devices spread over all (repeatable)
    #[arg(long = "manager", value_name = "URL", value_delimiter = ',')]
    managers: Vec<String>,
    /// Run against managers that hold apps and device groups of others
    #[arg(long)]
    pub(super) beside_real_groups: bool,
    /// What the simulated objects are called; runs at the same time need different names
    #[arg(long, value_name = "NAME", default_value = "fleet", value_parser = name)]
    pub(super) name: String,
}

/// When devices ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rhythm {
    /// Parked, until something changes or this many seconds are over.
    Park(u64),
    /// In this interval.
    CheckIn(Duration),
}

impl Rhythm {
    pub(super) fn parks(self) -> bool {
        matches!(self, Self::Park(_))
    }
}

impl Simulate {
    pub(super) fn rhythm(&self) -> Rhythm {
        match self.check_in {
            Some(interval) => Rhythm::CheckIn(interval),
            None => Rhythm::Park(self.wait.unwrap_or(50)),
        }
    }

    pub(super) fn ramp(&self) -> Duration {
        self.ramp
    }

    /// Devices that poll see a change only at their next check-in.
    pub(super) fn patience(&self) -> Duration {
        self.patience + self.check_in.map_or(Duration::ZERO, |interval| interval.mul_f64(1.25))
    }

    /// How many changes are made.
    pub(super) fn changes(&self) -> usize {
        let that_fit = |duration: Duration| {
            let fit = duration.as_secs_f64() / self.change_every.as_secs_f64();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number of changes"
            )]
            let fit = fit.ceil() as usize;
            fit
        };
        self.changes.unwrap_or_else(|| self.duration.map_or(CHANGES, that_fit))
    }

    /// The managers' URLs, the first of which takes the changes.
    pub(super) fn urls(&self, first: &str) -> Vec<String> {
        let further = self.managers.iter().map(|url| url.trim_end_matches('/').to_owned());
        let mut urls = vec![first.to_owned()];
        urls.extend(further.filter(|url| url != first));
        urls
    }
}

/// A whole number from 1.
fn count(most: i64) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(i64).range(1..=most).try_map(usize::try_from)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = seconds_or_none(text)?;
    if duration.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(duration) }
}

/// Up to a day.
fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| "expected seconds, from 0 to 86400".to_owned())?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Short and plain, for it is a part of every name.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if (1..=32).contains(&text.len()) && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 32 lower case letters and digits".to_owned())
}
