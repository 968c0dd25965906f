//! Devices with credentials of their own at a real manager, from the command of a person to what
//! runs: enrolled, certified, revoked.

use crate::certificates::{Files, signed};
use crate::docker::Docker;
use crate::offline::Log;
use crate::trouble::authority;
use crate::world::{PATIENCE, World, until, until_within};
use nebula::client::{Action, Client, Credentials, Noun, TlsFiles, tls_config};
use nebula::config::{Inputs, Secret};
use nebula::engine::FakeEngine;
use nebula::model::Machine;
use nebula::modes::manager;
use nebula::reconcile::pretend;
use rcgen::{CertifiedIssuer, KeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a device that is revoked may still wait at its manager.
const SHUT_OUT_WITHIN: Duration = Duration::from_secs(1);
const HOSTNAME: &str = "till-7";

/// A manager of its own, with the group `tills` that runs the app `web`.
struct Site {
    url: String,
    tls: TlsFiles,
    admin: Client,
    http: reqwest::Client,
    folder: TempDir,
    _running: DropGuard,
}

impl Site {
    /// One that speaks TLS by these files, or does not.
    async fn start(tls: Option<&Files>) -> Self {
        nebula::client::install_crypto_provider();
        let folder = tempfile::tempdir().expect("a folder");
        let mut environment = BTreeMap::from([
            ("NEBULA_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("NEBULA_DATA_DIR".to_owned(), folder.path().display().to_string()),
            ("AUTH_TOKEN".to_owned(), "t0ken".to_owned()),
        ]);
        for (key, path) in tls.iter().flat_map(|files| files.of_manager()) {
            environment.insert(format!("NEBULA_TLS_{key}_FILE"), path.display().to_string());
        }
        let config = manager::Config::load(&Inputs {
            flags: &BTreeMap::new(),
            environment: &environment,
            config: None,
            files: &[],
            read: &nebula::config::read_file,
        });
        let config = config.expect("a sound configuration");
        let manager::Stores { store, reports } =
            manager::open_stores(&config).await.expect("stores");
        let limits = manager::Limits::default();
        let dependencies = manager::Dependencies { store, reports, limits };
        let (tell, told) = tokio::sync::oneshot::channel();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        tokio::spawn(async move {
            let listening = |address: SocketAddr| tell.send(address).expect("heard");
            manager::run(config, dependencies, listening, until).await.expect("it drains");
        });
        let port = told.await.expect("it listens").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{port}");
        let ca_file = tls.map(|files| files.authority.clone());
        let tls = TlsFiles { ca_file, certificate: None };
        let token = Credentials::Bearer(Secret::new("t0ken".to_owned()));
        let admin = Client::with_tls(&url, &token, tls.clone(), PATIENCE).expect("a client");
        let config = tls_config(&tls).expect("TLS");
        let http = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy();
        let http = http.build().expect("a client");
        let site = Self { url, tls, admin, http, folder, _running: shutdown.drop_guard() };
        site.declare().await;
        site
    }

    async fn declare(&self) {
        let object = |value: Value| value.as_object().expect("an object").clone();
        let web = object(json!({ "docker_image": "127.0.0.1:5000/site:1" }));
        self.admin.create(Noun::App, "web", &web).await.expect("created");
        let tills = object(json!({ "apps": ["web"] }));
        self.admin.create(Noun::DeviceGroup, "tills", &tills).await.expect("created");
    }

    /// What a person's command prints on stdout.
    async fn ctl(&self, line: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        command.env_clear().env("HOME", self.folder.path()).arg("ctl");
        command.env("NEBULA_URL", &self.url).env("NEBULA_TOKEN", "t0ken");
        if let Some(file) = &self.tls.ca_file {
            command.env("NEBULA_CA_FILE", file);
        }
        let output = command.args(line.split(' ')).output().await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Waits until so many devices wait for a change. Says whether it took no longer than this.
    async fn is_parked(&self, number: usize, within: Duration) {
        let line = format!("\nnebula_parked {number}\n");
        let metrics = format!("{}/metrics", self.url);
        until_within(within, &format!("{number} are parked"), async || {
            let metrics = self.http.get(&metrics).send().await.expect("an answer");
            metrics.text().await.expect("text").contains(&line).then_some(())
        })
        .await;
    }

    /// The device as a person sees it, once it has reported.
    async fn reported(&self) -> Value {
        until_within(PATIENCE, "it has reported", async || {
            let device = self.admin.device(HOSTNAME).await.ok()?;
            Some(Value::Object(device.content))
        })
        .await
    }

    /// Revokes the device by the command, and sees to it that it waits here no more.
    async fn revoke(&self) -> u64 {
        let revoked = self.ctl(&format!("devices revoke {HOSTNAME} --yes -o json")).await;
        let begun = Instant::now();
        self.is_parked(0, SHUT_OUT_WITHIN).await;
        assert!(begun.elapsed() < SHUT_OUT_WITHIN, "{:?}", begun.elapsed());
        let revoked: Value = serde_json::from_str(&revoked).expect("JSON");
        let device = self.ctl(&format!("devices info {HOSTNAME}")).await;
        assert!(device.contains("revoked at"), "{device}");
        revoked["revoked_at"].as_u64().expect("seconds")
    }

    /// A world whose worker asks here, parked for minutes.
    async fn world(&self) -> World {
        let mut world = World::on(Docker::at("unix:///nowhere")).await;
        for (key, value) in [
            ("NEBULA_MANAGER_URI", self.url.as_str()),
            ("NEBULA_MANAGER_AUTH_TOKEN", ""),
            ("NEBULA_MANAGER_CHECK_IN_TIME", "60"),
            ("NEBULA_HOSTNAME", HOSTNAME),
        ] {
            world.extra.insert(key.to_owned(), value.to_owned());
        }
        world
    }
}

fn engine() -> FakeEngine {
    let mut device = pretend::World::new();
    device.registry.insert("127.0.0.1:5000/site:1".to_owned());
    FakeEngine::new(device, Machine { cores: 2, memory_mb: 1024 })
}

/// The versions of `web` whose containers are there.
fn runs(engine: &FakeEngine) -> usize {
    engine.world(|world| world.observe(Machine { cores: 2, memory_mb: 1024 })).containers.len()
}

#[tokio::test]
async fn inv_12_a_device_that_enrolled_is_shut_out_within_a_second_while_it_waits() {
    let (log, _hearing) = Log::hear();
    let site = Site::start(None).await;
    let mut world = site.world().await;
    let token = world.folder.path().join("enrollment");
    std::fs::write(&token, site.ctl("device-groups enroll tills --ttl 1h").await).expect("written");
    world.extra.insert("NEBULA_ENROLLMENT_TOKEN_FILE".to_owned(), token.display().to_string());
    let engine = engine();
    let worker = world.worker_on(Arc::new(engine.clone()));
    until("it runs", || async { runs(&engine) == 1 }).await;
    let device = site.reported().await;
    assert_eq!(device["device_group"], "tills", "{device:#}");
    assert!(device["credential"]["enrolled_at"].is_u64(), "{device:#}");
    assert!(device["credential"]["revoked_at"].is_null(), "{device:#}");
    site.is_parked(1, PATIENCE).await;

    site.revoke().await;
    // What is changed now is none of its business any more, and what it runs stays.
    site.admin.act("web", Action::Stop).await.expect("stopped");
    until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
    let told = log.lines("check-in failed");
    assert!(told[0].contains("credential is revoked"), "{told:?}");
    assert_eq!(runs(&engine), 1);
    worker.stop().await;
    // The token that let it in is over as well: a new start holds what it runs, too.
    let worker = world.worker_on(Arc::new(engine.clone()));
    until("it is told again", || async { log.lines("check-in failed").len() > 1 }).await;
    assert_eq!(runs(&engine), 1);
    worker.stop().await;

    // A new one lets it in again.
    std::fs::write(&token, site.ctl("device-groups enroll tills").await).expect("written");
    let worker = world.worker_on(Arc::new(engine.clone()));
    until("it hears of the change", || async { runs(&engine) == 0 }).await;
    worker.stop().await;
    assert_eq!(log.lines("device enrolled").len(), 2, "{:#?}", log.lines("enroll"));
}

fn manager_files(authority: &CertifiedIssuer<'static, KeyPair>, folder: &Path) -> Files {
    let files = Files::within(folder);
    let (certificate, key) = signed(authority, "localhost", |_| {});
    std::fs::write(&files.authority, authority.pem()).expect("written");
    std::fs::write(&files.certificate, certificate.pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    files
}

/// Issues a certificate of the device that is valid from this second on.
fn issue(authority: &CertifiedIssuer<'static, KeyPair>, files: &Files, from_seconds: u64) {
    let (certificate, key) = signed(authority, HOSTNAME, |params| {
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(from_seconds);
    });
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    std::fs::write(&files.certificate, certificate.pem()).expect("written");
}

#[tokio::test]
async fn inv_12_a_device_with_a_certificate_is_shut_out_within_a_second_until_it_has_a_newer_one() {
    let (log, _hearing) = Log::hear();
    let authority = authority();
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::start(Some(&manager_files(&authority, folder.path()))).await;
    let mut world = site.world().await;
    let own = Files::within(world.folder.path());
    std::fs::write(&own.authority, authority.pem()).expect("written");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    issue(&authority, &own, now - 60);
    for (key, path) in own.of_worker() {
        world.extra.insert(format!("NEBULA_MANAGER_{key}_FILE"), path.display().to_string());
    }
    let engine = engine();
    let worker = world.worker_on(Arc::new(engine.clone()));
    until("it runs", || async { runs(&engine) == 1 }).await;
    assert_eq!(site.reported().await["device_group"], "tills");
    site.is_parked(1, PATIENCE).await;

    let revoked_at = site.revoke().await;
    site.admin.act("web", Action::Stop).await.expect("stopped");
    until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
    let told = log.lines("check-in failed");
    assert!(told[0].contains("this device's certificate is not accepted"), "{told:?}");
    assert_eq!(runs(&engine), 1);
    // Renewed beside the running worker.
    issue(&authority, &own, revoked_at + 1);
    until("it hears of the change", || async { runs(&engine) == 0 }).await;
    assert!(worker.is_alive());
    worker.stop().await;
}

#[tokio::test]
async fn inv_15_killed_while_it_enrolls_at_a_real_manager_a_device_is_enrolled_once() {
    let site = Site::start(None).await;
    let mut world = site.world().await;
    let token = site.ctl("device-groups enroll tills").await;
    world.extra.insert("NEBULA_ENROLLMENT_TOKEN".to_owned(), token);
    let file: PathBuf = world.data_file("credential.json");
    // Killed as soon as there is a file, whatever has come of it by then, and again.
    for _ in 0..3 {
        let worker = crate::binary::Binary::start(&world);
        until("there is a file", || async { file.exists() }).await;
        worker.kill().await;
    }
    let worker = crate::binary::Binary::start(&world);
    site.is_parked(1, PATIENCE).await;
    assert!(!worker.said().contains("enrollment failed"), "{}", worker.said());
    worker.stop().await;
}
