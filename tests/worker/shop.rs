//! A shop that must not close: the app `site` behind a real load balancer (`HAProxy`), both kept by the real binary,
//! with customers who come every 10 ms.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::docker::Container;
use crate::probe::{Probe, Tally, replica_behind};
use crate::replicas::Replicas;
use crate::world::{PATIENCE, World, until, until_within, variable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// The device's port of the balancer.
const PORT: u16 = 8600;

/// The shop, open.
pub(crate) struct Shop {
    // Dropped before the world, in whose folder its log is.
    pub(crate) worker: Binary,
    pub(crate) world: World,
    /// Where customers knock.
    address: SocketAddr,
    more: Value,
    id: u64,
    balancer: Value,
}

impl Shop {
    /// Three replicas of version 1 that are asked for their health each second, and with `more`.
    pub(crate) async fn open(more: Value) -> Self {
        let ports = json!([{PORT.to_string(): "8080"}]);
        let shop = Self::build(World::new().await, "watched1", more, ports).await;
        shop.is_open().await;
        shop
    }

    /// Three replicas of an image in a world of its own. Customers knock at the balancer's own address, without what
    /// Docker does to publish a port.
    pub(crate) async fn open_in(world: World, tag: &str) -> Self {
        let mut shop = Self::build(world, tag, json!({}), json!([])).await;
        let form = "{{.NetworkSettings.Networks.nebula.IPAddress}}";
        let address = shop.world.docker.run(&["inspect", "-f", form, "lb-1"]).await;
        shop.address = SocketAddr::new(address.parse().expect("an address"), 8080);
        shop.is_open().await;
        shop
    }

    async fn build(mut world: World, tag: &str, more: Value, ports: Value) -> Self {
        let mut balancer = app("lb", 1, &json!({"networks": ["nebula"], "starting_ports": ports}));
        balancer["docker_image"] = variable("NEBULA_TEST_HAPROXY").into();
        world.manager.declare(&[balancer.clone(), replicas(1, tag, &more)]);
        let worker = Binary::start(&world);
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let shop = Self { world, worker, address, more, id: 1, balancer };
        shop.runs(tag).await;
        shop
    }

    async fn is_open(&self) {
        let patience = Duration::from_secs(1);
        // It learns of each by DNS: an update that takes away the only one it knows would be the
        // test's fault.
        let mut found = BTreeSet::new();
        until_within(PATIENCE, "the balancer has found all replicas", async || {
            found.extend(replica_behind(self.address, patience).await);
            (found.len() == 3).then_some(())
        })
        .await;
    }

    /// Declares another version of the app.
    pub(crate) fn declare(&mut self, tag: &str) {
        self.declare_with(tag, &json!({}));
    }

    /// Declares another version of the app, with an environment.
    pub(crate) fn declare_with(&mut self, tag: &str, environment: &Value) {
        self.id += 1;
        let mut site = replicas(self.id, tag, &self.more);
        site["env_vars"] = environment.clone();
        self.world.manager.declare(&[self.balancer.clone(), site]);
    }

    /// Waits until three replicas of this version run, under their lasting names, and nothing else.
    pub(crate) async fn runs(&self, tag: &str) -> BTreeMap<String, Container> {
        let (site, balancer) = (site(tag), variable("NEBULA_TEST_HAPROXY"));
        let all = [("site-1", &*site), ("site-2", &site), ("site-3", &site), ("lb-1", &balancer)];
        self.world.docker.runs_only(&all).await
    }

    /// Waits until a replica runs and answers to its app's name.
    pub(crate) async fn is_back(&self, name: &str) {
        let form = "{{.State.Running}} {{with index .NetworkSettings.Networks \"nebula\"}}{{.Aliases}}{{end}}";
        until(&format!("{name} runs in the network"), || async {
            let seen = self.world.docker.try_run(&["inspect", "-f", form, name]).await;
            let seen = String::from_utf8_lossy(&seen.stdout).replace(['[', ']'], " ");
            let mut words = seen.split_whitespace();
            words.next() == Some("true") && words.any(|alias| alias == "site")
        })
        .await;
    }

    /// kill -9 of the worker, and another one in its place.
    pub(crate) async fn kill_the_worker(self) -> Self {
        self.worker.kill().await;
        let worker = Binary::start(&self.world);
        Self { worker, ..self }
    }

    /// Lets customers in.
    pub(crate) async fn customers(&self) -> Customers {
        let replicas = Replicas::of(&self.world.docker, "site");
        until("all replicas are well", || async { replicas.up() == 3 }).await;
        Customers {
            since: Instant::now(),
            strangers: Probe::of_strangers(self.address),
            browser: Probe::of_a_browser(self.address),
            replicas,
        }
    }
}

fn replicas(id: u64, tag: &str, more: &Value) -> Value {
    let mut replicas = app("site", id, more);
    replicas["docker_image"] = site(tag).into();
    replicas["containers_per"] = json!({"server": 3});
    replicas
}

/// Those who come to the shop while something is done to it.
pub(crate) struct Customers {
    since: Instant,
    strangers: Probe,
    browser: Probe,
    replicas: Replicas,
}

impl Customers {
    /// Closes the doors. Nobody was turned away, and there were never fewer replicas than this.
    pub(crate) async fn were_all_served(self, fewest_replicas: usize) -> Tally {
        let strangers = self.strangers.end().await;
        let browser = self.browser.end().await;
        let (fewest, record) = self.replicas.fewest_since(self.since).await;
        for (who, tally) in [("strangers", &strangers), ("the browser", &browser)] {
            assert!(
                tally.failures.is_empty() && tally.answered() > 0,
                "{} of {} requests of {who} failed, first {:?}\n{record}",
                tally.failures.len(),
                tally.answered() + u64::try_from(tally.failures.len()).unwrap_or(u64::MAX),
                &tally.failures[..tally.failures.len().min(3)]
            );
            tracing::info!(who, answers = ?tally.answers, slowest = ?tally.slowest, "served");
        }
        tracing::info!(fewest, record, "replicas");
        assert!(fewest >= fewest_replicas, "only {fewest} replicas were well\n{record}");
        strangers
    }
}
