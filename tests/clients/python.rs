//! A Python program with the packages of the service `python`, and nothing of the test's
//! environment: neither a proxy nor a `~/.netrc`, which the client's library would put before the
//! credentials it is given.

use crate::manager::{Manager, PASSWORD, TOKEN, USER};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// A file beside this one.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs Python with these arguments until it ends, in a folder of its own. True when it ended well;
/// and all that it said.
pub(crate) async fn run(
    manager: &Manager,
    arguments: &[&str],
    environment: &[(&str, &str)],
    patience: Duration,
) -> (bool, String) {
    let python = std::env::var("NEBULA_TEST_PYTHON").unwrap_or_else(|_| {
        panic!("NEBULA_TEST_PYTHON is not set: run these tests with `make test`")
    });
    let home = TempDir::new().unwrap();
    // A file rather than a pipe: what was said before a deadline is there to be read.
    let said = home.path().join("said");
    let out = std::fs::File::create(&said).unwrap();
    let mut child = Command::new(python)
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .env("NEBULA_URL", &manager.url)
        .env("NEBULA_USERNAME", USER)
        .env("NEBULA_PASSWORD", PASSWORD)
        .env("NEBULA_TOKEN", TOKEN)
        // Nothing is left in the source tree, and the last words before a crash are not lost.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONUTF8", "1")
        .envs(environment.iter().copied())
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(patience, child.wait()).await;
    let said = String::from_utf8_lossy(&std::fs::read(&said).unwrap()).into_owned();
    match ended {
        Ok(status) => (status.unwrap().success(), said),
        Err(_) => (false, format!("{said}\nnot done after {patience:?}")),
    }
}
