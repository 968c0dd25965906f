//! `nebula health` and the place where each mode is asked.

use nebula::config::Environment;
use nebula::health::{HealthError, place};
use nebula::monitoring::Place;
use std::path::PathBuf;

fn environment() -> Environment {
    [
        ("AUTH_TOKEN", "token"),
        ("DEVICE_GROUP", "tills"),
        ("NEBULA_MANAGER_HOST", "manager"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092"),
        ("MONGO_URL", "mongodb://mongo/"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn asked(cmdline: &str) -> Result<(&'static str, Option<Place>), HealthError> {
    let cmdline = cmdline.replace(' ', "\0") + "\0";
    place(cmdline.as_bytes(), &environment(), "till-7")
}

fn at(listen: &str, is_https: bool) -> Place {
    Place::Address { listen: listen.parse().expect("an address"), is_https }
}

#[test]
fn each_mode_is_asked_where_its_own_configuration_puts_it() {
    let socket = |folder: &str| Some(Place::Socket(PathBuf::from(folder).join("worker.sock")));
    for (cmdline, expected) in [
        ("nebula manager", ("manager", Some(at("0.0.0.0:80", false)))),
        ("/usr/bin/nebula manager --listen [::]:81", ("manager", Some(at("[::]:81", false)))),
        ("/sbin/docker-init -- nebula reporter", ("reporter", Some(at("127.0.0.1:9180", false)))),
        ("/tini -g -- /bin/nebula worker", ("worker", socket("/var/lib/nebula-worker"))),
        ("nebula worker --data-dir /data", ("worker", socket("/data"))),
        (
            "nebula manager --tls-cert-file /c --tls-key-file /k",
            ("manager", Some(at("0.0.0.0:80", true))),
        ),
        ("nebula ctl ping", ("ctl", None)),
    ] {
        assert_eq!(asked(cmdline).expect(cmdline), expected, "{cmdline}");
    }
}

#[test]
fn all_addresses_are_asked_at_this_machines_own() {
    for (listen, url) in [
        ("0.0.0.0:80", "http://127.0.0.1:80/healthz"),
        ("[::]:80", "http://[::1]:80/healthz"),
        ("10.1.2.3:8000", "http://10.1.2.3:8000/healthz"),
    ] {
        assert_eq!(at(listen, false).to_string(), url);
    }
}

#[test]
fn other_programs_are_told_by_name() {
    for cmdline in ["/lib/systemd/systemd --system", "nebula health", "sh -c nebula", ""] {
        let error = asked(cmdline).expect_err(cmdline).to_string();
        assert!(error.contains("no mode of nebula") || cmdline == "sh -c nebula", "{error}");
    }
    let error = asked("nebula manager --bogus").expect_err("a wrong flag").to_string();
    assert!(error.contains("--bogus"), "{error}");
}
