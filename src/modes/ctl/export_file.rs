//! Reading the file of an export, each line by the model.

use super::failure::Failure;
use crate::model::Uid;
use crate::store::transfer::{End, Header, Line, LineError, MAX_LINE_BYTES, Unreadable, called};
use crate::store::{Kind, Object};
use std::collections::HashSet;
use std::io::{BufRead, Read as _};

/// Wrong lines that are told. Whoever sees this many sees what is wrong with the file.
const MAX_TOLD: usize = 20;
/// Objects of a file at most: a hundred times the largest fleet that we know of.
const MAX_OBJECTS: u64 = 1_000_000;

/// What stands around the objects.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) end: End,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("line {0} cannot be read")]
    Io(u64, #[source] std::io::Error),
    #[error("line {0} is longer than {MAX_LINE_BYTES} bytes")]
    TooLong(u64),
    #[error("line {0}: {1}")]
    Line(u64, LineError),
    #[error("line 1 must say what the file is, as `nebula ctl export` writes it")]
    NoHeader,
    #[error("line {0} stands after the end")]
    AfterEnd(u64),
    #[error("line {line}: {what}: its {key} is that of a line above")]
    Twice { line: u64, what: String, key: &'static str },
    #[error("the end is missing: the file was cut off")]
    NoEnd,
    #[error("{found} objects stand in it and its end says {said}")]
    Count { found: u64, said: u64 },
    #[error("it holds more than {MAX_OBJECTS} objects")]
    TooMany,
}

/// A number of objects.
pub(super) fn objects_in_words(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

/// Reads all lines; `each` gets the objects. `name` is what the file is called in messages.
pub(super) fn read(
    mut lines: impl BufRead,
    name: &str,
    mut each: impl FnMut(Object),
) -> Result<Frame, Failure> {
    let mut reading = Reading::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        match lines.by_ref().take(limit).read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) if bytes.len() > MAX_LINE_BYTES => {
                // What comes next would begin in the middle of it.
                reading.wrong.push(Wrong::TooLong(line));
                break;
            }
            Ok(_) => each_of(reading.take(line, &bytes), &mut each),
            Err(error) => {
                reading.wrong.push(Wrong::Io(line, error));
                break;
            }
        }
        if reading.wrong.len() >= MAX_TOLD || reading.is_hopeless {
            break;
        }
    }
    reading.finish(name)
}

fn each_of(object: Option<Object>, each: &mut impl FnMut(Object)) {
    if let Some(object) = object {
        each(object);
    }
}

#[derive(Default)]
struct Reading {
    header: Option<Header>,
    unreadable: Vec<Unreadable>,
    end: Option<End>,
    objects: u64,
    names: HashSet<(Kind, String)>,
    uids: HashSet<(Kind, Uid)>,
    wrong: Vec<Wrong>,
    /// No further line can be right.
    is_hopeless: bool,
}

impl Reading {
    fn take(&mut self, line: u64, bytes: &[u8]) -> Option<Object> {
        if self.end.is_some() {
            self.wrong.push(Wrong::AfterEnd(line));
            self.is_hopeless = true;
            return None;
        }
        let parsed = Line::parse(bytes);
        if line == 1 {
            match parsed {
                Ok(Line::Header(header)) => self.header = Some(header),
                Err(error @ LineError::Newer { .. }) => self.wrong.push(Wrong::Line(line, error)),
                _ => self.wrong.push(Wrong::NoHeader),
            }
            self.is_hopeless = self.header.is_none();
            return None;
        }
        match parsed {
            Ok(Line::Object(object)) => return self.object(line, *object),
            Ok(Line::Unreadable(unreadable)) => self.unreadable.push(unreadable),
            Ok(Line::End(end)) => self.end = Some(end),
            Ok(Line::Header(_)) => self.wrong.push(Wrong::Line(line, LineError::Shape)),
            Err(error) => {
                // It counts as one of those that the end speaks of.
                self.objects += 1;
                self.wrong.push(Wrong::Line(line, error));
            }
        }
        None
    }

    fn object(&mut self, line: u64, object: Object) -> Option<Object> {
        self.objects += 1;
        if self.objects > MAX_OBJECTS {
            self.wrong.push(Wrong::TooMany);
            self.is_hopeless = true;
            return None;
        }
        let kind = object.kind();
        let is_new_name = self.names.insert((kind, object.name().to_owned()));
        let is_new_uid = object.identity().uid.is_none_or(|uid| self.uids.insert((kind, uid)));
        if is_new_name && is_new_uid {
            return Some(object);
        }
        let key = if is_new_name { "uid" } else { "name" };
        self.wrong.push(Wrong::Twice { line, what: called(kind, object.name()), key });
        None
    }

    fn finish(mut self, name: &str) -> Result<Frame, Failure> {
        if self.wrong.is_empty() {
            match self.end {
                None => self.wrong.push(Wrong::NoEnd),
                Some(end) if end.objects != self.objects => {
                    self.wrong.push(Wrong::Count { found: self.objects, said: end.objects });
                }
                Some(_) => {}
            }
        }
        let failure = || Failure::new(format!("{name} is no export that can be read"));
        match (self.header, self.end) {
            (Some(header), Some(end)) if self.wrong.is_empty() => {
                Ok(Frame { header, unreadable: self.unreadable, end })
            }
            _ => Err(self.wrong.into_iter().fold(failure(), Failure::because)),
        }
    }
}
