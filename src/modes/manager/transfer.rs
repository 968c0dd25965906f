//! `GET /api/v2/export` and `POST /api/v2/import`: everything that is declared, out and in.
//!
//! The export is written into a file without a name in the data folder and sent from there, so that
//! a slow client holds no moment of the store and no memory, and a store that fails is told with a
//! status rather than with a body that breaks off.
//!
//! Invariants: only admins come here, for hashes and env values go both ways, and a hash that is
//! taken over lets in whoever knows its secret; what is imported outdates all that is remembered.

use super::Shared;
use super::auth::Principal;
use super::backup::{Copied, send};
use super::body::{LargeBody, Payload};
use super::reply::{Answer, Refusal, json, ok};
use crate::model::{Invalid, Revision};
use crate::store::transfer::{
    Existing, Import, Imported, MAX_BATCH, MAX_REVISION, Outcome, called, export_to, object_of,
};
use crate::store::{Kind, StoreError};
use axum::Extension;
use axum::extract::State;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The media type of JSON lines.
pub(super) const LINES_MEDIA: &str = "application/jsonl";
/// The keys of an import's body.
const KEYS: [&str; 4] = ["objects", "existing", "above", "dry_run"];
/// How much larger a body may be than one of a single object: the largest object comes through with
/// room around it.
const BODY_TIMES: usize = 4;
/// Refused objects that an answer names.
const MAX_NAMED: usize = 100;

/// `GET /api/v2/export`
pub(super) async fn export(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
) -> Answer {
    let permit = Arc::clone(&manager.backups).try_acquire_owned().map_err(|_| Refusal::Busy)?;
    let failed = |error: std::io::Error| StoreError::unavailable("export itself", error);
    let file = tempfile::tempfile_in(&manager.data_dir).map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    let host = gethostname::gethostname();
    let source = format!("the manager on {}", host.to_string_lossy());
    let end = export_to(manager.declarations.store(), &source, &mut file).await?;
    // A read, but of every secret: it is told like a write.
    let (who, objects, unreadable) = (who.name(), end.objects, end.unreadable);
    tracing::info!(who, objects, unreadable, "everything exported");
    send(file, permit, &Copied { media: LINES_MEDIA, name: "nebula.jsonl" }).await
}

/// `POST /api/v2/import`
pub(super) async fn import(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    LargeBody(body): LargeBody<BODY_TIMES>,
) -> Answer {
    let read = tokio::task::spawn_blocking(move || read(Payload::parse(&body).fields()?.clone()));
    let read = read.await;
    let import = read.map_err(|_panicked| Refusal::Panic)??;
    let names: Vec<_> =
        import.objects.iter().map(|object| (object.kind(), object.name().to_owned())).collect();
    let is_dry_run = import.is_dry_run;
    let imported = manager.declarations.import(&who, import).await?;
    let told = |((kind, name), outcome): (&(Kind, String), &Outcome)| {
        let mut told = json!({ "kind": kind.as_str(), "name": name, "outcome": outcome.as_str() });
        if let Outcome::Refused(reason) = outcome {
            told["reason"] = reason.to_string().into();
        }
        told
    };
    if imported.is_refused() && !is_dry_run {
        return Ok(refused(&names, &imported));
    }
    let objects: Vec<Value> = names.iter().zip(&imported.outcomes).map(told).collect();
    Ok(ok(&json!({ "revision": imported.revision, "objects": objects })))
}

/// 409: nothing was written.
fn refused(names: &[(Kind, String)], imported: &Imported) -> axum::response::Response {
    let reasons = names.iter().zip(&imported.outcomes).filter_map(|((kind, name), outcome)| {
        let Outcome::Refused(reason) = outcome else { return None };
        Some(format!("{}: {reason}", called(*kind, name)))
    });
    let reasons: Vec<String> = reasons.take(MAX_NAMED).collect();
    let error = format!("nothing of this batch was imported: {}", reasons.join("; "));
    json(StatusCode::CONFLICT, &json!({ "error": error }))
}

/// Reads a body.
fn read(mut fields: Map<String, Value>) -> Result<Import, Refusal> {
    let refuse = |field: &str, reason: &str| Refusal::from(Invalid::field(field, reason));
    if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(refuse(unknown, "is not known here"));
    }
    let Some(Value::Array(items)) = fields.remove("objects") else {
        return Err(refuse("objects", "must be a list of objects with their kinds"));
    };
    if items.len() > MAX_BATCH {
        return Err(refuse("objects", &format!("must be at most {MAX_BATCH} at once")));
    }
    let mut objects = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashSet::new();
    for (index, item) in items.into_iter().enumerate() {
        let at = |reason: String| refuse("objects", &format!("item {}: {reason}", index + 1));
        let Value::Object(item) = item else { return Err(at("must be an object".to_owned())) };
        let object = object_of(item).map_err(|error| at(error.to_string()))?;
        let (kind, uid) = (object.kind(), object.identity().uid);
        if !seen.insert((kind, Some(object.name().to_owned()), None))
            || !seen.insert((kind, None, uid))
        {
            let what = called(kind, object.name());
            return Err(at(format!("{what}: its name or its uid is given twice")));
        }
        objects.push(object);
    }
    let existing = match fields.remove("existing").as_ref().map(Value::as_str) {
        None | Some(Some("refuse")) => Existing::Refuse,
        Some(Some("replace")) => Existing::Replace,
        Some(Some("skip")) => Existing::Skip,
        Some(_) => return Err(refuse("existing", "must be `refuse`, `replace` or `skip`")),
    };
    let is_dry_run = match fields.remove("dry_run") {
        None => false,
        Some(Value::Bool(truth)) => truth,
        Some(_) => return Err(refuse("dry_run", "must be true or false")),
    };
    let above = match fields.remove("above").as_ref().map(Value::as_u64) {
        None => Revision::default(),
        Some(Some(above)) if above <= MAX_REVISION => Revision(above),
        Some(_) => {
            return Err(refuse("above", &format!("must be a whole number up to {MAX_REVISION}")));
        }
    };
    // Each object's own revision counts as well: whoever gives them alone need not look for the
    // highest.
    let above =
        objects.iter().filter_map(|object| object.identity().revision).fold(above, Revision::max);
    Ok(Import { objects, existing, above, is_dry_run })
}
