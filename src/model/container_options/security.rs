//! How the kernel guards a container: `no-new-privileges`, `apparmor=NAME`, `seccomp=unconfined`,
//! `label=...`.

use super::super::fields::{Unknown, clip, list, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The most options.
pub const MAX_SECURITY_OPTIONS: usize = 20;
/// The longest option in bytes: Docker's own seccomp profile is a fifth of it.
const MAX_OPTION_BYTES: usize = 64 * 1024;
/// What `label` takes before its colon.
const LABEL_PARTS: [&str; 5] = ["user", "role", "type", "level", "filetype"];
const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// Options in Docker's form, `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecurityOptions(pub Vec<String>);

impl OptionValue for SecurityOptions {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        list(value, MAX_SECURITY_OPTIONS, |item| option(&string(item)?)).map(Self)
    }
}

fn option(text: &str) -> Result<String, String> {
    if text.len() > MAX_OPTION_BYTES || text.contains('\0') {
        return Err("must have at most 64 KiB and no NUL character".to_owned());
    }
    // A colon in place of the equals sign is Docker's older form.
    let (name, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((name, value)) => (name, value),
        None if text == NO_NEW_PRIVILEGES => (NO_NEW_PRIVILEGES, "true"),
        None => (text, ""),
    };
    // With a colon as the sign, an equals sign may stand in the value: `seccomp:{...}` has both.
    let (name, value) = match name.split_once(':') {
        Some((name, _)) => (name, text.get(name.len() + 1..).unwrap_or(value)),
        None => (name, value),
    };
    match name {
        NO_NEW_PRIVILEGES if matches!(value, "true" | "false") => {}
        "apparmor" if is_profile(value) => {}
        "seccomp" if value == "unconfined" || is_object(value) => {}
        "seccomp" => {
            return Err("`seccomp` must be `unconfined` or the profile's JSON itself: a file of \
                        that name is not on the device"
                .to_owned());
        }
        "label" if value == "disable" || is_label(value) => {}
        _ => {
            return Err(format!(
                "`{}` must be one of no-new-privileges[=true|false], apparmor=PROFILE, \
                 seccomp=unconfined, seccomp=JSON, label=disable, label=user|role|type|level|\
                 filetype:VALUE",
                clip(text)
            ));
        }
    }
    Ok(format!("{name}={value}"))
}

fn is_profile(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic())
}

fn is_object(text: &str) -> bool {
    super::super::json::json_value(text.as_bytes()).is_ok_and(|value| value.is_object())
}

fn is_label(text: &str) -> bool {
    let part = text.split_once(':');
    part.is_some_and(|(part, value)| LABEL_PARTS.contains(&part) && is_profile(value))
}
