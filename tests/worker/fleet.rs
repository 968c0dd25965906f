//! How somebody far away knows that a change has reached the devices: the real binary in all its
//! modes, on real Docker, straight to an embedded store and by way of Kafka to `MongoDB`.

use crate::apps::site;
use crate::world::{PATIENCE, World, until, until_within, variable};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

pub(crate) const PASSWORD: &str = "of-the-fleet";
/// The check-in time of the device, in seconds: it is away after three of them and fifteen more.
const CHECK_IN: &str = "1";

/// A manager, a device, and by which way the device reports.
pub(crate) struct Fleet {
    // Dropped in this order: the device before what it reports to.
    worker: Child,
    _others: Vec<Child>,
    pub(crate) manager: SocketAddr,
    environment: Vec<(String, String)>,
    pub(crate) world: World,
}

/// What a command said.
pub(crate) struct Said {
    code: Option<i32>,
    pub(crate) out: String,
    err: String,
}

impl Fleet {
    /// Reports go straight to a manager with an embedded store.
    pub(crate) async fn embedded() -> Self {
        Self::start(&[], &[]).await
    }

    /// Reports go through Kafka into `MongoDB`, where the manager reads them.
    async fn through_kafka() -> Self {
        let kafka = variable("NEBULA_TEST_KAFKA");
        let name = format!("fleet-{}", std::process::id());
        let of_kafka = [("KAFKA_BOOTSTRAP_SERVERS", kafka.as_str()), ("KAFKA_TOPIC", &name)];
        let mongo = variable("NEBULA_TEST_MONGO_URL");
        let of_mongo = [("MONGO_URL", mongo.as_str()), ("SCHEMA_NAME", &name)];
        Self::start(&of_kafka, &of_mongo).await
    }

    async fn start(of_kafka: &[(&str, &str)], of_mongo: &[(&str, &str)]) -> Self {
        let world = World::new().await;
        let manager = free_address().await;
        let mut others = vec![process(
            &world,
            "manager",
            &[
                &[("NEBULA_LISTEN", manager.to_string().as_str()), ("BASIC_AUTH_USER", "admin")],
                &[("BASIC_AUTH_PASSWORD", PASSWORD), ("NEBULA_DATA_DIR", &path(&world, "manager"))],
                of_mongo,
            ]
            .concat(),
        )];
        if !of_kafka.is_empty() {
            let of_reporter = [("NEBULA_LISTEN", "127.0.0.1:0"), ("KAFKA_GROUP_ID", of_kafka[1].1)];
            others.push(process(&world, "reporter", &[of_kafka, of_mongo, &of_reporter].concat()));
        }
        let environment: Vec<(String, String)> = [
            ("NEBULA_MANAGER_URI", format!("http://{manager}")),
            ("NEBULA_MANAGER_AUTH_USER", "admin".to_owned()),
            ("NEBULA_MANAGER_AUTH_PASSWORD", PASSWORD.to_owned()),
            ("NEBULA_MANAGER_CHECK_IN_TIME", CHECK_IN.to_owned()),
            ("NEBULA_DATA_DIR", path(&world, "data")),
            ("NEBULA_DOCKER_HOST", world.docker.host.clone()),
            ("NEBULA_HOSTNAME", "till-7".to_owned()),
            ("DEVICE_GROUP", "tills".to_owned()),
        ]
        .into_iter()
        .chain(of_kafka.iter().map(|(name, value)| (*name, (*value).to_owned())))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let worker = device(&world, &environment);
        let fleet = Self { worker, _others: others, manager, environment, world };
        until("the manager answers", || async { fleet.ctl(&["ping"]).await.code == Some(0) }).await;
        fleet
    }

    /// A command, as a person types it.
    async fn ctl(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_nebula"))
            .arg("ctl")
            .args(arguments)
            .env_clear()
            .env("NEBULA_URL", format!("http://{}", self.manager))
            .env("NEBULA_USERNAME", "admin")
            .env("NEBULA_PASSWORD", PASSWORD)
            .env("HOME", self.world.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("the binary");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// One that must succeed.
    pub(crate) async fn does(&self, arguments: &[&str]) -> Said {
        let said = self.ctl(arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}: {}\n{}", said.out, said.err);
        said
    }

    /// One that must fail, with these words.
    async fn fails(&self, arguments: &[&str], words: &[&str]) {
        let said = self.ctl(arguments).await;
        assert_eq!(said.code, Some(1), "{arguments:?}: {}\n{}", said.out, said.err);
        for word in words {
            assert!(said.err.contains(word), "{arguments:?}: no `{word}` in\n{}", said.err);
        }
    }

    /// The device, as the manager knows it.
    pub(crate) async fn device(&self) -> Option<Value> {
        let said = self.ctl(&["-o", "json", "devices", "info", "till-7"]).await;
        (said.code == Some(0)).then(|| serde_json::from_str(&said.out).expect("JSON"))
    }

    pub(crate) async fn is(&self, state: &str) -> Value {
        until_within(PATIENCE, &format!("the device is {state}"), async || {
            self.device().await.filter(|device| device["state"] == state)
        })
        .await
    }
}

/// An address at which nobody listens.
pub(crate) async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address")
}

fn path(world: &World, name: &str) -> String {
    world.folder.path().join(name).display().to_string()
}

fn process(world: &World, mode: &str, environment: &[(&str, &str)]) -> Child {
    let log = world.folder.path().join(format!("{mode}.log"));
    let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_nebula"))
        .arg(mode)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(world.folder.path())
        .stdin(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the binary")
}

fn device(world: &World, environment: &[(String, String)]) -> Child {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    process(world, "worker", &environment)
}

/// All that can become of a change, and the truth of each.
async fn the_truth_of_a_change(mut fleet: Fleet) {
    let [one, two, none, unhealthy] = ["watched1", "watched2", "none", "unhealthy"].map(site);
    fleet.does(&["apps", "create", "site", "--image", &one, "--per", "server=2"]).await;
    fleet.does(&["device-groups", "create", "tills", "--app", "site"]).await;
    let device = fleet.is("converged").await;
    assert_eq!(device["apps"][0]["replicas_up"], 2);
    assert_eq!(device["worker"]["version"], env!("CARGO_PKG_VERSION"));

    // It goes well, and when the command ends it is so.
    let update = |image: &'static str| ["apps", "update", "site", "--wait", "--image", image];
    let [two, none, unhealthy]: [&'static str; 3] =
        [two, none, unhealthy].map(|image| &*image.leak());
    fleet.does(&update(two)).await;
    let names = [("site-1", two), ("site-2", two)];
    let now = fleet.world.docker.containers().await;
    assert_eq!(now.len(), 2, "{now:?}");
    assert!(names.iter().all(|(name, image)| now[*name].image == *image), "{now:?}");

    // A tag that nobody has pushed.
    fleet.fails(&update(none), &["till-7", "failed", "pull of", "site:none"]).await;
    fleet.world.docker.runs_only(&names).await;
    // A version that is not well.
    fleet.fails(&update(unhealthy), &["till-7", "rolled_back", "health"]).await;
    fleet.world.docker.runs_only(&names).await;
    let device = fleet.device().await.expect("it is known");
    assert_eq!(
        (&device["state"], &device["apps"][0]["running_ids"]),
        (&"rolled_back".into(), &serde_json::json!([2]))
    );

    // Back to the version before the bad ones.
    let history = fleet.does(&["apps", "history", "site"]).await.out;
    assert!(history.contains("site:unhealthy") && history.contains("admin"), "{history}");
    fleet.does(&["apps", "rollback", "site", "--to", "2", "--wait"]).await;
    fleet.is("converged").await;

    // A device that is away: for a while it may come back, and then it holds nobody up.
    let id = fleet.worker.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it lives");
    kill_process(id, Signal::STOP).expect("stopped");
    let soon = ["apps", "restart", "site", "--wait", "--timeout", "4"];
    fleet.fails(&soon, &["till-7", "outdated"]).await;
    fleet.is("away").await;
    fleet.fails(&["apps", "restart", "site", "--wait"], &["no device", "1 away"]).await;
    let listed = fleet.does(&["devices", "list", "--state", "away"]).await.out;
    assert!(listed.contains("till-7"), "{listed}");
    // It comes back, as what is declared by then.
    fleet.worker.kill().await.expect("killed");
    fleet.worker = device_again(&fleet);
    fleet.is("converged").await;
    let reports = fleet.does(&[
        "-o",
        "json",
        "reports",
        "list",
        "--hostname",
        "till-7",
        "--page-size",
        "500",
    ]);
    let reports: Value = serde_json::from_str(&reports.await.out).expect("JSON");
    let of_device = reports["data"].as_array().expect("a list");
    assert!(of_device.len() > 5, "{} reports", of_device.len());
    let mut ids: Vec<&str> =
        of_device.iter().filter_map(|report| report["report_id"].as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "a report is there twice");
}

fn device_again(fleet: &Fleet) -> Child {
    device(&fleet.world, &fleet.environment)
}

#[tokio::test]
async fn truth_of_a_change_is_told_with_the_embedded_store() {
    the_truth_of_a_change(Fleet::embedded().await).await;
}

#[tokio::test]
async fn truth_of_a_change_is_told_through_kafka_and_mongodb() {
    the_truth_of_a_change(Fleet::through_kafka().await).await;
}
