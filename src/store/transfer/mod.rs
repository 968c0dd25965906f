//! Moving everything between stores: what is sent, what is taken over, and what is refused.
//!
//! What it is: the types of [`Store::export`](super::Store::export) and
//! [`Store::import`](super::Store::import), the decision about each object, which every store takes
//! alike, and in `file` the form in which all of it lies on a disk.
//! What it is not: it reads and writes no store; each has its own statements.
//!
//! Invariants: an object keeps its uid and its id on the way, for containers on devices carry both,
//! and would be replaced if one changed; nothing that is there is overwritten without being asked
//! for; the same import twice is the same as once.

mod file;

pub use file::{
    End, Header, Line, LineError, MAX_LINE_BYTES, MAX_REVISION, Unreadable, export_to, object_of,
    wire,
};

use super::{Kind, Object};
use crate::model::Revision;

/// Objects of one [`Import`] at most: what is written at once must be written within seconds.
pub const MAX_BATCH: usize = 1_000;

/// One thing of a store.
#[derive(Debug, Clone, PartialEq)]
pub enum Exported {
    /// An object.
    Object(Box<Object>),
    /// One that this version cannot read.
    Unreadable(Unreadable),
}

/// A part of what another store had.
#[derive(Debug, Clone)]
pub struct Import {
    /// The objects with their identity. None is there twice.
    pub objects: Vec<Object>,
    /// What becomes of objects that are there already and differ.
    pub existing: Existing,
    /// The highest revision of the other store.
    pub above: Revision,
    /// Nothing is written; what would be done is told all the same.
    pub is_dry_run: bool,
}

/// What becomes of an object that is there already and differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// It stays, and nothing of the batch is written.
    #[default]
    Refuse,
    /// It becomes the imported one, uid included.
    Replace,
    /// It stays.
    Skip,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Of each object, in their order.
    pub outcomes: Vec<Outcome>,
    /// The revision of the write; none when nothing was written.
    pub revision: Option<Revision>,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Added,
    /// It was there already, the same but for its revision.
    Equal,
    /// Another one was there and went.
    Replaced,
    /// Another one was there and stays.
    Skipped,
    /// It cannot be, and nothing of its batch was written.
    Refused(Refused),
}

/// Why an object was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another one is there.
    #[error("it is there already and differs in {}", listed(.0))]
    Differs(Vec<String>),
    /// What is there has its name and cannot be read.
    #[error("it is there already, in a form that this version cannot read")]
    UnreadableThere,
    /// Its uid is that of another object.
    #[error("its uid is that of `{0}`, which is there already")]
    UidTaken(String),
    /// It would have to be taken out and put in as two steps, between which devices would stop it.
    #[error(
        "it is there already with another uid, which a lone MongoDB server cannot exchange at one \
         moment; delete it first, or make the server a replica set of one member"
    )]
    NoExchange,
}

fn listed(keys: &[String]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

impl Outcome {
    /// In a word, for the API and for people.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Equal => "equal",
            Self::Replaced => "replaced",
            Self::Skipped => "skipped",
            Self::Refused(_) => "refused",
        }
    }
}

impl Imported {
    /// Whether the whole batch is refused.
    pub fn is_refused(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Refused(_)))
    }
}

/// What stands under an object's name.
pub(super) enum There {
    Nothing,
    Object(Box<Object>),
    Unreadable,
}

/// What is written of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is put in.
    Insert,
    /// It takes the place of what is there.
    Replace,
    /// What is there takes a new revision: devices that come over from the other store have seen
    /// higher ones than its own.
    Raise,
    /// Nothing.
    Leave,
}

/// What becomes of an object. `holder` is the name of the object of its kind that has its uid.
pub(super) fn judge(
    import: &Import,
    object: &Object,
    there: &There,
    holder: Option<&str>,
) -> (Outcome, Step) {
    let refused = |refused| (Outcome::Refused(refused), Step::Leave);
    if let Some(holder) = holder.filter(|holder| *holder != object.name()) {
        return refused(Refused::UidTaken(holder.to_owned()));
    }
    let (differences, revision) = match there {
        There::Nothing => return (Outcome::Added, Step::Insert),
        There::Object(there) => (differences(object, there), there.identity().revision),
        There::Unreadable => (Vec::new(), None),
    };
    let is_equal = matches!(there, There::Object(_)) && differences.is_empty();
    let is_below = revision.unwrap_or_default() <= import.above;
    let kept = if is_below { Step::Raise } else { Step::Leave };
    match import.existing {
        _ if is_equal => (Outcome::Equal, kept),
        Existing::Replace => (Outcome::Replaced, Step::Replace),
        Existing::Skip => (Outcome::Skipped, kept),
        Existing::Refuse if differences.is_empty() => refused(Refused::UnreadableThere),
        Existing::Refuse => refused(Refused::Differs(differences)),
    }
}

/// The keys in which two objects differ, but for their revisions. Never a value: it may be secret.
fn differences(one: &Object, other: &Object) -> Vec<String> {
    let uid = |object: &Object| object.identity().uid;
    let mut keys = Vec::new();
    if uid(one) != uid(other) {
        keys.push("uid".to_owned());
    }
    let (Ok(one), Ok(other)) = (one.to_map(), other.to_map()) else {
        keys.push("something that cannot be written".to_owned());
        return keys;
    };
    keys.extend(one.iter().filter(|(key, value)| other.get(*key) != Some(*value)).map(own));
    keys.extend(other.iter().filter(|(key, _)| !one.contains_key(*key)).map(own));
    keys
}

fn own((key, _): (&String, &serde_json::Value)) -> String {
    key.clone()
}

/// What a batch amounts to, when it is not to be written.
pub(super) fn unwritten(import: &Import, judged: &[(Outcome, Step)]) -> Option<Imported> {
    let outcomes = || judged.iter().map(|(outcome, _)| outcome.clone()).collect();
    let imported = Imported { outcomes: outcomes(), revision: None };
    let has_work = judged.iter().any(|(_, step)| *step != Step::Leave);
    (import.is_dry_run || imported.is_refused() || !has_work).then_some(imported)
}

/// How an object is named in messages: its kind, and its name in backticks.
pub fn called(kind: Kind, name: &str) -> String {
    format!("{} `{}`", kind.as_str().replace('_', " "), name.escape_debug())
}
