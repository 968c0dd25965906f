//! Where reports go when Kafka is configured, for worker and reporter.
//!
//! What it is: the part of the `kafka_*` keys that is checked at the start. What it is not: a
//! connection. This version sends nothing to Kafka; the TLS and Kerberos keys are accepted and
//! join this struct together with the code that uses them.

use super::credentials::Credentials;
use super::settings::Settings;

/// A Kafka and its topic.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// The servers, as `host:port` with commas between.
    pub bootstrap_servers: String,
    /// The topic of the reports.
    pub topic: String,
    /// How connections are secured.
    pub security_protocol: SecurityProtocol,
    /// How the client authenticates; `None` when the security protocol has no SASL.
    pub sasl: Option<SaslMechanism>,
}

/// How connections to Kafka are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Not at all.
    Plaintext,
    /// By TLS.
    Ssl,
    /// By SASL, in clear.
    SaslPlaintext,
    /// By SASL over TLS.
    SaslSsl,
}

/// How a client authenticates to Kafka.
#[derive(Debug, Clone)]
pub enum SaslMechanism {
    /// User and password in clear.
    Plain(Credentials),
    /// User and password, by challenge, with SHA-256.
    ScramSha256(Credentials),
    /// User and password, by challenge, with SHA-512.
    ScramSha512(Credentials),
    /// Kerberos.
    Gssapi,
}

impl Kafka {
    /// `None` when `kafka_bootstrap_servers` is not set: then nothing else of Kafka is looked at
    /// beyond each value's own kind. What is wrong is recorded in the settings.
    pub fn from_settings(settings: &mut Settings) -> Option<Self> {
        let bootstrap_servers = settings.text("kafka_bootstrap_servers")?;
        if !bootstrap_servers.split(',').all(is_server) {
            let expected = "`host:port`, or several with commas between";
            settings.refuse_text("kafka_bootstrap_servers", expected);
        }
        let security_protocol = match settings.text("kafka_security_protocol")?.as_str() {
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => SecurityProtocol::Plaintext,
        };
        let has_sasl = matches!(
            security_protocol,
            SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl
        );
        let sasl = if has_sasl { sasl(settings) } else { None };
        Some(Self {
            bootstrap_servers,
            topic: settings.text("kafka_topic")?,
            security_protocol,
            sasl,
        })
    }
}

fn sasl(settings: &mut Settings) -> Option<SaslMechanism> {
    let mechanism = settings.text("kafka_sasl_mechanism")?;
    if mechanism == "GSSAPI" {
        return Some(SaslMechanism::Gssapi);
    }
    let (user, password) = ("kafka_sasl_plain_username", "kafka_sasl_plain_password");
    settings.needs(user, password);
    settings.needs(password, user);
    if !settings.is_given(user) && !settings.is_given(password) {
        let why = format!("needs `{user}` and `{password}` when the mechanism is {mechanism}");
        settings.refuse("kafka_security_protocol", why);
    }
    let credentials =
        Credentials { user: settings.text(user)?, password: settings.secret(password)? };
    Some(match mechanism.as_str() {
        "SCRAM-SHA-256" => SaslMechanism::ScramSha256(credentials),
        "SCRAM-SHA-512" => SaslMechanism::ScramSha512(credentials),
        _ => SaslMechanism::Plain(credentials),
    })
}

/// A host with or without a port: Kafka's libraries add 9092 where there is none.
fn is_server(text: &str) -> bool {
    let (host, port) = match text.trim().rsplit_once(':') {
        // A colon within brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text.trim(), "9092"),
    };
    let named = !host.is_empty() && !host.contains([' ', '/']);
    named && port.parse::<u16>().is_ok_and(|port| port > 0)
}
