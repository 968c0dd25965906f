//! Authorities and certificates of one's own, renewed and broken while the worker runs.

use crate::docker::Docker;
use crate::gate::{Gate, Request};
use crate::offline::Log;
use crate::trouble::{Worker, authority};
use crate::world::{World, until};
use nebula::engine::FakeEngine;
use nebula::model::Machine;
use nebula::reconcile::pretend;
use rcgen::{CertificateParams, CertifiedIssuer, DistinguishedName, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate of the authority for this name, which is a host's or a device's of the group `tills`.
pub(crate) fn signed(
    authority: &Authority,
    name: &str,
    set: impl FnOnce(&mut CertificateParams),
) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationalUnitName, "tills");
    set(&mut params);
    (params.signed_by(&key, authority).expect("signed"), key)
}

/// Where the files of one side are.
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn within(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            certificate: folder.join("own.pem"),
            key: folder.join("own.key"),
        }
    }

    /// The worker's keys that name them.
    pub(crate) fn of_worker(&self) -> [(&str, &Path); 3] {
        [("CA", &self.authority), ("CERT", &self.certificate), ("KEY", &self.key)]
    }

    /// The manager's.
    pub(crate) fn of_manager(&self) -> [(&str, &Path); 3] {
        [("CLIENT_CA", &self.authority), ("CERT", &self.certificate), ("KEY", &self.key)]
    }
}

/// What a manager presents and demands: certificates of this authority.
fn demanding(authority: &Authority) -> rustls::ServerConfig {
    nebula::client::install_crypto_provider();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("an authority");
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
    let (certificate, key) = signed(authority, "localhost", |_| {});
    rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a certificate")
}

/// A device with files of its own, and a manager that demands them.
struct Site {
    authority: Authority,
    files: Files,
    world: World,
    gate: Gate,
}

impl Site {
    async fn new() -> Self {
        let authority = authority();
        let mut world = World::on(Docker::at("unix:///nowhere")).await;
        let gate = Gate::start_tls(demanding(&authority)).await;
        gate.invite(&mut world, None);
        let url = format!("https://localhost:{}", gate.address.port());
        world.extra.insert("NEBULA_MANAGER_URI".to_owned(), url);
        let files = Files::within(world.folder.path());
        std::fs::write(&files.authority, authority.pem()).expect("written");
        for (key, path) in files.of_worker() {
            world.extra.insert(format!("NEBULA_MANAGER_{key}_FILE"), path.display().to_string());
        }
        Self { authority, files, world, gate }
    }

    /// Issues a certificate into the device's files, and returns it.
    fn issue(&self) -> Vec<u8> {
        let (certificate, key) = signed(&self.authority, "till-7", |_| {});
        std::fs::write(&self.files.key, key.serialize_pem()).expect("written");
        std::fs::write(&self.files.certificate, certificate.pem()).expect("written");
        certificate.der().to_vec()
    }

    async fn presents(&self, certificate: &[u8]) {
        let has_it = |it: &Request| {
            it.is_check_in()
                && it.bearer.is_none()
                && it.certificate.as_deref() == Some(certificate)
        };
        self.gate.asked("with this certificate", 2, has_it).await;
    }
}

fn engine() -> Arc<FakeEngine> {
    Arc::new(FakeEngine::new(pretend::World::new(), Machine { cores: 2, memory_mb: 1024 }))
}

#[tokio::test]
async fn certificate_is_presented_and_a_renewed_one_taken_without_a_restart() {
    let (log, _hearing) = Log::hear();
    let site = Site::new().await;
    let first = site.issue();
    let worker = site.world.worker_on(engine());
    site.presents(&first).await;
    site.gate.asked("for a report", 1, |it| it.line == "POST /api/v2/reports").await;
    let second = site.issue();
    site.presents(&second).await;
    assert_eq!(log.lines("certificate files have changed").len(), 1, "{:?}", log.lines(""));
    // Reports go the same way.
    let seen = site.gate.requests().len();
    let is_report = |it: &Request| it.line == "POST /api/v2/reports";
    site.gate.asked("for a report", 1, is_report).await;
    let later = site.gate.requests().split_off(seen);
    let report = later.iter().find(|it| is_report(it)).expect("a report");
    assert_eq!(report.certificate.as_ref(), Some(&second));
    worker.stop().await;
}

#[tokio::test]
async fn broken_and_missing_files_are_told_once_and_the_old_certificate_serves() {
    let (log, _hearing) = Log::hear();
    let site = Site::new().await;
    let first = site.issue();
    let key = std::fs::read(&site.files.key).expect("read");
    let worker = site.world.worker_on(engine());
    site.presents(&first).await;
    let told = || log.lines("certificate files cannot be used");
    for (number, deed) in (1..).zip(["empty", "other", "gone"]) {
        match deed {
            "empty" => std::fs::write(&site.files.key, "").expect("written"),
            "other" => {
                let other = KeyPair::generate().expect("a key").serialize_pem();
                std::fs::write(&site.files.key, other).expect("written");
            }
            _ => std::fs::remove_file(&site.files.key).expect("removed"),
        }
        until("it is told", || async { told().len() >= number }).await;
        site.presents(&first).await;
        assert_eq!(told().len(), number, "{:#?}", told());
    }
    assert!(told().iter().all(|line| line.contains("own.key")), "{:#?}", told());
    std::fs::write(&site.files.key, key).expect("written");
    until("it is told", || async { log.lines("can be used again").len() == 1 }).await;
    let last = site.issue();
    site.presents(&last).await;
    assert!(worker.is_alive() && log.lines("check-in failed").is_empty(), "{:#?}", log.lines(""));
    worker.stop().await;
}

#[tokio::test]
async fn authority_that_comes_later_is_trusted_without_a_restart() {
    let (log, _hearing) = Log::hear();
    let site = Site::new().await;
    let certificate = site.issue();
    std::fs::write(&site.files.authority, authority().pem()).expect("written");
    let worker = site.world.worker_on(engine());
    until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
    let told = log.lines("check-in failed");
    for words in ["only has the name of one that is trusted", "set `manager_ca_file`"] {
        assert!(told[0].contains(words), "{told:?}");
    }
    std::fs::write(&site.files.authority, site.authority.pem()).expect("written");
    site.presents(&certificate).await;
    worker.stop().await;
}

#[tokio::test]
async fn certificate_that_the_manager_does_not_know_is_told_with_its_key() {
    let (log, _hearing) = Log::hear();
    let site = Site::new().await;
    let stranger = authority();
    let (certificate, key) = signed(&stranger, "till-7", |_| {});
    std::fs::write(&site.files.key, key.serialize_pem()).expect("written");
    std::fs::write(&site.files.certificate, certificate.pem()).expect("written");
    let worker = site.world.worker_on(engine());
    until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
    let told = log.lines("check-in failed");
    assert!(told[0].contains("our certificate"), "{told:?}");
    assert!(told[0].contains("look at `manager_cert_file`"), "{told:?}");
    let own = site.issue();
    site.presents(&own).await;
    worker.stop().await;
}

#[tokio::test]
async fn device_that_enrolls_may_have_a_certificate_too() {
    let mut site = Site::new().await;
    site.issue();
    site.gate.make_token("nebula_enroll_one", 1);
    site.gate.invite(&mut site.world, Some("nebula_enroll_one"));
    let worker = site.world.worker_on(engine());
    let both = |it: &Request| it.is_check_in() && it.bearer.is_some() && it.certificate.is_some();
    site.gate.asked("with both", 1, both).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_start_without_readable_files_is_a_mistake_of_the_configuration() {
    let site = Site::new().await;
    let mut worker = Worker::start(&site.world);
    let said = worker.says("manager_cert_file").await;
    assert!(said.contains("own.pem cannot be read: No such file"), "{said}");
    assert_eq!(worker.ends().await, Some(2));
}

#[tokio::test]
async fn inv_17_device_that_ran_before_starts_without_readable_files_and_takes_them_when_they_come()
{
    let (log, _hearing) = Log::hear();
    let site = Site::new().await;
    let first = site.issue();
    let worker = site.world.worker_on(engine());
    site.presents(&first).await;
    let accepted = site.world.folder.path().join("data/accepted.json");
    until("a state is accepted", || async { accepted.exists() }).await;
    worker.stop().await;
    // A power cut in the middle of a renewal.
    std::fs::write(&site.files.key, "").expect("written");
    let worker = site.world.worker_on(engine());
    until("it is told", || async { !log.lines("certificate files cannot be used").is_empty() })
        .await;
    assert!(worker.is_alive());
    let second = site.issue();
    site.presents(&second).await;
    worker.stop().await;
}
