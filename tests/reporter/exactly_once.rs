//! Everything is killed with -9 while reports come at full speed.

use crate::broker::{Broker, create_topic, producer};
use crate::process::{Place, Reporter};
use crate::servers::MongoServers;
use crate::stored::{collection, holds, holds_such};
use futures_util::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::FutureRecord;
use std::collections::HashSet;
use std::time::Duration;

const REPORTS: u64 = 200_000;
/// Each reports in its turn.
const DEVICES: u64 = 1_000;
/// How many are under way at once.
const WINDOW: usize = 20_000;

/// Every report with the id by which it is known, until Kafka has said of each that it has it.
async fn produce(servers: String, topic: String) {
    let producer = producer(&servers);
    let mut under_way = std::collections::VecDeque::new();
    for number in 1..=REPORTS {
        let key = format!("device-{}", number % DEVICES);
        let report = format!(
            r#"{{"hostname":"{key}","device_group":"speakers","report_creation_time":1700000000,"updated":false,"report_id":"{number:024x}","boot_id":"{key}","sequence":{number}}}"#
        );
        let delivery = loop {
            let record = FutureRecord::to(&topic).key(&key).payload(&report);
            match producer.send_result(record) {
                Ok(delivery) => break delivery,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::task::yield_now().await;
                }
                Err((error, _)) => panic!("{error}"),
            }
        };
        under_way.push_back(delivery);
        if under_way.len() == WINDOW {
            under_way.pop_front().unwrap().await.unwrap().unwrap();
        }
    }
    for delivery in under_way {
        delivery.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inv_29_each_report_is_stored_once_whoever_is_killed() {
    let (broker, mongo) =
        tokio::join!(Broker::start("killed", &[]), MongoServers::start("killed-store", &[]));
    let mut place = Place::fresh(broker.address());
    place.mongo = mongo.url().to_owned();
    create_topic(&place.kafka, &place.topic, 4).await;
    let (mut first, mut second) = tokio::join!(Reporter::start(&place), Reporter::start(&place));
    let producing = tokio::spawn(produce(place.kafka.clone(), place.topic.clone()));

    holds(&place, "nebula_reports", REPORTS / 20).await;
    first.kill().await;
    first = Reporter::start(&place).await;
    holds(&place, "nebula_reports", REPORTS / 5).await;
    mongo.kill(0).await;
    // It holds a batch that it cannot write, for longer than it takes until offsets are told.
    second.counts("nebula_reporter_store_errors_total", 2).await;
    second.kill().await;
    mongo.start_again(0).await;
    second = Reporter::start(&place).await;
    holds(&place, "nebula_reports", REPORTS * 2 / 5).await;
    broker.kill().await;
    broker.start_again().await;
    holds(&place, "nebula_reports", REPORTS * 3 / 5).await;
    first.kill().await;
    first = Reporter::start(&place).await;

    tokio::time::timeout(Duration::from_secs(120), producing).await.unwrap().unwrap();
    holds(&place, "nebula_reports", REPORTS).await;
    let ids = stored_ids(&place).await;
    assert_eq!(ids.len() as u64, REPORTS, "{}{}", first.log(), second.log());
    let distinct: HashSet<u64> = ids.into_iter().collect();
    assert_eq!(distinct, (1..=REPORTS).collect::<HashSet<u64>>());
    let aside = collection(&place, "nebula_reports_set_aside").await;
    assert_eq!(aside.count_documents(doc! {}).await.unwrap(), 0);
    // The inventory shows the last report of each, whoever was killed before it was brought up to date.
    let last = doc! { "sequence": { "$gt": i64::try_from(REPORTS - DEVICES).unwrap() } };
    holds_such(&place, "nebula_devices", last, DEVICES).await;
    let devices = collection(&place, "nebula_devices").await;
    assert_eq!(devices.count_documents(doc! {}).await.unwrap(), DEVICES);
}

/// What each stored report says it is.
async fn stored_ids(place: &Place) -> Vec<u64> {
    let reports = collection(place, "nebula_reports").await.clone_with_type::<RawDocumentBuf>();
    let only = doc! { "_id": 0, "report_id": 1 };
    let found = reports.find(doc! {}).projection(only).batch_size(20_000).await.unwrap();
    let id = |report: RawDocumentBuf| {
        u64::from_str_radix(report.get_str("report_id").unwrap(), 16).unwrap()
    };
    found.map_ok(id).try_collect().await.unwrap()
}
