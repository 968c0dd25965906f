//! Kafka or the database away: at the start, for a while, and at the end.

use crate::broker::{Broker, create_topic, producer, send, shared};
use crate::process::{Place, Reporter};
use crate::servers::MongoServers;
use crate::stored::holds;
use crate::until;
use serde_json::json;

fn report(number: usize) -> String {
    let report = json!({ "hostname": "device", "device_group": "speakers", "updated": false,
        "report_creation_time": 1_700_000_000 + number, "report_id": format!("{number:024x}") });
    report.to_string()
}

#[tokio::test]
async fn reporter_starts_while_nobody_is_there_and_works_once_they_are() {
    let (broker, mongo) =
        tokio::join!(Broker::start("late", &[]), MongoServers::start("late", &[]));
    let mut place = Place::fresh(broker.address());
    place.mongo = mongo.url().to_owned();
    create_topic(&place.kafka, &place.topic, 1).await;
    send(&producer(&place.kafka), &place.topic, &report(1)).await;
    broker.kill().await;
    mongo.kill(0).await;
    let reporter = Reporter::start(&place).await;
    let (status, body) = reporter.get("/healthz").await;
    assert_eq!((status, body.as_str()), (200, r#"{"alive":true}"#));
    let body = reporter.is_ready(false).await;
    assert_eq!(body, r#"{"ready":false,"kafka":false,"store":false}"#);
    // Each trouble is told once, however often it is tried.
    until("Kafka's trouble is told", async || {
        (reporter.said("Kafka is in trouble") > 0).then_some(())
    })
    .await;
    tokio::join!(broker.start_again(), mongo.start_again(0));
    holds(&place, "nebula_reports", 1).await;
    let body = reporter.is_ready(true).await;
    assert_eq!(body, r#"{"ready":true,"kafka":true,"store":true}"#);
    assert_eq!(reporter.said("Kafka is in trouble"), 1, "{}", reporter.log());
    assert!(reporter.said("Kafka answers again") > 0, "{}", reporter.log());
}

#[tokio::test]
async fn reporter_stays_in_its_group_while_the_store_is_away() {
    let mongo = MongoServers::start("paused-store", &[]).await;
    let mut place = Place::fresh(&shared());
    place.mongo = mongo.url().to_owned();
    create_topic(&place.kafka, &place.topic, 2).await;
    let producer = producer(&place.kafka);
    let reporter = Reporter::start(&place).await;
    send(&producer, &place.topic, &report(1)).await;
    holds(&place, "nebula_reports", 1).await;
    mongo.pause(0);
    for number in 2..50 {
        send(&producer, &place.topic, &report(number)).await;
    }
    // Three tries take longer than it takes until partitions are paused.
    reporter.counts("nebula_reporter_store_errors_total", 3).await;
    assert_eq!(reporter.metric("nebula_reporter_store_up").await, Some(0));
    assert_eq!(reporter.said("reports wait in Kafka"), 1, "{}", reporter.log());
    for number in 50..100 {
        send(&producer, &place.topic, &report(number)).await;
    }
    mongo.resume(0);
    holds(&place, "nebula_reports", 99).await;
    // It was never put out of its group: its partitions were shared out once.
    assert_eq!(reporter.metric("nebula_reporter_rebalances_total").await, Some(1));
    assert_eq!(reporter.metric("nebula_reporter_store_up").await, Some(1));
    reporter.counts("nebula_reporter_lag{partition=\"0\"}", 0).await;
}

#[tokio::test]
async fn inv_29_what_no_store_acknowledged_is_read_again() {
    let mongo = MongoServers::start("unwritten", &[]).await;
    let mut place = Place::fresh(&shared());
    place.mongo = mongo.url().to_owned();
    create_topic(&place.kafka, &place.topic, 1).await;
    let producer = producer(&place.kafka);
    for number in 1..=20 {
        send(&producer, &place.topic, &report(number)).await;
    }
    mongo.kill(0).await;
    let mut reporter = Reporter::start(&place).await;
    // Much longer than it takes until Kafka is told how far was read.
    reporter.counts("nebula_reporter_store_errors_total", 2).await;
    reporter.kill().await;
    mongo.start_again(0).await;
    let _next = Reporter::start(&place).await;
    holds(&place, "nebula_reports", 20).await;
}

#[tokio::test]
async fn signal_has_what_was_read_written_and_the_group_left() {
    let place = Place::fresh(&shared());
    create_topic(&place.kafka, &place.topic, 1).await;
    let producer = producer(&place.kafka);
    let mut first = Reporter::start(&place).await;
    for number in 1..=20 {
        send(&producer, &place.topic, &report(number)).await;
    }
    first.counts("nebula_reporter_messages_total", 20).await;
    assert!(first.end().await, "{}", first.log());
    holds(&place, "nebula_reports", 20).await;
    // The next one goes on behind it, and at once: nobody's session has to run out first.
    let begun = std::time::Instant::now();
    let next = Reporter::start(&place).await;
    send(&producer, &place.topic, &report(21)).await;
    next.counts("nebula_reporter_reports_total", 1).await;
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    assert_eq!(next.metric("nebula_reporter_duplicates_total").await, Some(0));
    assert_eq!(next.metric("nebula_reporter_messages_total").await, Some(1));
}
