//! A manager of its own for each test, and a client that shows status and body together.

use async_trait::async_trait;
use nebula::config::{Credentials, Secret};
use nebula::model::{
    AccountName, AppHistory, Author, DeviceGroup, Identity, Revision, SecretHash, User, UserGroup,
    UserGroupFields, UserGroupSpec, token_id,
};
use nebula::modes::manager::{Config, Dependencies, Limits, run};
use nebula::store::reports::{MAX_REPORTS_BYTES, ReportStore, Retention, SqliteReports};
use nebula::store::transfer::{Exported, Import, Imported};
use nebula::store::{
    Changes, GroupSnapshot, Kind, KnownGroups, Object, SqliteStore, Store, StoreError,
    UserSnapshot, Written,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const USER: &str = "nebula";
pub(crate) const PASSWORD: &str = "pass:word";
pub(crate) const TOKEN: &str = "a-token";

/// A deadline for what must happen at all: only a broken manager ever reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running manager.
pub(crate) struct Manager {
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<()>,
    pub(crate) folder: Option<TempDir>,
}

pub(crate) fn config(data_dir: &Path) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        local_admin: Some(Credentials {
            user: USER.to_owned(),
            password: Secret::new(PASSWORD.to_owned()),
        }),
        auth_token: Some(Secret::new(TOKEN.to_owned())),
        auth_enabled: true,
        trusted_proxies: Vec::new(),
        data_dir: data_dir.to_owned(),
        tls: None,
        cache_time: Duration::from_secs(10),
        cache_max_size: 1024,
        report_ttl_seconds: 3_600,
        is_report_ttl_given: false,
        mongo: None,
    }
}

/// Reports in a folder, with production's limits.
pub(crate) fn embedded_reports(data_dir: &Path) -> Arc<dyn ReportStore> {
    let retention = Retention { seconds: 3_600, is_firm: false };
    Arc::new(SqliteReports::new(data_dir, retention, MAX_REPORTS_BYTES))
}

pub(crate) fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

pub(crate) fn client_builder() -> reqwest::ClientBuilder {
    // The first test to come installs it; the others find it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE)
}

impl Manager {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
        let mut manager = Self::over(config(folder.path()), store, limits).await;
        manager.folder = Some(folder);
        manager
    }

    /// One over a store that the test holds as well.
    pub(crate) async fn moody() -> (Self, Arc<Moody>) {
        let folder = TempDir::new().unwrap();
        let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
        let store = Arc::clone(&moody);
        let mut manager = Self::over(config(folder.path()), store, Limits::default()).await;
        manager.folder = Some(folder);
        (manager, moody)
    }

    /// One over this store and configuration, with reports in the configured folder.
    pub(crate) async fn over(config: Config, store: Arc<dyn Store>, limits: Limits) -> Self {
        let reports = embedded_reports(&config.data_dir);
        Self::with(config, Dependencies { store, reports, limits }).await
    }

    /// One over all of these.
    pub(crate) async fn with(config: Config, dependencies: Dependencies) -> Self {
        let (listening, address) = oneshot::channel();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let running = tokio::spawn(async move {
            let listening = |address| listening.send(address).unwrap();
            run(config, dependencies, listening, until).await.unwrap();
        });
        let address = address.await.unwrap();
        Self { address, client: client(), shutdown, running, folder: None }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request of the admin.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path)).basic_auth(USER, Some(PASSWORD))
    }

    /// Sends a body, `Value::Null` for none, to a path under the API and takes the answer's status
    /// and JSON.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, &format!("/api/v2{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, Value::Null).await
    }

    /// A request with these credentials.
    pub(crate) fn request_as(&self, who: &str, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path)).header("authorization", who)
    }

    /// [`Manager::send`] with these credentials.
    pub(crate) async fn send_as(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Value,
    ) -> (u16, Value) {
        let request = self.request_as(who, method, &format!("/api/v2{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        read(request.send().await.unwrap()).await
    }

    /// The status that these credentials get where any valid ones do.
    pub(crate) async fn login(&self, who: &str) -> u16 {
        self.send_as(who, "GET", "/status", Value::Null).await.0
    }

    /// A cron job that must not exist yet.
    pub(crate) async fn create_job(&self, name: &str) -> Value {
        let body = json!({ "docker_image": "job:1", "schedule": "0 * * * *" });
        let (status, job) = self.send("POST", &format!("/cron_jobs/{name}"), body).await;
        assert_eq!(status, 200, "{job}");
        job
    }

    /// An app that must not exist yet.
    pub(crate) async fn create_app(&self, name: &str) -> Value {
        let body = json!({ "docker_image": "nginx:1" });
        let (status, app) = self.send("POST", &format!("/apps/{name}"), body).await;
        assert_eq!(status, 200, "{app}");
        app
    }

    /// A group that must not exist yet.
    pub(crate) async fn create_group(&self, name: &str, apps: &[&str]) -> Value {
        let body = json!({ "apps": apps });
        let (status, group) = self.send("POST", &format!("/device_groups/{name}"), body).await;
        assert_eq!(status, 200, "{group}");
        group
    }

    pub(crate) async fn info(&self, group: &str) -> Value {
        let (status, info) = self.get(&format!("/device_groups/{group}/info")).await;
        assert_eq!(status, 200, "{info}");
        info
    }

    /// Raw bytes on a connection of their own, and all that comes back until the other end closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The manager may refuse and close before it has read all of it.
        let _ = stream.write_all(bytes).await;
        rest(&mut stream).await
    }

    /// Still serves.
    pub(crate) async fn assert_alive(&self) {
        assert_eq!(self.get("/status").await, (200, json!({ "api_available": true })));
    }

    pub(crate) async fn stop(self) -> Option<TempDir> {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.folder
    }
}

/// All that comes until the other end closes or resets.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    let read = async {
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the manager must close the connection");
    String::from_utf8_lossy(&all).into_owned()
}

/// Status and JSON of an answer, which must say that it is JSON and may be kept by nobody.
pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let may_be_kept = &response.headers()["cache-control"];
    assert!(may_be_kept == "no-store" || may_be_kept == "private, no-cache");
    (status, response.json().await.unwrap())
}

pub(crate) fn basic() -> String {
    basic_of(USER, PASSWORD)
}

/// The header of a user and a password, which may be any bytes.
pub(crate) fn basic_of(user: &str, password: impl AsRef<[u8]>) -> String {
    use base64::Engine;
    let pair = [user.as_bytes(), b":", password.as_ref()].concat();
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// The header of a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A hash of the lowest cost: tests of what the hash is for need not wait for it.
pub(crate) fn cheap_hash(secret: impl AsRef<[u8]>) -> SecretHash {
    SecretHash::new(bcrypt::hash(secret, 4).unwrap())
}

/// Puts a user straight into a store: the password `NAME-password` and the token `NAME-token`.
/// Returns the header of the password.
pub(crate) async fn seed_user(store: &dyn Store, name: &str) -> String {
    let password = format!("{name}-password");
    seed_secrets(store, name, &password, &format!("{name}-token")).await;
    basic_of(name, password)
}

/// Puts a user with these secrets straight into a store.
pub(crate) async fn seed_secrets(store: &dyn Store, name: &str, password: &str, token: &str) {
    store
        .create(user(name, cheap_hash(password), cheap_hash(token), token), &Author::elsewhere())
        .await
        .unwrap();
}

/// A user with these hashes.
pub(crate) fn user(name: &str, password: SecretHash, hash: SecretHash, token: &str) -> User {
    User {
        identity: Identity::default(),
        user_name: AccountName::new(name).unwrap(),
        password,
        token: hash,
        token_id: token_id(token).map(str::to_owned),
    }
}

/// A user group of the wire.
pub(crate) fn user_group(name: &str, body: Value) -> UserGroup {
    let Value::Object(body) = body else { panic!("no object: {body}") };
    let fields = UserGroupFields::decode(body, None, nebula::model::Unknown::Refuse).unwrap();
    UserGroup {
        identity: Identity::default(),
        user_group: AccountName::new(name).unwrap(),
        spec: UserGroupSpec::default().with(fields),
    }
}

/// Puts a user group straight into a store.
pub(crate) async fn seed_group(store: &dyn Store, name: &str, body: Value) {
    store.create(user_group(name, body), &Author::elsewhere()).await.unwrap();
}

/// A store that does what a test tells it to, around a real one.
#[derive(Debug)]
pub(crate) struct Moody {
    pub(crate) inner: Arc<dyn Store>,
    /// `names` panics.
    pub(crate) panics: AtomicBool,
    /// Everything fails.
    pub(crate) is_down: AtomicBool,
    /// Writes and snapshots wait here, after the real store did its part.
    pub(crate) gate: AtomicBool,
    /// Told when something waits at the gate.
    pub(crate) arrived: Notify,
    /// Opens the gate for one.
    pub(crate) open: Notify,
    /// How often a user was read.
    pub(crate) users_read: AtomicUsize,
    /// So many exports come to nothing, because somebody wrote.
    pub(crate) conflicts: AtomicUsize,
}

impl Moody {
    pub(crate) fn over(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            panics: AtomicBool::new(false),
            is_down: AtomicBool::new(false),
            gate: AtomicBool::new(false),
            arrived: Notify::new(),
            open: Notify::new(),
            users_read: AtomicUsize::new(0),
            conflicts: AtomicUsize::new(0),
        })
    }

    async fn pass(&self) {
        if self.gate.swap(false, Ordering::SeqCst) {
            self.arrived.notify_one();
            self.open.notified().await;
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StoreError::unavailable("try", full));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Moody {
    async fn ping(&self) -> Result<(), StoreError> {
        self.check()?;
        self.inner.ping().await
    }

    async fn names(&self, kind: Kind) -> Result<Vec<String>, StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "told to");
        self.check()?;
        self.inner.names(kind).await
    }

    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Object>, StoreError> {
        self.check()?;
        self.inner.get(kind, name).await
    }

    async fn insert(&self, object: Object, author: &Author) -> Result<Written, StoreError> {
        self.check()?;
        let written = self.inner.insert(object, author).await;
        self.pass().await;
        written
    }

    async fn replace(
        &self,
        object: Object,
        expected: Revision,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.check()?;
        let written = self.inner.replace(object, expected, author).await;
        self.pass().await;
        written
    }

    async fn history(&self, app: &str) -> Result<Option<AppHistory>, StoreError> {
        self.check()?;
        let history = self.inner.history(app).await;
        self.pass().await;
        history
    }

    async fn delete(&self, kind: Kind, name: &str) -> Result<Written<()>, StoreError> {
        self.check()?;
        let written = self.inner.delete(kind, name).await;
        self.pass().await;
        written
    }

    async fn group_snapshot(&self, name: &str) -> Result<Option<GroupSnapshot>, StoreError> {
        self.check()?;
        let snapshot = self.inner.group_snapshot(name).await;
        self.pass().await;
        snapshot
    }

    async fn user_snapshot(
        &self,
        name: &str,
        known: &KnownGroups,
    ) -> Result<Option<UserSnapshot>, StoreError> {
        self.check()?;
        self.users_read.fetch_add(1, Ordering::SeqCst);
        let snapshot = self.inner.user_snapshot(name, known).await;
        self.pass().await;
        snapshot
    }

    async fn groups_of(&self, kind: Kind, name: &str) -> Result<Vec<String>, StoreError> {
        self.check()?;
        self.inner.groups_of(kind, name).await
    }

    async fn token_owners(&self, token_id: Option<&str>) -> Result<Vec<String>, StoreError> {
        self.check()?;
        self.inner.token_owners(token_id).await
    }

    async fn prune_all(&self) -> Result<Written<Vec<DeviceGroup>>, StoreError> {
        self.check()?;
        let written = self.inner.prune_all().await;
        self.pass().await;
        written
    }

    async fn changes(
        &self,
        since: Option<Revision>,
        poll: Duration,
    ) -> Result<Option<Box<dyn Changes>>, StoreError> {
        self.check()?;
        self.inner.changes(since, poll).await
    }

    async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        self.check()?;
        self.inner.backup(path).await
    }

    async fn export(&self, to: Sender<Exported>) -> Result<Revision, StoreError> {
        self.check()?;
        let revision = self.inner.export(to).await?;
        let is_one_moment = self.conflicts.load(Ordering::SeqCst) == 0;
        if is_one_moment {
            return Ok(revision);
        }
        self.conflicts.fetch_sub(1, Ordering::SeqCst);
        Err(StoreError::Conflict)
    }

    async fn import(&self, import: Import, author: &Author) -> Result<Imported, StoreError> {
        self.check()?;
        let imported = self.inner.import(import, author).await;
        self.pass().await;
        imported
    }
}
