//! Whoever asks, and what they may do.
//!
//! Invariant: what no rule permits is refused.

use crate::model::{Access, DeviceName, EnrollmentId, Granted, Rights};
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
    /// Asking what the devices of the group run that the path names.
    CheckIn,
    /// Reporting of devices: whose, the route itself finds.
    Report,
    /// Becoming a device.
    Enroll,
}

impl Permission {
    /// The permission in words, for the API's description.
    pub(in super::super) const fn in_words(self) -> &'static str {
        match self {
            Self::Any => "any valid credentials; only what the user may read is shown",
            Self::Found(words) => words,
            Self::Admin => "admin",
            Self::Prune => "pruning_allowed",
            Self::CheckIn => "ro on the device group, or a device's own credentials for its group",
            Self::Report => {
                "ro on the device group of each report, or a device's own credentials for its own"
            }
            Self::Enroll => "an enrollment token",
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
    who: Who,
}

#[derive(Debug)]
enum Who {
    /// Somebody with rights.
    User(Rights),
    /// A device, which may check in and report, and nothing else.
    Device {
        hostname: DeviceName,
        device_group: String,
        /// Groups that it was shut out of, whose device it is no more.
        left: Vec<String>,
    },
    /// Somebody with an enrollment token, which is good for that alone.
    Enrolling(EnrollmentId),
}

impl Principal {
    /// One of the manager's configuration, who may do everything. No stored user can have a name
    /// with a colon, so the log tells them apart.
    pub(super) fn local(name: &str) -> Self {
        Self::user(&format!("local:{name}"), Rights::all())
    }

    /// A stored user.
    pub(super) fn user(name: &str, rights: Rights) -> Self {
        Self::new(name.to_owned(), Who::User(rights))
    }

    /// A device with credentials of its own. No stored user has a name with a colon.
    pub(super) fn of_device(hostname: DeviceName, device_group: &str, left: Vec<String>) -> Self {
        let name = format!("device:{}", hostname.as_str());
        Self::new(name, Who::Device { hostname, device_group: device_group.to_owned(), left })
    }

    /// Whoever holds an enrollment token.
    pub(super) fn enrolling(enrollment: EnrollmentId) -> Self {
        Self::new(format!("enrollment:{}", enrollment.as_str()), Who::Enrolling(enrollment))
    }

    fn new(name: String, who: Who) -> Self {
        Self(Arc::new(Inner { name, who }))
    }

    /// The name for logs.
    pub(in super::super) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it may do what a route needs, on the object that the path names.
    pub(in super::super) fn may(&self, permission: Permission, object: &str) -> bool {
        let rights = match &self.0.who {
            Who::User(rights) => rights,
            Who::Device { device_group, .. } => {
                return match permission {
                    Permission::CheckIn => device_group == object,
                    Permission::Report => true,
                    _ => false,
                };
            }
            Who::Enrolling(_) => return permission == Permission::Enroll,
        };
        match permission {
            Permission::Any | Permission::Found(_) | Permission::Report => true,
            Permission::Admin => rights.is_admin(),
            Permission::Prune => rights.may_prune(),
            Permission::To(kind, access) => rights.allow(kind, object, access),
            Permission::CheckIn => rights.allow(Granted::DeviceGroup, object, Access::Read),
            Permission::Enroll => false,
        }
    }

    /// Whether it may bring a report of a device of a group.
    pub(in super::super) fn may_report(&self, of: &str, group: &str) -> bool {
        match &self.0.who {
            Who::User(rights) => rights.allow(Granted::DeviceGroup, group, Access::Read),
            Who::Device { hostname, device_group, .. } => {
                hostname.as_str() == of && device_group == group
            }
            Who::Enrolling(_) => false,
        }
    }

    /// The device that it is.
    pub(in super::super) fn device(&self) -> Option<&DeviceName> {
        match &self.0.who {
            Who::Device { hostname, .. } => Some(hostname),
            _ => None,
        }
    }

    /// The groups that a device may have been in of which it reports; none when it may be any.
    pub(in super::super) fn may_leave(&self) -> Option<Vec<String>> {
        match &self.0.who {
            Who::Device { device_group, left, .. } => {
                Some([device_group].into_iter().chain(left).cloned().collect())
            }
            _ => self.readable(Granted::DeviceGroup),
        }
    }

    /// The enrollment whose token it holds.
    pub(in super::super) fn enrollment(&self) -> Option<&EnrollmentId> {
        match &self.0.who {
            Who::Enrolling(enrollment) => Some(enrollment),
            _ => None,
        }
    }

    fn rights(&self) -> Option<&Rights> {
        match &self.0.who {
            Who::User(rights) => Some(rights),
            _ => None,
        }
    }

    /// Whether it may read an object.
    pub(in super::super) fn may_read(&self, kind: Granted, name: &str) -> bool {
        self.rights().is_some_and(|rights| rights.allow(kind, name, Access::Read))
    }

    /// Whether it may change an object.
    pub(in super::super) fn may_write(&self, kind: Granted, name: &str) -> bool {
        self.rights().is_some_and(|rights| rights.allow(kind, name, Access::Write))
    }

    /// The names of a kind that it may read; none when it may read all there are.
    pub(in super::super) fn readable(&self, kind: Granted) -> Option<Vec<String>> {
        self.rights().map_or_else(|| Some(Vec::new()), |rights| rights.readable(kind))
    }

    /// Whether it may do everything.
    pub(in super::super) fn is_admin(&self) -> bool {
        self.rights().is_some_and(Rights::is_admin)
    }
}
