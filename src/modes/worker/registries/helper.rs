//! Docker's credential helpers: programs that are told a registry and answer with credentials.
//!
//! Invariants: one that hangs is ended with all that it started; what it says has a limit; its
//! words are never told, for credentials may be among them.

use crate::engine::RegistryLogin;
use crate::model::Secret;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The longest answer that is read: tokens of clouds are some kilobytes.
const MAX_ANSWER_BYTES: u64 = 1 << 16;
/// The user by which a helper says that the secret is a token.
const TOKEN_USER: &str = "<token>";
/// What helpers say when they have nothing for a registry.
const NOT_FOUND: &str = "credentials not found";

/// Why a helper gave no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    /// A name that is no program's.
    #[error("its name may hold letters, digits, `.`, `_` and `-` only")]
    Name,
    /// It cannot be started or talked to.
    #[error("`docker-credential-{name}` cannot be asked: {source}")]
    Ask {
        /// The helper.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("it did not answer within {0} s")]
    Silent(u64),
    /// It says no.
    #[error("it ended with {0}; ask it by hand to see why")]
    Refused(std::process::ExitStatus),
    /// What it said is no answer.
    #[error("its answer is not the JSON of a credential helper")]
    Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// A helper with what it started. All of it ends when this is dropped.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // The id is there as long as the helper was not waited for, so it is no other's.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Asks a helper for the credentials of a server; none when it has none.
pub(super) async fn ask(
    name: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<RegistryLogin>, HelperError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(is_plain) {
        return Err(HelperError::Name);
    }
    let talk = talk(name, server);
    let (status, said) = match tokio::time::timeout(limit, talk).await {
        Err(_) => return Err(HelperError::Silent(limit.as_secs())),
        Ok(Err(source)) => return Err(HelperError::Ask { name: name.to_owned(), source }),
        Ok(Ok(answer)) => answer,
    };
    if !status.success() {
        let is_not_found = String::from_utf8_lossy(&said).contains(NOT_FOUND);
        return if is_not_found { Ok(None) } else { Err(HelperError::Refused(status)) };
    }
    let answer: Answer = serde_json::from_slice(&said).map_err(|_| HelperError::Answer)?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let secret = Secret::new(answer.secret);
    Ok(Some(if answer.username == TOKEN_USER {
        RegistryLogin::IdentityToken(secret)
    } else {
        RegistryLogin::Password { user: answer.username, password: secret }
    }))
}

async fn talk(name: &str, server: &str) -> std::io::Result<(std::process::ExitStatus, Vec<u8>)> {
    let child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut helper = Helper(child);
    if let Some(mut input) = helper.0.stdin.take() {
        // One that needs no input may close it unread.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut said = Vec::new();
    if let Some(output) = helper.0.stdout.take() {
        output.take(MAX_ANSWER_BYTES).read_to_end(&mut said).await?;
    }
    let status = helper.0.wait().await?;
    Ok((status, said))
}
