//! What every declared object carries beside what is declared: a name, and the store's [`Uid`] and
//! [`Revision`].

use super::fields::{Fields, string, unsigned};
use super::version::{Revision, Uid};
use serde::ser::SerializeMap;
use serde_json::Value;

/// What the store gives to an object. Both are absent in what a manager sends that gives none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its identity for its life.
    pub uid: Option<Uid>,
    /// The revision of its last change.
    pub revision: Option<Revision>,
}

/// The keys of an object that a client may send back as it read them, and that change nothing.
pub(super) const READ_ONLY: [&str; 3] = ["_id", "uid", "revision"];

impl Identity {
    /// Takes both out of an object as a manager hands it out.
    pub(super) fn take(fields: &mut Fields) -> Self {
        let uid = fields.take("uid", |value| {
            let text = string(value)?;
            Uid::parse(&text).ok_or_else(|| "must be 24 hexadecimal digits".to_owned())
        });
        Self {
            uid,
            revision: fields.take("revision", |value: Value| unsigned(&value).map(Revision)),
        }
    }

    /// Writes both, as far as they are known.
    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if let Some(uid) = &self.uid {
            map.serialize_entry("uid", uid)?;
        }
        match &self.revision {
            Some(revision) => map.serialize_entry("revision", revision),
            None => Ok(()),
        }
    }
}
