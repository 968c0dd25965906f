//! What a store keeps: one closed list of kinds, and typed ways in and out of it.

use super::StoreError;
use crate::model::{App, DeviceGroup, Invalid, Revision, Uid};
use serde_json::Value;

/// The kinds of declared objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Apps.
    App,
    /// Device groups.
    DeviceGroup,
}

impl Kind {
    /// The kind's name in the store and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::DeviceGroup => "device_group",
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
    /// A device group.
    DeviceGroup(DeviceGroup),
}

/// A type of declared object.
pub trait Noun: Into<Object> + Clone + Send + 'static {
    /// Its kind.
    const KIND: Kind;

    /// The object, if it is of this type.
    fn from_object(object: Object) -> Option<Self>;

    /// The revision of its last change.
    fn revision(&self) -> Revision;
}

impl Noun for App {
    const KIND: Kind = Kind::App;

    fn from_object(object: Object) -> Option<Self> {
        match object {
            Object::App(app) => Some(*app),
            Object::DeviceGroup(_) => None,
        }
    }

    fn revision(&self) -> Revision {
        self.revision.unwrap_or_default()
    }
}

impl Noun for DeviceGroup {
    const KIND: Kind = Kind::DeviceGroup;

    fn from_object(object: Object) -> Option<Self> {
        match object {
            Object::DeviceGroup(group) => Some(group),
            Object::App(_) => None,
        }
    }

    fn revision(&self) -> Revision {
        self.revision.unwrap_or_default()
    }
}

impl From<App> for Object {
    fn from(app: App) -> Self {
        Self::App(Box::new(app))
    }
}

impl From<DeviceGroup> for Object {
    fn from(group: DeviceGroup) -> Self {
        Self::DeviceGroup(group)
    }
}

impl Object {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::App(_) => Kind::App,
            Self::DeviceGroup(_) => Kind::DeviceGroup,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::App(app) => app.app_name.as_str(),
            Self::DeviceGroup(group) => group.device_group.as_str(),
        }
    }

    /// Its members by kind, when it has any: what a store must know to find the groups of an app.
    pub(super) fn apps(&self) -> &[String] {
        match self {
            Self::App(_) => &[],
            Self::DeviceGroup(group) => &group.apps,
        }
    }

    /// The same object under the identity that the store gives it.
    pub(super) fn identified(mut self, identity: Option<(Uid, Revision)>) -> Self {
        let (uid, revision) = identity.unzip();
        match &mut self {
            Self::App(app) => (app.uid, app.revision) = (uid, revision),
            Self::DeviceGroup(group) => (group.uid, group.revision) = (uid, revision),
        }
        self
    }

    /// The body that is kept: the wire form without its identity, which stands beside it.
    pub(super) fn to_body(&self) -> Result<String, serde_json::Error> {
        match self.clone().identified(None) {
            Self::App(app) => serde_json::to_string(&app),
            Self::DeviceGroup(group) => serde_json::to_string(&group),
        }
    }

    /// Reads a kept body.
    pub(super) fn from_body(
        kind: Kind,
        name: &str,
        body: &str,
        identity: (Uid, Revision),
    ) -> Result<Self, StoreError> {
        let decoded = match serde_json::from_str(body) {
            Ok(Value::Object(map)) => match kind {
                Kind::App => App::decode(map).map(Self::from),
                Kind::DeviceGroup => DeviceGroup::decode(map).map(Self::from),
            },
            Ok(_) => Err(Invalid::field("body", "is not an object")),
            Err(error) => Err(Invalid::field("body", error.to_string())),
        };
        match decoded {
            Ok(object) => Ok(object.identified(Some(identity))),
            Err(source) => Err(StoreError::Unreadable { kind, name: name.to_owned(), source }),
        }
    }
}
