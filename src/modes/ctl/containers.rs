//! What an app and a cron job have in common: the flags of their containers, create and update.

use super::env::{EnvChange, EnvFlags};
use super::failure::Failure;
use super::flags;
use super::from_file;
use super::nouns::About;
use super::objects::{self, Field, items, pairs, single, yes_or_no};
use super::option_flags::{OBJECTS, OptionFlags, put_over};
use super::output::plain_value;
use super::session::Session;
use crate::client::Object;
use crate::model::OPTION_KEYS;
use clap::{ArgAction, Args, ValueHint};
use serde_json::Value;
use std::path::PathBuf;

/// A container to declare.
#[derive(Debug, Args)]
pub(super) struct NewContainer {
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        required_unless_present = "from_file",
        help = "The image, as [REGISTRY/]PATH[:TAG][@DIGEST]"
    )]
    image: Option<String>,
    #[command(flatten)]
    file: FromFile,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    env: EnvFlags,
    #[command(flatten)]
    options: OptionFlags,
}

/// What changes of a container.
#[derive(Debug, Args)]
pub(super) struct ContainerChange {
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        help = "The image, as [REGISTRY/]PATH[:TAG][@DIGEST]"
    )]
    image: Option<String>,
    #[command(flatten)]
    file: FromFile,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    env: EnvChange,
    /// Mount no volumes
    #[arg(long, conflicts_with = "volumes")]
    no_volumes: bool,
    /// Join no network but `nebula`
    #[arg(long, conflicts_with = "networks")]
    no_networks: bool,
    /// Give no device files
    #[arg(long, conflicts_with = "devices")]
    no_devices: bool,
    /// An optional key to set no more, by its name in the API, as in `mem_limit`; repeat for more
    #[arg(long, value_name = "KEY", value_parser = optional_key)]
    unset: Vec<String>,
    #[command(flatten)]
    options: OptionFlags,
}

/// The fields of a file.
#[derive(Debug, Args)]
struct FromFile {
    /// A file with the object's fields in JSON or TOML, over which go the options given; `-` is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from_file: Option<PathBuf>,
}

impl FromFile {
    fn read(&self) -> Result<Object, Failure> {
        self.from_file.as_deref().map_or_else(|| Ok(Object::new()), from_file::read)
    }
}

/// The keys of an app or a cron job, beside those of their containers, that may be set or not.
const OWN_OPTIONAL: [&str; 4] = ["update_config", "timezone", "overlap", "missed_runs"];

/// A key that may be set or not.
fn optional_key(text: &str) -> Result<String, String> {
    let mut known = OPTION_KEYS.iter().chain(&OWN_OPTIONAL);
    if known.any(|key| *key == text) {
        return Ok(text.to_owned());
    }
    Err(format!("expected one of {}, {}", OPTION_KEYS.join(", "), OWN_OPTIONAL.join(", ")))
}

/// The optional keys as `info` shows them.
pub(super) const OPTION_FIELDS: &[Field] = &[
    ("command", words),
    ("entrypoint", words),
    ("user", single),
    ("working_dir", single),
    ("hostname", single),
    ("labels", equal),
    ("mem_limit", single),
    ("cpus", single),
    ("pids_limit", single),
    ("ulimits", ulimits),
    ("shm_size", single),
    ("cap_add", items),
    ("cap_drop", items),
    ("security_opt", items),
    ("read_only", yes_or_no),
    ("tmpfs", items),
    ("init", yes_or_no),
    ("sysctls", equal),
    ("extra_hosts", hosts),
    ("dns", items),
    ("healthcheck", parts),
    ("logging", parts),
    ("stop_signal", single),
    ("stop_grace_period", single),
    ("restart", single),
];

/// Words as they are run: a list in JSON, which shows where each ends.
fn words(value: &Value) -> Vec<String> {
    vec![plain_value(value)]
}

/// `NAME=VALUE`.
fn equal(value: &Value) -> Vec<String> {
    pairs(value, "=")
}

/// `HOST:ADDRESS`.
fn hosts(value: &Value) -> Vec<String> {
    pairs(value, ":")
}

/// `nofile=1024:2048`.
fn ulimits(value: &Value) -> Vec<String> {
    let Value::Object(limits) = value else { return single(value) };
    let line = |(name, limit): (&String, &Value)| match (limit.get("soft"), limit.get("hard")) {
        (Some(soft), Some(hard)) => format!("{name}={soft}:{hard}"),
        _ => format!("{name}={limit}"),
    };
    limits.iter().map(line).collect()
}

/// A line for each part of an object.
pub(super) fn parts(value: &Value) -> Vec<String> {
    let Value::Object(parts) = value else { return single(value) };
    parts.iter().map(|(part, value)| format!("{part}: {}", plain_value(value))).collect()
}

/// Fields beside the image and the variables.
#[derive(Debug, Args)]
struct Settings {
    /// A volume: a path of the device or a volume's name, and where it appears
    #[arg(long = "volume", value_name = "SOURCE:TARGET[:ro]", value_parser = flags::volume)]
    volumes: Vec<Value>,
    /// A network to join beside `nebula`; `host` or `none` instead of all others
    #[arg(long = "network", value_name = "NETWORK", value_parser = flags::network)]
    networks: Vec<Value>,
    /// A device file of the device
    #[arg(long = "device", value_name = "PATH[:TARGET[:rwm]]", value_parser = flags::device)]
    devices: Vec<Value>,
    /// Give the containers all devices and capabilities of the device
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    privileged: Option<bool>,
    /// Run, or be kept stopped
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    running: Option<bool>,
}

impl Settings {
    fn put(self, body: &mut Object) {
        let lists =
            [("networks", self.networks), ("volumes", self.volumes), ("devices", self.devices)];
        for (field, values) in lists {
            put_list(body, field, values);
        }
        for (field, value) in [("privileged", self.privileged), ("running", self.running)] {
            put_value(body, field, value.map(Value::Bool));
        }
    }
}

/// Puts a list into a body when it was given.
pub(super) fn put_list(body: &mut Object, field: &str, values: Vec<Value>) {
    let is_given = !values.is_empty();
    put_value(body, field, is_given.then_some(Value::Array(values)));
}

/// Puts an empty list into a body when that was asked for.
pub(super) fn put_empty(body: &mut Object, field: &str, is_given: bool) {
    put_value(body, field, is_given.then(|| Value::Array(Vec::new())));
}

/// Puts a value into a body when it was given.
pub(super) fn put_value(body: &mut Object, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        body.insert(field.to_owned(), value);
    }
}

/// Creates what runs in containers, and returns it. `own` holds the fields of its own kind.
pub(super) async fn create(
    session: &Session,
    about: About<'_>,
    container: NewContainer,
    own: Object,
) -> Result<Object, Failure> {
    let mut body = container.file.read()?;
    put_value(&mut body, "docker_image", container.image.map(Value::String));
    body.extend(own);
    container.settings.put(&mut body);
    container.options.put(&mut body);
    container.env.put(&mut body)?;
    flags::check(about.noun, &body, about.name, true)?;
    objects::create(session, about, &body).await
}

/// Changes what runs in containers, and returns it. `own` holds the changed fields of its own kind.
pub(super) async fn update(
    session: &Session,
    about: About<'_>,
    change: ContainerChange,
    own: Object,
) -> Result<Object, Failure> {
    let mut body = change.file.read()?;
    put_value(&mut body, "docker_image", change.image.map(Value::String));
    let mut given = own;
    change.options.put(&mut given);
    let parts: Vec<&str> = OBJECTS.into_iter().filter(|key| given.contains_key(*key)).collect();
    body.extend(given);
    change.settings.put(&mut body);
    put_empty(&mut body, "volumes", change.no_volumes);
    put_empty(&mut body, "networks", change.no_networks);
    put_empty(&mut body, "devices", change.no_devices);
    for key in change.unset {
        if body.insert(key.clone(), Value::Null).is_some() {
            return Err(Failure::usage(format!("`{key}` is given, and --unset as well")));
        }
    }
    flags::check(about.noun, &body, about.name, false)?;
    let mut read = change.env.put(session, about, &mut body).await?;
    // The API replaces an object as a whole, so the parts that are not given are sent along.
    if !parts.is_empty() && read.is_none() {
        read = Some(session.read(about).await?);
    }
    for key in parts {
        let before = read.as_ref().and_then(|object| object.get(key));
        if let (Some(before), Some(given)) = (before, body.get_mut(key)) {
            put_over(key, before, given);
        }
    }
    objects::update(session, about, &body, read.as_ref()).await
}
