//! Which credentials a pull takes along.
//!
//! Two places hold them: the worker's `registry_*` keys, which win for the registry they name, and
//! the `config.json` of Docker's own command line with its credential helpers, for every other.
//! What it is not: it logs in nowhere; the engine hands the credentials to the registry.
//!
//! Invariants: credentials go to the registry they are for, and to no other; nothing that is wrong
//! with a file or a helper keeps a pull from being tried, for it may need no credentials at all;
//! everything is read anew at each pull, because credentials rotate; no credential is ever told.

mod file;
mod helper;

use crate::engine::{RegistryAuth, RegistryLogin};
use crate::model::{DEFAULT_REGISTRY, ImageReference};
use file::DockerConfig;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::warn;

/// The default registry, as Docker's command line calls it in `config.json` and to helpers.
const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";
/// How long a helper may take: those of clouds ask a service and take seconds on a small device.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// Where credentials of registries are found.
#[derive(Debug)]
pub struct Registries {
    configured: Option<RegistryAuth>,
    docker_config: Option<PathBuf>,
}

impl Registries {
    /// `docker_config` is the folder that holds `config.json`; it need not exist.
    pub fn new(configured: Option<RegistryAuth>, docker_config: Option<PathBuf>) -> Self {
        Self { configured, docker_config }
    }

    /// The credentials for an image, if there are any.
    pub async fn auth(&self, image: &ImageReference) -> Option<RegistryAuth> {
        let registry = image.registry_or_default();
        if let Some(configured) = &self.configured
            && registry_of(&configured.server) == registry
        {
            return Some(configured.clone());
        }
        let server = if registry == DEFAULT_REGISTRY { DEFAULT_SERVER } else { registry };
        let login = self.of_docker(server).await?;
        Some(RegistryAuth { server: server.to_owned(), login })
    }

    /// What `config.json` gives: by the helper for this registry, by the helper for all, or by
    /// what stands in it.
    async fn of_docker(&self, server: &str) -> Option<RegistryLogin> {
        let path = self.docker_config.as_ref()?.join("config.json");
        let read = path.clone();
        // Off the threads that serve: the file may lie on a disk that does not answer.
        let read = tokio::task::spawn_blocking(move || DockerConfig::read(&read));
        let config = match read.await {
            Ok(Ok(config)) => config?,
            Ok(Err(error)) => {
                let file = path.display();
                warn!(%file, %error, "docker's config file is passed over; pulls go on without");
                return None;
            }
            Err(_) => return None,
        };
        for name in config.helpers(server) {
            match helper::ask(name, server, HELPER_LIMIT).await {
                Ok(Some(login)) => return Some(login),
                Ok(None) => {}
                Err(error) => {
                    warn!(helper = name, server, %error, "credential helper is passed over");
                }
            }
        }
        of_file(&config, server, &path)
    }
}

fn of_file(config: &DockerConfig, server: &str, path: &Path) -> Option<RegistryLogin> {
    config.login(server).unwrap_or_else(|error| {
        let file = path.display();
        warn!(%file, server, %error, "credentials in docker's config file are passed over");
        None
    })
}

/// The registry of a server as it is written in configurations: with or without a scheme and a
/// path, and the default one under any of its names.
fn registry_of(server: &str) -> &str {
    const DEFAULT: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    if DEFAULT.contains(&host) { DEFAULT_REGISTRY } else { host }
}
