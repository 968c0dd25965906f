//! Configuration: from flags, environment, file and defaults to one value a key.
//!
//! What it is: the table of every key of every mode ([`tables`]), the four layers and their
//! order ([`Settings::load`]), the check of a value against its key, and two things
//! rendered from the tables: each mode's command line ([`command()`]) and `nebula.toml.example`
//! ([`example()`]).
//! What it is not: it does not know what a mode makes of its keys. That is each mode's checked
//! `Config`, which also holds the rules between two keys (a user needs a password). And it reads
//! neither the process's environment nor its disk: both are arguments ([`Inputs`]).
//!
//! Without the daemon, for the fuzzing of files, it has no command line.
//!
//! The tables of all modes live here rather than with the modes because every mode checks the
//! whole file, so that a typing error under `[worker]` is found by whoever reads the file first.
//!
//! Invariants:
//! - A stronger layer wins over a weaker: flag, environment, file, default.
//! - The file is a document and is checked whole, every table of it. Of flags and environment
//!   only the value that wins is looked at, so that a flag can mend a broken environment.
//! - An empty environment value is unset; an empty text elsewhere is refused.
//! - A refusal names the key, its source, what was expected and what was found; a secret's value
//!   is never in it, nor in any `Debug`.
//! - All refusals of one start are told together.

#[cfg(feature = "daemon")]
mod command_line;
mod credentials;
mod error;
mod example;
mod file;
mod inputs;
mod kafka;
mod key;
mod layers;
mod mongo;
mod settings;
pub mod tables;
mod tls;
mod value;

pub use crate::model::Secret;
#[cfg(feature = "daemon")]
pub use command_line::{Given, command, given};
pub use credentials::Credentials;
pub use error::{ConfigError, Problem};
pub use example::example;
pub use inputs::{Environment, FILES, Flags, Inputs, MAX_FILE_BYTES, environment, read_file};
pub use kafka::{Kafka, KafkaTls, SaslMechanism, SecurityProtocol};
pub use key::{Fallback, Key, Kind, Table};
pub use layers::{Layer, Source};
pub use mongo::Mongo;
pub use settings::Settings;
pub use tls::{CertificateFiles, TlsFiles, TlsKeys};
