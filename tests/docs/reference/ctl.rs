//! Every command of `nebula ctl`, from the command line itself.

use super::{code, columns, head, plain, row};
use clap::{Arg, Command};
use std::fmt::Write as _;

const WORDS: &str = "\
Data goes to standard output, everything else to standard error. With `-o json` a command prints the API's reply as it came. A
failure prints `error: ...` with its causes and a hint. What exit codes mean: [Exit codes](exit-codes.md).

`nebula ctl COMMAND --help` shows the same in a terminal; `nebula ctl man` writes manual pages, `nebula ctl completions` prints what a
shell completes words by.";

pub(super) fn page() -> String {
    let mut root = nebula::cli::command();
    root.build();
    let mut page = head("Command line", WORDS);
    let Some(ctl) = root.get_subcommands().find(|mode| mode.get_name() == "ctl") else {
        return page;
    };
    page.push_str("\n## Options of every command\n\n");
    page.push_str(&options(ctl.get_arguments().filter(|arg| arg.is_global_set())));
    page.push_str(&after(ctl));
    for command in ctl.get_subcommands() {
        page.push_str(&of(command, "nebula ctl", 2));
    }
    page
}

fn of(command: &Command, before: &str, depth: usize) -> String {
    let name = format!("{before} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text =
        format!("\n{} `{name}`\n\n{}.\n", "#".repeat(depth), plain(about.trim_end_matches('.')));
    if command.has_subcommands() {
        for verb in command.get_subcommands() {
            text.push_str(&of(verb, &name, depth + 1));
        }
        return text;
    }
    let positional: Vec<String> = command.get_positionals().map(placeholder).collect();
    let usage = [&[name, "[OPTIONS]".to_owned()], positional.as_slice()].concat().join(" ");
    // Writing to a String cannot fail.
    let _ = write!(text, "\n```text\n{usage}\n```\n");
    let own = options(command.get_arguments().filter(|arg| !arg.is_global_set()));
    if !own.is_empty() {
        let _ = write!(text, "\n{own}");
    }
    text + &after(command)
}

fn placeholder(arg: &Arg) -> String {
    let name = arg
        .get_value_names()
        .and_then(<[_]>::first)
        .map_or(arg.get_id().as_str(), |name| name.as_str());
    if arg.is_required_set() { format!("<{name}>") } else { format!("[{name}]") }
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let shown = arguments.filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"));
    let rows: String = shown.map(option).collect();
    if rows.is_empty() { rows } else { columns(["option", "value", "meaning"]) + &rows }
}

fn option(arg: &Arg) -> String {
    let short = arg.get_short().map(|letter| format!("`-{letter}`, ")).unwrap_or_default();
    let long = arg.get_long().map(|word| code(&format!("--{word}")));
    let name = long.map_or_else(|| code(&placeholder(arg)), |long| short + &long);
    let value = match arg.get_value_names() {
        Some(names) if arg.get_action().takes_values() && !arg.is_positional() => {
            code(&names.iter().map(clap::builder::Str::as_str).collect::<Vec<_>>().join(" "))
        }
        _ => String::new(),
    };
    let mut help = plain(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let words: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|word| !word.is_hide_set() && arg.get_action().takes_values())
        .map(|word| code(word.get_name()))
        .collect();
    if !words.is_empty() {
        let _ = write!(help, " [{}]", words.join(", "));
    }
    if let Some(default) =
        arg.get_default_values().first().filter(|_| arg.get_action().takes_values())
    {
        let _ = write!(help, " [default: {}]", code(&default.to_string_lossy()));
    }
    if let Some(env) = arg.get_env() {
        let _ = write!(help, " [environment: {}]", code(&env.to_string_lossy()));
    }
    row([&name, &value, &help])
}

fn after(command: &Command) -> String {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if text.is_empty() { text } else { format!("\n```text\n{text}\n```\n") }
}
