//! What is declared in a soak: some apps that change at random, and one that never does.

use crate::declared::{app, site};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The apps that come, change and go.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// The app that is never touched.
const STEADY: &str = "steady";
const MOST_REPLICAS: u64 = 4;

/// One app as it is declared.
#[derive(Debug, Clone)]
struct Declared {
    value: Value,
    /// The containers it must have, with their image; none when it is broken, and anything may be.
    containers: Option<BTreeMap<String, String>>,
}

/// All that is declared.
#[derive(Debug)]
pub(crate) struct Group {
    apps: BTreeMap<&'static str, Declared>,
    /// Every change is a new version.
    id: u64,
}

impl Group {
    pub(crate) fn new() -> Self {
        let image = site("nocheck");
        let steady = json!({"docker_image": image, "containers_per": {"server": 2}});
        let containers = (1..=2).map(|replica| (format!("{STEADY}-{replica}"), image.clone()));
        let steady =
            Declared { value: app(STEADY, 1, &steady), containers: Some(containers.collect()) };
        Self { apps: BTreeMap::from([(STEADY, steady)]), id: 1 }
    }

    pub(crate) fn values(&self) -> Vec<Value> {
        self.apps.values().map(|declared| declared.value.clone()).collect()
    }

    /// Changes one app, or adds it, or takes it away. Gives its name.
    pub(crate) fn change(&mut self, random: &mut StdRng) -> &'static str {
        let name = NAMES[random.random_range(0..NAMES.len())];
        self.id += 1;
        match random.random_range(0..10) {
            0 => {
                self.apps.remove(name);
            }
            1..=2 => {
                let value = app(name, self.id, &broken(random));
                self.apps.insert(name, Declared { value, containers: None });
            }
            _ => {
                let sound = sound(name, self.id, random);
                self.apps.insert(name, sound);
            }
        }
        name
    }

    /// Declares the same app once more, which is a restart.
    pub(crate) fn again(&mut self, name: &str) {
        self.id += 1;
        if let Some(declared) = self.apps.get_mut(name) {
            declared.value["app_id"] = self.id.into();
            declared.value["revision"] = self.id.into();
        }
    }

    /// By app that is sound or absent: the containers it must have.
    pub(crate) fn expected(&self) -> BTreeMap<&'static str, BTreeMap<String, String>> {
        let all = NAMES.into_iter().chain([STEADY]);
        all.filter_map(|name| match self.apps.get(name) {
            None => Some((name, BTreeMap::new())),
            Some(declared) => Some((name, declared.containers.clone()?)),
        })
        .collect()
    }
}

fn sound(name: &'static str, id: u64, random: &mut StdRng) -> Declared {
    let image = site(["1", "2", "3", "nocheck"][random.random_range(0..4)]);
    let replicas = random.random_range(0..=MOST_REPLICAS);
    let place = NAMES.iter().position(|known| *known == name).unwrap_or_default();
    // Own ports for each app, and two ranges of them that overlap.
    let first = 9100 + 100 * place + random.random_range(0..2_usize);
    let ports =
        if random.random_bool(0.5) { json!([{first.to_string(): "80"}]) } else { json!([]) };
    let more = json!({
        "docker_image": image, "starting_ports": ports,
        "containers_per": {"server": replicas}, "rolling_restart": random.random_bool(0.5),
        "env_vars": {"GREETING": random.random_range(0..3).to_string()},
    });
    let containers = (1..=replicas).map(|replica| (format!("{name}-{replica}"), image.clone()));
    Declared { value: app(name, id, &more), containers: Some(containers.collect()) }
}

fn broken(random: &mut StdRng) -> Value {
    match random.random_range(0..7) {
        0 => json!({"docker_image": site("unhealthy"), "containers_per": {"server": 2}}),
        1 => json!({"docker_image": site("nowhere")}),
        2 => json!({"docker_image": site("nocommand")}),
        3 => json!({"networks": ["moon"]}),
        4 => json!({"volumes": ["/dev/null/below:/data"]}),
        5 => json!({"devices": ["/dev/moon:/dev/moon:rwm"]}),
        _ => json!({"env_vars": {"EXIT_AFTER_MS": "200", "EXIT_CODE": "3"}}),
    }
}
