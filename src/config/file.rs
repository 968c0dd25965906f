//! The file: found, parsed, and checked whole against the tables of every mode.

use super::error::{ConfigError, Problem};
use super::inputs::Inputs;
use super::key::{Key, Table};
use super::layers::Source;
use super::tables;
use super::value::{Value, shown};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A file that is TOML. What is wrong with its keys is told beside it.
pub(super) struct Document {
    entries: BTreeMap<(&'static str, String), Entry>,
}

/// A key that the file sets.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where.
    pub(super) source: Source,
    /// Its value; `None` when it was refused, which has been told.
    pub(super) value: Option<Value>,
}

impl Document {
    /// What the file sets for a key, or for a secret's `KEY_file`.
    pub(super) fn get(&self, table: &Table, name: &str) -> Option<&Entry> {
        self.entries.get(&(table.name, name.to_owned()))
    }
}

/// Finds, reads and checks the file. `None` without a file. The error is for a file that cannot be
/// read or parsed: then nobody knows what it would have set, and to go on would only add
/// complaints about keys that it does set.
pub(super) fn load(
    inputs: &Inputs<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<Document>, ConfigError> {
    let Some((path, bytes)) = find(inputs)? else {
        return Ok(None);
    };
    let refused = |why: String| {
        let path = path.clone();
        ConfigError::new(vec![Problem::File { path, why }])
    };
    let text = String::from_utf8(bytes).map_err(|_| refused("is not UTF-8".to_owned()))?;
    let parsed = DeTable::parse(&text).map_err(|error| {
        // Only the message: the error's own rendering repeats the line, which may hold a secret.
        let line = error.span().map(|span| line_of(&text, span.start));
        let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        refused(format!("{at}{}", error.message().trim_end()))
    })?;
    let line_ends = text.match_indices('\n').map(|(offset, _)| offset).collect();
    let mut check =
        Check { path: &path, line_ends, entries: BTreeMap::new(), problems: Vec::new() };
    check.document(parsed.get_ref());
    check.problems.sort_by_key(|(line, _)| *line);
    problems.extend(check.problems.into_iter().map(|(_, problem)| problem));
    Ok(Some(Document { entries: check.entries }))
}

/// The file's bytes. One that was named must be there; one that was not may be missing.
fn find(inputs: &Inputs<'_>) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
    let named = inputs.config.map(Path::to_path_buf);
    let candidates = named.as_ref().map_or(inputs.files, std::slice::from_ref);
    for path in candidates {
        match (inputs.read)(path) {
            Ok(bytes) => return Ok(Some((path.clone(), bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
            Err(error) => {
                let why = format!("cannot be read: {error}");
                let path = path.clone();
                return Err(ConfigError::new(vec![Problem::File { path, why }]));
            }
        }
    }
    Ok(None)
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// The check of one file under way.
struct Check<'a> {
    path: &'a Path,
    /// Where each line ends: counting from the file's start for each key takes half a minute for a
    /// file full of them.
    line_ends: Vec<usize>,
    entries: BTreeMap<(&'static str, String), Entry>,
    /// With their lines, for the parser hands keys out in the order of the alphabet.
    problems: Vec<(usize, Problem)>,
}

impl Check<'_> {
    fn line(&self, offset: usize) -> usize {
        self.line_ends.partition_point(|end| *end < offset) + 1
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (name, value) in document {
            let line = self.line(name.span().start);
            let name: &str = name.get_ref();
            let table = tables::ALL.iter().copied().find(|table| table.name == name);
            match (table, value.get_ref()) {
                (Some(table), DeValue::Table(keys)) => self.table(table, keys),
                (Some(_), _) => {
                    let why = format!("line {line}: `{name}` must be one table, `[{name}]`");
                    let path = self.path.to_path_buf();
                    self.problems.push((line, Problem::File { path, why }));
                }
                (None, DeValue::Table(_)) => {
                    let known = tables::ALL.iter().map(|table| table.name.to_owned());
                    self.unknown_table(line, "table", name, nearest(name, known));
                }
                (None, _) => {
                    self.unknown_table(line, "key outside of any table", name, owners(name));
                }
            }
        }
    }

    fn table(&mut self, table: &'static Table, keys: &DeTable<'_>) {
        for (name, value) in keys {
            let line = self.line(name.span().start);
            let name: &str = name.get_ref();
            let source = Source::File {
                path: self.path.to_path_buf(),
                line,
                table: table.name,
                name: name.to_owned(),
            };
            let (key, checked) = if let Some(key) = table.key(name) {
                (key, Value::from_toml(key, value.get_ref()))
            } else if let Some(key) = secret_of_file(table, name) {
                (key, path_of_secret(value.get_ref()))
            } else {
                self.unknown_key(line, table, name);
                continue;
            };
            let value = checked.map_err(|why| {
                let source_of_value = source.clone();
                let key = key.name;
                let problem = Problem::Refused { key, source_of_value, why };
                self.problems.push((line, problem));
            });
            let value = value.ok();
            self.entries.insert((table.name, name.to_owned()), Entry { source, value });
        }
    }

    fn unknown_key(&mut self, line: usize, table: &'static Table, name: &str) {
        let hint = match owners(name) {
            hint if hint.is_empty() => nearest(name, table.names()),
            hint => hint,
        };
        let problem = Problem::UnknownKey {
            path: self.path.to_path_buf(),
            line,
            table: table.name,
            name: shown(name),
            hint,
        };
        self.problems.push((line, problem));
    }

    fn unknown_table(&mut self, line: usize, what: &'static str, name: &str, hint: String) {
        let problem = Problem::UnknownTable {
            path: self.path.to_path_buf(),
            line,
            what,
            name: shown(name),
            hint,
        };
        self.problems.push((line, problem));
    }
}

/// The secret whose `KEY_file` this is.
fn secret_of_file(table: &Table, name: &str) -> Option<&'static Key> {
    let key = table.key(name.strip_suffix("_file")?)?;
    key.secret.then_some(key)
}

fn path_of_secret(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(path) if !path.is_empty() => Ok(Value::Text(path.to_string())),
        _ => Err("expected the path of a file that holds the secret, in quotes".to_owned()),
    }
}

/// The tables that have a key of this name, as a phrase, or nothing.
fn owners(name: &str) -> String {
    let owners: Vec<String> = tables::ALL
        .iter()
        .filter(|table| table.names().any(|known| known == name))
        .map(|table| format!("[{}]", table.name))
        .collect();
    if owners.is_empty() {
        return String::new();
    }
    format!(", it is a key of {}", owners.join(" and "))
}

/// The known word nearest to a mistyped one, as a phrase, or nothing when none is near.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    // Twice what any known word has, so that a long one costs nothing.
    if name.len() > 64 {
        return String::new();
    }
    // A third of the letters wrong is a typing error, more is another word.
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|word| (distance(name, &word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, word)| format!(", did you mean `{word}`?"))
        .unwrap_or_default()
}

/// Levenshtein's distance: how many letters to insert, remove or replace.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, pair), left) in other.iter().zip(row.windows(2)).zip(0..) {
            let replace = pair[0] + usize::from(a != *b);
            let insert_or_remove = pair[1].min(next[left]) + 1;
            next.push(replace.min(insert_or_remove));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
