//! The routes of apps.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::reply::{Answer, Refusal, accepted, empty, ok};
use crate::model::{App, AppFields, Invalid, Name, Unknown};
use crate::store::Kind;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const REQUIRED: &[&str] = &["docker_image"];

pub(super) fn unknown() -> Refusal {
    Refusal::flag("app_exists", false)
}

/// `GET /apps`
pub(super) async fn list(State(manager): State<Arc<Shared>>) -> Answer {
    let names = manager.declarations.names(Kind::App).await?;
    Ok(ok(&json!({ "apps": names })))
}

/// `GET /apps/N`
pub(super) async fn show(
    State(manager): State<Arc<Shared>>,
    ObjectName(name): ObjectName,
) -> Answer {
    let app = manager.declarations.find::<App>(&name).await?;
    app.map(|app| ok(&app)).ok_or_else(unknown)
}

/// `POST /apps/N`
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let exists = || Refusal::flag("app_exists", true);
    if manager.declarations.find::<App>(&name).await?.is_some() {
        return Err(exists());
    }
    let app_name = new_name("app_name", &name)?;
    let fields = body.fields()?;
    require_image(fields)?;
    let spec = AppFields::decode(fields.clone(), Some(&name), Unknown::Refuse)?.into_spec()?;
    let app = App { uid: None, revision: None, app_id: 1, app_name, spec };
    let change = Change::new(&who, "create", &name);
    Ok(ok(&manager.declarations.create(change, app, exists()).await?))
}

/// `DELETE /apps/N`
pub(super) async fn delete(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    let change = Change::new(&who, "delete", &name);
    manager.declarations.delete(change, Kind::App, unknown()).await?;
    Ok(empty())
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
        require_image(fields)?;
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
    Ok(accepted(&manager.declarations.change(change, unknown, edit).await?))
}

/// The original asks for what is missing before it looks at what is there.
fn require_image(fields: &Map<String, Value>) -> Result<(), Refusal> {
    if fields.contains_key("docker_image") { Ok(()) } else { Err(Refusal::Missing(REQUIRED)) }
}

/// The name of a new object, which must be one that Docker takes.
pub(super) fn new_name(field: &str, name: &str) -> Result<Name, Refusal> {
    Name::new(name).map_err(|reason| Invalid::field(field, reason.to_string()).into())
}
