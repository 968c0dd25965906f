//! Messages that are no reports, between some that are.

use crate::broker::{create_topic, fresh_name, producer, send, shared};
use crate::process::{Place, Reporter};
use crate::stored::{all, collection, holds};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, doc};
use rdkafka::producer::FutureRecord;
use serde_json::json;
use std::time::Duration;

const GOOD: usize = 40;

/// What is no report, with the word for why.
fn poison() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let with = |key: &str, value: serde_json::Value| {
        let mut report = report(0);
        report[key] = value;
        report.to_string().into_bytes()
    };
    let deep = (0..110).fold(json!(1), |inner, _| json!([inner]));
    vec![
        ("json", Vec::new()),
        ("json", text("hello")),
        ("json", text(r#"{"hostname": "cut"#)),
        ("json", vec![0xff, 0xfe, 0x00]),
        ("json", vec![b'['; 200_000]),
        ("json", vec![b'x'; 900_000]),
        ("shape", text("[1, 2]")),
        ("shape", text("null")),
        ("key", text("{}")),
        ("key", with("hostname", json!(17))),
        ("key", with("hostname", json!("x".repeat(300)))),
        ("key", with("report_creation_time", json!(-1))),
        ("key", with("report_creation_time", json!(1e300))),
        ("key", with("updated", json!("yes"))),
        ("refused", with("nul\0in a key", json!(1))),
        ("refused", with("deep", deep)),
    ]
}

fn report(number: usize) -> serde_json::Value {
    json!({ "hostname": format!("device-{number}"), "device_group": "speakers",
        "report_creation_time": 1_700_000_000 + number, "updated": false,
        "report_id": format!("{number:024x}") })
}

#[tokio::test]
async fn inv_29_poison_is_set_aside_and_counted_and_the_rest_goes_on() {
    let mut place = Place::fresh(&shared());
    create_topic(&place.kafka, &place.topic, 2).await;
    let producer = producer(&place.kafka);
    let poison = poison();
    for number in 1..=GOOD {
        if let Some((_, payload)) = poison.get(number - 1) {
            send(&producer, &place.topic, payload).await;
        }
        send(&producer, &place.topic, &report(number).to_string()).await;
    }
    // Kafka's word that a key is gone has no content at all.
    let gone = FutureRecord::<str, [u8]>::to(&place.topic).key("device-1");
    producer.send(gone, Duration::from_secs(30)).await.unwrap();
    let reporter = Reporter::start(&place).await;
    reporter.counts("nebula_reporter_reports_total", GOOD as u64).await;
    holds(&place, "nebula_reports_set_aside", poison.len() as u64 + 1).await;
    let mut counted = 0;
    for (kind, expected) in [("json", 6), ("shape", 2), ("key", 6), ("refused", 2), ("empty", 1)] {
        let name = format!("nebula_reporter_set_aside_total{{reason=\"{kind}\"}}");
        reporter.counts(&name, expected).await;
        assert_eq!(reporter.metric(&name).await, Some(expected), "{kind}");
        counted += expected;
        // The first of each kind, and no more of it.
        assert_eq!(reporter.said(&format!("kind=\"{kind}\"")), 1, "{}", reporter.log());
    }
    assert_eq!(counted, poison.len() as u64 + 1);
    // A text that was logged might be somebody's password.
    assert_eq!(reporter.said("hello"), 0, "{}", reporter.log());
    let aside = collection(&place, "nebula_reports_set_aside").await;
    let one = aside.find_one(doc! { "payload": Binary {
    subtype: BinarySubtype::Generic, bytes: b"hello".to_vec() } });
    let one = one.await.unwrap().expect("the whole message");
    assert_eq!(one.get_str("topic").unwrap(), place.topic);
    assert!(one.get_str("reason").unwrap().starts_with("it is not JSON"), "{one}");

    // Another group reads it all again, and all is known by its ids.
    let (reports, set_aside) = (all(&place, "nebula_reports").await, aside_ids(&place).await);
    place.group = fresh_name();
    let again = Reporter::start(&place).await;
    again.counts("nebula_reporter_duplicates_total", GOOD as u64).await;
    again.counts("nebula_reporter_set_aside_total{reason=\"json\"}", 6).await;
    again.counts("nebula_reporter_set_aside_total{reason=\"empty\"}", 1).await;
    assert_eq!(again.metric("nebula_reporter_reports_total").await, Some(0));
    assert_eq!(all(&place, "nebula_reports").await, reports);
    assert_eq!(aside_ids(&place).await, set_aside);
}

async fn aside_ids(place: &Place) -> Vec<String> {
    let all = all(place, "nebula_reports_set_aside").await;
    all.iter().map(|message| message.get_object_id("_id").unwrap().to_hex()).collect()
}
