//! The reporter's checked configuration.
//!
//! What it is: what `run` needs, in types; and the rules between keys. What it is not: it asks
//! neither Kafka nor the database whether they answer, and reads no certificate.

use crate::config::{ConfigError, Inputs, Kafka, Mongo, Settings, tables};
use std::net::SocketAddr;

/// The reporter's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it says how it is.
    pub listen: SocketAddr,
    /// Where reports are read.
    pub kafka: Kafka,
    /// The consumer group of all reporters.
    pub group_id: String,
    /// Where reading starts when Kafka does not know: `earliest` or `latest`.
    pub auto_offset_reset: String,
    /// Where reports are written.
    pub mongo: Mongo,
    /// How long a report is kept, in seconds.
    pub report_ttl_seconds: u32,
}

impl Config {
    /// Reads and checks the configuration. The error tells all that is wrong with it.
    pub fn load(inputs: &Inputs<'_>) -> Result<Self, ConfigError> {
        let mut settings = Settings::load(&tables::REPORTER, inputs)?;
        if !settings.is_given("kafka_bootstrap_servers") {
            settings.missing("kafka_bootstrap_servers");
        }
        let kafka = Kafka::from_settings(&mut settings);
        let mongo = Mongo::from_settings(&mut settings, "");
        let config = (|| {
            Some(Self {
                listen: settings.address("listen")?,
                kafka: kafka?,
                group_id: settings.text("kafka_group_id")?,
                auto_offset_reset: settings.text("kafka_auto_offset_reset")?,
                mongo: mongo?,
                report_ttl_seconds: settings.number("mongo_report_ttl").try_into().ok()?,
            })
        })();
        settings.finish(config)
    }
}
