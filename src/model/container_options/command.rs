//! What a container runs: a list of words, or a string that is split into words.
//!
//! The split is Compose's: spaces part words, quotes keep them together, a backslash takes the next
//! character as it is. It is no shell, so a character that a shell would act on is refused outside
//! quotes: Compose drops everything after one, in silence. (The crates for this follow a shell's
//! rules, in which `#` begins a comment.)

use super::super::fields::{Unknown, list, string};
use super::OptionValue;
use serde::Serialize;
use serde_json::Value;

/// The most words.
pub const MAX_ARGUMENTS: usize = 1_000;
/// The most bytes of all words, each with its end. Linux takes no longer single one
/// (`MAX_ARG_STRLEN`).
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;

/// What runs in place of the image's command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Command(pub Vec<String>);

impl OptionValue for Command {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        let words = words(value)?;
        if words.is_empty() {
            return Err("must not be empty; `null` is the image's own command".to_owned());
        }
        Ok(Self(words))
    }
}

/// What the command is handed to; empty is nothing, not even the image's entrypoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Entrypoint(pub Vec<String>);

impl OptionValue for Entrypoint {
    fn decode(value: Value, _: Unknown) -> Result<Self, String> {
        words(value).map(Self)
    }
}

/// Reads words given as a list or as a string.
fn words(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(_) => word_list(value),
        value => checked(split(&string(value).map_err(|reason| format!("{reason}, or a list"))?)?),
    }
}

/// Reads a list of words.
pub(super) fn word_list(value: Value) -> Result<Vec<String>, String> {
    checked(list(value, MAX_ARGUMENTS, string)?)
}

fn checked(words: Vec<String>) -> Result<Vec<String>, String> {
    if words.len() > MAX_ARGUMENTS {
        return Err(format!("must have at most {MAX_ARGUMENTS} words, this has {}", words.len()));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("must not hold a NUL character".to_owned());
    }
    if words.iter().map(|word| word.len() + 1).sum::<usize>() > MAX_COMMAND_BYTES {
        return Err("is longer than 128 KiB".to_owned());
    }
    // Docker looks the first word up as a program.
    if words.first().is_some_and(String::is_empty) {
        return Err("must not begin with an empty word".to_owned());
    }
    Ok(words)
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // None between words; a word can be empty, in quotes.
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (end, Some(open)) if end == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (' ' | '\t' | '\r' | '\n', None) => words.extend(word.take()),
            (';' | '&' | '|' | '<' | '>' | '(' | ')' | '`', None) => {
                return Err(format!(
                    "is split into words and run by no shell, to which `{character}` would mean \
                     something: put it in quotes, or write [\"sh\", \"-c\", \"...\"]"
                ));
            }
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("has a {quote} that is not closed"));
    }
    words.extend(word);
    Ok(words)
}
