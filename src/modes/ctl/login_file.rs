//! The file that keeps a login, under the XDG config folder. Only its user can read it, and it is
//! whole at any moment.

use super::failure::Failure;
use etcetera::BaseStrategy as _;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

/// A kept login. No `Debug`: it holds secrets in clear, on their way to and from the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The manager that took the credentials.
    pub url: String,
    /// The user, with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A token instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Absolute paths of what is trusted and presented in TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Where it is; none for a user without a home.
pub(super) fn path() -> Option<PathBuf> {
    let folders = etcetera::base_strategy::Xdg::new().ok()?;
    Some(folders.config_dir().join("nebula").join("login.toml"))
}

/// The kept login with its file, if there is one.
pub(super) fn read() -> Result<Option<(PathBuf, Login)>, Failure> {
    let Some(file) = path() else { return Ok(None) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unusable().because(error)),
    };
    // The parser's own message would quote the line, which may be the password's.
    let login = toml::from_str(&text).map_err(|_| unusable())?;
    Ok(Some((file, login)))
}

/// There is a login, but not as `login` writes it.
pub(super) fn unusable() -> Failure {
    let file = path().unwrap_or_default();
    Failure::usage(format!("cannot use the login kept in {}", file.display()))
        .hint("forget it with `nebula ctl logout`, then log in again")
}

/// Keeps a login, and says where.
pub(super) fn write(login: &Login) -> Result<PathBuf, Failure> {
    let Some(file) = path() else {
        return Err(Failure::new("cannot keep the login: this user has no home folder")
            .hint("set XDG_CONFIG_HOME, or use NEBULA_USERNAME and NEBULA_PASSWORD"));
    };
    let refuse = || Failure::new(format!("cannot keep the login in `{}`", file.display()));
    let text = toml::to_string(login).map_err(|error| refuse().because(error))?;
    let write = || -> std::io::Result<()> {
        let Some(folder) = file.parent() else { return Ok(()) };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut copy = tempfile::Builder::new()
            .prefix(".login-")
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        copy.write_all(text.as_bytes())?;
        copy.as_file().sync_all()?;
        copy.persist(&file)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| refuse().because(error))?;
    Ok(file)
}

/// Forgets the login; false when there was none.
pub(super) fn remove() -> Result<bool, Failure> {
    let Some(file) = path() else { return Ok(false) };
    match std::fs::remove_file(&file) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => {
            Err(Failure::new(format!("cannot remove `{}`", file.display())).because(error))
        }
    }
}
