//! Pages of reports and devices.

use super::super::{MAX_PAGE_BYTES, ReportPage, Scope};
use super::add::signed;
use crate::model::{Comparison, Device, DeviceQuery, ReportQuery, Standing, Uid, json_value};
use crate::store::StoreError;
use rusqlite::types::Value as Column;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde_json::{Map, Value, json};

/// Conditions of a query, and what stands for their question marks.
#[derive(Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Column>,
}

impl Filter {
    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Column>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    /// What may be shown of a group, or of all; none when nothing may.
    fn of_groups(device_group: Option<&str>, scope: &Scope) -> Option<Self> {
        let mut filter = Self::default();
        match (device_group, scope) {
            (Some(group), scope) if scope.has(group) => {
                filter.and("device_group = ?", [group.to_owned().into()]);
            }
            (Some(_), _) => return None,
            (None, Scope::All) => {}
            // One value, for there may be more groups than a statement takes values.
            (None, Scope::Groups(groups)) => filter.and(
                "device_group IN (SELECT value FROM json_each(?))",
                [json!(groups).to_string().into()],
            ),
        }
        Some(filter)
    }

    fn to_sql(&self) -> String {
        if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") }
    }
}

/// A page of reports.
pub(super) fn reports(
    db: &Connection,
    query: &ReportQuery,
    scope: &Scope,
) -> Result<ReportPage, StoreError> {
    let Some(mut filter) = Filter::of_groups(query.device_group.as_deref(), scope) else {
        return Ok(ReportPage::default());
    };
    if let Some(hostname) = &query.hostname {
        filter.and("hostname = ?", [hostname.clone().into()]);
    }
    if let Some((comparison, time)) = query.report_creation_time {
        filter.and(&format!("created {} ?", operator(comparison)), [time.into()]);
    }
    if let Some(updated) = query.updated {
        filter.and("updated = ?", [i64::from(updated).into()]);
    }
    if let Some(last) = query.last_id {
        filter.and("id > ?", [last.bytes().to_vec().into()]);
    }
    filter.values.push(i64::from(query.page_size).into());
    let text = format!(
        "SELECT id, inserted, body FROM reports WHERE {} ORDER BY id LIMIT ?",
        filter.to_sql()
    );
    let mut page = ReportPage::default();
    let mut read = || -> Result<(), rusqlite::Error> {
        let mut statement = db.prepare(&text)?;
        let mut rows = statement.query(params_from_iter(&filter.values))?;
        let mut bytes = 0;
        while let Some(row) = rows.next()?
            && bytes <= MAX_PAGE_BYTES
        {
            let id = Uid::from_bytes(row.get(0)?);
            let body = row.get_ref(2)?.as_bytes()?;
            bytes += body.len();
            page.last_id = Some(id);
            page.reports.extend(shown(id, row.get(1)?, body));
        }
        Ok(())
    };
    read().map_err(|error| StoreError::unavailable("read reports", error))?;
    Ok(page)
}

/// A report with what the store gave it.
fn shown(id: Uid, inserted_ms: i64, body: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(body)) = json_value(body) else {
        tracing::warn!(%id, "a report's record cannot be read");
        return None;
    };
    let mut shown = Map::new();
    shown.insert("_id".to_owned(), json!({ "$oid": id }));
    shown.extend(body);
    shown.insert("report_insert_date".to_owned(), json!({ "$date": inserted_ms }));
    Some(shown)
}

/// A page of devices.
pub(super) fn devices(
    db: &Connection,
    query: &DeviceQuery,
    scope: &Scope,
    now: i64,
) -> Result<Vec<Device>, StoreError> {
    let Some(mut filter) = Filter::of_groups(query.device_group.as_deref(), scope) else {
        return Ok(Vec::new());
    };
    if let Some(seen_since) = query.seen_since {
        filter.and("last_seen >= ?", [seen_since.into()]);
    }
    if let Some(after) = &query.after {
        filter.and("hostname > ?", [after.clone().into()]);
    }
    let mut state = None;
    match query.state {
        None => {}
        Some(Standing::Away) => filter.and("away_at <= ?", [now.into()]),
        Some(Standing::Says(says)) => {
            filter.and("away_at > ?", [now.into()]);
            state = Some(says.as_str().to_owned());
        }
        // Of what a device is asked to be, this query knows nothing.
        Some(Standing::Outdated) => return Ok(Vec::new()),
    }
    match (&query.app, state) {
        (Some(app), state) => of_app(&mut filter, app, query.version, state),
        (None, Some(state)) => filter.and("state = ?", [state.into()]),
        (None, None) => {}
    }
    filter.values.push(i64::from(query.page_size).into());
    let text =
        format!("SELECT kept FROM devices WHERE {} ORDER BY hostname LIMIT ?", filter.to_sql());
    let mut page = Vec::new();
    let mut read = || -> Result<(), rusqlite::Error> {
        let mut statement = db.prepare(&text)?;
        let mut rows = statement.query(params_from_iter(&filter.values))?;
        let mut bytes = 0;
        while let Some(row) = rows.next()?
            && bytes <= MAX_PAGE_BYTES
        {
            let kept = row.get_ref(0)?.as_bytes()?;
            bytes += kept.len();
            page.extend(to_device(kept));
        }
        Ok(())
    };
    read().map_err(|error| StoreError::unavailable("read devices", error))?;
    Ok(page)
}

/// Devices that have an entry of the app with a replica of the version, and in the state.
fn of_app(filter: &mut Filter, app: &str, version: Option<u64>, state: Option<String>) {
    let mut entry = "app.value ->> '$.app_name' = ?".to_owned();
    let mut values: Vec<Column> = vec![app.to_owned().into()];
    if let Some(version) = version {
        entry += " AND EXISTS (SELECT 1 FROM json_each(app.value, '$.running_ids') AS up
                   WHERE up.value = ?)";
        values.push(signed(version).into());
    }
    if let Some(state) = state {
        entry += " AND app.value ->> '$.state' = ?";
        values.push(state.into());
    }
    let has = format!("EXISTS (SELECT 1 FROM json_each(kept, '$.apps') AS app WHERE {entry})");
    filter.and(&has, values);
}

/// One device.
pub(super) fn device(db: &Connection, hostname: &str) -> Result<Option<Device>, StoreError> {
    let read = || {
        let mut query = db.prepare_cached("SELECT kept FROM devices WHERE hostname = ?")?;
        query.query_row([hostname], |row| row.get::<_, String>(0)).optional()
    };
    let kept = read().map_err(|error| StoreError::unavailable("read a device", error))?;
    Ok(kept.and_then(|kept| to_device(kept.as_bytes())))
}

/// A device as it is kept. One that cannot be read is as if it were not there.
fn to_device(kept: &[u8]) -> Option<Device> {
    let Ok(Value::Object(kept)) = json_value(kept) else { return None };
    Device::from_kept(kept)
        .inspect_err(|error| tracing::warn!(%error, "a device's record cannot be read"))
        .ok()
}

const fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "=",
        Comparison::Gt => ">",
        Comparison::Lt => "<",
        Comparison::Gte => ">=",
        Comparison::Lte => "<=",
        Comparison::Ne => "<>",
    }
}
