//! The pages of the reference that are made from the code, and the test that they are what the code
//! says now. `UPDATE_REFERENCE=1 cargo test --test docs reference` writes them anew.

mod api;
mod configuration;
mod ctl;
pub(crate) mod metrics;

use libtest_mimic::{Failed, Trial};

/// A test for each page.
pub(crate) fn trials() -> Vec<Trial> {
    let page = |name: &'static str, make: fn() -> Result<String, String>| {
        Trial::test(format!("reference_{name}"), move || is_true(name, &make()?))
    };
    vec![
        page("configuration", || Ok(configuration::page())),
        page("ctl", || Ok(ctl::page())),
        page("api", api::page),
        page("metrics", metrics::outside),
    ]
}

/// Writes the page when that is asked for, and compares it.
fn is_true(name: &str, text: &str) -> Result<(), Failed> {
    let file = crate::root().join(format!("docs/reference/{name}.md"));
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&file, text)?;
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    if there == text {
        return Ok(());
    }
    let different = there.lines().zip(text.lines()).position(|(there, now)| there != now);
    let line = different.unwrap_or_else(|| there.lines().count().min(text.lines().count()));
    Err(format!(
        "docs/reference/{name}.md is behind the code from line {}: `{}`; write it anew: UPDATE_REFERENCE=1 cargo test --test docs reference",
        line + 1,
        text.lines().nth(line).unwrap_or_default(),
    )
    .into())
}

/// What stands at the head of each page.
fn head(title: &str, words: &str) -> String {
    format!(
        "<!-- Made from the code; see docs/README.md. Changes by hand are lost. -->\n# {title}\n\n{words}\n"
    )
}

/// Text as Markdown shows it, on one line, in a table too.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut is_code = false;
    for letter in text.chars() {
        match letter {
            '`' => is_code = !is_code,
            // A table's columns are parted even within code.
            '|' => shown.push('\\'),
            '<' | '*' | '[' | '{' if !is_code => shown.push('\\'),
            _ => {}
        }
        shown.push(if letter == '\n' { ' ' } else { letter });
    }
    shown
}

/// The same as code.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// A row of a table.
fn row<const N: usize>(cells: [&str; N]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The first two lines of a table.
fn columns<const N: usize>(names: [&str; N]) -> String {
    row(names) + &row([(); N].map(|()| "---"))
}
