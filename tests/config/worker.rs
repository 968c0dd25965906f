//! What makes a worker's configuration, and what it refuses.

use crate::given::Given;
use nebula::config::{SaslMechanism, SecurityProtocol};
use nebula::modes::worker::config::ManagerCredentials;
use rstest::rstest;
use std::path::PathBuf;

#[test]
fn defaults_are_the_contracts() {
    let config = Given::worker().load_worker().expect("starts");
    assert_eq!(config.manager_url.as_str(), "http://manager.example.com/");
    assert!(matches!(config.manager_credentials, ManagerCredentials::None));
    assert_eq!(config.request_timeout.as_secs(), 60);
    assert_eq!(config.check_in_time.as_secs(), 30);
    assert_eq!(config.registry_host, "https://index.docker.io/v1/");
    assert!(config.registry_auth.is_none());
    assert_eq!(config.max_restart_wait.as_secs(), 0);
    assert_eq!(config.prune_disk_percent, 85);
    assert!(config.docker_config.is_none());
    assert_eq!(config.device_group.as_str(), "speakers");
    assert_eq!(config.hostname, "this-machine");
    assert_eq!(config.docker_host, "unix:///var/run/docker.sock");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/nebula-worker"));
    assert!(!config.report_on_update_only);
    assert!(config.kafka.is_none());
}

#[rstest]
#[case::host_and_port(&[("NEBULA_MANAGER_PORT", "8080")], "http://manager.example.com:8080/")]
#[case::protocol(&[("NEBULA_MANAGER_PROTOCOL", "HTTPS"), ("NEBULA_MANAGER_PORT", "443")], "https://manager.example.com/")]
#[case::ipv6(&[("NEBULA_MANAGER_HOST", "2001:db8::1"), ("NEBULA_MANAGER_PORT", "81")], "http://[2001:db8::1]:81/")]
#[case::ipv6_in_brackets(&[("NEBULA_MANAGER_HOST", "[::1]")], "http://[::1]/")]
#[case::uri_replaces_the_three(&[("NEBULA_MANAGER_URI", "https://n.example.com:8443"), ("NEBULA_MANAGER_PORT", "81")], "https://n.example.com:8443/")]
#[case::uri_with_a_path(&[("NEBULA_MANAGER_URI", "https://n.example.com/nebula")], "https://n.example.com/nebula/")]
#[case::uri_without_host(&[("NEBULA_MANAGER_HOST", ""), ("NEBULA_MANAGER_URI", "http://n")], "http://n/")]
fn manager_url_is_made(#[case] env: &[(&str, &str)], #[case] url: &str) {
    let given = env.iter().fold(Given::worker(), |given, (name, value)| given.env(name, value));
    let config = given.load_worker().expect("starts");
    assert_eq!(config.manager_url.as_str(), url);
    let joined = config.manager_url.join("api/v2/status").expect("joins");
    assert_eq!(joined.as_str(), format!("{url}api/v2/status"));
}

#[test]
fn token_wins_over_user_and_password() {
    let with_user = Given::worker()
        .env("NEBULA_MANAGER_AUTH_USER", "ann")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", "p");
    let config = with_user.load_worker().expect("starts");
    assert!(
        matches!(config.manager_credentials, ManagerCredentials::Basic(user) if user.user == "ann")
    );
    let with_both = with_user.env("NEBULA_MANAGER_AUTH_TOKEN", "t");
    let config = with_both.load_worker().expect("starts");
    assert!(
        matches!(config.manager_credentials, ManagerCredentials::Bearer(token) if token.expose() == "t")
    );
}

#[test]
fn registry_skip_means_none_and_skip_elsewhere_is_a_word() {
    let config = Given::worker()
        .env("REGISTRY_AUTH_USER", "skip")
        .env("REGISTRY_AUTH_PASSWORD", "skip")
        .env("DEVICE_GROUP", "skip")
        .load_worker()
        .expect("starts");
    assert!(config.registry_auth.is_none());
    assert_eq!(config.device_group.as_str(), "skip");
}

#[test]
fn device_group_like_a_number_stays_a_text() {
    let from_env = Given::worker().env("DEVICE_GROUP", "0123").load_worker();
    assert_eq!(from_env.expect("starts").device_group.as_str(), "0123");
    let from_file = Given::worker()
        .env("DEVICE_GROUP", "")
        .toml("[worker]\ndevice_group = \"0123\"\n")
        .load_worker();
    assert_eq!(from_file.expect("starts").device_group.as_str(), "0123");
}

#[test]
fn reporting_fail_hard_is_accepted() {
    assert!(Given::worker().env("REPORTING_FAIL_HARD", "True").load_worker().is_ok());
    let broken = Given::worker().env("REPORTING_FAIL_HARD", "kafka:9092");
    assert!(broken.load_worker().is_err());
}

#[test]
fn hostname_that_is_set_wins_over_the_machines() {
    let config = Given::worker().env("NEBULA_HOSTNAME", "speaker-17").load_worker();
    assert_eq!(config.expect("starts").hostname, "speaker-17");
}

#[test]
fn kafka_is_read_once_its_servers_are_set() {
    let config = Given::worker()
        .env("KAFKA_BOOTSTRAP_SERVERS", "one:9092, two,[::1]:9093")
        .env("KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
        .env("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512")
        .env("KAFKA_SASL_PLAIN_USERNAME", "ann")
        .env("KAFKA_SASL_PLAIN_PASSWORD", "p")
        .load_worker()
        .expect("starts");
    let kafka = config.kafka.expect("Kafka");
    assert_eq!(kafka.bootstrap_servers, "one:9092, two,[::1]:9093");
    assert_eq!(kafka.topic, "nebula-reports");
    assert_eq!(kafka.security_protocol, SecurityProtocol::SaslSsl);
    assert!(matches!(kafka.sasl, Some(SaslMechanism::ScramSha512(user)) if user.user == "ann"));
}

#[rstest]
#[case::no_group(
    Given::worker().env("DEVICE_GROUP", ""),
    "`device_group` is not set: expected a text that is not empty, by flag --device-group, environment DEVICE_GROUP or `device_group` under [worker] in nebula.toml"
)]
#[case::no_host(
    Given::worker().env("NEBULA_MANAGER_HOST", ""),
    "`nebula_manager_host` is not set: expected a text that is not empty, by flag --nebula-manager-host, environment NEBULA_MANAGER_HOST or `nebula_manager_host` under [worker] in nebula.toml"
)]
#[case::group_that_no_manager_holds(
    Given::worker().env("DEVICE_GROUP", "my speakers"),
    "`device_group` from environment DEVICE_GROUP: must start with a letter or digit and hold only letters, digits, `_`, `.` and `-`, got `my speakers`"
)]
#[case::url_as_host(
    Given::worker().env("NEBULA_MANAGER_HOST", "http://manager"),
    "`nebula_manager_host` from environment NEBULA_MANAGER_HOST: expected a host name or IP address alone (the port goes into `nebula_manager_port`, a whole URL into `nebula_manager_uri`), found `http://manager`"
)]
#[case::port_in_host(
    Given::worker().env("NEBULA_MANAGER_HOST", "manager:80"),
    "`nebula_manager_host` from environment NEBULA_MANAGER_HOST: expected a host name or IP address alone (the port goes into `nebula_manager_port`, a whole URL into `nebula_manager_uri`), found `manager:80`"
)]
#[case::port_zero(
    Given::worker().env("NEBULA_MANAGER_PORT", "0"),
    "`nebula_manager_port` from environment NEBULA_MANAGER_PORT: expected a whole number from 1 to 65535, found `0`"
)]
#[case::protocol(
    Given::worker().env("NEBULA_MANAGER_PROTOCOL", "ftp"),
    "`nebula_manager_protocol` from environment NEBULA_MANAGER_PROTOCOL: expected one of `http`, `https`, found `ftp`"
)]
#[case::uri_of_another_scheme(
    Given::worker().env("NEBULA_MANAGER_URI", "manager.example.com:80"),
    "`nebula_manager_uri` from environment NEBULA_MANAGER_URI: expected an `http` or `https` URL without credentials, query or fragment, such as `https://nebula.example.com`, found `manager.example.com:80`"
)]
#[case::uri_with_a_password(
    Given::worker().env("NEBULA_MANAGER_URI", "http://ann:s3cret@manager"),
    "`nebula_manager_uri` from environment NEBULA_MANAGER_URI: expected an `http` or `https` URL without credentials, query or fragment, such as `https://nebula.example.com`; what was found is not shown, for it may hold a secret"
)]
#[case::one_of_two_skipped(
    Given::worker().env("REGISTRY_AUTH_USER", "ann").env("REGISTRY_AUTH_PASSWORD", "skip"),
    "`registry_auth_user` from environment REGISTRY_AUTH_USER: needs `registry_auth_password` beside it, which is not set"
)]
#[case::docker_host(
    Given::worker().env("NEBULA_DOCKER_HOST", "tcp://docker"),
    "`docker_host` from environment NEBULA_DOCKER_HOST: expected `unix:///path`, `tcp://host:port` or `http://host:port`, found `tcp://docker`"
)]
#[case::relative_socket(
    Given::worker().env("NEBULA_DOCKER_HOST", "unix://docker.sock"),
    "`docker_host` from environment NEBULA_DOCKER_HOST: expected `unix:///path`, `tcp://host:port` or `http://host:port`, found `unix://docker.sock`"
)]
#[case::kafka_protocol(
    Given::worker().env("KAFKA_SECURITY_PROTOCOL", "TLS"),
    "`kafka_security_protocol` from environment KAFKA_SECURITY_PROTOCOL: expected one of `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`, found `TLS`"
)]
#[case::kafka_mechanism(
    Given::worker().env("KAFKA_SASL_MECHANISM", "OAUTHBEARER"),
    "`kafka_sasl_mechanism` from environment KAFKA_SASL_MECHANISM: expected one of `PLAIN`, `GSSAPI`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, found `OAUTHBEARER`"
)]
#[case::kafka_servers(
    Given::worker().env("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
    "`kafka_bootstrap_servers` from environment KAFKA_BOOTSTRAP_SERVERS: expected `host:port`, or several with commas between, found `kafka:9092,`"
)]
#[case::kafka_without_user(
    Given::worker().env("KAFKA_BOOTSTRAP_SERVERS", "k").env("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
    "`kafka_security_protocol` from environment KAFKA_SECURITY_PROTOCOL: needs `kafka_sasl_plain_username` and `kafka_sasl_plain_password` when the mechanism is PLAIN"
)]
fn worker_is_refused(#[case] given: Given, #[case] words: &str) {
    assert_eq!(given.worker_refusal(), words);
}
