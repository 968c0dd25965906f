//! What is made for the devices, and removed again.
//!
//! Invariant: whatever does not carry the run's own prefix is read by name alone, and never
//! changed.

use super::super::failure::Failure;
use super::super::output::printable;
use super::super::session::Session;
use super::flags::Simulate;
use crate::client::{ClientError, Noun, Object, Reply};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::header::HeaderValue;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// What all simulated objects of all runs begin with.
const PREFIX: &str = "simulated-";
/// Writes at once. A manager does one after the other; these keep it busy.
const AT_ONCE: usize = 8;
/// How often a manager that cannot now is asked again.
const TRIES: usize = 10;
/// How often is looked for what is left: a write that was given up may still be done.
const ROUNDS: usize = 3;
/// How many names a refusal tells.
const TOLD_NAMES: usize = 5;

/// The names of one run.
#[derive(Debug)]
pub(super) struct Fleet {
    prefix: String,
    groups: usize,
    apps_per_group: usize,
    users: usize,
    has_shared_app: bool,
}

impl Fleet {
    pub(super) fn of(simulate: &Simulate) -> Self {
        Self {
            prefix: format!("{PREFIX}{}-", simulate.name),
            groups: simulate.groups,
            apps_per_group: simulate.apps_per_group,
            users: simulate.users,
            has_shared_app: simulate.change_all,
        }
    }

    /// The name of a group, from 0.
    pub(super) fn group(&self, group: usize) -> String {
        format!("{}{group:05}", self.prefix)
    }

    /// The name of a group's app, both from 0.
    pub(super) fn app(&self, group: usize, app: usize) -> String {
        format!("{}{group:05}-{app:02}", self.prefix)
    }

    /// The name of the app that all groups have.
    pub(super) fn shared_app(&self) -> String {
        format!("{}all", self.prefix)
    }

    fn user(&self, user: usize) -> String {
        format!("{}{user:04}", self.prefix)
    }

    fn user_group(&self) -> String {
        format!("{}devices", self.prefix)
    }

    /// Refuses a manager that real devices may ask. What other simulations made is not real.
    pub(super) async fn refuse_real(
        &self,
        session: &Session,
        is_wanted: bool,
    ) -> Result<(), Failure> {
        let mut real = Vec::new();
        for (noun, word) in [(Noun::DeviceGroup, "device group"), (Noun::App, "app")] {
            let names = list(session, noun).await?;
            let names = names.iter().filter(|name| !name.starts_with(PREFIX));
            real.extend(names.map(|name| format!("{word} `{}`", printable(name))));
        }
        if is_wanted || real.is_empty() {
            return Ok(());
        }
        let more = match real.len().saturating_sub(TOLD_NAMES) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        real.truncate(TOLD_NAMES);
        let names = real.join(", ");
        Err(Failure::new(format!("the manager holds what is not simulated: {names}{more}")).hint(
            "simulate against a manager of its own, for its devices get all the load; with \
             --beside-real-groups this one is used, and none of these is touched",
        ))
    }

    /// Makes everything, and returns what devices present as their credentials.
    pub(super) async fn make(&self, session: &Session) -> Result<Vec<HeaderValue>, Failure> {
        let groups: serde_json::Map<String, Value> =
            (0..self.groups).map(|group| (self.group(group), "ro".into())).collect();
        // First, because it tells at once whether the user may do all this.
        let user_group = object(json!({
            "group_members": (0..self.users).map(|user| self.user(user)).collect::<Vec<_>>(),
            "device_groups": groups,
        }));
        create(session, Noun::UserGroup, &self.user_group(), &user_group).await?;
        let users = stream::iter(0..self.users).map(async |user| {
            let reply = create(session, Noun::User, &self.user(user), &Object::new()).await?;
            token(&reply)
        });
        let tokens = users.buffered(AT_ONCE).try_collect().await?;
        if self.has_shared_app {
            create(session, Noun::App, &self.shared_app(), &app()).await?;
        }
        let made =
            stream::iter(0..self.groups).map(async |group| self.make_group(session, group).await);
        let () = made.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(tokens)
    }

    async fn make_group(&self, session: &Session, group: usize) -> Result<(), Failure> {
        let mut apps: Vec<String> =
            (0..self.apps_per_group).map(|app| self.app(group, app)).collect();
        for name in &apps {
            create(session, Noun::App, name, &app()).await?;
        }
        if self.has_shared_app {
            apps.push(self.shared_app());
        }
        let body = object(json!({ "apps": apps }));
        create(session, Noun::DeviceGroup, &self.group(group), &body).await?;
        Ok(())
    }

    /// Removes everything that carries the run's prefix, whoever made it, and says how much it was.
    pub(super) async fn remove(&self, session: &Session) -> Result<usize, Failure> {
        // Groups before their apps, so that no device is told of an app that goes.
        let nouns = [Noun::DeviceGroup, Noun::App, Noun::User, Noun::UserGroup];
        let mut found = 0;
        for _ in 0..ROUNDS {
            let before = found;
            for noun in nouns {
                let mut names = list(session, noun).await?;
                names.retain(|name| name.starts_with(&self.prefix));
                found += names.len();
                let removed = stream::iter(&names).map(async |name| {
                    match retried(async || session.client().delete(noun, name).await).await {
                        // Whoever else removed it did what was wanted.
                        Err(error) if error.refusal().is_some_and(|refusal| is_gone(refusal.body.as_ref())) => Ok(()),
                        Err(error) => Err(session.explain(&error).hint(format!(
                            "what is left begins with `{}`; the next run with the same --name removes it",
                            self.prefix
                        ))),
                        Ok(_) => Ok(()),
                    }
                });
                let () = removed.buffer_unordered(AT_ONCE).try_collect().await?;
            }
            if found == before {
                break;
            }
        }
        Ok(found)
    }
}

/// `{"app_exists": false}` and its like.
fn is_gone(body: Option<&Object>) -> bool {
    let is_no =
        |(key, value): (&String, &Value)| key.ends_with("_exists") && *value == json!(false);
    body.is_some_and(|body| body.iter().any(is_no))
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

/// As a plain app of a real fleet is declared.
fn app() -> Object {
    object(json!({
        "docker_image": "simulated/app:1",
        "env_vars": { "SIMULATED_CHANGE": "0" },
        "starting_ports": [],
    }))
}

/// The body of a change.
pub(super) fn change(number: usize) -> Object {
    object(json!({ "env_vars": { "SIMULATED_CHANGE": number.to_string() } }))
}

async fn list(session: &Session, noun: Noun) -> Result<Vec<String>, Failure> {
    match session.client().list(noun).await {
        Ok(reply) => Ok(reply.content),
        Err(error) => Err(explain(session, &error)),
    }
}

async fn create(
    session: &Session,
    noun: Noun,
    name: &str,
    body: &Object,
) -> Result<Object, Failure> {
    let made = retried(async || session.client().create(noun, name, body).await).await;
    made.map(|reply| reply.content).map_err(|error| explain(session, &error))
}

fn explain(session: &Session, error: &ClientError) -> Failure {
    let failure = session.explain(error);
    let is_forbidden =
        error.refusal().and_then(|refusal| refusal.body.as_ref()?.get("access_allowed"));
    if is_forbidden == Some(&json!(false)) {
        return failure.hint("simulate makes users and groups, which takes an admin");
    }
    failure
}

/// What a manager that is busy says no to is asked again.
async fn retried(
    ask: impl AsyncFn() -> Result<Reply<Object>, ClientError>,
) -> Result<Reply<Object>, ClientError> {
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.retry_after().is_some() => {
                sleep(error.retry_after().unwrap_or(Duration::from_secs(1))).await;
            }
            outcome => return outcome,
        }
    }
    ask().await
}

/// The header of a new user's token, marked so that no `Debug` prints it.
fn token(user: &Object) -> Result<HeaderValue, Failure> {
    let token = user.get("generated").and_then(|made| made.get("token")?.as_str());
    let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let Some(mut header) = header else {
        return Err(Failure::new("the manager gave a new user no token"));
    };
    header.set_sensitive(true);
    Ok(header)
}
