//! The keys of the reporter. What they mean together is in its mode's `Config`.

use crate::config::key::{Fallback, Key, Kind, Table};

/// The keys of the reporter.
pub static REPORTER: Table = Table {
    name: "reporter",
    help: "Reads reports from Kafka and writes them to MongoDB.",
    groups: &[super::kafka::KEYS, KEYS],
};

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        env: "NEBULA_LISTEN",
        kind: Kind::Address,
        fallback: Fallback::Value("127.0.0.1:9180"),
        secret: false,
        help: "Where the reporter says how it is: `/healthz`, `/readyz` and `/metrics`, without authentication and nothing else.",
    },
    Key {
        name: "kafka_auto_offset_reset",
        env: "KAFKA_AUTO_OFFSET_RESET",
        kind: Kind::OneOf(&["earliest", "latest"]),
        fallback: Fallback::Value("earliest"),
        secret: false,
        help: "Where reading starts when Kafka does not know how far this group has read.",
    },
    Key {
        name: "kafka_group_id",
        env: "KAFKA_GROUP_ID",
        kind: Kind::Text,
        fallback: Fallback::Value("nebula-reporter-group"),
        secret: false,
        help: "The Kafka consumer group that all reporters of one Nebula share.",
    },
    Key {
        name: "mongo_url",
        env: "MONGO_URL",
        kind: Kind::Text,
        fallback: Fallback::Required {
            example: "mongodb://user:password@db.example.com:27017/nebula?authSource=admin",
        },
        secret: true,
        help: "The MongoDB that reports are written to.",
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
        help: "How long a report is kept in MongoDB.",
    },
];
