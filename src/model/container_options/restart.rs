//! When Docker starts a container again: `no`, `always`, `on-failure[:n]`, `unless-stopped`.

use super::super::fields::{Unknown, clip, string};
use super::OptionValue;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// The most restarts of `on-failure:n`.
pub const MAX_RESTARTS: u32 = 1_000;

/// When Docker starts a container again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Whenever it ends.
    Always,
    /// When it ended with an exit code other than 0.
    OnFailure {
        /// At most so often in a row; without an end when it is not set.
        most: Option<u32>,
    },
    /// Whenever it ends, unless somebody stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Whether a run of a cron job may have it: one that ends at last.
    pub(in super::super) const fn ends(self) -> bool {
        matches!(self, Self::No | Self::OnFailure { most: Some(_) })
    }
}

impl OptionValue for RestartPolicy {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let text = string(value).map_err(|reason| format!("{reason}; `\"no\"` needs quotes"))?;
        let most = |count: &str| {
            let is_number = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
            count.parse().ok().filter(|n| is_number && (1..=MAX_RESTARTS).contains(n))
        };
        let policy = match text.split_once(':') {
            None => match text.as_str() {
                "no" => Some(Self::No),
                "always" => Some(Self::Always),
                "on-failure" => Some(Self::OnFailure { most: None }),
                "unless-stopped" => Some(Self::UnlessStopped),
                _ => None,
            },
            Some(("on-failure", count)) => most(count).map(|n| Self::OnFailure { most: Some(n) }),
            Some(_) => None,
        };
        policy.ok_or_else(|| {
            format!(
                "must be one of no, always, unless-stopped, on-failure, on-failure:N with N from 1 \
                 to {MAX_RESTARTS}, got `{}`",
                clip(&text)
            )
        })
    }
}

impl std::fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::OnFailure { most: None } => f.write_str("on-failure"),
            Self::OnFailure { most: Some(most) } => write!(f, "on-failure:{most}"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

impl Serialize for RestartPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
