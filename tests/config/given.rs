//! What a test gives to the configuration: flags, environment and files, all in memory.

use nebula::config::{ConfigError, Environment, Flags, Inputs};
use nebula::modes::{manager, reporter, worker};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The inputs of one start.
#[derive(Default)]
pub(crate) struct Given {
    flags: Flags,
    environment: Environment,
    files: BTreeMap<PathBuf, Vec<u8>>,
    config: Option<PathBuf>,
}

impl Given {
    /// A manager that starts: the least it needs is a way in.
    pub(crate) fn manager() -> Self {
        Self::default().env("AUTH_TOKEN", "t0ken")
    }

    /// A worker that starts.
    pub(crate) fn worker() -> Self {
        Self::default()
            .env("DEVICE_GROUP", "speakers")
            .env("NEBULA_MANAGER_HOST", "manager.example.com")
    }

    /// A reporter that starts.
    pub(crate) fn reporter() -> Self {
        Self::default()
            .env("KAFKA_BOOTSTRAP_SERVERS", "kafka.example.com:9092")
            .env("MONGO_URL", "mongodb://user:s3cret@db.example.com/")
    }

    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(PathBuf::from(path), content.into());
        self
    }

    /// The file that is found without `--config`.
    pub(crate) fn toml(self, content: &str) -> Self {
        self.file("nebula.toml", content)
    }

    /// `--config`.
    pub(crate) fn config(mut self, path: &str) -> Self {
        self.config = Some(PathBuf::from(path));
        self
    }

    pub(crate) fn with<T>(&self, load: impl FnOnce(&Inputs<'_>) -> T) -> T {
        let read = |path: &Path| {
            let bytes = self.files.get(path).cloned();
            bytes.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
        };
        load(&Inputs {
            flags: &self.flags,
            environment: &self.environment,
            config: self.config.as_deref(),
            files: &[PathBuf::from("nebula.toml"), PathBuf::from("etc.toml")],
            read: &read,
        })
    }

    pub(crate) fn load_manager(&self) -> Result<manager::config::Config, ConfigError> {
        self.with(manager::config::Config::load)
    }

    pub(crate) fn load_worker(&self) -> Result<worker::config::Config, ConfigError> {
        self.with(|inputs| worker::config::Config::load(inputs, "this-machine"))
    }

    pub(crate) fn load_reporter(&self) -> Result<reporter::config::Config, ConfigError> {
        self.with(reporter::config::Config::load)
    }

    /// Why the manager does not start.
    pub(crate) fn manager_refusal(&self) -> String {
        let refused = self.load_manager().expect_err("the manager should not start");
        refused.to_string()
    }

    /// Why the worker does not start.
    pub(crate) fn worker_refusal(&self) -> String {
        let refused = self.load_worker().expect_err("the worker should not start");
        refused.to_string()
    }
}
