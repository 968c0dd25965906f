//! Where reports go when Kafka is configured, for worker and reporter.
//!
//! What it is: the `kafka_*` keys, checked. What it is not: a connection; whoever makes one reads the
//! files that are named here.
//!
//! `kafka_sasl_kerberos_domain_name` is read and has no field: it named the host in the servers'
//! Kerberos principals, which librdkafka takes from each server's own address.

use super::credentials::Credentials;
use super::settings::Settings;
use crate::model::Secret;
use std::path::PathBuf;

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
    /// What TLS needs; `None` when the security protocol has no TLS.
    pub tls: Option<KafkaTls>,
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

impl SecurityProtocol {
    /// Kafka's own name of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
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
    /// Kerberos, with the tickets that are there.
    Gssapi {
        /// The service in the servers' principals.
        service_name: String,
    },
}

/// The files of TLS, all in PEM, by the keys that name them.
#[derive(Debug, Clone, Default)]
pub struct KafkaTls {
    /// `kafka_ssl_certfile`, the client's own certificate; there is a key then.
    pub cert_file: Option<PathBuf>,
    /// `kafka_ssl_keyfile`, its private key; there is a certificate then.
    pub key_file: Option<PathBuf>,
    /// `kafka_ssl_password`, of the private key.
    pub key_password: Option<Secret<String>>,
    /// `kafka_ssl_cafile`, whom to trust; without it whomever the system trusts.
    pub ca_file: Option<PathBuf>,
    /// `kafka_ssl_crlfile`, the revoked certificates.
    pub crl_file: Option<PathBuf>,
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
        let topic = settings.text("kafka_topic")?;
        if !is_topic(&topic) {
            let expected = "up to 249 letters, digits, `.`, `_` and `-`";
            settings.refuse_text("kafka_topic", expected);
        }
        let security_protocol = match settings.text("kafka_security_protocol")?.as_str() {
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => SecurityProtocol::Plaintext,
        };
        let sasl = if security_protocol.has_sasl() { sasl(settings) } else { None };
        let tls = security_protocol.has_tls().then(|| tls(settings));
        Some(Self { bootstrap_servers, topic, security_protocol, sasl, tls })
    }
}

fn sasl(settings: &mut Settings) -> Option<SaslMechanism> {
    let mechanism = settings.text("kafka_sasl_mechanism")?;
    if mechanism == "GSSAPI" {
        return gssapi(settings);
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

/// Kerberos brings a large C library, so it is built in only where somebody asks for it.
fn gssapi(settings: &mut Settings) -> Option<SaslMechanism> {
    if !cfg!(feature = "kerberos") {
        settings.refuse(
            "kafka_sasl_mechanism",
            "this build has no Kerberos (GSSAPI): use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, or build nebula with `--features kerberos`",
        );
        return None;
    }
    let service_name = settings.text("kafka_sasl_kerberos_service_name")?;
    Some(SaslMechanism::Gssapi { service_name })
}

fn tls(settings: &mut Settings) -> KafkaTls {
    settings.needs("kafka_ssl_certfile", "kafka_ssl_keyfile");
    settings.needs("kafka_ssl_keyfile", "kafka_ssl_certfile");
    settings.needs("kafka_ssl_password", "kafka_ssl_keyfile");
    KafkaTls {
        cert_file: settings.path("kafka_ssl_certfile"),
        key_file: settings.path("kafka_ssl_keyfile"),
        key_password: settings.secret("kafka_ssl_password"),
        ca_file: settings.path("kafka_ssl_cafile"),
        crl_file: settings.path("kafka_ssl_crlfile"),
    }
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

/// What Kafka takes for a name. Another one would be asked for without end, and begun by `^` it would
/// be a pattern.
fn is_topic(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    name.len() <= 249 && name.chars().all(is_letter) && ![".", ".."].contains(&name)
}
