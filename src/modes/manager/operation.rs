//! One operation of the API: its path and method, what it needs, who answers, and what it says of
//! itself in the API's description. One declaration makes both the route and its description, so
//! neither can be without the other.
//!
//! Invariant: an operation cannot be made without saying which permission it needs.

use super::Shared;
use super::auth::{DeviceCertificate, Permission, Principal, Recognised};
use super::body::ObjectName;
use super::reply::Refusal;
use super::routes::Route;
use axum::extract::{FromRequestParts, Request};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use hyper::HeaderMap;
use hyper::http::request::Parts;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The methods that the API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Verb {
    /// As `OpenAPI` writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// A body that an operation takes.
#[derive(Debug)]
pub(super) struct Takes {
    pub(super) schema: Value,
    /// Whether there must be one.
    pub(super) is_required: bool,
}

/// One operation.
pub(super) struct Operation {
    /// Its name in the description, by which clients are generated.
    pub(super) id: &'static str,
    pub(super) verb: Verb,
    pub(super) path: &'static str,
    /// None of what everybody may ask.
    pub(super) permission: Option<Permission>,
    handler: MethodRouter<Arc<Shared>>,
    pub(super) summary: &'static str,
    pub(super) takes: Option<Takes>,
    /// Beside the name in the path.
    pub(super) parameters: Vec<Value>,
    /// Status and schema of each success.
    pub(super) answers: Vec<(u16, Value)>,
    /// Status and schema of each refusal that is not every operation's.
    pub(super) refuses: Vec<(u16, Value)>,
    /// The media type of a success.
    pub(super) media: &'static str,
}

impl Operation {
    /// An operation for whoever has a permission.
    pub(super) fn new<H, T>(
        id: &'static str,
        (verb, path): (Verb, &'static str),
        permission: Permission,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self { permission: Some(permission), ..Self::open(id, (verb, path), handler) }
    }

    /// An operation for everybody, without credentials. Its path is also in `routes::OPEN`.
    pub(super) fn open<H, T>(
        id: &'static str,
        (verb, path): (Verb, &'static str),
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Shared>>,
        T: 'static,
    {
        Self {
            id,
            verb,
            path,
            permission: None,
            handler: on(verb.filter(), handler),
            summary: "",
            takes: None,
            parameters: Vec::new(),
            answers: Vec::new(),
            refuses: Vec::new(),
            media: "application/json",
        }
    }

    /// What it does, in a sentence.
    pub(super) fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// A body that must be there.
    pub(super) fn takes(self, schema: Value) -> Self {
        Self { takes: Some(Takes { schema, is_required: true }), ..self }
    }

    /// A body that may be left out.
    pub(super) fn may_take(self, schema: Value) -> Self {
        Self { takes: Some(Takes { schema, is_required: false }), ..self }
    }

    /// A query key or a header.
    pub(super) fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// A success.
    pub(super) fn answers(mut self, status: u16, schema: Value) -> Self {
        self.answers.push((status, schema));
        self
    }

    /// A refusal.
    pub(super) fn refuses(mut self, status: u16, schema: Value) -> Self {
        self.refuses.push((status, schema));
        self
    }

    /// The media type of its success.
    pub(super) fn media(self, media: &'static str) -> Self {
        Self { media, ..self }
    }

    /// The route, which lets in whoever has the permission, and tells the metrics its path.
    pub(super) fn route(self, manager: &Arc<Shared>) -> MethodRouter<Arc<Shared>> {
        let path = self.path;
        let label = move |request: Request, next: Next| async move {
            let mut response = next.run(request).await;
            response.extensions_mut().insert(Route(path));
            response
        };
        let guarded = match self.permission {
            None => self.handler,
            Some(permission) => {
                let guard = move |state, request, next| permitted(permission, state, request, next);
                self.handler.route_layer(from_fn_with_state(Arc::clone(manager), guard))
            }
        };
        guarded.route_layer(from_fn(label))
    }
}

async fn permitted(
    permission: Permission,
    axum::extract::State(manager): axum::extract::State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        // The service lets nobody come this far; should it ever, this door is shut as well.
        tracing::error!("a request without a principal came to a route");
        return Refusal::Unauthorized.into_response();
    };
    let (mut parts, body) = request.into_parts();
    let object = match permission {
        Permission::To(..) | Permission::CheckIn => {
            let name = ObjectName::from_request_parts(&mut parts, &manager).await;
            name.map_or_else(|never| match never {}, |ObjectName(name)| name)
        }
        Permission::Any
        | Permission::Found(_)
        | Permission::Admin
        | Permission::Prune
        | Permission::Report
        | Permission::Enroll => String::new(),
    };
    if !principal.may(permission, &object) {
        return Refusal::Forbidden.into_response();
    }
    parts.extensions.insert(Needs { permission, object });
    next.run(Request::from_parts(parts, body)).await
}

/// What a request that goes on needs.
#[derive(Debug, Clone)]
struct Needs {
    permission: Permission,
    object: String,
}

/// Asks again who sent a request and whether they may.
pub(super) async fn permit_again(manager: &Shared, parts: &Parts) -> Result<(), Refusal> {
    let holder = Holder { headers: &parts.headers, certificate: parts.extensions.get() };
    match parts.extensions.get::<Needs>() {
        Some(Needs { permission, object }) => {
            permit_holder(manager, holder, *permission, object).await
        }
        None => permit_holder(manager, holder, Permission::Any, "").await,
    }
}

/// What a request says of who sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'a> {
    /// Their credentials are in here.
    pub(super) headers: &'a HeaderMap,
    /// That of their connection.
    pub(super) certificate: Option<&'a Arc<DeviceCertificate>>,
}

/// Asks whether these credentials, which were right a moment ago, still are, and permit it.
pub(super) async fn permit_holder(
    manager: &Shared,
    holder: Holder<'_>,
    permission: Permission,
    object: &str,
) -> Result<(), Refusal> {
    let principal = match manager.auth.recognise(holder.headers, holder.certificate) {
        Recognised::Principal(principal) => principal,
        Recognised::Nobody => return Err(Refusal::Unauthorized),
        Recognised::Unknown(claim) => {
            // They were right a moment ago: whoever is wrong now is no guesser.
            let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let verified = Box::pin(manager.auth.verify(&claim, nowhere)).await;
            verified.map_err(Refusal::Denied)?
        }
    };
    if principal.may(permission, object) { Ok(()) } else { Err(Refusal::Forbidden) }
}
