//! The routes of reports: devices bring them, people page through them.
//!
//! Invariants: a report is kept only for whoever may read what its device group runs, and shown
//! only to them; no device takes more than its share of the store; a request is answered before
//! its worker stops waiting.

use super::Shared;
use super::auth::Principal;
use super::body::LargeBody;
use super::buckets::{Bucket, Buckets, Rule};
use super::reply::{Answer, Refusal, accepted, ok};
use crate::clock::unix_seconds;
use crate::model::{Granted, Invalid, Report, ReportQuery, Uid, json_value};
use crate::store::reports::{NewReport, ReportStore, Scope};
use axum::Extension;
use axum::extract::{RawQuery, State};
use flate2::read::MultiGzDecoder;
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::CONTENT_ENCODING;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// The most reports of one request.
pub(super) const MAX_REPORTS: usize = 100;
/// How much larger a body may be than one of a single object.
pub(super) const BODY_TIMES: usize = 2;
/// How large a packed body may be when it is unpacked: as many reports as a worker keeps for a manager
/// that is away, and more than twice.
const MAX_UNPACKED_BYTES: usize = 4 << 20;
/// How many times as large as it comes.
const MAX_RATIO: usize = 100;
/// As much as is told of a key that is unknown.
const MAX_KEY_CHARACTERS: usize = 100;
/// What one device may send: after an outage it has more to tell than its pace, and in the long run
/// no worker reports every second.
const PACE: Rule = Rule { burst: 120.0, seconds: 1.0 };
/// Devices whose pace is remembered: a large fleet.
const MAX_DEVICES: u64 = 200_000;
/// After this time without a report a device may send its burst again anyway.
const IDLE: Duration = Duration::from_secs(150);
/// Bodies that are read and kept at one time, in bytes: what is made of the text takes twenty times its
/// size, and ninety where somebody means harm. It is room for hundreds of devices in the same moment.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// How many bodies are unpacked at once.
const UNPACKED_AT_ONCE: usize = 4;
/// How long a request waits for its turn; then it is told to come again.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The store of reports, and who may bring how much.
#[derive(Debug)]
pub(super) struct Reports {
    store: Arc<dyn ReportStore>,
    pace: Buckets,
    /// Bytes of bodies.
    room: Semaphore,
    /// Bodies that are unpacked at once.
    unpacking: Semaphore,
}

impl Reports {
    pub(super) fn new(store: Arc<dyn ReportStore>) -> Self {
        let (room, unpacking) =
            (Semaphore::new(MAX_WAITING_BYTES), Semaphore::new(UNPACKED_AT_ONCE));
        Self { store, pace: Buckets::new(MAX_DEVICES, IDLE), room, unpacking }
    }

    /// Unpacks a body, when it is its turn.
    async fn unpack(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let turn = timeout(MAX_WAIT, self.unpacking.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Refusal::ReportsWait) };
        let unpacked = tokio::task::spawn_blocking(move || unpacked(&body)).await;
        unpacked.map_err(|_panicked| Refusal::Panic)?.map(Bytes::from)
    }

    /// Waits for room for a body of this size and what is read from it.
    async fn room_for(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = timeout(MAX_WAIT, self.room.acquire_many(bytes)).await;
        room.ok().and_then(Result::ok).ok_or(Refusal::ReportsWait)
    }

    pub(super) fn store(&self) -> &dyn ReportStore {
        &*self.store
    }

    /// Takes the place of these reports in their devices' paces: of all or of none.
    fn keep_pace(&self, given: &[Given]) -> Result<(), Refusal> {
        let mut devices: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for one in given {
            // By its group as well: nobody uses up the pace of a device of others by its name.
            let Report { device_group, hostname, .. } = &one.report;
            *devices.entry((device_group, hostname)).or_default() += 1.0;
        }
        let mut taken: Vec<(Arc<Bucket>, f64)> = Vec::with_capacity(devices.len());
        for (device, number) in devices {
            let bucket = self.pace.of(device, PACE);
            if let Err(wait) = bucket.take(number) {
                for (bucket, number) in taken {
                    Bucket::give_back(&bucket, number);
                }
                return Err(Refusal::ReportsTooFast(wait));
            }
            taken.push((bucket, number));
        }
        Ok(())
    }
}

/// A report of a request, with its place there.
struct Given {
    place: usize,
    report: Report,
}

/// What a request holds: reports, and what is none, each by its place.
struct Batch {
    given: Vec<Given>,
    refused: BTreeMap<usize, String>,
}

/// `POST /reports`
pub(super) async fn add(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    LargeBody(body): LargeBody<BODY_TIMES>,
) -> Answer {
    let reports = &manager.reports;
    let body = if is_packed(&headers)? { reports.unpack(body).await? } else { body };
    let _room = reports.room_for(body.len()).await?;
    let read = tokio::task::spawn_blocking(move || read(&body)).await;
    let Batch { given, mut refused } = read.map_err(|_panicked| Refusal::Panic)??;
    let may = |one: &Given| who.may_report(&one.report.hostname, &one.report.device_group);
    if !given.iter().all(may) {
        return Err(Refusal::Forbidden);
    }
    if let Err(refusal) = reports.keep_pace(&given) {
        manager.metrics.reports_limited.inc_by(given.len() as u64);
        return Err(refusal);
    }
    let seen = unix_seconds();
    let places: Vec<usize> = given.iter().map(|one| one.place).collect();
    let may_leave = Arc::new(who.may_leave().map_or(Scope::All, Scope::Groups));
    let new = given.into_iter().map(|Given { report, .. }| {
        // One without an id is the original's: sent twice, it is kept twice, as ever.
        let id = report.id.unwrap_or_else(|| Uid::from_bytes(bson::oid::ObjectId::new().bytes()));
        NewReport { id, seen, report, may_leave: Arc::clone(&may_leave) }
    });
    let added = reports.store.add(new.collect()).await?;
    let by_place = |(index, reason): (usize, String)| Some((*places.get(index)?, reason));
    refused.extend(added.refused.into_iter().filter_map(by_place));
    let kept = added.added + added.known;
    manager.metrics.reports_accepted.inc_by(kept);
    manager.metrics.reports_refused.inc_by(refused.len() as u64);
    let refused: Vec<Value> = (refused.into_iter())
        .map(|(place, problem)| json!({ "index": place, "problem": problem }))
        .collect();
    Ok(accepted(&json!({ "accepted": kept, "refused": refused })))
}

/// Whether a body is packed with gzip, the one way that is known here.
fn is_packed(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(false) };
    match encoding.to_str().map(str::trim) {
        Ok(encoding) if encoding.eq_ignore_ascii_case("gzip") => Ok(true),
        Ok(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(false),
        _ => Err(Refusal::Body("`Content-Encoding` must be gzip or left out".to_owned())),
    }
}

/// How large a packed body may be when it is unpacked. What a worker packs becomes ten times as large,
/// or fifty where many reports are alike; what becomes larger still is made to fill a memory.
fn most_unpacked(packed_bytes: usize) -> usize {
    packed_bytes.saturating_mul(MAX_RATIO).min(MAX_UNPACKED_BYTES)
}

/// What a packed body holds.
fn unpacked(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let most = most_unpacked(body.len());
    let mut unpacked = Vec::new();
    let mut limited = MultiGzDecoder::new(body).take(most as u64 + 1);
    let read = limited.read_to_end(&mut unpacked);
    read.map_err(|error| Refusal::Body(format!("the body is not gzip: {error}")))?;
    if unpacked.len() > most {
        return Err(Refusal::TooLarge(most));
    }
    Ok(unpacked)
}

/// Reads a body. One report that is none does not keep the others away.
fn read(body: &[u8]) -> Result<Batch, Refusal> {
    let not_json =
        |error: serde_json::Error| Refusal::Body(format!("the body is not JSON: {error}"));
    let Value::Object(mut fields) = json_value(body).map_err(not_json)? else {
        return Err(Refusal::Body("the body must be a JSON object".to_owned()));
    };
    let invalid = |reason: String| Refusal::from(Invalid::field("reports", reason));
    let reports = match fields.shift_remove("reports") {
        Some(Value::Array(reports)) if reports.len() <= MAX_REPORTS => reports,
        Some(Value::Array(reports)) => {
            let number = reports.len();
            return Err(invalid(format!(
                "must be at most {MAX_REPORTS} reports, this has {number}"
            )));
        }
        Some(_) => return Err(invalid("must be a list".to_owned())),
        None => return Err(Refusal::Missing(vec!["reports"])),
    };
    if let Some(key) = fields.keys().next() {
        let key: String = key.chars().take(MAX_KEY_CHARACTERS).collect();
        return Err(Invalid::field(&key, "is not known here").into());
    }
    let mut batch = Batch { given: Vec::with_capacity(reports.len()), refused: BTreeMap::new() };
    for (place, report) in reports.into_iter().enumerate() {
        let report = match report {
            Value::Object(report) => Report::read(report).map_err(|error| error.to_string()),
            _ => Err("is not a JSON object".to_owned()),
        };
        match report {
            Ok(report) => batch.given.push(Given { place, report }),
            Err(problem) => {
                batch.refused.insert(place, problem);
            }
        }
    }
    Ok(batch)
}

/// `GET /reports`: a page, in the form of the original's replies.
pub(super) async fn list(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = ReportQuery::decode(pairs(query))?;
    let page = manager.reports.store.reports(&query, &scope(&who)).await?;
    let none_or = |reports: Vec<Map<String, Value>>| (!reports.is_empty()).then_some(reports);
    let last_id = page.last_id.map(|id| json!({ "$oid": id }));
    Ok(ok(&json!({ "data": none_or(page.reports), "last_id": last_id })))
}

/// The pairs of a query, decoded.
pub(super) fn pairs(query: Option<String>) -> Vec<(String, String)> {
    let query = query.unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()
}

/// The device groups whose reports and devices somebody may see.
pub(super) fn scope(who: &Principal) -> Scope {
    who.readable(Granted::DeviceGroup).map_or(Scope::All, Scope::Groups)
}
