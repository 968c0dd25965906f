//! The book is true: each page's commands run as they are printed, and what is generated from the
//! code is what the code says now.
//!
//! A page is `docs/**/*.md` or the README. The commands are those of its `console` blocks; `page`
//! reads them, `pattern` compares what they print, `shell` is where they run, `run` is a page's
//! whole run, `rules` is what holds for all pages at once, and `reference` are the
//! generated ones, for which `process` starts what they are made from. The
//! tests are found when the program starts (one a page), so it has a harness of its own; it takes
//! the arguments of any other test program.
//!
//! Each page runs in namespaces of its own, with services of its own (`scripts/with-services`), so
//! pages run beside each other and use the ports and folders that they print. For this the program
//! starts itself again, inside: `--inside PAGE`.
#![cfg(feature = "daemon")]

mod page;
mod pattern;
mod process;
mod reference;
mod rules;
mod run;
mod shell;

use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    match given.next().as_deref() {
        Some(run::INSIDE) => {
            let page = given.next().unwrap_or_default();
            return run::told(run::inside(Path::new(&page)).map(|()| String::new()));
        }
        Some(reference::metrics::INSIDE) => return run::told(reference::metrics::page()),
        _ => {}
    }
    let mut trials = rules::trials();
    trials.extend(reference::trials());
    for path in pages() {
        if page::Page::read(&path).is_ok_and(|page| page.runs()) {
            trials.push(Trial::test(format!("page_{}", page::slug(&path)), move || {
                run::outside(&path).map_err(Into::into)
            }));
        }
    }
    let mut arguments = Arguments::from_args();
    // A page waits more than it computes: for containers, for health, for Kafka.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * cores);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The folder of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: the README and all of `docs/`, by path relative to the checkout.
fn pages() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("README.md")];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder)).expect("a folder of the book");
        for entry in entries {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
