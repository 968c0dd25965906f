//! HTTPS: the manager's certificate, and those of devices as their identity.

use crate::enrollment::{device_token, enrolled_device};
use crate::harness::{
    Manager, PATIENCE, TOKEN, bearer, client_builder, config, embedded_reports, read,
};
use crate::reports::report;
use nebula::model::Author;
use nebula::modes::manager::config::Tls;
use nebula::modes::manager::{Dependencies, Limits, ManagerError, run};
use nebula::store::{SqliteStore, Store};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use reqwest::{Certificate, Client, Identity, Response, Version};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

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
        self.sign_with(name, |_| {})
    }

    /// The certificate of a device, valid from a time on, in seconds since 1970.
    fn device(&self, names: &[(DnType, &str)], not_before: u64) -> Client {
        let paths = self.sign_with("device", |params| {
            for (kind, name) in names {
                params.distinguished_name.push(kind.clone(), *name);
            }
            params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(not_before);
        });
        self.client().identity(identity(&paths)).build().unwrap()
    }

    fn sign_with(
        &self,
        name: &str,
        set: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        set(&mut params);
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

/// A manager that knows the authority of devices' certificates, its store, and its files.
struct Site {
    manager: Manager,
    store: Arc<dyn Store>,
    authority: Authority,
    files: Tls,
    _folder: TempDir,
}

impl Site {
    async fn start() -> Self {
        let authority = Authority::new();
        let (cert_file, key_file) = authority.sign("server");
        let folder = TempDir::new().unwrap();
        let files = Tls { cert_file, key_file, client_ca_file: Some(authority.path("ca.pem")) };
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
        let config =
            nebula::modes::manager::Config { tls: Some(files.clone()), ..config(folder.path()) };
        let manager = Manager::over(config, Arc::clone(&store), Limits::default()).await;
        Self { manager, store, authority, files, _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/api/v2{path}", self.manager.address.port())
    }

    /// By the admin.
    async fn post(&self, path: &str) -> (u16, Value) {
        let client = self.authority.client().build().unwrap();
        read(client.post(self.url(path)).bearer_auth(TOKEN).send().await.unwrap()).await
    }

    async fn get(&self, client: &Client, path: &str) -> Response {
        client.get(self.url(path)).send().await.unwrap()
    }

    async fn checks_in(&self, client: &Client) -> u16 {
        self.get(client, "/device_groups/shop/info").await.status().as_u16()
    }
}

fn till() -> [(DnType, &'static str); 2] {
    [(DnType::CommonName, "till"), (DnType::OrganizationalUnitName, "shop")]
}

#[tokio::test]
async fn certificate_lets_its_device_check_in_and_report_and_do_nothing_else() {
    let site = Site::start().await;
    assert_eq!(site.post("/device_groups/shop").await.0, 200);
    assert_eq!(site.post("/device_groups/bar").await.0, 200);
    let till_1 = site.authority.device(&till(), 0);
    assert_eq!(site.checks_in(&till_1).await, 200);
    let forbidden = (403, json!({ "access_allowed": false }));
    for path in ["/device_groups/bar/info", "/device_groups/shop", "/status", "/apps", "/users"] {
        assert_eq!(read(site.get(&till_1, path).await).await, forbidden, "{path}");
    }
    let bring = |report: Value| {
        till_1.post(site.url("/reports")).json(&json!({ "reports": [report] })).send()
    };
    assert_eq!(bring(report(1, "till", "shop")).await.unwrap().status(), 202);
    for another in [report(2, "till-2", "shop"), report(3, "till", "bar")] {
        assert_eq!(read(bring(another).await.unwrap()).await, forbidden);
    }
    // Whoever says who they are is taken at their word, right or wrong.
    let admin = till_1.get(site.url("/apps")).bearer_auth(TOKEN);
    assert_eq!(admin.send().await.unwrap().status(), 200);
    let wrong = till_1.get(site.url("/device_groups/shop/info")).bearer_auth("wrong");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn certificate_that_names_no_device_or_two_is_nobodys() {
    let site = Site::start().await;
    assert_eq!(site.post("/device_groups/shop").await.0, 200);
    let group = (DnType::OrganizationalUnitName, "shop");
    let other_group = (DnType::CustomDnType(vec![2, 5, 4, 11]), "bar");
    let name = (DnType::CommonName, "till");
    for names in [
        vec![],
        vec![name.clone()],
        vec![group.clone()],
        vec![(DnType::CommonName, "ti\nll"), group.clone()],
        vec![name, group, other_group],
    ] {
        let client = site.authority.device(&names, 0);
        assert_eq!(site.checks_in(&client).await, 401, "{names:?}");
    }
}

#[tokio::test]
async fn inv_12_revoked_certificate_is_shut_out_at_once_and_a_newer_one_is_not() {
    let site = Site::start().await;
    assert_eq!(site.post("/device_groups/shop").await.0, 200);
    let lost = site.authority.device(&till(), 0);
    let response = site.get(&lost, "/device_groups/shop/info").await;
    let etag = response.headers()["etag"].clone();
    let parked = lost.get(site.url("/device_groups/shop/info?wait=30"));
    let parked = tokio::spawn(parked.header("if-none-match", etag).timeout(PATIENCE).send());
    let (status, revoked) = site.post("/devices/till/revoke").await;
    assert_eq!(status, 200, "{revoked}");
    assert_eq!(parked.await.unwrap().unwrap().status(), 401);
    assert_eq!(site.checks_in(&lost).await, 401);
    // A token that it gets anew does not bring the old certificate back.
    site.store.delete(nebula::store::Kind::DeviceCredential, "till").await.unwrap();
    let revoked_at = revoked["revoked_at"].as_u64().unwrap();
    let again = nebula::model::DeviceCredential {
        revoked: [("shop".to_owned(), revoked_at)].into(),
        ..enrolled_device("till", "shop")
    };
    site.store.create(again, &Author::elsewhere()).await.unwrap();
    assert_eq!(site.checks_in(&lost).await, 401);
    let with_token = site.authority.client().build().unwrap();
    let with_token = with_token.get(site.url("/device_groups/shop/info"));
    let with_token = with_token.header("authorization", bearer(&device_token("till")));
    assert_eq!(with_token.send().await.unwrap().status(), 200);
    // Valid from the next second on, which has to come first.
    let newer = revoked["revoked_at"].as_u64().unwrap() + 1;
    let newer = site.authority.device(&till(), newer);
    let comes =
        async { while newer.get(site.url("/device_groups/shop/info")).send().await.is_err() {} };
    tokio::time::timeout(PATIENCE, comes).await.unwrap();
    assert_eq!(site.checks_in(&newer).await, 200);
}

#[tokio::test]
async fn changed_certificate_files_are_used_without_a_restart_and_broken_ones_never() {
    let site = Site::start().await;
    let client = || site.authority.client().build().unwrap();
    let serves = async |client: &Client| site.get(client, "/status").await.status() == 401;
    assert!(serves(&client()).await);
    let metrics = async || {
        let url = format!("https://localhost:{}/metrics", site.manager.address.port());
        client().get(url).send().await.unwrap().text().await.unwrap()
    };
    let until = async |line: &str| {
        let seen = async { while !metrics().await.contains(line) {} };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("no {line}"));
    };
    // A key that does not go with it yet: the old pair serves.
    let paths = site.authority.sign_with("renewed", |params| {
        params.not_after = date_time_ymd(2100, 1, 1);
    });
    fs::copy(&paths.0, &site.files.cert_file).unwrap();
    until("\nnebula_tls_certificate_failures_total 1\n").await;
    assert!(serves(&client()).await);
    fs::copy(&paths.1, &site.files.key_file).unwrap();
    until("\nnebula_tls_certificate_not_after_seconds 4102444800\n").await;
    assert!(serves(&client()).await);
    // The authority of devices as well.
    assert_eq!(site.post("/device_groups/shop").await.0, 200);
    let other = Authority::new();
    let ca_file = site.files.client_ca_file.as_ref().unwrap();
    let both = [site.authority.issuer.pem(), other.issuer.pem()].concat();
    fs::write(ca_file, both).unwrap();
    let paths = other.sign_with("device", |params| {
        for (kind, name) in till() {
            params.distinguished_name.push(kind, name);
        }
    });
    let device = site.authority.client().identity(identity(&paths)).build().unwrap();
    let url = site.url("/device_groups/shop/info");
    let comes = async { while device.get(&url).send().await.is_err() {} };
    tokio::time::timeout(PATIENCE, comes).await.unwrap();
    assert_eq!(site.checks_in(&device).await, 200);
}
