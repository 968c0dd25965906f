//! What a reporter starts with, and what keeps it from starting.

use crate::given::Given;
use nebula::config::{SaslMechanism, SecurityProtocol};
use rstest::rstest;
use std::path::Path;

#[test]
fn defaults_are_the_contracts() {
    let config = Given::reporter().load_reporter().expect("a reporter");
    assert_eq!(config.listen.to_string(), "127.0.0.1:9180");
    assert_eq!(config.kafka.topic, "nebula-reports");
    assert_eq!(config.kafka.security_protocol, SecurityProtocol::Plaintext);
    assert!(config.kafka.tls.is_none());
    assert_eq!(config.group_id, "nebula-reporter-group");
    assert_eq!(config.auto_offset_reset, "earliest");
    assert_eq!((config.mongo.database.as_str(), config.mongo.max_pool_size), ("nebula", 25));
    assert_eq!(config.report_ttl_seconds, 3_600);
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn every_key_of_tls_and_sasl_is_read() {
    let given = Given::reporter()
        .env("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        .env("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
        .env("KAFKA_SASL_PLAIN_USERNAME", "ann")
        .env("KAFKA_SASL_PLAIN_PASSWORD", "s3cret")
        .env("KAFKA_SSL_CERTFILE", "/cert")
        .env("KAFKA_SSL_KEYFILE", "/key")
        .env("KAFKA_SSL_PASSWORD", "s3cret")
        .env("KAFKA_SSL_CAFILE", "/ca")
        .env("KAFKA_SSL_CRLFILE", "/crl");
    let config = given.load_reporter().expect("a reporter");
    assert!(!format!("{config:?}").contains("s3cret"));
    let tls = config.kafka.tls.expect("TLS");
    assert_eq!(tls.cert_file.as_deref(), Some(Path::new("/cert")));
    assert_eq!(tls.key_file.as_deref(), Some(Path::new("/key")));
    assert_eq!(tls.ca_file.as_deref(), Some(Path::new("/ca")));
    assert_eq!(tls.crl_file.as_deref(), Some(Path::new("/crl")));
    assert_eq!(tls.key_password.expect("a password").expose(), "s3cret");
    assert!(
        matches!(config.kafka.sasl, Some(SaslMechanism::ScramSha256(user)) if user.user == "ann")
    );
}

#[rstest]
#[case::no_kafka(
    Given::reporter().env("KAFKA_BOOTSTRAP_SERVERS", ""),
    "`kafka_bootstrap_servers` is not set: expected "
)]
#[case::no_database(Given::reporter().env("MONGO_URL", ""), "`mongo_url` is not set: expected ")]
#[case::no_connection_string(
    Given::reporter().env("MONGO_URL", "db.example.com"),
    "`mongo_url` from environment MONGO_URL: must be a MongoDB connection string, as in `mongodb://user:password@host:27017/?replicaSet=rs0`, with `%`, `@`, `:` and `/` in a user or password percent-encoded"
)]
#[case::certificate_without_key(
    Given::reporter().env("KAFKA_SECURITY_PROTOCOL", "SSL").env("KAFKA_SSL_CERTFILE", "/cert"),
    "`kafka_ssl_certfile` from environment KAFKA_SSL_CERTFILE: needs `kafka_ssl_keyfile` beside it, which is not set"
)]
#[case::topic(
    Given::reporter().env("KAFKA_TOPIC", "^nebula.*"),
    "`kafka_topic` from environment KAFKA_TOPIC: expected up to 249 letters, digits, `.`, `_` and `-`, found `^nebula.*`"
)]
#[cfg_attr(not(feature = "kerberos"), case::kerberos(
    Given::reporter()
        .env("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
        .env("KAFKA_SASL_MECHANISM", "GSSAPI"),
    "`kafka_sasl_mechanism` from environment KAFKA_SASL_MECHANISM: this build has no Kerberos (GSSAPI): use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, or build nebula with `--features kerberos`"
))]
fn reporter_is_refused(#[case] given: Given, #[case] words: &str) {
    let refusal = given.load_reporter().expect_err("the reporter should not start").to_string();
    assert!(refusal.starts_with(words), "{refusal}");
}
