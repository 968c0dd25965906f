//! The renderer: the only place that writes to stdout.

use super::failure::Failure;
use crate::client::Reply;
use comfy_table::{Attribute, Cell, ContentArrangement, Table};
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    // No doc comments: they would stand in every help page, and double its length.
    #[default]
    Table,
    Json,
}

/// Where answers go.
#[derive(Debug, Default)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// True when a table is to be printed, and not the reply.
    pub(super) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints the reply as it came, or a table of it.
    pub(super) fn reply<T>(
        &self,
        reply: &Reply<T>,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&table(&reply.content)),
            Format::Json => print_as_it_came(&reply.bytes),
        }
    }

    /// Prints the reply as it came, or says on stderr what was done: a change has no data that the
    /// user did not give.
    pub(super) fn done<T>(&self, reply: &Reply<T>, words: &str) -> Result<(), Failure> {
        if self.is_table() {
            say(words);
            return Ok(());
        }
        print_as_it_came(&reply.bytes)
    }
}

/// Says something to the person, on stderr.
pub(super) fn say(words: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(anstream::stderr().lock(), "{words}");
}

/// Prints text that ends its own lines; its colours go to a terminal that wants them alone.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn print_as_it_came(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if bytes.ends_with(b"\n") { b"" } else { b"\n" };
    finish(out.write_all(bytes).and_then(|()| out.write_all(end)).and_then(|()| out.flush()))
}

/// Raw bytes to stdout, for what is a program's input rather than an answer.
pub(super) fn script(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    finish(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Everything of a reader, which is a program's input as well.
pub(super) fn copy(from: &mut impl std::io::Read) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    finish(std::io::copy(from, &mut out).and_then(|_| out.flush()))
}

fn finish(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::PipeClosed),
        Err(error) => Err(Failure::new("cannot write to stdout").because(error)),
    }
}

/// A table with a heading. On a terminal it keeps to the width; elsewhere each row is one line.
pub(super) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = plain();
    let bold = |heading: &&str| Cell::new(heading).add_attribute(Attribute::Bold);
    table.set_header(headings.iter().map(bold));
    table.add_rows(
        rows.into_iter().map(|row| row.iter().map(|text| printable(text)).collect::<Vec<_>>()),
    );
    render(&table)
}

/// One object: a field a line, a further line for each further value.
pub(super) fn fields(fields: Vec<(String, Vec<String>)>) -> String {
    let mut table = plain();
    for (name, values) in fields {
        let lines: Vec<String> = values.iter().map(|value| printable(value)).collect();
        table.add_row([Cell::new(name), Cell::new(lines.join("\n"))]);
    }
    render(&table)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let is_terminal = std::io::stdout().is_terminal();
    table.set_content_arrangement(if is_terminal {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if is_terminal {
        // Whether colours are wanted is decided where the text goes out.
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

fn render(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

/// Text that cannot move a terminal's cursor or change its colours: whoever may declare an app
/// chooses what stands in its fields.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A JSON value as a person writes it: text without quotes, the rest as JSON.
pub(super) fn plain_value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
