//! `users`: list, info, create, update, delete, refresh.
//!
//! A new secret comes from a file, from a pipe or from a terminal that does not show it, never from
//! the command line, which every process of this machine can read; and `--password` is who asks.

use super::failure::Failure;
use super::flags;
use super::nouns::About;
use super::objects::{self, Field, items, single};
use super::output::{self, plain_value, printable};
use super::prompt;
use super::session::Session;
use crate::client::{Noun, Object, Reply};
use crate::model::UserFields;
use clap::{Args, Subcommand, ValueHint};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Users: who may ask the manager
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Users {
    /// List users, and the user groups they are in
    List,
    /// Show a user, and the user groups they are in
    Info {
        /// The user
        name: String,
    },
    Create(Create),
    Update(Update),
    /// Delete a user; the password and the token stop working
    Delete {
        /// The user
        name: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give a user a new token, and show it this once; the old one stops working
    Refresh {
        /// The user
        name: String,
    },
}

/// Create a user
#[derive(Debug, Args)]
#[command(after_help = "\
What is not given is made by the manager, and shown this once: it keeps hashes alone.
--password and --token say who asks, not what the new user gets.
A new user may do nothing: see `nebula ctl user-groups update --add-member`.")]
pub(super) struct Create {
    /// The user's name
    #[arg(value_parser = flags::account_name)]
    name: String,
    #[command(flatten)]
    secrets: NewSecrets,
}

/// Give a user another password or token
#[derive(Debug, Args)]
#[command(after_help = "\
--password and --token say who asks, not what the user gets.
To have the manager make a new token: nebula ctl users refresh NAME")]
pub(super) struct Update {
    /// The user
    name: String,
    #[command(flatten)]
    secrets: NewSecrets,
}

/// The user's own secrets, which are not the connection's.
#[derive(Debug, Args)]
struct NewSecrets {
    /// A file that holds the user's new password; `-` is a line of stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    new_password_file: Option<PathBuf>,
    /// Ask for the user's new password, without showing it
    #[arg(long, conflicts_with = "new_password_file")]
    prompt_password: bool,
    /// A file that holds the user's new token; `-` is a line of stdin, after the password's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    new_token_file: Option<PathBuf>,
}

impl NewSecrets {
    /// The body that gives them, checked.
    fn body(&self, name: &str) -> Result<Object, Failure> {
        let mut body = Object::new();
        let password = match &self.new_password_file {
            None if self.prompt_password => Some(prompt::new_secret("password")?),
            None => None,
            Some(file) => Some(read_secret(file, "password")?),
        };
        let token = self.new_token_file.as_deref().map(|file| read_secret(file, "token"));
        for (field, secret) in [("password", password), ("token", token.transpose()?)] {
            if let Some(secret) = secret {
                body.insert(field.to_owned(), secret.into());
            }
        }
        UserFields::decode(body.clone(), Some(name)).map_err(|error| flags::refused(&error))?;
        Ok(body)
    }
}

/// Reads a secret from a file without its last line break, or from stdin.
fn read_secret(file: &Path, what: &str) -> Result<String, Failure> {
    if file.as_os_str() == "-" {
        return prompt::new_secret(what);
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot read --new-{what}-file `{}`", file.display());
        Failure::usage(message).because(error)
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

impl Users {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::List => list(session).await,
            Self::Info { name } => info(session, &name).await,
            Self::Create(create) => create.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete { name, yes } => objects::delete(session, user(&name), yes).await,
            Self::Refresh { name } => refresh(session, &name).await,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = &self.name;
        let body = self.secrets.body(name)?;
        let reply = match session.client().create(Noun::User, name, &body).await {
            Ok(reply) => reply,
            Err(error) => return Err(session.explain_about(user(name), error).await),
        };
        let generated = reply.content.get("generated").and_then(Value::as_object).cloned();
        let generated = generated.unwrap_or_default();
        // Where a manager makes none without a word, the user could never log in.
        let missing = ["password", "token"]
            .into_iter()
            .find(|key| !body.contains_key(*key) && !generated.contains_key(*key));
        show_once(session, &reply, &generated, &format!("user `{name}` created"))?;
        if let Some(missing) = missing {
            output::say(&format!(
                "warning: the manager shows no {missing}; set one: nebula ctl users update {name} \
                 --new-{missing}-file FILE"
            ));
        }
        Ok(())
    }
}

impl Update {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let body = self.secrets.body(&self.name)?;
        objects::update(session, user(&self.name), &body, None).await.map(drop)
    }
}

async fn refresh(session: &Session, name: &str) -> Result<(), Failure> {
    let reply = match session.client().refresh_user(name).await {
        Ok(reply) => reply,
        Err(error) => return Err(session.explain_about(user(name), error).await),
    };
    show_once(session, &reply, &reply.content, &format!("user `{name}` has a new token"))
}

/// Shows secrets that the manager made: on stdout the secrets alone, the words on stderr.
fn show_once(
    session: &Session,
    reply: &Reply<Object>,
    secrets: &Object,
    words: &str,
) -> Result<(), Failure> {
    let keys = ["password", "token"].into_iter();
    let shown: Vec<_> = keys.filter_map(|key| Some((key, secrets.get(key)?))).collect();
    if shown.is_empty() {
        return session.output().done(reply, words);
    }
    // No table: on a narrow terminal it would break a secret into lines.
    let line =
        |(key, secret): &(&str, &Value)| format!("{key:<8}  {}\n", printable(&plain_value(secret)));
    session.output().reply(reply, |_| shown.iter().map(line).collect())?;
    if session.output().is_table() {
        let what: Vec<&str> = shown.iter().map(|(key, _)| *key).collect();
        let what = what.join(" and the ");
        output::say(&format!("{words}; the {what} will not be shown again"));
    }
    Ok(())
}

async fn list(session: &Session) -> Result<(), Failure> {
    let reply = session.client().list(Noun::User).await.map_err(|error| session.explain(&error))?;
    let mut rows = Vec::new();
    if session.output().is_table() {
        if reply.content.is_empty() {
            objects::none_yet(Noun::User);
            return Ok(());
        }
        let groups = groups_of_users(session).await;
        let row =
            |name: &String| vec![name.clone(), items(&groups_of(groups.as_ref(), name)).join(", ")];
        rows = reply.content.iter().map(row).collect();
    }
    session.output().reply(&reply, |_| output::table(&["NAME", "USER GROUPS"], rows))
}

async fn info(session: &Session, name: &str) -> Result<(), Failure> {
    let reply = match session.client().get(Noun::User, name).await {
        Ok(reply) => reply,
        Err(error) => return Err(session.explain_about(user(name), error).await),
    };
    let mut shown = reply.content.clone();
    if session.output().is_table() {
        // Hashes, which tell a person nothing.
        for hash in ["password", "token"] {
            shown.shift_remove(hash);
        }
        let groups = groups_of_users(session).await;
        shown.insert("user_groups".to_owned(), groups_of(groups.as_ref(), name));
    }
    session.output().reply(&reply, |_| objects::all_fields(&shown, FIELDS))
}

/// The user groups of each user; none when they cannot be read, which is told.
async fn groups_of_users(session: &Session) -> Option<BTreeMap<String, Vec<String>>> {
    let read = async {
        let names = session.client().list(Noun::UserGroup).await;
        let names = names.map_err(|error| session.explain(&error))?.content;
        objects::read_all(session, Noun::UserGroup, names).await
    };
    let Ok(groups) = read.await else {
        output::say("user groups are not shown: they cannot be read");
        return None;
    };
    let mut groups_of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (group, object) in groups {
        let members = object.as_ref().and_then(|object| object.get("group_members"));
        for member in members.and_then(Value::as_array).into_iter().flatten() {
            groups_of.entry(plain_value(member)).or_default().push(group.clone());
        }
    }
    Some(groups_of)
}

/// The user groups of one user; `-` when they are not known.
fn groups_of(groups: Option<&BTreeMap<String, Vec<String>>>, name: &str) -> Value {
    let known = groups.and_then(|groups| groups.get(name)).cloned();
    known.unwrap_or_default().into()
}

fn user(name: &str) -> About<'_> {
    About { noun: Noun::User, name }
}

/// A user's fields in the order in which people read them.
const FIELDS: &[Field] = &[("user_name", single), ("user_groups", items)];
