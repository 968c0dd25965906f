//! One manager, and how its refusals are said to a person.

use super::config::{Asker, Config};
use super::failure::Failure;
use super::nearest::nearest;
use super::nouns::{About, Words, words};
use super::output::{self, Output, plain_value, printable};
use crate::client::{Client, ClientError, Credentials, Noun, Object, Problem, Refusal, TlsFiles};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The limit of one request. A person waits no longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A manager to talk to.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    config: Config,
    credentials: Credentials,
    output: Output,
}

impl Session {
    /// A session with the configured manager. Nothing is sent yet.
    pub(super) fn new(config: Config, output: Output) -> Result<Self, Failure> {
        let half = |there: &str, missing: &str| {
            let key = missing.to_uppercase();
            Failure::usage(format!("a {there} was given without a {missing}"))
                .hint(format!("set NEBULA_{key}, or let `nebula ctl login` ask for it"))
        };
        let credentials = match &config.asker {
            Asker::Known(credentials) | Asker::Kept(credentials) => credentials.clone(),
            Asker::Username(_) => return Err(half("username", "password")),
            Asker::Password(_) => return Err(half("password", "username")),
        };
        let client = Client::with_tls(&config.url, &credentials, config.tls.clone(), TIMEOUT)
            .map_err(|error| Failure::usage(error.to_string()).because_of(&error))?;
        if client.is_in_clear() && !matches!(credentials, Credentials::None) {
            output::say(&format!(
                "warning: {} is plain http: whoever listens on the way reads the credentials; use https",
                client.url()
            ));
        }
        Ok(Self { client, config, credentials, output })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whom to trust to be a manager, and what certificate to present.
    pub(super) fn tls(&self) -> &TlsFiles {
        &self.config.tls
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Says an error of a request that is about no object in particular.
    pub(super) fn explain(&self, error: &ClientError) -> Failure {
        let hint = self.hint(error);
        let message = error.refusal().and_then(|refusal| self.refusal_in_words(refusal));
        let message = message.unwrap_or_else(|| printable(&error.to_string()));
        let failure = Failure::new(message).because_of(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// An object as it is now.
    pub(super) async fn read(&self, about: About<'_>) -> Result<Object, Failure> {
        match self.client().get(about.noun, about.name).await {
            Ok(reply) => Ok(reply.content),
            Err(error) => Err(self.explain_about(about, error).await),
        }
    }

    /// Says an error of a request that is about one object.
    pub(super) async fn explain_about(&self, about: About<'_>, error: ClientError) -> Failure {
        let About { noun, name } = about;
        let Words { one, command, exists, .. } = words(noun);
        let flag = |key: &str| flag(&error, key);
        if flag(exists) == Some(true) {
            return Failure::new(format!("{one} `{name}` exists already"))
                .hint(format!("change it: nebula ctl {command} update {name}"));
        }
        if flag("running_before_restart") == Some(false) {
            return Failure::new(format!(
                "app `{name}` is stopped, and only a running app restarts"
            ))
            .hint(format!("start it: nebula ctl apps start {name}"));
        }
        // Of a group to prune the API says that the app does not exist, and of a user to change
        // that the name does not.
        let others = match noun {
            Noun::App | Noun::DeviceGroup => "app_exists",
            _ => "user_name",
        };
        if flag(exists) == Some(false) || flag(others) == Some(false) {
            return self.unknown(about).await;
        }
        self.explain(&error)
    }

    /// Says that an object does not exist, with the nearest name that does.
    pub(super) async fn unknown(&self, about: About<'_>) -> Failure {
        let Words { one, command, .. } = words(about.noun);
        let failure = Failure::new(format!("{one} `{}` does not exist", printable(about.name)));
        let names = self.client.list(about.noun).await.map(|reply| reply.content);
        match nearest(about.name, &names.unwrap_or_default()) {
            Some(name) => failure.hint(format!("did you mean `{}`?", printable(name))),
            None => failure.hint(format!("see what there is: nebula ctl {command} list")),
        }
    }

    /// A refusal whose JSON we know, in words.
    fn refusal_in_words(&self, refusal: &Refusal) -> Option<String> {
        if refusal.status == 401 {
            let known = !matches!(self.credentials, Credentials::None);
            let what = if known { "does not accept the credentials" } else { "wants credentials" };
            return Some(format!("the manager {what}"));
        }
        if refusal.status == 429 {
            return Some(format!("the manager refuses for now: {}", printable(&refusal.reason)));
        }
        let body = refusal.body.as_ref()?;
        if body.get("access_allowed") == Some(&Value::Bool(false)) {
            let who = match &self.credentials {
                Credentials::Basic { user, .. } => format!("`{user}`"),
                Credentials::Bearer(_) => "the owner of this token".to_owned(),
                Credentials::None => "a user without credentials".to_owned(),
            };
            return Some(format!("{who} may not do this"));
        }
        if refusal.status == 400 && !body.contains_key("error") {
            return Some(fields_in_words(body));
        }
        None
    }

    fn hint(&self, error: &ClientError) -> Option<String> {
        let source = &self.config.url_source;
        Some(match error {
            ClientError::Unreachable { problem, .. } => match problem {
                Problem::Refused => format!("is the manager running? the URL comes from {source}"),
                Problem::UnknownHost => {
                    format!("is the host's name right? the URL comes from {source}")
                }
                Problem::UnknownAuthority => format!(
                    "give the authority's PEM file with --ca-file; the URL comes from {source}"
                ),
                Problem::OwnCertificate => own_certificate(),
                other => match other.advice(SystemTime::now()) {
                    Some(advice) => format!("{advice}; the URL comes from {source}"),
                    None => format!("the URL comes from {source}"),
                },
            },
            ClientError::Broken { .. } if error.problem() == Some(Problem::NotHttp) => {
                Problem::NotHttp.advice(SystemTime::now())?
            }
            ClientError::Broken { .. } if error.problem() == Some(Problem::OwnCertificate) => {
                own_certificate()
            }
            ClientError::TimedOut { .. } => {
                format!("is it busy, or is there a firewall? the URL comes from {source}")
            }
            ClientError::Redirected { .. } => {
                format!("give the address that answers with --url; this one comes from {source}")
            }
            ClientError::NotJson { .. } | ClientError::Json(_) | ClientError::Shape { .. } => {
                format!("is there a manager at this URL? it comes from {source}")
            }
            ClientError::Refused(refusal) if refusal.status == 404 => {
                format!("is there a manager at this URL? it comes from {source}")
            }
            ClientError::Broken { .. } | ClientError::Cut { .. } => {
                "if this was to change something, look whether it did before you repeat it"
                    .to_owned()
            }
            ClientError::Unauthorized(_) => self.login_hint(),
            ClientError::Unavailable(refusal) => {
                let when = match error.retry_after() {
                    Some(wait) => format!("try again in {} s", wait.as_secs()),
                    None => "try again in a moment".to_owned(),
                };
                match &self.config.asker_source {
                    // Too many failed logins: to repeat one that fails makes it worse.
                    Some(source) if refusal.status == 429 => {
                        format!("{when}, with the right credentials; these come from {source}")
                    }
                    _ => when,
                }
            }
            ClientError::TooLarge => "ask for less at once, as with --page-size".to_owned(),
            _ => return None,
        })
    }

    fn login_hint(&self) -> String {
        match (&self.config.asker_source, &self.config.login_elsewhere) {
            (Some(source), _) => {
                format!("the credentials come from {source}; `nebula ctl login` keeps others")
            }
            (None, Some(other)) => format!(
                "the kept login is for {other}; log in to this one: nebula ctl login --url {}",
                self.client.url()
            ),
            (None, None) => {
                "run `nebula ctl login`, or set NEBULA_USERNAME and NEBULA_PASSWORD, or \
                             NEBULA_TOKEN"
                    .to_owned()
            }
        }
    }
}

fn own_certificate() -> String {
    "give a certificate that it accepts with --cert-file and --key-file".to_owned()
}

/// The value of a flag in a refusal's body.
pub(super) fn flag(error: &ClientError, key: &str) -> Option<bool> {
    error.refusal()?.body.as_ref()?.get(key)?.as_bool()
}

/// A 400's body: field to reason.
fn fields_in_words(body: &Object) -> String {
    // The contract's flag, beside which the reason stands.
    let is_flag = |field: &str| field == "schedule_valid" && body.contains_key("schedule");
    let body = body.iter().filter(|(field, _)| !is_flag(field));
    let said = body.map(|(field, reason)| match (field.as_str(), reason) {
        ("schedule_valid", _) => "the schedule is not valid".to_owned(),
        ("missing_parameters", Value::Array(fields)) => {
            let names: Vec<String> =
                fields.iter().map(|field| format!("`{}`", plain_value(field))).collect();
            format!("{} must be given", names.join(" and "))
        }
        ("missing_parameters", _) => "nothing to change was given".to_owned(),
        (field, reason) => format!("`{field}`: {}", plain_value(reason)),
    });
    printable(&format!("the manager refused: {}", said.collect::<Vec<_>>().join("; ")))
}
