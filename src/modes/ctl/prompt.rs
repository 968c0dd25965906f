//! Questions to a person, and answers from a pipe.

use super::failure::Failure;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

/// What the keys are in bytes, when the terminal does not act on them itself.
const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const CTRL_U: u8 = 0x15;
/// The longest answer in bytes; a token is far shorter.
const MAX_ANSWER_LENGTH: usize = 64 * 1024;

/// True when somebody can be asked.
fn is_possible() -> bool {
    std::io::stdin().is_terminal()
}

/// What a person is asked about, in the forms that are needed to ask and to say what was not done.
pub(super) struct Deed {
    /// `Delete`.
    pub(super) question: &'static str,
    /// `delete`.
    pub(super) verb: &'static str,
    /// `deleted`.
    pub(super) done: &'static str,
}

const DELETE: Deed = Deed { question: "Delete", verb: "delete", done: "deleted" };

/// Asks whether something is to be deleted, unless that was said with `yes`.
pub(super) fn agree_to_delete(what: &str, deletion: &str, yes: bool) -> Result<(), Failure> {
    agree(&DELETE, what, deletion, yes)
}

/// Asks whether something is to be done, unless that was said with `yes`.
pub(super) fn agree(deed: &Deed, what: &str, effect: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Deed { question, verb, done } = deed;
    if !is_possible() {
        return Err(Failure::new(format!("{what} was not {done}: nobody can be asked"))
            .hint(format!("say --yes to {verb} without a question")));
    }
    if !confirm(&format!("{question} {what}? ({effect})"))? {
        return Err(Failure::new(format!("{what} was not {done}")));
    }
    Ok(())
}

/// Asks for yes or no; everything but yes is no.
fn confirm(question: &str) -> Result<bool, Failure> {
    let answer = line(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Reads a line, from a terminal or a pipe. The terminal's own editing applies, and its own
/// Ctrl-C: it ends the program as any other.
pub(super) fn line(question: &str) -> Result<String, Failure> {
    ask(question);
    let mut text = String::new();
    let limit = MAX_ANSWER_LENGTH as u64;
    let read = std::io::stdin().lock().take(limit).read_line(&mut text).map_err(cannot_read)?;
    if read == 0 && is_possible() {
        // Ctrl-D leaves the cursor behind the question.
        ask("\n");
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads a line without showing it. From a pipe it is the next line.
pub(super) fn secret(question: &str) -> Result<String, Failure> {
    if !is_possible() {
        return line("");
    }
    let hidden = Hidden::start().map_err(cannot_read)?;
    // Asked when nothing echoes any more, so that a quick hand's first keys do not show.
    ask(question);
    let answer = keys();
    drop(hidden);
    ask("\n");
    answer
}

/// Reads a new secret: on a terminal twice, for nobody sees what is typed.
pub(super) fn new_secret(what: &str) -> Result<String, Failure> {
    let answer = secret(&format!("New {what}: "))?;
    if is_possible() && secret(&format!("The new {what} again: "))? != answer {
        return Err(Failure::new(format!("the two {what}s differ")));
    }
    Ok(answer)
}

/// Prints a question when somebody is there to read it.
fn ask(question: &str) {
    if is_possible() {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(question.as_bytes()).and_then(|()| err.flush());
    }
}

/// Reads keys up to Enter.
fn keys() -> Result<String, Failure> {
    let mut answer = Vec::new();
    for byte in std::io::stdin().lock().bytes() {
        match byte.map_err(cannot_read)? {
            CTRL_C => return Err(Failure::Interrupted),
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_U => answer.clear(),
            key if BACKSPACE.contains(&key) => {
                // A character may be several bytes; the last has gone with its first.
                while answer.pop().is_some_and(|byte: u8| byte & 0xC0 == 0x80) {}
            }
            key if answer.len() < MAX_ANSWER_LENGTH => answer.push(key),
            _ => {}
        }
    }
    String::from_utf8(answer).map_err(|_| Failure::usage("what was typed is not UTF-8 text"))
}

fn cannot_read(error: std::io::Error) -> Failure {
    Failure::new("cannot read from stdin").because(error)
}

/// A terminal that shows no keys and sends no signals, until this is dropped. Ctrl-C comes as a
/// byte: a signal would end the program with the terminal still silent.
struct Hidden(Termios);

impl Hidden {
    fn start() -> std::io::Result<Self> {
        let before = termios::tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing better can be done when this fails.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
