//! Which reports and devices are asked for: the queries of `GET /reports` and `GET /devices`, read.

use super::super::fields::{Fields, Invalid, Unknown, clip, string};
use super::super::version::Uid;
use super::state::Standing;
use serde_json::Map;

/// The most reports of one page: a report may be tens of kilobytes.
pub const MAX_PAGE_SIZE: u32 = 1_000;
const REPORT_KEYS: [&str; 7] = [
    "page_size",
    "hostname",
    "device_group",
    "report_creation_time",
    "report_creation_time_filter",
    "updated",
    "last_id",
];

/// The most keys of a query, each unknown one of which is answered with its reason.
const MAX_KEYS: usize = 20;

/// How a report's time is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Comparison {
    /// Equal.
    #[default]
    Eq,
    /// Later.
    Gt,
    /// Earlier.
    Lt,
    /// Not earlier.
    Gte,
    /// Not later.
    Lte,
    /// Not equal.
    Ne,
}

impl Comparison {
    /// All of them, by the names that the API has for them.
    pub const ALL: [(&'static str, Self); 6] = [
        ("eq", Self::Eq),
        ("gt", Self::Gt),
        ("lt", Self::Lt),
        ("gte", Self::Gte),
        ("lte", Self::Lte),
        ("ne", Self::Ne),
    ];

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, comparison)| comparison)
    }
}

/// Which reports, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportQuery {
    /// At most this many, from 1 to [`MAX_PAGE_SIZE`].
    pub page_size: u32,
    /// Of this device.
    pub hostname: Option<String>,
    /// Of this device group.
    pub device_group: Option<String>,
    /// By the time they were made, in seconds since 1970.
    pub report_creation_time: Option<(Comparison, i64)>,
    /// Only those of check-ins that changed something, or only the others.
    pub updated: Option<bool>,
    /// Only those after this one, which ended the page before.
    pub last_id: Option<Uid>,
}

impl Default for ReportQuery {
    fn default() -> Self {
        Self {
            page_size: 10,
            hostname: None,
            device_group: None,
            report_creation_time: None,
            updated: None,
            last_id: None,
        }
    }
}

impl ReportQuery {
    /// Reads the pairs of a query, already decoded. A key given twice is refused.
    pub fn decode(pairs: Vec<(String, String)>) -> Result<Self, Invalid> {
        let mut fields = given_once(pairs)?;
        let default = Self::default();
        let time = fields.take("report_creation_time", |value| seconds(&string(value)?));
        let comparison = fields.take("report_creation_time_filter", |value| {
            let known = Comparison::parse(&string(value)?);
            known.ok_or_else(|| "must be one of eq, gt, lt, gte, lte, ne".to_owned())
        });
        let query = Self {
            page_size: fields
                .take("page_size", |value| page_size(&string(value)?))
                .unwrap_or(default.page_size),
            hostname: fields.take("hostname", string),
            device_group: fields.take("device_group", string),
            report_creation_time: time.map(|time| (comparison.unwrap_or_default(), time)),
            updated: fields.take("updated", |value| updated(&string(value)?)),
            last_id: fields.take("last_id", |value| {
                Uid::parse(&string(value)?)
                    .ok_or_else(|| "must be 24 hexadecimal digits".to_owned())
            }),
        };
        fields.finish(Unknown::Refuse, &REPORT_KEYS)?;
        Ok(query)
    }
}

/// The pairs as fields.
fn given_once(pairs: Vec<(String, String)>) -> Result<Fields, Invalid> {
    if pairs.len() > MAX_KEYS {
        return Err(Invalid::field("query", format!("has more than {MAX_KEYS} keys")));
    }
    let mut given = Map::new();
    for (key, value) in pairs {
        if given.contains_key(&key) {
            return Err(Invalid::field(&clip(&key), "is given twice"));
        }
        given.insert(key, value.into());
    }
    Ok(Fields::new(given))
}

const DEVICE_KEYS: [&str; 7] =
    ["device_group", "state", "app", "version", "seen_since", "page_size", "after"];

/// Which devices, and how many of them. They come by hostname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceQuery {
    /// At most this many, from 1 to [`MAX_PAGE_SIZE`].
    pub page_size: u32,
    /// Of this device group.
    pub device_group: Option<String>,
    /// That stand like this; with `app`, whose app does.
    pub state: Option<Standing>,
    /// That run this app, or are to.
    pub app: Option<String>,
    /// On which a replica of this version of the app is up.
    pub version: Option<u64>,
    /// Heard of since then, in seconds since 1970.
    pub seen_since: Option<i64>,
    /// Only those whose names come after this one, which ended the page before.
    pub after: Option<String>,
}

impl Default for DeviceQuery {
    fn default() -> Self {
        Self {
            page_size: 100,
            device_group: None,
            state: None,
            app: None,
            version: None,
            seen_since: None,
            after: None,
        }
    }
}

impl DeviceQuery {
    /// Reads the pairs of a query, already decoded. A key given twice is refused.
    pub fn decode(pairs: Vec<(String, String)>) -> Result<Self, Invalid> {
        let mut fields = given_once(pairs)?;
        let default = Self::default();
        let query = Self {
            page_size: fields
                .take("page_size", |value| page_size(&string(value)?))
                .unwrap_or(default.page_size),
            device_group: fields.take("device_group", string),
            state: fields.take("state", |value| standing(&string(value)?)),
            app: fields.take("app", string),
            version: fields.take("version", |value| {
                let text = string(value)?;
                text.parse().map_err(|_| "must be an app's id, a whole number".to_owned())
            }),
            seen_since: fields.take("seen_since", |value| seconds(&string(value)?)),
            after: fields.take("after", string),
        };
        if query.version.is_some() && query.app.is_none() {
            fields.refuse("version", "is the id of an app: give `app` as well");
        }
        fields.finish(Unknown::Refuse, &DEVICE_KEYS)?;
        Ok(query)
    }
}

/// A word for how a device stands without looking at what is declared.
fn standing(word: &str) -> Result<Standing, String> {
    let known = || Standing::ALL.into_iter().filter(|standing| *standing != Standing::Outdated);
    known().find(|standing| standing.as_str() == word).ok_or_else(|| {
        let words: Vec<&str> = known().map(Standing::as_str).collect();
        format!("must be one of {}", words.join(", "))
    })
}

fn seconds(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "must be a whole number of seconds since 1970".to_owned())
}

fn page_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().filter(|size| (1..=MAX_PAGE_SIZE).contains(size));
    size.ok_or_else(|| format!("must be a whole number from 1 to {MAX_PAGE_SIZE}"))
}

/// Python's spelling, and everybody else's.
fn updated(text: &str) -> Result<bool, String> {
    match text {
        "True" | "true" => Ok(true),
        "False" | "false" => Ok(false),
        _ => Err("must be True or False".to_owned()),
    }
}
