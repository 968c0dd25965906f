//! Whoever asks, and what they may do.
//!
//! Invariant: what no rule permits is refused.

use crate::model::{Access, Granted, Rights};
use std::sync::Arc;

/// What a route needs. Each route declares its own, beside its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Permission {
    /// Any valid credentials: the answer holds only what the principal may read.
    Any,
    /// Access to what only the route itself finds, which asks again then; in these words.
    Found(&'static str),
    /// All rights.
    Admin,
    /// Ordering devices to remove unused images.
    Prune,
    /// Access to the object that the path names.
    To(Granted, Access),
}

impl Permission {
    /// The permission in words, for the API's description.
    pub(in super::super) const fn in_words(self) -> &'static str {
        match self {
            Self::Any => "any valid credentials; only what the user may read is shown",
            Self::Found(words) => words,
            Self::Admin => "admin",
            Self::Prune => "pruning_allowed",
            Self::To(Granted::App, Access::Read) => "ro on the app",
            Self::To(Granted::App, Access::Write) => "rw on the app",
            Self::To(Granted::DeviceGroup, Access::Read) => "ro on the device group",
            Self::To(Granted::DeviceGroup, Access::Write) => "rw on the device group",
            Self::To(Granted::CronJob, Access::Read) => "ro on the cron job",
            Self::To(Granted::CronJob, Access::Write) => "rw on the cron job",
        }
    }
}

/// Whoever presented valid credentials.
#[derive(Debug, Clone)]
pub(in super::super) struct Principal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    rights: Rights,
}

impl Principal {
    /// One of the manager's configuration, who may do everything. No stored user can have a name
    /// with a colon, so the log tells them apart.
    pub(super) fn local(name: &str) -> Self {
        Self::user(&format!("local:{name}"), Rights::all())
    }

    /// A stored user.
    pub(super) fn user(name: &str, rights: Rights) -> Self {
        Self(Arc::new(Inner { name: name.to_owned(), rights }))
    }

    /// The name for logs.
    pub(in super::super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it may do what a route needs, on the object that the path names.
    pub(in super::super) fn may(&self, permission: Permission, object: &str) -> bool {
        let rights = &self.0.rights;
        match permission {
            Permission::Any | Permission::Found(_) => true,
            Permission::Admin => rights.is_admin(),
            Permission::Prune => rights.may_prune(),
            Permission::To(kind, access) => rights.allow(kind, object, access),
        }
    }

    /// Whether it may read an object.
    pub(in super::super) fn may_read(&self, kind: Granted, name: &str) -> bool {
        self.0.rights.allow(kind, name, Access::Read)
    }

    /// Whether it may change an object.
    pub(in super::super) fn may_write(&self, kind: Granted, name: &str) -> bool {
        self.0.rights.allow(kind, name, Access::Write)
    }

    /// The names of a kind that it may read; none when it may read all there are.
    pub(in super::super) fn readable(&self, kind: Granted) -> Option<Vec<String>> {
        self.0.rights.readable(kind)
    }

    /// Whether it may do everything.
    pub(in super::super) fn is_admin(&self) -> bool {
        self.0.rights.is_admin()
    }
}
