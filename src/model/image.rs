//! Image references, `[REGISTRY/]PATH[:TAG][@DIGEST]`, by the grammar that Docker itself uses.

use serde::{Serialize, Serializer};

/// The registry of references that name none, by its shortest name.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The longest path, Docker's own limit.
const MAX_PATH_LENGTH: usize = 255;
/// The longest tag, Docker's own limit.
const MAX_TAG_LENGTH: usize = 128;

/// Why a reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Nothing given.
    #[error("must not be empty")]
    Empty,
    /// The registry's or the image's name.
    #[error(
        "`{0}` is no image name: lower-case letters and digits, separated by `.`, `_`, `-` or `/`"
    )]
    Path(String),
    /// The registry's host or port.
    #[error("`{0}` is no registry: expected HOST or HOST:PORT")]
    Registry(String),
    /// After the last colon.
    #[error("`{0}` is no tag: letters, digits, `_`, `.` and `-`, at most {MAX_TAG_LENGTH}")]
    Tag(String),
    /// After the at sign.
    #[error("`{0}` is no digest: expected `sha256:` and 64 lower-case hexadecimal digits")]
    Digest(String),
}

/// A checked image reference. It prints as it was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    given: String,
    registry: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// Checks a reference.
    pub fn parse(given: &str) -> Result<Self, ImageError> {
        let clip = |text: &str| super::fields::clip(text);
        if given.is_empty() {
            return Err(ImageError::Empty);
        }
        let (rest, digest) = match given.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (given, None),
        };
        if let Some(digest) = digest
            && !is_digest(digest)
        {
            return Err(ImageError::Digest(clip(digest)));
        }
        // A colon before the last slash belongs to the registry's port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag)),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ImageError::Tag(clip(tag)));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry_like(first) => (Some(first), path),
            _ => (None, name),
        };
        if let Some(registry) = registry
            && !is_registry(registry)
        {
            return Err(ImageError::Registry(clip(registry)));
        }
        if path.len() > MAX_PATH_LENGTH || !path.split('/').all(is_path_component) {
            return Err(ImageError::Path(clip(path)));
        }
        Ok(Self {
            given: given.to_owned(),
            registry: registry.map(str::to_owned),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// The reference as it was given.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The registry's host with its port; none is Docker's default registry.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The registry's host with its port, the default one by its shortest name.
    pub fn registry_or_default(&self) -> &str {
        match self.registry() {
            None | Some("index.docker.io" | "registry-1.docker.io") => DEFAULT_REGISTRY,
            Some(registry) => registry,
        }
    }

    /// The digest, when the reference pins one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The tag: the given one, or `latest` when neither tag nor digest is given.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// The name without tag and digest, as it was given.
    pub fn repository(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.path),
            None => self.path.clone(),
        }
    }

    /// The reference in the form in which Docker lists images, so that it can be looked up there:
    /// without the default registry and its `library/`, with the tag, or with the digest alone.
    pub fn familiar(&self) -> String {
        let default = matches!(self.registry(), None | Some("docker.io" | "index.docker.io"));
        let name = if default {
            // As Docker does: a path below `library/` that has further parts keeps all of them.
            let short = self.path.strip_prefix("library/").filter(|rest| !rest.contains('/'));
            short.unwrap_or(&self.path).to_owned()
        } else {
            self.repository()
        };
        match (&self.digest, self.tag()) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, tag) => format!("{name}:{}", tag.unwrap_or("latest")),
        }
    }
}

/// The first component is a registry when it could not be part of a path on the default one.
fn is_registry_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase)
}

fn is_registry(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        // An IPv6 address in brackets.
        let Some((address, port)) = address.split_once(']') else { return false };
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters and digits, with single `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = !text.is_empty()
        && text.starts_with(is_letter)
        && text.ends_with(is_letter)
        && text.chars().all(|c| is_letter(c) || matches!(c, '.' | '_' | '-'));
    fits && text
        .split(is_letter)
        .filter(|gap| !gap.is_empty())
        .all(|gap| matches!(gap, "." | "_" | "__") || gap.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= MAX_TAG_LENGTH
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

impl std::fmt::Display for ImageReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.given)
    }
}

impl Serialize for ImageReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.given)
    }
}
