//! From Docker's list of containers to observed ones.

use crate::model::{
    ContainerState, Health, HostPort, Labels, ObservedContainer, ObservedImage, ObservedRun,
    Protocol, RunLabels, RunResult, WorkerContainer,
};
use bollard::models::{
    ContainerState as InspectedState, ContainerSummary, ContainerSummaryHealthStatusEnum,
    ContainerSummaryStateEnum, ImageSummary, PortSummary,
};
use std::net::IpAddr;

/// A container of ours.
pub(super) enum Ours {
    /// An app's.
    Replica(ObservedContainer),
    /// A cron job's; what came of it is not in Docker's list.
    Run(ObservedRun),
}

/// A container of ours, or none when it is not.
pub(super) fn observed(summary: ContainerSummary) -> Option<Ours> {
    let name = name(&summary);
    let labels = summary.labels.unwrap_or_default();
    let state = summary.state.map_or(ContainerState::Unknown, state);
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let networks = networks.unwrap_or_default().into_keys().collect();
    if let Some(RunLabels { cron_job, due }) = RunLabels::read(&labels, &name) {
        let (id, result) = (summary.id?, None);
        return Some(Ours::Run(ObservedRun { id, name, cron_job, due, state, result, networks }));
    }
    let (app, replica, version) = Labels::read(&labels, &name)?;
    let status = summary.status.unwrap_or_default();
    let reported = summary.health.and_then(|health| health.status);
    let ports = summary.ports.unwrap_or_default();
    let (exit_code, up_seconds) = (exit_code_in(&status), up_seconds_in(&status));
    Some(Ours::Replica(ObservedContainer {
        id: summary.id?,
        name,
        app,
        replica,
        version,
        image_id: summary.image_id.unwrap_or_default(),
        state,
        health: reported.map_or_else(|| health_in(&status), health),
        networks,
        host_ports: ports.iter().filter_map(host_port).collect(),
        exit_code,
        up_seconds,
        verdict_ms: None,
        restarts: 0,
    }))
}

/// The worker's own container.
pub(super) fn worker(summary: ContainerSummary) -> Option<WorkerContainer> {
    Some(WorkerContainer { name: name(&summary), id: summary.id? })
}

/// A container can have several names, by links; its own has one slash only.
fn name(summary: &ContainerSummary) -> String {
    let names = summary.names.iter().flatten().filter_map(|name| name.strip_prefix('/'));
    names.into_iter().find(|name| !name.contains('/')).unwrap_or_default().to_owned()
}

/// A port of the device that is bound. All addresses are told as one that no device has.
fn host_port(port: &PortSummary) -> Option<HostPort> {
    let word = port.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let address: Option<IpAddr> = port.ip.as_deref().and_then(|ip| ip.parse().ok());
    Some(HostPort {
        port: port.public_port?,
        protocol: Protocol::parse(&word).unwrap_or_default(),
        address: address.filter(|address| !address.is_unspecified()),
    })
}

/// The list tells it only in the words meant for people: `Exited (137) 3 minutes ago`.
fn exit_code_in(status: &str) -> Option<i64> {
    let (word, rest) = status.split_once(" (")?;
    let (code, _) = rest.split_once(')')?;
    matches!(word, "Exited" | "Restarting").then(|| code.parse().ok())?
}

/// An image. Engines list one without a name as `<none>`, with signs for what is missing.
pub(super) fn image(summary: ImageSummary) -> ObservedImage {
    let names = summary.repo_tags.into_iter().chain(summary.repo_digests);
    ObservedImage {
        id: summary.id,
        names: names.filter(|name| !name.starts_with("<none>")).collect(),
        size_bytes: u64::try_from(summary.size).unwrap_or_default(),
    }
}

/// How long a health check can take to decide, in ms: the time to get ready and then each try.
/// What is not set has Docker's defaults.
pub(super) fn verdict_ms(check: &bollard::models::HealthConfig) -> u64 {
    let nanoseconds = |set: Option<i64>, default_seconds: u64| {
        let set = set.and_then(|ns| u64::try_from(ns).ok()).filter(|ns| *ns > 0);
        set.map_or(default_seconds * 1_000, |ns| ns / 1_000_000)
    };
    let tries = check.retries.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(3);
    let each = nanoseconds(check.interval, 30).saturating_add(nanoseconds(check.timeout, 30));
    nanoseconds(check.start_period, 0).saturating_add(each.saturating_mul(tries))
}

/// What came of a run that ended.
pub(super) fn result(state: &InspectedState) -> RunResult {
    let at = |time: &Option<String>| {
        let time = bson::DateTime::parse_rfc3339_str(time.as_deref()?).ok()?;
        Some(time.timestamp_millis())
    };
    let took = at(&state.finished_at).zip(at(&state.started_at)).map(|(end, start)| end - start);
    RunResult {
        exit_code: state.exit_code.unwrap_or(-1),
        duration_ms: took.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default(),
    }
}

/// Its first minute is told in seconds: `Up 3 seconds (healthy)`, `Up Less than a second`.
fn up_seconds_in(status: &str) -> Option<u64> {
    let up = status.strip_prefix("Up ")?;
    if up.starts_with("Less than a second") {
        return Some(0);
    }
    let (number, unit) = up.split_once(' ')?;
    unit.starts_with("second").then(|| number.parse().ok())?
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
