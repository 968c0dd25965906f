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
    /// Copies the example and fills in its `.env`.
    async fn of(name: &str, within: &'static [&'static str], stand_ins: &[&str]) -> Self {
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
        composed
    }

    /// Types the lines that the README has under a heading, once the manager answers.
    async fn types(&self, heading: &str) {
        let lines = printed(heading);
        let (first, rest) = lines.split_first().expect("a line");
        self.types_line(first).await;
        self.is_ready().await;
        for line in rest {
            self.types_line(line).await;
        }
    }

    /// One line, in a shell that stops where a part of a pipe fails. It has no terminal, and an image
    /// that is here in place of a public one.
    async fn types_line(&self, line: &str) {
        let line = line
            .replace("docker compose", &variable("NEBULA_TEST_COMPOSE"))
            .replace(" exec manager", " exec -T manager")
            .replace("nginx:1.29", &site("1"));
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &line]);
        succeeded(self.here(&mut shell)).await;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(variable("NEBULA_TEST_COMPOSE"));
        self.here(command.args(arguments));
        command
    }

    /// In the example's folder, with this test's Docker.
    fn here<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let socket = self.world.docker.host.trim_start_matches("unix://");
        command.current_dir(&self.folder).env("DOCKER_HOST", &self.world.docker.host);
        command.env("DOCKER_SOCKET", socket)
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

    /// Adds an app to the group of this machine, and waits until it runs.
    async fn runs_an_app(&self, group: &str, port: u16) -> BTreeMap<String, Container> {
        let (image, port_flag) = (site("1"), format!("{port}:80"));
        self.ctl(&["apps", "create", "web", "--image", &image, "--port", &port_flag]).await;
        self.ctl(&["device-groups", "update", group, "--add-app", "web"]).await;
        self.serves(port).await
    }

    /// Waits until the app answers, and gives its containers.
    async fn serves(&self, port: u16) -> BTreeMap<String, Container> {
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

    /// A stranger who claims another's address is known by the own one all the same.
    async fn believes_no_client(&self, client: &reqwest::Client) {
        const CLAIMED: &str = "10.213.77.99";
        let request = client.delete("http://127.0.0.1:8000/api/v2/apps/web");
        let request = request.basic_auth("stranger", Some("wrong"));
        let answer = request.header("X-Forwarded-For", CLAIMED).send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{answer:?}");
        let said = until_within(PATIENCE, "a manager tells of the stranger", async || {
            let said = self.compose(&["logs", "--no-color"]).await;
            said.lines().find(|line| line.contains("method=\"DELETE\"")).map(str::to_owned)
        })
        .await;
        // Through the published port, whoever is on this machine comes from the network's gateway.
        assert!(said.contains("address=10.213.77.1 ") && !said.contains(CLAIMED), "{said}");
    }

    /// The check-in that waits does not keep it until Docker kills it.
    async fn balancer_ends_in_time(&self) {
        self.compose(&["stop", "balancer"]).await;
        let id = self.compose(&["ps", "--quiet", "balancer"]).await;
        let code = ["inspect", "--format", "{{.State.ExitCode}}", id.trim()];
        assert_ne!(self.world.docker.run(&code).await.trim(), "137", "killed");
    }

    /// Ends it; what the worker started goes on.
    async fn down(self, apps: &BTreeMap<String, Container>) {
        self.compose(&["down", "--volumes"]).await;
        assert_eq!(self.world.docker.containers().await, *apps);
    }
}

/// The lines with `docker compose` that the README of the examples has under a heading.
fn printed(heading: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(folder("README.md")).expect("the README");
    let mut lines = readme.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let section = lines.by_ref().take_while(|line| !line.starts_with("## "));
    section
        .filter_map(|line| line.strip_prefix("    "))
        .filter(is_compose)
        .map(str::to_owned)
        .collect()
}

fn is_compose(line: &&str) -> bool {
    line.starts_with("docker compose ")
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
    let composed = Composed::of("all-in-one", &["manager"], &[]).await;
    composed.types("With Docker Compose").await;
    let apps = composed.serves(8080).await;
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
    let composed = Composed::of("cluster", &["manager1"], &["haproxy", "mongo", "kafka"]).await;
    composed.types("Several managers").await;
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

    // Figures are not for whoever comes by.
    let metrics = client.get("http://127.0.0.1:8000/metrics").send().await.expect("an answer");
    assert_eq!(metrics.status(), 403, "{metrics:?}");
    composed.believes_no_client(&client).await;

    // One of them dies, and nobody who asks has to know.
    composed.compose(&["kill", "manager1"]).await;
    for _ in 0..30 {
        let answer = client.get(url).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    }
    composed.balancer_ends_in_time().await;
    composed.down(&apps).await;
}

#[tokio::test]
async fn environment_of_the_original_does_with_our_image() {
    const WITHIN: [&str; 5] = ["-e", "NEBULA_USERNAME=nebula", "-e", PASSWORD, "manager"];
    let composed = Composed::of("original", &WITHIN, &["mongo", "kafka"]).await;
    composed.compose(&["up", "--detach"]).await;
    composed.is_ready().await;
    composed.ctl(&["device-groups", "create", "example"]).await;
    let apps = composed.runs_an_app("example", 8082).await;
    let device = composed.has_reported().await;
    assert_eq!(device["hostname"], "worker", "{device}");
    composed.is_healthy(3).await;
    composed.down(&apps).await;
}
