//! Docker as a person at the device sees it, through its own command line.

use crate::world::until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Output;
use tokio::process::Command;

/// A Docker at an address.
#[derive(Clone)]
pub(crate) struct Docker {
    pub(crate) host: String,
}

/// What is looked at of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) image: String,
    pub(crate) state: String,
    pub(crate) started_at: String,
}

impl Docker {
    pub(crate) fn at(host: &str) -> Self {
        Self { host: host.to_owned() }
    }

    pub(crate) async fn try_run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.host).args(arguments);
        command.output().await.expect("the docker command line")
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {error}");
        text
    }

    /// Removes all containers and what tests leave behind of networks.
    pub(crate) async fn clean(&self) {
        let all = self.run(&["ps", "-aq"]).await;
        for id in all.lines() {
            self.run(&["rm", "-f", "-v", id]).await;
        }
        self.run(&["network", "prune", "-f"]).await;
    }

    /// All containers, ours and others, by name.
    pub(crate) async fn containers(&self) -> BTreeMap<String, Container> {
        let ids = self.run(&["ps", "-aq", "--no-trunc"]).await;
        let mut arguments = vec!["inspect", "--type", "container"];
        arguments.extend(ids.lines());
        if ids.is_empty() {
            return BTreeMap::new();
        }
        // One that vanished between the two commands is told on stderr; the others are printed.
        let output = self.try_run(&arguments).await;
        let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .map(|one| {
                let container = Container {
                    id: text(&one["Id"]),
                    image: text(&one["Config"]["Image"]),
                    state: text(&one["State"]["Status"]),
                    started_at: text(&one["State"]["StartedAt"]),
                };
                (text(&one["Name"]).trim_start_matches('/').to_owned(), container)
            })
            .collect()
    }

    /// The images of which containers were made since a moment of Docker's own clock.
    pub(crate) async fn made_since(&self, since: &str) -> String {
        let until = self.now().await;
        let only = ["--filter", "type=container", "--filter", "event=create"];
        let form = ["--format", "{{.From}}"];
        self.run(&[&["events", "--since", since, "--until", &until], &only[..], &form].concat())
            .await
    }

    /// The moment, by Docker's own clock.
    pub(crate) async fn now(&self) -> String {
        self.run(&["info", "-f", "{{.SystemTime}}"]).await
    }

    /// Waits until these containers run, with these images, and no other is there.
    pub(crate) async fn runs_only(&self, expected: &[(&str, &str)]) -> BTreeMap<String, Container> {
        let wanted: BTreeMap<&str, &str> = expected.iter().copied().collect();
        let what = format!("running only {wanted:?}");
        until(&what, || async {
            let now = self.containers().await;
            now.len() == wanted.len()
                && now.iter().all(|(name, container)| {
                    container.state == "running"
                        && wanted.get(name.as_str()) == Some(&container.image.as_str())
                })
        })
        .await;
        self.containers().await
    }

    /// Fetches a page from a port of the device; none when nobody answers.
    pub(crate) async fn fetch(port: u16, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{port}{path}");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.get(url).send().await.ok()?.text().await.ok()
    }

    /// Waits until a page says so.
    pub(crate) async fn says(port: u16, path: &str, expected: &str) {
        let what = format!("port {port}{path} says {expected}");
        until(&what, || async {
            Self::fetch(port, path).await.is_some_and(|page| page.trim() == expected)
        })
        .await;
    }
}
