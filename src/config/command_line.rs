//! A mode's command line, made from its keys, so that `--help` is complete.
//!
//! What it is not: it checks no value. A flag's text goes through the same check as the
//! environment's, so that both are refused in the same words.

use super::error::ConfigError;
use super::inputs::{Environment, FILES, Flags, Inputs, read_file};
use super::key::{Key, Kind, Table};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use std::path::PathBuf;

/// What was given on the command line of a mode.
#[derive(Default)]
pub struct Given {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// The keys' flags.
    pub flags: Flags,
}

impl Given {
    /// Makes a mode's configuration of this, of the environment, and of this machine's files.
    pub fn load<T>(
        &self,
        environment: &Environment,
        load: impl FnOnce(&Inputs<'_>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        load(&Inputs {
            flags: &self.flags,
            environment,
            config: self.config.as_deref(),
            files: &FILES.map(PathBuf::from),
            read: &read_file,
        })
    }
}

/// The subcommand of a mode: `--config`, a flag for each key, and `KEY-file` for each secret.
pub fn command(table: &'static Table) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help("The configuration file [default: ./nebula.toml, then /etc/nebula/nebula.toml]");
    Command::new(table.name).about(table.help).arg(config).args(table.keys().flat_map(arguments))
}

/// What was given, by hand and not by a default.
pub fn given(table: &'static Table, matches: &ArgMatches) -> Given {
    let names = table.names().map(|name| name.replace('_', "-"));
    let flags = names.filter_map(|name| {
        let by_hand = matches.value_source(&name) == Some(ValueSource::CommandLine);
        let text = matches.get_one::<String>(&name).filter(|_| by_hand)?;
        Some((name, text.clone()))
    });
    Given { config: matches.get_one::<PathBuf>("config").cloned(), flags: flags.collect() }
}

fn arguments(key: &'static Key) -> impl Iterator<Item = Arg> {
    let mut arg = Arg::new(key.flag())
        .long(key.flag())
        .action(ArgAction::Set)
        .value_name(value_name(key))
        .help(help(key));
    if key.kind == Kind::Bool {
        // `--report-on-update-only` alone says true.
        arg = arg.num_args(0..=1).default_missing_value("true");
    }
    let by_file = key.secret.then(|| {
        Arg::new(key.flag_of_file())
            .long(key.flag_of_file())
            .action(ArgAction::Set)
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .help(format!(
                "A file that holds the value of --{}, which other users of this machine then cannot see [env: {}]",
                key.flag(),
                key.env_of_file()
            ))
    });
    std::iter::once(arg).chain(by_file)
}

fn value_name(key: &Key) -> &'static str {
    match key.kind {
        Kind::Text if key.secret => "SECRET",
        Kind::Text => "TEXT",
        Kind::Path => "PATH",
        Kind::Address => "ADDRESS:PORT",
        Kind::Url => "URL",
        Kind::OneOf(_) => "WORD",
        Kind::Bool => "true|false",
        Kind::Number { unit: "seconds", .. } => "SECONDS",
        Kind::Number { .. } => "NUMBER",
    }
}

/// The sentence, then in brackets the range or words, the default and the environment's name.
fn help(key: &Key) -> String {
    let values = match key.kind {
        Kind::OneOf(_) | Kind::Number { .. } => format!(" [{}]", key.unit()),
        _ => String::new(),
    };
    format!("{}{values} [default: {}] [env: {}]", key.help, key.default_in_words(), key.env)
}
