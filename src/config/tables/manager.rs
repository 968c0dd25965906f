//! The keys of the manager. What they mean together is in its mode's `Config`.

use crate::config::key::{Fallback, Key, Kind, Table};

/// The keys of the manager.
pub static MANAGER: Table = Table {
    name: "manager",
    help: "The API server: holds what every device group runs.",
    groups: &[KEYS],
};

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        env: "NEBULA_LISTEN",
        kind: Kind::Address,
        fallback: Fallback::Value("0.0.0.0:80"),
        secret: false,
        help: "The address and port on which the API is served.",
    },
    Key {
        name: "basic_auth_user",
        env: "BASIC_AUTH_USER",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "admin" },
        secret: false,
        help: "The name of the local admin; needs `basic_auth_password`.",
    },
    Key {
        name: "basic_auth_password",
        env: "BASIC_AUTH_PASSWORD",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The password of the local admin; needs `basic_auth_user`.",
    },
    Key {
        name: "auth_token",
        env: "AUTH_TOKEN",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The bearer token that gives the rights of the local admin.",
    },
    Key {
        name: "auth_enabled",
        env: "AUTH_ENABLED",
        kind: Kind::Bool,
        fallback: Fallback::Value("true"),
        secret: false,
        help: "Whether requests must authenticate; `false` is for a manager behind a proxy that does it.",
    },
    Key {
        name: "trusted_proxies",
        env: "NEBULA_TRUSTED_PROXIES",
        kind: Kind::Text,
        fallback: Fallback::None {
            means: "none, a request's address is that of its connection",
            example: "10.0.0.0/8, 192.168.1.7",
        },
        secret: false,
        help: "The addresses and networks of load balancers and proxies whose `X-Forwarded-For` is believed, separated by commas. Failed logins are counted by address: without this key, all that comes through a proxy shares one count.",
    },
    Key {
        name: "mongo_url",
        env: "MONGO_URL",
        kind: Kind::Text,
        fallback: Fallback::None {
            means: "none, the embedded store is used",
            example: "mongodb://user:password@db.example.com:27017/nebula?authSource=admin",
        },
        secret: true,
        help: "The MongoDB that holds the state, for several managers: a replica set, version 4.4 or later; `data_dir` then keeps copies for a start while it is away.",
    },
    Key {
        name: "schema_name",
        env: "SCHEMA_NAME",
        kind: Kind::Text,
        fallback: Fallback::Value("nebula"),
        secret: false,
        help: "The name of the database in MongoDB.",
    },
    Key {
        name: "mongo_max_pool_size",
        env: "MONGO_MAX_POOL_SIZE",
        kind: Kind::Number { min: 1, max: 10_000, unit: "connections" },
        fallback: Fallback::Value("25"),
        secret: false,
        help: "How many connections to MongoDB are kept at most.",
    },
    Key {
        name: "mongo_report_ttl",
        env: "MONGO_REPORT_TTL",
        kind: Kind::Number { min: 1, max: 2_147_483_647, unit: "seconds" },
        fallback: Fallback::Value("3600"),
        secret: false,
        help: "How long a report is kept, in the embedded store as well. In a MongoDB it holds as soon as it is set here or in a reporter.",
    },
    Key {
        name: "cache_time",
        env: "CACHE_TIME",
        kind: Kind::Number { min: 0, max: 86_400, unit: "seconds" },
        fallback: Fallback::Value("10"),
        secret: false,
        help: "How late this manager may hear of what others wrote to a MongoDB that does not tell its changes (a standalone server).",
    },
    Key {
        name: "cache_max_size",
        env: "CACHE_MAX_SIZE",
        kind: Kind::Number { min: 1, max: 10_000_000, unit: "device groups" },
        fallback: Fallback::Value("1024"),
        secret: false,
        help: "How many device groups are kept in memory.",
    },
    Key {
        name: "data_dir",
        env: "NEBULA_DATA_DIR",
        kind: Kind::Path,
        fallback: Fallback::Value("/var/lib/nebula"),
        secret: false,
        help: "The folder of the embedded store, or of the copies of a MongoDB's.",
    },
    Key {
        name: "tls_cert_file",
        env: "NEBULA_TLS_CERT_FILE",
        kind: Kind::Path,
        fallback: Fallback::None {
            means: "none, plain HTTP is served",
            example: "/etc/nebula/tls.crt",
        },
        secret: false,
        help: "The certificate chain, in PEM, with which the API is served over HTTPS; needs `tls_key_file`.",
    },
    Key {
        name: "tls_key_file",
        env: "NEBULA_TLS_KEY_FILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/tls.key" },
        secret: false,
        help: "The private key of the certificate, in PEM; needs `tls_cert_file`.",
    },
    Key {
        name: "tls_client_ca_file",
        env: "NEBULA_TLS_CLIENT_CA_FILE",
        kind: Kind::Path,
        fallback: Fallback::None {
            means: "none, clients need no certificate",
            example: "/etc/nebula/clients.crt",
        },
        secret: false,
        help: "The certificates, in PEM, of the authorities whose client certificates are accepted; needs `tls_cert_file`.",
    },
];
