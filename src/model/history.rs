//! The versions that an app has had: who made each, what changed with it, and going back to one.
//!
//! What it is not: it keeps nothing and knows no clock; a store keeps versions, and hands them over
//! with the times at which they came.
//!
//! Invariants: the newest version is always the present one, whether or not it was kept; no value
//! of a variable is ever shown; going back changes nothing but what is declared, and never whether
//! the app runs.

use super::app::{App, AppSpec};
use super::fields::Invalid;
use super::version::Revision;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

/// The versions of one app that are kept.
pub const MAX_VERSIONS: usize = 50;
/// The field whose values are secrets.
const ENV: &str = "env_vars";

/// Who makes a version, and by what kind of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name of the user; empty when nobody knows.
    pub who: String,
    /// The change, in one word: `create`, `update`, `rollback`, ...
    pub what: String,
}

impl Author {
    /// A user who does something.
    pub fn new(who: &str, what: &str) -> Self {
        Self { who: who.to_owned(), what: what.to_owned() }
    }

    /// Whoever wrote past this program: the original, a person at the database, or a manager that
    /// died before it could say.
    pub fn elsewhere() -> Self {
        Self::new("", "elsewhere")
    }

    fn is_known(&self) -> bool {
        *self != Self::elsewhere()
    }
}

/// One version of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct AppEntry {
    /// The app as it was, with the revision of the change.
    pub app: App,
    /// When it came, in seconds since 1970.
    pub time: i64,
    /// Who made it, and how.
    pub author: Author,
}

impl AppEntry {
    /// A version that nobody told of when it came. Revisions are made from clocks, so its own says
    /// when it was made, unless that is later than `now`.
    pub fn found(app: App, now: i64) -> Self {
        let milliseconds = app.identity.revision.unwrap_or_default().0;
        let made = i64::try_from(milliseconds / 1_000).unwrap_or(i64::MAX);
        // Whatever gave no revision was not there before it was found.
        let time = if made == 0 { now } else { made.min(now) };
        Self { app, time, author: Author::elsewhere() }
    }

    fn revision(&self) -> Revision {
        self.app.identity.revision.unwrap_or_default()
    }

    /// Whether this is the version that `app` is of, whatever revision either has: to put a store
    /// in order raises revisions and changes nothing else.
    pub fn is_of(&self, app: &App) -> bool {
        self.app.app_id == app.app_id && self.app.spec == app.spec
    }
}

/// The kept versions of an app, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct AppHistory {
    present: App,
    entries: Vec<AppEntry>,
}

impl AppHistory {
    /// The history of an app as it is now, from what a store kept of it, the newest first.
    pub fn new(present: App, kept: Vec<AppEntry>, now: i64) -> Self {
        let mut entries: Vec<AppEntry> = Vec::with_capacity(kept.len() + 1);
        if !kept.first().is_some_and(|newest| newest.is_of(&present)) {
            entries.push(AppEntry::found(present.clone(), now));
        }
        for entry in kept {
            // Two managers may both have found what a third one was about to keep.
            match entries.last_mut() {
                Some(newer) if newer.is_of(&entry.app) => {
                    if entry.author.is_known() || !newer.author.is_known() {
                        *newer = entry;
                    }
                }
                _ => entries.push(entry),
            }
        }
        entries.truncate(MAX_VERSIONS);
        Self { present, entries }
    }

    /// The versions, the newest first.
    pub fn entries(&self) -> &[AppEntry] {
        &self.entries
    }

    /// `present` as it was in the kept version with an id; with none, in the newest one that
    /// differs from it in more than whether it runs. It may have been changed since the history
    /// was read.
    pub fn rolled_back(&self, present: &App, app_id: Option<u64>) -> Result<App, Invalid> {
        let refuse = |reason: String| Err(Invalid::field("app_id", reason));
        if self.present.identity.uid != present.identity.uid {
            return refuse("is of an app of this name that was deleted meanwhile".to_owned());
        }
        let differs = |entry: &&AppEntry| goes_back_to(present, &entry.app) != present.spec;
        let found = match app_id {
            Some(id) if id == present.app_id => {
                return refuse(format!("{id} is the present version"));
            }
            Some(id) => self.entries.iter().find(|entry| entry.app.app_id == id),
            None => self.entries.iter().find(differs),
        };
        match (found, app_id) {
            (Some(entry), _) => Ok(App {
                app_id: present.app_id.saturating_add(1),
                spec: goes_back_to(present, &entry.app),
                ..present.clone()
            }),
            (None, Some(id)) => refuse(format!(
                "{id} is not among the last {MAX_VERSIONS} versions, which are all that is kept"
            )),
            (None, None) => refuse(
                "no kept version differs from the present one, so none can be meant".to_owned(),
            ),
        }
    }
}

/// What is declared when a version is gone back to: all of it, but not whether the app runs. Who
/// stopped an app does not want it started by an undo.
fn goes_back_to(present: &App, version: &App) -> AppSpec {
    AppSpec { running: present.spec.running, ..version.spec.clone() }
}

/// One field that a version changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedField {
    /// The field.
    pub key: String,
    /// What it was; of variables, their names. None when it was not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it is; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// The variables that are in both, with different values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_variables: Option<Vec<String>>,
}

/// What is declared otherwise in `to` than in `from`, in the order of an app's fields.
pub fn changed_fields(from: &AppSpec, to: &AppSpec) -> Vec<ChangedField> {
    let (from, to) = (fields(from), fields(to));
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    let keys = to.keys().chain(gone);
    keys.filter_map(|key| changed_field(key, from.get(key), to.get(key))).collect()
}

fn changed_field(key: &str, from: Option<&Value>, to: Option<&Value>) -> Option<ChangedField> {
    let key = key.to_owned();
    if key != ENV {
        let changed = from != to;
        return changed.then(|| ChangedField {
            key,
            from: from.cloned(),
            to: to.cloned(),
            changed_variables: None,
        });
    }
    // No variables are written as `[]` or as `{}`.
    let variables =
        |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (from, to) = (variables(from), variables(to));
    let names = |map: &Map<String, Value>| map.keys().cloned().map(Value::String).collect();
    let differs = |(name, value): &(&String, &Value)| to.get(*name).is_some_and(|to| to != *value);
    let changed = from.iter().filter(differs).map(|(name, _)| name.clone()).collect();
    (from != to).then(|| ChangedField {
        key,
        from: Some(names(&from)),
        to: Some(names(&to)),
        changed_variables: Some(changed),
    })
}

/// Each field as it is written. None of them can fail to be.
fn fields(spec: &AppSpec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// `{"history": [...]}`. Of the oldest version nothing is known to have changed.
impl Serialize for AppHistory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let olders = self.entries.iter().skip(1).map(Some).chain([None]);
        let shown: Vec<Shown> = self
            .entries
            .iter()
            .zip(olders)
            .map(|(entry, older)| Shown {
                app_id: entry.app.app_id,
                revision: entry.revision(),
                time: entry.time,
                who: &entry.author.who,
                what: &entry.author.what,
                changed: older
                    .map(|older| changed_fields(&older.app.spec, &entry.app.spec))
                    .unwrap_or_default(),
            })
            .collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("history", &shown)?;
        map.end()
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    app_id: u64,
    revision: Revision,
    time: i64,
    who: &'a str,
    what: &'a str,
    changed: Vec<ChangedField>,
}
