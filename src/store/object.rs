//! What a store keeps: one closed list of kinds, and typed ways in and out of it.

use super::StoreError;
use crate::model::{
    App, CronJob, DeviceCredential, DeviceGroup, Enrollment, Identity, Invalid, Revision, Uid,
    User, UserGroup, json_value,
};
use serde_json::{Map, Value};

/// The kinds of declared objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Apps.
    App,
    /// Cron jobs.
    CronJob,
    /// Device groups.
    DeviceGroup,
    /// Users.
    User,
    /// User groups.
    UserGroup,
    /// What lets single devices in.
    DeviceCredential,
    /// The tokens by which devices get theirs.
    Enrollment,
}

impl Kind {
    /// All of them, what others list before what lists it.
    pub const ALL: [Self; 7] = [
        Self::App,
        Self::CronJob,
        Self::DeviceGroup,
        Self::User,
        Self::UserGroup,
        Self::DeviceCredential,
        Self::Enrollment,
    ];

    /// What is moved between stores. A token by which devices enroll is made anew where it is needed:
    /// one that ended here must not come back from a file.
    pub const EXPORTED: [Self; 6] = [
        Self::App,
        Self::CronJob,
        Self::DeviceGroup,
        Self::User,
        Self::UserGroup,
        Self::DeviceCredential,
    ];

    /// The kind of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The key of an object's name.
    pub(super) const fn name_key(self) -> &'static str {
        match self {
            Self::App => "app_name",
            Self::CronJob => "cron_job_name",
            Self::DeviceGroup => "device_group",
            Self::User => "user_name",
            Self::UserGroup => "user_group",
            Self::DeviceCredential => "hostname",
            Self::Enrollment => "enrollment",
        }
    }

    /// The kind's name in the store and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::CronJob => "cron_job",
            Self::DeviceGroup => "device_group",
            Self::User => "user",
            Self::UserGroup => "user_group",
            Self::DeviceCredential => "device_credential",
            Self::Enrollment => "enrollment",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Any object that a store keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// An app.
    App(Box<App>),
    /// A cron job.
    CronJob(Box<CronJob>),
    /// A device group.
    DeviceGroup(DeviceGroup),
    /// A user.
    User(Box<User>),
    /// A user group.
    UserGroup(Box<UserGroup>),
    /// What lets a device in.
    DeviceCredential(Box<DeviceCredential>),
    /// What an enrollment token is good for.
    Enrollment(Box<Enrollment>),
}

/// A type of declared object.
pub trait Noun: Into<Object> + Clone + Send + 'static {
    /// Its kind.
    const KIND: Kind;

    /// The object, if it is of this type.
    fn from_object(object: Object) -> Option<Self>;

    /// What the store gave it.
    fn identity(&self) -> Identity;

    /// The revision of its last change.
    fn revision(&self) -> Revision {
        self.identity().revision.unwrap_or_default()
    }
}

/// The ways in and out of [`Object`] for one type; the last two say how it is put into its variant
/// and taken out.
macro_rules! noun {
    ($type:ident, $put:expr, $take:expr) => {
        impl Noun for $type {
            const KIND: Kind = Kind::$type;

            fn from_object(object: Object) -> Option<Self> {
                match object {
                    Object::$type(object) => Some($take(object)),
                    _ => None,
                }
            }

            fn identity(&self) -> Identity {
                self.identity
            }
        }

        impl From<$type> for Object {
            fn from(object: $type) -> Self {
                Self::$type($put(object))
            }
        }
    };
}

noun!(App, Box::new, |object: Box<App>| *object);
noun!(CronJob, Box::new, |object: Box<CronJob>| *object);
noun!(DeviceGroup, std::convert::identity, std::convert::identity);
noun!(User, Box::new, |object: Box<User>| *object);
noun!(UserGroup, Box::new, |object: Box<UserGroup>| *object);
noun!(DeviceCredential, Box::new, |object: Box<DeviceCredential>| *object);
noun!(Enrollment, Box::new, |object: Box<Enrollment>| *object);

impl Object {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::App(_) => Kind::App,
            Self::CronJob(_) => Kind::CronJob,
            Self::DeviceGroup(_) => Kind::DeviceGroup,
            Self::User(_) => Kind::User,
            Self::UserGroup(_) => Kind::UserGroup,
            Self::DeviceCredential(_) => Kind::DeviceCredential,
            Self::Enrollment(_) => Kind::Enrollment,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::App(app) => app.app_name.as_str(),
            Self::CronJob(job) => job.cron_job_name.as_str(),
            Self::DeviceGroup(group) => group.device_group.as_str(),
            Self::User(user) => user.user_name.as_str(),
            Self::UserGroup(group) => group.user_group.as_str(),
            Self::DeviceCredential(credential) => credential.hostname.as_str(),
            Self::Enrollment(enrollment) => enrollment.enrollment.as_str(),
        }
    }

    /// What the store gave it.
    pub fn identity(&self) -> Identity {
        match self {
            Self::App(app) => app.identity,
            Self::CronJob(job) => job.identity,
            Self::DeviceGroup(group) => group.identity,
            Self::User(user) => user.identity,
            Self::UserGroup(group) => group.identity,
            Self::DeviceCredential(credential) => credential.identity,
            Self::Enrollment(enrollment) => enrollment.identity,
        }
    }

    /// Its members by kind: what a store must know to find the groups of an object.
    pub fn members(&self) -> Vec<(Kind, &String)> {
        fn of(kind: Kind, names: &[String]) -> impl Iterator<Item = (Kind, &String)> {
            names.iter().map(move |name| (kind, name))
        }
        match self {
            Self::App(_)
            | Self::CronJob(_)
            | Self::User(_)
            | Self::DeviceCredential(_)
            | Self::Enrollment(_) => Vec::new(),
            Self::DeviceGroup(group) => {
                of(Kind::App, &group.apps).chain(of(Kind::CronJob, &group.cron_jobs)).collect()
            }
            Self::UserGroup(group) => of(Kind::User, &group.spec.group_members).collect(),
        }
    }

    /// What its token is found by, when it is a user whose token has such a part.
    pub(super) fn token_id(&self) -> Option<&str> {
        match self {
            Self::User(user) => user.token_id.as_deref(),
            _ => None,
        }
    }

    /// The same object under the identity that the store gives it.
    pub(super) fn identified(mut self, identity: Option<(Uid, Revision)>) -> Self {
        let (uid, revision) = identity.unzip();
        let place = match &mut self {
            Self::App(app) => &mut app.identity,
            Self::CronJob(job) => &mut job.identity,
            Self::DeviceGroup(group) => &mut group.identity,
            Self::User(user) => &mut user.identity,
            Self::UserGroup(group) => &mut group.identity,
            Self::DeviceCredential(credential) => &mut credential.identity,
            Self::Enrollment(enrollment) => &mut enrollment.identity,
        };
        *place = Identity { uid, revision };
        self
    }

    /// What is kept: the wire form without its identity, which stands beside it.
    pub(super) fn to_map(&self) -> Result<Map<String, Value>, serde_json::Error> {
        self.clone().identified(None).to_wire()
    }

    /// The wire form, with its identity.
    pub(super) fn to_wire(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let value = match self {
            Self::App(app) => serde_json::to_value(app),
            Self::CronJob(job) => serde_json::to_value(job),
            Self::DeviceGroup(group) => serde_json::to_value(group),
            Self::User(user) => serde_json::to_value(user),
            Self::UserGroup(group) => serde_json::to_value(group),
            Self::DeviceCredential(credential) => serde_json::to_value(credential),
            Self::Enrollment(enrollment) => serde_json::to_value(enrollment),
        };
        // All of them are written as objects.
        Ok(if let Value::Object(map) = value? { map } else { Map::new() })
    }

    /// The same as text.
    pub(super) fn to_body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.to_map()?)
    }

    /// Reads what is kept.
    pub(super) fn from_map(
        kind: Kind,
        map: Map<String, Value>,
        identity: (Uid, Revision),
    ) -> Result<Self, Invalid> {
        Ok(Self::decode(kind, map)?.identified(Some(identity)))
    }

    /// Reads a kept text.
    pub(super) fn from_body(
        kind: Kind,
        name: &str,
        body: &str,
        identity: (Uid, Revision),
    ) -> Result<Self, StoreError> {
        let decoded = match json_value(body.as_bytes()) {
            Ok(Value::Object(map)) => Self::from_map(kind, map, identity),
            Ok(_) => Err(Invalid::field("body", "is not an object")),
            Err(error) => Err(Invalid::field("body", error.to_string())),
        };
        decoded.map_err(|source| StoreError::Unreadable { kind, name: name.to_owned(), source })
    }

    /// Reads the wire form, with its identity as far as it is there.
    pub(super) fn decode(kind: Kind, map: Map<String, Value>) -> Result<Self, Invalid> {
        Ok(match kind {
            Kind::App => App::decode(map)?.into(),
            Kind::CronJob => CronJob::decode(map)?.into(),
            Kind::DeviceGroup => DeviceGroup::decode(map)?.into(),
            Kind::User => User::decode(map)?.into(),
            Kind::UserGroup => UserGroup::decode(map)?.into(),
            Kind::DeviceCredential => DeviceCredential::decode(map)?.into(),
            Kind::Enrollment => Enrollment::decode(map)?.into(),
        })
    }
}
