//! The flags of a container's optional keys, files of a whole body, and what `info` shows of them.

use crate::program::User;
use crate::server::{Server, json, sent};
use rstest::rstest;
use serde_json::{Value, json as value};

const WEB: &str = r#"{"app_id": 3, "app_name": "web", "docker_image": "nginx:1.27",
"starting_ports": [{"127.0.0.1:80": "8080/udp"}], "containers_per": {"server": 1}, "env_vars": {"A": "1"},
"running": true, "networks": ["nebula", "bridge"], "volumes": [], "devices": [],
"privileged": false, "rolling_restart": false,
"command": ["serve", "a b"], "mem_limit": "512m", "labels": {"team": "web"},
"ulimits": {"nofile": {"soft": 1, "hard": 2}, "core": 0}, "cap_drop": ["ALL"],
"healthcheck": {"test": "curl localhost", "interval": "1m30s"},
"logging": {"driver": "local", "options": {"max-size": "1m"}}, "update_config": {"order": "start-first"},
"restart": "always"}"#;

fn manager() -> Server {
    Server::start(|request| match request.line.split_whitespace().next() {
        Some("GET" | "POST") => json(200, WEB),
        _ => json(202, &WEB.replace("\"app_id\": 3", "\"app_id\": 4")),
    })
}

/// Arguments as a shell splits them, quotes included.
fn split(given: &str) -> Vec<String> {
    given.split('|').map(|word| word.trim().to_owned()).collect()
}

fn run(user: &User, given: &str) -> crate::program::Outcome {
    let words = split(given);
    user.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn every_key_has_a_flag() {
    let server = manager();
    let user = User::of(&server);
    let given = "apps|create|new|--image|db:1|--command|serve --port 80|--entrypoint|/init|--user|1000:1000\
        |--working-dir|/srv|--label|team=web|--label|tier=front|--hostname|till|--mem-limit|512m\
        |--cpus|0.5|--pids-limit|-1|--ulimit|nofile=1024:2048|--ulimit|core=0|--cap-add|NET_ADMIN\
        |--cap-drop|ALL|--security-opt|no-new-privileges|--read-only|--tmpfs|/run\
        |--tmpfs|/tmp:size=64m|--init|--sysctl|net.core.somaxconn=1024|--extra-host|db:10.0.0.5\
        |--dns|10.0.0.1|--health-cmd|curl localhost|--health-interval|1m30s|--health-timeout|5s\
        |--health-retries|3|--health-start-period|10s|--health-start-interval|1s|--log-driver|local\
        |--log-opt|max-size=1m|--log-opt|max-file=2|--stop-signal|SIGQUIT|--stop-grace-period|1m30s\
        |--shm-size|128m|--restart|on-failure:3|--update-parallelism|2|--update-delay|10s\
        |--update-monitor|30s|--update-order|start-first|--update-failure-action|rollback";
    run(&user, given).ok();
    let body = sent(&server);
    for key in nebula::model::OPTION_KEYS {
        assert!(body.get(key).is_some(), "{key} has no flag");
    }
    insta::assert_json_snapshot!("options_body", body);
}

#[test]
fn info_shows_the_keys_that_are_set() {
    let server = manager();
    insta::assert_snapshot!("options_info", User::of(&server).ctl(&["apps", "info", "web"]).seen());
}

/// Of objects the parts that are not given are kept; an object is replaced when it becomes another.
#[rstest]
#[case("--health-interval|5s", value!({"healthcheck": {"test": "curl localhost", "interval": "5s"}}))]
#[case("--no-healthcheck", value!({"healthcheck": {"disable": true}}))]
#[case("--log-opt|max-file=2", value!({"logging": {"driver": "local", "options": {"max-size": "1m", "max-file": "2"}}}))]
#[case("--log-driver|none", value!({"logging": {"driver": "none"}}))]
#[case("--update-delay|5s", value!({"update_config": {"order": "start-first", "delay": "5s"}}))]
#[case("--label|a=b", value!({"labels": {"a": "b"}}))]
#[case("--unset|mem_limit|--unset|logging", value!({"mem_limit": null, "logging": null}))]
#[case("--unset|update_config", value!({"update_config": null}))]
#[case("--init|false", value!({"init": false}))]
#[case("--cpus|2", value!({"cpus": 2}))]
fn update_sends_what_changes_alone(#[case] given: &str, #[case] body: Value) {
    let server = manager();
    run(&User::of(&server), &format!("apps|update|web|{given}")).ok();
    assert_eq!(sent(&server), body);
}

#[rstest]
#[case("8080", value!(8080))]
#[case("80:8080", value!({"80": "8080"}))]
#[case("80/udp", value!({"80": "80/udp"}))]
#[case("80:8080/udp", value!({"80": "8080/udp"}))]
#[case("127.0.0.1:80", value!({"127.0.0.1:80": "80"}))]
#[case("127.0.0.1:80:8080", value!({"127.0.0.1:80": "8080"}))]
#[case("127.0.0.1:80:8080/sctp", value!({"127.0.0.1:80": "8080/sctp"}))]
#[case("[::1]:80:8080", value!({"[::1]:80": "8080"}))]
#[case("[::1]:80", value!({"[::1]:80": "80"}))]
fn a_port_is_written_as_docker_writes_it(#[case] given: &str, #[case] port: Value) {
    let server = manager();
    run(&User::of(&server), &format!("apps|update|web|--port|{given}")).ok();
    assert_eq!(sent(&server), value!({ "starting_ports": [port] }));
}

#[rstest]
#[case("--mem-limit|5m", "at least `6m`")]
#[case("--command|a && b", "run by no shell")]
#[case("--ulimit|nofile", "expected NAME=VALUE")]
#[case("--ulimit|nofile=2:1", "above the hard one")]
#[case("--label|nebula.x=1", "Nebula's own")]
#[case("--health-interval|5", "is not a duration")]
#[case("--health-cmd|a|--no-healthcheck", "cannot be used with")]
#[case("--log-opt|max-sice=1m", "the logging: `options`: unknown option `max-sice`")]
#[case("--log-driver|local|--log-opt|tag=x", "unknown option `tag` of local")]
#[case("--tmpfs|/a|--tmpfs|/a/", "--tmpfs: `/a` is given twice")]
#[case("--restart|never", "must be one of no, always")]
#[case("--port|::1:80", "127.0.0.1:53:53/udp")]
#[case("--port|127.0.0.1:80:80/icmp", "127.0.0.1:53:53/udp")]
#[case("--update-parallelism|1001", "at most 1000")]
#[case("--update-delay|soon", "is not a duration")]
#[case("--update-order|both", "stop-first")]
#[case("--unset|image", "expected one of command")]
#[case("--init|--unset|init", "`init` is given, and --unset as well")]
#[case("--from-file|nowhere", "cannot read --from-file")]
fn what_no_manager_takes_fails_before_any_request(#[case] given: &str, #[case] words: &str) {
    let server = manager();
    let err = run(&User::of(&server), &format!("apps|update|web|{given}")).fails(2);
    assert!(err.contains(words), "{err}");
    assert!(server.requests().is_empty(), "{err}");
}

#[test]
fn runs_of_a_cron_job_are_not_restarted_for_ever() {
    let server = manager();
    let given = "cron-jobs|create|c|--image|a|--schedule|@daily|--restart|always";
    let err = run(&User::of(&server), given).fails(2);
    assert!(err.contains("--restart: must be no or on-failure:N"), "{err}");
}

#[rstest]
#[case("app.json", r#"{"docker_image": "db:1", "command": "serve", "env_vars": {"A": "1", "B": "2"}, "app_id": 7}"#)]
#[case(
    "app.toml",
    "docker_image = \"db:1\"\ncommand = \"serve\"\napp_id = 7\n[env_vars]\nA = \"1\"\nB = \"2\"\n"
)]
fn a_file_gives_the_body_and_flags_go_over_it(#[case] file: &str, #[case] text: &str) {
    let server = manager();
    let user = User::of(&server);
    std::fs::write(user.path(file), text).expect("written");
    let given = format!("apps|create|new|--from-file|{file}|--image|db:2|--env|B=3|--init");
    run(&user, &given).ok();
    let body = sent(&server);
    let expected = value!({"docker_image": "db:2", "command": "serve", "app_id": 7, "init": true,
        "env_vars": {"A": "1", "B": "3"}});
    assert_eq!(body, expected);

    let server = manager();
    let user = User::of(&server);
    let outcome =
        user.ctl_with(&["apps", "update", "web", "--from-file", "-", "--env", "B=3"], text);
    assert_eq!(outcome.code, Some(0), "{}", outcome.seen());
    assert_eq!(sent(&server)["env_vars"], value!({"A": "1", "B": "3"}));
}

#[rstest]
#[case("{\"docker_image\": ", "the body is not JSON")]
#[case("docker_image: db", "not TOML")]
#[case("{\"image\": \"db\"}", "unknown key")]
#[case("{\"mem_limit\": 1}", "--mem-limit: must be at least `6m`")]
#[case("{\"app_name\": \"other\"}", "contradicts the name in the path")]
fn a_file_that_is_wrong_is_refused_before_any_request(#[case] text: &str, #[case] words: &str) {
    let server = manager();
    let user = User::of(&server);
    std::fs::write(user.path("app"), text).expect("written");
    let err = run(&user, "apps|update|web|--from-file|app").fails(2);
    assert!(err.contains(words), "{err}");
    assert!(server.requests().is_empty());
}

#[test]
fn create_needs_an_image_or_a_file() {
    let err = run(&User::of(&manager()), "apps|create|new").fails(2);
    assert!(err.contains("--image"), "{err}");
}
