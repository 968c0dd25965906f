//! A terminal: one bash, into which a page's commands are typed one after the other.
//!
//! What a command prints, on both streams, is what a person would see. Its end and its exit code are
//! told by a line that no command prints. Its standard input is empty: nobody answers questions.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a terminal has printed since something was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The command goes on.
    Running(String),
    /// It ended, with this code.
    Ended(String, i32),
}

/// One bash.
pub(crate) struct Shell {
    bash: Child,
    typing: ChildStdin,
    printed: Arc<Printed>,
    /// How much was printed before the last thing was typed.
    from: usize,
    commands: usize,
}

#[derive(Default)]
struct Printed {
    bytes: Mutex<Vec<u8>>,
    came: Condvar,
}

/// What tells that a command has ended. No command prints it, for it never stands in one's text.
const END: &str = "\u{1}the command ended with";

impl Shell {
    /// A new terminal in this folder.
    pub(crate) fn open(folder: &Path) -> std::io::Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0)
            .spawn()?;
        let mut typing = bash.stdin.take().ok_or_else(|| std::io::Error::other("no input"))?;
        // Ctrl-C is for what runs in it, not for bash; a trap, unlike an ignored signal, is not handed down.
        typing.write_all(b"trap : INT\n")?;
        let printed = Arc::new(Printed::default());
        let into = Arc::clone(&printed);
        std::thread::spawn(move || copy(reader, &into));
        Ok(Self { bash, typing, printed, from: 0, commands: 0 })
    }

    /// Types a command, which `folder` keeps as a file: whatever is wrong with it is its own failure,
    /// and not that of the terminal.
    pub(crate) fn type_command(&mut self, folder: &Path, command: &str) -> std::io::Result<()> {
        self.from = self.printed.bytes.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.commands += 1;
        let file = folder.join(format!("{}-{}", self.bash.id(), self.commands));
        std::fs::write(&file, format!("{command}\n"))?;
        let file = file.display();
        let said = &END[1..];
        writeln!(self.typing, r"source {file} </dev/null; printf '\n\1%s %d\n' '{said}' $?")?;
        self.typing.flush()
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) -> Result<(), String> {
        let pid = i32::try_from(self.bash.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("bash has no process id")?;
        kill_process_group(pid, Signal::INT).map_err(|error| format!("cannot interrupt: {error}"))
    }

    /// What is seen now.
    pub(crate) fn seen(&self) -> Seen {
        self.look(&self.printed.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until what is seen will do; at the deadline, returns it whatever it is.
    pub(crate) fn wait(&self, patience: Duration, will_do: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + patience;
        let mut bytes = self.printed.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let seen = self.look(&bytes);
            let left = deadline.saturating_duration_since(Instant::now());
            if will_do(&seen) || left.is_zero() {
                return seen;
            }
            bytes = match self.printed.came.wait_timeout(bytes, left) {
                Ok((bytes, _)) => bytes,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn look(&self, bytes: &[u8]) -> Seen {
        let text = String::from_utf8_lossy(&bytes[self.from..]);
        let Some((before, after)) = text.split_once(END) else {
            return Seen::Running(text.into_owned());
        };
        // The line that tells the end begins on a line of its own.
        let before = before.strip_suffix('\n').unwrap_or(before).to_owned();
        match after.split_once('\n') {
            Some((code, _)) => Seen::Ended(before, code.trim().parse().unwrap_or(-1)),
            None => Seen::Running(before),
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let pid = i32::try_from(self.bash.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.bash.wait();
    }
}

fn copy(mut from: impl Read, into: &Printed) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        into.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&buffer[..count]);
        into.came.notify_all();
    }
}
