//! Names: what Docker takes as the stem of a container's name, and what it takes for a network.

use serde::{Deserialize, Serialize};

/// The longest name in bytes. Docker has no limit of its own; file systems and consoles do, and a
/// replica's name is longer than its app's.
pub const MAX_NAME_LENGTH: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("must not be empty")]
    Empty,
    /// More than [`MAX_NAME_LENGTH`] bytes.
    #[error("must be at most {MAX_NAME_LENGTH} characters, this has {0}")]
    TooLong(usize),
    /// Docker would refuse a container of this name.
    #[error(
        "must start with a letter or digit and hold only letters, digits, `_`, `.` and `-`, got `{0}`"
    )]
    Character(String),
}

/// The name of an app, a device group or another declared object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks a name against what Docker takes for a container.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a Docker network. Same alphabet as [`Name`]; a type of its own so that neither is
/// taken for the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);

impl NetworkName {
    /// Checks a name against what Docker takes for a network.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `host` and `none`, which exclude every other network.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.0.as_str(), "host" | "none")
    }
}

impl std::fmt::Display for NetworkName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong(text.chars().count()));
    }
    let first_fits = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest_fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if first_fits && rest_fits {
        Ok(())
    } else {
        // It may go to a terminal.
        Err(NameError::Character(text.escape_debug().to_string()))
    }
}
