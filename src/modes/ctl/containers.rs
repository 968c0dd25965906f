//! What an app and a cron job have in common: the flags of their containers, create and update.

use super::env::{EnvChange, EnvFlags};
use super::failure::Failure;
use super::flags;
use super::nouns::About;
use super::objects;
use super::session::Session;
use crate::client::Object;
use clap::{ArgAction, Args};
use serde_json::Value;

/// A container to declare.
#[derive(Debug, Args)]
pub(super) struct NewContainer {
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        help = "The image, as [REGISTRY/]PATH[:TAG]"
    )]
    image: String,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    env: EnvFlags,
}

/// What changes of a container.
#[derive(Debug, Args)]
pub(super) struct ContainerChange {
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        help = "The image, as [REGISTRY/]PATH[:TAG]"
    )]
    image: Option<String>,
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

/// Creates what runs in containers. `body` holds the fields of its own kind.
pub(super) async fn create(
    session: &Session,
    about: About<'_>,
    container: NewContainer,
    own: Object,
) -> Result<(), Failure> {
    let mut body = Object::new();
    body.insert("docker_image".to_owned(), container.image.into());
    body.extend(own);
    container.settings.put(&mut body);
    container.env.put(&mut body)?;
    flags::check(about.noun, &body, about.name, true)?;
    objects::create(session, about, &body).await
}

/// Changes what runs in containers. `own` holds the changed fields of its own kind.
pub(super) async fn update(
    session: &Session,
    about: About<'_>,
    change: ContainerChange,
    own: Object,
) -> Result<(), Failure> {
    let mut body = Object::new();
    put_value(&mut body, "docker_image", change.image.map(Value::String));
    body.extend(own);
    change.settings.put(&mut body);
    put_empty(&mut body, "volumes", change.no_volumes);
    put_empty(&mut body, "networks", change.no_networks);
    put_empty(&mut body, "devices", change.no_devices);
    flags::check(about.noun, &body, about.name, false)?;
    let read = change.env.put(session, about, &mut body).await?;
    objects::update(session, about, &body, read.as_ref()).await
}
