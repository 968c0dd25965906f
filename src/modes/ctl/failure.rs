//! What is said when something cannot be done, and how the program ends.

use std::error::Error;
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something to tell.
    Told(Box<Told>),
    /// The reader of stdout went away, as `head` does. What was asked for has been delivered.
    PipeClosed,
    /// Ctrl-C.
    Interrupted,
}

/// What is told: the error, its causes, what to do.
#[derive(Debug)]
pub(super) struct Told {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    is_usage: bool,
}

impl Failure {
    /// Refused or failed: exit code 1.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::told(message.into(), false)
    }

    /// Wrong usage or configuration: exit code 2.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::told(message.into(), true)
    }

    fn told(message: String, is_usage: bool) -> Self {
        Self::Told(Box::new(Told { message, causes: Vec::new(), hints: Vec::new(), is_usage }))
    }

    /// A configuration that was refused; each mistake on its own line.
    #[expect(clippy::needless_pass_by_value, reason = "the form of `map_err`")]
    pub(super) fn configuration(error: crate::config::ConfigError) -> Self {
        Self::usage(error.to_string())
    }

    /// With what lies beneath.
    pub(super) fn because(mut self, cause: impl Error) -> Self {
        if let Self::Told(told) = &mut self {
            told.causes.push(cause.to_string());
        }
        self.because_of(&cause)
    }

    /// With what lies beneath an error that has been said itself.
    pub(super) fn because_of(mut self, error: &dyn Error) -> Self {
        if let Self::Told(told) = &mut self {
            let causes = std::iter::successors(error.source(), |cause| (*cause).source());
            told.causes.extend(causes.map(ToString::to_string));
        }
        self
    }

    /// With something to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Told(told) = &mut self {
            told.hints.push(hint.into());
        }
        self
    }

    /// Prints it, and says how the program ends.
    pub(super) fn print(self) -> ExitCode {
        match self {
            Self::PipeClosed => ExitCode::SUCCESS,
            // As a shell shows a program that SIGINT ended.
            Self::Interrupted => ExitCode::from(130),
            Self::Told(told) => {
                // Nobody is left to tell when stderr is closed.
                let _ = told.write(&mut anstream::stderr().lock());
                ExitCode::from(if told.is_usage { 2 } else { 1 })
            }
        }
    }
}

impl Told {
    fn write(&self, to: &mut impl std::io::Write) -> std::io::Result<()> {
        let red = anstyle_of(clap::builder::styling::AnsiColor::Red);
        let cyan = anstyle_of(clap::builder::styling::AnsiColor::Cyan);
        writeln!(to, "{red}error{red:#}: {}", self.message)?;
        for cause in &self.causes {
            writeln!(to, "{red}caused by{red:#}: {}", super::output::printable(cause))?;
        }
        for hint in &self.hints {
            writeln!(to, "{cyan}hint{cyan:#}: {hint}")?;
        }
        Ok(())
    }
}

fn anstyle_of(color: clap::builder::styling::AnsiColor) -> clap::builder::styling::Style {
    color.on_default().bold()
}
