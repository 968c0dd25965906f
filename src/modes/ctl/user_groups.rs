//! `user-groups`: list, info, create, update, delete.

use super::containers::put_value;
use super::failure::Failure;
use super::flags;
use super::list_flags::{ListChange, Listed, NewList};
use super::lists::{self, List};
use super::nouns::{About, words};
use super::objects::{self, Field, cell, items, pairs, single, yes_or_no};
use super::output;
use super::session::Session;
use crate::client::{Noun, Object};
use clap::{Args, Subcommand};
use serde_json::Value;

/// User groups: what their members may do
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum UserGroups {
    /// List user groups
    List,
    /// Show the members of a user group and what they may do
    Info {
        /// The user group
        name: String,
    },
    Create(Box<Create>),
    Update(Box<Update>),
    /// Delete a user group; its members lose what it grants
    Delete {
        /// The user group
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// Create a user group
#[derive(Debug, Args)]
#[command(after_help = "\
ro is to read, rw to read and to change. A user in several groups may do what any of them grants.
Example: nebula ctl user-groups create ops --member eve --app web=rw --device-group shop=ro")]
pub(super) struct Create {
    /// The user group's name
    #[arg(value_parser = flags::account_name)]
    name: String,
    #[command(flatten)]
    members: NewList<Members>,
    #[command(flatten)]
    apps: NewList<Apps>,
    #[command(flatten)]
    device_groups: NewList<DeviceGroups>,
    #[command(flatten)]
    cron_jobs: NewList<CronJobs>,
    #[command(flatten)]
    rights: Rights,
}

/// Change the members of a user group, or what they may do
#[derive(Debug, Args)]
#[command(after_help = "\
--app gives all grants on apps anew; --add-app and --remove-app change one and keep the others:
`--add-app web=rw` grants access to web, or makes ro to rw. The same goes for device groups, cron
jobs and members. What is not given stays, and whatever is taken out is told.")]
pub(super) struct Update {
    /// The user group
    name: String,
    #[command(flatten)]
    members: ListChange<Members>,
    #[command(flatten)]
    apps: ListChange<Apps>,
    #[command(flatten)]
    device_groups: ListChange<DeviceGroups>,
    #[command(flatten)]
    cron_jobs: ListChange<CronJobs>,
    #[command(flatten)]
    rights: Rights,
}

/// What is granted on everything.
#[derive(Debug, Args)]
struct Rights {
    /// May do everything
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    admin: Option<bool>,
    /// May order devices to remove unused images
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pruning: Option<bool>,
}

impl Rights {
    fn put(&self, body: &mut Object) {
        put_value(body, "admin", self.admin.map(Value::Bool));
        put_value(body, "pruning_allowed", self.pruning.map(Value::Bool));
    }
}

/// Its users.
#[derive(Debug)]
struct Members;

impl Listed for Members {
    const LIST: &'static List = &List {
        field: "group_members",
        flag: "member",
        plural: "members",
        one: "member",
        noun: Noun::User,
        grants: false,
        help_new: "A user who belongs to it; repeat for more",
        help_remove: "A member to take out",
    };
}

/// Access to apps.
#[derive(Debug)]
struct Apps;

impl Listed for Apps {
    const LIST: &'static List = &List {
        field: "apps",
        flag: "app",
        plural: "apps",
        one: "app",
        noun: Noun::App,
        grants: true,
        help_new: "An app that its members may read, or change; repeat for more",
        help_remove: "An app to grant no access to any more",
    };
}

/// Access to device groups.
#[derive(Debug)]
struct DeviceGroups;

impl Listed for DeviceGroups {
    const LIST: &'static List = &List {
        field: "device_groups",
        flag: "device-group",
        plural: "device-groups",
        one: "device group",
        noun: Noun::DeviceGroup,
        grants: true,
        help_new: "A device group that its members may read, or change; repeat for more",
        help_remove: "A device group to grant no access to any more",
    };
}

/// Access to cron jobs.
#[derive(Debug)]
struct CronJobs;

impl Listed for CronJobs {
    const LIST: &'static List = &List {
        field: "cron_jobs",
        flag: "cron-job",
        plural: "cron-jobs",
        one: "cron job",
        noun: Noun::CronJob,
        grants: true,
        help_new: "A cron job that its members may read, or change; repeat for more",
        help_remove: "A cron job to grant no access to any more",
    };
}

const LISTS: [&List; 4] = [Members::LIST, Apps::LIST, DeviceGroups::LIST, CronJobs::LIST];

impl UserGroups {
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
        let mut body = Object::new();
        self.members.put(&mut body);
        self.apps.put(&mut body);
        self.device_groups.put(&mut body);
        self.cron_jobs.put(&mut body);
        self.rights.put(&mut body);
        objects::create(session, group(&self.name), &body).await?;
        warn_of_unknown(session, &Object::new(), &body).await;
        Ok(())
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = &self.name;
        let mut body = Object::new();
        self.rights.put(&mut body);
        let changes = [
            self.members.change(),
            self.apps.change(),
            self.device_groups.change(),
            self.cron_jobs.change(),
        ];
        let before = lists::put_changes(session, group(name), changes, &mut body).await?;
        let reply = objects::send_update(session, group(name), &body, before.as_ref()).await?;
        let before = before.unwrap_or_default();
        lists::tell_taken_out(&LISTS, &before, &body, name);
        session.output().done(&reply, &format!("user group `{name}` updated"))?;
        warn_of_unknown(session, &before, &body).await;
        Ok(())
    }
}

/// Tells of added names that nothing has. The API takes them, for what they name may come later; a
/// mistyped one would grant nothing without a word.
async fn warn_of_unknown(session: &Session, before: &Object, sent: &Object) {
    for (list, name) in lists::unknown(session, &LISTS, before, sent).await {
        let one = words(list.noun).one;
        output::say(&format!("warning: there is no {one} `{name}` so far"));
    }
}

async fn list(session: &Session) -> Result<(), Failure> {
    let headings = ["NAME", "MEMBERS", "ADMIN", "PRUNING", "APPS", "DEVICE GROUPS", "CRON JOBS"];
    objects::list(session, Noun::UserGroup, &headings, |group| {
        vec![
            cell(group, "group_members", items),
            cell(group, "admin", yes_or_no),
            cell(group, "pruning_allowed", yes_or_no),
            cell(group, "apps", grants),
            cell(group, "device_groups", grants),
            cell(group, "cron_jobs", grants),
        ]
    })
    .await
}

fn group(name: &str) -> About<'_> {
    About { noun: Noun::UserGroup, name }
}

/// A user group's fields in the order in which people read them.
const FIELDS: &[Field] = &[
    ("user_group", single),
    ("group_members", items),
    ("admin", yes_or_no),
    ("pruning_allowed", yes_or_no),
    ("apps", grants),
    ("device_groups", grants),
    ("cron_jobs", grants),
];

/// `web=rw`, as `--app` takes it.
fn grants(value: &Value) -> Vec<String> {
    pairs(value, "=")
}
