//! `login` and `logout`.

use super::config::{self, Asker, Config};
use super::failure::Failure;
use super::login_file::{self, Login};
use super::output::{self, Format, Output};
use super::prompt;
use super::session::Session;
use crate::client::{CertificateFiles, Credentials, TlsFiles};
use crate::config::{Environment, Secret};
use std::path::PathBuf;

/// What the help page of `login` ends with.
pub(super) const HELP: &str = "\
What is missing is asked for, or read from a pipe: a line for the name, a line for the password.
The credentials are kept in ~/.config/nebula/login.toml (or under $XDG_CONFIG_HOME), which only you
can read, and are sent to this manager alone. Of --ca-file, --cert-file and --key-file the paths are
kept.";

/// Checks the credentials against the manager, and keeps them when it takes them. What is missing
/// is asked for, or read from a pipe: first the name, then the password, a line each.
pub(super) async fn login(mut config: Config, environment: &Environment) -> Result<(), Failure> {
    let credentials = complete(config.asker, &config.url)?;
    config.tls = absolute(config.tls)?;
    let tls = config.tls.clone();
    config.asker = Asker::Known(credentials.clone());
    config.asker_source.get_or_insert_with(|| "what was typed".to_owned());
    let session = Session::new(config, Output::new(Format::Table))?;
    session.client().status().await.map_err(|error| session.explain(&error))?;
    let url = session.client().url();
    let (who, login) = kept(url, credentials, tls)?;
    let file = login_file::write(&login)?;
    output::say(&format!("logged in to {url} {who}, kept in {}", file.display()));
    if let Some(warning) = shadowed(url, environment) {
        output::say(&warning);
    }
    Ok(())
}

/// What a later command without options will use instead of this login, if anything.
fn shadowed(url: &str, environment: &Environment) -> Option<String> {
    let later = config::resolve(config::Flags::default(), environment).ok()?;
    let (what, source) = match later.asker {
        _ if later.url.trim_end_matches('/') != url => ("ask another manager", later.url_source),
        Asker::Kept(_) => return None,
        _ => ("use other credentials", later.asker_source?),
    };
    Some(format!("warning: later commands {what}, because of {source}, which is stronger"))
}

/// Forgets the kept login.
pub(super) fn logout() -> Result<(), Failure> {
    let was_there = login_file::remove()?;
    let words = if was_there { "logged out" } else { "there was no login to forget" };
    output::say(words);
    Ok(())
}

/// What is written down, and who that is in words.
fn kept(url: &str, credentials: Credentials, tls: TlsFiles) -> Result<(String, Login), Failure> {
    let TlsFiles { ca_file, certificate } = tls;
    let (cert_file, key_file) = certificate.map(|files| (files.cert_file, files.key_file)).unzip();
    let url = url.to_owned();
    let mut login =
        Login { url, username: None, password: None, token: None, ca_file, cert_file, key_file };
    let who = match credentials {
        Credentials::Basic { user, password } => {
            let who = format!("as `{user}`");
            login.password = Some(password.expose().clone());
            login.username = Some(user);
            who
        }
        Credentials::Bearer(token) => {
            login.token = Some(token.expose().clone());
            "with a token".to_owned()
        }
        Credentials::None => return Err(Failure::usage("there is nothing to keep")),
    };
    Ok((who, login))
}

/// The same files by paths that hold in every folder.
fn absolute(files: TlsFiles) -> Result<TlsFiles, Failure> {
    let path = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| {
            Failure::usage(format!("cannot keep the path `{}`", path.display())).because(error)
        })
    };
    let pair = |files: CertificateFiles| {
        Ok(CertificateFiles { cert_file: path(files.cert_file)?, key_file: path(files.key_file)? })
    };
    Ok(TlsFiles {
        ca_file: files.ca_file.map(path).transpose()?,
        certificate: files.certificate.map(pair).transpose()?,
    })
}

/// The credentials, with what was missing. A kept login is no answer to "who are you now?": it is
/// asked again.
fn complete(asker: Asker, url: &str) -> Result<Credentials, Failure> {
    let (user, password) = match asker {
        Asker::Known(Credentials::None) | Asker::Kept(_) => (None, None),
        Asker::Known(credentials) => return Ok(credentials),
        Asker::Username(user) => (Some(user), None),
        Asker::Password(password) => (None, Some(password)),
    };
    let user = match user {
        Some(user) => user,
        None => given("username", prompt::line(&format!("Username for {url}: "))?)?,
    };
    let password = match password {
        Some(password) => password,
        None => Secret::new(given("password", prompt::secret("Password: ")?)?),
    };
    Ok(Credentials::Basic { user, password })
}

fn given(what: &str, answer: String) -> Result<String, Failure> {
    if !answer.is_empty() {
        return Ok(answer);
    }
    Err(Failure::usage(format!("no {what} was given")).hint(
        "answer on a terminal, or pipe it in: `nebula ctl login --username NAME < password-file`",
    ))
}
