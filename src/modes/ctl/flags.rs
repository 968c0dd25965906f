//! The flags of an app, as the fields of a request's body.
//!
//! Invariant: a value is taken exactly when the model's decoder takes it, so that what passes here
//! passes at the manager, and what does not fails at once with the option, the value and why.

use super::failure::Failure;
use crate::client::Object;
use crate::config::Secret;
use crate::model::{AppFields, EnvVars, Name, Unknown};
use clap::{ArgAction, Args, ValueHint};
use serde_json::{Map, Number, Value, json};
use std::path::{Path, PathBuf};

/// Fields of an app, beside its image and its variables.
#[derive(Debug, Args)]
pub(super) struct AppFlags {
    /// A port of the device, and the container's when it is another; replica i takes HOST + i - 1
    #[arg(long = "port", value_name = "HOST[:CONTAINER]", value_parser = port)]
    ports: Vec<Value>,
    /// How many replicas a device runs: server=2 is two, cpu=0.5 half as many as cores, memory=512
    /// one for each 512 MB
    #[arg(long, value_name = "server=N|cpu=N|memory=MB", value_parser = per)]
    per: Option<Value>,
    /// A volume: a path of the device or a volume's name, and where it appears
    #[arg(long = "volume", value_name = "SOURCE:TARGET[:ro]", value_parser = volume)]
    volumes: Vec<Value>,
    /// A network to join beside `nebula`; `host` or `none` instead of all others
    #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
    networks: Vec<Value>,
    /// A device file of the device
    #[arg(long = "device", value_name = "PATH[:TARGET[:rwm]]", value_parser = device)]
    devices: Vec<Value>,
    /// Give the app all devices and capabilities of the device
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    privileged: Option<bool>,
    /// Update one replica at a time
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    rolling: Option<bool>,
    /// Run the app, or keep it stopped
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    running: Option<bool>,
}

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

impl AppFlags {
    /// Puts what was given into a body.
    pub(super) fn put(self, body: &mut Object) {
        let lists = [
            ("starting_ports", self.ports),
            ("networks", self.networks),
            ("volumes", self.volumes),
            ("devices", self.devices),
        ];
        for (field, values) in lists {
            if !values.is_empty() {
                body.insert(field.to_owned(), Value::Array(values));
            }
        }
        let single = [
            ("containers_per", self.per),
            ("privileged", self.privileged.map(Value::Bool)),
            ("rolling_restart", self.rolling.map(Value::Bool)),
            ("running", self.running.map(Value::Bool)),
        ];
        for (field, value) in single {
            if let Some(value) = value {
                body.insert(field.to_owned(), value);
            }
        }
    }
}

impl EnvFlags {
    /// The variables to set, files first, so that --env is the stronger; none when no option was
    /// given.
    pub(super) fn read(&self) -> Result<Option<Vec<Variable>>, Failure> {
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

/// Sets variables in `env`, the later the stronger.
pub(super) fn set(env: &mut Object, variables: Vec<Variable>) {
    for variable in variables {
        env.insert(variable.name, Value::String(variable.value));
    }
}

/// Checks a whole body as the manager will, where fields depend on each other. `is_new` bodies
/// must also make a whole app.
pub(super) fn check(body: &Object, name: &str, is_new: bool) -> Result<(), Failure> {
    let fields = AppFields::decode(body.clone(), Some(name), Unknown::Refuse);
    let checked =
        fields.and_then(|fields| if is_new { fields.into_spec().map(drop) } else { Ok(()) });
    checked.map_err(|invalid| Failure::usage(in_options(&invalid.to_string())))
}

/// A refusal of the model, which names fields, with the options that set them.
fn in_options(text: &str) -> String {
    let options = [
        ("`docker_image`", "--image"),
        ("`starting_ports`", "--port"),
        ("`containers_per`", "--per"),
        ("`env_vars`", "--env"),
        ("`networks`", "--network"),
        ("`volumes`", "--volume"),
        ("`devices`", "--device"),
    ];
    options.iter().fold(text.to_owned(), |text, (field, option)| text.replace(field, option))
}

/// A name that Docker takes as the stem of a container's.
pub(super) fn name(text: &str) -> Result<String, String> {
    Name::new(text).map(String::from).map_err(|error| error.to_string())
}

/// An image reference.
pub(super) fn image(text: &str) -> Result<String, String> {
    checked("docker_image", text.into()).map(|()| text.to_owned())
}

fn port(text: &str) -> Result<Value, String> {
    let value = match text.split_once(':') {
        Some((host, container)) => json!({ host: container }),
        // The contract's form for "the same on both sides" is a number.
        None => text.parse::<Number>().map_or_else(|_| text.into(), Value::Number),
    };
    // The model's words are the API's, about lists and dicts.
    checked("starting_ports", json!([value]))
        .map(|()| value)
        .map_err(|_| "expected ports from 1 to 65535, as in `8080` or `80:8080`".to_owned())
}

fn per(text: &str) -> Result<Value, String> {
    let Some((key, number)) = text.split_once('=') else {
        return Err("expected KEY=NUMBER, as in `server=2`".to_owned());
    };
    let Ok(number) = number.parse::<Number>() else {
        return Err(format!("`{key}` must be a number, as in `{key}=1`"));
    };
    let value = json!({ key: number });
    checked("containers_per", value.clone()).map(|()| value)
}

fn volume(text: &str) -> Result<Value, String> {
    checked("volumes", json!([text])).map(|()| text.into())
}

fn network(text: &str) -> Result<Value, String> {
    checked("networks", json!([text])).map(|()| text.into())
}

fn device(text: &str) -> Result<Value, String> {
    checked("devices", json!([text])).map(|()| text.into())
}

/// Decodes one field as the manager will; the error is the model's reason.
fn checked(field: &str, value: Value) -> Result<(), String> {
    let body = Map::from_iter([(field.to_owned(), value)]);
    AppFields::decode(body, None, Unknown::Refuse).map(drop).map_err(|invalid| {
        let reason = invalid.fields.into_values().next().unwrap_or_default();
        // There is one item, and its value stands in the message.
        reason.strip_prefix("item 1: ").map_or_else(|| reason.clone(), str::to_owned)
    })
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
