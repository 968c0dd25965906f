//! The worker's way to Kafka when there is none, and what it refuses.

use crate::broker::{Broker, create_topic, fresh_name, shared};
use nebula::bus::{Bus, BusError, KafkaBus, Packed};
use nebula::config::{Kafka, KafkaTls, SecurityProtocol};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn kafka(servers: &str, topic: &str) -> Kafka {
    Kafka {
        bootstrap_servers: servers.to_owned(),
        topic: topic.to_owned(),
        security_protocol: SecurityProtocol::Plaintext,
        sasl: None,
        tls: None,
    }
}

fn report(bytes: usize) -> Packed {
    let json = format!(r#"{{"padding": "{}"}}"#, "x".repeat(bytes)).into_bytes();
    Packed { hostname: Arc::from("speaker-17"), json: json.into() }
}

/// On one thread, as in a worker: whatever held it up would hold up the device.
#[tokio::test]
async fn inv_28_broker_away_gives_later_and_holds_up_nothing() {
    let broker = Broker::start("away", &[]).await;
    let topic = fresh_name();
    create_topic(broker.address(), &topic, 1).await;
    let bus = KafkaBus::new(&kafka(broker.address(), &topic)).unwrap();
    bus.send(&[report(10)]).await.unwrap();
    broker.kill().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let mut longest = Duration::ZERO;
    let mut last = Instant::now();
    // More than the library's queue holds.
    let reports: Vec<Packed> = (0..bus.batch()).map(|_| report(200_000)).collect();
    let mut sending = bus.send(&reports);
    let outcome = loop {
        tokio::select! {
            outcome = &mut sending => break outcome,
            _ = ticks.tick() => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    };
    assert!(matches!(outcome, Err(BusError::Later { .. })), "{outcome:?}");
    assert!(longest < Duration::from_secs(1), "held up for {longest:?}");
    drop(sending);
    broker.start_again().await;
    crate::until("it is taken again", async || bus.send(&reports).await.ok()).await;
    // Ending one on the only thread there is takes no time either.
    let begun = Instant::now();
    drop(bus);
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn report_that_is_too_large_is_never_taken_and_others_are() {
    let (servers, topic) = (shared(), fresh_name());
    create_topic(&servers, &topic, 1).await;
    let bus = KafkaBus::new(&kafka(&servers, &topic)).unwrap();
    let outcome = bus.send(&[report(10), report(1_500_000), report(10)]).await;
    assert!(matches!(outcome, Err(BusError::Never { .. })), "{outcome:?}");
    bus.send(&[report(10)]).await.unwrap();
    assert_eq!(bus.address(), format!("topic {topic} of Kafka at {servers}"));
}

#[test]
fn files_of_tls_are_told_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let (missing, odd) = (folder.path().join("missing"), folder.path().join("odd"));
    std::fs::write(&odd, "no PEM").unwrap();
    let refused = |tls: KafkaTls| {
        let kafka =
            Kafka { security_protocol: SecurityProtocol::Ssl, tls: Some(tls), ..kafka("k", "t") };
        KafkaBus::new(&kafka).unwrap_err().to_string()
    };
    let named = |path: &PathBuf| Some(path.clone());
    let words = refused(KafkaTls { ca_file: named(&missing), ..KafkaTls::default() });
    let expected = format!("`kafka_ssl_cafile`: file {} cannot be read: ", missing.display());
    assert!(words.starts_with(&expected), "{words}");
    for (key, tls, what) in [
        ("cafile", KafkaTls { ca_file: named(&odd), ..KafkaTls::default() }, "CERTIFICATE"),
        ("certfile", KafkaTls { cert_file: named(&odd), ..KafkaTls::default() }, "CERTIFICATE"),
        ("keyfile", KafkaTls { key_file: named(&odd), ..KafkaTls::default() }, "PRIVATE KEY"),
        ("crlfile", KafkaTls { crl_file: named(&odd), ..KafkaTls::default() }, "X509 CRL"),
    ] {
        let expected = format!(
            "`kafka_ssl_{key}`: file {} must be PEM with a `-----BEGIN {what}-----` in it",
            odd.display()
        );
        assert_eq!(refused(tls), expected);
    }
}
