//! The `config.json` of Docker's command line, as far as it names credentials.
//!
//! Read with our own code, because the crate for it (`docker_credential`) waits for a helper without
//! a limit, on the calling thread, and cannot let go of one that hangs.

use crate::engine::RegistryLogin;
use crate::model::Secret;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::registry_of;

/// The longest file that is read: a thousand registries, and no harm by a path to `/dev/zero`.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// People and other tools write it with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why the file gives no credentials. No part of it is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It is there and cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// It is no such file.
    #[error("is longer than {MAX_FILE_BYTES} bytes")]
    Long,
    /// What is in it is something else.
    #[error("is not JSON of the expected form, in line {line}")]
    Form {
        /// Where.
        line: usize,
    },
    /// The credentials of a registry are garbled.
    #[error("`auth` is not USER:PASSWORD in base64")]
    Auth,
}

/// What is read of the file.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

impl DockerConfig {
    /// Reads the file; one that is not there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, FileError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::Read(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(FileError::Read)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(FileError::Long);
        }
        let config = serde_json::from_slice(&bytes);
        config.map(Some).map_err(|error| FileError::Form { line: error.line() })
    }

    /// The helpers to ask for a server: the one for it before the one for all.
    pub(super) fn helpers(&self, server: &str) -> impl Iterator<Item = &str> {
        let of_server = self
            .cred_helpers
            .get(server)
            .or_else(|| {
                let registry = registry_of(server);
                let mut helpers = self.cred_helpers.iter();
                helpers.find(|(key, _)| registry_of(key) == registry).map(|(_, helper)| helper)
            })
            .map_or("", String::as_str);
        let of_all = if of_server == self.creds_store { "" } else { &self.creds_store };
        [of_server, of_all].into_iter().filter(|name| !name.is_empty())
    }

    /// What stands in the file itself for a server.
    pub(super) fn login(&self, server: &str) -> Result<Option<RegistryLogin>, FileError> {
        let registry = registry_of(server);
        let exact = self.auths.get(server);
        let Some(entry) = exact.or_else(|| {
            let mut entries = self.auths.iter();
            entries.find(|(key, _)| registry_of(key) == registry).map(|(_, entry)| entry)
        }) else {
            return Ok(None);
        };
        if !entry.identitytoken.is_empty() {
            let token = Secret::new(entry.identitytoken.clone());
            return Ok(Some(RegistryLogin::IdentityToken(token)));
        }
        let (user, password) = if entry.auth.is_empty() {
            (entry.username.clone(), entry.password.clone())
        } else {
            let text = BASE64.decode(entry.auth.trim()).map_err(|_| FileError::Auth)?;
            let text = String::from_utf8(text).map_err(|_| FileError::Auth)?;
            let (user, password) = text.split_once(':').ok_or(FileError::Auth)?;
            // Docker's command line drops them too.
            (user.to_owned(), password.trim_matches('\0').to_owned())
        };
        let login = RegistryLogin::Password { user, password: Secret::new(password) };
        // `docker login` with a helper leaves an empty entry behind.
        let is_empty = matches!(&login, RegistryLogin::Password { user, .. } if user.is_empty());
        Ok((!is_empty).then_some(login))
    }
}
