//! What tells one version of an object from another.
//!
//! The id on the wire (`app_id`) restarts at 1 when an object is deleted and created again, so it
//! cannot tell alone. An object keeps a [`Uid`] for its life, each change takes a higher
//! [`Revision`] of the store, and a container carries the [`AppVersion`] that it was made from.

use serde::{Deserialize, Serialize};

/// A store-wide number that rises with each accepted change. The stores take the larger of "one
/// more than the last" and the wall clock in milliseconds, so that a store restored from a backup
/// soon overtakes what it handed out before.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An object's identity for its life: the twelve bytes of an `ObjectId`, printed as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 12]);

impl Uid {
    /// A uid of these bytes; the stores make them.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The twelve bytes.
    pub const fn bytes(&self) -> [u8; 12] {
        self.0
    }

    /// Reads 24 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 24 {
            return None;
        }
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Uid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 24 hex digits"))
    }
}

/// A hash of everything in a spec that shapes a container. Equal means that the container may
/// stay; it is stable across releases, because a key that is not set is left out of what is hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecHash(String);

impl SpecHash {
    /// Hashes a canonical form.
    pub fn of(canonical: &[u8]) -> Self {
        use sha2::Digest;
        use std::fmt::Write;
        let digest = sha2::Sha256::digest(canonical);
        // 128 bits: two specs of one app never meet by chance, and the label stays readable.
        let mut hex = String::with_capacity(32);
        for byte in digest.iter().take(16) {
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }

    /// Hashes the canonical form of what shapes a container.
    pub(super) fn of_shape(shape: &serde_json::Map<String, serde_json::Value>) -> Self {
        // Strings, numbers and lists always have a canonical form; should that ever fail, the
        // plain form is as good, because its keys stand in a fixed order.
        let canonical = serde_json_canonicalizer::to_vec(shape)
            .unwrap_or_else(|_| format!("{shape:?}").into_bytes());
        Self::of(&canonical)
    }

    /// Takes a hash as a label carries it.
    pub fn from_label(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which version of an app a container was made from. All three parts must be equal for a
/// container to be kept: the id alone misleads after a delete and re-create, the hash alone hides
/// a restart, the uid alone hides a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppVersion {
    /// The object's identity; none when the manager is the original, which has none.
    pub uid: Option<Uid>,
    /// The id on the wire, one higher at each change.
    pub app_id: u64,
    /// The hash of what shapes its containers.
    pub spec: SpecHash,
}

impl std::fmt::Display for AppVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/", self.app_id)?;
        match &self.uid {
            Some(uid) => write!(f, "{uid}/")?,
            None => f.write_str("-/")?,
        }
        f.write_str(self.spec.as_str())
    }
}
