//! What is done alike to every kind of object: list, info, delete.

use super::failure::Failure;
use super::output::{self, plain_value};
use super::prompt;
use super::session::{About, Session, command, flag, word};
use crate::client::{ClientError, Noun, Object};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

/// How many objects of a list are asked for at once: a few, because the list route gives names
/// alone, and a table of names alone helps nobody.
const CONCURRENT_READS: usize = 8;

/// A key of an object, and how its value is read into lines.
pub(super) type Field = (&'static str, fn(&Value) -> Vec<String>);

/// Every object that the user may read, in the list's order; without its content when the user
/// may know the name alone. One that is deleted meanwhile is left out.
pub(super) async fn read_all(
    session: &Session,
    noun: Noun,
    names: Vec<String>,
) -> Result<Vec<(String, Option<Object>)>, Failure> {
    let read = |name: String| async move {
        match session.client().get(noun, &name).await {
            Ok(reply) => Ok(Some((name, Some(reply.content)))),
            Err(error) if flag(&error, "access_allowed") == Some(false) => Ok(Some((name, None))),
            Err(ClientError::Refused(refusal)) if refusal.status == 403 => Ok(None),
            Err(error) => Err(session.explain(&error)),
        }
    };
    let read: Vec<Option<_>> =
        stream::iter(names).map(read).buffered(CONCURRENT_READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// Prints the list: a row of each object, made by `row`.
pub(super) async fn list(
    session: &Session,
    noun: Noun,
    headings: &[&str],
    row: impl Fn(&Object) -> Vec<String>,
) -> Result<(), Failure> {
    let reply = session.client().list(noun).await.map_err(|error| session.explain(&error))?;
    let mut rows = Vec::new();
    if session.output().is_table() {
        for (name, object) in read_all(session, noun, reply.content.clone()).await? {
            let mut cells = vec![name];
            match object {
                Some(object) => cells.extend(row(&object)),
                None => cells.resize(headings.len(), "-".to_owned()),
            }
            rows.push(cells);
        }
        if rows.is_empty() {
            let command = command(noun);
            output::say(&format!("none yet; make one: nebula ctl {command} create NAME"));
            return Ok(());
        }
    }
    session.output().reply(&reply, |_| output::table(headings, rows))
}

/// Prints one object: the known fields first, in the order given and by their readers, then what a
/// newer manager adds.
pub(super) async fn info(
    session: &Session,
    about: About<'_>,
    known: &[Field],
) -> Result<(), Failure> {
    let reply = match session.client().get(about.noun, about.name).await {
        Ok(reply) => reply,
        Err(error) => return Err(session.explain_about(about, error).await),
    };
    session.output().reply(&reply, |object| {
        let title = |key: &str| key.replace('_', " ");
        let mut fields: Vec<(String, Vec<String>)> = known
            .iter()
            .filter_map(|(key, read)| Some((title(key), read(object.get(*key)?))))
            .collect();
        let others = object.iter().filter(|(key, _)| known.iter().all(|(known, _)| known != key));
        fields.extend(others.map(|(key, value)| (title(key), vec![plain_value(value)])));
        output::fields(fields)
    })
}

/// Deletes an object, once somebody said yes.
pub(super) async fn delete(session: &Session, about: About<'_>, yes: bool) -> Result<(), Failure> {
    let About { noun, name } = about;
    let what = word(noun);
    if !yes {
        if !prompt::is_possible() {
            return Err(Failure::new(format!(
                "{what} `{name}` was not deleted: nobody can be asked"
            ))
            .hint("say --yes to delete without a question"));
        }
        let meaning = match noun {
            Noun::App => "its containers stop on every device",
            Noun::DeviceGroup => "its devices keep what they run and are told nothing more",
        };
        if !prompt::confirm(&format!("Delete {what} `{name}`? ({meaning})"))? {
            return Err(Failure::new(format!("{what} `{name}` was not deleted")));
        }
    }
    match session.client().delete(noun, name).await {
        Ok(reply) => session.output().done(&reply, &format!("{what} `{name}` deleted")),
        Err(error) => Err(session.explain_about(about, error).await),
    }
}

/// One value on a line.
pub(super) fn single(value: &Value) -> Vec<String> {
    vec![plain_value(value)]
}

/// Each item on a line of its own.
pub(super) fn items(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) if items.is_empty() => vec!["-".to_owned()],
        Value::Array(items) => items.iter().map(plain_value).collect(),
        other => single(other),
    }
}

/// A yes or no.
pub(super) fn yes_or_no(value: &Value) -> Vec<String> {
    match value {
        Value::Bool(true) => vec!["yes".to_owned()],
        Value::Bool(false) => vec!["no".to_owned()],
        other => single(other),
    }
}

/// A field as one cell of a row.
pub(super) fn cell(object: &Object, key: &str, read: fn(&Value) -> Vec<String>) -> String {
    object.get(key).map_or_else(|| "-".to_owned(), |value| read(value).join(", "))
}
