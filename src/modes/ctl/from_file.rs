//! `--from-file`: the fields of an object from a file, in JSON or TOML.

use super::failure::Failure;
use crate::client::Object;
use crate::model::strict_object;
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

/// The longest file; a manager takes no longer body.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a file, or stdin for `-`. JSON begins with a brace, and no TOML does.
pub(super) fn read(file: &Path) -> Result<Object, Failure> {
    let shown = file.display();
    let cannot = |error: std::io::Error| {
        Failure::usage(format!("cannot read --from-file `{shown}`")).because(error)
    };
    let mut text = String::new();
    let limit = MAX_FILE_BYTES + 1;
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(file).map_err(cannot)?;
        opened.take(limit).read_to_string(&mut text)
    };
    read.map_err(cannot)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::usage(format!("--from-file `{shown}` is larger than 1 MiB")));
    }
    let parsed = if text.trim_start().starts_with('{') {
        strict_object(text.as_bytes())
    } else {
        from_toml(&text)
    };
    parsed.map_err(|reason| {
        Failure::usage(format!("--from-file `{shown}`: {reason}"))
            .hint("it holds the keys of the API in JSON or TOML, as `info -o json` prints them")
    })
}

fn from_toml(text: &str) -> Result<Object, String> {
    let table = text.parse::<toml::Table>().map_err(|error| format!("not TOML: {error}"))?;
    match serde_json::to_value(table) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err("not TOML that can be JSON".to_owned()),
    }
}
