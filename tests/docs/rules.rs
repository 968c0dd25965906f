//! What holds for all pages at once.

use crate::page::{Page, fence};
use libtest_mimic::{Failed, Trial};
use std::fmt::Write as _;
use std::path::Path;

/// The languages of blocks that hold no commands.
const SHOWN: [&str; 11] = [
    "text",
    "toml",
    "json",
    "yaml",
    "ini",
    "dockerfile",
    "markdown",
    "javascript",
    "{toctree}",
    "{literalinclude}",
    "{code-block}",
];
/// With these words lines begin that somebody types.
const COMMANDS: [&str; 13] = [
    "nebula",
    "docker",
    "export",
    "curl",
    "sudo",
    "systemctl",
    "make",
    "cargo",
    "openssl",
    "scripts/",
    "kubectl",
    "mongodump",
    "apt-get",
];

/// The tests.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("rule_every_page_can_be_read", || {
            for_each(&|path, _| Page::read(path).map(drop))
        }),
        Trial::test("rule_commands_stand_in_console_blocks_alone", || for_each(&commands_are_run)),
        Trial::test("rule_links_of_files_outside_the_book_lead_somewhere", || {
            for_each(&|path, text| {
                if path.starts_with("docs") { Ok(()) } else { links(path, text) }
            })
        }),
        Trial::test("rule_what_is_not_run_is_listed", not_run),
        Trial::test("rule_monitoring_asks_for_metrics_that_exist", monitoring),
        Trial::test("rule_the_patterns_tell_different_text", patterns),
        Trial::test("rule_a_page_is_read_as_a_person_types_it", typed),
        Trial::test("rule_what_a_page_cannot_mean_is_refused", refused),
    ]
}

type Rule<'a> = &'a dyn Fn(&Path, &str) -> Result<(), String>;

fn for_each(rule: Rule<'_>) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for path in crate::pages() {
        let text = std::fs::read_to_string(crate::root().join(&path))?;
        wrong.extend(rule(&path, &text).err());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A command that stands elsewhere would be one that nobody runs.
fn commands_are_run(path: &Path, text: &str) -> Result<(), String> {
    let mut ends: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let at = |problem: &str| Err(format!("{}:{}: {problem}", path.display(), index + 1));
        if let Some(ticks) = ends {
            if line.trim() == ticks {
                ends = None;
            }
            continue;
        }
        if let Some(found) = fence(line) {
            let is_known = found.language == "console" || SHOWN.contains(&found.language);
            if !is_known {
                return at(&format!(
                    "a block of `{}`: commands are `console`, else it is one of {SHOWN:?}",
                    found.language
                ));
            }
            ends = Some(found.ticks);
        } else if line.starts_with("    ") && is_command(line.trim_start()) {
            return at("an indented command: put it into a `console` block, which is run");
        }
    }
    shown_blocks_hold_no_prompt(path, text)
}

fn is_command(line: &str) -> bool {
    line.starts_with("$ ")
        || COMMANDS.iter().any(|word| {
            line.strip_prefix(word).is_some_and(|rest| rest.starts_with(' ') || word.ends_with('/'))
        })
}

fn shown_blocks_hold_no_prompt(path: &Path, text: &str) -> Result<(), String> {
    let mut inside: Option<(&str, bool)> = None;
    for (index, line) in text.lines().enumerate() {
        match inside {
            Some((ticks, _)) if line.trim() == ticks => inside = None,
            Some((_, false)) if line.trim_start().starts_with("$ ") => {
                return Err(format!(
                    "{}:{}: a prompt in a block that is not run",
                    path.display(),
                    index + 1
                ));
            }
            Some(_) => {}
            // An example of a page, for whoever writes one, holds what a page holds.
            None => {
                inside = fence(line)
                    .map(|found| (found.ticks, matches!(found.language, "console" | "markdown")));
            }
        }
    }
    Ok(())
}

/// Sphinx looks after the links of the book itself.
fn links(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    for part in text.split("](").skip(1) {
        let target = part.split([')', '#']).next().unwrap_or_default();
        if target.is_empty() || target.contains("://") {
            continue;
        }
        if !crate::root().join(folder).join(target).exists() {
            return Err(format!("{}: a link to `{target}`, which is not there", path.display()));
        }
    }
    Ok(())
}

/// Each block that no test runs, with its reason, as `tests/docs/not_run.txt` lists them: so that a
/// new one is seen in a review.
fn not_run() -> Result<(), Failed> {
    let mut found = String::new();
    for path in crate::pages() {
        for block in Page::read(&path)?.blocks {
            if let Some(reason) = block.not {
                // Writing to a String cannot fail.
                let _ = writeln!(found, "{}: {reason}", path.display());
            }
        }
    }
    let file = crate::root().join("tests/docs/not_run.txt");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&file, &found)?;
    }
    let listed = std::fs::read_to_string(&file)?;
    if listed == found {
        return Ok(());
    }
    Err(format!("tests/docs/not_run.txt lists\n{listed}\nand what is not run is\n{found}").into())
}

/// Alerts and dashboard name metrics of the reference, which is what `/metrics` gives.
fn monitoring() -> Result<(), Failed> {
    let read = |path: &str| std::fs::read_to_string(crate::root().join(path));
    let reference = read("docs/reference/metrics.md")?;
    let mut known: Vec<&str> = Vec::new();
    for line in reference.lines() {
        known.extend(line.strip_prefix("| `").and_then(|rest| rest.split('`').next()));
    }
    let dashboard = read("docs/monitoring/grafana.json")?;
    serde_json::from_str::<serde_json::Value>(&dashboard)?;
    let mut asked = 0;
    for text in [dashboard, read("docs/monitoring/alerts.yml")?] {
        let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        for word in text.split(|letter| !is_of_a_name(letter)) {
            if !["nebula_", "process_"].iter().any(|prefix| word.starts_with(prefix)) {
                continue;
            }
            asked += 1;
            // A histogram's samples have longer names.
            let whole = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            if !known.contains(&word) && !whole.is_some_and(|name| known.contains(&name)) {
                return Err(format!("`{word}` is no metric of docs/reference/metrics.md").into());
            }
        }
    }
    if asked == 0 { Err("no metric was found in what monitoring asks for".into()) } else { Ok(()) }
}

fn patterns() -> Result<(), Failed> {
    let cases: [(&str, &str, bool); 12] = [
        ("a", "a", true),
        ("a", "a\n", true),
        ("a", "b", false),
        ("a", "a\nb", false),
        ("", "a", false),
        ("...", "", true),
        ("a\n...\nd", "a\nb\nc\nd", true),
        ("a\n...\nd", "a\nb\nc", false),
        ("NAME  AGE", "NAME     AGE", true),
        ("in ... ms, ... times", "in 12 ms, 3 times", true),
        ("in ... ms", "in 12 s", false),
        ("a ... a", "a a", false),
    ];
    for (expected, printed, is_match) in cases {
        let expected_lines: Vec<String> = expected.lines().map(str::to_owned).collect();
        if crate::pattern::matches(&expected_lines, printed) != is_match {
            return Err(format!("`{expected}` and `{printed}` should give {is_match}").into());
        }
    }
    Ok(())
}

/// Commands of many lines, here-documents that hold what looks like a command, Ctrl-C.
fn typed() -> Result<(), Failed> {
    let text = "<!-- run: with docker -->\n\n<!-- run: terminal two -->\n<!-- run: exit 3 -->\n```console\n\
        $ a \\\n  b\nsaid\n$ cat > f <<'END'\n$ c\n```\nEND\n";
    // A fence within a here-document would end the block, for Markdown as well.
    if Page::parse(Path::new("page"), text).is_ok() {
        return Err("a here-document without its end was taken".into());
    }
    let text = text.replace("```\nEND\n", "END\n^C\nlast\n```\n");
    let page = Page::parse(Path::new("page"), &text)?;
    let block = page.blocks.first().ok_or("no block")?;
    let read: Vec<(usize, String, String)> = block
        .steps
        .iter()
        .map(|step| (step.line, format!("{:?}", step.typed), step.expected.join("/")))
        .collect();
    let wanted = [
        (6, r#"Command("a \\\n  b")"#, "said"),
        (9, r#"Command("cat > f <<'END'\n$ c\nEND")"#, ""),
        (12, "Interrupt", "last"),
    ];
    let wanted = wanted.map(|(line, typed, printed)| (line, typed.to_owned(), printed.to_owned()));
    if page.services != ["docker"] || block.terminal != "two" || block.exit != 3 || read != wanted {
        return Err(format!("{page:?}").into());
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let pages = [
        "<!-- run: nothing -->\n",
        "<!-- run: not -->\n```console\n$ a\n```\n",
        "<!-- run: exit one -->\n```console\n$ a\n```\n",
        "<!-- run: exit 1 -->\nWords.\n\n```console\n$ a\n```\n",
        "<!-- run: exit 1 -->\n```text\na\n```\n",
        "```console\n$ a\n",
        "```console\n```\n",
        "```console\nprinted before a command\n$ a\n```\n",
    ];
    for text in pages {
        if let Ok(page) = Page::parse(Path::new("page"), text) {
            return Err(format!("this was taken:\n{text}\nas {page:?}").into());
        }
    }
    Ok(())
}
