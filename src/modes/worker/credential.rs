//! The form of `credential.json`: what the device made for itself, so that the manager knows it.

use crate::model::{Secret, new_device_token};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What is kept. No `Debug`: it holds tokens in clear, on their way to and from the file.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Credentials {
    /// The one that the manager has accepted last, which serves.
    pub(super) accepted: Option<Credential>,
    /// The one that the manager is asked to accept, and may have accepted without our knowing.
    pub(super) asked: Option<Credential>,
}

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credential {
    /// The device that it is of.
    pub(super) hostname: String,
    /// The device's own token.
    token: String,
    /// A digest of the enrollment token that it was made for, which is worth nothing to a thief.
    enrollment_sha256: String,
    /// The group that the enrollment token was for, as the manager said.
    pub(super) device_group: Option<String>,
}

impl Credentials {
    /// Reads what the file holds; the error never repeats it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("not as it was written, at line {}", error.line()))?;
        let all = [&read.accepted, &read.asked].into_iter().flatten();
        // Anything else could not be sent in a header.
        let is_sound = |one: &Credential| {
            !one.token.is_empty() && one.token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !all.into_iter().all(is_sound) {
            return Err("a token in it is none".to_owned());
        }
        Ok(read)
    }
}

impl Credential {
    /// A new one of this device. The token is of 256 random bits: nobody guesses it.
    pub(super) fn new(hostname: &str, enrollment: &Secret<String>) -> Self {
        let secret = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self {
            hostname: hostname.to_owned(),
            token: new_device_token(hostname, &secret).expose().clone(),
            enrollment_sha256: digest(enrollment),
            device_group: None,
        }
    }

    /// Whether it was made for this device and this enrollment token.
    pub(super) fn is_for(&self, hostname: &str, enrollment: &Secret<String>) -> bool {
        self.hostname == hostname && self.enrollment_sha256 == digest(enrollment)
    }

    pub(super) fn token(&self) -> Secret<String> {
        Secret::new(self.token.clone())
    }
}

fn digest(enrollment: &Secret<String>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(enrollment.expose().as_bytes()))
}
