//! Lists of names, and what an update makes of them: device groups have two, user groups four.
//!
//! The API takes whole lists alone: to change one name of a list, the others are read and sent along.

use super::failure::Failure;
use super::nouns::{About, words};
use super::output;
use super::session::Session;
use crate::client::{Noun, Object};
use crate::model::{Unknown, UserGroupFields};
use serde_json::{Map, Value, json};

/// One list of one kind of object.
#[derive(Debug)]
pub(super) struct List {
    /// The field.
    pub field: &'static str,
    /// What one of its names is called in a flag.
    pub flag: &'static str,
    /// What several are called in a flag.
    pub plural: &'static str,
    /// What one of its names is called.
    pub one: &'static str,
    /// What the names are of.
    pub noun: Noun,
    /// True when each name comes with the access that is granted.
    pub grants: bool,
    /// The help of `--app`, when something new is made.
    pub help_new: &'static str,
    /// The help of `--remove-app`.
    pub help_remove: &'static str,
}

/// One name of a list; with the access that is granted, where the list grants some.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    name: String,
    access: Option<Value>,
}

/// A change of one list.
#[derive(Debug)]
pub(super) struct Change {
    pub list: &'static List,
    /// The whole list anew, unless it is empty.
    pub set: Vec<Entry>,
    /// What comes to it; with another access when it is there.
    pub add: Vec<Entry>,
    /// What goes.
    pub remove: Vec<String>,
    /// All goes.
    pub clear: bool,
}

impl List {
    /// Reads an entry as it is typed.
    pub(super) fn entry(&self, text: &str) -> Result<Entry, String> {
        if !self.grants {
            return Ok(Entry { name: text.to_owned(), access: None });
        }
        let Some((name, access)) = text.rsplit_once('=') else {
            return Err("expected NAME=ro or NAME=rw".to_owned());
        };
        let grant = Map::from_iter([(self.field.to_owned(), json!({ name: access }))]);
        UserGroupFields::decode(grant, None, Unknown::Refuse).map_err(super::flags::reason)?;
        Ok(Entry { name: name.to_owned(), access: Some(access.into()) })
    }

    /// The entries of an object's list. `[]` and `{}` are none, whatever the list.
    fn entries(&self, object: &Object) -> Vec<Entry> {
        match object.get(self.field) {
            Some(Value::Array(names)) => {
                let entry =
                    |name: &Value| Some(Entry { name: name.as_str()?.into(), access: None });
                names.iter().filter_map(entry).collect()
            }
            Some(Value::Object(grants)) => {
                let entry = |(name, access): (&String, &Value)| Entry {
                    name: name.clone(),
                    access: Some(access.clone()),
                };
                grants.iter().map(entry).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The names of an object's list.
    pub(super) fn names(&self, object: &Object) -> Vec<String> {
        self.entries(object).into_iter().map(|entry| entry.name).collect()
    }

    /// Entries as the API takes them. Of two grants to one name the later counts.
    pub(super) fn value(&self, entries: Vec<Entry>) -> Value {
        if self.grants {
            let pair = |entry: Entry| (entry.name, entry.access.unwrap_or_default());
            return Value::Object(entries.into_iter().map(pair).collect());
        }
        entries.into_iter().map(|entry| Value::String(entry.name)).collect()
    }
}

impl Change {
    fn is_given(&self) -> bool {
        let lists = [self.set.is_empty(), self.add.is_empty(), self.remove.is_empty()];
        self.clear || lists.contains(&false)
    }

    /// The new list.
    fn apply(self, before: &Object, about: About<'_>) -> Result<Value, Failure> {
        let list = self.list;
        if self.clear || !self.set.is_empty() {
            return Ok(list.value(self.set));
        }
        let mut entries = list.entries(before);
        for name in &self.remove {
            let Some(place) = entries.iter().position(|entry| entry.name == *name) else {
                let (of, plural) = (words(about.noun), list.plural.replace('-', " "));
                let message =
                    format!("`{name}` is not among the {plural} of {} `{}`", of.one, about.name);
                return Err(Failure::new(message)
                    .hint(format!("see what is: nebula ctl {} info {}", of.command, about.name)));
            };
            entries.remove(place);
        }
        for added in self.add {
            match entries.iter_mut().find(|entry| entry.name == added.name) {
                Some(entry) => *entry = added,
                None => entries.push(added),
            }
        }
        Ok(list.value(entries))
    }
}

/// Puts the changed lists into an update's body, and returns the object as it was read: to add and
/// to remove, and to tell what a new list takes out. None when no list changes.
pub(super) async fn put_changes(
    session: &Session,
    about: About<'_>,
    changes: impl IntoIterator<Item = Change>,
    body: &mut Object,
) -> Result<Option<Object>, Failure> {
    let changes: Vec<Change> = changes.into_iter().filter(Change::is_given).collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let before = match session.client().get(about.noun, about.name).await {
        Ok(reply) => reply.content,
        Err(error) => return Err(session.explain_about(about, error).await),
    };
    for change in changes {
        body.insert(change.list.field.to_owned(), change.apply(&before, about)?);
    }
    Ok(Some(before))
}

/// Says which names an update takes out.
pub(super) fn tell_taken_out(lists: &[&List], before: &Object, sent: &Object, name: &str) {
    for list in lists.iter().filter(|list| sent.contains_key(list.field)) {
        let left = list.names(sent);
        for gone in list.names(before).iter().filter(|old| !left.contains(*old)) {
            // Whoever may declare a list chooses what stands in it.
            let gone = output::printable(gone);
            output::say(&format!("{} `{gone}` was taken out of `{name}`", list.one));
        }
    }
}

/// The names that a body adds to what was there `before`, and that nothing has which the user may
/// read. A list that cannot be asked for has none.
pub(super) async fn unknown(
    session: &Session,
    lists: &[&'static List],
    before: &Object,
    sent: &Object,
) -> Vec<(&'static List, String)> {
    let mut unknown = Vec::new();
    for list in lists {
        let mut names = list.names(sent);
        let old = list.names(before);
        names.retain(|name| !old.contains(name));
        if names.is_empty() {
            continue;
        }
        let Ok(known) = session.client().list(list.noun).await else { continue };
        let is_unknown = |name: &String| !known.content.contains(name);
        unknown.extend(names.into_iter().filter(is_unknown).map(|name| (*list, name)));
    }
    unknown
}
