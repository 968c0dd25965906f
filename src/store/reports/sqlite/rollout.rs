//! How far the devices of a declaration are with it, counted by the database.

use super::super::MAX_REASON_CHARACTERS;
use super::add::signed;
use crate::model::{Declared, DeviceLine, DeviceState, MAX_LINES, Rollout, Standing};
use crate::store::StoreError;
use rusqlite::types::Value as Column;
use rusqlite::{Connection, params_from_iter};
use serde_json::json;

/// Counts, and the lines that a person may have to look at.
pub(super) fn rollout(
    db: &Connection,
    declared: &Declared,
    now: i64,
) -> Result<Rollout, StoreError> {
    count(db, declared, now).map_err(|error| StoreError::unavailable("count devices", error))
}

fn count(db: &Connection, declared: &Declared, now: i64) -> Result<Rollout, rusqlite::Error> {
    let standings = standings(declared);
    let values = values(declared, now);
    let mut rollout = Rollout::default();
    let text = format!("{standings} SELECT standing, count(*) FROM standings GROUP BY standing");
    let mut statement = db.prepare(&text)?;
    let mut rows = statement.query(params_from_iter(&values))?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(1)?.unsigned_abs();
        *rollout.states.entry(standing(row.get_ref(0)?.as_str()?)).or_default() += number;
    }
    let text = format!(
        "{standings}
         SELECT hostname, device_group, standing, substr(reason, 1, {MAX_REASON_CHARACTERS}),
                last_seen
         FROM standings WHERE standing <> '{}' ORDER BY {}, hostname LIMIT {MAX_LINES}",
        DeviceState::Converged,
        urgency(),
    );
    let mut statement = db.prepare(&text)?;
    let mut rows = statement.query(params_from_iter(&values))?;
    while let Some(row) = rows.next()? {
        let state = standing(row.get_ref(2)?.as_str()?);
        let reason: Option<String> = row.get(3)?;
        rollout.devices.push(DeviceLine {
            hostname: row.get(0)?,
            device_group: row.get(1)?,
            state,
            // What it said of another declaration, or long ago, is no reason for this.
            reason: reason.filter(|_| matches!(state, Standing::Says(_))),
            last_seen: row.get(4)?,
        });
    }
    Ok(rollout)
}

/// Every device with how it stands: away before unknown before outdated before what it says. ?1 is
/// the groups, ?2 the time, ?3 the revision or the app's id, ?4 the app's name, ?5 its uid.
fn standings(declared: &Declared) -> String {
    let (away, outdated) = (Standing::Away, Standing::Outdated);
    let unknown = DeviceState::Unknown;
    let devices = "FROM devices WHERE device_group IN (SELECT value FROM json_each(?1))";
    match declared {
        Declared::Group { .. } => format!(
            "WITH standings AS (
                SELECT hostname, device_group, last_seen, kept ->> '$.reason' AS reason,
                    CASE WHEN away_at <= ?2 THEN '{away}'
                         WHEN state = '{unknown}' THEN '{unknown}'
                         WHEN ifnull(revision < ?3, TRUE) THEN '{outdated}'
                         ELSE state END AS standing
                {devices})"
        ),
        // Of one app a device may say more than of all together.
        Declared::App { .. } => format!(
            "WITH entries AS (
                SELECT hostname, device_group, last_seen, away_at, state,
                    (SELECT value FROM json_each(kept, '$.apps')
                     WHERE value ->> '$.app_name' = ?4 LIMIT 1) AS entry
                {devices}),
             standings AS (
                SELECT hostname, device_group, last_seen, entry ->> '$.reason' AS reason,
                    CASE WHEN away_at <= ?2 THEN '{away}'
                         WHEN ifnull(entry ->> '$.app_id' = ?3
                              AND ifnull(entry ->> '$.uid', ?5) IS ifnull(?5, entry ->> '$.uid'),
                              FALSE)
                             THEN entry ->> '$.state'
                         WHEN state = '{unknown}' THEN '{unknown}'
                         ELSE '{outdated}' END AS standing
                FROM entries)"
        ),
    }
}

fn values(declared: &Declared, now: i64) -> Vec<Column> {
    let groups = json!(declared.device_groups()).to_string();
    let mut values: Vec<Column> = vec![groups.into(), now.into()];
    match declared {
        Declared::Group { revision, .. } => values.push(signed(revision.0).into()),
        Declared::App { name, uid, app_id, .. } => values.extend([
            signed(*app_id).into(),
            name.clone().into(),
            uid.map_or(Column::Null, |uid| uid.to_string().into()),
        ]),
    }
    values
}

/// The order of the lines.
fn urgency() -> String {
    let cases = Standing::ALL.into_iter().filter_map(|standing| {
        standing.urgency().map(|urgency| format!("WHEN '{standing}' THEN {urgency}"))
    });
    format!("CASE standing {} ELSE {} END", cases.collect::<Vec<_>>().join(" "), u8::MAX)
}

/// A word that this version does not know is one that says nothing.
fn standing(word: &str) -> Standing {
    Standing::parse(word).unwrap_or(Standing::Says(DeviceState::Unknown))
}
