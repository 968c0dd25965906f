//! Capabilities: parts of what root may do.

use super::super::fields::{Unknown, clip, list, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// All that Linux has; `ALL` is all of them.
pub const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Capabilities, as Docker names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Capabilities(pub BTreeSet<String>);

impl OptionValue for Capabilities {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let read = |item| {
            let text = string(item)?;
            let upper = text.to_ascii_uppercase();
            let name = upper.strip_prefix("CAP_").filter(|rest| *rest != "ALL").unwrap_or(&upper);
            if CAPABILITIES.contains(&name) {
                return Ok(name.to_owned());
            }
            let shown = clip(&text);
            Err(format!("`{shown}` is no capability of Linux: expected one as NET_ADMIN, or ALL"))
        };
        let names = list(value, CAPABILITIES.len(), read)?;
        Ok(Self(names.into_iter().collect()))
    }
}
