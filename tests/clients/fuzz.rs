//! Everything that the manager's `OpenAPI` document promises, asked for and around it: schemathesis
//! makes requests from the document, valid and not, one by one and in sequences, and compares the
//! answers with it.

use crate::manager::Manager;
use crate::python::{file, run};
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

/// The same requests each time. `NEBULA_TEST_FUZZ_SEED` asks others, for whoever has the time.
const SEED: &str = "1";
/// Several times what it takes: only a manager that hangs ever reaches it.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the manager may hold beyond what it held when the fuzzer began. That is some 15 MB after
/// four thousand requests, of objects, caches and what the allocator keeps; a manager that kept 10
/// kB of each would be over it.
const GROWTH_BYTES: u64 = 48 << 20;

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let mut manager = Manager::start().await;
    let (status, document) = manager.get("/api/openapi.json").await;
    assert_eq!(status, 200, "{document}");
    let operations = operations(&document);
    let folder = TempDir::new().unwrap();
    let schema = folder.path().join("openapi.json");
    std::fs::write(&schema, document).unwrap();
    let before = manager.resident_bytes();

    let seed = std::env::var("NEBULA_TEST_FUZZ_SEED").unwrap_or_else(|_| SEED.to_owned());
    let (settings, hooks) = (file("schemathesis.toml"), file("hooks.py"));
    let arguments = [
        &["-m", "schemathesis.cli", "--config-file", settings.to_str().unwrap()][..],
        &["run", schema.to_str().unwrap(), "--url", &manager.url, "--seed", &seed, "--no-color"],
    ];
    let environment = [("NEBULA_TEST_HOOKS", hooks.to_str().unwrap())];
    let (is_well, said) = run(&manager, &arguments.concat(), &environment, PATIENCE).await;
    let grown = manager.resident_bytes().saturating_sub(before);

    let said = format!("{said}\nThe manager said:\n{}", manager.log());
    assert!(is_well, "{said}");
    // A fuzzer that asked for nothing finds nothing.
    for word in [
        format!("Tested: {operations}"),
        "✅ Coverage".into(),
        "✅ Fuzzing".into(),
        "✅ Stateful".into(),
    ] {
        assert!(said.contains(&word), "no `{word}` in:\n{said}");
    }
    manager.assert_alive().await;
    assert!(grown < GROWTH_BYTES, "{} kB more than before", grown >> 10);
}

/// How many operations a document has.
fn operations(document: &str) -> usize {
    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
    let document: Value = serde_json::from_str(document).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    paths.flat_map(|path| METHODS.iter().filter(|method| path.get(method).is_some())).count()
}
