//! When the next check-in is, and whether it waits at the manager for news.
//!
//! What it is: what was asked, how it ended and how long it lived goes in, what to ask next and
//! when comes out. What it is not: it asks nothing, tells nothing, and draws no lots; time and
//! chance are given to it, so that a day of it passes in a test at once.
//!
//! A check-in that *waits* asks the manager to hold its answer until there is another one
//! (`?wait=`); a *plain* one is answered at once. What stands between may spoil waiting, and this
//! is found out by doing it, for whoever cuts a silent request does not say so:
//!
//! - A waiting check-in that breaks is followed by a plain one. If that works, it was the waiting
//!   that broke; if not, the manager is away.
//! - What was cut twice is asked for half as long, or not at all when that is too short to be
//!   worth it, and for the whole time again after minutes, then an hour. One cut says nothing: it
//!   is also what a manager that is killed behind a balancer looks like.
//! - A manager that answers a waiting check-in at once, though it has nothing to say, does not
//!   know how to wait. It is asked at the check-in time, and found out when it has learned to.
//!
//! Invariants: whatever the answers are, they do not make the worker ask more often than at the
//! check-in time for long; an answer that says `Retry-After` is not asked again before; nothing
//! that all devices lose in the same instant is asked for again by all in the same instant.

use std::time::Duration;
use tokio::time::Instant;

/// The longest wait that is asked for; managers refuse longer ones.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Waits below this cost as many requests as they save time.
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
/// The time in which devices come back that lost their manager in one instant, and the ceiling of
/// the first wait of an outage.
const SPREAD: Duration = Duration::from_secs(5);
/// The longest wait within an outage, also of a device that checks in once a day.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// The longest that a manager's `Retry-After` is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// From one check-in to the next at least. It doubles with each piece of news that comes at once.
const FLOOR: Duration = Duration::from_millis(200);
/// News that come sooner than this came at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// From one check-in to the next when the answer is held for being older: managers know each
/// other's changes within a second. It doubles each time.
const HELD_FIRST: Duration = Duration::from_secs(2);
/// The same at most: a restored store is believed after two minutes, also by a device that checks
/// in once a day.
const HELD_LAST: Duration = Duration::from_secs(60);
/// After how long a longer wait is tried first. A wrong verdict is cheap then.
const FIRST_TRIAL: Duration = Duration::from_secs(300);
/// The same after trials that failed: each costs some seconds in which no news come.
const LAST_TRIAL: Duration = Duration::from_secs(3_600);
/// The whole of a wait, up to what two clocks disagree by.
const WHOLE: f64 = 0.9;

/// How a check-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With a state that was not known, and its tag.
    News,
    /// With a 304.
    Unchanged,
    /// With a 200 that says nothing new, or has no tag to wait with.
    Repeated,
    /// With a state that is older than the accepted one, and is held.
    Older,
    /// With a refusal that may be about the waiting: a 4xx.
    Refused,
    /// With any other answer that is none.
    Failed,
    /// With nobody there to answer.
    Unreachable,
}

/// A check-in that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How long the manager was asked to wait; none of a plain one.
    pub wait: Option<Duration>,
    /// From its begin to its end.
    pub lived: Duration,
    /// What came of it.
    pub how: How,
    /// When the answer says to come again, at the earliest.
    pub retry_after: Option<Duration>,
}

impl Ended {
    /// True when the manager could not be asked. A waiting check-in that broke is no trouble: the
    /// plain one that follows it says whether there is any.
    pub fn is_trouble(&self) -> bool {
        match self.how {
            How::Unreachable => true,
            How::Refused | How::Failed => self.wait.is_none(),
            How::News | How::Unchanged | How::Repeated | How::Older => false,
        }
    }

    fn has_answer(&self) -> bool {
        !self.is_trouble() && !self.has_broken()
    }

    /// True of a waiting check-in that broke, for whatever reason.
    fn has_broken(&self) -> bool {
        matches!(self.how, How::Refused | How::Failed) && self.wait.is_some()
    }

    /// True of a check-in that the manager held for as long as it was asked to.
    fn is_whole(&self) -> bool {
        let is_whole = |wait: Duration| self.lived >= wait.mul_f64(WHOLE);
        self.how == How::Unchanged && self.wait.is_some_and(is_whole)
    }
}

/// The check-in to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Next {
    /// When, from now.
    pub after: Duration,
    /// For how long the manager is to wait for news, in whole seconds; none for a plain one.
    pub wait: Option<Duration>,
}

/// A waiting check-in that broke, until the plain one after it tells why.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    lived: Duration,
    is_refused: bool,
}

/// What is known of the way to the manager.
#[derive(Debug)]
pub struct Pace {
    check_in_time: Duration,
    doubt: Option<Doubt>,
    /// Waiting check-ins that were cut since the last that lived longer than they did.
    cuts: u32,
    longest_cut: Duration,
    /// The wait that is believed to pass, when that is not any.
    limit: Option<Duration>,
    /// When a longer one is tried again, and how long it is until then the next time.
    trial: Option<Instant>,
    until_trial: Duration,
    /// Pieces of news in a row that came at once.
    quick: u32,
    /// Held answers since the last news or whole wait.
    held: u32,
    /// Plain check-ins in a row that failed.
    failures: u32,
}

impl Pace {
    /// For a device that checks in this often. The first check-in is plain.
    pub fn new(check_in_time: Duration) -> Self {
        Self {
            check_in_time,
            doubt: None,
            cuts: 0,
            longest_cut: Duration::ZERO,
            limit: None,
            trial: None,
            until_trial: FIRST_TRIAL,
            quick: 0,
            held: 0,
            failures: 0,
        }
    }

    /// The wait that is believed to pass, when it is shorter than it should be; zero when none
    /// does.
    pub fn limit(&self) -> Option<Duration> {
        self.limit.map(|limit| if limit < self.shortest() { Duration::ZERO } else { limit })
    }

    /// What to ask after this. `chance` is a number from 0 to 1, another one on each device and at
    /// each call.
    pub fn next(&mut self, ended: &Ended, now: Instant, chance: f64) -> Next {
        self.learn(ended, now, chance);
        let may_wait = ended.has_answer() && ended.how != How::Older && ended.retry_after.is_none();
        let wait = if may_wait { self.wait(now, chance) } else { None };
        let after = self.after(ended, wait, chance);
        let after = ended.retry_after.map_or(after, |asked| {
            let least = if ended.has_answer() { self.spread() } else { after };
            asked.max(least).min(LONGEST_RETRY_AFTER.max(least)).mul_f64(1.0 + chance / 10.0)
        });
        Next { after, wait }
    }

    fn learn(&mut self, ended: &Ended, now: Instant, chance: f64) {
        if ended.is_trouble() {
            // A check-in that broke just before belongs to the same outage.
            self.doubt = None;
            self.failures = self.failures.saturating_add(1);
            return;
        }
        if ended.has_broken() {
            // One that was given up was cut at an unknown moment before.
            let lived = ended.wait.map_or(ended.lived, |wait| ended.lived.min(wait));
            self.doubt = Some(Doubt { lived, is_refused: ended.how == How::Refused });
            return;
        }
        self.failures = 0;
        let is_quick = ended.how == How::News && ended.lived < AT_ONCE;
        self.quick = if is_quick { self.quick.saturating_add(1) } else { 0 };
        match ended.how {
            How::Older => self.held = self.held.saturating_add(1),
            How::News => self.held = 0,
            _ if ended.is_whole() => self.held = 0,
            _ => {}
        }
        if let Some(doubt) = self.doubt.take() {
            self.was_cut(doubt, now, chance);
        }
        self.lived(ended);
    }

    /// A waiting check-in broke, and the manager is there.
    fn was_cut(&mut self, cut: Doubt, now: Instant, chance: f64) {
        self.cuts = self.cuts.saturating_add(1);
        self.longest_cut = self.longest_cut.max(cut.lived);
        if self.cuts < 2 && !cut.is_refused {
            return;
        }
        let limit = if cut.is_refused { Duration::ZERO } else { self.longest_cut / 2 };
        self.limit = Some(self.limit.map_or(limit, |known| known.min(limit)));
        self.trial = Some(now + self.until_trial.mul_f64(around_one(chance)));
        self.until_trial = (self.until_trial * 2).min(LAST_TRIAL);
        self.doubt_at_once();
    }

    /// The next cut is believed without a second one.
    fn doubt_at_once(&mut self) {
        (self.cuts, self.longest_cut) = (1, Duration::ZERO);
    }

    /// A check-in got an answer: what lived longer than the cut ones did clears them.
    fn lived(&mut self, ended: &Ended) {
        let Some(wait) = ended.wait else { return };
        let is_longer = ended.how == How::News && ended.lived > self.longest_cut;
        if ended.is_whole() || (is_longer && self.longest_cut > Duration::ZERO) {
            (self.cuts, self.longest_cut) = (0, Duration::ZERO);
        }
        if ended.is_whole() && self.limit.is_some_and(|limit| wait > limit) {
            (self.limit, self.trial, self.until_trial) = (None, None, FIRST_TRIAL);
        }
    }

    /// For how long the next check-in waits, when it does at all.
    fn wait(&mut self, now: Instant, chance: f64) -> Option<Duration> {
        let mut wait = self.whole_wait();
        if let Some(limit) = self.limit {
            if self.trial.is_some_and(|trial| now < trial) {
                wait = wait.min(limit);
            } else {
                self.doubt_at_once();
            }
        }
        // Up to a tenth less, so that devices that were started together spread.
        let seconds = wait.mul_f64(1.0 - chance / 10.0).as_secs().max(1);
        (wait >= self.shortest()).then_some(Duration::from_secs(seconds))
    }

    /// From now on, without what the manager says of it.
    fn after(&self, ended: &Ended, wait: Option<Duration>, chance: f64) -> Duration {
        let polling = self.check_in_time.mul_f64(around_one(chance));
        let since_begin = |gap: Duration| gap.saturating_sub(ended.lived).max(FLOOR);
        match ended.how {
            _ if ended.is_trouble() => {
                let ceiling = doubled(SPREAD, self.failures).min(LONGEST_RETRY);
                ceiling.min(self.check_in_time).mul_f64(chance).max(FLOOR)
            }
            _ if ended.has_broken() => self.spread().mul_f64(chance).max(FLOOR),
            How::Older => {
                let held = doubled(HELD_FIRST, self.held).min(HELD_LAST);
                since_begin(polling.min(held.mul_f64(around_one(chance))))
            }
            // Without waiting next there is no hurry.
            _ if wait.is_none() => since_begin(polling),
            How::News => self.floor().saturating_sub(ended.lived),
            How::Unchanged if ended.is_whole() => Duration::ZERO,
            How::Unchanged => match ended.wait {
                None => FLOOR,
                // It was held for a while: its manager ends, and lets all go in this instant.
                Some(wait) if ended.lived >= SPREAD.min(wait / 2) => {
                    self.spread().mul_f64(chance).max(FLOOR)
                }
                Some(_) => since_begin(polling),
            },
            _ => since_begin(polling),
        }
    }

    /// From the begin of one check-in to that of the next, after news.
    fn floor(&self) -> Duration {
        doubled(FLOOR, self.quick).min(self.check_in_time)
    }

    fn spread(&self) -> Duration {
        SPREAD.min(self.check_in_time)
    }

    fn whole_wait(&self) -> Duration {
        self.check_in_time.min(LONGEST_WAIT)
    }

    fn shortest(&self) -> Duration {
        SHORTEST_WAIT.min(self.whole_wait())
    }
}

/// The first wait, doubled with each time after the first.
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(20))
}

/// A tenth less to a tenth more.
fn around_one(chance: f64) -> f64 {
    0.9 + chance / 5.0
}
