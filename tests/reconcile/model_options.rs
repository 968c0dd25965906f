//! Tables for the optional keys of a container: what is taken and what it means, what is refused and
//! why, and that a key which is not set leaves no trace.

use nebula::model::{
    App, AppFields, AppSpec, CronJob, CronJobFields, Identity, Invalid, LogConfig, Name,
    RestartPolicy, Unknown,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

fn body(keys: Value) -> Map<String, Value> {
    let mut body = Map::from_iter([("docker_image".to_owned(), json!("site:1"))]);
    let Value::Object(keys) = keys else { unreachable!("the test gives an object") };
    body.extend(keys);
    body
}

fn read_app(keys: Value) -> Result<AppSpec, Invalid> {
    AppFields::decode(body(keys), None, Unknown::Refuse)?.into_spec()
}

#[expect(clippy::needless_pass_by_value, reason = "the tables read better without references")]
fn app(keys: Value) -> App {
    let spec = read_app(keys.clone()).unwrap_or_else(|invalid| panic!("{keys}: {invalid}"));
    let app_name = Name::new("web").expect("a name");
    App { identity: Identity::default(), app_id: 1, app_name, spec }
}

fn read_job(mut keys: Value) -> Result<CronJob, Invalid> {
    keys["schedule"] = json!("@daily");
    let spec = CronJobFields::decode(body(keys), None, Unknown::Refuse)?.into_spec()?;
    let cron_job_name = Name::new("clean").expect("a name");
    Ok(CronJob { identity: Identity::default(), cron_job_id: 1, cron_job_name, spec })
}

#[expect(clippy::needless_pass_by_value, reason = "the tables read better without references")]
fn refusal(key: &str, value: Value) -> String {
    let invalid = read_app(json!({ key: value.clone() })).expect_err(&format!("{key}: {value}"));
    assert_eq!(invalid.fields.keys().collect::<Vec<_>>(), [key], "{key}: {value}");
    invalid.fields[key].clone()
}

/// Hashes that are the same here mean the same to a device.
fn hash(keys: Value) -> String {
    app(keys).spec.hash().as_str().to_owned()
}

// ---- keys that are not set ----

/// These literals were computed without Nebula, from the keys that there were first. They change only
/// when every container of every fleet is meant to be restarted.
#[test]
fn inv_16_objects_without_options_are_hashed_as_before_there_were_any() {
    assert_eq!(hash(json!({})), "3e2727289a875104128a317de913e152");
    let job = read_job(json!({})).expect("a cron job");
    assert_eq!(job.image_version().spec.as_str(), "21f011bdee28b06b602f164373a6fddd");
}

#[test]
fn what_is_not_set_is_in_no_reply() {
    let printed = serde_json::to_value(app(json!({}))).expect("it prints");
    let keys: Vec<&str> =
        printed.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "app_id",
        "app_name",
        "docker_image",
        "env_vars",
        "networks",
        "volumes",
        "devices",
        "privileged",
        "starting_ports",
        "containers_per",
        "running",
        "rolling_restart",
    ];
    assert_eq!(keys, expected);
}

// ---- keys that are set ----

/// One value of each key, for tests of what all of them have in common.
fn one_of_each() -> Value {
    json!({
        "command": "serve --port 80", "entrypoint": ["/init"], "user": "1000:1000",
        "working_dir": "/srv", "labels": {"team": "web"}, "hostname": "till",
        "mem_limit": "512m", "cpus": "0.5", "pids_limit": 100,
        "ulimits": {"nofile": {"soft": 1024, "hard": 2048}}, "cap_add": ["NET_ADMIN"],
        "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "read_only": true,
        "tmpfs": ["/run", "/tmp:size=64m,mode=1777"], "init": true,
        "sysctls": {"net.core.somaxconn": 1024}, "extra_hosts": ["db:10.0.0.5"],
        "dns": ["10.0.0.1"], "healthcheck": {"test": "true", "interval": "1m30s"},
        "logging": {"driver": "local", "options": {"max-size": "1m"}}, "stop_signal": "SIGQUIT",
        "stop_grace_period": "1m30s", "shm_size": "128m", "restart": "on-failure:3",
    })
}

#[test]
fn every_key_is_shown_as_it_was_given_shapes_the_container_and_can_be_unset() {
    let all = one_of_each();
    let keys = all.as_object().expect("an object");
    assert_eq!(keys.len(), 25);
    for (key, value) in keys {
        let set = app(json!({ key: value }));
        let printed = serde_json::to_value(&set).expect("it prints");
        assert_eq!(printed.get(key), Some(value), "{key}");
        let again = App::decode(printed.as_object().cloned().expect("an object"));
        assert_eq!(again.as_ref(), Ok(&set), "{key}");
        assert_ne!(set.spec.hash(), app(json!({})).spec.hash(), "{key}");
        assert_eq!(app(json!({ key: null })), app(json!({})), "{key}");

        let change = |value: Value| {
            let body = Map::from_iter([(key.clone(), value)]);
            AppFields::decode(body, None, Unknown::Refuse).expect("fields")
        };
        let unset = set.spec.with(change(Value::Null)).expect("a spec");
        assert_eq!(unset, app(json!({})).spec, "{key}");
        assert_eq!(unset.with(change(value.clone())).as_ref(), Ok(&set.spec), "{key}");
        let other = AppFields::decode(body(json!({})), None, Unknown::Refuse).expect("fields");
        assert_eq!(set.spec.with(other).as_ref(), Ok(&set.spec), "{key} is not given");
        assert!(!change(Value::Null).is_empty(), "{key}");

        let job = read_job(json!({ key: value })).expect("a cron job has the same keys");
        assert_eq!(serde_json::to_value(&job).expect("it prints").get(key), Some(value), "{key}");
    }
    let printed = serde_json::to_value(app(all.clone())).expect("it prints");
    assert!(keys.iter().all(|(key, value)| printed.get(key) == Some(value)));
}

/// Two ways to write one thing are one container.
#[rstest]
#[case("command", json!("a \"b c\" d"), json!(["a", "b c", "d"]))]
#[case("command", json!("a 'b \"c' \"d 'e\\\"\" \\  ''"), json!(["a", "b \"c", "d 'e\"", " ", ""]))]
#[case("command", json!("echo #no comment $HOME a\\&b"), json!(["echo", "#no", "comment", "$HOME", "a&b"]))]
#[case("command", json!("sh -c 'a; b | c > d'"), json!(["sh", "-c", "a; b | c > d"]))]
#[case("command", json!(" a\t b\n"), json!(["a", "b"]))]
#[case("command", json!("'a\\b'"), json!(["a\\b"]))]
#[case("entrypoint", json!(""), json!([]))]
#[case("labels", json!(["a=1", "b=x=y", "c"]), json!({"a": 1, "b": "x=y", "c": null}))]
#[case("labels", json!({"a": true, "b": 1.5}), json!(["b=1.5", "a=true"]))]
#[case("mem_limit", json!("512m"), json!(536_870_912))]
#[case("mem_limit", json!("512m"), json!("0.5 GiB"))]
#[case("mem_limit", json!("512MB"), json!("524288kb"))]
#[case("mem_limit", json!("536870912"), json!("536870912b"))]
#[case("mem_limit", json!("1t"), json!("1024G"))]
#[case("shm_size", json!("1.5m"), json!(1_572_864))]
#[case("cpus", json!("0.50"), json!(0.5))]
#[case("cpus", json!(".5"), json!(0.5))]
#[case("cpus", json!(2), json!("2.0"))]
#[case("ulimits", json!({"nproc": 64}), json!({"nproc": {"hard": 64, "soft": 64}}))]
#[case("cap_add", json!(["net_admin", "CAP_SYS_TIME"]), json!(["SYS_TIME", "NET_ADMIN", "NET_ADMIN"]))]
#[case("security_opt", json!(["no-new-privileges", "apparmor:x", "seccomp:{\"a\":\"=\"}"]),
    json!(["no-new-privileges=true", "apparmor=x", "seccomp={\"a\":\"=\"}"]))]
#[case("security_opt", json!(["label=user:a", "label:type:b"]), json!(["label:user:a", "label=type:b"]))]
#[case("tmpfs", json!("/run"), json!(["/run/"]))]
#[case("tmpfs", json!(["/a:size=1m", "/b"]), json!(["/b", "/a:size=1m"]))]
#[case("sysctls", json!(["net.ipv4.ip_forward=1"]), json!({"net.ipv4.ip_forward": 1}))]
#[case("extra_hosts", json!(["a:10.0.0.1", "b=::1"]), json!({"a": "10.0.0.1", "b": "[::1]"}))]
#[case("extra_hosts", json!(["a:::1"]), json!(["a=[::1]"]))]
#[case("dns", json!("10.0.0.1"), json!(["10.0.0.1"]))]
#[case("healthcheck", json!({"test": "a | b"}), json!({"test": ["CMD-SHELL", "a | b"]}))]
#[case("healthcheck", json!({"disable": true}), json!({"test": ["NONE"]}))]
#[case("healthcheck", json!({"retries": 3, "disable": false}), json!({"retries": 3}))]
#[case("healthcheck", json!({"interval": "1m30s"}), json!({"interval": "90s"}))]
#[case("logging", json!({"options": {"max-file": 3}}),
    json!({"driver": "json-file", "options": ["max-file=3"]}))]
#[case("stop_signal", json!("SIGTERM"), json!("15"))]
#[case("stop_signal", json!("quit"), json!("SIGQUIT"))]
#[case("stop_signal", json!("RTMIN+3"), json!("37"))]
#[case("stop_signal", json!("SIGRTMAX-1"), json!("63"))]
#[case("stop_signal", json!("SIGIOT"), json!("ABRT"))]
#[case("stop_grace_period", json!("1h0m"), json!("3600s"))]
#[case("stop_grace_period", json!("0"), json!("0s"))]
fn two_ways_to_write_one_thing_are_one_container(
    #[case] key: &str,
    #[case] one: Value,
    #[case] other: Value,
) {
    assert_eq!(hash(json!({ key: one })), hash(json!({ key: other })));
}

/// The bounds, each from within.
#[rstest]
#[case("command", json!(vec!["a"; 1_000]))]
#[case("command", json!([("a".repeat(131_071))]))]
#[case("user", json!("www-data"))]
#[case("user", json!("2147483647:users"))]
#[case("user", json!("u".repeat(256)))]
#[case("working_dir", json!("/"))]
#[case("working_dir", json!(format!("/{}", "a".repeat(4_094))))]
#[case("labels", json!({}))]
#[case("labels", json!({"traefik.http.routers.a.rule": "Host(`a`)", "nebulae": "", "NEBULA.x": ""}))]
#[case("labels", json!({("k".repeat(256)): "v".repeat(8_192)}))]
#[case("labels", (0..100).map(|i| (i.to_string(), json!(""))).collect::<Map<_, _>>().into())]
#[case("hostname", json!("a"))]
#[case("hostname", json!("till-7.shop.example"))]
#[case("hostname", json!("a".repeat(63)))]
#[case("mem_limit", json!("6m"))]
#[case("mem_limit", json!("1024t"))]
#[case("shm_size", json!(1))]
#[case("cpus", json!(0.01))]
#[case("cpus", json!(1024))]
#[case("pids_limit", json!(-1))]
#[case("pids_limit", json!(1))]
#[case("pids_limit", json!(4_194_304))]
#[case("ulimits", json!({}))]
#[case("ulimits", json!({"core": 0, "memlock": -1, "nofile": 2_147_483_584_i64}))]
#[case("ulimits", json!({"stack": {"soft": 5, "hard": -1}}))]
#[case("cap_drop", json!(["ALL"]))]
#[case("security_opt", json!(["seccomp=unconfined", "label=disable", "no-new-privileges:false"]))]
#[case("tmpfs", json!([]))]
#[case("tmpfs", json!("/a b:rw,noexec,nosuid,size=10%,mode=700,uid=1,gid=1,nr_inodes=10k"))]
#[case("sysctls", json!({"kernel.shmmax": "1", "fs.mqueue.msg_max": "10"}))]
#[case("extra_hosts", json!(["host.docker.internal:host-gateway"]))]
#[case("dns", json!(["10.0.0.1", "::1", "10.0.0.2"]))]
#[case("healthcheck", json!({"test": ["CMD", "wget", "-q", "x"], "start_period": "0s",
    "interval": "1ms", "timeout": "24h", "retries": 1000, "start_interval": "500ms"}))]
#[case("healthcheck", json!({"test": ["NONE"], "disable": false}))]
#[case("logging", json!({}))]
#[case("logging", json!({"driver": "none"}))]
#[case("logging", json!({"driver": "grafana/loki-docker-driver:latest", "options": {"a": "b"}}))]
#[case("logging", json!({"options": {"mode": "non-blocking", "max-buffer-size": "4m", "tag": "x",
    "compress": true, "labels": "a,b"}}))]
#[case("stop_signal", json!("1"))]
#[case("stop_signal", json!("64"))]
#[case("stop_grace_period", json!("1h"))]
#[case("stop_grace_period", json!("1m30s"))]
#[case("stop_grace_period", json!("2.5s500ms10us"))]
#[case("restart", json!("no"))]
#[case("restart", json!("always"))]
#[case("restart", json!("unless-stopped"))]
#[case("restart", json!("on-failure"))]
#[case("restart", json!("on-failure:1000"))]
fn what_docker_takes_is_taken_and_printed_as_it_was(#[case] key: &str, #[case] value: Value) {
    let printed = serde_json::to_value(app(json!({ key: value.clone() }))).expect("it prints");
    assert_eq!(printed[key], value);
}

#[rstest]
#[case("command", json!(""), "must not be empty")]
#[case("command", json!([]), "must not be empty")]
#[case("command", json!(["", "a"]), "empty word")]
#[case("command", json!(7), "must be a string, got a number, or a list")]
#[case("command", json!("a 'b"), "not closed")]
#[case("command", json!("a \\"), "backslash")]
#[case("command", json!("a; b"), "by no shell, to which `;`")]
#[case("command", json!("a && b"), "put it in quotes")]
#[case("command", json!("a > b"), "sh")]
#[case("command", json!(["a\0"]), "NUL")]
#[case("command", json!(["a", 1]), "item 2: must be a string")]
#[case("command", json!(vec!["a"; 1_001]), "at most 1000")]
#[case("command", json!("a ".repeat(1_001)), "at most 1000")]
#[case("command", json!([("a".repeat(131_072))]), "128 KiB")]
#[case("entrypoint", json!({"a": "b"}), "or a list")]
#[case("user", json!(""), "USER or USER:GROUP")]
#[case("user", json!(1000), "write `\"1000\"`")]
#[case("user", json!("a:b:c"), "USER:GROUP")]
#[case("user", json!("a b"), "USER:GROUP")]
#[case("user", json!("a:"), "USER:GROUP")]
#[case("user", json!("2147483648"), "at most 2147483647")]
#[case("user", json!("u".repeat(257)), "USER:GROUP")]
#[case("working_dir", json!("srv"), "absolute path")]
#[case("working_dir", json!("/a\n"), "absolute path")]
#[case("working_dir", json!(format!("/{}", "a".repeat(4_095))), "4095 bytes")]
#[case("labels", json!("a=b"), "an object or a list of `K=V`")]
#[case("labels", json!({"orchestrator": "x"}), "Nebula's own")]
#[case("labels", json!(["app_name=x"]), "Nebula's own")]
#[case("labels", json!({"container_type": "x"}), "Nebula's own")]
#[case("labels", json!({"cron_job_name": "x"}), "Nebula's own")]
#[case("labels", json!({"nebula.spec": "x"}), "Nebula's own")]
#[case("labels", json!({"a": ["b"]}), "`a` must be a string")]
#[case("labels", json!({"": "b"}), "no key")]
#[case("labels", json!({"a=b": "c"}), "no key")]
#[case("labels", json!(["a=1", "a=2"]), "given twice")]
#[case("labels", json!({"a": "v".repeat(8_193)}), "8192 bytes")]
#[case("labels", json!({("k".repeat(257)): ""}), "256 bytes")]
#[case("labels", (0..101).map(|i| (i.to_string(), json!(""))).collect::<Map<_, _>>().into(), "at most 100")]
#[case("hostname", json!(""), "letters, digits")]
#[case("hostname", json!("a_b"), "letters, digits")]
#[case("hostname", json!("-a"), "letters, digits")]
#[case("hostname", json!("a..b"), "letters, digits")]
#[case("hostname", json!("a".repeat(64)), "at most 63")]
#[case("mem_limit", json!("5m"), "at least `6m`")]
#[case("mem_limit", json!(0), "at least `6m`")]
#[case("mem_limit", json!("1025t"), "at most 1024 TB")]
#[case("mem_limit", json!("lots"), "number of bytes")]
#[case("mem_limit", json!("1.5"), "at least `6m`")]
#[case("mem_limit", json!("1x"), "number of bytes")]
#[case("mem_limit", json!("-1"), "number of bytes")]
#[case("mem_limit", json!(".5g"), "number of bytes")]
#[case("mem_limit", json!(1.5), "number of bytes")]
#[case("mem_limit", json!(true), "number of bytes")]
#[case("mem_limit", json!("99999999999999999999"), "number of bytes")]
#[case("shm_size", json!("0"), "more than 0")]
#[case("cpus", json!(0), "from 0.01 to 1024")]
#[case("cpus", json!("0.009"), "from 0.01 to 1024")]
#[case("cpus", json!(1024.5), "from 0.01 to 1024")]
#[case("cpus", json!(-1), "from 0.01 to 1024")]
#[case("cpus", json!(0.009_999_999_999_9), "from 0.01 to 1024")]
#[case("cpus", json!("half"), "must be a number")]
#[case("cpus", json!(null_list()), "must be a number")]
#[case("pids_limit", json!(0), "from 1 to 4194304, or -1")]
#[case("pids_limit", json!(-2), "or -1")]
#[case("pids_limit", json!(4_194_305), "4194304")]
#[case("pids_limit", json!("100"), "whole number")]
#[case("ulimits", json!(["nofile=1"]), "must be an object")]
#[case("ulimits", json!({"files": 1}), "unknown limit `files`")]
#[case("ulimits", json!({"nofile": -1}), "no \"no limit\"")]
#[case("ulimits", json!({"nofile": 2_147_483_585_i64}), "at most 2147483584")]
#[case("ulimits", json!({"core": {"soft": 2, "hard": 1}}), "above the hard one")]
#[case("ulimits", json!({"core": {"soft": -1, "hard": 1}}), "above the hard one")]
#[case("ulimits", json!({"core": {"soft": 1}}), "`hard`: is missing")]
#[case("ulimits", json!({"core": {"soft": 1, "hard": 1, "x": 1}}), "`x`: unknown key")]
#[case("ulimits", json!({"core": "1"}), "soft and hard")]
#[case("ulimits", json!({"core": -2}), "-1 for no limit")]
#[case("ulimits", json!({"core": 9_007_199_254_740_992_i64}), "from 0 to")]
#[case("cap_add", json!(["ROOT"]), "no capability of Linux")]
#[case("cap_add", json!(["CAP_ALL"]), "no capability of Linux")]
#[case("cap_drop", json!("ALL"), "must be a list")]
#[case("security_opt", json!(["privileged"]), "must be one of no-new-privileges")]
#[case("security_opt", json!(["seccomp=/etc/profile.json"]), "is not on the device")]
#[case("security_opt", json!(["no-new-privileges=yes"]), "must be one of")]
#[case("security_opt", json!(["label=x"]), "must be one of")]
#[case("security_opt", json!(["apparmor="]), "must be one of")]
#[case("security_opt", json!(vec!["label=disable"; 21]), "at most 20")]
#[case("read_only", json!("yes"), "true or false")]
#[case("tmpfs", json!("run"), "absolute path")]
#[case("tmpfs", json!("/../:rw"), "other than `/`")]
#[case("tmpfs", json!("/a:fast"), "unknown option `fast`")]
#[case("tmpfs", json!("/a:size=big"), "unknown option `size=big`")]
#[case("tmpfs", json!("/a:mode=999"), "unknown option `mode=999`")]
#[case("tmpfs", json!("/a:rw,,ro"), "unknown option ``")]
#[case("tmpfs", json!(["/a", "/b/../a"]), "given twice")]
#[case("init", json!(1), "true or false")]
#[case("sysctls", json!({"vm.swappiness": 1}), "not a container's to set")]
#[case("sysctls", json!({"net..a": 1}), "not a container's to set")]
#[case("sysctls", json!({"net/core/x": 1}), "not a container's to set")]
#[case("sysctls", json!(["net.core.somaxconn"]), "must have a value")]
#[case("extra_hosts", json!(["db"]), "must have an IP address")]
#[case("extra_hosts", json!(["db:db2"]), "must have an IP address")]
#[case("extra_hosts", json!(["db:[10.0.0.1]"]), "must have an IP address")]
#[case("extra_hosts", json!(["a b:10.0.0.1"]), "no host name")]
#[case("extra_hosts", json!({"": "10.0.0.1"}), "no host name")]
#[case("extra_hosts", json!(vec!["a:10.0.0.1"; 101]), "at most 100")]
#[case("dns", json!(["dns.example"]), "no IP address")]
#[case("dns", json!(["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]), "at most 3")]
#[case("healthcheck", json!({}), "must set one of test")]
#[case("healthcheck", json!("curl"), "must be an object")]
#[case("healthcheck", json!({"test": ""}), "`test`")]
#[case("healthcheck", json!({"test": []}), "`test`")]
#[case("healthcheck", json!({"test": ["curl", "x"]}), "begins with `curl`")]
#[case("healthcheck", json!({"test": ["CMD"]}), "begins with `CMD`")]
#[case("healthcheck", json!({"test": ["CMD-SHELL", "a", "b"]}), "begins with `CMD-SHELL`")]
#[case("healthcheck", json!({"test": ["NONE", "a"]}), "begins with `NONE`")]
#[case("healthcheck", json!({"test": "a", "disable": true}), "take one out")]
#[case("healthcheck", json!({"interval": 30}), "write `30s`")]
#[case("healthcheck", json!({"interval": "0s"}), "at least `1ms`")]
#[case("healthcheck", json!({"timeout": "25h"}), "longer than 86400 s")]
#[case("healthcheck", json!({"start_interval": "10us"}), "at least `1ms`")]
#[case("healthcheck", json!({"retries": 0}), "from 1 to 1000")]
#[case("healthcheck", json!({"retries": 1001}), "from 1 to 1000")]
#[case("healthcheck", json!({"every": "1s"}), "`every`: unknown key")]
#[case("logging", json!("none"), "must be an object")]
#[case("logging", json!({"driver": ""}), "name of a log driver")]
#[case("logging", json!({"driver": "json file"}), "name of a log driver")]
#[case("logging", json!({"options": {"max-sice": "1m"}}), "unknown option `max-sice` of json-file")]
#[case("logging", json!({"driver": "local", "options": {"tag": "x"}}), "unknown option `tag` of local")]
#[case("logging", json!({"options": {"max-size": "0"}}), "size above 0")]
#[case("logging", json!({"options": {"max-file": 0}}), "from 1 to 1000")]
#[case("logging", json!({"options": {"max-file": "+1"}}), "from 1 to 1000")]
#[case("logging", json!({"options": {"compress": "yes"}}), "true or false")]
#[case("logging", json!({"options": {"compress": true, "max-file": 1}}), "2 or more")]
#[case("logging", json!({"options": {"mode": "fast"}}), "non-blocking")]
#[case("logging", json!({"options": {"max-buffer-size": "1m"}}), "needs the `mode`")]
#[case("stop_signal", json!(15), "write `\"SIGTERM\"`")]
#[case("stop_signal", json!("0"), "signal of Linux")]
#[case("stop_signal", json!("65"), "signal of Linux")]
#[case("stop_signal", json!("SIGNAL"), "signal of Linux")]
#[case("stop_signal", json!("RTMIN+31"), "signal of Linux")]
#[case("stop_grace_period", json!("1h1s"), "longer than 3600 s")]
#[case("stop_grace_period", json!("90"), "not a duration")]
#[case("stop_grace_period", json!("-1s"), "not a duration")]
#[case("stop_grace_period", json!(""), "not a duration")]
#[case("stop_grace_period", json!("0s".repeat(51)), "not a duration")]
#[case("stop_grace_period", json!(90), "write `30s`")]
#[case("restart", json!(false), "needs quotes")]
#[case("restart", json!("never"), "must be one of no, always")]
#[case("restart", json!("on-failure:0"), "from 1 to 1000")]
#[case("restart", json!("on-failure:+1"), "from 1 to 1000")]
#[case("restart", json!("always:3"), "must be one of")]
fn what_docker_would_refuse_is_refused_with_the_reason_and_what_to_write(
    #[case] key: &str,
    #[case] value: Value,
    #[case] words: &str,
) {
    let reason = refusal(key, value.clone());
    assert!(reason.contains(words), "{key}: {value}: {reason}");
    assert!(reason.len() < 1_000, "{reason}");
}

/// A megabyte of nonsense is answered in a line.
#[rstest]
fn a_refusal_of_an_object_has_one_reason(
    #[values("healthcheck", "logging", "ulimits", "update_config", "labels")] key: &str,
    #[values(90, 20_000)] count: usize,
) {
    let odd = |i: usize| (format!("{i}{}", "\u{1f980}".repeat(200)), json!(["x"]));
    let object: Map<_, _> = (0..count).map(odd).collect();
    let reason = refusal(key, object.clone().into());
    assert!(reason.len() < 1_000, "{key}: {} bytes", reason.len());
    let nested = refusal("ulimits", json!({ "core": object }));
    assert!(nested.len() < 1_000, "{} bytes", nested.len());
}

fn null_list() -> Value {
    json!([null])
}

#[rstest]
#[case(json!({"tmpfs": "/data/", "volumes": ["/a:/data"]}), "tmpfs", "the target `/data` as well")]
#[case(json!({"sysctls": {"net.core.somaxconn": 1}, "networks": ["host"]}), "sysctls", "the device's own")]
fn keys_that_cannot_go_together_are_refused(
    #[case] keys: Value,
    #[case] key: &str,
    #[case] words: &str,
) {
    let whole = read_app(keys.clone()).expect_err("a whole app");
    let change =
        AppFields::decode(body(keys.clone()), None, Unknown::Refuse).expect("each is good");
    let changed = app(json!({})).spec.with(change).expect_err("a change");
    let job = read_job(keys).expect_err("a cron job");
    for invalid in [whole, changed, job] {
        assert!(invalid.fields[key].contains(words), "{invalid}");
    }
}

// ---- what the planner hands to an engine ----

#[rstest]
#[case(json!("no"), true)]
#[case(json!("on-failure:3"), true)]
#[case(json!("on-failure"), false)]
#[case(json!("always"), false)]
#[case(json!("unless-stopped"), false)]
fn runs_of_a_cron_job_end(#[case] restart: Value, #[case] fits: bool) {
    let read = read_job(json!({ "restart": restart }));
    match read {
        Ok(_) => assert!(fits),
        Err(invalid) => assert!(!fits && invalid.fields["restart"].contains("on-failure:N")),
    }
}

#[test]
fn a_container_restarts_as_it_is_told_and_else_as_its_kind_does() {
    let replica = |keys| app(keys).container_spec(1, "web-1".to_owned()).restart;
    assert_eq!(replica(json!({})), RestartPolicy::UnlessStopped);
    assert_eq!(replica(json!({"restart": "no"})), RestartPolicy::No);
    let run = |keys| read_job(keys).expect("a cron job").container_spec(7).restart;
    assert_eq!(run(json!({})), RestartPolicy::No);
    let twice = RestartPolicy::OnFailure { most: Some(2) };
    assert_eq!(run(json!({"restart": "on-failure:2"})), twice);
}

#[test]
fn own_labels_stand_beside_ours() {
    let spec = app(json!({"labels": {"team": "web"}})).container_spec(1, "web-1".to_owned());
    assert_eq!(spec.labels["team"], "web");
    assert_eq!(spec.labels["app_name"], "web");
    let run = read_job(json!({"labels": ["team=web"]})).expect("a cron job").container_spec(7);
    assert_eq!((run.labels["team"].as_str(), run.labels["nebula.due"].as_str()), ("web", "7"));
}

#[test]
fn a_log_without_a_bound_gets_one() {
    let options = |keys: Value| {
        let app = app(keys);
        let config = app.spec.container.options.logging.as_deref().cloned().unwrap_or_default();
        json!(config.bounded_options())
    };
    assert_eq!(
        json!(LogConfig::default().bounded_options()),
        json!({"max-size": "10m", "max-file": "3"})
    );
    assert_eq!(options(json!({})), json!({"max-size": "10m", "max-file": "3"}));
    let sized = json!({"logging": {"options": {"max-size": "1g"}}});
    assert_eq!(options(sized), json!({"max-size": "1g", "max-file": "3"}));
    assert_eq!(options(json!({"logging": {"driver": "local"}})), json!({}));
}

#[test]
fn a_key_of_a_newer_manager_in_an_object_is_passed_over() {
    for (key, value) in [
        ("healthcheck", json!({"test": "true", "later": 1})),
        ("logging", json!({"driver": "local", "later": 1})),
        ("ulimits", json!({"core": {"soft": 1, "hard": 1, "later": 1}})),
    ] {
        let newer = || body(json!({ key: value.clone() }));
        assert!(AppFields::decode(newer(), None, Unknown::Refuse).is_err(), "{key}");
        assert!(AppFields::decode(newer(), None, Unknown::Ignore).is_ok(), "{key}");
    }
}

fn keys() -> Vec<String> {
    one_of_each().as_object().expect("an object").keys().cloned().collect()
}

proptest! {
    #![proptest_config(crate::laws::cases(600))]

    /// Whatever stands in a key: no panic, one field named, and what is taken prints and reads back
    /// as the same, with the same hash.
    #[test]
    fn odd_values_never_panic(key in prop::sample::select(keys()), odd in crate::model::any_json()) {
        match read_app(json!({ key.clone(): odd.clone() })) {
            Ok(spec) => {
                let printed = serde_json::to_value(&spec).expect("it prints");
                let printed = printed.as_object().cloned().expect("an object");
                let again = AppFields::decode(printed, None, Unknown::Refuse);
                let again = again.and_then(AppFields::into_spec);
                prop_assert_eq!(again.as_ref().map(AppSpec::hash), Ok(spec.hash()));
                prop_assert_eq!(again, Ok(spec));
            }
            Err(invalid) => prop_assert!(invalid.fields.keys().eq([&key])),
        }
    }

    #[test]
    fn odd_text_never_panics(key in prop::sample::select(keys()), odd in "[a-z0-9.:=/,+\\-\\[\\]\"'\\\\ \u{e9}]{0,12}") {
        for value in [json!(odd.clone()), json!([odd.clone()]), json!({ odd.clone(): odd })] {
            let _ = read_app(json!({ key.clone(): value }));
        }
    }
}
