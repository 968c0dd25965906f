//! What makes a manager's configuration, and what it refuses.

use crate::given::Given;
use rstest::rstest;
use std::path::PathBuf;

#[test]
fn defaults_are_the_contracts() {
    let config = Given::manager().load_manager().expect("starts");
    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/nebula"));
    assert_eq!(config.cache_time.as_secs(), 10);
    assert_eq!(config.cache_max_size, 1024);
    assert_eq!((config.report_ttl_seconds, config.is_report_ttl_given), (3_600, false));
    assert!(config.mongo.is_none(), "the embedded store");
    assert!(config.auth_enabled);
    assert!(config.local_admin.is_none());
    assert_eq!(config.tls, None);
}

#[test]
fn originals_names_and_ours_are_read_from_the_environment() {
    let config = Given::default()
        .env("BASIC_AUTH_USER", "admin")
        .env("BASIC_AUTH_PASSWORD", "0123")
        .env("NEBULA_LISTEN", "[::1]:8080")
        .env("NEBULA_DATA_DIR", "/data")
        .env("NEBULA_TLS_CERT_FILE", "/c")
        .env("NEBULA_TLS_KEY_FILE", "/k")
        .env("NEBULA_TLS_CLIENT_CA_FILE", "/ca")
        .env("LISTEN", "nonsense of another program")
        .load_manager()
        .expect("starts");
    let admin = config.local_admin.expect("an admin");
    assert_eq!((admin.user.as_str(), admin.password.expose().as_str()), ("admin", "0123"));
    assert_eq!(config.listen.to_string(), "[::1]:8080");
    assert_eq!(config.data_dir, PathBuf::from("/data"));
    let tls = config.tls.expect("TLS");
    assert_eq!(tls.cert_file, PathBuf::from("/c"));
    assert_eq!(tls.key_file, PathBuf::from("/k"));
    assert_eq!(tls.client_ca_file, Some(PathBuf::from("/ca")));
}

#[test]
fn mongo_is_used_as_the_original_used_it() {
    let given =
        Given::manager().env("MONGO_URL", "mongodb://ann:s3cret@db/nebula?authSource=admin");
    let mongo = given.load_manager().expect("starts").mongo.expect("a database");
    assert_eq!(mongo.url.expose(), "mongodb://ann:s3cret@db/nebula?authSource=admin");
    assert_eq!((mongo.database.as_str(), mongo.max_pool_size), ("nebula", 25));
    let given =
        Given::manager().env("MONGO_URL", "mongodb+srv://db.example.com").env("SCHEMA_NAME", "x");
    let mongo = given.env("MONGO_MAX_POOL_SIZE", "7").load_manager().expect("starts").mongo;
    let mongo = mongo.expect("a database");
    assert_eq!((mongo.database.as_str(), mongo.max_pool_size), ("x", 7));
}

#[test]
fn without_authentication_no_credentials_are_needed() {
    let config = Given::default().env("AUTH_ENABLED", "false").load_manager();
    assert!(!config.expect("starts").auth_enabled);
}

#[rstest]
#[case::no_way_in(
    Given::default(),
    "`auth_enabled` from the default: requests must authenticate, but there is no way to: set `basic_auth_user` and `basic_auth_password` (environment BASIC_AUTH_USER, BASIC_AUTH_PASSWORD), or `auth_token` (AUTH_TOKEN), or `auth_enabled` to false (AUTH_ENABLED)"
)]
#[case::mongo(
    Given::manager().env("MONGO_URL", "mongodb://ann:s3/cret@db/"),
    "`mongo_url` from environment MONGO_URL: must be a MongoDB connection string, as in `mongodb://user:password@host:27017/?replicaSet=rs0`, with `%`, `@`, `:` and `/` in a user or password percent-encoded; unset it to use the embedded store under `data_dir`"
)]
#[case::user_alone(
    Given::default().env("BASIC_AUTH_USER", "ann"),
    "`basic_auth_user` from environment BASIC_AUTH_USER: needs `basic_auth_password` beside it, which is not set"
)]
#[case::password_alone(
    Given::manager().flag("basic-auth-password", "s3cret"),
    "`basic_auth_password` from flag --basic-auth-password: needs `basic_auth_user` beside it, which is not set"
)]
#[case::colon(
    Given::default().env("BASIC_AUTH_USER", "a:b").env("BASIC_AUTH_PASSWORD", "p"),
    "`basic_auth_user` from environment BASIC_AUTH_USER: expected a name without a colon, which Basic authentication cannot carry"
)]
#[case::user_with_a_line_break(
    Given::default().env("BASIC_AUTH_USER", "a\n").env("BASIC_AUTH_PASSWORD", "p"),
    "`basic_auth_user` from environment BASIC_AUTH_USER: expected a name without control characters"
)]
#[case::password_with_a_line_break(
    Given::default().env("BASIC_AUTH_USER", "a").env("BASIC_AUTH_PASSWORD", "s3\ncret"),
    "`basic_auth_password` from environment BASIC_AUTH_PASSWORD: expected a password without line breaks or other control characters"
)]
#[case::token_that_no_header_carries(
    Given::default().env("AUTH_TOKEN", "schlüssel"),
    "`auth_token` from environment AUTH_TOKEN: expected printable ASCII characters without spaces around them, which is what a header can carry"
)]
#[case::certificate_without_key(
    Given::manager().env("NEBULA_TLS_CERT_FILE", "/c"),
    "`tls_cert_file` from environment NEBULA_TLS_CERT_FILE: needs `tls_key_file` beside it, which is not set"
)]
#[case::key_without_certificate(
    Given::manager().env("NEBULA_TLS_KEY_FILE", "/k"),
    "`tls_key_file` from environment NEBULA_TLS_KEY_FILE: needs `tls_cert_file` beside it, which is not set"
)]
#[case::client_authority_without_certificate(
    Given::manager().env("NEBULA_TLS_CLIENT_CA_FILE", "/ca"),
    "`tls_client_ca_file` from environment NEBULA_TLS_CLIENT_CA_FILE: needs `tls_cert_file` beside it, which is not set"
)]
#[case::unreadable_password_is_told_once(
    Given::default().env("BASIC_AUTH_USER", "a").env("BASIC_AUTH_PASSWORD_FILE", "gone"),
    "`basic_auth_password` from environment BASIC_AUTH_PASSWORD_FILE: file gone cannot be read: no such file"
)]
#[case::too_many_seconds(
    Given::manager().flag("cache-time", "86401"),
    "`cache_time` from flag --cache-time: expected a whole number of seconds from 0 to 86400, found `86401`"
)]
#[case::truth_in_other_words(
    Given::manager().env("AUTH_ENABLED", "yes"),
    "`auth_enabled` from environment AUTH_ENABLED: expected `true` or `false`, found `yes`"
)]
fn manager_is_refused(#[case] given: Given, #[case] words: &str) {
    assert_eq!(given.manager_refusal(), words);
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    let given = |text| Given::manager().env("NEBULA_TRUSTED_PROXIES", text).load_manager();
    let config = given("10.0.0.0/8, 192.168.1.7,::1").expect("starts");
    let told: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["10.0.0.0/8", "192.168.1.7/32", "::1/128"]);
    let refused = given("10.0.0.0/8,proxy").expect_err("refused").to_string();
    assert!(refused.contains("trusted_proxies") && refused.contains("proxy"), "{refused}");
}
