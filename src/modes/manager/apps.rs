//! The routes of apps.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::objects::{exists, new_name, refuse_existing, refuse_missing, unknown};
use super::reply::{Answer, Refusal, accepted, ok};
use crate::model::{App, AppFields, Fields, Identity, Unknown};
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

const REQUIRED: [&str; 1] = ["docker_image"];

/// `POST /apps/N`
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    refuse_existing::<App>(&manager, &name).await?;
    let app_name = new_name("app_name", &name)?;
    let fields = body.fields()?;
    refuse_missing(fields, &REQUIRED)?;
    let spec = AppFields::decode(fields.clone(), Some(&name), Unknown::Refuse)?.into_spec()?;
    let app = App { identity: Identity::default(), app_id: 1, app_name, spec };
    let change = Change::new(&who, "create", &name);
    Ok(ok(&manager.declarations.create(change, app, exists::<App>()).await?))
}

/// `POST /apps/N/update`: what is not given goes back to its default.
pub(super) async fn replace(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    change(&manager, Change::new(&who, "replace", &name), move |app| {
        let fields = body.fields()?;
        refuse_missing(fields, &REQUIRED)?;
        let name = app.app_name.as_str();
        app.spec =
            AppFields::decode(fields.clone(), Some(name), Unknown::Refuse)?.into_replacement()?;
        Ok(())
    })
    .await
}

/// `PUT` and `PATCH /apps/N/update`: only what is given changes.
pub(super) async fn update(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    change(&manager, Change::new(&who, "update", &name), move |app| {
        let name = app.app_name.as_str();
        let fields = AppFields::decode(body.fields()?.clone(), Some(name), Unknown::Refuse)?;
        // Read-only keys that come back change nothing, so they must not restart anything.
        if fields.is_empty() {
            return Err(Refusal::NothingGiven);
        }
        app.spec = app.spec.with(fields)?;
        Ok(())
    })
    .await
}

/// `POST /apps/N/start`
pub(super) async fn start(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    change(&manager, Change::new(&who, "start", &name), |app| {
        app.spec.running = true;
        Ok(())
    })
    .await
}

/// `POST /apps/N/stop`
pub(super) async fn stop(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    change(&manager, Change::new(&who, "stop", &name), |app| {
        app.spec.running = false;
        Ok(())
    })
    .await
}

/// `POST /apps/N/restart`
pub(super) async fn restart(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    change(&manager, Change::new(&who, "restart", &name), |app| {
        let running = app.spec.running;
        running.then_some(()).ok_or(Refusal::flag("running_before_restart", false))
    })
    .await
}

/// `GET /apps/N/history`
pub(super) async fn history(
    State(manager): State<Arc<Shared>>,
    ObjectName(name): ObjectName,
) -> Answer {
    let history = manager.declarations.store().history(&name).await?;
    history.map(|history| ok(&history)).ok_or_else(unknown::<App>)
}

/// `POST /apps/N/rollback`
pub(super) async fn rollback(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let history = manager.declarations.store().history(&name).await?;
    let history = history.ok_or_else(unknown::<App>)?;
    let app_id = wanted_version(&body)?;
    // A version that comes in between is the newest one, and so none to go back to.
    let edit = move |app: App| Ok(history.rolled_back(&app, app_id)?);
    let change = Change::new(&who, "rollback", &name);
    Ok(accepted(&manager.declarations.change(change, unknown::<App>, edit).await?))
}

/// The version that a rollback's body asks for; none says which.
fn wanted_version(body: &Payload) -> Result<Option<u64>, Refusal> {
    let mut fields = Fields::new(body.fields()?.clone());
    let app_id = fields.take("app_id", |value| {
        let whole = value.as_u64().filter(|id| *id > 0);
        whole.ok_or_else(|| "must be the id of a version, a whole number above 0".to_owned())
    });
    fields.finish(Unknown::Refuse, &["app_id"])?;
    Ok(app_id)
}

/// Every change of an app makes its id one higher, and answers 202 with the app.
async fn change(
    manager: &Shared,
    change: Change,
    edit: impl Fn(&mut App) -> Result<(), Refusal> + Send + 'static,
) -> Result<Response, Refusal> {
    let edit = move |mut app: App| {
        edit(&mut app)?;
        app.app_id = app.app_id.saturating_add(1);
        Ok(app)
    };
    Ok(accepted(&manager.declarations.change(change, unknown::<App>, edit).await?))
}
