//! The keys of `nebula ctl` that are not of one of its commands.

use crate::config::key::{Fallback, Key, Kind, Table};

/// The keys of ctl.
pub static CTL: Table = Table {
    name: "ctl",
    help: "The command line for people: lists and changes what the manager holds.",
    groups: &[KEYS],
};

const KEYS: &[Key] = &[
    Key {
        name: "url",
        env: "NEBULA_URL",
        kind: Kind::Url,
        fallback: Fallback::Value("http://127.0.0.1:80"),
        secret: false,
        help: "The base URL of the manager.",
    },
    Key {
        name: "username",
        env: "NEBULA_USERNAME",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "admin" },
        secret: false,
        help: "The user as whom the manager is asked; needs `password`.",
    },
    Key {
        name: "password",
        env: "NEBULA_PASSWORD",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The password of that user; needs `username`.",
    },
    Key {
        name: "token",
        env: "NEBULA_TOKEN",
        kind: Kind::Text,
        fallback: Fallback::None { means: "none", example: "change-me" },
        secret: true,
        help: "The bearer token with which the manager is asked.",
    },
    Key {
        name: "ca_file",
        env: "NEBULA_CA_FILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/ca.pem" },
        secret: false,
        help: "A PEM file of authorities that the manager's certificate may be of, beside those that the system trusts.",
    },
    Key {
        name: "cert_file",
        env: "NEBULA_CERT_FILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/anna.pem" },
        secret: false,
        help: "A PEM file with the certificate that is presented; needs `key_file`.",
    },
    Key {
        name: "key_file",
        env: "NEBULA_KEY_FILE",
        kind: Kind::Path,
        fallback: Fallback::None { means: "none", example: "/etc/nebula/anna.key" },
        secret: false,
        help: "A PEM file with the private key of that certificate, without a passphrase; needs `cert_file`.",
    },
    Key {
        name: "output",
        env: "NEBULA_OUTPUT",
        kind: Kind::OneOf(&["table", "json"]),
        fallback: Fallback::Value("table"),
        secret: false,
        help: "How data is printed: for people, or as the manager sent it.",
    },
];
