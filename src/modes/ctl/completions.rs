//! `completions SHELL`.

use super::failure::Failure;
use super::output;
use clap::Args;
use clap_complete::Shell;
use std::fmt::Write as _;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bash: nebula ctl completions bash > ~/.local/share/bash-completion/completions/nebula
  zsh:  nebula ctl completions zsh > a folder of $fpath, as the file `_nebula`
  fish: nebula ctl completions fish > ~/.config/fish/completions/nebula.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Supported,
}

/// The shells whose scripts were tried.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Supported {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(self, mut root: clap::Command) -> Result<(), Failure> {
        let shell = match self.shell {
            Supported::Bash => Shell::Bash,
            Supported::Zsh => Shell::Zsh,
            Supported::Fish => Shell::Fish,
        };
        // Made in memory: the generator panics when its writer fails, as a closed pipe does.
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut root, "nebula", &mut text);
        if let Supported::Fish = self.shell {
            text.extend(verbs_for_fish(&root).into_bytes());
        }
        output::script(&text)
    }
}

/// The options of `ctl NOUN VERB`. The generator for fish stops one level above.
fn verbs_for_fish(root: &clap::Command) -> String {
    let mut lines = String::new();
    let ctl = root.get_subcommands().filter(|mode| mode.get_name() == "ctl");
    for noun in ctl.flat_map(clap::Command::get_subcommands) {
        for verb in noun.get_subcommands() {
            let (noun, name) = (noun.get_name(), verb.get_name());
            for arg in verb.get_arguments().filter(|arg| !arg.is_global_set()) {
                let Some(long) = arg.get_long() else { continue };
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                let help = help.replace('\\', "\\\\").replace('\'', "\\'");
                let takes_value = if arg.get_action().takes_values() { " -r" } else { "" };
                let _ = writeln!(
                    lines,
                    "complete -c nebula -n \"__fish_nebula_using_subcommand ctl; and \
                     __fish_seen_subcommand_from {noun}; and __fish_seen_subcommand_from {name}\" \
                     -l {long} -d '{help}'{takes_value}"
                );
            }
        }
    }
    lines
}
