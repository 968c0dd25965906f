//! `nebula ctl reports`, and `devices` of a manager that keeps no inventory, which are made from
//! reports.

use crate::program::User;
use crate::server::{Answer, Request, Server, json, reply};
use rstest::rstest;
use serde_json::{Value, json as value};

/// A report as a worker makes it.
fn report(hostname: &str, seconds: i64, containers: &[&str]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|name| value!({ "name": format!("/{name}"), "id": "1" })).collect();
    value!({
        "_id": { "$oid": "0123456789abcdef01234567" },
        "hostname": hostname, "device_group": "shop", "report_creation_time": seconds,
        "updated": true,
        "current_device_group_config": { "apps_list": ["web", "db"], "cron_jobs_list": ["clean"] },
        "memory_usage": { "total": 2048, "used": 512, "free": 1024, "available": 1536 },
        "root_disk_usage": { "total": 10000, "used": 2500, "free": 7500 },
        "cpu_usage": { "cores": 4, "used_percent": 12.5 },
        "apps_containers": containers,
        "cron_jobs_containers": [{ "name": "/clean-1700000000-1" }],
    })
}

fn page(reports: &[Value], last_id: Option<&str>) -> Answer {
    let data = if reports.is_empty() { Value::Null } else { reports.into() };
    let last_id = last_id.map(|id| value!({ "$oid": id }));
    json(200, &value!({ "data": data, "last_id": last_id }).to_string())
}

const FIRST: &str = "aaaaaaaaaaaaaaaaaaaaaaa1";
const SECOND: &str = "aaaaaaaaaaaaaaaaaaaaaaa2";

/// What the original answers where it has no route.
fn no_such_route() -> Answer {
    reply(404, "Content-Type: text/html\r\n", "<h1>Not Found</h1>")
}

/// What was asked of reports.
fn asked(server: &Server) -> Vec<String> {
    let lines = server.requests().into_iter().map(|request| request.line);
    lines.filter(|line| !line.starts_with("GET /api/v2/devices")).collect()
}

/// A manager with two pages: `speaker` reports in both, the newer first; `odd` has nothing but
/// its name.
fn manager() -> Server {
    Server::start(|request: &Request| {
        if request.line.contains(" /api/v2/devices") {
            return no_such_route();
        }
        assert!(request.line.starts_with("GET /api/v2/reports?"), "{}", request.line);
        if request.line.contains(SECOND) || request.line.contains("hostname=nobody") {
            return page(&[], None);
        }
        if request.line.contains(FIRST) {
            let older = report("speaker", 1_700_000_000, &["web-1"]);
            return page(&[older, value!({ "hostname": "odd" })], Some(SECOND));
        }
        let newer = report("speaker", 1_700_000_030, &["web-1", "web-2", "my-app-10", "side-car"]);
        page(&[newer, report("kiosk", 1_700_000_010, &[])], Some(FIRST))
    })
}

#[rstest]
#[case("reports_list", &["reports", "list"])]
#[case("reports_page", &["reports", "list", "--page-size", "2"])]
#[case("reports_all", &["reports", "list", "--all"])]
#[case("reports_none", &["reports", "list", "--hostname", "nobody"])]
#[case("reports_two_times", &["reports", "list", "--since", "1h", "--until", "1m"])]
#[case("reports_time", &["reports", "list", "--since", "yesterday"])]
#[case("reports_comparison", &["reports", "list", "--created", "after=1h"])]
#[case("reports_id", &["reports", "list", "--last-id", "12"])]
#[case("reports_page_size", &["reports", "list", "--page-size", "0"])]
#[case("devices_list", &["devices", "list"])]
#[case("devices_info", &["devices", "info", "speaker"])]
#[case("devices_info_odd", &["devices", "info", "odd"])]
#[case("devices_unknown", &["devices", "info", "nobody"])]
fn what_people_see(#[case] name: &str, #[case] given: &[&str]) {
    let server = manager();
    insta::assert_snapshot!(name, User::of(&server).ctl(given).seen());
}

#[rstest]
#[case::nothing(&[], "page_size=10")]
#[case::all(&["--all"], "page_size=100")]
#[case::names(&["--hostname", "a b&c", "--device-group", "shop"],
    "page_size=10&hostname=a+b%26c&device_group=shop")]
#[case::since(&["--since", "1700000000"],
    "page_size=10&report_creation_time_filter=gte&report_creation_time=1700000000")]
#[case::until(&["--until", "2023-11-14T23:13:20+01:00"],
    "page_size=10&report_creation_time_filter=lte&report_creation_time=1700000000")]
#[case::created(&["--created", "ne=1700000000"],
    "page_size=10&report_creation_time_filter=ne&report_creation_time=1700000000")]
#[case::updated(&["--updated", "true"], "page_size=10&updated=True")]
#[case::not_updated(&["--updated", "false"], "page_size=10&updated=False")]
#[case::last_id(&["--page-size", "7", "--last-id", SECOND],
    "page_size=7&last_id=aaaaaaaaaaaaaaaaaaaaaaa2")]
fn list_asks_with_the_contracts_query(#[case] given: &[&str], #[case] query: &str) {
    let server = Server::start(|_| page(&[], None));
    User::of(&server).ctl(&[&["reports", "list"], given].concat()).ok();
    assert_eq!(server.requests()[0].line, format!("GET /api/v2/reports?{query}"));
    // The model, which the manager reads with, reads the same.
    let url = reqwest::Url::parse(&format!("http://m/?{query}")).expect("a URL");
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    nebula::model::ReportQuery::decode(pairs).expect("a query");
}

#[rstest]
#[case("90s", 90)]
#[case("10m", 600)]
#[case("2h", 7_200)]
#[case("1d", 86_400)]
fn an_age_counts_from_now(#[case] age: &str, #[case] seconds: i64) {
    let server = Server::start(|_| page(&[], None));
    let now = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs().cast_signed();
    let before = now();
    User::of(&server).ctl(&["reports", "list", "--since", age]).ok();
    let line = server.requests()[0].line.clone();
    let time: i64 = line.rsplit_once('=').expect("a value").1.parse().expect("seconds");
    assert!((before - seconds..=now() - seconds).contains(&time), "{line}");
}

#[test]
fn json_is_each_page_as_it_came() {
    let server = manager();
    let user = User::of(&server);
    let one = user.ctl(&["reports", "list", "-o", "json"]).ok();
    assert!(one.contains("\"last_id\":{\"$oid\":\"aaaaaaaaaaaaaaaaaaaaaaa1\"}"), "{one}");
    assert_eq!(one.lines().count(), 1);
    let all = user.ctl(&["reports", "list", "--all", "-o", "json"]).ok();
    let pages: Vec<Value> =
        all.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(pages.len(), 3, "{all}");
    assert_eq!(pages[1]["data"][1]["hostname"], "odd");
}

#[test]
fn a_manager_that_turns_in_a_circle_is_left() {
    let server = Server::start(|_| page(&[report("a", 1, &[])], Some(FIRST)));
    let err = User::of(&server).ctl(&["reports", "list", "--all"]).fails(1);
    assert!(err.contains("the same page of reports again"), "{err}");
    assert_eq!(server.requests().len(), 2);
}

#[rstest]
#[case(r#"{"data": 1, "last_id": null}"#)]
#[case(r#"{"data": [1], "last_id": null}"#)]
#[case(r#"{"data": [], "last_id": "aaaaaaaaaaaaaaaaaaaaaaa1"}"#)]
#[case(r#"{"data": null}"#)]
fn another_shape_is_no_page(#[case] body: &'static str) {
    let server = Server::start(move |_| json(200, body));
    let err = User::of(&server).ctl(&["reports", "list"]).fails(1);
    assert!(err.contains("the answer is not a page of reports"), "{err}");
}

#[test]
fn devices_as_json_are_their_newest_reports() {
    let server = manager();
    let user = User::of(&server);
    let list: Value =
        serde_json::from_str(&user.ctl(&["devices", "list", "-o", "json"]).ok()).expect("JSON");
    let data = list["data"].as_array().expect("a list");
    let names: Vec<&Value> = data.iter().map(|report| &report["hostname"]).collect();
    assert_eq!(names, ["kiosk", "odd", "speaker"]);
    assert_eq!(data[2]["report_creation_time"], 1_700_000_030);
    let info = user.ctl(&["devices", "info", "speaker", "-o", "json"]).ok();
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(
        info,
        report("speaker", 1_700_000_030, &["web-1", "web-2", "my-app-10", "side-car"])
    );
}

#[test]
fn devices_are_asked_for_of_late_and_one_that_is_silent_at_last_without_a_time() {
    let server = manager();
    let user = User::of(&server);
    user.ctl(&["devices", "list", "--device-group", "shop", "--since", "1700000000"]).ok();
    let line = &asked(&server)[0];
    let query = "page_size=100&device_group=shop&report_creation_time_filter=gte\
                 &report_creation_time=1700000000";
    assert_eq!(*line, format!("GET /api/v2/reports?{query}"));
    let server = manager();
    User::of(&server).ctl(&["devices", "info", "nobody"]).fails(1);
    let lines = asked(&server);
    assert!(lines[0].contains("hostname=nobody&report_creation_time_filter=gte"), "{lines:?}");
    assert_eq!(lines[1], "GET /api/v2/reports?page_size=100&hostname=nobody");
}

#[test]
fn devices_that_report_too_much_are_told_of() {
    let server = Server::start(|request| {
        if request.line.contains(" /api/v2/devices") {
            return no_such_route();
        }
        let (_, id) = request.line.rsplit_once("last_id=").unwrap_or(("", "0"));
        let next = u64::from_str_radix(id, 16).expect("hex") + 1;
        page(&[report("a", 1, &[])], Some(&format!("{next:024x}")))
    });
    let outcome = User::of(&server).ctl(&["devices", "list"]);
    assert!(outcome.err.contains("warning: only 10000 reports were read"), "{}", outcome.seen());
    assert!(outcome.out.contains("a "), "{}", outcome.seen());
    assert_eq!(asked(&server).len(), 100);
}

#[test]
fn no_device_of_late_says_where_to_look() {
    let server = Server::start(|request| {
        if request.line.contains(" /api/v2/devices") { no_such_route() } else { page(&[], None) }
    });
    let given = ["devices", "list", "--since", "2026-01-31T12:00:00Z"];
    let outcome = User::of(&server).ctl(&given);
    let words =
        "no device has reported since 2026-01-31T12:00:00Z; look back with --seen-since 1d\n";
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), words));
    for given in [["devices", "list", "--app", "web"], ["devices", "list", "--state", "away"]] {
        let err = User::of(&server).ctl(&given).fails(1);
        assert!(err.contains("keeps no inventory of devices"), "{err}");
    }
    let err = User::of(&server).ctl(&["devices", "delete", "a", "--yes"]).fails(1);
    assert!(err.contains("keeps no inventory of devices"), "{err}");
}
