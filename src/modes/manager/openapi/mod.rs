//! The API's description, `GET /api/openapi.json`, made from the operations that the router is made
//! from.
//!
//! What it is: paths, permissions, parameters, bodies and answers in the form of `OpenAPI` 3.1.
//! What it is not: schemas of the bodies stand in [`schemas`], beside the model's own decoders and
//! not made from them; a fuzzer that reads this description keeps the two equal.

mod container_options;
mod devices;
pub(super) mod query;
mod schemas;

use super::operation::{Operation, Takes};
use super::reply::{Answer, bytes_reply};
use axum::Extension;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

/// Where the description is.
pub(super) const PATH: &str = "/api/openapi.json";

/// The description as bytes, made once.
#[derive(Debug, Clone)]
pub(super) struct Document(Bytes);

impl Document {
    pub(super) fn new(document: &Value) -> Self {
        Self(document.to_string().into())
    }
}

/// `GET /api/openapi.json`
pub(super) async fn show(Extension(Document(bytes)): Extension<Document>) -> Answer {
    Ok(bytes_reply(StatusCode::OK, bytes))
}

/// A named schema.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object of one flag with one value.
pub(super) fn flag(name: &str, value: bool) -> Value {
    json!({
        "type": "object",
        "required": [name],
        "additionalProperties": false,
        "properties": { name: { "type": "boolean", "enum": [value] } },
    })
}

/// An object of one list of names.
pub(super) fn names(key: &str) -> Value {
    let list = json!({ "type": "array", "items": { "type": "string" } });
    json!({ "type": "object", "required": [key], "properties": { key: list } })
}

/// The whole description.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.verb.as_str()] = describe(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Nebula",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Declares what every device of a fleet runs.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(operation),
    });
    let mut parameters = operation.parameters.clone();
    if operation.path.contains("{name}") {
        parameters.insert(0, query::name(operation.path));
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(Takes { schema, is_required }) = &operation.takes {
        let content = json!({ "application/json": { "schema": schema } });
        described["requestBody"] = json!({ "required": is_required, "content": content });
    }
    match operation.permission {
        Some(permission) => described["x-permission"] = permission.in_words().into(),
        None => described["security"] = json!([]),
    }
    described
}

/// Every answer that an operation can give. There is no `default`: what is not here is a mistake.
fn responses(operation: &Operation) -> Value {
    let mut by_status: Map<String, Value> = Map::new();
    for (status, schema) in &operation.answers {
        let mut answer = response("Done.", operation.media, vec![schema.clone()]);
        if operation.id.ends_with("_info") {
            answer["headers"]["ETag"] = header("string");
        }
        if *status == 304 {
            answer = json!({ "description": "As the client has it.", "headers": { "ETag": header("string") } });
        }
        if let Some(links) = links(operation) {
            answer["links"] = links;
        }
        by_status.insert(status.to_string(), answer);
    }
    for (status, refusals) in refusals(operation) {
        let mut answer = response(meaning(status), "application/json", refusals);
        let extra = match status {
            401 => Some(("WWW-Authenticate", header("string"))),
            429 | 503 => Some(("Retry-After", header("integer"))),
            _ => None,
        };
        if let Some((name, header)) = extra {
            answer["headers"][name] = header;
        }
        // A readiness check says no with 503 and no advice.
        by_status.entry(status.to_string()).or_insert(answer);
    }
    by_status.into()
}

/// The refusals of an operation by status: its own, and those that every operation may give.
fn refusals(operation: &Operation) -> Vec<(u16, Vec<Value>)> {
    let mut all: Vec<(u16, Vec<Value>)> = Vec::new();
    let mut add = |status: u16, schema: Value| match all.iter_mut().find(|(s, _)| *s == status) {
        Some((_, schemas)) => schemas.push(schema),
        None => all.push((status, vec![schema])),
    };
    if operation.permission.is_some() {
        add(401, schema("Error"));
        add(403, flag("access_allowed", false));
        add(429, schema("Error"));
        add(503, schema("Error"));
    }
    for (status, schema) in &operation.refuses {
        add(*status, schema.clone());
    }
    if operation.takes.is_some() {
        for status in [400, 408, 413] {
            add(status, schema("Error"));
        }
    }
    all
}

fn response(description: &str, media: &str, schemas: Vec<Value>) -> Value {
    let schema = match <[Value; 1]>::try_from(schemas) {
        Ok([schema]) => schema,
        Err(schemas) => json!({ "anyOf": schemas }),
    };
    json!({
        "description": description,
        "headers": { "Cache-Control": header("string") },
        "content": { media: { "schema": schema } },
    })
}

fn header(kind: &str) -> Value {
    json!({ "required": true, "schema": { "type": kind } })
}

const fn meaning(status: u16) -> &'static str {
    match status {
        400 => "What was given cannot be, and why.",
        401 => "No valid credentials.",
        403 => "Not permitted, there is none, or there is one already.",
        409 => "Nothing was written.",
        408 => "The body did not come in time.",
        413 => "The body is too large.",
        429 => "Too many failed logins.",
        _ => "Not now: the same may work in a moment.",
    }
}

/// From a new object to what can be done with it.
fn links(operation: &Operation) -> Option<Value> {
    let kind = operation.id.strip_prefix("create_")?;
    let key = match kind {
        "app" => "app_name",
        "cron_job" => "cron_job_name",
        "user" => "user_name",
        kind => kind,
    };
    let verbs: &[&str] = match kind {
        "app" => &["show", "start", "stop", "restart", "replace", "update", "delete"],
        "cron_job" => &["show", "replace", "update", "delete"],
        "device_group" => &["show", "replace", "update", "prune", "delete"],
        "user" => &["show", "update", "refresh", "delete"],
        _ => &["show", "update", "delete"],
    };
    let links = verbs.iter().map(|verb| {
        let name = format!("$response.body#/{key}");
        let link =
            json!({ "operationId": format!("{verb}_{kind}"), "parameters": { "name": name } });
        ((*verb).to_owned(), link)
    });
    Some(Value::Object(links.collect()))
}
