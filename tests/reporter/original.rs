//! The original's Kafka client, on both ends: what its workers send is stored as it is, and what ours
//! send can be read by it.

use crate::broker::{create_topic, shared};
use crate::process::{Place, Reporter};
use crate::stored::{all, holds};
use mongodb::bson::Bson;
use nebula::bus::{Bus, KafkaBus, Packed};
use nebula::config::{Kafka, SecurityProtocol};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::process::Command;

/// A report as the original's workers make them: no id, times with and without fractions.
const REPORT: &str = include_str!("original.json");

/// Runs the program beside this file, with the packages of the service `python`.
async fn python(arguments: &[&str]) -> String {
    let python = std::env::var("NEBULA_TEST_PYTHON").expect("run these tests with `make test`");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reporter/original.py");
    let output = Command::new(python)
        .args(["-I", "-B"])
        .arg(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn report_of_the_original_is_stored_as_it_is() {
    let place = Place::fresh(&shared());
    create_topic(&place.kafka, &place.topic, 2).await;
    let reporter = Reporter::start(&place).await;
    python(&["produce", &place.kafka, &place.topic, REPORT]).await;
    holds(&place, "nebula_reports", 1).await;
    let stored = all(&place, "nebula_reports").await;
    let mut document = stored.into_iter().next().unwrap();
    let id = document.remove("_id").unwrap();
    assert!(matches!(id, Bson::ObjectId(_)), "{id}");
    let inserted = document.remove("report_insert_date").unwrap();
    assert!(matches!(inserted, Bson::DateTime(_)), "{inserted}");
    let sent: Value = serde_json::from_str(REPORT).unwrap();
    assert_eq!(plain(&Bson::Document(document.clone())), approximate(&sent));
    assert!(document.get_i32("report_creation_time").is_ok(), "as narrow as the original's");
    holds(&place, "nebula_devices", 1).await;
    let devices = all(&place, "nebula_devices").await;
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].get_str("_id").unwrap(), "speaker-17");
    reporter.counts("nebula_reporter_reports_total", 1).await;
}

/// By plain types: read by way of serde, a key like `$oid` would mean something.
fn plain(value: &Bson) -> Value {
    match value {
        Bson::Document(document) => {
            document.iter().map(|(key, value)| (key.clone(), plain(value))).collect()
        }
        Bson::Array(list) => list.iter().map(plain).collect(),
        Bson::String(text) => json!(text),
        Bson::Boolean(truth) => json!(truth),
        Bson::Null => Value::Null,
        Bson::Int32(number) => json!(f64::from(*number)),
        Bson::Int64(number) => approximate(&json!(number)),
        Bson::Double(number) => json!(number),
        other => panic!("{other}"),
    }
}

/// With all numbers as fractions.
fn approximate(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), approximate(value))).collect()
        }
        Value::Array(list) => list.iter().map(approximate).collect(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn reports_of_ours_are_read_by_the_original() {
    let (servers, topic) = (shared(), crate::broker::fresh_name());
    create_topic(&servers, &topic, 3).await;
    let bus = KafkaBus::new(&Kafka {
        bootstrap_servers: servers.clone(),
        topic: topic.clone(),
        security_protocol: SecurityProtocol::Plaintext,
        sasl: None,
        tls: None,
    });
    let bus = bus.unwrap();
    let reports: Vec<Packed> = (0..bus.batch())
        .map(|number| Packed {
            hostname: Arc::from("speaker-17"),
            json: format!(r#"{{"number": {number}, "padding": "{}"}}"#, "x".repeat(1_000))
                .into_bytes()
                .into(),
        })
        .collect();
    bus.send(&reports).await.unwrap();
    let count = reports.len().to_string();
    let read = python(&["consume", &servers, &topic, &count]).await;
    let lines: Vec<&str> = read.lines().collect();
    let sent: Vec<String> = (reports.iter())
        .map(|report| format!("speaker-17 {}", String::from_utf8_lossy(&report.json)))
        .collect();
    // A device's reports are in one partition, in their order.
    assert_eq!(lines, sent);
}
