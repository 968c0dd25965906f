//! Maps of strings, given as an object or as a list of `K=V`: labels and sysctls.

use super::super::fields::{Unknown, clip, kind, list, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most labels.
pub const MAX_LABELS: usize = 100;
/// The most sysctls; the kernel has not many more that a container may set.
pub const MAX_SYSCTLS: usize = 100;
/// The longest name of a pair, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// The longest value of a pair, in bytes. Rules of reverse proxies in labels have some hundreds.
const MAX_VALUE_BYTES: usize = 8_192;
/// Labels that are ours to set: they say which container is which.
const OUR_LABELS: [&str; 4] = ["orchestrator", "app_name", "container_type", "cron_job_name"];
/// All labels with this beginning are ours as well.
const OUR_PREFIX: &str = "nebula.";
/// The kernel's settings that are a container's own, beside those that begin as below. Others are
/// the whole device's, and Docker refuses them.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const SYSCTL_PREFIXES: [&str; 2] = [NET, "fs.mqueue."];
const NET: &str = "net.";

/// Labels beside ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OwnLabels(pub BTreeMap<String, String>);

impl OptionValue for OwnLabels {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let labels = pairs(value, MAX_LABELS)?;
        let is_ours =
            |key: &&String| OUR_LABELS.contains(&key.as_str()) || key.starts_with(OUR_PREFIX);
        match labels.keys().find(is_ours) {
            Some(key) => Err(format!(
                "`{}` is Nebula's own, by which it finds its containers: take another name",
                clip(key)
            )),
            None => Ok(Self(labels)),
        }
    }
}

/// The kernel's settings of a container's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sysctls(pub BTreeMap<String, String>);

impl OptionValue for Sysctls {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let sysctls = pairs(value, MAX_SYSCTLS)?;
        for (key, value) in &sysctls {
            let own = SYSCTL_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
            let is_path = key.split('.').any(str::is_empty) || key.contains('/');
            let is_word = key.chars().all(|c| c.is_ascii_graphic());
            if !(own || SYSCTLS.contains(&key.as_str())) || is_path || !is_word {
                return Err(format!(
                    "`{}` is not a container's to set: expected net.*, fs.mqueue.* or one of {}",
                    clip(key),
                    SYSCTLS.join(", ")
                ));
            }
            if value.is_empty() {
                return Err(format!("`{}` must have a value", clip(key)));
            }
        }
        Ok(Self(sysctls))
    }
}

impl Sysctls {
    /// The first that is the network's. On the device's own network it would be the device's.
    pub(in super::super) fn of_the_network(&self) -> Option<&str> {
        self.0.keys().map(String::as_str).find(|key| key.starts_with(NET))
    }
}

/// Reads pairs. Numbers and booleans stand for their text, and a key without a value has an empty
/// one, as Compose reads them.
pub(super) fn pairs(value: Value, limit: usize) -> Result<BTreeMap<String, String>, String> {
    let given: Vec<(String, String)> = match value {
        Value::Object(map) => {
            if map.len() > limit {
                return Err(format!("must have at most {limit} keys, this has {}", map.len()));
            }
            let read = |(key, value): (String, Value)| {
                let text = scalar(value).map_err(|reason| format!("`{}` {reason}", clip(&key)))?;
                Ok((key, text))
            };
            map.into_iter().map(read).collect::<Result<_, String>>()?
        }
        Value::Array(_) => list(value, limit, |item| {
            let text = string(item)?;
            let (key, value) = text.split_once('=').unwrap_or((&text, ""));
            Ok((key.to_owned(), value.to_owned()))
        })?,
        other => {
            return Err(format!("must be an object or a list of `K=V`, got {}", kind(&other)));
        }
    };
    let mut pairs = BTreeMap::new();
    for (key, value) in given {
        let shown = clip(&key);
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.contains(['=', '\0']) {
            return Err(format!(
                "`{shown}` is no key: it must have 1 to {MAX_KEY_BYTES} bytes and no `=`"
            ));
        }
        if value.len() > MAX_VALUE_BYTES || value.contains('\0') {
            return Err(format!(
                "`{shown}` must have at most {MAX_VALUE_BYTES} bytes and no NUL character"
            ));
        }
        if pairs.insert(key, value).is_some() {
            return Err(format!("`{shown}` is given twice"));
        }
    }
    Ok(pairs)
}

fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(format!("must be a string, got {}", kind(&other))),
    }
}
