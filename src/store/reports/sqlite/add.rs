//! Adding reports: the rows, and the inventory beside them in the same transaction.

use super::super::{
    Heard, MAX_DEVICE_BYTES, MAX_PAYLOAD_BYTES, MAX_REPORT_BYTES, NewReport, without_details,
};
use super::{Added, SetAside};
use crate::model::Device;
use rusqlite::types::Value as Column;
use rusqlite::{Connection, params};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// A report, ready to be written.
pub(super) struct Row {
    id: [u8; 12],
    hostname: String,
    device_group: String,
    created: Column,
    updated: bool,
    /// Or why it is not kept.
    body: Result<String, String>,
    device: Device,
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
            device: Device::of(report, new.seen),
        }
    }
}

/// Adds reports, those that are new, and brings the inventory up to date.
pub(super) fn add(db: &Connection, rows: &[Row]) -> Result<Added, rusqlite::Error> {
    let mut insert = db.prepare_cached(
        "INSERT INTO reports (id, inserted, hostname, device_group, created, updated, body)
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )?;
    let now = now_ms();
    let (mut added, mut heard) = (Added::default(), Vec::new());
    for (place, row) in rows.iter().enumerate() {
        let body = match &row.body {
            Ok(body) => body,
            Err(reason) => {
                added.refused.push((place, reason.clone()));
                continue;
            }
        };
        let Row { id, hostname, device_group, created, updated, device, .. } = row;
        let written =
            insert.execute(params![id, now, hostname, device_group, created, updated, body])?;
        if written == 0 {
            added.known += 1;
        } else {
            added.added += 1;
        }
        heard.push(Heard { device: device.clone(), is_known: written == 0 });
    }
    for heard in Heard::newest(heard.into_iter()) {
        update_device(db, &heard)?;
    }
    Ok(added)
}

/// Writes a device, if what is kept of it is not newer: the rule of [`Heard::is_older_than`].
fn update_device(db: &Connection, heard: &Heard) -> Result<(), rusqlite::Error> {
    let mut update = db.prepare_cached(
        "INSERT INTO devices (hostname, device_group, state, last_seen, away_at, revision, boot_id,
                              sequence, created, kept)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (hostname) DO UPDATE SET
            device_group = ?2, state = ?3, last_seen = ?4, away_at = ?5, revision = ?6,
            boot_id = ?7, sequence = ?8, created = ?9, kept = ?10
         WHERE NOT (ifnull(?7 = boot_id AND ?8 < sequence, FALSE)
                 OR (?7 IS NULL AND boot_id IS NULL AND ?9 < created)
                 OR (?11 AND ?4 < last_seen))",
    )?;
    let slim;
    let (mut device, mut kept) = (&heard.device, text(&heard.device)?);
    if kept.len() > MAX_DEVICE_BYTES {
        slim = without_details(device);
        (device, kept) = (&slim, text(&slim)?);
    }
    let (boot, sequence) = device.order.clone().unzip();
    update.execute(params![
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
        heard.is_known,
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
    let now = now_ms();
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

/// In ms since 1970.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
