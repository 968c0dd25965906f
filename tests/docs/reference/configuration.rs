//! Every key of every mode, from the tables that the modes read.

use super::{code, columns, head, plain, row};
use nebula::config::tables;
use nebula::config::{Fallback, Key};
use std::fmt::Write as _;

const WORDS: &str = "\
Each mode is configured by its keys. The strongest place that sets a key counts:

1. a flag of the command line, such as `--data-dir`
2. an environment variable. One that is empty counts as not set
3. a file: `--config FILE`, else `./nebula.toml`, else `/etc/nebula/nebula.toml`. It is TOML, with a table a mode; the
   repository's `nebula.toml.example` has all keys, commented out
4. the default

A secret can come from a file instead: `KEY_file` in the file, `KEY_FILE` in the environment, `--KEY-file` as a flag. A flag's value
is seen by all users of a machine, a file's is not.

A key that does not exist, a value that cannot be, or one that is missing ends the start with exit code 2, and with a message that names the
key, the place and what was expected. `RUST_LOG` sets what is logged: `info` unless it says otherwise; `debug` tells every plan.";

pub(super) fn page() -> String {
    let mut page = head("Configuration", WORDS);
    for table in tables::ALL {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## `nebula {}`\n\n{}\n\n", table.name, plain(table.help));
        page.push_str(&columns(["key", "environment", "flag", "value", "default", "meaning"]));
        for key in table.keys() {
            page.push_str(&entry(key));
        }
    }
    page
}

fn entry(key: &Key) -> String {
    let (mut names, mut env) = (code(key.name), code(key.env));
    let mut flag = code(&format!("--{}", key.flag()));
    if key.secret {
        let _ = write!(names, ", {}", code(&key.name_of_file()));
        let _ = write!(env, ", {}", code(&key.env_of_file()));
        let _ = write!(flag, ", {}", code(&format!("--{}", key.flag_of_file())));
    }
    let default = match key.fallback {
        Fallback::Value(value) => code(value),
        Fallback::None { .. } | Fallback::Required { .. } => plain(key.default_in_words()),
    };
    row([&names, &env, &flag, &plain(&key.unit()), &default, &plain(key.help)])
}
