//! `nebula.toml.example`: every key of every mode, rendered from the tables, so that it cannot
//! fall behind them.

use super::key::{Fallback, Key, Kind};
use super::tables;
use std::fmt::Write;

/// What stands above the first table.
const HEAD: &str = "\
# The configuration of Nebula, one table a mode. Every key is here, commented out; what is written
# after its name is its default, or an example where it has none.
#
# Read from `--config FILE`, else from ./nebula.toml, else from /etc/nebula/nebula.toml.
# Stronger than this file is the environment, and stronger than that are the flags.
# A secret may also come from a file: write KEY_file = \"/path\" in place of KEY = \"value\".
";

/// The whole file. Prose is commented by `# `, a key by `#` alone, so that removing each `#` that
/// is followed by a letter gives a file with every key.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    for table in tables::ALL {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# {}\n[{}]\n", table.help, table.name);
        for key in table.keys() {
            let _ = write!(text, "\n{}", entry(key));
        }
    }
    text
}

fn entry(key: &Key) -> String {
    let mut source = format!("environment {}", key.env);
    if key.secret {
        let _ = write!(source, " or {}", key.env_of_file());
    }
    format!(
        "# {}\n# Default: {}; {}; {source}.\n#{} = {}\n",
        key.help,
        key.default_in_words(),
        key.unit(),
        key.name,
        literal(key)
    )
}

/// The default, or else the example, as TOML.
fn literal(key: &Key) -> String {
    let (Fallback::Value(text)
    | Fallback::None { example: text, .. }
    | Fallback::Required { example: text }) = key.fallback;
    match key.kind {
        Kind::Bool | Kind::Number { .. } => text.to_owned(),
        // The tables hold no quote and no backslash; the test that reads the file back would tell.
        _ => format!("\"{text}\""),
    }
}
