//! Where reports are kept, and the inventory that is made from them: beside the declarations, and
//! apart from them.
//!
//! What it is: reports for an hour or as long as configured, one record a device until it has been
//! away for 90 days, and the questions that people ask of both. What it is not: it knows no permission beyond the groups that
//! it is told to look at, and nothing here ever changes what a device runs.
//!
//! Invariants: a report that was added once is not added again, whoever brings it how often; what
//! was acknowledged survives the end of the process; a report that is older than what is known of
//! its device does not change the inventory; a report moves a device that is not away only out of
//! a group that its sender may read.

mod mongo;
mod sqlite;

pub use mongo::{Documents, MongoReports};
pub use sqlite::{LookAtDisk, MAX_REPORTS_BYTES, REPORTS_FILE, SqliteReports};

use super::StoreError;
use crate::model::{Declared, Device, DeviceQuery, Report, ReportQuery, Rollout, Uid};
use async_trait::async_trait;
use moka::sync::Cache;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

/// A page ends before it holds more than this, in bytes of a store's own form; one report or device
/// is always on it. Whoever asks goes on with the next page as ever.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// The largest report that is kept: what a document of the one store may have is enough for the
/// other.
const MAX_REPORT_BYTES: usize = 16 << 20;
/// The most of a message that is kept when it is set aside.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// A device's record is no larger; one that would be is kept without what only fills it.
const MAX_DEVICE_BYTES: usize = 256 << 10;
/// A device that has been away for so long is forgotten, in seconds: 90 days.
const FORGOTTEN_AFTER: i64 = 90 * 24 * 3_600;
/// The longest reason in the lines of a rollout, in characters: there are up to a hundred of them.
const MAX_REASON_CHARACTERS: i64 = 1_000;

/// What is known of a device takes so many bytes of memory beside the texts in it.
const FIXED_BYTES: usize = 1_024;

/// How long reports are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// In seconds, from when the store took them.
    pub seconds: u32,
    /// Whether somebody asked for just this: then what others who use the same store have set is
    /// changed to it.
    pub is_firm: bool,
}

/// A report on its way into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    /// By what it is known again: its worker's id for it, or what only this report can have.
    pub id: Uid,
    /// When it came, in seconds since 1970, by a clock that is not the device's if there is one.
    pub seen: i64,
    /// What it says.
    pub report: Report,
    /// The groups out of which it may take its device: those that whoever brings it may read. Out of
    /// others it takes one only that is away, for a name is no proof of who a device is.
    pub may_leave: Arc<Scope>,
}

/// What became of some reports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// How many are new.
    pub added: u64,
    /// How many were there already.
    pub known: u64,
    /// Those that this store can never keep, by their place among the given, with the reason.
    pub refused: Vec<(usize, String)>,
}

/// A message that is no report: kept for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// By what it is known again.
    pub id: Uid,
    /// Where it was read.
    pub topic: String,
    /// Which part of the topic.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Why it is no report.
    pub reason: String,
    /// What it holds, cut to a length that can be kept.
    pub payload: Vec<u8>,
}

/// The groups whose reports and devices may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// These.
    Groups(Vec<String>),
}

impl Scope {
    /// Whether a group is among them.
    pub fn has(&self, device_group: &str) -> bool {
        match self {
            Self::All => true,
            Self::Groups(groups) => groups.iter().any(|group| group == device_group),
        }
    }
}

/// A page of reports.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReportPage {
    /// Them, each with what the store gave it: `_id` as `{"$oid": hex}`, and `report_insert_date` as
    /// `{"$date": ms}`, as the original's replies have them.
    pub reports: Vec<Map<String, Value>>,
    /// What the next page is asked for with; none when this one is empty.
    pub last_id: Option<Uid>,
}

/// A store of reports. A call ends within a few seconds, and each may be repeated without harm.
#[async_trait]
pub trait ReportStore: std::fmt::Debug + Send + Sync {
    /// Adds reports, all that are new, and brings the inventory up to date with them.
    async fn add(&self, reports: Vec<NewReport>) -> Result<Added, StoreError>;

    /// Keeps what is no report.
    async fn set_aside(&self, messages: Vec<SetAside>) -> Result<(), StoreError>;

    /// A page of reports, by id.
    async fn reports(&self, query: &ReportQuery, scope: &Scope) -> Result<ReportPage, StoreError>;

    /// A page of devices, by hostname. `now` is in seconds since 1970.
    async fn devices(
        &self,
        query: &DeviceQuery,
        scope: &Scope,
        now: i64,
    ) -> Result<Vec<Device>, StoreError>;

    /// One device.
    async fn device(&self, hostname: &str) -> Result<Option<Device>, StoreError>;

    /// Forgets a device, until it is heard of again. False when there is none.
    async fn forget_device(&self, hostname: &str) -> Result<bool, StoreError>;

    /// How far the devices of a declaration are with it.
    async fn rollout(&self, declared: &Declared, now: i64) -> Result<Rollout, StoreError>;
}

/// What a report says of its device.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Without its details while there is a report that has them.
    device: Device,
    /// Read when it is known that none newer came: it costs more than all else about a report.
    details: Option<Report>,
    /// The report was kept before: what is known by now may be newer, even of a worker that has
    /// begun anew since.
    is_known: bool,
    /// The groups out of which it may take its device.
    may_leave: Arc<Scope>,
}

impl Heard {
    /// With its details.
    fn of(new: &NewReport) -> Self {
        let device = Device::of(&new.report, new.seen);
        let may_leave = Arc::clone(&new.may_leave);
        Self { device, details: None, is_known: false, may_leave }
    }

    /// With its details to be read later, or never.
    fn later(new: NewReport) -> Self {
        let NewReport { report, seen, may_leave, .. } = new;
        let device = Device::outline(&report, seen);
        Self { device, details: Some(report.details()), is_known: false, may_leave }
    }

    /// About how much memory it takes, in bytes.
    fn size(&self) -> usize {
        let unread = self.details.iter().flat_map(|report| report.unread.values());
        FIXED_BYTES + unread.map(|text| text.len()).sum::<usize>()
    }

    /// The device with its details.
    fn whole(&self) -> Cow<'_, Device> {
        match &self.details {
            None => Cow::Borrowed(&self.device),
            Some(report) => Cow::Owned(self.device.clone().with_details(report)),
        }
    }

    /// Whether it would take a device out of a group that is not its sender's. A store that decides
    /// it elsewhere decides it likewise.
    fn is_foreign_to(&self, known: &Device) -> bool {
        known.device_group != self.device.device_group
            && known.away_at > self.device.last_seen
            && !self.may_leave.has(&known.device_group)
    }

    /// Whether it says nothing new about a device of which this is known. A store that decides it
    /// elsewhere decides it likewise.
    fn is_older_than(&self, known: &Device) -> bool {
        self.device.is_older_than(known)
            || (self.is_known && self.device.last_seen < known.last_seen)
    }
}

/// What was heard of devices and is not in the inventory yet: of each what is newest, by hostname.
#[derive(Debug, Default)]
pub struct Unheard {
    devices: BTreeMap<String, Heard>,
    bytes: usize,
}

impl Unheard {
    /// Takes in what a report says that came after those which were taken in.
    fn take_in(&mut self, heard: Heard) {
        match self.devices.entry(heard.device.hostname.clone()) {
            Entry::Vacant(entry) => {
                self.bytes += heard.size();
                entry.insert(heard);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                if heard.is_older_than(&known.device) {
                    known.device.last_seen = known.device.last_seen.max(heard.device.last_seen);
                    known.device.away_at = known.device.away_at.max(heard.device.away_at);
                } else {
                    self.bytes = self.bytes + heard.size() - known.size();
                    *known = heard;
                }
            }
        }
    }

    /// Takes in what was heard after all this.
    pub fn take_in_all(&mut self, later: Self) {
        for heard in later.devices.into_values() {
            self.take_in(heard);
        }
    }

    /// So many devices at most, always the same until they are forgotten.
    fn first(&self, most: usize) -> Vec<&Heard> {
        self.devices.values().take(most).collect()
    }

    fn forget_first(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((_, heard)) = self.devices.pop_first() {
                self.bytes -= heard.size();
            }
        }
    }

    /// Whether the inventory is up to date.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Of how many devices something was heard.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// About how much memory it takes, in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl FromIterator<Heard> for Unheard {
    fn from_iter<I: IntoIterator<Item = Heard>>(all: I) -> Self {
        let mut unheard = Self::default();
        all.into_iter().for_each(|heard| unheard.take_in(heard));
        unheard
    }
}

/// Devices that somebody else's reports would have moved: told once an hour of each.
#[derive(Debug, Clone)]
struct Foreign(Cache<String, ()>);

impl Default for Foreign {
    fn default() -> Self {
        let told = Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(3_600));
        Self(told.build())
    }
}

impl Foreign {
    /// Tells of a report that did not change the inventory.
    fn tell(&self, heard: &Heard, known_group: &str) {
        let Device { hostname, device_group, .. } = &heard.device;
        if self.0.entry_by_ref(hostname).or_insert(()).is_fresh() {
            tracing::warn!(
                hostname,
                device_group,
                known_group,
                "a report names a device of another group, which its sender may not read; it is kept, and the device is not moved"
            );
        }
    }
}

/// A device without what may be of any size.
fn without_details(device: &Device) -> Device {
    Device {
        hostname: device.hostname.clone(),
        device_group: device.device_group.clone(),
        state: device.state,
        reason: Some("it reported more of itself than is kept".to_owned()),
        last_seen: device.last_seen,
        away_at: device.away_at,
        report_creation_time: device.report_creation_time,
        revision: device.revision,
        order: None,
        apps: Vec::new(),
        cron_jobs: Vec::new(),
        facts: Map::new(),
    }
}
