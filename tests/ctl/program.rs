//! The real binary, with a home of its own and nothing of the test's environment.

use crate::server::Server;
use assert_cmd::Command;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Outcome {
    /// All that a person sees, for a snapshot.
    pub(crate) fn seen(&self) -> String {
        let code = self.code.map_or("killed".to_owned(), |code| code.to_string());
        format!("exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.out, self.err)
    }

    /// Asserts success, and returns stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.seen());
        self.out
    }

    /// Asserts a failure with this exit code, and returns stderr.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.seen());
        self.err
    }
}

/// A user with a home folder.
pub(crate) struct User {
    home: TempDir,
    environment: Vec<(String, String)>,
    url: Option<String>,
}

impl User {
    /// One who says nothing of a manager.
    pub(crate) fn new() -> Self {
        let home = TempDir::new().expect("a folder");
        Self { home, environment: Vec::new(), url: None }
    }

    /// One whose environment names this manager.
    pub(crate) fn of(server: &Server) -> Self {
        Self::at(&server.url)
    }

    /// The same by its URL.
    pub(crate) fn at(url: &str) -> Self {
        let mut user = Self::new().with("NEBULA_URL", url);
        user.url = Some(url.to_owned());
        user
    }

    /// The same with a variable in the environment.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the home folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The home folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the login is kept.
    pub(crate) fn login_file(&self) -> PathBuf {
        self.path(".config/nebula/login.toml")
    }

    /// The environment, for a test that starts the program another way.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Runs `nebula ctl ARGUMENTS`.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Outcome {
        self.ctl_with(arguments, "")
    }

    /// The same with something on stdin, which is a pipe.
    pub(crate) fn ctl_with(&self, arguments: &[&str], stdin: &str) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        command.env_clear().env("HOME", self.home()).current_dir(self.home());
        command.envs(self.environment()).arg("ctl").args(arguments);
        let output = command.write_stdin(stdin).output().expect("the program runs");
        Outcome {
            code: output.status.code(),
            out: self.stable(&output.stdout),
            err: self.stable(&output.stderr),
        }
    }

    /// Text without what differs from run to run.
    fn stable(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let text = text.replace(&self.home().display().to_string(), "HOME");
        match &self.url {
            Some(url) => text.replace(url, "http://MANAGER"),
            None => text,
        }
    }
}
