//! The compose files of `examples`, as their README has them started: up, an app, reports, down.

use crate::apps::site;
use crate::docker::{Container, Docker};
use crate::examples::{folder, stand_in, succeeded};
use crate::world::{World, until_within, variable};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Twelve containers start on a small machine, one of them a Kafka and three a replica set.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a person makes up.
const SECRET: &str = "a1b2c3d4e5f6";
/// The same for a command.
const PASSWORD: &str = "NEBULA_PASSWORD=a1b2c3d4e5f6";

/// An example that runs.
struct Composed {
    world: World,
    folder: String,
    /// How a command is run in a manager's container: the service, and before it who types, where the
    /// file does not say so.
    within: &'static [&'static str],
}

impl Composed {
    /// Copies the example, fills in its `.env`, and starts it.
    async fn up(name: &str, within: &'static [&'static str], stand_ins: &[&str]) -> Self {
        nebula::client::install_crypto_provider();
        let world = World::new().await;
        assert_eq!(variable("NEBULA_TEST_IMAGE"), "nebula:latest");
        for image in stand_ins {
            stand_in(image).await;
        }
        let copy = world.folder.path().join(name);
        std::fs::create_dir(&copy).expect("a folder");
        for entry in std::fs::read_dir(folder(name)).expect("the example") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
        }
        fill_in(&copy);
        let composed = Self { folder: copy.display().to_string(), world, within };
        composed.compose(&["config", "--quiet"]).await;
        composed.compose(&["up", "--detach"]).await;
        composed
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let socket = self.world.docker.host.trim_start_matches("unix://");
        let mut command = Command::new(variable("NEBULA_TEST_COMPOSE"));
        command.current_dir(&self.folder).args(arguments);
        command.env("DOCKER_HOST", &self.world.docker.host).env("DOCKER_SOCKET", socket);
        command
    }

    async fn compose(&self, arguments: &[&str]) -> String {
        succeeded(&mut self.command(arguments)).await
    }

    /// A command in the manager's container.
    fn ctl_command(&self, arguments: &[&str]) -> Command {
        self.command(&[&["exec", "-T"], self.within, &["nebula", "ctl"], arguments].concat())
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        succeeded(&mut self.ctl_command(arguments)).await
    }

    /// Waits until the manager can read.
    async fn is_ready(&self) {
        until_within(PATIENCE, "the manager is ready", async || {
            let said =
                self.ctl_command(&["device-groups", "list"]).output().await.expect("compose");
            said.status.success().then_some(())
        })
        .await;
    }

    /// Declares an app for the group of this machine, and waits until it runs.
    async fn runs_an_app(&self, group: &str, port: u16) -> BTreeMap<String, Container> {
        let (image, port_flag) = (site("1"), format!("{port}:80"));
        self.ctl(&["apps", "create", "web", "--image", &image, "--port", &port_flag]).await;
        self.ctl(&["device-groups", "create", group, "--app", "web"]).await;
        until_within(PATIENCE, "the app's page is there", async || {
            let page = Docker::fetch(port, "/version").await?;
            (page.trim() == "1").then_some(())
        })
        .await;
        self.apps().await
    }

    /// The containers of apps.
    async fn apps(&self) -> BTreeMap<String, Container> {
        let mut all = self.world.docker.containers().await;
        all.retain(|name, _| name.starts_with("web-"));
        all
    }

    /// Waits until the manager has heard that the device runs it all.
    async fn has_reported(&self) -> Value {
        until_within(PATIENCE, "a report of the device arrives", async || {
            let listed = self.ctl(&["-o", "json", "devices", "list"]).await;
            // A page a line.
            let listed: Value = serde_json::from_str(listed.lines().next()?).ok()?;
            let device = listed["devices"].as_array()?.first()?.clone();
            (device["state"] == "converged").then_some(device)
        })
        .await
    }

    /// Waits until every container with a health check is well.
    async fn is_healthy(&self, services: usize) {
        let list = ["ps", "--quiet", "--filter", "health=healthy"];
        until_within(PATIENCE, "manager, worker and reporter are healthy", async || {
            let healthy = self.world.docker.run(&list).await;
            // The app has one as well.
            (healthy.lines().count() > services).then_some(())
        })
        .await;
    }

    /// Ends it; what the worker started goes on.
    async fn down(self, apps: &BTreeMap<String, Container>) {
        self.compose(&["down", "--volumes"]).await;
        assert_eq!(self.world.docker.containers().await, *apps);
    }
}

/// As a person does: each line that ends with `=` gets a value.
fn fill_in(folder: &Path) {
    let example = std::fs::read_to_string(folder.join(".env.example")).expect("the example");
    let mut filled = String::new();
    for line in example.lines() {
        let value = if line.ends_with('=') { SECRET } else { "" };
        writeln!(filled, "{line}{value}").expect("memory");
    }
    std::fs::write(folder.join(".env"), filled).expect("written");
}

#[tokio::test]
async fn all_in_one_runs_an_app_that_outlives_it() {
    let composed = Composed::up("all-in-one", &["manager"], &[]).await;
    composed.is_ready().await;
    let apps = composed.runs_an_app("demo", 8080).await;
    let device = composed.has_reported().await;
    composed.is_healthy(2).await;
    // The device is known by the machine's name and not by a container's.
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(device["hostname"], hostname.trim());
    // A new container of each, as for a new image.
    composed.compose(&["up", "--detach", "--force-recreate"]).await;
    composed.is_ready().await;
    composed.is_healthy(2).await;
    assert_eq!(composed.apps().await, apps, "an app was touched");
    composed.down(&apps).await;
}

#[tokio::test]
async fn cluster_answers_through_its_balancer_and_reports_through_kafka() {
    let composed = Composed::up("cluster", &["manager2"], &["haproxy", "mongo", "kafka"]).await;
    composed.is_ready().await;
    let url = "http://127.0.0.1:8000/readyz";
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut managers = BTreeMap::new();
    until_within(PATIENCE, "three managers answer through the balancer", async || {
        let answer = client.get(url).send().await.ok()?;
        let manager = answer.headers().get("x-manager")?.to_str().ok()?.to_owned();
        if answer.status().is_success() {
            *managers.entry(manager).or_insert(0) += 1;
        }
        (managers.len() == 3).then_some(())
    })
    .await;
    let apps = composed.runs_an_app("demo", 8081).await;
    let device = composed.has_reported().await;
    assert_eq!(device["apps"][0]["replicas_up"], 1, "{device}");
    composed.is_healthy(6).await;

    // One of them dies, and nobody who asks has to know.
    composed.compose(&["kill", "manager1"]).await;
    for _ in 0..30 {
        let answer = client.get(url).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }
    composed.down(&apps).await;
}

#[tokio::test]
async fn environment_of_the_original_does_with_our_image() {
    const WITHIN: [&str; 5] = ["-e", "NEBULA_USERNAME=nebula", "-e", PASSWORD, "manager"];
    let composed = Composed::up("original", &WITHIN, &["mongo", "kafka"]).await;
    composed.is_ready().await;
    let apps = composed.runs_an_app("example", 8082).await;
    let device = composed.has_reported().await;
    assert_eq!(device["hostname"], "worker", "{device}");
    composed.is_healthy(3).await;
    composed.down(&apps).await;
}
