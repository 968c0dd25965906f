//! Looking at the files of TLS again: a certificate that lives for a day is renewed on the device,
//! by whoever renews it there, without a word to the worker.
//!
//! Invariant: whatever is wrong with them, what was read before serves on, and that is told once.

use crate::client::Client;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use tracing::{info, warn};

/// The files of TLS, from one look to the next.
#[derive(Debug)]
pub(super) struct CertificateWatch {
    client: Client,
    /// What is wrong with them, when that was told.
    told: Mutex<Option<String>>,
}

impl CertificateWatch {
    pub(super) fn new(client: Client) -> Self {
        Self { client, told: Mutex::default() }
    }

    /// Looks before a request. It costs as much as reading the files.
    pub(super) fn look(&self) {
        let renewed = self.client.renew();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(false) if told.is_none() => {}
            Ok(false) => {
                info!("the certificate files can be used again, and are those in use");
                *told = None;
            }
            Ok(true) => {
                info!("the certificate files have changed and are in use");
                *told = None;
            }
            Err(error) => {
                let reason = error.source().unwrap_or(&error).to_string();
                if told.as_ref() != Some(&reason) {
                    warn!(
                        reason,
                        "certificate files cannot be used; what was read of them before serves on"
                    );
                    *told = Some(reason);
                }
            }
        }
    }
}
