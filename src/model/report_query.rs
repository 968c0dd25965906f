//! Which reports are asked for: the query of `GET /reports`, read.

use super::fields::{Fields, Invalid, Unknown, clip, string};
use super::version::Uid;
use serde_json::Map;

/// The most reports of one page: a report may be tens of kilobytes.
pub const MAX_PAGE_SIZE: u32 = 1_000;
const KEYS: [&str; 7] = [
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
        let mut fields = Fields::new(given);
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
        fields.finish(Unknown::Refuse, &KEYS)?;
        Ok(query)
    }
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
