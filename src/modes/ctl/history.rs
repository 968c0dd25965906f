//! `apps history` and `apps rollback`.

use super::apps::app;
use super::failure::Failure;
use super::nouns::About;
use super::objects::{cell, single};
use super::output::{self, plain_value};
use super::report;
use super::session::Session;
use super::wait::Wait;
use crate::client::Object;
use clap::Args;
use serde_json::Value;

/// Go back to an earlier version of an app, in all but whether it runs
#[derive(Debug, Args)]
#[command(after_help = "\
Without --to it is the last version that differs from the present one in more than whether it runs.
The app gets a new version, so a rollback can be rolled back. `apps history` shows the versions.")]
pub(super) struct Rollback {
    /// The app
    name: String,
    /// The version to go back to
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    #[command(flatten)]
    wait: Wait,
}

impl Rollback {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let name = &self.name;
        let reply = match session.client().rollback(name, self.to).await {
            Ok(reply) => reply,
            Err(error) => {
                let is_version = error.refusal().is_some_and(|refusal| refusal.status == 400);
                let failure = session.explain_about(app(name), error).await;
                return Err(if is_version {
                    failure.hint(format!("see what is kept: nebula ctl apps history {name}"))
                } else {
                    failure
                });
            }
        };
        let version = cell(&reply.content, "app_id", single);
        session
            .output()
            .done(&reply, &format!("app `{name}` rolled back, as version {version}"))?;
        self.wait.run(session, app(name), &reply.content).await
    }
}

/// Prints the versions of an app.
pub(super) async fn show(session: &Session, about: About<'_>) -> Result<(), Failure> {
    match session.client().history(about.name).await {
        Ok(reply) => session.output().reply(&reply, table),
        Err(error) => Err(session.explain_about(about, error).await),
    }
}

fn table(reply: &Object) -> String {
    let versions = reply.get("history").and_then(Value::as_array).into_iter().flatten();
    let rows = versions.filter_map(Value::as_object).map(row).collect();
    output::table(&["VERSION", "TIME", "WHO", "WHAT", "CHANGED"], rows)
}

fn row(version: &Object) -> Vec<String> {
    let who = cell(version, "who", single);
    let changed = version.get("changed").and_then(Value::as_array).into_iter().flatten();
    let changed: Vec<String> = changed.filter_map(Value::as_object).map(change).collect();
    vec![
        cell(version, "app_id", single),
        cell(version, "time", report::time),
        if who.is_empty() { "-".to_owned() } else { who },
        cell(version, "what", single),
        if changed.is_empty() { "-".to_owned() } else { changed.join("; ") },
    ]
}

/// One changed field. Of variables the names are told.
fn change(change: &Object) -> String {
    let key = cell(change, "key", single);
    if let Some(values) = change.get("changed_variables") {
        let names = |value: Option<&Value>| -> Vec<String> {
            value.and_then(Value::as_array).into_iter().flatten().map(plain_value).collect()
        };
        let (from, to) = (names(change.get("from")), names(change.get("to")));
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|name| !those.contains(name)).cloned().collect()
        };
        let parts = [
            ("added", only(&to, &from)),
            ("removed", only(&from, &to)),
            ("changed", names(Some(values))),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what} {}", names.join(", ")))
            .collect();
        return format!("{key}: {}", told.join(", "));
    }
    let value = |side: &str| change.get(side).map_or_else(|| "nothing".to_owned(), plain_value);
    format!("{key}: {} -> {}", value("from"), value("to"))
}
