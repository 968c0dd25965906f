//! Tables for schedules, cron jobs and the query of reports.

use nebula::model::{
    Comparison, CronJob, CronJobFields, ReportQuery, Schedule, ScheduleError, Set, Uid, Unknown,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { unreachable!("the test gives an object") };
    map
}

fn parse(text: &str) -> Schedule {
    Schedule::parse(text.to_owned()).expect("a good schedule")
}

fn numbers(set: Set) -> Vec<u32> {
    set.iter().collect()
}

// ---- schedules ----

/// One field at a time: its place, its text, and the numbers it names.
#[rstest]
#[case(0, "*", (0..60).collect())]
#[case(0, "0", vec![0])]
#[case(0, "59", vec![59])]
#[case(0, "007", vec![7])]
#[case(0, "*/15", vec![0, 15, 30, 45])]
#[case(0, "*/40", vec![0, 40])]
#[case(0, "*/100", vec![0])]
#[case(0, "5/20", vec![5, 25, 45])]
#[case(0, "10-20/5", vec![10, 15, 20])]
#[case(0, "3,1,2,1", vec![1, 2, 3])]
#[case(0, "0-2,58-59", vec![0, 1, 2, 58, 59])]
#[case::over_the_end(0, "58-1", vec![0, 1, 58, 59])]
#[case::steps_go_on_over_the_end(0, "55-10/5", vec![0, 5, 10, 55])]
#[case::steps_of_seven_over_the_end(0, "50-10/7", vec![4, 50, 57])]
#[case(0, "7-7", vec![7])]
#[case(1, "22-2", vec![0, 1, 2, 22, 23])]
#[case(1, "*/6", vec![0, 6, 12, 18])]
#[case(1, "23", vec![23])]
#[case(2, "*", (1..32).collect())]
#[case(2, "1,15,31", vec![1, 15, 31])]
#[case(2, "*/10", vec![1, 11, 21, 31])]
#[case::over_the_end_of_a_month(2, "30-2", vec![1, 2, 30, 31])]
#[case(3, "*", (1..13).collect())]
#[case(3, "jan", vec![1])]
#[case(3, "DEC", vec![12])]
#[case(3, "Feb-Apr", vec![2, 3, 4])]
#[case(3, "nov-feb", vec![1, 2, 11, 12])]
#[case(3, "jan-12/4,mar", vec![1, 3, 5, 9])]
#[case(4, "*", (0..7).collect())]
#[case(4, "0", vec![0])]
#[case::sunday_has_two_numbers(4, "7", vec![0])]
#[case(4, "sun", vec![0])]
#[case(4, "mon-fri", vec![1, 2, 3, 4, 5])]
#[case(4, "fri-mon", vec![0, 1, 5, 6])]
#[case(4, "0-7", (0..7).collect())]
#[case(4, "5-7", vec![0, 5, 6])]
#[case(4, "7-2", vec![0, 1, 2])]
#[case(4, "*/2", vec![0, 2, 4, 6])]
#[case(4, "1/2", vec![0, 1, 3, 5])]
#[case(4, "sat,SUN", vec![0, 6])]
fn a_field_names_its_numbers(#[case] place: usize, #[case] text: &str, #[case] expected: Vec<u32>) {
    let mut fields = ["*"; 5];
    fields[place] = text;
    let schedule = parse(&fields.join(" "));
    let sets =
        [schedule.minutes, schedule.hours, schedule.days, schedule.months, schedule.weekdays];
    assert_eq!(numbers(sets[place]), expected);
    let full = [60, 24, 31, 12, 7];
    for other in (0..5).filter(|other| *other != place) {
        assert_eq!(numbers(sets[other]).len(), full[other], "the others are whole");
    }
}

/// Two days restricted: Linux runs on either, unless one of the fields begins with `*`.
#[rstest]
#[case("0 0 1 * mon", false)]
#[case("0 0 1 * *", true)]
#[case("0 0 * * mon", true)]
#[case("0 0 */2 * mon", true)]
#[case("0 0 1 * */2", true)]
#[case("0 0 1-31 * mon", false)]
fn days_must_be_in_both_or_in_either(#[case] text: &str, #[case] both: bool) {
    assert_eq!(parse(text).both_days, both);
}

#[rstest]
#[case("@hourly", "0 * * * *")]
#[case("@daily", "0 0 * * *")]
#[case("@midnight", "0 0 * * *")]
#[case("@Weekly", "0 0 * * 0")]
#[case("@monthly", "0 0 1 * *")]
#[case(" @YEARLY ", "0 0 1 1 *")]
#[case("@annually", "0 0 1 1 *")]
#[case("  0   0\t1 1 *\n", "0 0 1 1 *")]
fn other_ways_of_saying_the_same(#[case] text: &str, #[case] plain: &str) {
    let (read, plain) = (parse(text), parse(plain));
    assert_eq!(read.as_str(), text, "it is kept as it was given");
    assert_eq!(serde_json::to_value(&read).ok(), Some(json!(text)));
    let sets = |s: &Schedule| (s.minutes, s.hours, s.days, s.months, s.weekdays, s.both_days);
    assert_eq!(sets(&read), sets(&plain));
}

#[rstest]
#[case("", 0)]
#[case("   ", 0)]
#[case("*", 1)]
#[case("* * * *", 4)]
#[case("* * * * * *", 6)]
#[case("0 0 * * * 2026", 6)]
#[case("every day at noon", 4)]
fn five_fields_and_no_other_number(#[case] text: &str, #[case] count: usize) {
    let error = Schedule::parse(text.to_owned()).expect_err("refused");
    assert_eq!(error, ScheduleError::FieldCount(count));
}

#[rstest]
#[case("60 * * * *", "minute")]
#[case("-1 * * * *", "minute")]
#[case("+1 * * * *", "minute")]
#[case("1.5 * * * *", "minute")]
#[case("*/0 * * * *", "minute")]
#[case("*/ * * * *", "minute")]
#[case("/5 * * * *", "minute")]
#[case("*/-5 * * * *", "minute")]
#[case("*/5/5 * * * *", "minute")]
#[case("*-5 * * * *", "minute")]
#[case("** * * * *", "minute")]
#[case("1-2-3 * * * *", "minute")]
#[case("1- * * * *", "minute")]
#[case("1, * * * *", "minute")]
#[case(",1 * * * *", "minute")]
#[case("1,,2 * * * *", "minute")]
#[case("1;2 * * * *", "minute")]
#[case("~ * * * *", "minute")]
#[case("H * * * *", "minute")]
#[case("jan * * * *", "minute")]
#[case("4294967296 * * * *", "minute")]
#[case("*/4294967296 * * * *", "minute")]
#[case("٣ * * * *", "minute")]
#[case("* 24 * * *", "hour")]
#[case("* 1-24 * * *", "hour")]
#[case("* * 0 * *", "day of month")]
#[case("* * 32 * *", "day of month")]
#[case("* * L * *", "day of month")]
#[case("* * 15W * *", "day of month")]
#[case("* * ? * *", "day of month")]
#[case("* * mon * *", "day of month")]
#[case("* * * 0 *", "month")]
#[case("* * * 13 *", "month")]
#[case("* * * january *", "month")]
#[case("* * * mon *", "month")]
#[case("* * * * 8", "day of week")]
#[case("* * * * 5#2", "day of week")]
#[case("* * * * 5L", "day of week")]
#[case("* * * * monday", "day of week")]
#[case("* * * * jan", "day of week")]
fn a_field_that_cannot_be_read_is_named(#[case] text: &str, #[case] name: &str) {
    match Schedule::parse(text.to_owned()) {
        Err(ScheduleError::Field { field, text: shown, .. }) => {
            assert_eq!(field, name);
            assert!(text.split(' ').any(|part| part == shown), "{shown}");
        }
        other => panic!("{other:?}"),
    }
}

#[rstest]
#[case("0 0 30 2 *", false)]
#[case("0 0 31 4,6,9,11 *", false)]
#[case("0 0 30,31 feb *", false)]
#[case("0 0 30 2 */2", false)]
#[case::leap_years("0 0 29 2 *", true)]
#[case("0 0 31 2,3 *", true)]
#[case("0 0 29-31 2 *", true)]
#[case::mondays_do("0 0 30 2 mon", true)]
#[case("0 0 */31 2 *", true)]
fn a_day_that_no_month_has_never_comes(#[case] text: &str, #[case] comes: bool) {
    match Schedule::parse(text.to_owned()) {
        Ok(_) => assert!(comes),
        Err(error) => assert!(!comes && error == ScheduleError::Never, "{error:?}"),
    }
}

#[rstest]
#[case("@reboot")]
#[case("@")]
#[case("@daily @hourly")]
#[case("@every 5m")]
fn words_that_are_no_times_are_refused(#[case] text: &str) {
    let error = Schedule::parse(text.to_owned()).expect_err("refused");
    assert!(matches!(error, ScheduleError::Nickname(_)), "{error:?}");
}

#[test]
fn a_schedule_has_a_limit_that_no_sensible_one_meets() {
    let every = (0..60).map(|minute| minute.to_string()).collect::<Vec<_>>().join(",");
    assert!(Schedule::parse(format!("{every} * * * *")).is_ok());
    let long = format!("{} * * * *", vec!["0"; 300].join(","));
    assert_eq!(Schedule::parse(long), Err(ScheduleError::TooLong));
}

proptest! {
    #![proptest_config(crate::laws::cases(600))]

    /// A range's numbers are those that walking it by hand meets.
    #[test]
    fn a_range_is_walked_to_its_end(first in 0..60_u32, last in 0..60_u32, step in 1..70_u32) {
        let schedule = parse(&format!("{first}-{last}/{step} * * * *"));
        let length = (last + 60 - first) % 60;
        let mut walked: Vec<u32> =
            (0..=length).filter(|n| n % step == 0).map(|n| (first + n) % 60).collect();
        walked.sort_unstable();
        prop_assert_eq!(numbers(schedule.minutes), walked);
    }

    /// Whatever is written, it is refused or names at least one of each, in bounds.
    #[test]
    fn odd_schedules_never_panic(
        text in prop_oneof![
            ".{0,40}",
            "[0-9*/,a-z-]{1,6}( [0-9*/,a-z-]{1,6}){4}",
            "([0-9]{1,2}|\\*)(-[0-9]{1,2})?(/[0-9]{1,2})?( (\\*|[0-9]{1,2}|[0-9]-[0-9]{1,2})){4}",
        ],
    ) {
        if let Ok(schedule) = Schedule::parse(text.clone()) {
            prop_assert_eq!(schedule.as_str(), &text);
            for (set, first, last) in [
                (schedule.minutes, 0, 59),
                (schedule.hours, 0, 23),
                (schedule.days, 1, 31),
                (schedule.months, 1, 12),
                (schedule.weekdays, 0, 6),
            ] {
                let named = numbers(set);
                prop_assert!(!named.is_empty());
                prop_assert!(named.iter().all(|number| (first..=last).contains(number)));
            }
        }
    }
}

// ---- cron jobs ----

fn job() -> Value {
    json!({
        "cron_job_id": 3, "cron_job_name": "backup", "schedule": "@daily",
        "docker_image": "job:1", "env_vars": { "A": "s3cret" }, "networks": ["nebula"],
        "volumes": ["/a:/b"], "devices": ["/dev/snd"], "privileged": true, "running": false,
        "uid": "0123456789abcdef01234567", "revision": 7,
    })
}

#[test]
fn a_cron_job_prints_as_it_was_read() {
    let mut read = CronJob::decode(object(job())).expect("a whole cron job");
    assert_eq!(serde_json::to_value(&read).ok(), Some(job()));
    assert!(!format!("{read:?}").contains("s3cret"), "values may be secrets");
    // Of the original's documents, extra keys and all.
    let mut more = object(job());
    more.insert("_id".to_owned(), json!({ "$oid": "x" }));
    more.insert("colour".to_owned(), json!("red"));
    assert_eq!(CronJob::decode(more).as_ref(), Ok(&read));
    let lacking = json!({
        "cron_job_id": 1, "cron_job_name": "b", "schedule": "0 * * * *", "docker_image": "a",
    });
    read = CronJob::decode(object(lacking)).expect("the rest has defaults");
    assert!(read.spec.running && !read.spec.container.privileged);
    assert_eq!(read.spec.container.networks.len(), 2);
    for key in ["cron_job_id", "cron_job_name", "schedule", "docker_image"] {
        let mut less = object(job());
        less.shift_remove(key);
        let refused = CronJob::decode(less).expect_err("it is needed");
        assert!(refused.fields.contains_key(key), "{key}: {refused}");
    }
}

#[test]
fn fields_that_are_given_change_and_no_others() {
    let before = CronJob::decode(object(job())).expect("a whole cron job").spec;
    let decode = |body: Value| CronJobFields::decode(object(body), Some("backup"), Unknown::Refuse);
    let read_only = json!({
        "cron_job_name": "backup", "cron_job_id": "x", "uid": 1, "revision": [], "_id": {},
    });
    let fields = decode(read_only).expect("they are ignored");
    assert!(fields.is_empty());
    assert_eq!(before.with(fields).as_ref(), Ok(&before));
    for (key, value) in object(json!({
        "schedule": "@hourly", "docker_image": "job:2", "env_vars": {}, "networks": [],
        "volumes": [], "devices": [], "privileged": false, "running": true,
    })) {
        let fields = decode(json!({ key.clone(): value.clone() })).expect("a good field");
        assert!(!fields.is_empty(), "{key}");
        let mut after = CronJob::decode(object(job())).expect("a whole cron job");
        after.spec = after.spec.with(fields).expect("a spec");
        let mut expected = job();
        expected[&key] = value;
        assert_eq!(serde_json::to_value(&after).ok(), Some(expected), "{key}");
    }
    assert!(decode(json!({ "cron_job_name": "other" })).is_err());
    assert!(decode(json!({ "starting_ports": [80] })).is_err());
}

proptest! {
    #![proptest_config(crate::laws::cases(200))]

    /// Whatever stands in one field, nothing panics, and what is read prints to what reads alike.
    #[test]
    fn odd_cron_jobs_never_panic(
        key in prop::sample::select(vec!["cron_job_id", "cron_job_name", "schedule", "running",
            "docker_image", "env_vars", "networks", "volumes", "uid", "revision", "x"]),
        odd in crate::model::any_json(),
    ) {
        let mut body = object(job());
        body.insert(key.to_owned(), odd);
        if let Ok(read) = CronJob::decode(body) {
            let printed = serde_json::to_value(&read).expect("it prints");
            prop_assert_eq!(CronJob::decode(object(printed)), Ok(read));
        }
    }
}

// ---- the query of reports ----

fn query(pairs: &[(&str, &str)]) -> Result<ReportQuery, String> {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ReportQuery::decode(pairs.collect()).map_err(|refused| refused.to_string())
}

#[test]
fn a_query_is_read_key_by_key() {
    let default = ReportQuery::default();
    assert_eq!(query(&[]), Ok(default.clone()));
    assert_eq!(default.page_size, 10);
    let text = |text: &str| Some(text.to_owned());
    let time = |comparison, seconds| Some((comparison, seconds));
    for (pairs, expected) in [
        (vec![("page_size", "1")], ReportQuery { page_size: 1, ..default.clone() }),
        (vec![("page_size", "1000")], ReportQuery { page_size: 1000, ..default.clone() }),
        (vec![("hostname", "a b")], ReportQuery { hostname: text("a b"), ..default.clone() }),
        (vec![("device_group", "")], ReportQuery { device_group: text(""), ..default.clone() }),
        (vec![("updated", "True")], ReportQuery { updated: Some(true), ..default.clone() }),
        (vec![("updated", "false")], ReportQuery { updated: Some(false), ..default.clone() }),
        (
            vec![("last_id", "0123456789abcdef01234567")],
            ReportQuery { last_id: Uid::parse("0123456789abcdef01234567"), ..default.clone() },
        ),
        (
            vec![("report_creation_time", "-1")],
            ReportQuery { report_creation_time: time(Comparison::Eq, -1), ..default.clone() },
        ),
        (vec![("report_creation_time_filter", "gt")], default.clone()),
    ] {
        assert_eq!(query(&pairs), Ok(expected), "{pairs:?}");
    }
    for (name, comparison) in Comparison::ALL {
        let pairs = [("report_creation_time_filter", name), ("report_creation_time", "5")];
        let read = query(&pairs).expect("a good query");
        assert_eq!(read.report_creation_time, time(comparison, 5), "{name}");
    }
}

#[rstest]
#[case(&[("page_size", "0")], "page_size")]
#[case(&[("page_size", "1001")], "page_size")]
#[case(&[("page_size", "")], "page_size")]
#[case(&[("page_size", "1.0")], "page_size")]
#[case(&[("report_creation_time", "")], "report_creation_time")]
#[case(&[("report_creation_time", "9223372036854775808")], "report_creation_time")]
#[case(&[("report_creation_time_filter", "EQ")], "report_creation_time_filter")]
#[case(&[("updated", "yes")], "updated")]
#[case(&[("last_id", "0123456789abcdef0123456g")], "last_id")]
#[case(&[("last_id", "")], "last_id")]
#[case(&[("colour", "red")], "colour")]
#[case(&[("", "")], "")]
#[case(&[("hostname", "a"), ("hostname", "a")], "hostname")]
fn a_query_that_cannot_be_read_names_its_key(#[case] pairs: &[(&str, &str)], #[case] key: &str) {
    let refused = query(pairs).expect_err("refused");
    assert!(refused.starts_with(&format!("`{key}`: ")), "{refused}");
}
