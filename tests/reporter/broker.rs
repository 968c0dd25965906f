//! Kafka brokers: the one that all tests share, and those of a test's own, which can be killed. They
//! come from the service `kafka` of `scripts/with-services`.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::ToBytes;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::Command;

/// The broker that all tests share, and nobody breaks.
pub(crate) fn shared() -> String {
    variable("NEBULA_TEST_KAFKA")
}

/// A name that no other test of this run uses, for a topic or a group.
pub(crate) fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Makes a topic.
pub(crate) async fn create_topic(servers: &str, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = config(servers).create().unwrap();
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let outcome = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
    outcome.into_iter().next().unwrap().unwrap();
}

pub(crate) fn producer(servers: &str) -> FutureProducer {
    config(servers).set("queue.buffering.max.messages", "300000").create().unwrap()
}

/// Sends a message without a key, as the original does, and waits until Kafka has it.
pub(crate) async fn send<P: ToBytes + ?Sized>(producer: &FutureProducer, topic: &str, payload: &P) {
    let record = FutureRecord::<(), _>::to(topic).payload(payload);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// A broker that only this test uses. It goes, with its data, when this value does, also when the
/// test fails.
pub(crate) struct Broker {
    name: String,
    address: String,
}

impl Broker {
    /// Starts one, with settings of Kafka's own. No two that live at the same time may share a name.
    pub(crate) async fn start(name: &str, settings: &[String]) -> Self {
        let mut arguments = vec!["start", name];
        arguments.extend(settings.iter().map(String::as_str));
        let address = run(&arguments).await;
        Self { name: name.to_owned(), address }
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// kill -9. It is gone afterwards, and its data are not.
    pub(crate) async fn kill(&self) {
        run(&["kill", &self.name]).await;
    }

    /// Starts it again, where it was, with what it had, and waits until it answers.
    pub(crate) async fn start_again(&self) {
        run(&["start", &self.name]).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let program = variable("NEBULA_TEST_KAFKA_BROKER");
        let stop = std::process::Command::new(program).args(["stop", &self.name]).status();
        if !std::thread::panicking() {
            assert!(stop.is_ok_and(|status| status.success()), "{} is stopped", self.name);
        }
    }
}

async fn run(arguments: &[&str]) -> String {
    let program = variable("NEBULA_TEST_KAFKA_BROKER");
    let output = Command::new(&program).args(arguments).output().await.expect("the program");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A variable that `scripts/with-services` sets.
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test`"))
}
