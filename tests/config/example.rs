//! `nebula.toml.example` says what is true.

use crate::given::Given;
use crate::tls::Pem;
use nebula::config::{Key, Settings, example, tables};

/// The example with every key's line uncommented, but for the one that stands instead of others.
fn uncommented() -> String {
    let text = example();
    let lines = text.lines().filter(|line| !line.starts_with("#enrollment_token = "));
    lines.map(uncomment).collect::<Vec<_>>().join("\n")
}

fn uncomment(line: &str) -> String {
    let key = line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic));
    key.unwrap_or(line).to_owned()
}

#[test]
fn file_in_the_repository_is_what_the_tables_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/nebula.toml.example");
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        std::fs::write(path, example()).expect("writes the example");
    }
    let file = std::fs::read_to_string(path).expect("nebula.toml.example is there");
    assert_eq!(file, example(), "write it anew: UPDATE_EXAMPLE=1 cargo test --test config");
}

#[test]
fn every_key_is_in_the_example_with_its_environment_name() {
    let example = example();
    for table in tables::ALL {
        let rest = example.split(&format!("\n[{}]\n", table.name)).nth(1).expect("its table");
        let section = rest.split("\n[").next().expect("text");
        for Key { name, env, .. } in table.keys() {
            assert!(section.contains(&format!("\n#{name} = ")), "{name}");
            assert!(section.contains(&format!("environment {env}")), "{env}");
        }
    }
}

#[test]
fn example_is_accepted_as_it_is_and_with_every_line_uncommented() {
    for text in [example(), uncommented()] {
        let Pem { authority, certificate, key } = Pem::new();
        let given = Given::worker()
            .toml(&text)
            .file("/etc/nebula/ca.pem", authority)
            .file("/etc/nebula/device.pem", certificate)
            .file("/etc/nebula/device.key", key);
        let config = given.load_worker().expect("the worker starts");
        assert_eq!(config.check_in_time.as_secs(), 30);
        for table in tables::ALL {
            let settings = given.with(|inputs| Settings::load(table, inputs)).expect("parses");
            if table.name != "reporter" || text != example() {
                settings.finish(Some(())).expect("no key is refused");
            }
        }
    }
    assert!(uncommented().contains("\ndevice_group = \"speakers\"\n"));
}

#[test]
fn environment_names_are_the_originals_or_have_our_prefix() {
    let ours = [
        "listen",
        "trusted_proxies",
        "data_dir",
        "tls_cert_file",
        "tls_key_file",
        "tls_client_ca_file",
        "hostname",
        "docker_host",
        "prune_disk_percent",
        "enrollment_token",
        "manager_ca_file",
        "manager_cert_file",
        "manager_key_file",
    ];
    for table in tables::ALL {
        for key in table.keys() {
            let upper = key.name.to_uppercase();
            let is_ours = table.name == "ctl" || ours.contains(&key.name);
            let expected = if is_ours { format!("NEBULA_{upper}") } else { upper };
            assert_eq!(key.env, expected);
        }
    }
}
