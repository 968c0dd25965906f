//! The schemas of bodies and answers.
//!
//! A bound stands here only when it is exactly the model's: the fuzzer sends each bound, and one
//! past it. What no schema can say (two ports that overlap, a schedule) is left to the model, and
//! the description of the field says so.

use super::{container_options, devices};
use crate::model::{MAX_LIST_ITEMS, MAX_VERSIONS};
use crate::store::Kind;
use crate::store::transfer::{MAX_BATCH, MAX_REVISION};
use serde_json::{Map, Value, json};

/// What Docker takes as the stem of a container's name.
pub(super) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$";
/// Names of users and user groups. Their length is counted in bytes, which no pattern does.
pub(super) const ACCOUNT_NAME: &str = "^[^\\s\\x00-\\x1f\\x7f-\\x9f:/.\\ufffd]\
    ([^\\x00-\\x1f\\x7f-\\x9f:/\\ufffd]*[^\\s\\x00-\\x1f\\x7f-\\x9f:/\\ufffd])?$";
/// A token travels in a header: visible ASCII, as much as bcrypt reads.
const TOKEN: &str = "^[\\x21-\\x7e]{1,72}$";
/// From 1 to 65535.
const PORT: &str =
    "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// All of them by name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    let mut add = |name: &str, schema: Value| all.insert(name.to_owned(), schema);
    add("Error", object(&["error"], json!({ "error": { "type": "string" } }), false));
    let reasons = json!({ "type": "string" });
    add(
        "Invalid",
        json!({ "type": "object", "minProperties": 1, "additionalProperties": reasons }),
    );
    add("InvalidSchedule", invalid_schedule());
    add("PortsForm", ports_form());
    add("MissingList", missing_list());
    add("Empty", json!({ "type": "object", "maxProperties": 0 }));
    add("PruneIds", prune_ids());
    devices::add(&mut add);
    add("Import", import());
    add("Imported", imported());
    let app = [container(), app_only()].concat();
    let optional = container_options::of_an_app();
    let given = [app.clone(), optional.clone()].concat();
    add("NewApp", body(&given, APP_READ_ONLY, &["docker_image"]));
    add("AppChanges", changes(&given, APP_READ_ONLY));
    add("App", answer(&app, &optional, &[("app_id", id()), ("app_name", text())]));
    add("AppHistory", app_history());
    add("Rollback", object(&[], json!({ "app_id": id() }), false));
    let job = [container(), cron_job_only()].concat();
    let optional = [cron_job_optional(), container_options::of_a_cron_job()].concat();
    let given = [job.clone(), optional.clone()].concat();
    add("NewCronJob", body(&given, CRON_JOB_READ_ONLY, &["docker_image", "schedule"]));
    add("CronJobChanges", changes(&given, CRON_JOB_READ_ONLY));
    add("CronJob", answer(&job, &optional, &[("cron_job_id", id()), ("cron_job_name", text())]));
    let group = [("apps", member_names(1_000)), ("cron_jobs", member_names(1_000))];
    add("DeviceGroupMembers", body(&group, DEVICE_GROUP_READ_ONLY, &[]));
    add("DeviceGroupChanges", changes(&group, DEVICE_GROUP_READ_ONLY));
    let group_ids = [("device_group", text()), ("device_group_id", id()), ("prune_id", id())];
    add("DeviceGroup", answer(&group, &[], &group_ids));
    add("Info", info());
    let user = [("password", password()), ("token", token())];
    add("NewUser", body(&user, USER_READ_ONLY, &[]));
    add("UserChanges", changes(&user, USER_READ_ONLY));
    let hashes = [("user_name", text()), ("password", text()), ("token", text())];
    add("User", answer(&[], &[], &hashes));
    let made = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    add("CreatedUser", with(answer(&[], &[], &hashes), "generated", made));
    add("NewToken", object(&["token"], json!({ "token": token() }), false));
    let user_group = user_group();
    add("UserGroupBody", body(&user_group, USER_GROUP_READ_ONLY, &[]));
    add("UserGroupChanges", changes(&user_group, USER_GROUP_READ_ONLY));
    add("UserGroup", answer(&user_group, &[], &[("user_group", text())]));
    all.into()
}

type Fields<'a> = &'a [(&'static str, Value)];

const APP_READ_ONLY: &[&str] = &["_id", "app_id", "app_name", "uid", "revision"];
const CRON_JOB_READ_ONLY: &[&str] = &["_id", "cron_job_id", "cron_job_name", "uid", "revision"];
const DEVICE_GROUP_READ_ONLY: &[&str] =
    &["_id", "device_group", "device_group_id", "prune_id", "uid", "revision"];
const USER_READ_ONLY: &[&str] = &["_id", "user_name", "token_id", "generated", "uid", "revision"];
const USER_GROUP_READ_ONLY: &[&str] = &["_id", "user_group", "uid", "revision"];

pub(super) fn object(required: &[&str], properties: impl Into<Value>, more: bool) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties.into() });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !more {
        schema["additionalProperties"] = false.into();
    }
    schema
}

/// A body: these fields, and the read-only ones, which may come back as they were read.
fn body(fields: Fields<'_>, read_only: &[&str], required: &[&str]) -> Value {
    let mut properties = properties(fields);
    for key in read_only {
        properties.insert((*key).to_owned(), json!({ "readOnly": true }));
    }
    object(required, properties, false)
}

/// A body of which something must be given.
fn changes(fields: Fields<'_>, read_only: &[&str]) -> Value {
    with(body(fields, read_only, &[]), "minProperties", json!(1))
}

/// An answer: all of these, those of the optional ones that are set, and whatever comes later.
fn answer(fields: Fields<'_>, optional: Fields<'_>, own: Fields<'_>) -> Value {
    let all = [own, fields].concat();
    let required: Vec<&str> = all.iter().map(|(key, _)| *key).collect();
    let mut properties = properties(&[all.as_slice(), optional].concat());
    properties.insert("uid".to_owned(), json!({ "type": "string", "pattern": "^[0-9a-f]{24}$" }));
    properties.insert("revision".to_owned(), id());
    object(&required, properties, true)
}

fn properties(fields: Fields<'_>) -> Map<String, Value> {
    fields.iter().map(|(key, schema)| ((*key).to_owned(), schema.clone())).collect()
}

/// A schema with one more keyword, or one more property of an object.
pub(super) fn with(mut schema: Value, key: &str, value: Value) -> Value {
    if value.is_object() {
        schema["properties"][key] = value;
    } else {
        schema[key] = value;
    }
    schema
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn id() -> Value {
    json!({ "type": "integer", "minimum": 1 })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

pub(super) fn list(most: usize, items: impl Into<Value>) -> Value {
    json!({ "type": "array", "maxItems": most, "items": items.into() })
}

fn member_names(most: usize) -> Value {
    list(most, text())
}

fn password() -> Value {
    json!({
        "type": "string",
        "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]+$",
        "maxLength": 72,
        "description": "At most 72 bytes.",
    })
}

fn token() -> Value {
    json!({ "type": "string", "pattern": TOKEN })
}

/// What apps and cron jobs share.
fn container() -> Vec<(&'static str, Value)> {
    let part = "[a-z0-9]+((\\.|_{1,2}|-+)[a-z0-9]+)*";
    // A first part with a dot is a registry's name, if anything comes after it.
    let undotted = "[a-z0-9]+((_{1,2}|-+)[a-z0-9]+)*";
    let host = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?";
    let registry = format!("{host}(\\.{host})+(:[1-9][0-9]{{0,3}})?");
    let image = format!(
        "^({registry}/{part}(/{part})*|{part}|{undotted}(/{part})+)\
         (:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?$"
    );
    let only = json!({ "type": "string", "enum": ["host", "none"] });
    let others = json!({ "type": "string", "pattern": NAME, "not": { "enum": ["host", "none"] } });
    let networks = [list(1, only), list(MAX_LIST_ITEMS, others)];
    let variables = json!({
        "type": "object",
        "maxProperties": 1_000,
        "propertyNames": { "pattern": "^[^=\\x00]+$" },
        "additionalProperties": { "type": "string", "pattern": "^[^\\x00]*$" },
    });
    let volume = "^(/[^:\\x00-\\x1f\\x7f-\\x9f]*|[A-Za-z0-9][A-Za-z0-9_.-]{1,127}):\
                  /[a-z][^:\\x00-\\x1f\\x7f-\\x9f/.]*(:(ro|rw))?$";
    let device = "^/[^:\\x00-\\x1f\\x7f-\\x9f]*(:/[^:\\x00-\\x1f\\x7f-\\x9f]*(:[rwm]+)?)?$";
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    vec![
        ("docker_image", json!({ "type": "string", "pattern": image, "maxLength": 255 })),
        ("env_vars", json!({ "anyOf": [variables, { "type": "array", "maxItems": 0 }] })),
        ("networks", json!({ "anyOf": networks })),
        ("volumes", list(MAX_LIST_ITEMS, pattern(volume))),
        ("devices", list(MAX_LIST_ITEMS, pattern(device))),
        ("privileged", boolean()),
        ("running", boolean()),
    ]
}

fn app_only() -> Vec<(&'static str, Value)> {
    let port = json!({ "type": "integer", "minimum": 1, "maximum": 65_535 });
    let inside = format!("^{PORT}(/(tcp|udp|sctp))?$");
    let text = json!({ "type": "string", "pattern": inside });
    let outside = format!("^(([0-9]{{1,3}}\\.){{3}}[0-9]{{1,3}}:|\\[[0-9a-fA-F:.]+\\]:)?{PORT}$");
    let pairs = json!({
        "type": "object",
        "maxProperties": 100,
        "propertyNames": { "pattern": outside },
        "additionalProperties": { "anyOf": [port, text] },
    });
    let ports = json!({
        "type": "array",
        "maxItems": 100,
        "items": { "anyOf": [port, pairs] },
        "description": "No port of the device may be bound twice, by no replica. A pair may have an \
                        address of the device, IPv6 in brackets, and a protocol.",
        "examples": [[80, { "443": "8443", "127.0.0.1:5353": "53/udp" }]],
    });
    let count = || json!({ "type": "integer", "minimum": 0, "maximum": 1_000 });
    let megabytes = || json!({ "type": "number", "minimum": 0.01, "maximum": 1e12 });
    let per = |key: &str, number: Value| object(&[key], json!({ key: number }), false);
    let rules = [
        per("server", count()),
        per("instance", count()),
        per("cpu", json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 100 })),
        per("memory", megabytes()),
        per("mem", megabytes()),
    ];
    vec![
        ("starting_ports", ports),
        ("containers_per", json!({ "oneOf": rules })),
        ("rolling_restart", boolean()),
    ]
}

fn cron_job_only() -> Vec<(&'static str, Value)> {
    let schedule = json!({
        "type": "string",
        "description": "Five fields of Linux's cron, or one of @hourly, @daily, @midnight, @weekly, \
                        @monthly, @yearly, @annually.",
        "examples": ["0 * * * *", "*/5 0-6,22-23 1 jan-mar mon"],
    });
    vec![("schedule", schedule)]
}

/// Keys that an answer leaves out when they are not set; `null` unsets one.
fn cron_job_optional() -> Vec<(&'static str, Value)> {
    let one_of = |words: &[&str]| {
        let words: Vec<Option<&str>> = words.iter().copied().map(Some).chain([None]).collect();
        json!({ "enum": words })
    };
    let zone = json!({
        "type": ["string", "null"],
        "description": "A name of the IANA time zone database; UTC when it is not set.",
        "examples": ["Europe/Berlin"],
    });
    vec![
        ("timezone", zone),
        ("overlap", one_of(&["skip", "allow", "replace"])),
        ("missed_runs", one_of(&["catch_up", "skip"])),
    ]
}

fn user_group() -> Vec<(&'static str, Value)> {
    let access = json!({ "type": "string", "enum": ["ro", "rw"] });
    let grants = || {
        json!({
            "type": "object",
            "maxProperties": 10_000,
            "propertyNames": { "maxLength": 128 },
            "additionalProperties": access,
        })
    };
    let member = json!({ "type": "string", "maxLength": 128 });
    vec![
        ("group_members", list(10_000, member)),
        ("pruning_allowed", boolean()),
        ("apps", grants()),
        ("device_groups", grants()),
        ("cron_jobs", grants()),
        ("admin", boolean()),
    ]
}

fn info() -> Value {
    let all = |name: &str| json!({ "type": "array", "items": super::schema(name) });
    let names = || json!({ "type": "array", "items": text() });
    let fields = [
        ("apps", all("App")),
        ("apps_list", names()),
        ("cron_jobs", all("CronJob")),
        ("cron_jobs_list", names()),
        ("prune_id", id()),
        ("device_group_id", id()),
        ("revision", id()),
    ];
    let required: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
    object(&required, properties(&fields), true)
}

fn app_history() -> Value {
    let names = json!({ "type": "array", "items": text() });
    let changed = json!({ "key": text(), "from": {}, "to": {}, "changed_variables": names });
    let version = json!({
        "app_id": id(),
        "revision": { "type": "integer", "minimum": 0 },
        "time": { "type": "integer" },
        "who": text(),
        "what": text(),
        "changed": { "type": "array", "items": object(&["key"], changed, true) },
    });
    let version = object(&["app_id", "revision", "time", "who", "what", "changed"], version, true);
    let versions = json!({ "type": "array", "maxItems": MAX_VERSIONS, "items": version });
    object(&["history"], json!({ "history": versions }), true)
}

fn kinds() -> Value {
    json!({ "enum": Kind::ALL.map(Kind::as_str) })
}

fn import() -> Value {
    let wire = json!({ "type": "object", "description": "As the API shows it, with its uid." });
    let item = object(&["kind", "object"], json!({ "kind": kinds(), "object": wire }), true);
    let fields = json!({
        "objects": list(MAX_BATCH, item),
        "existing": { "enum": ["refuse", "replace", "skip"], "default": "refuse" },
        "above": { "type": "integer", "minimum": 0, "maximum": MAX_REVISION },
        "dry_run": { "type": "boolean", "default": false },
    });
    object(&["objects"], fields, false)
}

fn imported() -> Value {
    let outcomes = ["added", "equal", "replaced", "skipped", "refused"];
    let item = json!({ "kind": kinds(), "name": text(), "outcome": { "enum": outcomes } });
    let item = with(object(&["kind", "name", "outcome"], item, false), "reason", text());
    let revision = json!({ "type": ["integer", "null"] });
    let fields = json!({ "revision": revision, "objects": { "type": "array", "items": item } });
    object(&["revision", "objects"], fields, true)
}

fn prune_ids() -> Value {
    let ids = json!({ "type": "object", "additionalProperties": id() });
    object(&["prune_ids"], json!({ "prune_ids": ids }), true)
}

fn invalid_schedule() -> Value {
    let valid = json!({ "type": "boolean", "enum": [false] });
    let mut schema = object(
        &["schedule_valid", "schedule"],
        json!({ "schedule_valid": valid, "schedule": text() }),
        true,
    );
    schema["additionalProperties"] = text();
    schema
}

fn ports_form() -> Value {
    let words = "can only be a list containing integers or dicts";
    object(&["starting_ports"], json!({ "starting_ports": { "const": words } }), false)
}

fn missing_list() -> Value {
    let fields = json!({ "type": "array", "minItems": 1, "items": text() });
    object(&["missing_parameters"], json!({ "missing_parameters": fields }), false)
}
