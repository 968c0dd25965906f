//! What librdkafka says of its connections, told once.
//!
//! The library tells each try that failed, of each server. People are told of each kind of trouble
//! when it begins, and once that it is over; the rest is for whoever asks for `debug`.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{debug, info, warn};

/// The kind of trouble in which nobody answers.
const REACH: &str = "reach";

/// What is wrong with the way to Kafka. A context of librdkafka's clients; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The kinds that were told.
    told: BTreeSet<String>,
    /// What was said last.
    last: Option<String>,
}

impl Trouble {
    /// Something was done that needs a Kafka: what was wrong is over.
    pub fn is_over(&self) {
        let mut state = self.state();
        if !state.told.is_empty() {
            state.told.clear();
            info!("Kafka answers again");
        }
        state.last = None;
    }

    /// The servers answer; what else is wrong may still be.
    pub fn is_reached(&self) {
        if self.state().told.remove(REACH) {
            info!("Kafka answers again");
        }
    }

    /// What was said last of what is wrong now.
    pub fn last(&self) -> Option<String> {
        self.state().last.clone()
    }

    /// Something is wrong.
    pub fn tell(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        // It comes behind what is wrong with the last of the servers, and hides it.
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) && self.last().is_some() {
            debug!(reason, "Kafka is still in trouble");
            return;
        }
        // Of a server that is away it tells several codes in turn.
        let kind = match error.rdkafka_error_code() {
            // It tells this one in two ways, with two codes, as the handshake ends sooner or later.
            _ if reason.contains("certificate verify failed") => "certificate".to_owned(),
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut,
            ) => REACH.to_owned(),
            Some(code) => format!("{code:?}"),
            None => error.to_string(),
        };
        self.tell_once(kind, reason);
    }

    fn tell_once(&self, kind: String, reason: &str) {
        let reason = &*reason.replace("ssl.ca.location", "`kafka_ssl_cafile`");
        let mut state = self.state();
        state.last = Some(reason.to_owned());
        if state.told.insert(kind) {
            warn!(reason, "Kafka is in trouble; it is tried again");
        } else {
            debug!(reason, "Kafka is still in trouble");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Trouble {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What failed comes as an error as well, and behind OpenSSL's words for where in it that was.
        let is_error = ["FAIL", "ERROR", "SSL"].contains(&facility);
        if (level as i32) <= (RDKafkaLogLevel::Warning as i32) && !is_error {
            self.tell_once(facility.to_owned(), message);
        } else {
            debug!(facility, message, "librdkafka");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.tell(&error, reason);
    }
}
