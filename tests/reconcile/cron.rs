//! Cron jobs over time: a pretended device whose clock the test moves.

use crate::support::MACHINE;
use nebula::model::{Desired, RestartPolicy};
use nebula::reconcile::pretend::World;
use nebula::reconcile::{
    Action, Busy, Inputs, Memory, Policy, Reason, RunOutcome, Step, check, plan,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Noon of 2026-01-01, UTC.
const START: u64 = 1_767_268_800 * SECOND;

fn job(keys: &Value) -> Value {
    let mut job = json!({
        "cron_job_name": "job", "cron_job_id": 1, "uid": "aaaaaaaaaaaaaaaaaaaaaaaa",
        "docker_image": "tool:1", "schedule": "0 * * * *",
    });
    for (key, value) in keys.as_object().expect("keys") {
        job[key] = value.clone();
    }
    job
}

fn desired(jobs: &[Value]) -> Desired {
    let names: Vec<&Value> = jobs.iter().map(|job| &job["cron_job_name"]).collect();
    let answer = json!({
        "apps": [], "apps_list": [], "cron_jobs": jobs, "cron_jobs_list": names,
        "prune_id": 1, "device_group_id": 1,
    });
    Desired::decode(answer.to_string().as_bytes()).expect("the answer is whole")
}

/// A worker and its device.
struct Device {
    world: World,
    desired: Desired,
    memory: Memory,
    now: u64,
    /// Steps tried so far, and the one at which the worker dies, before or after it.
    steps: usize,
    dies_at: Option<(usize, bool)>,
    /// The names of containers that were started, in order.
    started: Vec<String>,
    outcomes: Vec<(u64, RunOutcome)>,
    holds: Vec<Reason>,
    /// How long a run takes; for ever, if none.
    run_time: Option<u64>,
    ends: Option<u64>,
}

impl Device {
    fn new(jobs: &[Value]) -> Self {
        let mut world = World::new();
        world.registry.insert("tool:1".to_owned());
        Self {
            world,
            desired: desired(jobs),
            memory: Memory::default(),
            now: START,
            steps: 0,
            dies_at: None,
            started: Vec::new(),
            outcomes: Vec::new(),
            holds: Vec::new(),
            run_time: Some(5 * SECOND),
            ends: None,
        }
    }

    /// A pass; returns when to look again.
    fn pass(&mut self) -> u64 {
        if self.ends.is_some_and(|ends| ends <= self.now) {
            self.world.end_runs(0);
            self.ends = None;
        }
        let observed = self.world.observe(MACHINE);
        let (busy, policy) = (Busy::default(), Policy::default());
        let inputs = Inputs {
            desired: &self.desired,
            observed: &observed,
            busy: &busy,
            policy: &policy,
            now_ms: self.now,
        };
        let mut again = self.memory.clone();
        let made = plan(&inputs, &mut self.memory);
        assert_eq!(plan(&inputs, &mut again), made, "a plan is a function");
        assert_eq!(check(&inputs, &made), Vec::<String>::new(), "{made}");
        self.outcomes
            .extend(made.recorded.iter().map(|r| (r.record.due, r.record.outcome.clone())));
        self.holds = made.holds.into_iter().map(|hold| hold.reason).collect();
        for action in &made.actions {
            self.steps += 1;
            if self.dies_at == Some((self.steps, false)) {
                break;
            }
            let done = self.world.apply(action);
            match action {
                Action::Pull { app, version, image } => match done {
                    Ok(()) => {
                        let id = &self.world.images[&image.familiar()];
                        self.memory.pulled(app, version, image, id);
                    }
                    Err(error) => self.memory.pull_failed(app, version, &error),
                },
                Action::Container { target, step, app } => {
                    if *step == Step::Start && done.is_ok() {
                        self.started.push(target.name.clone());
                        self.ends = self.run_time.map(|time| self.now + time);
                    }
                    if let Err(error) = done {
                        self.memory.failed(app, &target.attempt, &error);
                        break;
                    }
                }
                Action::CreateNetwork { .. } | Action::RemoveImage { .. } => {}
            }
            if self.dies_at == Some((self.steps, true)) {
                break;
            }
        }
        // A worker that was killed has what it wrote before the steps; what it learned from them
        // is lost. The pretended one keeps both, which only makes it try less often.
        made.recheck_after_ms.unwrap_or(30 * SECOND).min(30 * SECOND)
    }

    /// Lets time go by, with a pass whenever one is due.
    fn run_for(&mut self, time: u64) -> &mut Self {
        let end = self.now + time;
        while self.now < end {
            let wait = self.pass();
            let next_end = self.ends.map_or(wait, |ends| ends.saturating_sub(self.now).max(1));
            self.now += wait.min(next_end).clamp(1, end - self.now);
        }
        self.pass();
        self
    }

    /// Time goes by while the worker does not run. Runs end meanwhile.
    fn sleep(&mut self, time: u64) -> &mut Self {
        self.now += time;
        self
    }

    fn dues(&self) -> Vec<u64> {
        let due = |name: &String| name.split('-').nth(1).and_then(|due| due.parse().ok());
        self.started.iter().filter_map(due).collect()
    }
}

/// Seconds since 1970, hours after the start.
fn at(hours: u64) -> u64 {
    (START + hours * HOUR) / SECOND
}

#[test]
fn an_hourly_job_runs_each_hour_once_and_leaves_nothing_behind() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(3 * HOUR + MINUTE);
    assert_eq!(device.dues(), [at(1), at(2), at(3)]);
    let ended =
        device.outcomes.iter().filter(|(_, outcome)| matches!(outcome, RunOutcome::Ended(_)));
    assert_eq!(ended.count(), 3);
    assert!(device.world.observe(MACHINE).runs.is_empty(), "finished containers are removed");
    assert_eq!(device.holds, []);
}

#[test]
fn a_new_job_does_not_run_at_once() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(59 * MINUTE);
    assert_eq!(device.started, Vec::<String>::new());
}

#[test]
fn the_container_of_a_run_has_the_names_and_labels_of_the_original() {
    let desired = desired(&[job(&json!({}))]);
    let nebula::model::DesiredCronJob::Readable(job) = &desired.cron_jobs[0] else {
        panic!("it can be read");
    };
    let spec = job.container_spec(1_767_268_800);
    assert_eq!(spec.name, "job-1767268800-1");
    for (label, value) in
        [("cron_job_name", "job"), ("orchestrator", "nebula"), ("container_type", "cron_job")]
    {
        assert_eq!(spec.labels[label], value);
    }
    assert!(spec.restart == RestartPolicy::No && spec.ports.is_empty());
}

#[rstest]
#[case::skip(json!({}), &[1], 3)]
#[case::skip_said(json!({ "overlap": "skip" }), &[1], 3)]
#[case::allow(json!({ "overlap": "allow" }), &[1, 2, 3, 4], 0)]
#[case::replace(json!({ "overlap": "replace" }), &[1, 2, 3, 4], 0)]
fn a_run_that_is_due_while_the_last_one_lives(
    #[case] keys: Value,
    #[case] runs: &[u64],
    #[case] overlapped: usize,
) {
    let mut device = Device::new(&[job(&keys)]);
    device.run_time = None;
    device.run_for(4 * HOUR + MINUTE);
    assert_eq!(device.dues(), runs.iter().map(|hour| at(*hour)).collect::<Vec<_>>());
    let skipped = |(_, outcome): &&(u64, RunOutcome)| *outcome == RunOutcome::Overlapped;
    assert_eq!(device.outcomes.iter().filter(skipped).count(), overlapped);
    let living = device.world.observe(MACHINE).runs.len();
    assert_eq!(living, if keys == json!({ "overlap": "allow" }) { 4 } else { 1 });
}

#[rstest]
#[case::one_missed_is_caught_up(json!({}), 70, &[1], 0)]
#[case::unless_told_otherwise(json!({ "missed_runs": "skip" }), 70, &[], 1)]
#[case::several_missed_are_told(json!({}), 200, &[], 3)]
#[case::one_that_is_on_time_runs_though_others_were_missed(json!({}), 180, &[3], 2)]
fn a_worker_that_was_down(
    #[case] keys: Value,
    #[case] minutes: u64,
    #[case] hours: &[u64],
    #[case] missed: u32,
) {
    let mut device = Device::new(&[job(&keys)]);
    device.run_for(10 * SECOND);
    device.sleep(minutes * MINUTE);
    device.run_for(MINUTE);
    assert_eq!(device.dues(), hours.iter().map(|hour| at(*hour)).collect::<Vec<_>>());
    let told: u32 = device
        .outcomes
        .iter()
        .map(|(_, outcome)| if let RunOutcome::Missed { times } = outcome { *times } else { 0 })
        .sum();
    assert_eq!(told, missed);
}

#[test]
fn a_run_waits_for_its_image_and_is_given_up_when_the_next_one_is_due() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.world.registry.clear();
    device.run_for(HOUR + 30 * MINUTE);
    assert!(matches!(device.holds[..], [Reason::PullFailed { .. }]), "{:?}", device.holds);
    assert_eq!(device.started, Vec::<String>::new());
    device.run_for(HOUR);
    assert!(device.outcomes.contains(&(at(1), RunOutcome::NotStarted)), "{:?}", device.outcomes);
    device.world.registry.insert("tool:1".to_owned());
    device.run_for(10 * MINUTE);
    assert_eq!(device.dues(), [at(2)], "late, but it was due");
}

#[test]
fn an_image_is_fetched_before_the_run_is_due() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(10 * MINUTE);
    device.world.registry.clear();
    device.run_for(HOUR);
    assert_eq!(device.dues(), [at(1)], "with no registry in reach");
}

#[test]
fn a_stopped_job_does_not_run_and_misses_nothing() {
    let mut device = Device::new(&[job(&json!({ "running": false }))]);
    device.run_for(3 * HOUR + MINUTE);
    device.desired = desired(&[job(&json!({ "cron_job_id": 2 }))]);
    device.run_for(HOUR);
    assert_eq!(device.dues(), [at(4)]);
    let missed = |(_, outcome): &(u64, RunOutcome)| matches!(outcome, RunOutcome::Missed { .. });
    assert!(!device.outcomes.iter().any(missed));
}

#[test]
fn a_job_that_is_taken_out_of_its_group_ends() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_time = None;
    device.run_for(HOUR + MINUTE);
    device.desired = desired(&[]);
    device.run_for(MINUTE);
    assert!(device.world.observe(MACHINE).runs.is_empty());
}

#[test]
fn a_change_of_the_image_keeps_the_count_of_times_and_a_change_of_the_schedule_begins_it_anew() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(30 * MINUTE);
    device.sleep(31 * MINUTE);
    device.desired = desired(&[job(&json!({ "cron_job_id": 2, "env_vars": { "A": "b" } }))]);
    device.run_for(MINUTE);
    assert_eq!(device.dues(), [at(1)], "caught up");
    device.sleep(HOUR);
    device.desired = desired(&[job(&json!({ "cron_job_id": 3, "schedule": "30 * * * *" }))]);
    device.run_for(MINUTE);
    assert_eq!(device.dues(), [at(1)], "the new times begin now");
}

#[test]
fn inv_24_a_clock_that_jumps_ahead_is_told_and_runs_nothing_twice() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(90 * MINUTE);
    device.now += DAY;
    device.run_for(HOUR);
    assert_eq!(device.dues(), [at(1), at(26)]);
    let missed = (at(25), RunOutcome::Missed { times: 24 });
    assert!(device.outcomes.contains(&missed), "{:?}", device.outcomes);
}

#[test]
fn inv_24_a_clock_that_jumps_back_by_a_day_is_told_and_times_count_again() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(30 * HOUR + 30 * MINUTE);
    device.now -= DAY;
    let before = device.started.len();
    device.run_for(2 * HOUR);
    assert!(device.outcomes.contains(&(at(30), RunOutcome::ClockWentBack)));
    assert_eq!(device.dues()[before..], [at(7), at(8)]);
}

#[test]
fn inv_24_a_clock_that_goes_back_a_little_runs_nothing_twice() {
    let mut device = Device::new(&[job(&json!({}))]);
    device.run_for(HOUR + MINUTE);
    device.now -= 10 * MINUTE;
    device.run_for(HOUR);
    assert_eq!(device.dues(), [at(1)]);
    device.run_for(20 * MINUTE);
    assert_eq!(device.dues(), [at(1), at(2)]);
}

#[test]
fn inv_24_a_clock_that_nobody_set_decides_nothing() {
    let mut device = Device::new(&[job(&json!({ "schedule": "* * * * *" }))]);
    device.now = 5 * MINUTE;
    device.run_for(10 * MINUTE);
    assert_eq!(device.holds, [Reason::ClockNotSet]);
    device.now = START;
    device.run_for(2 * MINUTE + SECOND);
    assert_eq!(device.dues(), [START / SECOND + 60, START / SECOND + 120]);
}

/// Berlin, 2026: from 2:00 to 3:00 on March 29, from 3:00 back to 2:00 on October 25, at 1:00 UTC.
#[rstest]
#[case::the_hour_that_is_not_there(1_774_738_800, "30 2 * * *", &[1_774_746_000])]
#[case::the_hour_that_comes_twice(1_792_879_200, "30 2 * * *", &[1_792_888_200])]
#[case::each_hour_in_spring(1_774_738_800, "0 * * * *", &[1_774_742_400, 1_774_746_000, 1_774_749_600])]
#[case::each_hour_in_autumn(1_792_879_200, "0 * * * *", &[1_792_882_800, 1_792_886_400, 1_792_890_000])]
fn inv_24_summer_time(#[case] start: u64, #[case] schedule: &str, #[case] dues: &[u64]) {
    let keys = json!({ "schedule": schedule, "timezone": "Europe/Berlin" });
    let mut device = Device::new(&[job(&keys)]);
    device.now = start * SECOND;
    device.run_for(3 * HOUR + 30 * MINUTE);
    assert_eq!(device.dues(), dues);
}

/// The worker dies at each step, before and after it, and is started again.
#[test]
fn inv_15_a_worker_killed_at_any_step_runs_each_time_once() {
    let mut calm = Device::new(&[job(&json!({}))]);
    calm.run_for(3 * HOUR + MINUTE);
    for step in 1..=calm.steps {
        for after in [false, true] {
            let mut device = Device::new(&[job(&json!({}))]);
            device.dies_at = Some((step, after));
            device.run_for(3 * HOUR + MINUTE);
            let mut dues = device.dues();
            assert_eq!(dues.len(), 3, "died at {step}, after: {after}: {dues:?}");
            dues.dedup();
            assert_eq!(dues, [at(1), at(2), at(3)], "died at {step}, after: {after}");
            assert!(device.world.observe(MACHINE).runs.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(crate::laws::cases(100))]

    /// Whatever the schedule, with the worker up: each time that passes runs once, in order.
    #[test]
    fn every_time_runs_once(minute in 0_u64..60, step in 1_u64..30, hours in 1_u64..3) {
        let schedule = format!("{minute}/{step} * * * *");
        let mut device = Device::new(&[job(&json!({ "schedule": schedule, "overlap": "allow" }))]);
        device.run_time = Some(SECOND);
        device.run_for(hours * HOUR);
        let dues = device.dues();
        prop_assert!(dues.windows(2).all(|pair| pair[0] < pair[1]), "{dues:?}");
        let passed = (START / SECOND + 1..=device.now / SECOND).filter(|second| {
            let in_hour = second / 60 % 60;
            second % 60 == 0 && in_hour >= minute && (in_hour - minute).is_multiple_of(step)
        });
        prop_assert_eq!(dues, passed.collect::<Vec<_>>());
    }
}
