//! The answer of a manager that says what a device runs.
//!
//! Whatever is read as a desired state can be planned: on a pretended device with nothing on it, a
//! few passes are planned, found sound and carried out. What is read twice is planned the same.

use nebula::model::{Desired, Machine};
use nebula::reconcile::pretend::World;
use nebula::reconcile::{Action, Busy, Inputs, Memory, Plan, Policy, check as mistakes, plan};

/// Enough to fetch an image, create, connect and start, and then to find nothing to do.
const PASSES: u64 = 4;
/// More containers than this make a pass slow and show nothing new.
const MOST_REPLICAS: u64 = 20;
const MACHINE: Machine = Machine { cores: 2, memory_mb: 1_024 };

/// The bytes of an answer.
pub fn check(bytes: &[u8]) {
    let desired = match Desired::decode(bytes) {
        Ok(desired) => desired,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = Desired::decode(bytes).expect("it was read before");
    assert_eq!(again, desired, "the same bytes are read in two ways");
    let readable = desired.apps.iter().filter_map(|app| match app {
        nebula::model::DesiredApp::Readable(app) => Some(app),
        nebula::model::DesiredApp::Unreadable { .. } => None,
    });
    let replicas = readable.map(|app| app.spec.containers_per.replicas(MACHINE));
    let passes = if replicas.sum::<u64>() > MOST_REPLICAS { 1 } else { PASSES };
    let (mut world, mut memory) = (World::new(), Memory::default());
    for pass in 0..passes {
        let now_ms = 1_700_000_000_000 + pass * 1_000_000;
        let made = planned(&desired, &world, &mut memory.clone(), now_ms);
        assert_eq!(made, planned(&again, &world, &mut memory, now_ms), "two plans of one state");
        for action in &made.actions {
            carry_out(action, &mut world, &mut memory);
        }
    }
}

fn planned(desired: &Desired, world: &World, memory: &mut Memory, now_ms: u64) -> Plan {
    let (busy, policy) = (Busy::default(), Policy::default());
    let observed = world.observe(MACHINE);
    let inputs = Inputs { desired, observed: &observed, busy: &busy, policy: &policy, now_ms };
    let made = plan(&inputs, memory);
    let wrong = mistakes(&inputs, &made);
    assert!(wrong.is_empty(), "{wrong:?} in\n{made}");
    made
}

/// What cannot be done is left to the next pass, as on a device.
fn carry_out(action: &Action, world: &mut World, memory: &mut Memory) {
    if let Action::Pull { image, .. } = action {
        world.registry.insert(image.familiar());
    }
    let _ = world.apply(action);
    if let Action::Pull { app, version, image } = action
        && let Some(id) = world.images.get(&image.familiar())
    {
        memory.pulled(app, version, image, id);
    }
}
