//! `apps`: list, info, create, update, delete, start, stop, restart.

use super::failure::Failure;
use super::flags::{self, AppFlags, EnvFlags};
use super::objects::{self, Field, cell, items, single, yes_or_no};
use super::output::{self, plain_value};
use super::session::{About, Session};
use crate::client::{Action, Noun, Object};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Apps: what runs on every device of their groups
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Apps {
    /// List apps
    List,
    /// Show every field of an app, the values of its variables included
    Info {
        /// The app
        name: String,
    },
    Create(Box<Create>),
    Update(Box<Update>),
    /// Delete an app; its containers stop on every device
    Delete {
        /// The app
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Run an app's replicas
    Start {
        /// The app
        name: String,
    },
    /// Stop an app's replicas on every device
    Stop {
        /// The app
        name: String,
    },
    /// Pull an app's image again and replace its replicas
    Restart {
        /// The app
        name: String,
    },
}

/// Create an app
#[derive(Debug, Args)]
#[command(after_help = "\
The app runs on the devices of every device group that has it: see `nebula ctl device-groups
update --add-app`.")]
pub(super) struct Create {
    /// The app's name, with which its containers' names begin
    #[arg(value_parser = flags::name)]
    name: String,
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        help = "The image, as [REGISTRY/]PATH[:TAG]"
    )]
    image: String,
    #[command(flatten)]
    flags: AppFlags,
    #[command(flatten)]
    env: EnvFlags,
}

/// Change the given fields of an app, and nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
A list that is given replaces the whole list: `--port 81` leaves one port, however many there were.
Variables are kept: --env and --env-file set those that they name, --unset-env takes one away, and
with --no-env only those given here are left.")]
#[expect(clippy::struct_excessive_bools, reason = "a flag for each list that can be emptied")]
pub(super) struct Update {
    /// The app
    name: String,
    // No doc comment: rustdoc would read the brackets as links.
    #[arg(
        long,
        value_name = "IMAGE",
        value_parser = flags::image,
        help = "The image, as [REGISTRY/]PATH[:TAG]"
    )]
    image: Option<String>,
    #[command(flatten)]
    flags: AppFlags,
    #[command(flatten)]
    env: EnvFlags,
    /// Take an environment variable away
    #[arg(long, value_name = "NAME")]
    unset_env: Vec<String>,
    /// Take away every environment variable that is not given here
    #[arg(long, conflicts_with = "unset_env")]
    no_env: bool,
    /// Publish no ports
    #[arg(long, conflicts_with = "ports")]
    no_ports: bool,
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

impl Apps {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => objects::info(session, app(&name), FIELDS).await,
            Self::Create(create) => create.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete { name, yes } => objects::delete(session, app(&name), yes).await,
            Self::Start { name } => act(session, &name, Action::Start).await,
            Self::Stop { name } => act(session, &name, Action::Stop).await,
            Self::Restart { name } => act(session, &name, Action::Restart).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = Object::new();
        body.insert("docker_image".to_owned(), self.image.into());
        self.flags.put(&mut body);
        if let Some(variables) = self.env.read()? {
            let mut env = Object::new();
            flags::set(&mut env, variables);
            body.insert("env_vars".to_owned(), env.into());
        }
        flags::check(&body, &self.name, true)?;
        match session.client().create(Noun::App, &self.name, &body).await {
            Ok(reply) => session.output().done(&reply, &format!("app `{}` created", self.name)),
            Err(error) => Err(session.explain_about(app(&self.name), error).await),
        }
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = self.name.clone();
        let (body, read) = self.body(session).await?;
        if body.is_empty() {
            return Err(Failure::usage("nothing to change was given")
                .hint("see what can be: nebula ctl apps update --help"));
        }
        let reply = match session.client().update(Noun::App, &name, &body).await {
            Ok(reply) => reply,
            Err(error) => return Err(session.explain_about(app(&name), error).await),
        };
        // The API has no "only if nobody else changed it". What can be done is to notice.
        let id = |object: &Object| object.get("app_id").and_then(Value::as_u64);
        if let (Some(read), Some(id)) = (read.as_ref().and_then(id), id(&reply.content))
            && id != read + 1
        {
            output::say(&format!(
                "warning: somebody else changed app `{name}` at the same time; look at its \
                 variables: nebula ctl apps info {name}"
            ));
        }
        session.output().done(&reply, &format!("app `{name}` updated"))
    }

    /// The fields to change, checked; and the app as it was read, when it was.
    async fn body(self, session: &Session) -> Result<(Object, Option<Object>), Failure> {
        let mut body = Object::new();
        if let Some(image) = self.image {
            body.insert("docker_image".to_owned(), image.into());
        }
        self.flags.put(&mut body);
        let emptied = [
            ("starting_ports", self.no_ports),
            ("volumes", self.no_volumes),
            ("networks", self.no_networks),
            ("devices", self.no_devices),
        ];
        for (field, _) in emptied.into_iter().filter(|(_, is_given)| *is_given) {
            body.insert(field.to_owned(), Value::Array(Vec::new()));
        }
        let variables = self.env.read()?;
        flags::check(&body, &self.name, false)?;
        if variables.is_none() && self.unset_env.is_empty() && !self.no_env {
            return Ok((body, None));
        }
        // The API replaces all variables at once, so the others are read and sent along.
        let mut env = Object::new();
        let mut read = None;
        if !self.no_env {
            let app = match session.client().get(Noun::App, &self.name).await {
                Ok(reply) => reply.content,
                Err(error) => return Err(session.explain_about(app(&self.name), error).await),
            };
            // `[]` stands for none.
            env = app.get("env_vars").and_then(Value::as_object).cloned().unwrap_or_default();
            read = Some(app);
        }
        for name in &self.unset_env {
            if env.shift_remove(name).is_none() {
                return Err(Failure::new(format!("app `{}` has no variable `{name}`", self.name)));
            }
        }
        flags::set(&mut env, variables.unwrap_or_default());
        body.insert("env_vars".to_owned(), env.into());
        Ok((body, read))
    }
}

async fn act(session: &Session, name: &str, action: Action) -> Result<(), Failure> {
    let done = match action {
        Action::Start => "started",
        Action::Stop => "stopped",
        Action::Restart => "restarted",
    };
    match session.client().act(name, action).await {
        Ok(reply) => session.output().done(&reply, &format!("app `{name}` {done}")),
        Err(error) => Err(session.explain_about(app(name), error).await),
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let headings = ["NAME", "IMAGE", "REPLICAS PER", "PORTS", "RUNNING"];
    objects::list(session, Noun::App, &headings, |app| {
        vec![
            cell(app, "docker_image", single),
            cell(app, "containers_per", per),
            cell(app, "starting_ports", ports),
            cell(app, "running", yes_or_no),
        ]
    })
    .await
}

fn app(name: &str) -> About<'_> {
    About { noun: Noun::App, name }
}

/// An app's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("app_name", single),
    ("app_id", single),
    ("docker_image", single),
    ("running", yes_or_no),
    ("containers_per", per),
    ("starting_ports", ports),
    ("env_vars", variables),
    ("networks", items),
    ("volumes", items),
    ("devices", items),
    ("privileged", yes_or_no),
    ("rolling_restart", yes_or_no),
];

/// `server=2`.
fn per(value: &Value) -> Vec<String> {
    pairs(value, "=")
}

/// `A=b`, a line each; the API writes none as `[]` or `{}`.
fn variables(value: &Value) -> Vec<String> {
    pairs(value, "=")
}

/// `80` or `80:8080`, as `--port` takes them.
fn ports(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if !items.is_empty() => {
            items.iter().flat_map(|item| pairs(item, ":")).collect()
        }
        other => pairs(other, ":"),
    }
}

fn pairs(value: &Value, between: &str) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().map(|(key, value)| format!("{key}{between}{}", plain_value(value))).collect()
        }
        Value::Object(_) => vec!["-".to_owned()],
        other => items(other),
    }
}
