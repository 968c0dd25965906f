//! Where a container's output goes: a driver of Docker's and its options.

use super::super::fields::{Fields, Unknown, clip, string};
use super::OptionValue;
use super::bytes::parse;
use super::pairs::pairs;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most options of a driver.
pub const MAX_LOG_OPTIONS: usize = 50;
/// The longest name of a driver; one that is no part of Docker is named like an image.
const MAX_DRIVER_LENGTH: usize = 255;
const JSON_FILE: &str = "json-file";
const LOCAL: &str = "local";
/// What `json-file` gets that is told nothing else: Docker's own default grows until the disk of the
/// device is full.
const DEFAULT_OPTIONS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];
/// What is asked of an event for every driver that keeps labels and variables.
const TAGGED: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// What the drivers that keep files take, and what every driver takes. Options of other drivers are
/// theirs to check, on the device.
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];
const EVERY: [&str; 2] = ["mode", "max-buffer-size"];

/// A driver with its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogConfig {
    /// Its name.
    pub driver: String,
    /// Its options, as they were given.
    pub options: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { driver: JSON_FILE.to_owned(), options: BTreeMap::new() }
    }
}

impl OptionValue for LogConfig {
    fn decode(value: Value, unknown: Unknown) -> Result<Self, String> {
        let mut fields = Fields::inner(value)?;
        let driver = fields.take("driver", driver);
        let options = fields.take("options", |value| pairs(value, MAX_LOG_OPTIONS));
        fields.finish_inner(unknown, &["driver", "options"])?;
        let config = Self {
            driver: driver.unwrap_or_else(|| JSON_FILE.to_owned()),
            options: options.unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }
}

impl LogConfig {
    /// The options as Docker is given them: a size and a number of files, so that no log fills the
    /// disk.
    pub fn bounded_options(&self) -> BTreeMap<String, String> {
        let mut options = self.options.clone();
        if self.driver == JSON_FILE {
            for (name, value) in DEFAULT_OPTIONS {
                options.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        options
    }

    /// What Docker would refuse when it creates or starts the container.
    fn check(&self) -> Result<(), String> {
        let own: &[&str] = match self.driver.as_str() {
            JSON_FILE => &TAGGED,
            LOCAL => &[],
            _ => return Ok(()),
        };
        let known = [&FILES[..], own, &EVERY].concat();
        if let Some(name) = self.options.keys().find(|name| !known.contains(&name.as_str())) {
            let (name, driver, known) = (clip(name), &self.driver, known.join(", "));
            return Err(format!(
                "`options`: unknown option `{name}` of {driver}, expected one of {known}"
            ));
        }
        for (name, value) in &self.options {
            check_option(name, value)
                .map_err(|reason| format!("`options`: `{name}` {reason}, got `{}`", clip(value)))?;
        }
        let options = self.bounded_options();
        let get = |name: &str| options.get(name).map(String::as_str);
        if get("compress") == Some("true") && get("max-file") == Some("1") {
            return Err("`options`: `compress` needs a `max-file` of 2 or more".to_owned());
        }
        if get("max-buffer-size").is_some() && get("mode") != Some("non-blocking") {
            return Err("`options`: `max-buffer-size` needs the `mode` non-blocking".to_owned());
        }
        Ok(())
    }
}

fn driver(value: Value) -> Result<String, String> {
    let text = string(value)?;
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    let fits = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_letter);
    if fits && text.len() <= MAX_DRIVER_LENGTH {
        return Ok(text);
    }
    Err(format!("must be the name of a log driver, as in json-file, got `{}`", clip(&text)))
}

fn check_option(name: &str, value: &str) -> Result<(), String> {
    match name {
        // Docker reads this one in powers of 1000.
        "max-size" | "max-buffer-size" => match parse(value, 1_000) {
            Some(bytes) if bytes > 0 && i64::try_from(bytes).is_ok() => Ok(()),
            _ => Err("must be a size above 0, as in 10m".to_owned()),
        },
        // More files than this are no log but an archive.
        "max-file" => match value.parse::<u32>() {
            Ok(1..=1_000) if value.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
            _ => Err("must be a number from 1 to 1000".to_owned()),
        },
        "compress" if !matches!(value, "true" | "false") => Err("must be true or false".to_owned()),
        "mode" if !matches!(value, "blocking" | "non-blocking") => {
            Err("must be blocking or non-blocking".to_owned())
        }
        _ => Ok(()),
    }
}
