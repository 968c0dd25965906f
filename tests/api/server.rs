//! Connections: HTTP/1 and HTTP/2, HTTPS, how many, and how they end.

use crate::harness::{
    Manager, Moody, TOKEN, basic, client_builder, config, embedded_reports, rest,
};
use nebula::modes::manager::config::Tls;
use nebula::modes::manager::{Dependencies, Limits, ManagerError, run};
use nebula::store::SqliteStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Identity, Version};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn it_speaks_http_1_and_http_2_on_one_port() {
    let manager = Manager::start().await;
    manager.create_group("eu", &[]).await;
    let clients = [
        (client_builder().http1_only().build().unwrap(), Version::HTTP_11),
        (client_builder().http2_prior_knowledge().build().unwrap(), Version::HTTP_2),
    ];
    for (client, version) in clients {
        for path in ["/healthz", "/api/v2/device_groups", "/api/v2/device_groups/eu/info"] {
            let response = client.get(manager.url(path)).bearer_auth(TOKEN).send().await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, version));
            let etag = response.headers().get("etag").cloned();
            assert!(response.json::<Value>().await.unwrap().is_object());
            let Some(etag) = etag else { continue };
            let again = client.get(manager.url(path)).header("if-none-match", etag);
            assert_eq!(again.try_clone().unwrap().send().await.unwrap().status(), 401);
            assert_eq!(again.bearer_auth(TOKEN).send().await.unwrap().status(), 304);
        }
    }
}

/// An authority, and certificates of it in files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&paths.0, certificate.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn client(&self) -> reqwest::ClientBuilder {
        let root = Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap();
        client_builder().tls_certs_only([root])
    }
}

fn identity(paths: &(PathBuf, PathBuf)) -> Identity {
    let mut pem = fs::read(&paths.0).unwrap();
    pem.extend(fs::read(&paths.1).unwrap());
    Identity::from_pem(&pem).unwrap()
}

#[tokio::test]
async fn https_with_http_2_and_with_a_client_certificate_or_none() {
    let authority = Authority::new();
    let (cert_file, key_file) = authority.sign("server");
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    let client_ca_file = Some(authority.path("ca.pem"));
    config.tls = Some(Tls { cert_file, key_file, client_ca_file });
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let manager = Manager::over(config, store, Limits::default()).await;
    let url = format!("https://localhost:{}/api/v2/status", manager.address.port());
    let known = identity(&authority.sign("device"));
    let unknown = identity(&Authority::new().sign("device"));
    let ok = [
        (authority.client(), Version::HTTP_2),
        (authority.client().http1_only(), Version::HTTP_11),
        (authority.client().identity(known), Version::HTTP_2),
    ];
    for (client, version) in ok {
        let client = client.build().unwrap();
        let response = client.get(&url).bearer_auth(TOKEN).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
        // A certificate stands for no credentials.
        assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    }
    let stranger = authority.client().identity(unknown).build().unwrap();
    assert!(stranger.get(&url).bearer_auth(TOKEN).send().await.is_err());
    assert!(client_builder().build().unwrap().get(&url).send().await.is_err());
    // Plain HTTP there is no HTTP.
    let answer = manager.raw(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"));
    let mut again = authority.client().build().unwrap().get(&url).bearer_auth(TOKEN);
    again = again.timeout(Duration::from_secs(60));
    assert_eq!(again.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_cut_off() {
    let authority = Authority::new();
    let (cert_file, key_file) = authority.sign("server");
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    config.tls = Some(Tls { cert_file, key_file, client_ca_file: None });
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let limits = Limits { handshake: Duration::from_millis(50), ..Limits::default() };
    let manager = Manager::over(config, store, limits).await;
    assert_eq!(manager.raw(b"").await, "");
    assert_eq!(manager.raw(b"\x16\x03\x01").await, "");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (cert_file, key_file) = authority.sign("server");
    let (_, other_key) = authority.sign("other");
    let none = authority.path("none.pem");
    let cases = [
        (&none, &key_file, "cannot read `"),
        (&cert_file, &none, "cannot read `"),
        (&key_file, &key_file, "holds no certificate"),
        (&cert_file, &other_key, "cannot use the certificate"),
    ];
    for (cert_file, key_file, expected) in cases {
        let told = refused(cert_file, key_file).await;
        assert!(told.contains(expected), "{told}");
    }
}

async fn refused(cert_file: &Path, key_file: &Path) -> String {
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    let (cert_file, key_file) = (cert_file.to_owned(), key_file.to_owned());
    config.tls = Some(Tls { cert_file, key_file, client_ca_file: None });
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let reports = embedded_reports(folder.path());
    let dependencies = Dependencies { store, reports, limits: Limits::default() };
    let error = run(config, dependencies, |_| {}, CancellationToken::new()).await.unwrap_err();
    let ManagerError::Tls(error) = error else { panic!("{error}") };
    error.to_string()
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let manager = Manager::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    config.listen = manager.address;
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let reports = embedded_reports(folder.path());
    let dependencies = Dependencies { store, reports, limits: Limits::default() };
    let error = run(config, dependencies, |_| {}, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on `{}`", manager.address));
}

#[tokio::test]
async fn inv_11_connections_over_the_limit_are_told_to_come_back() {
    let manager = Manager::with_limits(Limits { connections: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(manager.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // It has been accepted when it was answered.
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        open.push(stream);
    }
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut third = TcpStream::connect(manager.address).await.unwrap();
    third.write_all(request).await.unwrap();
    third.shutdown().await.unwrap();
    let answer = rest(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("application/json"));
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let length = answer.split("content-length: ").nth(1).unwrap();
    assert_eq!(length.split("\r\n").next().unwrap().parse(), Ok(body.len()));
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({ "error": "too many connections" })
    );
    // A place that is free again is given again, as soon as the manager has seen it.
    open.clear();
    let served =
        async { while manager.client.get(manager.url("/healthz")).send().await.is_err() {} };
    tokio::time::timeout(crate::harness::PATIENCE, served).await.unwrap();
}

/// A request is under way when the manager is told to stop: it is answered, the idle connection is
/// closed, and no new one is accepted.
#[tokio::test]
async fn a_request_that_is_under_way_is_answered_before_the_end() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    let mut idle = TcpStream::connect(manager.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
    moody.gate.store(true, Ordering::SeqCst);
    let body = json!({ "docker_image": "nginx" });
    let request = manager.request("POST", "/api/v2/apps/web").json(&body);
    let under_way = tokio::spawn(request.send());
    moody.arrived.notified().await;
    manager.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(manager.address).await.is_err());
    assert!(!manager.running.is_finished());
    moody.open.notify_one();
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    manager.running.await.unwrap();
}

/// A client that never finishes cannot keep the manager from stopping.
#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    let mut stuck = TcpStream::connect(manager.address).await.unwrap();
    let head = format!(
        "POST /api/v2/apps/web HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         expect: 100-continue\r\ncontent-length: 100\r\n\r\n",
        basic()
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    // The manager wants the body: the request is under way.
    assert_ne!(stuck.read(&mut [0; 100]).await.unwrap(), 0);
    manager.stop().await;
    assert_eq!(rest(&mut stuck).await, "");
}

/// Each takes a place among the connections, and there are only so many.
#[tokio::test]
async fn inv_08_a_stranger_that_says_nothing_gives_its_place_up() {
    let head = Duration::from_millis(100);
    let limits = Limits { head, idle: Duration::from_secs(3_600), ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    let request = |path: &str, head: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n");
    let open = async |text: String| {
        let mut stream = TcpStream::connect(manager.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let known = request("/api/v2/status", &format!("authorization: {}\r\n", basic()));
    let mut known_stream = open(known.clone()).await;
    assert_ne!(known_stream.read(&mut [0; 1024]).await.unwrap(), 0);
    for text in [String::new(), request("/healthz", ""), request("/api/v2/status", "")] {
        // It ends; what it was answered before that is of no interest.
        rest(&mut open(text).await).await;
    }
    // The one whose owner is known is older, and stays.
    known_stream.write_all(known.as_bytes()).await.unwrap();
    assert_ne!(known_stream.read(&mut [0; 1024]).await.unwrap(), 0);
}
