//! Every operation of the API, from the description that a running manager gives of itself.

use super::{code, columns, head, plain, row};
use crate::process::Manager;
use serde_json::{Map, Value};
use std::fmt::Write as _;

const WORDS: &str = "\
The base is `/api/v2`; JSON goes in and comes out. A running manager describes itself at `GET /api/openapi.json` (OpenAPI 3.1, with the
patterns and examples that are left out here); clients can be generated from it.

- **Who asks**: every request carries `Authorization: Basic ...` (the configured admin or a stored user) or `Authorization: Bearer ...` (the configured
  token or a stored user's). Without, or with wrong ones: 401.
- **May they**: what is needed stands with each operation. Not permitted: 403 `{\"access_allowed\": false}`.
- **Not there, or there already**: 403 too, with a flag such as `{\"app_exists\": false}`; clients of the original rely on it.
- **Wrong bodies**: 400, with each wrong field and why. A key that does not exist is refused.
- **Too much, or too early**: 413, 429 and 503; the last two with `Retry-After`.
- **POST or PUT**: `POST .../update` sets everything that is not given back to its default; `PUT` and `PATCH` change what is given.";

/// Refusals that every operation can give, which stand at the head of the page.
const EVERYWHERE: [&str; 7] = ["401", "405", "408", "413", "429", "500", "503"];

/// The page's sections, each with the first words of its paths; the manager's own have none of them.
const AREAS: [(&str, &[&str]); 8] = [
    ("Apps", &["apps"]),
    ("Cron jobs", &["cron_jobs"]),
    ("Device groups", &["device_groups", "prune"]),
    ("Devices", &["devices", "enroll"]),
    ("Reports", &["reports"]),
    ("Users", &["users"]),
    ("User groups", &["user_groups"]),
    ("The manager", &["", "status", "backup", "export", "import"]),
];

pub(super) fn page() -> Result<String, String> {
    let manager = Manager::start(&[])?;
    let document: Value = serde_json::from_str(&manager.get("/api/openapi.json")?)
        .map_err(|error| format!("the description is no JSON: {error}"))?;
    let mut page = head("API", WORDS);
    for (area, of_area) in AREAS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {area}\n");
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            if of_area.contains(&noun(path)) {
                for (verb, operation) in operations.as_object().into_iter().flatten() {
                    page.push_str(&described(path, verb, operation));
                }
            }
        }
    }
    let told = page.matches("\n### `").count();
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations: usize = paths.filter_map(|(_, all)| all.as_object()).map(Map::len).sum();
    if told != operations {
        return Err(format!(
            "{told} of {operations} operations have a place on the page: see `AREAS`"
        ));
    }
    page.push_str(
        "\n## Bodies\n\nWhat requests and answers hold. A key is required where that is said.\n",
    );
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(page, "\n### {name}\n\n{}", body(schema));
    }
    Ok(page)
}

/// What a path is about.
fn noun(path: &str) -> &str {
    path.strip_prefix("/api/v2/").and_then(|rest| rest.split('/').next()).unwrap_or_default()
}

fn described(path: &str, verb: &str, operation: &Value) -> String {
    let mut text = format!("\n### `{} {path}`\n\n", verb.to_uppercase());
    text.push_str(&plain(operation["summary"].as_str().unwrap_or_default()));
    text.push_str(&operation["x-permission"].as_str().map_or_else(
        || " Everybody may ask, without credentials.".to_owned(),
        |permission| format!(" Needs: {}.", plain(permission)),
    ));
    text.push('\n');
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let rows: String =
        parameters.filter(|parameter| parameter["in"] == "query").map(parameter).collect();
    if !rows.is_empty() {
        let _ = write!(text, "\n{}{rows}", columns(["query", "value", ""]));
    }
    let content = &operation["requestBody"]["content"];
    for (media, content) in content.as_object().into_iter().flatten() {
        let media = if media == "application/json" { String::new() } else { format!(" ({media})") };
        let _ = write!(text, "\nBody{media}: {}\n", words(&content["schema"]));
    }
    let mut answers: Vec<(&String, &Value)> =
        operation["responses"].as_object().into_iter().flatten().collect();
    answers.sort_by_key(|(status, _)| *status);
    let rows: String = answers
        .into_iter()
        .filter(|(status, _)| !EVERYWHERE.contains(&status.as_str()))
        .map(|(status, answer)| {
            let body = answer["content"].as_object().into_iter().flatten().next();
            let body = body.map_or_else(String::new, |(_, content)| words(&content["schema"]));
            let meaning = plain(answer["description"].as_str().unwrap_or_default());
            row([status, &meaning, &body])
        })
        .collect();
    text + &format!("\n{}{rows}", columns(["status", "", "body"]))
}

fn parameter(parameter: &Value) -> String {
    let name = code(parameter["name"].as_str().unwrap_or_default());
    let told = plain(parameter["description"].as_str().unwrap_or_default());
    row([&name, &words(&parameter["schema"]), &told])
}

/// A named schema's own section.
fn body(schema: &Value) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        return format!("{}\n", words(schema));
    };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut text = columns(["key", "value", ""]);
    for (name, value) in properties {
        let must = if required.contains(&name.as_str()) { "Required. " } else { "" };
        let told = plain(value["description"].as_str().unwrap_or_default());
        text.push_str(&row([&code(name), &words(value), format!("{must}{told}").trim_end()]));
    }
    text
}

/// A schema in words.
fn words(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for one_of in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[one_of].as_array() {
            let mut choices: Vec<String> = choices.iter().map(words).collect();
            choices.dedup();
            return choices.join(", or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| code(&value.to_string())).collect::<Vec<_>>().join(", ");
    }
    if let Some(value) = schema.get("const") {
        return code(&value.to_string());
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kinds: Vec<String> = kinds.into_iter().map(|kind| kind_words(kind, schema)).collect();
    if kinds.is_empty() { "anything".to_owned() } else { kinds.join(", or ") }
}

fn kind_words(kind: &str, schema: &Value) -> String {
    match kind {
        "array" if schema["items"].is_null() => "list".to_owned(),
        "array" => format!("list of {}", words(&schema["items"])),
        "object" => object_words(schema),
        "integer" | "number" => {
            let kind = if kind == "integer" { "whole number" } else { "number" };
            match (bound(&schema["minimum"]), bound(&schema["maximum"])) {
                (Some(min), Some(max)) => format!("{kind} from {min} to {max}"),
                (Some(min), None) => format!("{kind} from {min}"),
                (None, Some(max)) => format!("{kind} up to {max}"),
                (None, None) => kind.to_owned(),
            }
        }
        "string" => match schema["maxLength"].as_u64() {
            Some(most) => format!("text of up to {most} characters"),
            None => "text".to_owned(),
        },
        "boolean" => "`true` or `false`".to_owned(),
        other => other.to_owned(),
    }
}

/// A bound that says more than what the number's bits can hold.
fn bound(value: &Value) -> Option<String> {
    value.as_f64().filter(|number| number.abs() < 9e15).map(|_| value.to_string())
}

fn object_words(schema: &Value) -> String {
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    if !properties.is_empty() && properties.len() <= 3 {
        let keys =
            properties.iter().map(|(name, value)| format!("{}: {}", code(name), words(value)));
        return format!("object with {}", keys.collect::<Vec<_>>().join(", "));
    }
    match &schema["additionalProperties"] {
        value @ Value::Object(_) => format!("object of names with {}", words(value)),
        _ if properties.is_empty() => "object".to_owned(),
        _ => {
            let keys = properties.keys().map(|name| code(name));
            format!("object with {}", keys.collect::<Vec<_>>().join(", "))
        }
    }
}
