//! The `starting_ports` of an app, with a number of replicas.
//!
//! What is accepted can be bound: each replica has each of its ports within range and to itself.

use super::shared::{printed, refused};
use nebula::model::{App, AppFields, AppSpec, HostPort, Identity, Name, StartingPorts, Unknown};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Two bytes of replicas, then the JSON of the ports.
pub fn check(bytes: &[u8]) {
    let Some(([high, low], text)) = bytes.split_first_chunk() else { return };
    let Ok(ports) = serde_json::from_slice::<Value>(text) else { return };
    let replicas = u16::from_be_bytes([*high, *low]) % 1_001;
    let body = json!({
        "docker_image": "a", "containers_per": {"server": replicas}, "starting_ports": ports
    });
    let Some(spec) = decoded(body.as_object().cloned().unwrap_or_default()) else { return };
    let app_name = Name::new("a").expect("a name");
    let app = App { identity: Identity::default(), app_id: 1, app_name, spec };
    let ports: &StartingPorts = &app.spec.starting_ports;
    assert!(ports.check(u32::from(replicas)).is_ok(), "accepted, and refused when asked again");
    let mut taken: BTreeMap<_, Vec<HostPort>> = BTreeMap::new();
    for replica in 1..=replicas {
        let bound = app.host_ports(u32::from(replica));
        assert_eq!(bound.len(), ports.mappings().len());
        for (port, mapping) in bound.iter().zip(ports.mappings()) {
            assert!(mapping.host > 0 && mapping.container > 0, "port 0");
            let number = mapping.host.checked_add(replica - 1);
            assert_eq!(number, Some(port.port), "replica {replica}");
            assert_eq!(HostPort { port: mapping.host, ..*port }, mapping.host_port());
            let same = taken.entry((port.port, port.protocol)).or_default();
            let shared = same.iter().any(|other| port.collides(other));
            assert!(!shared, "replica {replica} shares port {port}");
            same.push(*port);
        }
    }
    assert_eq!(decoded(printed(&app.spec)).as_ref(), Some(&app.spec));
}

fn decoded(body: Map<String, Value>) -> Option<AppSpec> {
    let spec = AppFields::decode(body, None, Unknown::Refuse).and_then(AppFields::into_spec);
    spec.map_err(|invalid| refused(&invalid)).ok()
}
