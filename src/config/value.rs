//! A value, checked against its key's kind.
//!
//! Invariant: what is told about a refused value never holds a secret.

use super::key::{Key, Kind};
use crate::model::Secret;
use std::net::SocketAddr;
use toml::de::DeValue;
use url::Url;

/// The most characters of a refused value that are repeated to the person who wrote it.
const MAX_SHOWN: usize = 100;

/// A value that fits its key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Of [`Kind::Text`], [`Kind::Path`] and [`Kind::OneOf`].
    Text(String),
    /// Of any key that is secret; these are all of [`Kind::Text`].
    Secret(Secret<String>),
    /// Of [`Kind::Address`].
    Address(SocketAddr),
    /// Of [`Kind::Url`]; its path ends in a slash, so that joining appends.
    Url(Url),
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Number`].
    Number(u64),
}

impl Value {
    /// Reads a flag, an environment value, a default or the content of a secret's file. The error
    /// says what was expected and what was found.
    pub(super) fn from_text(key: &Key, text: &str) -> Result<Self, String> {
        let refusal = || refusal(key, text);
        if text.is_empty() || text.contains('\u{fffd}') {
            return Err(refusal());
        }
        match key.kind {
            Kind::Text | Kind::Path if key.secret => Ok(Self::Secret(Secret::new(text.to_owned()))),
            Kind::Text | Kind::Path => Ok(Self::Text(text.to_owned())),
            Kind::Address => text.parse().map(Self::Address).map_err(|_| refusal()),
            Kind::Url => base_url(text).map(Self::Url).ok_or_else(refusal),
            Kind::OneOf(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Self::Text((*word).to_owned()))
                .ok_or_else(refusal),
            Kind::Bool => truth(text).map(Self::Bool).ok_or_else(refusal),
            Kind::Number { min, max, .. } => text
                .trim()
                .parse()
                .ok()
                .filter(|number| (min..=max).contains(number))
                .map(Self::Number)
                .ok_or_else(refusal),
        }
    }

    /// Reads a value of the file, where texts are quoted and numbers are not: a device group
    /// `0123` that lost its quotes must not become the number 123 on its way.
    pub(super) fn from_toml(key: &Key, value: &DeValue<'_>) -> Result<Self, String> {
        match (key.kind, value) {
            (Kind::Bool, DeValue::Boolean(given)) => Ok(Self::Bool(*given)),
            (Kind::Number { min, max, .. }, DeValue::Integer(given)) => {
                u64::from_str_radix(given.as_str(), given.radix())
                    .ok()
                    .filter(|number| (min..=max).contains(number))
                    .map(Self::Number)
                    .ok_or_else(|| refusal(key, &given.to_string()))
            }
            (Kind::Bool | Kind::Number { .. }, DeValue::String(text)) => Err(format!(
                "expected {}, without quotes, found the text `{}`",
                key.expected(),
                shown(text)
            )),
            (Kind::Bool | Kind::Number { .. }, other) => {
                Err(format!("expected {}, found {}", key.expected(), described(other, false)))
            }
            (_, DeValue::String(text)) => Self::from_text(key, text),
            (_, other) => Err(format!(
                "expected {}, in quotes, found {}",
                key.expected(),
                described(other, key.secret)
            )),
        }
    }
}

/// What was expected and what was found, without a secret in it.
fn refusal(key: &Key, text: &str) -> String {
    format!("expected {}{}", key.expected(), found(key, text))
}

/// What was found, to stand after what was expected, without a secret in it.
pub(super) fn found(key: &Key, text: &str) -> String {
    if text.is_empty() {
        return ", found an empty text".to_owned();
    }
    if text.contains('\u{fffd}') {
        return ", found a text that is not UTF-8".to_owned();
    }
    // A text with an at sign may be a URL with a password, well-formed or not.
    if key.secret || text.contains('@') {
        return "; what was found is not shown, for it may hold a secret".to_owned();
    }
    format!(", found `{}`", shown(text))
}

/// A value for a message: one line, not too long.
pub(super) fn shown(text: &str) -> String {
    let mut escaped: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        escaped.push('…');
    }
    escaped
}

fn described(value: &DeValue<'_>, secret: bool) -> String {
    match value {
        DeValue::Integer(number) if !secret => format!("the number `{number}`"),
        DeValue::Float(number) if !secret => format!("the number `{number}`"),
        DeValue::Boolean(truth) if !secret => format!("`{truth}`"),
        DeValue::Integer(_) | DeValue::Float(_) => "a number".to_owned(),
        DeValue::Boolean(_) => "a truth value".to_owned(),
        DeValue::String(_) => "a text".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Case does not matter, for the original's users write Python's `True`.
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A URL to which paths are appended. Credentials in it would end up in logs, so they have keys of
/// their own.
fn base_url(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    fits.then_some(url)
}
