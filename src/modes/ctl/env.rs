//! The flags that set and take away environment variables. Values may be secrets: nothing here
//! shows one.

use super::failure::Failure;
use super::nouns::{About, words};
use super::session::Session;
use crate::client::Object;
use crate::config::Secret;
use crate::model::EnvVars;
use clap::{Args, ValueHint};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Variables to set.
#[derive(Debug, Args)]
pub(super) struct EnvFlags {
    /// An environment variable; stronger than one of an --env-file
    // Not parsed by clap, whose errors repeat the value, which may be a secret.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = hidden)]
    variables: Vec<Secret<String>>,
    /// A file with a NAME=VALUE a line; empty lines and lines that start with # are passed over
    #[arg(long = "env-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

/// Variables to set and to take away.
#[derive(Debug, Args)]
pub(super) struct EnvChange {
    #[command(flatten)]
    set: EnvFlags,
    /// Take an environment variable away
    #[arg(long, value_name = "NAME")]
    unset_env: Vec<String>,
    /// Take away every environment variable that is not given here
    #[arg(long, conflicts_with = "unset_env")]
    no_env: bool,
}

/// One variable. Its value may be a secret: `Debug` shows the name alone.
#[derive(Clone)]
pub(super) struct Variable {
    name: String,
    value: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=***", self.name)
    }
}

impl EnvFlags {
    /// Puts the variables into the body of something new, over those that it has.
    pub(super) fn put(&self, body: &mut Object) -> Result<(), Failure> {
        if let Some(variables) = self.read()? {
            let mut env = variables_of(body);
            set(&mut env, variables);
            body.insert("env_vars".to_owned(), env.into());
        }
        Ok(())
    }

    /// The variables to set, files first, so that --env is the stronger; none when no option was
    /// given.
    fn read(&self) -> Result<Option<Vec<Variable>>, Failure> {
        if self.variables.is_empty() && self.files.is_empty() {
            return Ok(None);
        }
        let mut all = Vec::new();
        for file in &self.files {
            read_env_file(file, &mut all)?;
        }
        for (index, text) in self.variables.iter().enumerate() {
            let variable = variable(text.expose()).map_err(|reason| {
                Failure::usage(format!("invalid value {} of --env: {reason}", index + 1))
                    .hint("the value is not shown, for it may be a secret")
            })?;
            all.push(variable);
        }
        Ok(Some(all))
    }
}

impl EnvChange {
    /// Puts the new variables into an update's body. The API replaces all variables at once, so
    /// the others are sent along, of the body when it has some, or else as they are read; returns
    /// the object as it was read, when it was.
    pub(super) async fn put(
        self,
        session: &Session,
        about: About<'_>,
        body: &mut Object,
    ) -> Result<Option<Object>, Failure> {
        let variables = self.set.read()?;
        if variables.is_none() && self.unset_env.is_empty() && !self.no_env {
            return Ok(None);
        }
        let mut env = Object::new();
        let mut read = None;
        if !self.no_env && body.contains_key("env_vars") {
            env = variables_of(body);
        } else if !self.no_env {
            let object = session.read(about).await?;
            env = variables_of(&object);
            read = Some(object);
        }
        for name in &self.unset_env {
            if env.shift_remove(name).is_none() {
                let what = words(about.noun).one;
                let message = format!("{what} `{}` has no variable `{name}`", about.name);
                return Err(Failure::new(message));
            }
        }
        set(&mut env, variables.unwrap_or_default());
        body.insert("env_vars".to_owned(), env.into());
        Ok(read)
    }
}

/// The variables that an object has; `[]` stands for none.
fn variables_of(object: &Object) -> Object {
    object.get("env_vars").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Sets variables in `env`, the later the stronger.
fn set(env: &mut Object, variables: Vec<Variable>) {
    for variable in variables {
        env.insert(variable.name, Value::String(variable.value));
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of clap's value parsers")]
fn hidden(text: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// `NAME=VALUE`. A reason never repeats the value.
fn variable(text: &str) -> Result<Variable, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("expected NAME=VALUE".to_owned());
    };
    EnvVars::decode(json!({ name: value }))?;
    Ok(Variable { name: name.to_owned(), value: value.to_owned() })
}

/// Reads Docker's form of an env file. Values are taken as they stand, quotes included.
fn read_env_file(file: &Path, into: &mut Vec<Variable>) -> Result<(), Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("cannot read --env-file `{}`", file.display())).because(error)
    })?;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = variable(line).map_err(|reason| {
            let place = format!("{} line {}", file.display(), index + 1);
            Failure::usage(format!("--env-file {place}: {reason}"))
        })?;
        into.push(variable);
    }
    Ok(())
}
