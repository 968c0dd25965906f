//! Straight to the manager: for fleets without a Kafka.

use super::{Bus, BusError, Packed};
use crate::client::{Client, ClientError};
use async_trait::async_trait;

/// Reports in one request, at most: after an outage a device has hundreds.
const BATCH: usize = 50;

/// The way to a manager.
#[derive(Debug)]
pub struct ManagerBus(Client);

impl ManagerBus {
    /// To the manager of this client.
    pub const fn new(client: Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Bus for ManagerBus {
    fn batch(&self) -> usize {
        BATCH
    }

    async fn send(&self, reports: &[Packed]) -> Result<(), BusError> {
        let mut body = br#"{"reports":["#.to_vec();
        for (index, report) in reports.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&report.json);
        }
        body.extend_from_slice(b"]}");
        self.0.report(&body).await.map_err(|error| told(&error))
    }

    fn address(&self) -> String {
        self.0.url().to_owned()
    }
}

fn told(error: &ClientError) -> BusError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    let status = match error {
        ClientError::Refused(refusal) => Some(refusal.status),
        _ => None,
    };
    match status {
        // A manager of before this route, or the original's.
        Some(404 | 405) => BusError::NoSuchPlace { reason },
        // 408 is a proxy's word for what took too long.
        Some(400 | 413 | 422) => BusError::Never { reason },
        _ => BusError::Later { reason, retry_after: error.retry_after() },
    }
}
