//! A container as Docker's API takes it.
//!
//! What it is: from [`ContainerSpec`], which has been checked, to the body of a create, one line a
//! key. What it is not: it decides nothing but what differs from device to device: an older engine
//! is not told what it does not know, and a device with fewer processors than an app may use gives
//! all that it has.

use crate::model::{
    ContainerOptions, ContainerSpec, HealthCheck, LogConfig, Machine, PortMapping, RestartPolicy,
};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, NetworkingConfig, PortBinding, ResourcesUlimits,
    RestartPolicy as DockerRestartPolicy, RestartPolicyNameEnum,
};
use std::collections::HashMap;

/// The API since which a health check has an interval of its own for the time after the start.
/// Older engines refuse it or pass it over.
const START_INTERVAL_API: (usize, usize) = (1, 44);

/// The engine that the body is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    /// The version of its API.
    pub(super) api: (usize, usize),
    /// The device it runs on.
    pub(super) machine: Machine,
}

/// A container as this engine takes it.
pub(super) fn body(spec: &ContainerSpec, engine: Speaker) -> ContainerCreateBody {
    let options = &spec.options;
    let env = spec.env.iter().map(|variable| format!("{}={}", variable.name, variable.value));
    ContainerCreateBody {
        image: Some(spec.image_id.as_deref().unwrap_or(spec.image.as_str()).to_owned()),
        cmd: options.command.as_deref().map(|command| command.0.clone()),
        entrypoint: options.entrypoint.as_deref().map(|entrypoint| entrypoint.0.clone()),
        user: options.user.as_deref().map(|user| user.0.clone()),
        working_dir: options.working_dir.as_deref().map(|folder| folder.0.clone()),
        hostname: options.hostname.as_deref().map(|name| name.0.clone()),
        stop_signal: options.stop_signal.as_deref().map(|signal| signal.0.to_string()),
        stop_timeout: options
            .stop_grace_period
            .as_deref()
            .map(|grace| whole(grace.0.as_seconds_up())),
        healthcheck: options.healthcheck.as_deref().map(|check| health_check(check, engine.api)),
        env: Some(env.collect()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        exposed_ports: Some(exposed(&spec.ports)),
        networking_config: spec.alias.as_deref().map(|alias| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(spec.network.clone(), answering_to(alias))])),
        }),
        host_config: Some(HostConfig {
            binds: Some(spec.volumes.iter().map(|volume| volume.as_str().to_owned()).collect()),
            devices: Some(devices(spec)),
            network_mode: Some(spec.network.clone()),
            port_bindings: Some(port_bindings(&spec.ports)),
            privileged: Some(spec.privileged),
            restart_policy: restart_policy(spec.restart),
            ..host_config(options, engine.machine)
        }),
        ..Default::default()
    }
}

/// A place in a network where a container answers to a further name.
pub(super) fn answering_to(alias: &str) -> EndpointSettings {
    EndpointSettings { aliases: Some(vec![alias.to_owned()]), ..Default::default() }
}

/// What of the optional keys is the device's side of a container.
fn host_config(options: &ContainerOptions, machine: Machine) -> HostConfig {
    let pairs =
        |map: &std::collections::BTreeMap<String, String>| map.clone().into_iter().collect();
    let names = |set: &std::collections::BTreeSet<String>| set.iter().cloned().collect();
    HostConfig {
        memory: options.mem_limit.as_deref().map(|limit| whole(limit.0)),
        nano_cpus: options.cpus.as_deref().map(|cpus| nano_cpus(cpus.0, machine)),
        pids_limit: options.pids_limit.as_deref().map(|limit| limit.0),
        ulimits: options.ulimits.as_deref().map(|ulimits| {
            let one = |(name, limit): (&String, &crate::model::Ulimit)| ResourcesUlimits {
                name: Some(name.clone()),
                soft: Some(limit.soft),
                hard: Some(limit.hard),
            };
            ulimits.0.iter().map(one).collect()
        }),
        cap_add: options.cap_add.as_deref().map(|added| names(&added.0)),
        cap_drop: options.cap_drop.as_deref().map(|dropped| names(&dropped.0)),
        security_opt: options.security_opt.as_deref().map(|options| options.0.clone()),
        readonly_rootfs: options.read_only.as_deref().map(|switch| switch.0),
        tmpfs: options.tmpfs.as_deref().map(|mounts| pairs(&mounts.0)),
        init: options.init.as_deref().map(|switch| switch.0),
        sysctls: options.sysctls.as_deref().map(|sysctls| pairs(&sysctls.0)),
        extra_hosts: options.extra_hosts.as_deref().map(|hosts| hosts.0.clone()),
        dns: options
            .dns
            .as_deref()
            .map(|servers| servers.0.iter().map(ToString::to_string).collect()),
        log_config: Some(log_config(options.logging.as_deref().unwrap_or(&LogConfig::default()))),
        shm_size: options.shm_size.as_deref().map(|size| whole(size.0)),
        ..Default::default()
    }
}

/// The model's bounds lie far below.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Docker refuses more processors than the device has, and an app of a fleet may run on devices of
/// several sizes.
fn nano_cpus(nanos: u64, machine: Machine) -> i64 {
    whole(nanos.min(u64::from(machine.cores.max(1)) * 1_000_000_000))
}

fn health_check(check: &HealthCheck, api: (usize, usize)) -> HealthConfig {
    let nanos = |duration: &Option<crate::model::ComposeDuration>| {
        duration.as_ref().map(|duration| whole(duration.as_microseconds().saturating_mul(1_000)))
    };
    HealthConfig {
        test: check.test.clone(),
        interval: nanos(&check.interval),
        timeout: nanos(&check.timeout),
        retries: check.retries.map(i64::from),
        start_period: nanos(&check.start_period),
        start_interval: nanos(&check.start_interval).filter(|_| api >= START_INTERVAL_API),
    }
}

fn log_config(config: &LogConfig) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some(config.driver.clone()),
        config: Some(config.bounded_options().into_iter().collect()),
    }
}

/// None is Docker's own "no", which it also shows that way.
fn restart_policy(policy: RestartPolicy) -> Option<DockerRestartPolicy> {
    let (name, most) = match policy {
        RestartPolicy::No => return None,
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::OnFailure { most } => (RestartPolicyNameEnum::ON_FAILURE, most),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
    };
    Some(DockerRestartPolicy { name: Some(name), maximum_retry_count: most.map(i64::from) })
}

fn devices(spec: &ContainerSpec) -> Vec<DeviceMapping> {
    let one = |device: &crate::model::MappedDevice| DeviceMapping {
        path_on_host: Some(device.on_host.clone()),
        path_in_container: Some(device.in_container.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    };
    spec.devices.iter().map(one).collect()
}

/// A port of the container, with what it speaks.
fn inside(port: &PortMapping) -> String {
    format!("{}/{}", port.container, port.protocol.as_str())
}

fn exposed(ports: &[PortMapping]) -> Vec<String> {
    let mut exposed: Vec<String> = ports.iter().map(inside).collect();
    exposed.sort();
    exposed.dedup();
    exposed
}

fn port_bindings(ports: &[PortMapping]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut all: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let binding = PortBinding {
            host_port: Some(port.host.to_string()),
            host_ip: port.address.map(|address| address.to_string()),
        };
        all.entry(inside(port)).or_default().get_or_insert_default().push(binding);
    }
    all
}
