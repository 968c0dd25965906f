//! What the tests of `examples` share: the folders themselves, and images that stand in for those
//! that nobody can pull here.

use crate::world::variable;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// A folder of the examples.
pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Makes an image that stands in for one of a public registry, and gives its name.
pub(crate) async fn stand_in(image: &str) -> String {
    let mut command = Command::new(variable("NEBULA_TEST_STANDINS"));
    succeeded(command.arg(image)).await.trim().to_owned()
}

/// What a command says that must succeed.
pub(crate) async fn succeeded(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("a program");
    let error = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}\n{error}");
    said
}
