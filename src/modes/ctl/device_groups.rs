//! `device-groups`: list, info, create, update, delete.

use super::failure::Failure;
use super::flags;
use super::objects::{self, Field, cell, items, single};
use super::output;
use super::session::{About, Session, flag};
use crate::client::{ClientError, Noun, Object};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Device groups: which apps a device runs
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum DeviceGroups {
    /// List device groups
    List,
    /// Show every field of a device group
    Info {
        /// The device group
        name: String,
    },
    Create(Create),
    Update(Update),
    /// Delete a device group; its devices keep what they run
    Delete {
        /// The device group
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Create a device group
#[derive(Debug, Args)]
#[command(after_help = "\
A device belongs to the group when its worker is started with DEVICE_GROUP set to the name.")]
pub(super) struct Create {
    /// The device group's name
    #[arg(value_parser = flags::name)]
    name: String,
    /// An app that its devices run; repeat for more
    #[arg(long = "app", value_name = "NAME")]
    apps: Vec<String>,
    /// A cron job that its devices run; repeat for more
    #[arg(long = "cron-job", value_name = "NAME")]
    cron_jobs: Vec<String>,
}

/// Change the apps or the cron jobs of a device group
#[derive(Debug, Args)]
#[command(after_help = "\
--app gives the whole list of apps anew; --add-app and --remove-app change it and keep the others.
The same goes for cron jobs. What is not given stays, and whatever is taken out is told.")]
pub(super) struct Update {
    /// The device group
    name: String,
    #[command(flatten)]
    apps: AppMembers,
    #[command(flatten)]
    cron_jobs: CronJobMembers,
}

#[derive(Debug, Args)]
struct AppMembers {
    /// An app of the new list; repeat for more
    #[arg(long = "app", value_name = "NAME")]
    apps: Vec<String>,
    /// An app to add
    #[arg(long = "add-app", value_name = "NAME", conflicts_with = "apps")]
    add_apps: Vec<String>,
    /// An app to take out; its containers stop on the group's devices
    #[arg(long = "remove-app", value_name = "NAME", conflicts_with = "apps")]
    remove_apps: Vec<String>,
    /// Take out every app
    #[arg(long, conflicts_with_all = ["apps", "add_apps", "remove_apps"])]
    no_apps: bool,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the flags' names, which clap shares among structs")]
struct CronJobMembers {
    /// A cron job of the new list; repeat for more
    #[arg(long = "cron-job", value_name = "NAME")]
    cron_jobs: Vec<String>,
    /// A cron job to add
    #[arg(long = "add-cron-job", value_name = "NAME", conflicts_with = "cron_jobs")]
    add_cron_jobs: Vec<String>,
    /// A cron job to take out
    #[arg(long = "remove-cron-job", value_name = "NAME", conflicts_with = "cron_jobs")]
    remove_cron_jobs: Vec<String>,
    /// Take out every cron job
    #[arg(long, conflicts_with_all = ["cron_jobs", "add_cron_jobs", "remove_cron_jobs"])]
    no_cron_jobs: bool,
}

/// A change of one list of members.
struct Change {
    field: &'static str,
    set: Vec<String>,
    add: Vec<String>,
    remove: Vec<String>,
    clear: bool,
}

impl DeviceGroups {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => objects::info(session, group(&name), FIELDS).await,
            Self::Create(create) => create.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete { name, yes } => objects::delete(session, group(&name), yes).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = Object::from_iter([
            ("apps".to_owned(), Value::from(self.apps)),
            ("cron_jobs".to_owned(), Value::from(self.cron_jobs)),
        ]);
        match session.client().create(Noun::DeviceGroup, &self.name, &body).await {
            Ok(reply) => {
                session.output().done(&reply, &format!("device group `{}` created", self.name))
            }
            Err(error) => Err(explain(session, &self.name, &body, error).await),
        }
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = self.name.clone();
        let changes: Vec<Change> = self.changes().into_iter().filter(Change::is_given).collect();
        if changes.is_empty() {
            return Err(Failure::usage("nothing to change was given")
                .hint("see what can be: nebula ctl device-groups update --help"));
        }
        // Read first in any case: to add and to remove, and to tell what a new list takes out.
        let before = match session.client().get(Noun::DeviceGroup, &name).await {
            Ok(reply) => reply.content,
            Err(error) => return Err(session.explain_about(group(&name), error).await),
        };
        let mut body = Object::new();
        for change in changes {
            let old = members(&before, change.field);
            body.insert(change.field.to_owned(), change.apply(&old, &name)?.into());
        }
        let reply = match session.client().update(Noun::DeviceGroup, &name, &body).await {
            Ok(reply) => reply,
            Err(error) => return Err(explain(session, &name, &body, error).await),
        };
        for (field, what) in [("apps", "app"), ("cron_jobs", "cron job")] {
            let now = members(&reply.content, field);
            for gone in members(&before, field).iter().filter(|old| !now.contains(*old)) {
                output::say(&format!("{what} `{gone}` was taken out of `{name}`"));
            }
        }
        session.output().done(&reply, &format!("device group `{name}` updated"))
    }

    fn changes(self) -> [Change; 2] {
        let (apps, jobs) = (self.apps, self.cron_jobs);
        [
            Change {
                field: "apps",
                set: apps.apps,
                add: apps.add_apps,
                remove: apps.remove_apps,
                clear: apps.no_apps,
            },
            Change {
                field: "cron_jobs",
                set: jobs.cron_jobs,
                add: jobs.add_cron_jobs,
                remove: jobs.remove_cron_jobs,
                clear: jobs.no_cron_jobs,
            },
        ]
    }
}

impl Change {
    fn is_given(&self) -> bool {
        self.clear || [&self.set, &self.add, &self.remove].iter().any(|names| !names.is_empty())
    }

    /// The new list.
    fn apply(self, old: &[String], group: &str) -> Result<Vec<String>, Failure> {
        if self.clear || !self.set.is_empty() {
            return Ok(self.set);
        }
        let mut names = old.to_vec();
        for name in &self.remove {
            let Some(place) = names.iter().position(|old| old == name) else {
                return Err(Failure::new(format!("`{name}` is not in device group `{group}`"))
                    .hint(format!("see what is: nebula ctl device-groups info {group}")));
            };
            names.remove(place);
        }
        for name in self.add {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Says a refusal of a group's body. `app_exists` is about a member there, and does not say which.
async fn explain(session: &Session, name: &str, body: &Object, error: ClientError) -> Failure {
    if flag(&error, "app_exists") == Some(false)
        && let Ok(known) = session.client().list(Noun::App).await
        && let Some(app) = members(body, "apps").iter().find(|app| !known.content.contains(app))
    {
        return session.unknown(About { noun: Noun::App, name: app }).await;
    }
    if flag(&error, "cron_job_exists") == Some(false) {
        let names = members(body, "cron_jobs").join("`, `");
        return Failure::new(format!("a cron job does not exist, one of `{names}`"));
    }
    session.explain_about(group(name), error).await
}

/// The names in one of a group's lists.
fn members(object: &Object, field: &str) -> Vec<String> {
    let names = object.get(field).and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn list(session: &Session) -> Result<(), Failure> {
    let headings = ["NAME", "APPS", "CRON JOBS"];
    objects::list(session, Noun::DeviceGroup, &headings, |group| {
        vec![cell(group, "apps", items), cell(group, "cron_jobs", items)]
    })
    .await
}

fn group(name: &str) -> About<'_> {
    About { noun: Noun::DeviceGroup, name }
}

/// A device group's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("device_group", single),
    ("device_group_id", single),
    ("apps", items),
    ("cron_jobs", items),
    ("prune_id", single),
];
