//! A mode's command line, made from its keys.

use nebula::config::{Flags, command, given, tables};
use rstest::rstest;
use std::path::Path;

fn parse(words: &[&str]) -> nebula::config::Given {
    let words = std::iter::once("manager").chain(words.iter().copied());
    let matches = command(&tables::MANAGER).try_get_matches_from(words).expect("parses");
    given(&tables::MANAGER, &matches)
}

#[rstest]
#[case::nothing(&[], &[])]
#[case::value(&["--cache-time", "5"], &[("cache-time", "5")])]
#[case::with_equals(&["--cache-time=5"], &[("cache-time", "5")])]
#[case::bool_alone(&["--auth-enabled"], &[("auth-enabled", "true")])]
#[case::bool_with_value(&["--auth-enabled", "False"], &[("auth-enabled", "False")])]
#[case::secret_by_file(&["--auth-token-file", "/t"], &[("auth-token-file", "/t")])]
#[case::empty_value_is_kept_to_be_refused(&["--auth-token", ""], &[("auth-token", "")])]
fn only_what_was_given_is_taken(#[case] words: &[&str], #[case] expected: &[(&str, &str)]) {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    assert_eq!(parse(words).flags, expected.iter().map(pair).collect::<Flags>());
}

#[test]
fn config_file_is_named() {
    assert_eq!(parse(&["--config", "/a.toml"]).config.as_deref(), Some(Path::new("/a.toml")));
    assert_eq!(parse(&[]).config, None);
}

#[test]
fn flag_of_another_mode_is_refused() {
    let words = ["manager", "--device-group", "a"];
    assert!(command(&tables::MANAGER).try_get_matches_from(words).is_err());
}

#[test]
fn help_names_every_key_with_its_environment_name() {
    for table in tables::ALL {
        command(table).debug_assert();
        // Wide, so that no name is broken over two lines.
        let help = command(table).term_width(1000).render_long_help().to_string();
        for key in table.keys() {
            assert!(help.contains(&format!("--{}", key.flag())), "{}", key.name);
            assert!(help.contains(&format!("[env: {}]", key.env)), "{}", key.name);
            assert_eq!(
                help.contains(&format!("--{} ", key.flag_of_file())),
                key.secret,
                "{}",
                key.name
            );
        }
    }
    let help = command(&tables::MANAGER).term_width(1000).render_long_help().to_string();
    assert!(help.contains("[seconds (0 to 86400)] [default: 10] [env: CACHE_TIME]"), "{help}");
}
