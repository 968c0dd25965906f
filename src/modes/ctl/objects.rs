//! What is done alike to every kind of object: list, info, create, update, delete.

use super::failure::Failure;
use super::nouns::{About, Words, words};
use super::output::{self, plain_value};
use super::prompt;
use super::session::{Session, flag};
use crate::client::{ClientError, Noun, Object, Reply};
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
            none_yet(noun);
            return Ok(());
        }
    }
    session.output().reply(&reply, |_| output::table(headings, rows))
}

/// Says how to begin, where there is nothing to list.
pub(super) fn none_yet(noun: Noun) {
    let command = words(noun).command;
    output::say(&format!("none yet; make one: nebula ctl {command} create NAME"));
}

/// Prints one object.
pub(super) async fn info(
    session: &Session,
    about: About<'_>,
    known: &[Field],
) -> Result<(), Failure> {
    match session.client().get(about.noun, about.name).await {
        Ok(reply) => session.output().reply(&reply, |object| all_fields(object, known)),
        Err(error) => Err(session.explain_about(about, error).await),
    }
}

/// An object as a table: the known fields first, in the order given and by their readers, then what
/// a newer manager adds.
pub(super) fn all_fields(object: &Object, known: &[Field]) -> String {
    let title = |key: &str| key.replace('_', " ");
    let mut fields: Vec<(String, Vec<String>)> = known
        .iter()
        .filter_map(|(key, read)| Some((title(key), read(object.get(*key)?))))
        .collect();
    let others = object.iter().filter(|(key, _)| known.iter().all(|(known, _)| known != key));
    fields.extend(others.map(|(key, value)| (title(key), vec![plain_value(value)])));
    output::fields(fields)
}

/// Creates an object, and returns it.
pub(super) async fn create(
    session: &Session,
    about: About<'_>,
    body: &Object,
) -> Result<Object, Failure> {
    let About { noun, name } = about;
    match session.client().create(noun, name, body).await {
        Ok(reply) => {
            session.output().done(&reply, &format!("{} `{name}` created", words(noun).one))?;
            Ok(reply.content)
        }
        Err(error) => Err(session.explain_about(about, error).await),
    }
}

/// Changes an object that was `read` before, if it was, and returns it.
pub(super) async fn update(
    session: &Session,
    about: About<'_>,
    body: &Object,
    read: Option<&Object>,
) -> Result<Object, Failure> {
    let reply = send_update(session, about, body, read).await?;
    let words = format!("{} `{}` updated", words(about.noun).one, about.name);
    session.output().done(&reply, &words)?;
    Ok(reply.content)
}

/// The same without a word of success.
pub(super) async fn send_update(
    session: &Session,
    about: About<'_>,
    body: &Object,
    read: Option<&Object>,
) -> Result<Reply<Object>, Failure> {
    if body.is_empty() {
        return Err(nothing_given(about.noun));
    }
    let reply = match session.client().update(about.noun, about.name, body).await {
        Ok(reply) => reply,
        Err(error) => return Err(session.explain_about(about, error).await),
    };
    if let Some(read) = read {
        warn_of_another(about, read, body, &reply.content);
    }
    Ok(reply)
}

/// An update without anything to change.
pub(super) fn nothing_given(noun: Noun) -> Failure {
    let command = words(noun).command;
    Failure::usage("nothing to change was given")
        .hint(format!("see what can be: nebula ctl {command} update --help"))
}

/// Tells when somebody else changed an object between our reading and our writing. The API has no
/// "only if nobody else changed it": what can be done is to notice, where a field counts the
/// changes; elsewhere a change of a field that we did not send shows, and no other.
pub(super) fn warn_of_another(about: About<'_>, read: &Object, sent: &Object, now: &Object) {
    let Words { one, command, counter, .. } = words(about.noun);
    let count = |object: &Object| object.get(counter?).and_then(Value::as_u64);
    let is_another = match (count(read), count(now)) {
        (Some(before), Some(after)) => after != before + 1,
        _ => read.iter().any(|(key, value)| {
            let is_ours = key == "revision" || sent.contains_key(key);
            !is_ours && now.get(key) != Some(value)
        }),
    };
    if is_another {
        let name = about.name;
        output::say(&format!(
            "warning: somebody else changed {one} `{name}` at the same time; look whether it is \
             as you want it: nebula ctl {command} info {name}"
        ));
    }
}

/// Deletes an object, once somebody said yes.
pub(super) async fn delete(session: &Session, about: About<'_>, yes: bool) -> Result<(), Failure> {
    let About { noun, name } = about;
    let Words { one: what, deletion, .. } = words(noun);
    prompt::agree_to_delete(&format!("{what} `{name}`"), deletion, yes)?;
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

/// `A=b`, a line each; the API writes no variables as `[]` or `{}`.
pub(super) fn variables(value: &Value) -> Vec<String> {
    pairs(value, "=")
}

/// The pairs of an object, a line each.
pub(super) fn pairs(value: &Value, between: &str) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => {
            map.iter().map(|(key, value)| format!("{key}{between}{}", plain_value(value))).collect()
        }
        Value::Object(_) => vec!["-".to_owned()],
        other => items(other),
    }
}
