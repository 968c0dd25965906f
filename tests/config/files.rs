//! What a file may not hold, and the words that say so.

use crate::given::Given;
use nebula::config::{MAX_FILE_BYTES, read_file};
use rstest::rstest;

#[rstest]
#[case::mistyped_key(
    "[manager]\ncache_tme = 3\n",
    "unknown key `cache_tme` in nebula.toml line 2, [manager], did you mean `cache_time`?"
)]
#[case::mistyped_key_of_another_mode(
    "[manager]\ncache_time = 3\n[worker]\n\ndevice_grop = \"a\"\n",
    "unknown key `device_grop` in nebula.toml line 5, [worker], did you mean `device_group`?"
)]
#[case::mistyped_key_of_the_reporter(
    "[reporter]\nkafka_tpic = \"a\"\n",
    "unknown key `kafka_tpic` in nebula.toml line 2, [reporter], did you mean `kafka_topic`?"
)]
#[case::key_like_no_other(
    "[ctl]\ncolour = true\n",
    "unknown key `colour` in nebula.toml line 2, [ctl]"
)]
#[case::key_in_the_wrong_table(
    "[manager]\ndevice_group = \"a\"\n",
    "unknown key `device_group` in nebula.toml line 2, [manager], it is a key of [worker]"
)]
#[case::file_of_a_key_that_is_no_secret(
    "[manager]\nschema_name_file = \"a\"\n",
    "unknown key `schema_name_file` in nebula.toml line 2, [manager], did you mean `schema_name`?"
)]
#[case::mistyped_table(
    "[manger]\ncache_time = 3\n",
    "unknown table `manger` in nebula.toml line 1, did you mean `manager`?"
)]
#[case::key_outside_of_a_table(
    "auth_token = \"s3cret\"\n",
    "unknown key outside of any table `auth_token` in nebula.toml line 1, it is a key of [manager]"
)]
#[case::table_that_is_a_value(
    "manager = 3\n",
    "configuration file nebula.toml: line 1: `manager` must be one table, `[manager]`"
)]
#[case::text_for_a_number(
    "[manager]\ncache_time = \"10\"\n",
    "`cache_time` from nebula.toml line 2, [manager] cache_time: expected a whole number of seconds from 0 to 86400, without quotes, found the text `10`"
)]
#[case::number_for_a_text(
    "[worker]\ndevice_group = 123\n",
    "`device_group` from nebula.toml line 2, [worker] device_group: expected a text that is not empty, in quotes, found the number `123`"
)]
#[case::number_for_a_secret(
    "[manager]\nbasic_auth_password = 4711\nbasic_auth_user = \"a\"",
    "`basic_auth_password` from nebula.toml line 2, [manager] basic_auth_password: expected a text that is not empty, in quotes, found a number"
)]
#[case::text_for_a_truth_value(
    "[manager]\nauth_enabled = \"false\"\n",
    "`auth_enabled` from nebula.toml line 2, [manager] auth_enabled: expected `true` or `false`, without quotes, found the text `false`"
)]
#[case::number_out_of_range(
    "[worker]\nnebula_manager_check_in_time = 0\n",
    "`nebula_manager_check_in_time` from nebula.toml line 2, [worker] nebula_manager_check_in_time: expected a whole number of seconds from 1 to 86400, found `0`"
)]
#[case::negative_number(
    "[manager]\ncache_max_size = -1\n",
    "`cache_max_size` from nebula.toml line 2, [manager] cache_max_size: expected a whole number of device groups from 1 to 10000000, found `-1`"
)]
#[case::broken_value_under_a_stronger_layer(
    "[manager]\nauth_token = 5\n",
    "`auth_token` from nebula.toml line 2, [manager] auth_token: expected a text that is not empty, in quotes, found a number"
)]
fn file_is_refused(#[case] file: &str, #[case] words: &str) {
    assert_eq!(Given::manager().toml(file).manager_refusal(), words);
}

#[test]
fn broken_toml_is_told_with_its_line_and_without_its_text() {
    let words = Given::manager().toml("[manager]\nauth_token = \"s3cret\n").manager_refusal();
    assert!(words.starts_with("configuration file nebula.toml: line 2: "), "{words}");
    assert!(!words.contains("s3cret"), "{words}");
}

#[test]
fn named_file_must_be_there() {
    let words = Given::manager().config("gone.toml").manager_refusal();
    assert_eq!(words, "configuration file gone.toml: cannot be read: no such file");
}

#[test]
fn file_that_is_not_utf8_is_refused() {
    let words = Given::manager().file("nebula.toml", [0xff]).manager_refusal();
    assert_eq!(words, "configuration file nebula.toml: is not UTF-8");
}

#[test]
fn all_mistakes_are_told_together_in_the_order_of_the_file() {
    let words = Given::default()
        .env("CACHE_MAX_SIZE", "none")
        .toml("[worker]\nzebra = 1\n[manager]\nlisten = \"here\"\ncache_time = -5\n")
        .manager_refusal();
    let expected = [
        "the configuration has 5 mistakes:",
        "unknown key `zebra` in nebula.toml line 2, [worker]",
        "`listen` from nebula.toml line 4, [manager] listen: expected an IP address with a port, such as `0.0.0.0:80` or `[::]:80`, found `here`",
        "`cache_time` from nebula.toml line 5, [manager] cache_time: expected a whole number of seconds from 0 to 86400, found `-5`",
        "`cache_max_size` from environment CACHE_MAX_SIZE: expected a whole number of device groups from 1 to 10000000, found `none`",
        "`auth_enabled` from the default: requests must authenticate, but there is no way to: set `basic_auth_user` and `basic_auth_password` (environment BASIC_AUTH_USER, BASIC_AUTH_PASSWORD), or `auth_token` (AUTH_TOKEN), or `auth_enabled` to false (AUTH_ENABLED)",
    ];
    assert_eq!(words, expected.join("\n  "));
}

#[test]
fn reader_stops_at_its_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let limit = usize::try_from(MAX_FILE_BYTES).expect("fits");
    std::fs::write(&path, vec![b'a'; limit]).expect("writes");
    assert_eq!(read_file(&path).expect("fits").len(), limit);
    std::fs::write(&path, vec![b'a'; limit + 1]).expect("writes");
    let error = read_file(&path).expect_err("too long");
    assert_eq!(error.to_string(), "longer than 1048576 bytes");
}
