//! Every decoder keeps its promises on the seeds of the fuzz targets and on every case that
//! fuzzing found. `scripts/fuzz` looks for further ones; this needs no fuzzer.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets as well")]
mod properties;

use rstest::rstest;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The files of one target in one of the folders of `fuzz/`, in the order of their names.
fn files(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    // Git keeps no empty folder: a target without a found case has none.
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let entry = |entry: Result<fs::DirEntry, _>| entry.expect("the folder can be read").path();
    let mut files: Vec<PathBuf> = entries.map(entry).collect();
    files.sort();
    files
}

/// The target's name and its check.
fn target(name: &str) -> properties::Check {
    let known = properties::ALL.iter().find(|(known, _)| *known == name);
    known.expect("the target is in the library's list").1
}

fn holds(folder: &str, name: &str) -> usize {
    let check = target(name);
    let files = files(folder, name);
    let broken: Vec<&PathBuf> = files
        .iter()
        .filter(|file| {
            let bytes = fs::read(file).expect("the file can be read");
            catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_err()
        })
        .collect();
    assert!(broken.is_empty(), "{name} breaks its promise on {broken:#?}");
    files.len()
}

#[rstest]
fn seeds_hold(
    #[values(
        "authorization",
        "body",
        "configuration",
        "desired",
        "image",
        "ports",
        "query",
        "schedule"
    )]
    name: &str,
) {
    assert!(holds("corpus", name) >= 5, "{name} has too few seeds to start from");
}

#[test]
fn found_cases_hold() {
    for (name, _) in properties::ALL {
        holds("cases", name);
    }
}

#[test]
fn every_folder_belongs_to_a_target() {
    for folder in ["corpus", "cases"] {
        for path in files(folder, "") {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            assert!(properties::ALL.iter().any(|(known, _)| *known == name), "{}", path.display());
        }
    }
}
