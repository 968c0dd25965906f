//! File systems in memory: `/run`, `/tmp:size=64m,mode=1777`.

use super::super::fields::{Unknown, clip, list, string};
use super::super::mount::clean;
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most of them in one container.
pub const MAX_TMPFS: usize = 100;
/// The longest path with its options, in bytes.
const MAX_BYTES: usize = 4_095;
/// Options without a value.
const FLAGS: [&str; 16] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "strictatime",
];

/// Where they appear, with Docker's options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Tmpfs(pub BTreeMap<String, String>);

impl OptionValue for Tmpfs {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let one = |item| mount(&string(item)?);
        let all = match value {
            Value::String(_) => vec![one(value)?],
            value => list(value, MAX_TMPFS, one)?,
        };
        let mut mounts = BTreeMap::new();
        for (target, options) in all {
            if mounts.insert(target.clone(), options).is_some() {
                return Err(format!("`{}` is given twice", clip(&target)));
            }
        }
        Ok(Self(mounts))
    }
}

fn mount(text: &str) -> Result<(String, String), String> {
    let shown = clip(text);
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let target = clean(path);
    let is_path = path.starts_with('/') && !target.is_empty() && !path.contains(char::is_control);
    if !is_path || text.len() > MAX_BYTES {
        return Err(format!("`{shown}` must be an absolute path other than `/`"));
    }
    let given = || options.split(',').filter(|_| !options.is_empty());
    match given().find(|option| !is_option(option)) {
        Some(option) => Err(format!(
            "`{shown}`: unknown option `{}`, expected size=64m, mode=1777, uid=N, gid=N, \
             nr_inodes=N, nr_blocks=N, {}",
            clip(option),
            FLAGS.join(", ")
        )),
        None => Ok((target, options.to_owned())),
    }
}

fn is_option(option: &str) -> bool {
    let is_number = |text: &str, digits: usize| {
        (1..=digits).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let amount =
        |text: &str, units: &[char]| is_number(text.strip_suffix(units).unwrap_or(text), 15);
    match option.split_once('=') {
        None => FLAGS.contains(&option),
        Some(("size", size)) => amount(size, &['k', 'K', 'm', 'M', 'g', 'G', '%']),
        Some(("nr_inodes" | "nr_blocks", count)) => amount(count, &['k', 'K', 'm', 'M', 'g', 'G']),
        Some(("mode", mode)) => {
            (1..=4).contains(&mode.len()) && mode.bytes().all(|b| matches!(b, b'0'..=b'7'))
        }
        // Nine digits are fewer than the kernel takes, and more than anybody has.
        Some(("uid" | "gid", id)) => is_number(id, 9),
        Some(_) => false,
    }
}
