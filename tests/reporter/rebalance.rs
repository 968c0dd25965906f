//! Reporters that come and go while reports are written.

use crate::broker::{create_topic, producer, shared};
use crate::process::{Place, Reporter};
use crate::stored::{collection, holds};
use futures_util::TryStreamExt;
use mongodb::bson::doc;
use rdkafka::producer::FutureRecord;
use tokio_util::sync::CancellationToken;

/// How many are under way at once.
const WINDOW: usize = 200;

/// Sends reports until it is told to stop, and tells how many there were.
async fn produce(place: Place, stop: CancellationToken) -> u64 {
    let producer = producer(&place.kafka);
    let mut sent = 0;
    while !stop.is_cancelled() {
        let mut under_way = Vec::with_capacity(WINDOW);
        for _ in 0..WINDOW {
            let key = format!("device-{}", sent % 100);
            // No id of its own: each is known by where it is.
            let report = format!(
                r#"{{"hostname":"{key}","device_group":"g","report_creation_time":{sent}}}"#
            );
            let record = FutureRecord::to(&place.topic).key(&key).payload(&report);
            under_way.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
            sent += 1;
        }
        for delivery in under_way {
            delivery.await.unwrap().unwrap();
        }
    }
    sent
}

#[tokio::test]
async fn inv_29_partitions_that_move_lose_and_double_nothing() {
    let place = Place::fresh(&shared());
    create_topic(&place.kafka, &place.topic, 6).await;
    let first = Reporter::start(&place).await;
    let stop = CancellationToken::new();
    let producing = tokio::spawn(produce(place.clone(), stop.clone()));
    holds(&place, "nebula_reports", 1_000).await;
    let mut second = Reporter::start(&place).await;
    second.counts("nebula_reporter_messages_total", 100).await;
    assert!(second.end().await, "{}", second.log());
    let third = Reporter::start(&place).await;
    third.counts("nebula_reporter_messages_total", 100).await;
    stop.cancel();
    let sent = producing.await.unwrap();
    holds(&place, "nebula_reports", sent).await;
    let reports = collection(&place, "nebula_reports").await;
    assert_eq!(reports.count_documents(doc! {}).await.unwrap(), sent);
    let each = doc! { "$group": { "_id": "$report_creation_time" } };
    let distinct = reports.aggregate([each, doc! { "$count": "number" }]).await.unwrap();
    let distinct: Vec<_> = distinct.try_collect().await.unwrap();
    assert_eq!(u64::try_from(distinct[0].get_i32("number").unwrap()).unwrap(), sent);
    assert!(first.metric("nebula_reporter_rebalances_total").await.unwrap() >= 3);
}
