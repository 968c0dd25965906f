//! A page's blocks, and what its comments say of them. How they are written is told in
//! `docs/README.md`, for whoever writes a page.

use std::path::{Path, PathBuf};

/// A page of the book, as far as it is run.
#[derive(Debug)]
pub(crate) struct Page {
    /// Relative to the checkout.
    pub(crate) path: PathBuf,
    /// The services of `scripts/with-services` that it needs, in the order of their start.
    pub(crate) services: Vec<String>,
    /// Names that lead to this machine.
    pub(crate) hosts: Vec<String>,
    /// The page that is run first, for this one goes on where it ends.
    pub(crate) after: Option<PathBuf>,
    /// Its console blocks.
    pub(crate) blocks: Vec<Block>,
}

/// A `console` block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// The terminal that its commands are typed into; the first one has no name.
    pub(crate) terminal: String,
    /// With which code its last command ends.
    pub(crate) exit: i32,
    /// Its command is repeated until it prints what is expected.
    pub(crate) until: bool,
    /// Why it is not run.
    pub(crate) not: Option<String>,
    /// Its line in the file, from 1.
    pub(crate) line: usize,
    /// What is typed, in order.
    pub(crate) steps: Vec<Step>,
}

/// Something typed, and what is printed then.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its line in the file, from 1.
    pub(crate) line: usize,
    /// What is typed.
    pub(crate) typed: Typed,
    /// What is printed, as a pattern; see `pattern`.
    pub(crate) expected: Vec<String>,
}

/// What is typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A command, all lines of it.
    Command(String),
    /// Ctrl-C, for what runs in this terminal.
    Interrupt,
}

impl Page {
    /// Reads a page. An error names the line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(crate::root().join(path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(path, &text)
    }

    /// The same from its text.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, String> {
        let mut page = Self {
            path: path.to_owned(),
            services: Vec::new(),
            hosts: Vec::new(),
            after: None,
            blocks: Vec::new(),
        };
        let mut next = Block::default();
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            let at = |problem: &str| format!("{}:{number}: {problem}", path.display());
            if let Some(said) = line.strip_prefix("<!-- run: ") {
                let said = said.strip_suffix(" -->").ok_or_else(|| at("a comment of one line"))?;
                page.take(said, &mut next).map_err(|problem| at(&problem))?;
            } else if let Some(fence) = fence(line) {
                let mut inside = Vec::new();
                let closed = lines.by_ref().any(|(number, line)| {
                    let is_end = line.trim() == fence.ticks;
                    if !is_end {
                        inside.push((number, line.strip_prefix(fence.indent).unwrap_or(line)));
                    }
                    is_end
                });
                if !closed {
                    return Err(at("a block without an end"));
                }
                if fence.language == "console" {
                    let mut block = std::mem::take(&mut next);
                    block.line = number;
                    block.steps = steps(&inside).map_err(|(line, problem)| {
                        format!("{}:{line}: {problem}", path.display())
                    })?;
                    page.blocks.push(block);
                } else if next != Block::default() {
                    return Err(at("a comment for a console block stands before another one"));
                }
            } else if !line.trim().is_empty() && next != Block::default() {
                return Err(at("a comment for a console block must stand right before it"));
            }
        }
        Ok(page)
    }

    /// Whether anything of it is run.
    pub(crate) fn runs(&self) -> bool {
        self.blocks.iter().any(|block| block.not.is_none())
    }

    fn take(&mut self, said: &str, next: &mut Block) -> Result<(), String> {
        let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
        match word {
            "with" => self.services.extend(rest.split(' ').map(str::to_owned)),
            "hosts" => self.hosts.extend(rest.split(' ').map(str::to_owned)),
            "after" => self.after = Some(PathBuf::from(rest)),
            "terminal" => rest.clone_into(&mut next.terminal),
            "exit" => next.exit = rest.parse().map_err(|_| "`exit` wants a number".to_owned())?,
            "until" => next.until = true,
            "not" if rest.is_empty() => return Err("`not` wants a reason".to_owned()),
            "not" => next.not = Some(rest.to_owned()),
            _ => return Err(format!("`{word}` is no word of the runner")),
        }
        Ok(())
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        (&self.terminal, self.exit, self.until, &self.not)
            == (&other.terminal, other.exit, other.until, &other.not)
    }
}

/// The first line of a fenced block.
pub(crate) struct Fence<'a> {
    /// What stands before it.
    pub(crate) indent: &'a str,
    /// Its backticks, which end it as well.
    pub(crate) ticks: &'a str,
    /// The first word after them.
    pub(crate) language: &'a str,
}

/// Whether a line begins a fenced block.
pub(crate) fn fence(line: &str) -> Option<Fence<'_>> {
    let rest = line.trim_start();
    let indent = &line[..line.len() - rest.len()];
    let language = rest.trim_start_matches('`');
    let ticks = &rest[..rest.len() - language.len()];
    let language = language.split_whitespace().next().unwrap_or_default();
    (ticks.len() >= 3 && !language.contains('`')).then_some(Fence { indent, ticks, language })
}

/// A page's name as a test's.
pub(crate) fn slug(path: &Path) -> String {
    let stem = path.with_extension("");
    let stem = stem.strip_prefix("docs").unwrap_or(&stem);
    stem.to_string_lossy().to_lowercase().replace(['/', '-'], "_")
}

/// The steps of a block. A command goes on after a `\` at the end of its line, and to the end of each
/// here-document that it begins.
fn steps(lines: &[(usize, &str)]) -> Result<Vec<Step>, (usize, String)> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = lines.iter().copied();
    while let Some((line, text)) = rest.next() {
        if let Some(first) = text.strip_prefix("$ ") {
            let mut command = first.to_owned();
            let mut last = first;
            while last.ends_with('\\') {
                let (_, more) = rest.next().ok_or((line, "a command that goes on".to_owned()))?;
                command = format!("{command}\n{more}");
                last = more;
            }
            if let Some(end) = here_document(&command) {
                loop {
                    let (_, more) = rest.next().ok_or((line, format!("no `{end}` follows")))?;
                    command = format!("{command}\n{more}");
                    if more == end {
                        break;
                    }
                }
            }
            steps.push(Step { line, typed: Typed::Command(command), expected: Vec::new() });
        } else if text == "^C" {
            steps.push(Step { line, typed: Typed::Interrupt, expected: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.expected.push(text.to_owned());
        } else {
            return Err((line, "a console block begins with a command, `$ ...`".to_owned()));
        }
    }
    if steps.is_empty() {
        let line = lines.first().map_or(0, |(line, _)| *line);
        return Err((line, "a console block without a command".to_owned()));
    }
    Ok(steps)
}

/// The word that ends the here-document of a command, if it has one.
fn here_document(command: &str) -> Option<String> {
    let (_, after) = command.split_once("<<")?;
    let word = after.trim_start_matches('-').split_whitespace().next()?;
    let word = word.trim_matches(['\'', '"']);
    // `<<<` is a here-string.
    (!word.starts_with('<') && !word.is_empty()).then(|| word.to_owned())
}
