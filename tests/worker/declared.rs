//! What is declared, in the words of a manager.

use crate::world::variable;
use serde_json::{Value, json};

/// An app as a manager tells it.
pub(crate) fn app(name: &str, id: u64, more: &Value) -> Value {
    let site = variable("NEBULA_TEST_SITE");
    let mut app = json!({
        "app_name": name, "app_id": id, "uid": "5f1e2d3c4b5a69788796a5b4", "revision": id,
        "docker_image": format!("{site}:1"), "starting_ports": [], "containers_per": {"server": 1},
        "env_vars": {}, "running": true, "networks": ["nebula", "bridge"], "volumes": [],
        "devices": [], "privileged": false, "rolling_restart": false,
    });
    for (key, value) in more.as_object().expect("an object") {
        app[key] = value.clone();
    }
    app
}

pub(crate) fn site(version: &str) -> String {
    format!("{}:{version}", variable("NEBULA_TEST_SITE"))
}
