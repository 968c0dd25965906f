//! `device-groups`: list, info, create, update, delete, status, enroll.

use super::enroll::Enroll;
use super::failure::Failure;
use super::flags;
use super::list_flags::{ListChange, Listed, NewList};
use super::lists::{self, List};
use super::nouns::{About, Words, words};
use super::objects::{self, Field, cell, items, single};
use super::session::{Session, flag};
use super::status::Watch;
use super::wait::Wait;
use crate::client::{ClientError, Noun, Object};
use clap::{Args, Subcommand};

/// Device groups: which apps and cron jobs a device runs
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
    /// Show how far the devices of a group are with what it lists
    Status {
        /// The device group
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    Enroll(Enroll),
}

/// Create a device group
#[derive(Debug, Args)]
#[command(after_help = "\
A device belongs to the group when its worker is started with DEVICE_GROUP set to the name. An
enrolled device also needs an enrollment of that group: see `nebula ctl device-groups enroll`.")]
pub(super) struct Create {
    /// The device group's name
    #[arg(value_parser = flags::name)]
    name: String,
    #[command(flatten)]
    apps: NewList<Apps>,
    #[command(flatten)]
    cron_jobs: NewList<CronJobs>,
    #[command(flatten)]
    wait: Wait,
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
    apps: ListChange<Apps>,
    #[command(flatten)]
    cron_jobs: ListChange<CronJobs>,
    #[command(flatten)]
    wait: Wait,
}

/// The apps that its devices run.
#[derive(Debug)]
struct Apps;

impl Listed for Apps {
    const LIST: &'static List = &List {
        field: "apps",
        flag: "app",
        plural: "apps",
        one: "app",
        noun: Noun::App,
        grants: false,
        help_new: "An app that its devices run; repeat for more",
        help_remove: "An app to take out; its containers stop on the group's devices",
    };
}

/// The cron jobs that its devices run.
#[derive(Debug)]
struct CronJobs;

impl Listed for CronJobs {
    const LIST: &'static List = &List {
        field: "cron_jobs",
        flag: "cron-job",
        plural: "cron-jobs",
        one: "cron job",
        noun: Noun::CronJob,
        grants: false,
        help_new: "A cron job that its devices run; repeat for more",
        help_remove: "A cron job to take out",
    };
}

const LISTS: [&List; 2] = [Apps::LIST, CronJobs::LIST];

impl DeviceGroups {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => objects::info(session, group(&name), FIELDS).await,
            Self::Create(create) => create.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete { name, yes } => objects::delete(session, group(&name), yes).await,
            Self::Status { name, watch } => watch.run(session, group(&name)).await,
            Self::Enroll(enroll) => enroll.run(session).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut body = Object::new();
        self.apps.put(&mut body);
        self.cron_jobs.put(&mut body);
        match session.client().create(Noun::DeviceGroup, &self.name, &body).await {
            Ok(reply) => {
                let words = format!("device group `{}` created", self.name);
                session.output().done(&reply, &words)?;
                self.wait.run(session, group(&self.name), &reply.content).await
            }
            Err(error) => Err(explain(session, &self.name, &Object::new(), &body, error).await),
        }
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = &self.name;
        let mut body = Object::new();
        let changes = [self.apps.change(), self.cron_jobs.change()];
        let before = lists::put_changes(session, group(name), changes, &mut body).await?;
        let Some(before) = before else {
            return Err(objects::nothing_given(Noun::DeviceGroup));
        };
        let reply = match session.client().update(Noun::DeviceGroup, name, &body).await {
            Ok(reply) => reply,
            Err(error) => return Err(explain(session, name, &before, &body, error).await),
        };
        lists::tell_taken_out(&LISTS, &before, &body, name);
        objects::warn_of_another(group(name), &before, &body, &reply.content);
        session.output().done(&reply, &format!("device group `{name}` updated"))?;
        self.wait.run(session, group(name), &reply.content).await
    }
}

/// Says a refusal of a group's body. A flag about an app or a cron job is about a member there, and
/// does not say which. One that was a member `before` is not what was refused: members that no
/// longer exist may stay.
async fn explain(
    session: &Session,
    name: &str,
    before: &Object,
    body: &Object,
    error: ClientError,
) -> Failure {
    for list in LISTS {
        let Words { one, exists, .. } = words(list.noun);
        if flag(&error, exists) != Some(false) {
            continue;
        }
        if let Some((_, name)) = lists::unknown(session, &[list], before, body).await.first() {
            return session.unknown(About { noun: list.noun, name }).await;
        }
        let names = list.names(body).join("`, `");
        return Failure::new(format!("one {one} of these does not exist: `{names}`"));
    }
    session.explain_about(group(name), error).await
}

async fn list(session: &Session) -> Result<(), Failure> {
    let headings = ["NAME", "APPS", "CRON JOBS"];
    objects::list(session, Noun::DeviceGroup, &headings, |group| {
        vec![cell(group, "apps", items), cell(group, "cron_jobs", items)]
    })
    .await
}

pub(super) fn group(name: &str) -> About<'_> {
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
