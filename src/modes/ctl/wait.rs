//! `--wait`: whoever changed an app or a device group waits until the devices follow.
//!
//! What it is not: it changes nothing. The change is done before, and stands however this ends.
//!
//! Invariants: it succeeds only when every device that is heard of has converged, and one at least has, or
//! when there is none at all, which it says; devices that are away or say nothing hold nobody up and are
//! told; an answer that is older than the change counts for nothing; it ends at its time whatever
//! the manager does.

use super::failure::Failure;
use super::nouns::{About, words};
use super::output;
use super::progress::Progress;
use super::rollout::{Seen, Unseen, look};
use super::session::Session;
use crate::client::Object;
use clap::Args;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Between the first two looks. A device that is told at once answers within it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, which a long rollout comes to.
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Looks in a row that must show nothing on its way: between two reports a device may pass through
/// a state that only looks like the end.
const LOOKS: u32 = 2;
/// The longest that anybody waits, in seconds: a day.
const LONGEST: u64 = 86_400;

/// Whether to wait, and for how long.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Wait for the devices; exit code 1 when one fails or is not there in time
    #[arg(long, help_heading = "Waiting")]
    wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=LONGEST), help_heading = "Waiting")]
    timeout: u64,
}

impl Wait {
    /// Waits, if that was asked for, until devices are where the change that was answered with
    /// `made` wants them.
    pub(super) async fn run(
        self,
        session: &Session,
        about: About<'_>,
        made: &Object,
    ) -> Result<(), Failure> {
        if !self.wait {
            return Ok(());
        }
        let mut waiting = Waiting::new(session, about, made, Duration::from_secs(self.timeout));
        let interrupted = tokio::select! {
            ended = waiting.until_the_end() => return ended,
            signal = tokio::signal::ctrl_c() => signal,
        };
        drop(waiting);
        if let Err(error) = interrupted {
            return Err(Failure::new("cannot wait for Ctrl-C").because(error));
        }
        let About { noun, name } = about;
        let one = words(noun).one;
        output::say(&format!(
            "not waiting any more; {one} `{name}` stays changed, and its devices go on"
        ));
        Err(Failure::Interrupted)
    }
}

/// What the looks so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Something is on its way.
    GoOn,
    /// Nothing is.
    Decided,
    /// There is no device at all.
    NoDevice,
}

struct Waiting<'a> {
    session: &'a Session,
    about: About<'a>,
    /// The version that the change made.
    version: Option<u64>,
    limit: Duration,
    progress: Progress,
    last: Option<Seen>,
    decided: u32,
    is_away: bool,
}

impl<'a> Waiting<'a> {
    fn new(session: &'a Session, about: About<'a>, made: &Object, limit: Duration) -> Self {
        let counter = if about.noun == crate::client::Noun::App { "app_id" } else { "revision" };
        let what = format!("{} `{}`", words(about.noun).one, about.name);
        Self {
            session,
            about,
            version: made.get(counter).and_then(Value::as_u64),
            limit,
            progress: Progress::new(what),
            last: None,
            decided: 0,
            is_away: false,
        }
    }

    fn what(&self) -> String {
        format!("{} `{}`", words(self.about.noun).one, self.about.name)
    }

    async fn until_the_end(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.limit;
        let mut pause = FIRST_PAUSE;
        loop {
            match timeout_at(deadline, look(self.session, self.about)).await {
                Ok(Ok((_, seen))) => match self.judge(seen) {
                    Verdict::GoOn => {}
                    Verdict::Decided => return self.end(),
                    Verdict::NoDevice => {
                        self.tell_of_none();
                        return Ok(());
                    }
                },
                Ok(Err(Unseen::ForNow(error))) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        let error = output::printable(&error.to_string());
                        self.progress.say(&format!("{error}; trying on"));
                    }
                }
                Ok(Err(Unseen::ForGood(failure))) => {
                    self.progress.clear();
                    output::say(&format!("{} was changed, but cannot be waited for:", self.what()));
                    return Err(failure);
                }
                Err(_) => return self.too_late(),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.too_late();
            }
            // Not all who wait at the same moment.
            sleep(pause.mul_f64(rand::random_range(0.8..1.0)).min(left)).await;
            pause = pause.mul_f64(1.1).min(LAST_PAUSE);
        }
    }

    /// Takes a look into account.
    fn judge(&mut self, seen: Seen) -> Verdict {
        self.is_away = false;
        match (seen.version, self.version) {
            // From a manager, behind the same address, that has not heard of the change yet.
            (Some(seen), Some(made)) if seen < made => return Verdict::GoOn,
            (Some(seen), Some(made))
                if seen > made && self.about.noun == crate::client::Noun::App =>
            {
                let what = self.what();
                self.progress
                    .say(&format!("{what} was changed again, to version {seen}; waiting for that"));
                self.version = Some(seen);
                self.decided = 0;
            }
            _ => {}
        }
        self.progress.show(&seen);
        self.decided = if seen.undecided() == 0 { self.decided + 1 } else { 0 };
        let is_none = seen.total() == 0;
        self.last = Some(seen);
        match self.decided {
            _ if is_none => Verdict::NoDevice,
            LOOKS.. => Verdict::Decided,
            _ => Verdict::GoOn,
        }
    }

    fn tell_of_none(&self) {
        self.progress.clear();
        let what = self.what();
        let of_no_group = self.last.as_ref().is_some_and(Seen::is_of_no_group);
        output::say(&if of_no_group {
            format!(
                "{what} is in no device group that you may read (which takes `ro` on the group), so \
                 there is no device to wait for"
            )
        } else {
            format!("no device of {what} has been heard of, so there is none to wait for")
        });
    }

    fn end(&mut self) -> Result<(), Failure> {
        self.progress.clear();
        let what = self.what();
        let Some(seen) = &self.last else { return Ok(()) };
        let (converged, failed) = (seen.converged(), seen.failed());
        let silent = format!("{}{}", not_waited_for(seen), seen.hidden_in_words());
        if failed > 0 {
            output::say(seen.table_of_late_and_failed().trim_end());
            let of = converged + failed;
            return Err(Failure::new(format!(
                "{what} has not converged on {failed} of {of} {}{silent}",
                devices(of)
            )));
        }
        if converged == 0 {
            // Nobody has said that the change is there.
            return Err(Failure::new(format!("{what} has converged on no device{silent}")).hint(
                "devices that are away take the change when they are back; look with `status`",
            ));
        }
        let on = devices(converged);
        output::say(&format!("{what} has converged on {converged} {on}{silent}"));
        Ok(())
    }

    fn too_late(&mut self) -> Result<(), Failure> {
        self.progress.clear();
        let (what, seconds) = (self.what(), self.limit.as_secs());
        let Some(seen) = &self.last else {
            return Err(Failure::new(format!(
                "{what} was changed, but within {seconds} s the manager did not tell how far its \
                 devices are"
            )));
        };
        // Nothing was on its way when last looked, and nothing told otherwise since.
        if seen.undecided() == 0 && seen.total() > 0 && self.decided > 0 {
            return self.end();
        }
        output::say(seen.table_of_late_and_failed().trim_end());
        let (failed, late) = (seen.failed(), seen.undecided());
        let of = seen.converged() + failed + late;
        let failed = if failed > 0 {
            format!(", and {failed} have failed or are held")
        } else {
            String::new()
        };
        Err(Failure::new(format!(
            "{what} has not converged on {late} of {of} {} after {seconds} s{failed}{}",
            devices(of),
            not_waited_for(seen)
        ))
        .hint("the devices go on; wait for longer with --timeout, or look with `status`"))
    }
}

fn devices(count: u64) -> &'static str {
    if count == 1 { "device" } else { "devices" }
}

/// `; 2 away were not waited for`.
fn not_waited_for(seen: &Seen) -> String {
    match seen.silent() {
        0 => String::new(),
        1 => format!("; {} was not waited for", seen.silent_in_words()),
        _ => format!("; {} were not waited for", seen.silent_in_words()),
    }
}
