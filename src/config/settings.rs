//! One value a key: the layers laid over each other for one mode.
//!
//! What it is: what a mode's checked `Config` is built from. The mode takes its values out by name,
//! adds what it refuses itself ([`Settings::refuse`]) and ends with [`Settings::finish`].
//!
//! Invariant: a value that was refused is handed out as absent, zero or false, so that the mode
//! can go on looking for further mistakes; [`Settings::finish`] then gives no `Config`, so that
//! such a placeholder never leaves.

use super::credentials::Credentials;
use super::error::{ConfigError, Problem};
use super::file::{self, Document};
use super::inputs::Inputs;
use super::key::{Fallback, Key, Table};
use super::layers::{Layer, Source};
use super::value::{Value, found};
use crate::model::Secret;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// The values of one mode, and what is wrong with them so far.
#[derive(Debug)]
pub struct Settings {
    table: &'static Table,
    found: BTreeMap<&'static str, Found>,
    problems: Vec<Problem>,
}

/// The strongest layer's word on one key.
#[derive(Debug)]
struct Found {
    source: Source,
    /// `None` when it was refused, which has been told.
    value: Option<Value>,
}

/// What one layer says about one key, before it is read.
enum Given<'a> {
    Text(&'a str),
    /// The file's values are checked already, `None` for one that was refused.
    Checked(Option<&'a Value>),
}

impl Settings {
    /// Lays the layers over each other. The error is for a file that cannot be read or parsed;
    /// all else is told by [`Settings::finish`].
    pub fn load(table: &'static Table, inputs: &Inputs<'_>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let document = file::load(inputs, &mut problems)?;
        let mut settings = Self { table, found: BTreeMap::new(), problems };
        for key in table.keys() {
            if let Some(found) = settings.find(key, inputs, document.as_ref()) {
                settings.found.insert(key.name, found);
            }
        }
        Ok(settings)
    }

    /// The strongest layer that says something about a key.
    fn find(
        &mut self,
        key: &'static Key,
        inputs: &Inputs<'_>,
        document: Option<&Document>,
    ) -> Option<Found> {
        for layer in [Layer::Flag, Layer::Environment, Layer::File] {
            let direct = given(self.table, key, layer, false, inputs, document);
            let by_file = given(self.table, key, layer, true, inputs, document);
            return Some(match (direct, by_file) {
                (None, None) => continue,
                (Some((_, one)), Some((_, other))) => {
                    let source = one.clone();
                    let key = key.name;
                    self.problems.push(Problem::Twice { key, one, other });
                    Found { source, value: None }
                }
                (Some((Given::Text(text), source)), None) => {
                    self.checked(key, source, Value::from_text(key, text))
                }
                (None, Some((Given::Text(path), source))) => {
                    self.checked(key, source, secret_from(key, path, inputs.read))
                }
                (None, Some((Given::Checked(Some(Value::Text(path))), source))) => {
                    self.checked(key, source, secret_from(key, path, inputs.read))
                }
                (Some((Given::Checked(value), source)), None)
                | (None, Some((Given::Checked(value), source))) => {
                    Found { source, value: value.cloned() }
                }
            });
        }
        self.fallback(key)
    }

    fn fallback(&mut self, key: &'static Key) -> Option<Found> {
        let source = Source::Default;
        match key.fallback {
            Fallback::Value(text) => Some(self.checked(key, source, Value::from_text(key, text))),
            Fallback::None { .. } => None,
            Fallback::Required { .. } => {
                self.missing(key.name);
                None
            }
        }
    }

    fn checked(
        &mut self,
        key: &'static Key,
        source: Source,
        checked: Result<Value, String>,
    ) -> Found {
        let value = checked.map_err(|why| {
            self.problems.push(Problem::Refused {
                key: key.name,
                source_of_value: source.clone(),
                why,
            });
        });
        Found { source, value: value.ok() }
    }

    /// Where a key's value comes from, refused or not; `None` when it has none.
    pub fn source(&self, name: &str) -> Option<&Source> {
        debug_assert!(self.table.key(name).is_some(), "no key `{name}`");
        self.found.get(name).map(|found| &found.source)
    }

    /// Whether flag, environment or file set this key, to a good value or not.
    pub fn is_given(&self, name: &str) -> bool {
        self.source(name).is_some_and(|source| source.layer() > Layer::Default)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        debug_assert!(self.table.key(name).is_some(), "no key `{name}`");
        self.found.get(name)?.value.as_ref()
    }

    /// A text or a path.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A secret.
    pub fn secret(&self, name: &str) -> Option<Secret<String>> {
        match self.value(name)? {
            Value::Secret(secret) => Some(secret.clone()),
            _ => None,
        }
    }

    /// An address with a port.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        match self.value(name)? {
            Value::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// A base URL; its path ends in a slash, so that joining a relative path appends it.
    pub fn url(&self, name: &str) -> Option<Url> {
        match self.value(name)? {
            Value::Url(url) => Some(url.clone()),
            _ => None,
        }
    }

    /// A truth value of a key that has a default.
    pub fn truth(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Bool(true)))
    }

    /// A number of a key that has a default.
    pub fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    /// A number of seconds, of a key that has a default.
    pub fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// A user with a password, when both are there. One without the other is refused, and so is
    /// what HTTP's Basic authentication cannot carry: a colon in the user's name, and control
    /// characters.
    pub fn credentials(
        &mut self,
        user: &'static str,
        password: &'static str,
    ) -> Option<Credentials> {
        self.needs(user, password);
        self.needs(password, user);
        let name = self.text(user)?;
        let secret = self.secret(password)?;
        if name.contains(':') {
            let why = "expected a name without a colon, which Basic authentication cannot carry";
            self.refuse(user, why);
        }
        if name.contains(char::is_control) {
            self.refuse(user, "expected a name without control characters");
        }
        if secret.expose().contains(char::is_control) {
            self.refuse(
                password,
                "expected a password without line breaks or other control characters",
            );
        }
        Some(Credentials { user: name, password: secret })
    }

    /// A bearer token: one that a header can carry, for all else would be refused at every
    /// request, and nobody would see why.
    pub fn token(&mut self, name: &'static str) -> Option<Secret<String>> {
        let token = self.secret(name)?;
        let text = token.expose();
        let printable = text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !printable || text.trim() != text {
            self.refuse(
                name,
                "expected printable ASCII characters without spaces around them, which is what a header can carry",
            );
        }
        Some(token)
    }

    /// Refuses a key that is given without another that belongs to it.
    pub fn needs(&mut self, name: &'static str, other: &'static str) {
        if self.is_given(name) && !self.is_given(other) {
            self.refuse(name, format!("needs `{other}` beside it, which is not set"));
        }
    }

    /// Treats a key as not given when its value is this word.
    pub fn unset_if(&mut self, name: &str, word: &str) {
        let is_word = match self.value(name) {
            Some(Value::Text(text)) => text == word,
            Some(Value::Secret(secret)) => secret.expose() == word,
            _ => false,
        };
        if is_word {
            self.found.remove(name);
        }
    }

    /// Records why a value will not do. The text stands after the key and its source, and must not
    /// hold a secret.
    pub fn refuse(&mut self, name: &'static str, why: impl Into<String>) {
        let source_of_value = self.source(name).cloned().unwrap_or(Source::Default);
        self.problems.push(Problem::Refused { key: name, source_of_value, why: why.into() });
    }

    /// Records that a text or path is not what was expected, and repeats it where it is no secret.
    pub fn refuse_text(&mut self, name: &'static str, expected: &str) {
        let found = match (self.table.key(name), self.value(name)) {
            (Some(key), Some(Value::Text(text))) => found(key, text),
            _ => String::new(),
        };
        self.refuse(name, format!("expected {expected}{found}"));
    }

    /// Records that a key must be set and is not.
    pub fn missing(&mut self, name: &'static str) {
        debug_assert!(self.table.key(name).is_some(), "no key `{name}`");
        if let Some(key) = self.table.key(name) {
            self.problems.push(Problem::Missing {
                key: key.name,
                expected: key.expected(),
                flag: key.flag(),
                env: key.env,
                table: self.table.name,
            });
        }
    }

    /// Gives the mode's `Config` when nothing was refused, and otherwise all refusals. `None` is
    /// what a mode passes when a part it cannot do without was refused.
    pub fn finish<T>(self, config: Option<T>) -> Result<T, ConfigError> {
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::new(self.problems)),
        }
    }
}

/// What one layer says about a key, either directly or, for a secret, by the path of a file.
fn given<'a>(
    table: &Table,
    key: &Key,
    layer: Layer,
    by_file: bool,
    inputs: &Inputs<'a>,
    document: Option<&'a Document>,
) -> Option<(Given<'a>, Source)> {
    if by_file && !key.secret {
        return None;
    }
    match layer {
        Layer::Default => None,
        Layer::Flag => {
            let name = if by_file { key.flag_of_file() } else { key.flag() };
            let text = inputs.flags.get(&name)?;
            Some((Given::Text(text), Source::Flag(name)))
        }
        Layer::Environment => {
            let name = if by_file { key.env_of_file() } else { key.env.to_owned() };
            let text = inputs.environment.get(&name)?;
            // Compose files and unit files pass on what nobody set as an empty value.
            (!text.is_empty()).then_some((Given::Text(text), Source::Environment(name)))
        }
        Layer::File => {
            let name = if by_file { key.name_of_file() } else { key.name.to_owned() };
            let entry = document?.get(table, &name)?;
            Some((Given::Checked(entry.value.as_ref()), entry.source.clone()))
        }
    }
}

/// Reads a secret from its file. Editors end a file with a line break that is not part of it.
fn secret_from(
    key: &Key,
    path: &str,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Value, String> {
    let refused = |why: &str| format!("file {} {why}", path.escape_debug());
    let bytes =
        read(Path::new(path)).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8"))?;
    let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
    if text.is_empty() {
        return Err(refused("is empty"));
    }
    Value::from_text(key, text).map_err(|why| refused(&format!("does not do: {why}")))
}
