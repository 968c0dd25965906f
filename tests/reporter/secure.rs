//! Kafka by TLS and SASL: with what is right, and with what is wrong, which is told once, without
//! the credential, and loses no report.

use crate::broker::{Broker, fresh_name};
use crate::process::{Place, Reporter};
use crate::stored::holds;
use crate::until;
use nebula::bus::{Bus, BusError, KafkaBus, Packed};
use nebula::config::{Credentials, Kafka, KafkaTls, SaslMechanism, Secret, SecurityProtocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const USER: &str = "speakers";
const PASSWORD: &str = "open-sesame";
const WRONG: &str = "not-so-secret-guess";

/// Certificates of an authority, in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Who has the same name as its authority is taken for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate and its key, in a file each and both in a third.
    fn issue(&self, name: &str) -> [PathBuf; 3] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let both = format!("{key}{certificate}");
        [("certificate", certificate), ("key", key), ("both", both)].map(|(what, text)| {
            let path = self.folder.path().join(format!("{name}.{what}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        })
    }

    /// What makes a broker serve by TLS, at the address where tests find it.
    fn broker_settings(&self, listener: &str) -> Vec<String> {
        let [_, _, both] = self.issue("127.0.0.1");
        vec![
            format!("nebula.listener={listener}"),
            "ssl.keystore.type=PEM".to_owned(),
            format!("ssl.keystore.location={}", both.display()),
            "ssl.truststore.type=PEM".to_owned(),
            format!("ssl.truststore.location={}", self.ca().display()),
        ]
    }

    async fn broker_with_user(&self, name: &str) -> Broker {
        let mut settings = self.broker_settings("SASL_SSL");
        settings.push(format!("nebula.user={USER}:{PASSWORD}"));
        Broker::start(name, &settings).await
    }

    fn trusted(&self) -> KafkaTls {
        KafkaTls { ca_file: Some(self.ca()), ..KafkaTls::default() }
    }
}

fn credentials(password: &str) -> Credentials {
    Credentials { user: USER.to_owned(), password: Secret::new(password.to_owned()) }
}

fn kafka(broker: &Broker, topic: &str, tls: KafkaTls, sasl: Option<SaslMechanism>) -> Kafka {
    let security_protocol =
        if sasl.is_some() { SecurityProtocol::SaslSsl } else { SecurityProtocol::Ssl };
    let (bootstrap_servers, topic) = (broker.address().to_owned(), topic.to_owned());
    Kafka { bootstrap_servers, topic, security_protocol, sasl, tls: Some(tls) }
}

fn report(number: usize) -> Packed {
    let report = json!({ "hostname": "speaker-17", "device_group": "speakers", "updated": false,
        "report_creation_time": 1_700_000_000 + number, "report_id": format!("{number:024x}") });
    Packed { hostname: Arc::from("speaker-17"), json: report.to_string().into_bytes().into() }
}

/// Why a report was given back, to be sent again.
async fn given_back(kafka: &Kafka) -> String {
    match KafkaBus::new(kafka).unwrap().send(&[report(0)]).await {
        Err(BusError::Later { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A reporter's place at a broker that wants a user.
fn place(broker: &Broker, topic: &str, ca: &Path, mechanism: &str, password: &str) -> Place {
    let mut place = Place::fresh(broker.address());
    topic.clone_into(&mut place.topic);
    let ca = ca.display().to_string();
    place.more = [
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
        ("KAFKA_SASL_MECHANISM", mechanism),
        ("KAFKA_SASL_PLAIN_USERNAME", USER),
        ("KAFKA_SASL_PLAIN_PASSWORD", password),
        ("KAFKA_SSL_CAFILE", &ca),
        // Each further try is told there.
        ("RUST_LOG", "nebula=info,nebula::bus=debug"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    place
}

#[tokio::test]
async fn reports_go_by_tls_with_each_kind_of_password() {
    let authority = Authority::new();
    let broker = authority.broker_with_user("passwords").await;
    let topic = fresh_name();
    let kinds = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];
    for (number, mechanism) in kinds.into_iter().enumerate() {
        let sasl = Some(mechanism(credentials(PASSWORD)));
        let bus = KafkaBus::new(&kafka(&broker, &topic, authority.trusted(), sasl)).unwrap();
        bus.send(&[report(number)]).await.unwrap();
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let place = place(&broker, &topic, &authority.ca(), mechanism, PASSWORD);
        let reporter = Reporter::start(&place).await;
        holds(&place, "nebula_reports", 3).await;
        assert_eq!(reporter.said("Kafka is in trouble"), 0, "{}", reporter.log());
    }
}

#[tokio::test]
async fn reports_go_by_tls_with_a_certificate_of_the_device() {
    let authority = Authority::new();
    let mut settings = authority.broker_settings("SSL");
    settings.push("ssl.client.auth=required".to_owned());
    let broker = Broker::start("certificates", &settings).await;
    let topic = fresh_name();
    let [certificate, key, _] = authority.issue("speaker-17");
    let mut tls = authority.trusted();
    (tls.cert_file, tls.key_file) = (Some(certificate), Some(key));
    KafkaBus::new(&kafka(&broker, &topic, tls, None)).unwrap().send(&[report(1)]).await.unwrap();
    let reason = given_back(&kafka(&broker, &topic, authority.trusted(), None)).await;
    assert!(reason.contains("alert bad certificate"), "{reason}");
}

/// What is wrong on one side keeps the reports on the other: in the worker, and in Kafka.
#[tokio::test]
async fn wrong_authority_or_password_is_told_once_and_reports_wait() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = authority.broker_with_user("guesses").await;
    let topic = fresh_name();
    let plain = |password| Some(SaslMechanism::Plain(credentials(password)));
    let right = kafka(&broker, &topic, authority.trusted(), plain(PASSWORD));
    KafkaBus::new(&right).unwrap().send(&[report(1)]).await.unwrap();
    let untrusted = kafka(&broker, &topic, other.trusted(), plain(PASSWORD));
    let guessed = kafka(&broker, &topic, authority.trusted(), plain(WRONG));
    let (untrusted, guessed, (), (), ()) = tokio::join!(
        given_back(&untrusted),
        given_back(&guessed),
        is_kept_out(place(&broker, &topic, &other.ca(), "PLAIN", PASSWORD), "verify failed"),
        is_kept_out(place(&broker, &topic, &authority.ca(), "PLAIN", WRONG), "Authentication"),
        is_kept_out(place(&broker, &topic, &authority.ca(), "SCRAM-SHA-512", WRONG), "Authentic"),
    );
    assert!(untrusted.contains("certificate verify failed"), "{untrusted}");
    assert!(untrusted.contains("`kafka_ssl_cafile`"), "{untrusted}");
    assert!(guessed.contains("Authentication failed"), "{guessed}");
    assert!(!guessed.contains(WRONG), "{guessed}");
    // The report is there, for whoever may have it.
    let place = place(&broker, &topic, &authority.ca(), "PLAIN", PASSWORD);
    let _reporter = Reporter::start(&place).await;
    holds(&place, "nebula_reports", 1).await;
}

/// Starts a reporter that cannot get in, and sees what it says over some tries.
async fn is_kept_out(place: Place, why: &str) {
    let reporter = Reporter::start(&place).await;
    until("it tries again", async || {
        (reporter.said("Kafka is still in trouble") >= 3).then_some(())
    })
    .await;
    let log = reporter.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("is in trouble")).collect();
    assert!(told.len() == 1 && told[0].contains(why), "{log}");
    assert!(!log.contains(WRONG) && !log.contains(PASSWORD), "{log}");
    let body = reporter.is_ready(false).await;
    assert!(body.contains(r#""kafka":false"#), "{body}");
}
