//! How a client of Kafka connects: the `kafka_*` keys in librdkafka's words.
//!
//! Invariant: what cannot work is told at the start by the key that is wrong, and no secret is in it.

use crate::client::trusted_certificates;
use crate::config::{Kafka, KafkaTls, SaslMechanism, read_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use std::path::{Path, PathBuf};

/// How long a connection to a server may take, TLS and SASL included, in ms.
const CONNECT_MS: &str = "10000";
/// How long a server is waited for whose connection was refused, at most, in ms. librdkafka varies it
/// by half, so that a fleet does not come at once.
const LONGEST_PAUSE_MS: &str = "10000";
/// How many characters a line of PEM has.
const PEM_LINE: usize = 64;

/// Why there is no client for a configuration.
#[derive(Debug, thiserror::Error)]
pub enum KafkaConfigError {
    /// A file that TLS needs.
    #[error("`{key}`: file {} {why}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system's own certificates were named and cannot be read.
    #[error("cannot read the certificates that the system trusts; name them by `kafka_ssl_cafile`")]
    TrustStore(#[source] rustls_native_certs::Error),
    /// The library refuses it.
    #[error("cannot make a client of Kafka from the `kafka_*` keys")]
    Client(#[source] KafkaError),
}

/// What producers and consumers share.
pub fn client_config(kafka: &Kafka) -> Result<ClientConfig, KafkaConfigError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", "nebula")
        .set("security.protocol", kafka.security_protocol.as_str())
        .set("socket.connection.setup.timeout.ms", CONNECT_MS)
        .set("reconnect.backoff.max.ms", LONGEST_PAUSE_MS)
        .set("socket.keepalive.enable", "true")
        // A server closes a connection that nobody used for ten minutes, which is no trouble.
        .set("log.connection.close", "false");
    if let Some(sasl) = &kafka.sasl {
        set_sasl(&mut config, sasl);
    }
    if let Some(tls) = &kafka.tls {
        set_tls(&mut config, tls)?;
    }
    Ok(config)
}

fn set_sasl(config: &mut ClientConfig, sasl: &SaslMechanism) {
    let (name, credentials) = match sasl {
        SaslMechanism::Plain(credentials) => ("PLAIN", credentials),
        SaslMechanism::ScramSha256(credentials) => ("SCRAM-SHA-256", credentials),
        SaslMechanism::ScramSha512(credentials) => ("SCRAM-SHA-512", credentials),
        SaslMechanism::Gssapi { service_name } => {
            config
                .set("sasl.mechanism", "GSSAPI")
                .set("sasl.kerberos.service.name", service_name)
                // It would run `kinit` by a shell. The original took the tickets that are there, and
                // who keeps them fresh is the same as then.
                .set("sasl.kerberos.min.time.before.relogin", "0");
            return;
        }
    };
    config
        .set("sasl.mechanism", name)
        .set("sasl.username", &credentials.user)
        .set("sasl.password", credentials.password.expose());
}

fn set_tls(config: &mut ClientConfig, tls: &KafkaTls) -> Result<(), KafkaConfigError> {
    let files = [
        ("kafka_ssl_certfile", "ssl.certificate.location", &tls.cert_file, "CERTIFICATE-----"),
        // `RSA PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`, ...
        ("kafka_ssl_keyfile", "ssl.key.location", &tls.key_file, "PRIVATE KEY-----"),
        ("kafka_ssl_cafile", "ssl.ca.location", &tls.ca_file, "CERTIFICATE-----"),
        ("kafka_ssl_crlfile", "ssl.crl.location", &tls.crl_file, "X509 CRL-----"),
    ];
    for (key, name, path, holds) in files {
        let Some(path) = path else { continue };
        let text = check_pem(path, holds);
        let text = text.map_err(|why| KafkaConfigError::File { key, path: path.clone(), why })?;
        config.set(name, text);
    }
    if let Some(password) = &tls.key_password {
        config.set("ssl.key.password", password.expose());
    }
    if tls.ca_file.is_none() {
        // The library would look into files and folders, of which an image may have none.
        config.set("ssl.ca.pem", trusted()?);
    }
    Ok(())
}

/// Gives the path as text if its file holds what is wanted. The library says of a wrong file no more
/// than that something of TLS failed.
fn check_pem(path: &Path, holds: &str) -> Result<String, String> {
    let bytes = read_file(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let is_begin = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(holds);
    if !text.lines().any(is_begin) {
        let what = holds.trim_end_matches('-');
        return Err(format!("must be PEM with a `-----BEGIN {what}-----` in it"));
    }
    path.to_str().map(str::to_owned).ok_or_else(|| "must have a name in UTF-8".to_owned())
}

fn trusted() -> Result<String, KafkaConfigError> {
    let mut text = String::new();
    for certificate in trusted_certificates().map_err(KafkaConfigError::TrustStore)? {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(&certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(PEM_LINE));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(text)
}
