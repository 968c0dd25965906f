//! Volumes and devices: what of the device an app may see.

use super::fields::{clip, string};
use super::name::NetworkName;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What Docker takes after the second colon of a volume.
const VOLUME_MODES: [(&str, Mode); 15] = [
    ("ro", Mode::Access),
    ("rw", Mode::Access),
    ("z", Mode::Label),
    ("Z", Mode::Label),
    ("nocopy", Mode::NoCopy),
    ("private", Mode::Propagation),
    ("rprivate", Mode::Propagation),
    ("shared", Mode::Propagation),
    ("rshared", Mode::Propagation),
    ("slave", Mode::Propagation),
    ("rslave", Mode::Propagation),
    ("consistent", Mode::Consistency),
    ("cached", Mode::Consistency),
    ("delegated", Mode::Consistency),
    ("default", Mode::Consistency),
];

/// A bind of a path of the device, or a named volume, as `source:target[:mode]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    text: String,
    target: String,
}

impl Volume {
    /// The volume as it was given, which is Docker's own form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it appears in the container, in its shortest form.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// True when the container cannot write to it.
    pub fn is_read_only(&self) -> bool {
        self.text.split(':').nth(2).is_some_and(|modes| modes.split(',').any(|mode| mode == "ro"))
    }

    pub(super) fn decode(value: Value) -> Result<Self, String> {
        let text = string(value)?;
        let shown = clip(&text);
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            [source, target] => (*source, *target, None),
            [source, target, mode] => (*source, *target, Some(*mode)),
            _ => return Err(format!("`{shown}` must be `source:target` or `source:target:mode`")),
        };
        if text.contains(char::is_control) {
            return Err(format!("`{shown}` must not hold control characters"));
        }
        let is_path = source.starts_with('/');
        // A volume's name has the alphabet of a network's, and at least two characters.
        if !is_path && (source.len() < 2 || NetworkName::new(source).is_err()) {
            return Err(format!(
                "`{shown}`: the source must be an absolute path or a volume's name"
            ));
        }
        let clean = clean(target);
        if !target.starts_with('/') || clean.is_empty() {
            return Err(format!("`{shown}`: the target must be an absolute path other than `/`"));
        }
        if let Some(modes) = mode {
            check_modes(modes, is_path).map_err(|reason| format!("`{shown}`: {reason}"))?;
        }
        Ok(Self { target: clean, text })
    }
}

/// Docker takes one mode of each family, propagation for paths alone and `nocopy` for named volumes
/// alone.
fn check_modes(modes: &str, is_path: bool) -> Result<(), String> {
    let mut seen: Vec<Mode> = Vec::new();
    for mode in modes.split(',') {
        let known = VOLUME_MODES.iter().find(|(known, _)| *known == mode);
        let Some((_, family)) = known else {
            return Err(format!("unknown mode `{}`, try `ro` or `rw`", clip(mode)));
        };
        if seen.contains(family) {
            return Err(format!("`{mode}` contradicts or repeats another mode"));
        }
        match family {
            Mode::Propagation if !is_path => {
                return Err(format!("`{mode}` is for paths of the device, not for named volumes"));
            }
            Mode::NoCopy if is_path => {
                return Err(format!("`{mode}` is for named volumes, not for paths of the device"));
            }
            _ => seen.push(*family),
        }
    }
    Ok(())
}

/// What modes exclude one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Access,
    Label,
    NoCopy,
    Propagation,
    Consistency,
}

/// A path as Docker compares it: without `.`, `..`, doubled and trailing slashes; `/` is empty.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| ["/", part]).collect()
}

impl Serialize for Volume {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A device file, as `/dev/host[:/dev/container[:rwm]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedDevice {
    text: String,
    /// The path on the device.
    pub on_host: String,
    /// The path in the container.
    pub in_container: String,
    /// Some of `r`, `w` and `m` (make nodes).
    pub permissions: String,
}

impl MappedDevice {
    /// The device as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn decode(value: Value) -> Result<Self, String> {
        let text = string(value)?;
        let shown = clip(&text);
        let parts: Vec<&str> = text.split(':').collect();
        let (on_host, in_container, permissions) = match parts.as_slice() {
            [path] => (*path, *path, "rwm"),
            [host, container] => (*host, *container, "rwm"),
            [host, container, permissions] => (*host, *container, *permissions),
            _ => return Err(format!("`{shown}` must be `/dev/host:/dev/container:rwm`")),
        };
        if text.contains(char::is_control) {
            return Err(format!("`{shown}` must not hold control characters"));
        }
        if !on_host.starts_with('/') || !in_container.starts_with('/') {
            return Err(format!("`{shown}`: both paths must be absolute"));
        }
        if permissions.is_empty() || !permissions.chars().all(|c| "rwm".contains(c)) {
            return Err(format!("`{shown}`: permissions must be some of `r`, `w` and `m`"));
        }
        let (on_host, in_container) = (on_host.to_owned(), in_container.to_owned());
        Ok(Self { on_host, in_container, permissions: permissions.to_owned(), text })
    }
}

impl Serialize for MappedDevice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}
