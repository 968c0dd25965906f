//! Every path, its methods, and what each needs.
//!
//! Invariant: a route cannot be added without saying which permission it needs. The three open
//! paths are a list of their own.

use super::auth::{Access, Permission, Principal};
use super::metrics::INFO_ROUTE;
use super::reply::Refusal;
use super::{Shared, apps, backup, device_groups, health};
use Access::{Read, Write};
use Permission::{Admin, Any, Apps, DeviceGroups, Prune};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use std::sync::Arc;

/// Paths that need no credentials.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The route that answered, for metrics; it travels as an extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

/// True for a path that everybody may ask for.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// The whole table.
pub(super) fn router(manager: Arc<Shared>) -> Router {
    let table = Router::new();
    let table = at(table, "/healthz", [get(health::alive)]);
    let table = at(table, "/readyz", [get(health::ready)]);
    let table = at(table, "/metrics", [get(health::metrics)]);
    let table = at(table, "/api/v2/status", [needs(Any, get(health::status))]);
    let table = at(table, "/api/v2/backup", [needs(Admin, get(backup::download))]);
    let table = at(table, "/api/v2/prune", [needs(Prune, post(device_groups::prune_all))]);
    let table = device_group_routes(app_routes(table));
    table
        .fallback(async || Refusal::UnknownPath)
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .with_state(manager)
}

type Table = Router<Arc<Shared>>;
type Methods = MethodRouter<Arc<Shared>>;

fn app_routes(table: Table) -> Table {
    let table = at(table, "/api/v2/apps", [needs(Apps(Read), get(apps::list))]);
    let one = [
        needs(Apps(Read), get(apps::show)),
        needs(Apps(Write), post(apps::create)),
        needs(Apps(Write), delete(apps::delete)),
    ];
    let table = at(table, "/api/v2/apps/{name}", one);
    let update = [
        needs(Apps(Write), post(apps::replace)),
        needs(Apps(Write), put(apps::update)),
        needs(Apps(Write), patch(apps::update)),
    ];
    let table = at(table, "/api/v2/apps/{name}/update", update);
    let table = at(table, "/api/v2/apps/{name}/start", [needs(Apps(Write), post(apps::start))]);
    let table = at(table, "/api/v2/apps/{name}/stop", [needs(Apps(Write), post(apps::stop))]);
    at(table, "/api/v2/apps/{name}/restart", [needs(Apps(Write), post(apps::restart))])
}

fn device_group_routes(table: Table) -> Table {
    let list = [needs(DeviceGroups(Read), get(device_groups::list))];
    let table = at(table, "/api/v2/device_groups", list);
    let one = [
        needs(DeviceGroups(Read), get(device_groups::show)),
        needs(DeviceGroups(Write), post(device_groups::create)),
        needs(DeviceGroups(Write), delete(device_groups::delete)),
    ];
    let table = at(table, "/api/v2/device_groups/{name}", one);
    let update = [
        needs(DeviceGroups(Write), post(device_groups::replace)),
        needs(DeviceGroups(Write), put(device_groups::update)),
        needs(DeviceGroups(Write), patch(device_groups::update)),
    ];
    let table = at(table, "/api/v2/device_groups/{name}/update", update);
    let info = [needs(DeviceGroups(Read), get(device_groups::info))];
    let table = at(table, INFO_ROUTE, info);
    let prune = [needs(Prune, post(device_groups::prune))];
    at(table, "/api/v2/device_groups/{name}/prune", prune)
}

/// Adds a path with its methods, and makes it known to the metrics.
fn at<const N: usize>(table: Table, path: &'static str, methods: [Methods; N]) -> Table {
    let methods = methods.into_iter().fold(MethodRouter::new(), MethodRouter::merge);
    let label = move |request: Request, next: Next| async move {
        let mut response = next.run(request).await;
        response.extensions_mut().insert(Route(path));
        response
    };
    table.route(path, methods.layer(from_fn(label)))
}

/// A method that whoever asks needs a permission for.
fn needs(permission: Permission, methods: Methods) -> Methods {
    methods.route_layer(from_fn(move |request, next| permitted(permission, request, next)))
}

async fn permitted(permission: Permission, request: Request, next: Next) -> Response {
    match request.extensions().get::<Principal>() {
        Some(principal) if principal.may(permission) => next.run(request).await,
        Some(_) => Refusal::flag("access_allowed", false).into_response(),
        // The service lets nobody come this far; should it ever, this door is shut as well.
        None => {
            tracing::error!("a request without a principal came to a route");
            Refusal::Unauthorized.into_response()
        }
    }
}
