//! As whom, where and under which name a container runs.

use super::super::fields::{Unknown, clip, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The longest user with its group.
pub const MAX_USER_LENGTH: usize = 256;
/// The highest id of a user or group that a container's runtime takes.
const MAX_ID: u64 = i32::MAX as u64;
/// The longest path in bytes, one less than Linux's `PATH_MAX`, which counts an end.
pub const MAX_PATH_BYTES: usize = 4_095;
/// The longest host name. Linux takes one more; resolvers do not.
pub const MAX_HOSTNAME_LENGTH: usize = 63;

/// A user by name or id, with or without a group: `www-data`, `1000:1000`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct User(pub String);

impl OptionValue for User {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let text = string(value).map_err(|reason| format!("{reason}; write `\"1000\"`"))?;
        let (user, group) =
            text.split_once(':').map_or((text.as_str(), None), |(u, g)| (u, Some(g)));
        let parts = [Some(user), group];
        let is_name =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_graphic() && c != ':');
        if text.len() > MAX_USER_LENGTH || !parts.into_iter().flatten().all(is_name) {
            let shown = clip(&text);
            return Err(format!("must be USER or USER:GROUP, names or ids, got `{shown}`"));
        }
        let is_id = |part: &&str| part.bytes().all(|b| b.is_ascii_digit());
        let is_high = |id: &&str| !id.parse::<u64>().is_ok_and(|id| id <= MAX_ID);
        if let Some(id) = parts.into_iter().flatten().filter(is_id).find(is_high) {
            return Err(format!("an id must be at most {MAX_ID}, got `{}`", clip(id)));
        }
        Ok(Self(text))
    }
}

/// The folder that a container starts in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct WorkingDir(pub String);

impl OptionValue for WorkingDir {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let text = string(value)?;
        let fits = text.starts_with('/') && !text.contains(char::is_control);
        if !fits || text.len() > MAX_PATH_BYTES {
            let shown = clip(&text);
            return Err(format!(
                "must be an absolute path of at most {MAX_PATH_BYTES} bytes, got `{shown}`"
            ));
        }
        Ok(Self(text))
    }
}

/// A container's name for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Hostname(pub String);

impl OptionValue for Hostname {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let text = string(value)?;
        if text.len() <= MAX_HOSTNAME_LENGTH && is_host_name(&text) {
            return Ok(Self(text));
        }
        Err(format!(
            "must be letters, digits and `-`, in parts that `.` separates, at most \
             {MAX_HOSTNAME_LENGTH} characters, got `{}`",
            clip(&text)
        ))
    }
}

/// Whether this is a name of a host, in ASCII.
pub(super) fn is_host_name(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.split('.').all(is_part)
}
