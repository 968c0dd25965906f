//! The keys of Kafka, which worker and reporter share.

use crate::config::key::{Fallback, Key, Kind};

/// Kafka's own names of how a connection is secured.
pub(in crate::config) const SECURITY_PROTOCOLS: [&str; 4] =
    ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
/// SASL's names of how a client authenticates, of which the original's Kafka library knew these.
pub(in crate::config) const SASL_MECHANISMS: [&str; 4] =
    ["PLAIN", "GSSAPI", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The keys, in the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "kafka_bootstrap_servers",
        env: "KAFKA_BOOTSTRAP_SERVERS",
        kind: Kind::Text,
        fallback: Fallback::None {
            means: "none, a worker then reports to its manager",
            example: "kafka.example.com:9092",
        },
        secret: false,
        help: "The Kafka servers, as `host:port` with commas between; a worker reports to Kafka once this is set.",
    },
    Key {
        name: "kafka_security_protocol",
        env: "KAFKA_SECURITY_PROTOCOL",
        kind: Kind::OneOf(&SECURITY_PROTOCOLS),
        fallback: Fallback::Value("PLAINTEXT"),
        secret: false,
        help: "How connections to Kafka are secured.",
    },
    Key {
        name: "kafka_sasl_mechanism",
        env: "KAFKA_SASL_MECHANISM",
        kind: Kind::OneOf(&SASL_MECHANISMS),
        fallback: Fallback::Value("PLAIN"),
        secret: false,
        help: "How the worker or reporter authenticates when the security protocol is one of SASL; GSSAPI only in builds with the feature `kerberos`.",
    },
    Key {
        name: "kafka_sasl_plain_username",
        env: "KAFKA_SASL_PLAIN_USERNAME",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "nebula" },
        secret: false,
        help: "The user for SASL; needs `kafka_sasl_plain_password`.",
    },
    Key {
        name: "kafka_sasl_plain_password",
        env: "KAFKA_SASL_PLAIN_PASSWORD",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The password for SASL; needs `kafka_sasl_plain_username`.",
    },
    Key {
        name: "kafka_ssl_keyfile",
        env: "KAFKA_SSL_KEYFILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/kafka.key" },
        secret: false,
        help: "The private key of the client certificate for Kafka, in PEM; needs `kafka_ssl_certfile`.",
    },
    Key {
        name: "kafka_ssl_password",
        env: "KAFKA_SSL_PASSWORD",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The password of that private key.",
    },
    Key {
        name: "kafka_ssl_certfile",
        env: "KAFKA_SSL_CERTFILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/kafka.crt" },
        secret: false,
        help: "The client certificate for Kafka, in PEM; needs `kafka_ssl_keyfile`.",
    },
    Key {
        name: "kafka_ssl_cafile",
        env: "KAFKA_SSL_CAFILE",
        kind: Kind::Path,
        fallback: Fallback::None {
            means: "none, the system's authorities are trusted, or built-in ones where there are none",
            example: "/etc/nebula/kafka-ca.crt",
        },
        secret: false,
        help: "The certificates, in PEM, of the authorities that Kafka servers are checked against.",
    },
    Key {
        name: "kafka_ssl_crlfile",
        env: "KAFKA_SSL_CRLFILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/kafka.crl" },
        secret: false,
        help: "The list of revoked certificates of Kafka servers, in PEM.",
    },
    Key {
        name: "kafka_sasl_kerberos_service_name",
        env: "KAFKA_SASL_KERBEROS_SERVICE_NAME",
        kind: Kind::Text,
        fallback: Fallback::Value("kafka"),
        secret: false,
        help: "The Kerberos service of the Kafka servers, for GSSAPI, in builds with the feature `kerberos`.",
    },
    Key {
        name: "kafka_sasl_kerberos_domain_name",
        env: "KAFKA_SASL_KERBEROS_DOMAIN_NAME",
        kind: Kind::Text,
        fallback: Fallback::Value("kafka"),
        secret: false,
        help: "Accepted from earlier configurations and without effect: each Kafka server is asked for by its own name.",
    },
    Key {
        name: "kafka_topic",
        env: "KAFKA_TOPIC",
        kind: Kind::Text,
        fallback: Fallback::Value("nebula-reports"),
        secret: false,
        help: "The Kafka topic of the reports.",
    },
];
