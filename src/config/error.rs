//! Why a configuration was refused.

use super::layers::Source;
use std::fmt;
use std::path::PathBuf;

/// Every reason why one start was refused, in the order in which they were found.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "a refusal has a reason");
        Self { problems }
    }

    /// The reasons, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return problem.fmt(f);
        }
        write!(f, "the configuration has {} mistakes:", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key's value, or what it says together with another key, will not do.
    #[error("`{key}` from {source_of_value}: {why}")]
    Refused {
        /// The key.
        key: &'static str,
        /// Where the value came from. (`source` would be taken for the error's cause.)
        source_of_value: Source,
        /// What was expected and what was found.
        why: String,
    },
    /// A key and its `KEY_FILE` in one layer, which has no order between them.
    #[error("`{key}` is given twice, by {one} and by {other}: keep one of them")]
    Twice {
        /// The key.
        key: &'static str,
        /// The value itself.
        one: Source,
        /// The path to it.
        other: Source,
    },
    /// A required key that no layer sets.
    #[error(
        "`{key}` is not set: expected {expected}, by flag --{flag}, environment {env} or `{key}` under [{table}] in nebula.toml"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// What was expected.
        expected: String,
        /// Its flag.
        flag: String,
        /// Its name in the environment.
        env: &'static str,
        /// Its table in the file.
        table: &'static str,
    },
    /// A key that no mode has.
    #[error("unknown key `{name}` in {} line {line}, [{table}]{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The table.
        table: &'static str,
        /// The key as written.
        name: String,
        /// The nearest known key, as a phrase, or nothing.
        hint: String,
    },
    /// A table that is no mode's, or a key outside of any table.
    #[error("unknown {what} `{name}` in {} line {line}{hint}", path.display())]
    UnknownTable {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// `table`, or `key outside of any table`.
        what: &'static str,
        /// Its name as written.
        name: String,
        /// The nearest known table, or the tables that have such a key, as a phrase.
        hint: String,
    },
    /// The file cannot be read, or is not TOML.
    #[error("configuration file {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the line where known.
        why: String,
    },
}
