//! Which layer wins, and what each layer takes.

use crate::given::Given;
use nebula::config::{Layer, Settings, Source, environment, tables};
use rstest::rstest;
use std::ffi::OsString;

const FILE: &str = "[manager]\ncache_time = 3\n";

#[rstest]
#[case::default(&[], &[], "", 10)]
#[case::file(&[], &[], FILE, 3)]
#[case::environment_over_file(&[], &[("CACHE_TIME", "2")], FILE, 2)]
#[case::flag_over_environment(&[("cache-time", "1")], &[("CACHE_TIME", "2")], FILE, 1)]
#[case::flag_over_default(&[("cache-time", "1")], &[], "", 1)]
#[case::empty_environment_is_unset(&[], &[("CACHE_TIME", "")], FILE, 3)]
#[case::flag_mends_a_broken_environment(&[("cache-time", "1")], &[("CACHE_TIME", "soon")], FILE, 1)]
#[case::spaces_around_a_number(&[], &[("CACHE_TIME", " 7 ")], "", 7)]
#[case::hexadecimal_and_underscores_in_toml(&[], &[], "[manager]\ncache_time = 0x1_0\n", 16)]
fn stronger_layer_wins(
    #[case] flags: &[(&str, &str)],
    #[case] env: &[(&str, &str)],
    #[case] file: &str,
    #[case] seconds: u64,
) {
    let mut given = Given::manager().toml(file);
    for (name, value) in flags {
        given = given.flag(name, value);
    }
    for (name, value) in env {
        given = given.env(name, value);
    }
    let config = given.load_manager().expect("starts");
    assert_eq!(config.cache_time.as_secs(), seconds);
}

#[rstest]
#[case("true", true)]
#[case("True", true)]
#[case("FALSE", false)]
#[case("False", false)]
fn truth_values_are_read_in_any_case(#[case] text: &str, #[case] expected: bool) {
    let config = Given::manager().env("AUTH_ENABLED", text).load_manager();
    assert_eq!(config.expect("starts").auth_enabled, expected);
}

#[test]
fn file_is_looked_for_in_order_and_a_named_one_replaces_the_search() {
    let seconds = |given: Given| given.load_manager().expect("starts").cache_time.as_secs();
    let etc = Given::manager().file("etc.toml", "[manager]\ncache_time = 4\n");
    assert_eq!(seconds(etc), 4);
    let both = Given::manager().toml(FILE).file("etc.toml", "[manager]\ncache_time = 4\n");
    assert_eq!(seconds(both), 3);
    let named = Given::manager()
        .toml(FILE)
        .file("mine.toml", "[manager]\ncache_time = 5\n")
        .config("mine.toml");
    assert_eq!(seconds(named), 5);
}

#[test]
fn source_of_each_value_is_known() {
    let given = Given::default()
        .flag("token", "t")
        .env("NEBULA_USERNAME", "ann")
        .toml("[ctl]\n\npassword = \"p\"\n");
    let settings = given.with(|inputs| Settings::load(&tables::CTL, inputs)).expect("reads");
    let source = |name| settings.source(name).map(ToString::to_string);
    assert_eq!(source("token").as_deref(), Some("flag --token"));
    assert_eq!(source("username").as_deref(), Some("environment NEBULA_USERNAME"));
    assert_eq!(source("password").as_deref(), Some("nebula.toml line 3, [ctl] password"));
    assert_eq!(source("url").as_deref(), Some("the default"));
    assert!(!settings.is_given("url"));
    let layer = |name| settings.source(name).map(Source::layer);
    assert!(layer("token") > layer("username"));
    assert!(layer("username") > layer("password"));
    assert_eq!(layer("password"), Some(Layer::File));
    assert_eq!(settings.text("output").as_deref(), Some("table"));
}

#[cfg(unix)]
#[test]
fn environment_that_is_not_utf8_is_refused_and_not_taken_for_unset() {
    use std::os::unix::ffi::OsStringExt;
    let variables = [(OsString::from("SCHEMA_NAME"), OsString::from_vec(vec![b'n', 0xff]))];
    let environment = environment(variables);
    let given = Given::manager().env("SCHEMA_NAME", &environment["SCHEMA_NAME"]);
    assert_eq!(
        given.manager_refusal(),
        "`schema_name` from environment SCHEMA_NAME: expected a text that is not empty, found a text that is not UTF-8"
    );
}
