//! How far the devices of a declaration are with it, counted by the server: what is sent is as much
//! for ten devices as for a hundred thousand.

use super::super::{MAX_REASON_CHARACTERS, StoreError};
use super::DEVICES;
use super::query::signed;
use crate::model::{Declared, DeviceLine, DeviceState, MAX_LINES, Rollout, Standing};
use crate::store::mongo::connection::{Prepared, failed};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

/// Counts, and the lines that a person may have to look at.
pub(super) async fn rollout(
    database: &Prepared,
    declared: &Declared,
    now: i64,
) -> Result<Rollout, StoreError> {
    let failed = failed("count devices");
    let mut pipeline =
        vec![doc! { "$match": { "device_group": { "$in": declared.device_groups() } } }];
    pipeline.extend(entry(declared));
    pipeline.extend([
        doc! { "$project": {
            "device_group": 1, "last_seen": 1, "reason": says_reason(declared),
            "standing": standing(declared, now),
        } },
        doc! { "$facet": { "counts": counts(), "lines": lines() } },
    ]);
    let found = database.collection(DEVICES).aggregate(pipeline).with_type::<Document>().await;
    let reply = found.map_err(&failed)?.try_next().await.map_err(&failed)?.unwrap_or_default();
    let documents = |key: &str| {
        let list = reply.get_array(key).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Bson::as_document).cloned().collect::<Vec<Document>>()
    };
    let mut rollout = Rollout::default();
    for count in documents("counts") {
        let number = count.get("number").map_or(0, number);
        *rollout.states.entry(standing_of(&count, "_id")).or_default() += number;
    }
    rollout.devices = documents("lines").iter().filter_map(line).collect();
    Ok(rollout)
}

/// Of an app, what a device says of it: the first entry of its name.
fn entry(declared: &Declared) -> Option<Document> {
    let Declared::App { name, .. } = declared else { return None };
    let of_name = doc! { "$filter": {
        "input": { "$ifNull": ["$apps", []] }, "as": "app",
        "cond": { "$eq": ["$$app.app_name", { "$literal": name }] },
    } };
    Some(doc! { "$set": { "entry": { "$arrayElemAt": [of_name, 0] } } })
}

/// Whether a device speaks of just what is declared.
fn is_declared(declared: &Declared) -> Document {
    match declared {
        // What is not there compares as less than any number.
        Declared::Group { revision, .. } => {
            doc! { "$gte": ["$revision", signed(revision.0)] }
        }
        Declared::App { app_id, uid, .. } => {
            let is_version = doc! { "$eq": ["$entry.app_id", signed(*app_id)] };
            let Some(uid) = uid.map(|uid| uid.to_string()) else { return is_version };
            let is_it = doc! { "$eq": [{ "$ifNull": ["$entry.uid", &uid] }, &uid] };
            doc! { "$and": [is_version, is_it] }
        }
    }
}

/// What a device says, of its group or of the app.
const fn said(declared: &Declared) -> (&'static str, &'static str) {
    match declared {
        Declared::Group { .. } => ("$state", "$reason"),
        Declared::App { .. } => ("$entry.state", "$entry.reason"),
    }
}

/// How a device stands: away before unknown before outdated before what it says.
fn standing(declared: &Declared, now: i64) -> Document {
    let unknown = DeviceState::Unknown.as_str();
    let is_declared = is_declared(declared);
    let says_nothing = match declared {
        Declared::Group { .. } => doc! { "$eq": ["$state", unknown] },
        // Of one app it may say more than of all together.
        Declared::App { .. } => {
            doc! { "$and": [{ "$eq": ["$state", unknown] }, { "$not": [&is_declared] }] }
        }
    };
    let branch = |case: Document, then: Standing| doc! { "case": case, "then": then.as_str() };
    doc! { "$switch": {
        "branches": [
            branch(doc! { "$lte": ["$away_at", now] }, Standing::Away),
            branch(says_nothing, Standing::Says(DeviceState::Unknown)),
            branch(doc! { "$not": [is_declared] }, Standing::Outdated),
        ],
        "default": said(declared).0,
    } }
}

/// Its reason, cut to a length that a hundred of them may have.
fn says_reason(declared: &Declared) -> Document {
    let reason = said(declared).1;
    doc! { "$cond": [
        { "$eq": [{ "$type": reason }, "string"] },
        { "$substrCP": [reason, 0, MAX_REASON_CHARACTERS] },
        "$$REMOVE",
    ] }
}

fn counts() -> Vec<Document> {
    vec![doc! { "$group": { "_id": "$standing", "number": { "$sum": 1_i64 } } }]
}

fn lines() -> Vec<Document> {
    let branches = Standing::ALL.into_iter().filter_map(|standing| {
        let urgency = i32::from(standing.urgency()?);
        Some(doc! { "case": { "$eq": ["$standing", standing.as_str()] }, "then": urgency })
    });
    let branches: Vec<Document> = branches.collect();
    let converged = Standing::Says(DeviceState::Converged).as_str();
    vec![
        doc! { "$match": { "standing": { "$ne": converged } } },
        doc! { "$set": { "urgency": { "$switch": { "branches": branches, "default": i32::MAX } } } },
        doc! { "$sort": { "urgency": 1, "_id": 1 } },
        doc! { "$limit": i64::try_from(MAX_LINES).unwrap_or(i64::MAX) },
    ]
}

/// A word that this version does not know is one that says nothing.
fn standing_of(document: &Document, key: &str) -> Standing {
    let standing = document.get_str(key).ok().and_then(Standing::parse);
    standing.unwrap_or(Standing::Says(DeviceState::Unknown))
}

fn line(document: &Document) -> Option<DeviceLine> {
    let state = standing_of(document, "standing");
    let reason = document.get_str("reason").ok().map(str::to_owned);
    Some(DeviceLine {
        hostname: document.get_str("_id").ok()?.to_owned(),
        device_group: document.get_str("device_group").ok()?.to_owned(),
        state,
        // What it said of another declaration, or long ago, is no reason for this.
        reason: reason.filter(|_| matches!(state, Standing::Says(_))),
        last_seen: document.get("last_seen").map(whole)?,
    })
}

fn whole(value: &Bson) -> i64 {
    match value {
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => *number,
        _ => 0,
    }
}

fn number(value: &Bson) -> u64 {
    u64::try_from(whole(value)).unwrap_or_default()
}
