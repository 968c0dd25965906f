//! When the next check-in is and whether it waits, without a manager: hours pass at once.

use nebula::modes::worker::pace::{Ended, How, LONGEST_WAIT, Next, Pace};
use rstest::rstest;
use std::time::Duration;
use tokio::time::Instant;

const CHECK_IN: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A device that checks in, and what it would ask next.
struct Device {
    pace: Pace,
    now: Instant,
    next: Next,
    chance: f64,
    /// Check-ins so far.
    asked: u32,
}

impl Device {
    fn new(check_in_time: Duration, chance: f64) -> Self {
        let pace = Pace::new(check_in_time);
        Self { pace, now: Instant::now(), next: Next::default(), chance, asked: 0 }
    }

    /// One that waits, as it does after its first check-in.
    fn waiting(check_in_time: Duration, chance: f64) -> Self {
        let mut device = Self::new(check_in_time, chance);
        device.ends(ms(1), How::Unchanged);
        assert!(device.next.wait.is_some(), "{:?}", device.next);
        device
    }

    /// The check-in that is due lives so long and ends so.
    fn ends(&mut self, lived: Duration, how: How) -> Next {
        self.ends_with(lived, how, None)
    }

    fn ends_with(&mut self, lived: Duration, how: How, retry_after: Option<Duration>) -> Next {
        self.now += self.next.after + lived;
        self.asked += 1;
        let ended = Ended { wait: self.next.wait, lived, how, retry_after };
        self.next = self.pace.next(&ended, self.now, self.chance);
        self.next
    }

    /// The same behind a proxy that cuts what is silent for so long, with nothing new to tell.
    fn ends_behind(&mut self, cut: Duration) -> Next {
        match self.next.wait {
            Some(wait) if wait > cut => self.ends(cut, How::Failed),
            Some(wait) => self.ends(wait, How::Unchanged),
            None => self.ends(ms(1), How::Unchanged),
        }
    }

    /// Lives on for this long, by this.
    fn lives(&mut self, time: Duration, mut step: impl FnMut(&mut Self)) -> u32 {
        let (until, before) = (self.now + time, self.asked);
        while self.now < until {
            step(self);
        }
        self.asked - before
    }
}

#[test]
fn first_check_in_is_plain_and_at_once_and_the_next_waits() {
    assert_eq!(Next::default(), Next { after: Duration::ZERO, wait: None });
    let mut device = Device::new(CHECK_IN, 0.0);
    let next = device.ends(seconds(3), How::News);
    assert_eq!(next, Next { after: Duration::ZERO, wait: Some(CHECK_IN) });
}

#[rstest]
#[case(seconds(1), seconds(1))]
#[case(CHECK_IN, CHECK_IN)]
#[case(HOUR, LONGEST_WAIT)]
fn wait_is_the_check_in_time_or_what_managers_take(#[case] time: Duration, #[case] most: Duration) {
    for chance in [0.0, 0.5, 1.0] {
        let wait = Device::waiting(time, chance).next.wait.expect("a wait");
        assert!(wait <= most && wait >= most.mul_f64(0.9) && wait.subsec_nanos() == 0, "{wait:?}");
    }
}

#[test]
fn whole_wait_and_news_are_followed_at_once() {
    let mut device = Device::waiting(CHECK_IN, 0.5);
    let wait = device.next.wait.expect("a wait");
    let next = device.ends(wait, How::Unchanged);
    assert_eq!((next.after, next.wait), (Duration::ZERO, Some(wait)));
    let next = device.ends(seconds(2), How::News);
    assert_eq!((next.after, next.wait), (Duration::ZERO, Some(wait)));
}

#[rstest]
#[case::ignores_waits(How::Unchanged)]
#[case::ignores_tags(How::Repeated)]
fn manager_that_does_not_wait_is_asked_at_the_check_in_time(#[case] how: How) {
    for chance in [0.0, 1.0] {
        let mut device = Device::waiting(CHECK_IN, chance);
        let next = device.ends(ms(5), how);
        assert!(next.after + ms(5) >= CHECK_IN.mul_f64(0.9), "{next:?}");
        let asked = device.lives(HOUR, |device| {
            device.ends(ms(5), how);
        });
        assert!(asked <= 134, "{asked} in an hour");
    }
    // One day it has learned to.
    let mut device = Device::waiting(CHECK_IN, 0.5);
    let wait = device.ends(ms(5), how).wait.expect("it is found out");
    assert_eq!(device.ends(wait, How::Unchanged).after, Duration::ZERO);
}

#[test]
fn devices_that_a_manager_lets_go_at_its_end_do_not_come_back_in_one_instant() {
    let after = |chance| Device::waiting(CHECK_IN, chance).ends(seconds(12), How::Unchanged).after;
    assert!(after(0.0) < ms(500) && after(0.9) > seconds(4), "{:?}", (after(0.0), after(0.9)));
    assert!(after(1.0) <= seconds(5));
}

#[test]
fn lost_check_ins_come_back_plain_at_random_and_then_ever_more_slowly() {
    let lost = |chance| {
        let mut device = Device::waiting(CHECK_IN, chance);
        let mut waits = vec![device.ends(seconds(12), How::Failed)];
        waits.extend((0..6).map(|_| device.ends(ms(1), How::Unreachable)));
        assert!(waits.iter().all(|next| next.wait.is_none()), "{waits:?}");
        waits.iter().map(|next| next.after).collect::<Vec<_>>()
    };
    assert!(lost(0.0).iter().all(|after| *after <= ms(200)));
    let latest = [5, 5, 10, 20, 30, 30, 30].map(seconds);
    assert_eq!(lost(1.0), latest);
    // A device that checks in each second is not held up for longer than that, and one that does
    // once a day is not lost for a day.
    let mut device = Device::waiting(seconds(1), 1.0);
    assert_eq!(device.ends(ms(300), How::Unreachable).after, seconds(1));
    let mut device = Device::waiting(24 * HOUR, 1.0);
    let latest_of_all = (0..40).map(|_| device.ends(ms(1), How::Unreachable).after).last();
    assert_eq!(latest_of_all, Some(seconds(600)));
}

#[test]
fn cut_before_an_outage_does_not_count_against_waiting() {
    let mut device = Device::waiting(CHECK_IN, 0.5);
    for _ in 0..5 {
        device.ends(seconds(3), How::Failed);
        device.ends(ms(1), How::Unreachable);
        device.ends(ms(1), How::Unchanged);
        assert!(device.next.wait.is_some_and(|wait| wait > seconds(25)), "{:?}", device.next);
    }
    assert_eq!(device.pace.limit(), None);
}

#[test]
fn only_plain_check_ins_and_managers_that_are_not_there_are_trouble() {
    let ended = |wait, how| Ended { wait, lived: ms(1), how, retry_after: None };
    for how in [How::Failed, How::Refused] {
        assert!(!ended(Some(CHECK_IN), how).is_trouble() && ended(None, how).is_trouble());
    }
    assert!(ended(Some(CHECK_IN), How::Unreachable).is_trouble());
}

#[test]
fn one_cut_changes_nothing_and_the_second_halves_the_wait() {
    let mut device = Device::waiting(LONGEST_WAIT, 0.0);
    device.ends(MINUTE, How::Failed);
    assert_eq!(device.next.wait, None);
    assert_eq!(device.ends(ms(1), How::Unchanged).wait, Some(LONGEST_WAIT));
    device.ends(seconds(50), How::Failed);
    assert_eq!(device.ends(ms(1), How::Unchanged).wait, Some(MINUTE / 2));
    assert_eq!(device.pace.limit(), Some(MINUTE / 2));
    assert_eq!(device.ends(MINUTE / 2, How::Unchanged).after, Duration::ZERO);
}

#[test]
fn cut_that_another_check_in_outlives_is_forgotten() {
    let mut device = Device::waiting(LONGEST_WAIT, 0.0);
    for (lived, how) in [(LONGEST_WAIT, How::Unchanged), (seconds(20), How::News)] {
        device.ends(seconds(15), How::Failed);
        device.ends(ms(1), How::Unchanged);
        device.ends(lived, how);
        device.ends(seconds(15), How::Failed);
        assert_eq!(device.ends(ms(1), How::Unchanged).wait, Some(LONGEST_WAIT), "{how:?}");
        device.ends(LONGEST_WAIT, How::Unchanged);
    }
}

#[test]
fn wait_that_was_given_up_without_a_word_is_halved_until_it_passes() {
    let mut device = Device::waiting(LONGEST_WAIT, 0.0);
    for _ in 0..2 {
        device.ends(LONGEST_WAIT + MINUTE, How::Failed);
        device.ends(ms(1), How::Unchanged);
    }
    assert_eq!(device.next.wait, Some(seconds(150)));
    device.ends(seconds(210), How::Failed);
    assert_eq!(device.ends(ms(1), How::Unchanged).wait, Some(seconds(75)));
}

#[rstest]
#[case::worth_waiting(seconds(20), 10, 4_900)]
#[case::too_short(seconds(6), 0, 200)]
fn longer_waits_are_tried_again_and_more_rarely(
    #[case] cut: Duration,
    #[case] limit: u64,
    #[case] most: u32,
) {
    let mut device = Device::waiting(LONGEST_WAIT, 0.5);
    let mut trials = Vec::new();
    let asked = device.lives(12 * HOUR, |device| {
        if device.next.wait.is_some_and(|wait| wait > 2 * cut) {
            trials.push(device.now);
        }
        device.ends_behind(cut);
    });
    // The first two found it out.
    let gaps: Vec<u64> =
        trials.windows(2).skip(1).map(|pair| (pair[1] - pair[0]).as_secs() / 60).collect();
    assert!(gaps[0] >= 5 && gaps[0] <= 11, "{gaps:?}");
    assert!(gaps.is_sorted() && gaps.last().is_some_and(|gap| (60..=70).contains(gap)), "{gaps:?}");
    assert_eq!(device.pace.limit(), Some(seconds(limit)));
    assert!(asked <= most, "{asked} in 12 hours");
    // The proxy is set right.
    device.lives(2 * HOUR, |device| {
        device.ends_behind(2 * LONGEST_WAIT);
    });
    assert_eq!(device.pace.limit(), None);
}

#[test]
fn refused_wait_is_left_out_at_once_and_tried_again() {
    let mut device = Device::waiting(CHECK_IN, 0.5);
    device.ends(ms(1), How::Refused);
    assert_eq!(device.next.wait, None);
    let next = device.ends(ms(1), How::Unchanged);
    assert_eq!(next.wait, None);
    assert!(next.after >= seconds(27), "{next:?}");
    let mut tried = 0;
    let asked = device.lives(12 * HOUR, |device| {
        let how = device.next.wait.map_or(How::Unchanged, |_| How::Refused);
        tried += u32::from(how == How::Refused);
        device.ends(ms(1), how);
    });
    assert!((11..=18).contains(&tried) && asked < 12 * 140, "{tried} of {asked}");
}

#[test]
fn news_without_end_is_slowed_down() {
    for lived in [ms(0), ms(30), ms(250), ms(900)] {
        let mut device = Device::waiting(CHECK_IN, 0.0);
        let asked = device.lives(HOUR, |device| {
            device.ends(lived, How::News);
        });
        assert!(asked <= 140, "{asked} in an hour");
        // It is over.
        device.ends(CHECK_IN, How::Unchanged);
        let next = device.ends(seconds(3), How::News);
        assert_eq!(next.after, Duration::ZERO);
    }
}

#[test]
fn older_answers_are_asked_for_again_without_waiting_soon_and_then_more_rarely() {
    let mut device = Device::waiting(24 * HOUR, 0.5);
    let next = device.ends(ms(5), How::Older);
    assert!(next.wait.is_none() && next.after < seconds(3), "{next:?}");
    let asked = device.lives(2 * MINUTE, |device| {
        assert!(device.ends(ms(5), How::Older).wait.is_none());
    });
    assert!(asked <= 8, "{asked} while a restored store is not believed yet");
    // One of two managers stays behind for good.
    let mut device = Device::waiting(CHECK_IN, 0.5);
    let mut turn = 0;
    let asked = device.lives(HOUR, |device| {
        turn += 1;
        device.ends(ms(5), if turn % 2 == 0 { How::Older } else { How::Unchanged });
    });
    assert!(asked <= 280, "{asked} in an hour");
}

#[test]
fn retry_after_is_the_pace_of_any_answer_and_ends_with_it() {
    for how in [How::News, How::Unchanged, How::Repeated, How::Older] {
        for chance in [0.0, 1.0] {
            let mut device = Device::waiting(CHECK_IN, chance);
            let next = device.ends_with(ms(5), how, Some(seconds(40)));
            assert_eq!(next.wait, None);
            assert!(next.after >= seconds(40) && next.after <= seconds(44), "{next:?}");
            let next = device.ends_with(ms(5), how, Some(Duration::ZERO));
            assert!(next.after >= seconds(5), "{next:?}");
            let next = device.ends_with(ms(5), how, Some(HOUR));
            assert!(next.after >= seconds(600) && next.after <= seconds(660), "{next:?}");
        }
    }
    let mut device = Device::waiting(CHECK_IN, 0.5);
    device.ends_with(ms(5), How::Unchanged, Some(seconds(40)));
    assert!(device.ends(ms(5), How::Unchanged).wait.is_some());
}

#[rstest]
#[case(CHECK_IN)]
#[case(24 * HOUR)]
fn retry_after_of_a_failure_is_never_fallen_short_of(#[case] check_in_time: Duration) {
    for (chance, how) in [(0.0, How::Failed), (1.0, How::Failed), (0.0, How::Refused)] {
        let mut device = Device::waiting(check_in_time, chance);
        for _ in 0..20 {
            let next = device.ends_with(ms(5), how, Some(seconds(40)));
            assert!(next.wait.is_none() && next.after >= seconds(40), "{next:?}");
            assert!(next.after <= seconds(660), "{next:?}");
        }
    }
}
