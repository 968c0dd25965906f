//! How far devices are with an app or with what their group lists, as a manager tells it.
//!
//! Invariant: what a newer manager says in words that this version does not know is counted as
//! unknown, and never as converged.

use super::failure::Failure;
use super::nouns::{About, words};
use super::objects::{cell, single};
use super::output;
use super::report;
use super::session::{Session, flag};
use crate::client::{ClientError, Noun, Object, Reply};
use crate::model::{DeviceState, Standing};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was seen at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seen {
    /// How many devices stand how.
    counts: BTreeMap<Standing, u64>,
    /// Devices that are not converged, the worst first; of many, some.
    lines: Vec<Object>,
    /// The app's groups, as far as the user may read them; none where it is about a group.
    device_groups: Option<Vec<String>>,
    /// How many more list it.
    hidden: u64,
    /// What rises with each change: an app's id, or the revision of what a group's devices run.
    pub(super) version: Option<u64>,
}

/// The states in which nothing more happens by itself, and which nobody wished for.
const FAILED: [Standing; 3] = [
    Standing::Says(DeviceState::Failed),
    Standing::Says(DeviceState::RolledBack),
    Standing::Says(DeviceState::Held),
];
/// On the way.
const UNDECIDED: [Standing; 2] = [Standing::Outdated, Standing::Says(DeviceState::Updating)];
/// Those of which nothing can be known, so that nobody waits for them.
const SILENT: [Standing; 2] = [Standing::Away, Standing::Says(DeviceState::Unknown)];

impl Seen {
    /// Reads a reply; none when it has another shape.
    pub(super) fn read(noun: Noun, reply: &Object) -> Option<Self> {
        let mut counts = BTreeMap::new();
        for (word, count) in reply.get("states")?.as_object()? {
            let unknown = Standing::Says(DeviceState::Unknown);
            *counts.entry(Standing::parse(word).unwrap_or(unknown)).or_default() +=
                count.as_u64()?;
        }
        let lines = reply.get("not_converged").and_then(Value::as_array).into_iter().flatten();
        let names = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let counter = if noun == Noun::App { "app_id" } else { "revision" };
        Some(Self {
            counts,
            lines: lines.filter_map(Value::as_object).cloned().collect(),
            device_groups: reply.get("device_groups").and_then(names),
            hidden: reply.get("device_groups_hidden").and_then(Value::as_u64).unwrap_or(0),
            version: reply.get(counter).and_then(Value::as_u64),
        })
    }

    fn count(&self, standings: &[Standing]) -> u64 {
        standings.iter().filter_map(|standing| self.counts.get(standing)).sum()
    }

    /// All devices.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn converged(&self) -> u64 {
        self.count(&[Standing::Says(DeviceState::Converged)])
    }

    pub(super) fn failed(&self) -> u64 {
        self.count(&FAILED)
    }

    pub(super) fn undecided(&self) -> u64 {
        self.count(&UNDECIDED)
    }

    pub(super) fn silent(&self) -> u64 {
        self.count(&SILENT)
    }

    /// Whether an app is in no device group that the user may read.
    pub(super) fn is_of_no_group(&self) -> bool {
        self.device_groups.as_ref().is_some_and(Vec::is_empty)
    }

    /// What is not seen of an app: its devices in groups that the user may not read; else empty.
    pub(super) fn hidden_in_words(&self) -> String {
        match self.hidden {
            0 => String::new(),
            1 => "; 1 more device group lists it, which you may not read".to_owned(),
            more => format!("; {more} more device groups list it, which you may not read"),
        }
    }

    /// `3 converged, 1 away`.
    pub(super) fn in_words(&self) -> String {
        self.some_in_words(&Standing::ALL)
    }

    /// The same of the devices that nobody waits for; empty when there are none.
    pub(super) fn silent_in_words(&self) -> String {
        self.some_in_words(&SILENT)
    }

    fn some_in_words(&self, standings: &[Standing]) -> String {
        let counted = standings.iter().map(|standing| (standing, self.count(&[*standing])));
        let told = counted.filter(|(_, count)| *count > 0);
        let told: Vec<String> =
            told.map(|(standing, count)| format!("{count} {}", word(*standing))).collect();
        told.join(", ")
    }

    /// A table of devices that are not converged, those excepted of which nothing can be known;
    /// empty when there are none.
    pub(super) fn table_of_late_and_failed(&self) -> String {
        let is_told = |line: &&Object| {
            let state = line.get("state").and_then(Value::as_str).and_then(Standing::parse);
            state.is_some_and(|state| !SILENT.contains(&state))
        };
        let lines: Vec<&Object> = self.lines.iter().filter(is_told).collect();
        table(&lines, self.failed() + self.undecided())
    }

    /// All of it, for people.
    pub(super) fn shown(&self, about: About<'_>) -> String {
        let mut fields = vec![(words(about.noun).one.to_owned(), vec![about.name.to_owned()])];
        if let Some(version) = self.version {
            let key = if about.noun == Noun::App { "app id" } else { "revision" };
            fields.push((key.to_owned(), vec![version.to_string()]));
        }
        if let Some(groups) = &self.device_groups {
            let none = vec!["-".to_owned()];
            let groups = if groups.is_empty() { none } else { groups.clone() };
            fields.push(("device groups".to_owned(), groups));
        }
        fields.push(("devices".to_owned(), vec![self.total().to_string()]));
        let counted = Standing::ALL.iter().map(|standing| (standing, self.count(&[*standing])));
        let counted = counted.filter(|(_, count)| *count > 0);
        fields.extend(counted.map(|(standing, count)| (word(*standing), vec![count.to_string()])));
        let lines: Vec<&Object> = self.lines.iter().collect();
        let table = table(&lines, self.total().saturating_sub(self.converged()));
        let between = if table.is_empty() { "" } else { "\n" };
        format!("{}{between}{table}", output::fields(fields))
    }
}

/// A table of some devices, `of` which there may be more; empty when there are none.
fn table(lines: &[&Object], of: u64) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let row = |line: &&Object| {
        vec![
            cell(line, "hostname", single),
            cell(line, "device_group", single),
            cell(line, "state", single),
            cell(line, "last_seen", report::time),
            cell(line, "reason", single),
        ]
    };
    let headings = ["HOSTNAME", "DEVICE GROUP", "STATE", "LAST SEEN", "REASON"];
    let table = output::table(&headings, lines.iter().map(row).collect());
    let more = of.saturating_sub(lines.len() as u64);
    if more > 0 {
        let more = format!("and {more} more\n");
        return table + &more;
    }
    table
}

/// `rolled back`.
fn word(standing: Standing) -> String {
    standing.as_str().replace('_', " ")
}

/// Why a look brought nothing.
#[derive(Debug)]
pub(super) enum Unseen {
    /// The manager, or the way to it, is away for now.
    ForNow(ClientError),
    /// It will not change.
    ForGood(Failure),
}

/// Looks once.
pub(super) async fn look(
    session: &Session,
    about: About<'_>,
) -> Result<(Reply<Object>, Seen), Unseen> {
    let reply = match session.client().rollout(about.noun, about.name).await {
        Ok(reply) => reply,
        Err(error) if may_pass(&error) => return Err(Unseen::ForNow(error)),
        Err(error) => return Err(Unseen::ForGood(explain(session, about, error).await)),
    };
    let error = ClientError::Shape { expected: "how far devices are" };
    let seen = Seen::read(about.noun, &reply.content);
    let seen = seen.ok_or_else(|| Unseen::ForGood(session.explain(&error)))?;
    Ok((reply, seen))
}

/// Whether the same may be answered in a moment: a manager that starts anew, an election, a load
/// balancer that says so in HTML.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Broken { .. }
        | ClientError::Cut { .. }
        | ClientError::Unavailable(_)
        | ClientError::Failed(_) => true,
        ClientError::NotJson { status, .. } => *status >= 500,
        _ => false,
    }
}

async fn explain(session: &Session, about: About<'_>, error: ClientError) -> Failure {
    let one = words(about.noun).one;
    if flag(&error, "access_allowed") == Some(false) {
        let name = about.name;
        return session
            .explain(&error)
            .hint(format!("to see its devices takes `ro` on the {one} `{name}`"));
    }
    if is_unknown_route(&error) {
        return Failure::new("this manager does not tell how far devices are")
            .hint("it is the original, or older than this `nebula ctl`");
    }
    session.explain_about(about, error).await
}

/// Whether the manager has no such route.
pub(super) fn is_unknown_route(error: &ClientError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.status == 404)
}
