//! A version of an app as a store keeps it: one row or document, the same in both stores.
//!
//! Invariant: what is kept is read again as it was, or passed over; it never stands in the way of
//! a write.

use super::{Kind, Object, StoreError};
use crate::clock::unix_seconds;
use crate::model::{App, AppEntry, Author, Revision, Uid};
use crate::store::Noun;

/// A kept version.
pub(super) struct Kept {
    pub(super) uid: Uid,
    pub(super) revision: Revision,
    pub(super) app_id: i64,
    pub(super) time: i64,
    pub(super) author: Author,
    /// The app's wire form without its identity, as text.
    pub(super) body: String,
}

impl Kept {
    /// The version that a write makes now; none of what has no versions.
    pub(super) fn written(object: &Object, author: &Author) -> Result<Option<Self>, StoreError> {
        let Object::App(app) = object else { return Ok(None) };
        let entry = AppEntry { app: (**app).clone(), time: unix_seconds(), author: author.clone() };
        Self::of(&entry)
    }

    /// A version in its kept form; none of an app that no store has given an identity.
    pub(super) fn of(entry: &AppEntry) -> Result<Option<Self>, StoreError> {
        let Some(uid) = entry.app.identity.uid else { return Ok(None) };
        let object = Object::from(entry.app.clone());
        let body = object.to_body().map_err(|e| StoreError::unavailable("encode a version", e))?;
        Ok(Some(Self {
            uid,
            revision: entry.app.identity.revision.unwrap_or_default(),
            app_id: i64::try_from(entry.app.app_id).unwrap_or(i64::MAX),
            time: entry.time,
            author: entry.author.clone(),
            body,
        }))
    }

    /// Reads it. One that this version cannot read cannot be gone back to, and is passed over.
    pub(super) fn entry(self) -> Option<AppEntry> {
        let identity = (self.uid, self.revision);
        match Object::from_body(Kind::App, "", &self.body, identity) {
            Ok(object) => {
                let app = App::from_object(object)?;
                Some(AppEntry { app, time: self.time, author: self.author })
            }
            Err(error) => {
                let (uid, revision) = identity;
                tracing::warn!(%uid, %revision, %error, "a kept version of an app is passed over");
                None
            }
        }
    }
}
