//! `apps`: list, info, create, update, delete, start, stop, restart, history, rollback, status.

use super::containers::{
    self, ContainerChange, NewContainer, OPTION_FIELDS, parts, put_empty, put_list, put_value,
};
use super::failure::Failure;
use super::flags;
use super::history::{self, Rollback};
use super::nouns::About;
use super::objects::{self, Field, cell, items, pairs, single, variables, yes_or_no};
use super::session::Session;
use super::status::Watch;
use super::wait::Wait;
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
    Start(Act),
    /// Stop an app's replicas on every device
    Stop(Act),
    /// Pull an app's image again and replace its replicas
    Restart(Act),
    /// Show an app's last versions: who made them, when, and what changed
    History {
        /// The app
        name: String,
    },
    Rollback(Rollback),
    /// Show how far the devices are with an app
    Status {
        /// The app
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
}

/// What is done to a whole app.
#[derive(Debug, Args)]
pub(super) struct Act {
    /// The app
    name: String,
    #[command(flatten)]
    wait: Wait,
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
    #[command(flatten)]
    container: NewContainer,
    #[command(flatten)]
    replicas: Replicas,
    #[command(flatten)]
    wait: Wait,
}

/// Change the given fields of an app, and nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
A list that is given replaces the whole list: `--port 81` leaves one port, however many there were.
Variables are kept: --env and --env-file set those that they name, --unset-env takes one away, and
with --no-env only those given here are left. --unset takes an optional key away; of a health check,
of logging and of updates the parts that are not given are kept.")]
pub(super) struct Update {
    /// The app
    name: String,
    #[command(flatten)]
    container: ContainerChange,
    /// Publish no ports
    #[arg(long, conflicts_with = "ports")]
    no_ports: bool,
    #[command(flatten)]
    replicas: Replicas,
    #[command(flatten)]
    wait: Wait,
}

/// What an app has beside its containers' settings.
#[derive(Debug, Args)]
struct Replicas {
    /// A port of the device, and the container's when it is another; replica i takes HOST + i - 1
    #[arg(
        long = "port",
        value_name = "[ADDRESS:]HOST[:CONTAINER][/PROTOCOL]",
        value_parser = flags::port
    )]
    ports: Vec<Value>,
    /// How many replicas a device runs: server=2 is two, cpu=0.5 half as many as cores, memory=512
    /// one for each 512 MB
    #[arg(long, value_name = "server=N|cpu=N|memory=MB", value_parser = flags::per)]
    per: Option<Value>,
    /// Update one replica at a time
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    rolling: Option<bool>,
    #[command(flatten)]
    update: UpdateFlags,
}

/// How replicas are updated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Updates")]
struct UpdateFlags {
    /// How many replicas at once; 0 is all
    #[arg(long = "update-parallelism", value_name = "NUMBER", value_parser = parallelism)]
    parallelism: Option<Value>,
    /// How long to wait after one replica before the next, as in 10s
    #[arg(long = "update-delay", value_name = "DURATION", value_parser = delay)]
    delay: Option<Value>,
    /// How long a new replica must run, and be healthy, before it counts
    #[arg(long = "update-monitor", value_name = "DURATION", value_parser = delay)]
    monitor: Option<Value>,
    /// Which of a replica's two containers goes first
    #[arg(long = "update-order", value_name = "stop-first|start-first", value_parser = order)]
    order: Option<Value>,
    /// What becomes of an update of which a replica failed
    #[arg(
        long = "update-failure-action",
        value_name = "pause|continue|rollback",
        value_parser = failure_action
    )]
    failure_action: Option<Value>,
}

fn parallelism(text: &str) -> Result<Value, String> {
    let number = text.parse::<u64>().map_or_else(|_| text.into(), Value::from);
    flags::update_part("parallelism", number)
}

fn delay(text: &str) -> Result<Value, String> {
    flags::update_part("delay", text.into())
}

fn order(text: &str) -> Result<Value, String> {
    flags::update_part("order", text.into())
}

fn failure_action(text: &str) -> Result<Value, String> {
    flags::update_part("failure_action", text.into())
}

impl UpdateFlags {
    /// What was given, as one object.
    fn object(self) -> Option<Value> {
        let mut object = Object::new();
        let parts = [
            ("parallelism", self.parallelism),
            ("delay", self.delay),
            ("monitor", self.monitor),
            ("order", self.order),
            ("failure_action", self.failure_action),
        ];
        for (part, value) in parts {
            put_value(&mut object, part, value);
        }
        (!object.is_empty()).then_some(Value::Object(object))
    }
}

impl Replicas {
    /// The fields that were given.
    fn fields(self) -> Object {
        let mut fields = Object::new();
        put_list(&mut fields, "starting_ports", self.ports);
        put_value(&mut fields, "containers_per", self.per);
        put_value(&mut fields, "rolling_restart", self.rolling.map(Value::Bool));
        put_value(&mut fields, "update_config", self.update.object());
        fields
    }
}

impl Apps {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => {
                let fields = [FIELDS, OPTION_FIELDS].concat();
                objects::info(session, app(&name), &fields).await
            }
            Self::Create(create) => create.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete { name, yes } => objects::delete(session, app(&name), yes).await,
            Self::Start(act) => act.run(session, Action::Start).await,
            Self::Stop(act) => act.run(session, Action::Stop).await,
            Self::Restart(act) => act.run(session, Action::Restart).await,
            Self::History { name } => history::show(session, app(&name)).await,
            Self::Rollback(rollback) => rollback.run(session).await,
            Self::Status { name, watch } => watch.run(session, app(&name)).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let (app, fields) = (app(&self.name), self.replicas.fields());
        let made = containers::create(session, app, self.container, fields).await?;
        self.wait.run(session, app, &made).await
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut fields = self.replicas.fields();
        put_empty(&mut fields, "starting_ports", self.no_ports);
        let app = app(&self.name);
        let made = containers::update(session, app, self.container, fields).await?;
        self.wait.run(session, app, &made).await
    }
}

impl Act {
    async fn run(self, session: &Session, action: Action) -> Result<(), Failure> {
        let name = &self.name;
        let done = match action {
            Action::Start => "started",
            Action::Stop => "stopped",
            Action::Restart => "restarted",
        };
        let reply = match session.client().act(name, action).await {
            Ok(reply) => reply,
            Err(error) => return Err(session.explain_about(app(name), error).await),
        };
        session.output().done(&reply, &format!("app `{name}` {done}"))?;
        self.wait.run(session, app(name), &reply.content).await
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

pub(super) fn app(name: &str) -> About<'_> {
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
    ("update_config", parts),
];

/// `server=2`.
fn per(value: &Value) -> Vec<String> {
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
