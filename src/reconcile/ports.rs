//! Which container holds which port of the device, including those that this plan will start.

use super::Inputs;
use super::hold::Reason;
use super::replica::Slot;
use crate::model::{
    App, ContainerState, DesiredApp, HostPort, MAX_REPLICAS, Observed, ObservedContainer, Protocol,
};
use std::collections::BTreeMap;

/// The ports of a device with their holders. Two containers can hold one number, on different
/// addresses or with different protocols.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<(u16, Protocol), Vec<(HostPort, Holder)>>);

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// The app.
    pub(super) app: String,
    /// Which replica of it.
    pub(super) replica: Option<u32>,
    /// The container's name.
    pub(super) name: String,
}

impl Holder {
    fn replica_of(app: &App, replica: u32) -> Self {
        Self {
            app: app.app_name.as_str().to_owned(),
            replica: Some(replica),
            name: app.container_name(replica),
        }
    }
}

impl Ports {
    /// The ports that are bound now, and those that replicas lost for a moment: one that is being
    /// replaced or is between two tries has a container and none that runs, one that a plan under
    /// way is making has none yet. Without this an app that waits for a port would take it from
    /// its holder in the middle of the holder's update.
    pub(super) fn held(inputs: &Inputs<'_>) -> Self {
        let mut ports = Self::bound(inputs.observed);
        let readable = || {
            inputs.desired.apps.iter().filter_map(|desired| match desired {
                DesiredApp::Readable(app) if app.spec.running => Some(app),
                _ => None,
            })
        };
        for app in readable() {
            ports.reserve(app, inputs.observed, |own| {
                !own.is_empty() && own.iter().all(|c| c.state != ContainerState::Running)
            });
        }
        for app in readable().filter(|app| inputs.busy.apps.contains(app.app_name.as_str())) {
            ports.reserve(app, inputs.observed, |own| own.is_empty());
        }
        ports
    }

    fn bound(observed: &Observed) -> Self {
        let mut ports = Self::default();
        for container in &observed.containers {
            for port in &container.host_ports {
                let holder = Holder {
                    app: container.app.clone(),
                    replica: container.replica,
                    name: container.name.clone(),
                };
                ports.insert(*port, holder);
            }
        }
        ports
    }

    fn insert(&mut self, port: HostPort, holder: Holder) {
        let held = self.0.entry((port.port, port.protocol)).or_default();
        held.retain(|(known, _)| *known != port);
        held.push((port, holder));
    }

    /// Who holds a port that this one collides with.
    fn holders(&self, port: HostPort) -> impl Iterator<Item = &Holder> {
        let held = self.0.get(&(port.port, port.protocol));
        let meets = move |(known, _): &&(HostPort, Holder)| known.collides(&port);
        held.into_iter().flatten().filter(meets).map(|(_, holder)| holder)
    }

    /// Keeps the ports of those replicas whose containers are as asked, where nobody has them.
    fn reserve(
        &mut self,
        app: &App,
        observed: &Observed,
        is_kept: impl Fn(&[&ObservedContainer]) -> bool,
    ) {
        let name = app.app_name.as_str();
        let counted = app.spec.containers_per.replicas(observed.machine);
        let replicas = u32::try_from(counted).unwrap_or(MAX_REPLICAS).min(MAX_REPLICAS);
        let of_app: Vec<&ObservedContainer> =
            observed.containers.iter().filter(|c| c.app == name).collect();
        for replica in 1..=replicas {
            let own: Vec<&ObservedContainer> =
                of_app.iter().copied().filter(|c| c.replica == Some(replica)).collect();
            if !is_kept(&own) {
                continue;
            }
            for port in app.host_ports(replica) {
                if self.holders(port).next().is_none() {
                    self.insert(port, Holder::replica_of(app, replica));
                }
            }
        }
    }

    /// Takes the ports of a replica, unless another container holds one of them. Replicas of the
    /// same app that give way in this plan do not count.
    pub(super) fn take(&mut self, slot: &Slot<'_>) -> Result<(), Reason> {
        let name = slot.app.app_name.as_str();
        let blocker = self
            .blockers(slot)
            .into_iter()
            .find(|(_, holder)| holder.app != name || slot.is_one_by_one)
            .map(|(port, holder)| Reason::PortHeld { port, holder: holder.name.clone() });
        if let Some(reason) = blocker {
            return Err(reason);
        }
        let holder = Holder::replica_of(slot.app, slot.replica);
        for port in slot.app.host_ports(slot.replica) {
            self.insert(port, holder.clone());
        }
        Ok(())
    }

    /// The ports a replica needs that a container other than its own holds, with that container.
    pub(super) fn blockers(&self, slot: &Slot<'_>) -> Vec<(HostPort, &Holder)> {
        let app = slot.app.app_name.as_str();
        let is_other = |holder: &Holder| holder.app != app || holder.replica != Some(slot.replica);
        let needed = slot.app.host_ports(slot.replica).into_iter();
        needed
            .filter_map(|port| Some((port, self.holders(port).find(|holder| is_other(holder))?)))
            .collect()
    }
}
