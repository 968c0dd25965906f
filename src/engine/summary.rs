//! From Docker's list of containers to observed ones.

use crate::model::{ContainerState, Health, Labels, ObservedContainer};
use bollard::models::{
    ContainerSummary, ContainerSummaryHealthStatusEnum, ContainerSummaryStateEnum,
};

/// An app's container, or none when it is not one of ours.
pub(super) fn observed(summary: ContainerSummary) -> Option<ObservedContainer> {
    let labels = summary.labels.unwrap_or_default();
    // A container can have several names, by links; its own has one slash only.
    let names = summary.names.unwrap_or_default();
    let name = names
        .iter()
        .filter_map(|name| name.strip_prefix('/'))
        .find(|name| !name.contains('/'))
        .unwrap_or_default()
        .to_owned();
    let (app, replica, version) = Labels::read(&labels, &name)?;
    let status = summary.status.unwrap_or_default();
    let reported = summary.health.and_then(|health| health.status);
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let ports = summary.ports.unwrap_or_default();
    Some(ObservedContainer {
        id: summary.id?,
        name,
        app,
        replica,
        version,
        state: summary.state.map_or(ContainerState::Unknown, state),
        health: reported.map_or_else(|| health_in(&status), health),
        networks: networks.unwrap_or_default().into_keys().collect(),
        host_ports: ports.iter().filter_map(|port| port.public_port).collect(),
    })
}

fn state(state: ContainerSummaryStateEnum) -> ContainerState {
    match state {
        ContainerSummaryStateEnum::CREATED => ContainerState::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => {
            ContainerState::Running
        }
        ContainerSummaryStateEnum::PAUSED => ContainerState::Paused,
        ContainerSummaryStateEnum::RESTARTING => ContainerState::Restarting,
        ContainerSummaryStateEnum::EXITED => ContainerState::Exited,
        ContainerSummaryStateEnum::REMOVING => ContainerState::Removing,
        ContainerSummaryStateEnum::DEAD => ContainerState::Dead,
        ContainerSummaryStateEnum::EMPTY => ContainerState::Unknown,
    }
}

fn health(status: ContainerSummaryHealthStatusEnum) -> Health {
    match status {
        ContainerSummaryHealthStatusEnum::STARTING => Health::Starting,
        ContainerSummaryHealthStatusEnum::HEALTHY => Health::Healthy,
        ContainerSummaryHealthStatusEnum::UNHEALTHY => Health::Unhealthy,
        _ => Health::None,
    }
}

/// Engines before API 1.52 tell the health only in the words meant for people: `Up 2 minutes
/// (healthy)`.
fn health_in(status: &str) -> Health {
    if status.ends_with("(healthy)") {
        Health::Healthy
    } else if status.ends_with("(unhealthy)") {
        Health::Unhealthy
    } else if status.ends_with("(health: starting)") {
        Health::Starting
    } else {
        Health::None
    }
}
