//! A page's run: outside, the services around it; inside, its terminals.

use crate::page::{Block, Page, Typed};
use crate::pattern;
use crate::shell::{Seen, Shell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The argument with which this program starts itself among a page's services.
pub(crate) const INSIDE: &str = "--inside";

/// How long a command may take, or what stays up to print what is expected, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// From one try to the next, of what is repeated until it prints what is expected.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Runs a page among its services. An error is what a person reads.
pub(crate) fn outside(path: &Path) -> Result<(), String> {
    let page = Page::read(path)?;
    let mut services = page.services.clone();
    let mut hosts = page.hosts.clone();
    let mut before = page.after;
    while let Some(path) = before {
        let page = Page::read(&path)?;
        services.extend(page.services);
        hosts.extend(page.hosts);
        before = page.after;
    }
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    among(&services, &hosts.join(" "), &[INSIDE.as_ref(), path.as_os_str()]).map(drop)
}

/// Starts this program again among services, with these arguments. Returns what it prints.
pub(crate) fn among(
    services: &[&str],
    hosts: &str,
    arguments: &[&OsStr],
) -> Result<String, String> {
    if let Some(unknown) = services.iter().find(|wanted| !ORDER.contains(wanted)) {
        return Err(format!("`{unknown}` is no service of a page"));
    }
    // In the order of `ORDER`, each once: services need others before them.
    let ordered = ORDER.into_iter().filter(|service| services.contains(service));
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(crate::root().join("scripts/with-services"));
    // Within a run of all tests there are services already, which are not this one's.
    for (name, _) in std::env::vars_os() {
        let is_of_others =
            ["NEBULA_TEST_", "DOCKER_"].map(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_of_others.contains(&true) {
            command.env_remove(name);
        }
    }
    let out = command
        .args(ordered)
        .args(["book", "--"])
        .arg(this)
        .args(arguments)
        .env("NEBULA_BOOK_BINARY", env!("CARGO_BIN_EXE_nebula"))
        .env("NEBULA_BOOK_HOSTS", hosts)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("scripts/with-services does not start: {error}"))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(said);
    }
    Err(format!("{said}\n{}", String::from_utf8_lossy(&out.stderr)))
}

/// The services that a page may ask for.
const ORDER: [&str; 7] = ["docker", "registry", "images", "nebula", "python", "mongo", "kafka"];

/// Prints what was made, or what went wrong.
pub(crate) fn told(outcome: Result<String, String>) -> ExitCode {
    use std::io::Write;
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(problem) => (problem + "\n", ExitCode::FAILURE),
    };
    // Nobody to tell if this cannot be written.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

/// Runs a page here.
pub(crate) fn inside(path: &Path) -> Result<(), String> {
    let folder = std::env::var_os("NEBULA_BOOK_FOLDER").map(PathBuf::from);
    let folder = folder.ok_or("`NEBULA_BOOK_FOLDER` is not set: this is no page's run")?;
    let mut chain = vec![Page::read(path)?];
    while let Some(before) = chain[0].after.clone() {
        chain.insert(0, Page::read(&before)?);
    }
    let mut session = Session { terminals: BTreeMap::new(), folder };
    for page in &chain {
        for block in page.blocks.iter().filter(|block| block.not.is_none()) {
            session.run(block).map_err(|(line, problem)| {
                format!("{}:{line}: {problem}{}", page.path.display(), session.elsewhere())
            })?;
        }
    }
    session.still_up()
}

struct Session {
    terminals: BTreeMap<String, Terminal>,
    folder: PathBuf,
}

struct Terminal {
    shell: Shell,
    /// Whether something runs in it, and since which line of a page.
    stays_up: Option<usize>,
}

/// The line where it failed, and how.
type Failed = (usize, String);

impl Session {
    fn run(&mut self, block: &Block) -> Result<(), Failed> {
        let home = self.folder.join("home");
        let commands = self.folder.join("commands");
        if !self.terminals.contains_key(&block.terminal) {
            let shell = Shell::open(&home).map_err(|error| (block.line, error.to_string()))?;
            self.terminals.insert(block.terminal.clone(), Terminal { shell, stays_up: None });
        }
        let Some(terminal) = self.terminals.get_mut(&block.terminal) else { return Ok(()) };
        for (index, step) in block.steps.iter().enumerate() {
            let is_last = index + 1 == block.steps.len();
            let fail = |problem: String| (step.line, problem);
            match &step.typed {
                Typed::Interrupt => terminal.interrupt().map_err(fail)?,
                Typed::Command(_) if terminal.stays_up.is_some() => {
                    return Err(fail("in this terminal a command still runs".to_owned()));
                }
                Typed::Command(command) => {
                    let wanted = Wanted {
                        lines: &step.expected,
                        exit: if is_last { block.exit } else { 0 },
                        // In the first terminal each command ends.
                        may_stay: is_last && !block.terminal.is_empty(),
                        until: block.until,
                    };
                    let stays = terminal.shell.expect(&commands, command, &wanted).map_err(fail)?;
                    terminal.stays_up = stays.then_some(step.line);
                }
            }
        }
        Ok(())
    }

    /// What stays up on a page is up at its end.
    fn still_up(&self) -> Result<(), String> {
        for (name, terminal) in &self.terminals {
            let seen = terminal.shell.seen();
            if let (Some(line), Seen::Ended(printed, code)) = (terminal.stays_up, seen) {
                return Err(format!(
                    "line {line}: in the terminal `{name}` it ended with {code}:\n{printed}"
                ));
            }
        }
        Ok(())
    }

    /// What the other terminals show, for whoever looks for the reason.
    fn elsewhere(&self) -> String {
        let mut text = String::new();
        for (name, terminal) in &self.terminals {
            if let (Some(_), Seen::Running(printed) | Seen::Ended(printed, _)) =
                (terminal.stays_up, terminal.shell.seen())
            {
                // Writing to a String cannot fail.
                let _ = write!(text, "\n--- the terminal `{name}`:\n{printed}");
            }
        }
        text
    }
}

impl Terminal {
    fn interrupt(&mut self) -> Result<(), String> {
        if self.stays_up.take().is_none() {
            return Err("nothing runs that Ctrl-C could end".to_owned());
        }
        self.shell.interrupt()?;
        match self.shell.wait(PATIENCE, |seen| matches!(seen, Seen::Ended(..))) {
            Seen::Ended(..) => Ok(()),
            Seen::Running(printed) => Err(format!("it does not end after Ctrl-C:\n{printed}")),
        }
    }
}

/// What a command should do.
struct Wanted<'a> {
    lines: &'a [String],
    exit: i32,
    may_stay: bool,
    until: bool,
}

impl Wanted<'_> {
    fn is_met(&self, seen: &Seen) -> bool {
        match seen {
            Seen::Ended(printed, code) => {
                *code == self.exit && pattern::matches(self.lines, printed)
            }
            // What stays up has to say something by which a person knows that it is up.
            Seen::Running(printed) => {
                self.may_stay && !self.lines.is_empty() && pattern::matches(self.lines, printed)
            }
        }
    }
}

impl Shell {
    /// Types a command and waits for what is wanted. Returns whether it stays up.
    fn expect(
        &mut self,
        folder: &Path,
        command: &str,
        wanted: &Wanted<'_>,
    ) -> Result<bool, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.type_command(folder, command).map_err(|error| error.to_string())?;
            let left = deadline.saturating_duration_since(Instant::now());
            let seen =
                self.wait(left, |seen| matches!(seen, Seen::Ended(..)) || wanted.is_met(seen));
            if wanted.is_met(&seen) {
                return Ok(matches!(seen, Seen::Running(_)));
            }
            let is_over = Instant::now() + BETWEEN_TRIES > deadline;
            if !wanted.until || is_over || matches!(seen, Seen::Running(_)) {
                return Err(difference(command, wanted, &seen));
            }
            // Not a synchronisation: a person looks again after a moment as well.
            std::thread::sleep(BETWEEN_TRIES);
        }
    }
}

fn difference(command: &str, wanted: &Wanted<'_>, seen: &Seen) -> String {
    let (printed, ended) = match seen {
        Seen::Running(printed) => (printed, "it still runs".to_owned()),
        Seen::Ended(printed, code) => {
            (printed, format!("it ended with {code}, and not {}", wanted.exit))
        }
    };
    let expected = wanted.lines.join("\n");
    format!("\n$ {command}\n--- the page says:\n{expected}\n--- it printed ({ended}):\n{printed}")
}
