//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// The layers, weakest first, so that a greater one is a stronger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The key's own fallback.
    Default,
    /// `nebula.toml`.
    File,
    /// The process's environment.
    Environment,
    /// The command line.
    Flag,
}

/// Where a value came from, precise enough to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The key's own fallback.
    Default,
    /// The file.
    File {
        /// Its path, as it was opened.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The table.
        table: &'static str,
        /// The key as written there, which may be `KEY_file`.
        name: String,
    },
    /// A variable of the environment, by its name.
    Environment(String),
    /// A flag, by its name without the dashes in front.
    Flag(String),
}

impl Source {
    /// Its layer.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Default => Layer::Default,
            Self::File { .. } => Layer::File,
            Self::Environment(_) => Layer::Environment,
            Self::Flag(_) => Layer::Flag,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File { path, line, table, name } => {
                write!(f, "{} line {line}, [{table}] {name}", path.display())
            }
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}
