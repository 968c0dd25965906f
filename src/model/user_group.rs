//! A user group: what its members may do; and what a user may do by all of theirs.
//!
//! Invariant: what no group grants is not permitted.

use super::fields::{Fields, Invalid, Unknown, boolean, clip, list, object, string};
use super::identity::{Identity, READ_ONLY};
use super::user::AccountName;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most members of one group, and the most grants of one kind.
const MAX_ITEMS: usize = 10_000;
/// The longest name of a member or of what access is granted to, in characters: that of any object.
const MAX_NAME_LENGTH: usize = 128;
/// The keys that a user group's body may hold and set.
const KEYS: [&str; 6] =
    ["group_members", "pruning_allowed", "apps", "device_groups", "cron_jobs", "admin"];

/// Reading or changing. The second includes the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Access {
    /// Read-only.
    #[serde(rename = "ro")]
    Read,
    /// Read and change.
    #[serde(rename = "rw")]
    Write,
}

/// The kinds of objects that access is granted to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// Apps.
    App,
    /// Device groups.
    DeviceGroup,
    /// Cron jobs.
    CronJob,
}

/// Names, which need not exist, with the access that is granted.
pub type Grants = BTreeMap<String, Access>;

/// A user group with its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroup {
    /// What the store gave it.
    pub identity: Identity,
    /// Its name.
    pub user_group: AccountName,
    /// What it declares.
    pub spec: UserGroupSpec,
}

/// Who is in a group and what they may.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserGroupSpec {
    /// The names of its users, which need not exist.
    pub group_members: Vec<String>,
    /// May order devices to remove unused images.
    pub pruning_allowed: bool,
    /// Access to apps.
    pub apps: Grants,
    /// Access to device groups.
    pub device_groups: Grants,
    /// Access to cron jobs.
    pub cron_jobs: Grants,
    /// May do everything.
    pub admin: bool,
}

impl UserGroupSpec {
    /// What it grants of a kind.
    const fn grants(&self, kind: Granted) -> &Grants {
        match kind {
            Granted::App => &self.apps,
            Granted::DeviceGroup => &self.device_groups,
            Granted::CronJob => &self.cron_jobs,
        }
    }
}

/// The fields of a request's body: each may be given or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserGroupFields {
    group_members: Option<Vec<String>>,
    pruning_allowed: Option<bool>,
    apps: Option<Grants>,
    device_groups: Option<Grants>,
    cron_jobs: Option<Grants>,
    admin: Option<bool>,
}

impl UserGroupFields {
    /// Reads a body. The group's own read-only keys may come back as a client read them; `name` is
    /// the one in the path, which they must not contradict.
    pub fn decode(
        body: Map<String, Value>,
        name: Option<&str>,
        unknown: Unknown,
    ) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        fields.same_name("user_group", name);
        fields.ignore(&READ_ONLY);
        let decoded = Self {
            group_members: fields.take("group_members", members),
            pruning_allowed: fields.take("pruning_allowed", boolean),
            apps: fields.take("apps", grants),
            device_groups: fields.take("device_groups", grants),
            cron_jobs: fields.take("cron_jobs", grants),
            admin: fields.take("admin", boolean),
        };
        fields.finish(unknown, &KEYS)?;
        Ok(decoded)
    }

    /// True when nothing is given that could change a group.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl UserGroupSpec {
    /// This spec with the given fields changed.
    #[must_use]
    pub fn with(self, fields: UserGroupFields) -> Self {
        Self {
            group_members: fields.group_members.unwrap_or(self.group_members),
            pruning_allowed: fields.pruning_allowed.unwrap_or(self.pruning_allowed),
            apps: fields.apps.unwrap_or(self.apps),
            device_groups: fields.device_groups.unwrap_or(self.device_groups),
            cron_jobs: fields.cron_jobs.unwrap_or(self.cron_jobs),
            admin: fields.admin.unwrap_or(self.admin),
        }
    }
}

impl UserGroup {
    /// Reads a whole group, as a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let user_group =
            fields.required("user_group", |value| string(value).and_then(AccountName::new));
        let identity = Identity::take(&mut fields);
        let rest = fields.rest()?;
        let given = UserGroupFields::decode(rest, None, Unknown::Ignore)?;
        let spec = UserGroupSpec::default().with(given);
        Ok(Self { identity, user_group: user_group?, spec })
    }
}

impl Serialize for UserGroup {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("user_group", self.user_group.as_str())?;
        map.serialize_entry("group_members", &self.spec.group_members)?;
        map.serialize_entry("pruning_allowed", &self.spec.pruning_allowed)?;
        map.serialize_entry("apps", &self.spec.apps)?;
        map.serialize_entry("device_groups", &self.spec.device_groups)?;
        map.serialize_entry("cron_jobs", &self.spec.cron_jobs)?;
        map.serialize_entry("admin", &self.spec.admin)?;
        self.identity.entries(&mut map)?;
        map.end()
    }
}

/// What a user may do: the union over their groups, where the stronger of two grants wins. The
/// groups are shared by all who are in them, for a group of a fleet's users may grant thousands of
/// things to thousands.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    is_all: bool,
    groups: Vec<Arc<UserGroupSpec>>,
}

impl Rights {
    /// Those of one who may do everything.
    pub fn all() -> Self {
        Self { is_all: true, groups: Vec::new() }
    }

    /// The union over some groups.
    pub const fn of(groups: Vec<Arc<UserGroupSpec>>) -> Self {
        Self { is_all: false, groups }
    }

    /// Whether they allow everything.
    pub fn is_admin(&self) -> bool {
        self.is_all || self.groups.iter().any(|group| group.admin)
    }

    /// Whether they allow to order devices to remove unused images.
    pub fn may_prune(&self) -> bool {
        self.is_admin() || self.groups.iter().any(|group| group.pruning_allowed)
    }

    /// The names of a kind that they allow to read, each once and sorted; none when they allow all.
    pub fn readable(&self, kind: Granted) -> Option<Vec<String>> {
        if self.is_admin() {
            return None;
        }
        let names = self.groups.iter().flat_map(|group| group.grants(kind).keys().cloned());
        Some(names.collect::<BTreeSet<String>>().into_iter().collect())
    }

    /// Whether they allow an access to an object.
    pub fn allow(&self, kind: Granted, name: &str, access: Access) -> bool {
        let allows = |group: &UserGroupSpec| {
            let granted = group.grants(kind).get(name);
            group.admin || granted.is_some_and(|granted| *granted >= access)
        };
        self.is_all || self.groups.iter().any(|group| allows(group))
    }
}

/// Reads a list of names; a name given twice counts once.
fn members(value: Value) -> Result<Vec<String>, String> {
    let mut names = list(value, MAX_ITEMS, |item| string(item).and_then(short))?;
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

fn grants(value: Value) -> Result<Grants, String> {
    let map = object(value)?;
    if map.len() > MAX_ITEMS {
        return Err(format!("must have at most {MAX_ITEMS} names, this has {}", map.len()));
    }
    map.into_iter()
        .map(|(name, access)| match access.as_str() {
            Some("ro") => Ok((short(name)?, Access::Read)),
            Some("rw") => Ok((short(name)?, Access::Write)),
            _ => Err(format!("`{}` must be \"ro\" or \"rw\"", clip(&name))),
        })
        .collect()
}

/// A name that an object can have, as far as its length goes.
fn short(name: String) -> Result<String, String> {
    if name.chars().count() <= MAX_NAME_LENGTH {
        return Ok(name);
    }
    Err(format!("`{}` is longer than the {MAX_NAME_LENGTH} characters of a name", clip(&name)))
}
