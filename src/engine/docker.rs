//! Docker through its API.
//!
//! The connection is made on first use and again whenever it was lost: an engine that is away when
//! the worker starts, or is upgraded under it, is an error of one call, not of the worker.

use super::body::{Speaker, answering_to, body};
use super::layers::{Layers, TooLarge};
use super::summary::Ours;
use super::{ContainerEngine, EngineError, RegistryAuth, RegistryLogin};
use super::{disk, layers, own, patience, summary};
use crate::clock::since_1970;
use crate::model::{
    ContainerSpec, ContainerState, Health, ImageReference, MANAGED_LABEL, MANAGED_VALUE, Machine,
    Observed, ObservedContainer, ObservedImage, ObservedRun, WorkerContainer,
};
use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, CreateImageInfo, NetworkConnectRequest,
    NetworkCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder,
    InspectContainerOptions, ListContainersOptionsBuilder, ListImagesOptions, ListNetworksOptions,
    RemoveContainerOptionsBuilder, RemoveImageOptions, RenameContainerOptionsBuilder,
    StartContainerOptions, StatsOptionsBuilder, StopContainerOptions,
};
use bollard::{BollardRequest, ClientVersion, Docker};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use hyper::http::uri::PathAndQuery;
use hyper::http::{HeaderValue, Uri};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

/// The newest API that this was tried with. Engines up to 29 still speak it; older ones are spoken
/// to in theirs.
const NEWEST_API: (usize, usize) = (1, 44);
/// How long a question may take. Listing takes milliseconds; a disk that is being written full
/// takes seconds.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);
/// How long a change may take: creating and starting set up networks and file systems.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// How long Docker lets a container end by itself that was made with nothing said of it.
const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a pull may show no progress before it is given up and begun again. Long, because much
/// is lost by it: within a pull Docker takes up a layer where its connection broke, but of a pull
/// that ended engines without containerd's image store keep no layer at all.
const PULL_STALL_LIMIT: Duration = Duration::from_secs(300);
/// The operation of fetching an image, in errors.
const PULL: &str = "pull";
/// The events that change what is observed. The steps of a health check are events as well, many
/// a minute, and are left out.
const EVENTS: [&str; 8] =
    ["create", "start", "die", "destroy", "pause", "unpause", "rename", "health_status"];
/// The states that every engine knows, for the list by state.
const STATES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Docker at an address.
#[derive(Debug)]
pub struct DockerEngine {
    address: String,
    connection: Mutex<Option<Connection>>,
}

#[derive(Debug, Clone)]
struct Connection {
    docker: Docker,
    speaker: Speaker,
    /// The folder in which Docker keeps everything, as Docker sees it.
    root: String,
    version: String,
    /// The id of the container in which this process runs, if it does.
    own: Option<String>,
}

/// What the list of containers tells.
#[derive(Debug, Default)]
struct Found {
    replicas: Vec<ObservedContainer>,
    runs: Vec<ObservedRun>,
    /// The images of all containers, ours or not.
    used_images: BTreeSet<String>,
    worker: Option<WorkerContainer>,
}

impl DockerEngine {
    /// An engine at `unix://PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`. Nothing is connected
    /// yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), connection: Mutex::new(None) }
    }

    /// The connection; it is made anew after it was lost.
    async fn connection(&self) -> Result<Connection, EngineError> {
        if let Some(connection) = self.slot().clone() {
            return Ok(connection);
        }
        let connection = self.connect().await?;
        *self.slot() = Some(connection.clone());
        Ok(connection)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Connection, EngineError> {
        let docker = self.open()?;
        let version = self.ask("tell its version", QUESTION_LIMIT, docker.version()).await?;
        let api = version.api_version.as_deref().and_then(parse_api).unwrap_or(NEWEST_API);
        let api = api.min(NEWEST_API);
        let (major, minor) = api;
        let prefix = format!("/v{major}.{minor}");
        let docker = docker.with_request_modifier(move |request| mend(request, &prefix));
        let info = self.ask("tell its size", QUESTION_LIMIT, docker.info()).await?;
        let cores = info.ncpu.and_then(|cores| u32::try_from(cores).ok()).unwrap_or(1);
        let memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        let machine = Machine { cores, memory_mb: memory >> 20 };
        let root = info.docker_root_dir.unwrap_or_default();
        let version = version.version.unwrap_or_default();
        let own = own::container_id();
        Ok(Connection { docker, speaker: Speaker { api, machine }, root, version, own })
    }

    fn open(&self) -> Result<Docker, EngineError> {
        let version = ClientVersion { major_version: NEWEST_API.0, minor_version: NEWEST_API.1 };
        let limit = CHANGE_LIMIT.as_secs();
        let opened = if self.address.starts_with("unix://") {
            Docker::connect_with_unix(&self.address, limit, &version)
        } else {
            Docker::connect_with_http(&self.address, limit, &version)
        };
        opened.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> EngineError {
        EngineError::Unreachable { address: self.address.clone(), reason: chain(error) }
    }

    /// Waits for an answer for no longer than it may take, and gives its error our words.
    async fn ask<T>(
        &self,
        operation: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, answer).await {
            Err(_) => Err(EngineError::Timeout { operation, limit_seconds: limit.as_secs() }),
            Ok(answer) => answer.map_err(|error| self.translate(operation, &error)),
        }
    }

    fn translate(&self, operation: &'static str, error: &Error) -> EngineError {
        match error {
            Error::DockerResponseServerError { message, .. } => {
                EngineError::Refused { operation, message: message.trim().to_owned() }
            }
            Error::DockerStreamError { error } => {
                EngineError::Refused { operation, message: error.trim().to_owned() }
            }
            Error::RequestTimeoutError => {
                EngineError::Timeout { operation, limit_seconds: CHANGE_LIMIT.as_secs() }
            }
            Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
                EngineError::Answer { operation, message: chain(error) }
            }
            other => {
                // Whatever broke the connection, the next call starts with a fresh one and asks
                // for the version again: the engine may have been upgraded.
                *self.slot() = None;
                self.unreachable(other)
            }
        }
    }

    /// The containers of apps and of cron jobs, and the images of all.
    async fn containers(&self, docker: &Docker, own: Option<&str>) -> Result<Found, EngineError> {
        let mut found = Found::default();
        for summary in self.list_all(docker).await? {
            found.used_images.extend(summary.image_id.clone());
            if own.is_some() && summary.id.as_deref() == own {
                found.worker = summary::worker(summary);
                continue;
            }
            match summary::observed(summary) {
                Some(Ours::Replica(replica)) => found.replicas.push(replica),
                Some(Ours::Run(run)) => found.runs.push(run),
                None => {}
            }
        }
        // Only those that ended since the last look: the next pass removes them.
        let ended = |run: &&mut ObservedRun| {
            matches!(run.state, ContainerState::Exited | ContainerState::Dead)
        };
        for run in found.runs.iter_mut().filter(ended) {
            let inspected = self.inspect(docker, &run.id).await?;
            run.result = inspected.and_then(|it| it.state).as_ref().map(summary::result);
        }
        // Only those that keep dying, for the list does not tell how often they did, and those
        // whose health is undecided, for it does not tell how long that can take.
        let is_open = |c: &&mut ObservedContainer| {
            c.state == ContainerState::Restarting || c.health == Health::Starting
        };
        for container in found.replicas.iter_mut().filter(is_open) {
            let Some(inspected) = self.inspect(docker, &container.id).await? else { continue };
            let restarts = inspected.restart_count.and_then(|n| u32::try_from(n).ok());
            container.restarts = restarts.unwrap_or(0);
            let check = inspected.config.and_then(|config| config.healthcheck);
            container.verdict_ms = check
                .filter(|_| container.health == Health::Starting)
                .map(|check| summary::verdict_ms(&check));
        }
        Ok(found)
    }

    /// What Docker's list does not tell; none when it was removed by hand in this moment.
    async fn inspect(
        &self,
        docker: &Docker,
        id: &str,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let inspect = docker.inspect_container(id, None::<InspectContainerOptions>);
        match self.ask("inspect a container", QUESTION_LIMIT, inspect).await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(EngineError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list_all(&self, docker: &Docker) -> Result<Vec<ContainerSummary>, EngineError> {
        match self.list(docker, &HashMap::new()).await {
            // One container in a state that this version cannot read must not hide the others.
            Err(EngineError::Answer { .. }) => {
                let mut all = Vec::new();
                for state in STATES {
                    let filters = HashMap::from([("status", vec![state.to_owned()])]);
                    all.extend(self.list(docker, &filters).await?);
                }
                Ok(all)
            }
            listed => listed,
        }
    }

    async fn list(
        &self,
        docker: &Docker,
        filters: &HashMap<&str, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(filters).build();
        let list = docker.list_containers(Some(options));
        self.ask("list containers", QUESTION_LIMIT, list).await
    }

    async fn networks(&self, docker: &Docker) -> Result<BTreeSet<String>, EngineError> {
        let list = docker.list_networks(None::<ListNetworksOptions>);
        let networks = self.ask("list networks", QUESTION_LIMIT, list).await?;
        Ok(networks.into_iter().filter_map(|network| network.name).collect())
    }

    async fn images(&self, docker: &Docker) -> Result<Vec<ObservedImage>, EngineError> {
        let list = docker.list_images(None::<ListImagesOptions>);
        let images = self.ask("list images", QUESTION_LIMIT, list).await?;
        Ok(images.into_iter().map(summary::image).collect())
    }

    /// Removes a name of an image, or an image by its id; never by force, so that one in use stays.
    async fn remove_reference(&self, docker: &Docker, reference: &str) -> Result<(), EngineError> {
        let remove = docker.remove_image(reference, None::<RemoveImageOptions>, None);
        match self.ask("remove the image", CHANGE_LIMIT, remove).await {
            Ok(_) => Ok(()),
            Err(EngineError::Refused { message, .. }) if message.contains("No such image") => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a pull to its end. The whole stream is read: an error can be its last line, after a
    /// status of success. Letting go of it ends the pull.
    async fn follow(
        &self,
        progress: impl Stream<Item = Result<CreateImageInfo, Error>>,
        root: &str,
    ) -> Result<(), EngineError> {
        let mut progress = std::pin::pin!(progress);
        let before = disk::of(&self.address, root);
        let mut layers = Layers::default();
        loop {
            let line = match tokio::time::timeout(PULL_STALL_LIMIT, progress.next()).await {
                Err(_) => {
                    let limit_seconds = PULL_STALL_LIMIT.as_secs();
                    return Err(EngineError::Timeout { operation: PULL, limit_seconds });
                }
                Ok(None) => return Ok(()),
                Ok(Some(line)) => line.map_err(|error| self.translate(PULL, &error)),
            };
            let fits = match (line, before) {
                (Ok(line), Some(before)) => {
                    layers.note(&line);
                    disk::of(&self.address, root).map_or(Ok(()), |now| layers.check(before, now))
                }
                (Ok(_), None) => Ok(()),
                (Err(EngineError::Refused { message, .. }), Some(before))
                    if layers::is_disk_full(&message) =>
                {
                    Err(layers.overflown(before))
                }
                (Err(error), _) => return Err(patience::of(error)),
            };
            if let (Err(TooLarge { needed_bytes }), Some(before)) = (fits, before) {
                return Err(EngineError::NoRoom { needed_bytes, free_bytes: before.free_bytes });
            }
        }
    }
}

#[async_trait]
impl ContainerEngine for DockerEngine {
    async fn observe(&self) -> Result<Observed, EngineError> {
        let Connection { docker, speaker, root, own, .. } = self.connection().await?;
        let (found, networks, images) = tokio::try_join!(
            self.containers(&docker, own.as_deref()),
            self.networks(&docker),
            self.images(&docker)
        )?;
        let machine = speaker.machine;
        let Found { replicas: containers, runs, used_images, worker } = found;
        let disk = disk::of(&self.address, &root);
        Ok(Observed { containers, runs, networks, images, used_images, disk, machine, worker })
    }

    async fn changes(&self) -> Result<BoxStream<'static, Result<(), EngineError>>, EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", EVENTS.map(str::to_owned).to_vec()),
            ("label", vec![format!("{MANAGED_LABEL}={MANAGED_VALUE}")]),
        ]);
        // The request is sent when the stream is first polled. What happens until then is told
        // because it is asked for from this moment on.
        let now = since_1970();
        let since = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let address = self.address.clone();
        let events = docker.events(Some(options)).map(move |event| match event {
            Ok(_) => Ok(()),
            Err(error) => {
                let reason = chain(&error);
                Err(EngineError::Unreachable { address: address.clone(), reason })
            }
        });
        Ok(events.boxed())
    }

    async fn version(&self) -> Result<String, EngineError> {
        Ok(self.connection().await?.version)
    }

    async fn stats(&self, container: &str) -> Result<Option<Map<String, Value>>, EngineError> {
        const OPERATION: &str = "measure a container";
        let Connection { docker, .. } = self.connection().await?;
        // Docker would take two looks, a second apart.
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut stats = docker.stats(container, Some(options)).boxed();
        let first = async { stats.next().await.transpose() };
        let stats = match self.ask(OPERATION, QUESTION_LIMIT, first).await {
            Ok(stats) => stats,
            Err(EngineError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        let answer = |message| EngineError::Answer { operation: OPERATION, message };
        match stats.map(serde_json::to_value).transpose() {
            Ok(Some(Value::Object(stats))) => Ok(Some(stats)),
            Ok(_) => Ok(None),
            Err(error) => Err(answer(error.to_string())),
        }
    }

    async fn restarts(&self, container: &str) -> Result<Option<u64>, EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let inspected = self.inspect(&docker, container).await?;
        let count = inspected.map(|it| it.restart_count.unwrap_or_default());
        Ok(count.map(|count| u64::try_from(count).unwrap_or_default()))
    }

    async fn create_network(&self, name: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let known = self.networks(&docker).await?;
        if known.contains(name) {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            ..Default::default()
        };
        self.ask("create a network", CHANGE_LIMIT, docker.create_network(request)).await?;
        Ok(())
    }

    async fn pull(
        &self,
        image: &ImageReference,
        auth: Option<&RegistryAuth>,
    ) -> Result<String, EngineError> {
        let Connection { docker, root, .. } = self.connection().await?;
        let options = CreateImageOptionsBuilder::new()
            .from_image(&image.repository())
            .tag(image.digest().or(image.tag()).unwrap_or("latest"))
            .build();
        let credentials = auth.map(credentials);
        let progress = docker.create_image(Some(options), None, credentials);
        self.follow(progress, &root).await?;
        // A connection that is cut looks like the end of the stream.
        let inspect = docker.inspect_image(image.as_str());
        let inspected = self.ask(PULL, QUESTION_LIMIT, inspect).await?;
        let missing = || EngineError::Answer { operation: PULL, message: "no id".to_owned() };
        inspected.id.ok_or_else(missing)
    }

    async fn remove_image(&self, id: &str, names: &[String]) -> Result<(), EngineError> {
        const OPERATION: &str = "remove the image";
        let Connection { docker, .. } = self.connection().await?;
        // Docker keeps an image in use, but lets all its names go except the last.
        let users = HashMap::from([("ancestor", vec![id.to_owned()])]);
        match self.list(&docker, &users).await {
            Ok(users) if users.is_empty() => {}
            Ok(_) => {
                let message = "a container uses it".to_owned();
                return Err(EngineError::Refused { operation: OPERATION, message });
            }
            // An image that is gone is nobody's ancestor.
            Err(EngineError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        if names.is_empty() {
            return self.remove_reference(&docker, id).await;
        }
        // By its names, for one that has several is not removed by its id. The last name takes the
        // image along.
        for name in names {
            let inspect = docker.inspect_image(name);
            match self.ask("inspect an image", QUESTION_LIMIT, inspect).await {
                Ok(found) if found.id.as_deref() == Some(id) => {
                    self.remove_reference(&docker, name).await?;
                }
                // The name went to another image, or was gone with one before it.
                Ok(_) | Err(EngineError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        let Connection { docker, speaker, .. } = self.connection().await?;
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let create = docker.create_container(Some(options), body(spec, speaker));
        self.ask("create the container", CHANGE_LIMIT, create).await?;
        Ok(())
    }

    async fn connect(
        &self,
        container: &str,
        network: &str,
        alias: Option<&str>,
    ) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: alias.map(answering_to),
        };
        let connect = docker.connect_network(network, request);
        match self.ask("connect the network", CHANGE_LIMIT, connect).await {
            Err(EngineError::Refused { message, .. }) if message.contains("already exists") => {
                Ok(())
            }
            other => other,
        }
    }

    async fn start(&self, container: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let start = docker.start_container(container, None::<StartContainerOptions>);
        self.ask("start the container", CHANGE_LIMIT, start).await
    }

    async fn stop(&self, container: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        // Docker waits as long as the container was made to be given, and so do we.
        let inspected = self.inspect(&docker, container).await?;
        let config = inspected.and_then(|it| it.config);
        let grace = config.and_then(|config| config.stop_timeout);
        let grace = grace.and_then(|seconds| u64::try_from(seconds).ok());
        let limit = CHANGE_LIMIT + grace.map_or(DEFAULT_STOP_GRACE, Duration::from_secs);
        let stop = docker.stop_container(container, None::<StopContainerOptions>);
        self.ask("stop the container", limit, stop).await
    }

    async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        self.ask("unpause the container", CHANGE_LIMIT, docker.unpause_container(container)).await
    }

    async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let options = RemoveContainerOptionsBuilder::new().v(true).build();
        let remove = docker.remove_container(container, Some(options));
        match self.ask("remove the container", CHANGE_LIMIT, remove).await {
            Err(EngineError::Refused { message, .. }) if message.contains("No such container") => {
                Ok(())
            }
            other => other,
        }
    }

    async fn rename(&self, container: &str, to: &str) -> Result<(), EngineError> {
        let Connection { docker, .. } = self.connection().await?;
        let options = RenameContainerOptionsBuilder::new().name(to).build();
        let rename = docker.rename_container(container, options);
        self.ask("rename the container", CHANGE_LIMIT, rename).await
    }
}

/// Credentials as Docker's API takes them.
fn credentials(auth: &RegistryAuth) -> DockerCredentials {
    let server = DockerCredentials {
        serveraddress: Some(auth.server.clone()),
        ..DockerCredentials::default()
    };
    match &auth.login {
        RegistryLogin::Password { user, password } => DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.expose().clone()),
            ..server
        },
        RegistryLogin::IdentityToken(token) => {
            DockerCredentials { identitytoken: Some(token.expose().clone()), ..server }
        }
    }
}

/// Mends two faults of the client: it does not send the API version it negotiated, and it encodes
/// a registry's credentials with an alphabet that Docker drops silently for some passwords.
fn mend(mut request: BollardRequest, prefix: &str) -> BollardRequest {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    if let Ok(versioned) = format!("{prefix}{path}").parse::<PathAndQuery>() {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(versioned);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    if let Some(value) = request.headers_mut().get_mut("X-Registry-Auth") {
        let safe = value.to_str().map(|text| text.replace('+', "-").replace('/', "_"));
        if let Some(safe) = safe.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
            *value = safe;
        }
    }
    request
}

fn parse_api(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// An error with its causes on one line; a connection's own message says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
