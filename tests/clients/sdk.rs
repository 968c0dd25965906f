//! The original's own client, unchanged.

use crate::manager::Manager;
use crate::python::{file, run};
use std::time::Duration;

/// Ten times what it takes: some sixty passwords and tokens are hashed on the way.
const PATIENCE: Duration = Duration::from_secs(180);

/// `sdk.py` calls every method with credentials of every kind, and says which were left out.
#[tokio::test]
async fn the_original_python_client_drives_every_method() {
    let mut manager = Manager::start().await;
    let script = file("sdk.py");
    let (is_well, said) = run(&manager, &[script.to_str().unwrap()], &[], PATIENCE).await;
    assert!(is_well, "{said}\nThe manager said:\n{}", manager.log());
    manager.assert_alive().await;
}
