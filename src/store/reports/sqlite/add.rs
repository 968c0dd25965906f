//! Adding reports: the rows, and the inventory beside them in the same transaction.

use super::super::{
    Foreign, Heard, MAX_DEVICE_BYTES, MAX_PAYLOAD_BYTES, MAX_REPORT_BYTES, NewReport, Unheard,
    without_details,
};
use super::{Added, SetAside};
use crate::clock::unix_ms;
use crate::model::{Device, DeviceState};
use rusqlite::types::Value as Column;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

/// A report, ready to be written.
pub(super) struct Row {
    id: [u8; 12],
    hostname: String,
    device_group: String,
    created: Column,
    updated: bool,
    /// Or why it is not kept.
    body: Result<String, String>,
    heard: Heard,
}

impl Row {
    /// Of a report.
    pub(super) fn of(new: &NewReport) -> Self {
        let report = &new.report;
        let body = match serde_json::to_string(report) {
            Ok(body) if body.len() <= MAX_REPORT_BYTES => Ok(body),
            Ok(_) => Err(format!("it is larger than {MAX_REPORT_BYTES} bytes")),
            Err(error) => Err(error.to_string()),
        };
        let created = report.body.get("report_creation_time");
        let fraction = created.filter(|time| time.as_i64().is_none()).and_then(Value::as_f64);
        Self {
            id: new.id.bytes(),
            hostname: report.hostname.clone(),
            device_group: report.device_group.clone(),
            created: fraction.map_or(Column::Integer(report.created), Column::Real),
            updated: report.updated,
            body,
            heard: Heard::of(new),
        }
    }
}

impl Row {
    /// What is written of it, in bytes: a record of its device may be as large.
    pub(super) fn size(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.len().max(4_096))
    }
}

/// Adds reports, those that are new, and brings the inventory up to date.
pub(super) fn add(
    db: &Connection,
    rows: &[Row],
    foreign: &Foreign,
) -> Result<Added, rusqlite::Error> {
    let mut insert = db.prepare_cached(
        "INSERT INTO reports (id, inserted, hostname, device_group, created, updated, body)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )?;
    let now = unix_ms();
    let (mut added, mut unheard) = (Added::default(), Unheard::default());
    for (place, row) in rows.iter().enumerate() {
        let body = match &row.body {
            Ok(body) => body,
            Err(reason) => {
                added.refused.push((place, reason.clone()));
                continue;
            }
        };
        let Row { id, hostname, device_group, created, updated, .. } = row;
        let written =
            insert.execute(params![id, now, hostname, device_group, created, updated, body])?;
        if written == 0 {
            added.known += 1;
        } else {
            added.added += 1;
        }
        unheard.take_in(Heard { is_known: written == 0, ..row.heard.clone() });
    }
    for heard in unheard.first(usize::MAX) {
        update_device(db, heard, foreign)?;
    }
    Ok(added)
}

/// Writes a device, if what is kept of it is not newer and no other sender's: the rules of
/// [`Heard::is_older_than`] and [`Heard::is_foreign_to`].
fn update_device(db: &Connection, heard: &Heard, foreign: &Foreign) -> Result<(), rusqlite::Error> {
    let known = known(db, &heard.device.hostname)?;
    let Some(known) = known else { return write_device(db, &heard.device) };
    if heard.is_foreign_to(&known) {
        foreign.tell(heard, &known.device_group);
        return Ok(());
    }
    if !heard.is_older_than(&known) {
        return write_device(db, &heard.device);
    }
    // An older report says as well that the device is there.
    let last_seen = known.last_seen.max(heard.device.last_seen);
    let away_at = known.away_at.max(heard.device.away_at);
    if (last_seen, away_at) == (known.last_seen, known.away_at) {
        return Ok(());
    }
    let mut update = db.prepare_cached(
        "UPDATE devices SET last_seen = ?2, away_at = ?3,
            kept = json_set(kept, '$.last_seen', ?2, '$.away_at', ?3)
         WHERE hostname = ?1",
    )?;
    update.execute(params![heard.device.hostname, last_seen, away_at])?;
    Ok(())
}

/// What decides whether a report may change a device.
fn known(db: &Connection, hostname: &str) -> Result<Option<Device>, rusqlite::Error> {
    let mut known = db.prepare_cached(
        "SELECT device_group, last_seen, away_at, boot_id, sequence, created FROM devices
         WHERE hostname = ?",
    )?;
    let known = known.query_row([hostname], |row| {
        let boot: Option<String> = row.get(3)?;
        let sequence: Option<i64> = row.get(4)?;
        Ok(Device {
            hostname: hostname.to_owned(),
            device_group: row.get(0)?,
            state: DeviceState::Unknown,
            reason: None,
            last_seen: row.get(1)?,
            away_at: row.get(2)?,
            report_creation_time: row.get(5)?,
            revision: None,
            order: boot.zip(sequence.map(i64::unsigned_abs)),
            apps: Vec::new(),
            cron_jobs: Vec::new(),
            facts: Map::new(),
        })
    });
    known.optional()
}

fn write_device(db: &Connection, device: &Device) -> Result<(), rusqlite::Error> {
    let mut write = db.prepare_cached(
        "INSERT INTO devices (hostname, device_group, state, last_seen, away_at, revision, boot_id,
                              sequence, created, kept)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (hostname) DO UPDATE SET
            device_group = ?2, state = ?3, last_seen = ?4, away_at = ?5, revision = ?6,
            boot_id = ?7, sequence = ?8, created = ?9, kept = ?10",
    )?;
    let slim;
    let (mut device, mut kept) = (device, text(device)?);
    if kept.len() > MAX_DEVICE_BYTES {
        slim = without_details(device);
        (device, kept) = (&slim, text(&slim)?);
    }
    let (boot, sequence) = device.order.clone().unzip();
    write.execute(params![
        device.hostname,
        device.device_group,
        device.state.as_str(),
        device.last_seen,
        device.away_at,
        device.revision.map(|revision| signed(revision.0)),
        boot,
        sequence.map(signed),
        device.report_creation_time,
        kept,
    ])?;
    Ok(())
}

fn text(device: &Device) -> Result<String, rusqlite::Error> {
    let encode = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    serde_json::to_string(&device.to_kept()).map_err(encode)
}

/// Keeps what is no report.
pub(super) fn set_aside(db: &Connection, messages: &[SetAside]) -> Result<(), rusqlite::Error> {
    let mut insert = db.prepare_cached(
        "INSERT INTO set_aside (id, inserted, topic, part, start, reason, payload)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )?;
    let now = unix_ms();
    for message in messages {
        let SetAside { id, topic, partition, offset, reason, payload } = message;
        let payload = &payload[..payload.len().min(MAX_PAYLOAD_BYTES)];
        insert.execute(params![id.bytes(), now, topic, partition, offset, reason, payload])?;
    }
    Ok(())
}

/// A database counts with a sign; no number of a device comes near its limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
