//! Secrets: from files, and never in words.

use crate::given::Given;
use nebula::config::Secret;
use rstest::rstest;

#[rstest]
#[case::flag(Given::default().flag("auth-token-file", "token"))]
#[case::environment(Given::default().env("AUTH_TOKEN_FILE", "token"))]
#[case::file(Given::default().toml("[manager]\nauth_token_file = \"token\"\n"))]
#[case::flag_file_over_environment_value(
    Given::default().flag("auth-token-file", "token").env("AUTH_TOKEN", "weaker")
)]
#[case::flag_value_over_environment_file(
    Given::default().flag("auth-token", "from-file").env("AUTH_TOKEN_FILE", "gone")
)]
#[case::environment_file_over_file_value(
    Given::default().env("AUTH_TOKEN_FILE", "token").toml("[manager]\nauth_token = \"weaker\"\n")
)]
#[case::empty_environment_file_is_unset(
    Given::default().env("AUTH_TOKEN_FILE", "").env("AUTH_TOKEN", "from-file")
)]
fn secret_comes_from_the_strongest_layer_in_either_form(#[case] given: Given) {
    let config = given.file("token", "from-file\n").load_manager().expect("starts");
    assert_eq!(config.auth_token.expect("a token").expose(), "from-file");
}

#[rstest]
#[case("p\n", "p")]
#[case("p\r\n", "p")]
#[case("p ", "p ")]
#[case("p", "p")]
fn one_line_break_at_the_end_of_a_secret_file_is_dropped(
    #[case] content: &str,
    #[case] expected: &str,
) {
    let config = Given::worker()
        .env("REGISTRY_AUTH_USER", "u")
        .env("REGISTRY_AUTH_PASSWORD_FILE", "password")
        .file("password", content)
        .load_worker()
        .expect("starts");
    let password = config.registry_auth.expect("credentials").password;
    assert_eq!(password.expose(), expected);
}

#[rstest]
#[case::gone(
    Given::default().env("AUTH_TOKEN_FILE", "/run/gone"),
    "`auth_token` from environment AUTH_TOKEN_FILE: file /run/gone cannot be read: no such file"
)]
#[case::empty(
    Given::default().flag("auth-token-file", "token").file("token", ""),
    "`auth_token` from flag --auth-token-file: file token is empty"
)]
#[case::line_break_only(
    Given::default().flag("auth-token-file", "token").file("token", "\n"),
    "`auth_token` from flag --auth-token-file: file token is empty"
)]
#[case::not_utf8(
    Given::default().toml("[manager]\nauth_token_file = \"token\"\n").file("token", [0xff]),
    "`auth_token` from nebula.toml line 2, [manager] auth_token_file: file token is not UTF-8"
)]
#[case::path_is_a_number(
    Given::default().toml("[manager]\nauth_token_file = 1\n"),
    "`auth_token` from nebula.toml line 2, [manager] auth_token_file: expected the path of a file that holds the secret, in quotes"
)]
#[case::twice_by_flag(
    Given::default().flag("auth-token", "s3cret").flag("auth-token-file", "token"),
    "`auth_token` is given twice, by flag --auth-token and by flag --auth-token-file: keep one of them"
)]
#[case::twice_by_environment(
    Given::default().env("AUTH_TOKEN", "s3cret").env("AUTH_TOKEN_FILE", "token"),
    "`auth_token` is given twice, by environment AUTH_TOKEN and by environment AUTH_TOKEN_FILE: keep one of them"
)]
#[case::twice_in_the_file(
    Given::default().toml("[manager]\nauth_token = \"s3cret\"\nauth_token_file = \"token\"\n"),
    "`auth_token` is given twice, by nebula.toml line 2, [manager] auth_token and by nebula.toml line 3, [manager] auth_token_file: keep one of them"
)]
#[case::empty_text(
    Given::default().flag("auth-token", ""),
    "`auth_token` from flag --auth-token: expected a text that is not empty, found an empty text"
)]
#[case::two_lines(
    Given::default().env("AUTH_TOKEN_FILE", "token").file("token", "s3cret\n\n"),
    "`auth_token` from environment AUTH_TOKEN_FILE: expected printable ASCII characters without spaces around them, which is what a header can carry"
)]
fn secret_is_refused(#[case] given: Given, #[case] words: &str) {
    assert_eq!(given.manager_refusal(), words);
}

#[test]
fn secret_prints_stars() {
    let secret = Secret::new("s3cret".to_owned());
    assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    assert_eq!(secret.expose(), "s3cret");
}

#[test]
fn no_secret_is_in_the_debug_form_of_a_config() {
    let manager = Given::manager()
        .env("AUTH_TOKEN", "s3cret")
        .env("BASIC_AUTH_USER", "ann")
        .env("BASIC_AUTH_PASSWORD", "s3cret")
        .load_manager()
        .expect("starts");
    let worker = Given::worker()
        .env("NEBULA_MANAGER_AUTH_USER", "ann")
        .env("NEBULA_MANAGER_AUTH_PASSWORD", "s3cret")
        .env("REGISTRY_AUTH_USER", "ann")
        .env("REGISTRY_AUTH_PASSWORD", "s3cret")
        .env("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
        .env("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        .env("KAFKA_SASL_PLAIN_USERNAME", "ann")
        .env("KAFKA_SASL_PLAIN_PASSWORD", "s3cret")
        .load_worker()
        .expect("starts");
    let enrolling = Given::worker().env("NEBULA_ENROLLMENT_TOKEN", "s3cret").load_worker();
    let printed = format!("{manager:?} {worker:?} {:?}", enrolling.expect("starts"));
    assert_eq!(printed.matches("***").count(), 6, "{printed}");
    assert!(!printed.contains("s3cret"), "{printed}");
}
