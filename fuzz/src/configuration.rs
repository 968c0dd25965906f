//! A configuration file, as each mode reads it at its start.
//!
//! What is refused names the key or the line, on one line of its own. What is said and what is
//! printed for debugging does not depend on the letters of a secret.

use super::shared::masked;
use nebula::config::{ConfigError, Inputs, Problem, Settings, tables};
use nebula::modes::{manager, reporter, worker};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The content of `nebula.toml`.
pub fn check(bytes: &[u8]) {
    let one = started(bytes);
    if let Some(other) = with_other_secrets(bytes) {
        assert_eq!(one, started(&other), "a secret shows");
    }
}

/// What all modes say of one file.
fn started(file: &[u8]) -> Vec<String> {
    let empty = BTreeMap::new();
    let read = |path: &Path| match path.to_str() {
        Some("nebula.toml") => Ok(file.to_owned()),
        Some("secret") => Ok(b"from a file\n".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let files = [PathBuf::from("nebula.toml")];
    let inputs =
        Inputs { flags: &empty, environment: &empty, config: None, files: &files, read: &read };
    // ctl has no rules of its own that a file can break.
    let values = |table| Settings::load(table, &inputs).and_then(|found| found.finish(Some(())));
    vec![
        words(manager::config::Config::load(&inputs)),
        words(worker::config::Config::load(&inputs, "this-machine")),
        words(reporter::config::Config::load(&inputs)),
        words(values(&tables::CTL)),
    ]
}

/// A refusal, or what is printed of a configuration.
fn words<T: std::fmt::Debug>(outcome: Result<T, ConfigError>) -> String {
    match outcome {
        Ok(config) => format!("{config:?}"),
        Err(error) => {
            assert!(!error.problems().is_empty(), "a refusal without a reason");
            error.problems().iter().for_each(placed);
            error.to_string()
        }
    }
}

fn placed(problem: &Problem) {
    let text = problem.to_string();
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
    let Problem::File { why, .. } = problem else { return assert!(text.contains('`'), "{text}") };
    assert!(why.contains("line ") || why == "is not UTF-8", "no line in `{text}`");
}

/// The same file with other secrets of the same form; none when it holds none that can be changed
/// in place. An escape would change its meaning, and the word `skip` has one.
fn with_other_secrets(file: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(file).ok()?;
    let parsed = DeTable::parse(text).ok()?;
    let mut changed = text.to_owned();
    for table in tables::ALL {
        let Some(DeValue::Table(keys)) =
            parsed.get_ref().get(table.name).map(toml::Spanned::get_ref)
        else {
            continue;
        };
        for key in table.keys().filter(|key| key.secret) {
            let Some(value) = keys.get(key.name) else { continue };
            let literal = &text[value.span()];
            let plain = match value.get_ref() {
                DeValue::String(secret) => secret != "skip" && !literal.contains('\\'),
                _ => false,
            };
            // Of an address only the user and password are secret; what is left of another address
            // may be none.
            let found = literal.split_once("://").zip(literal.rsplit_once('@'));
            let found = found.map(|((scheme, _), (before, _))| scheme.len() + 3..before.len());
            // The two may stand the other way round.
            let secret = found.filter(|found| found.start <= found.end);
            let secret = secret.unwrap_or(0..literal.len());
            let is_address = key.name == "mongo_url";
            if plain && (!is_address || (secret.start > 0 && !literal.contains('%'))) {
                let start = value.span().start;
                let masked = masked(&literal[secret.clone()]);
                changed.replace_range(start + secret.start..start + secret.end, &masked);
            }
        }
    }
    (changed != text).then(|| changed.into_bytes())
}
