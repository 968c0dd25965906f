//! The nouns that every mode shares, and their wire form.
//!
//! What it is: apps, cron jobs, device groups, users and what they may, images, ports, names, versions, the desired state that a
//! manager hands out and the observed state that an engine reports. A value of these types has
//! been checked; whoever holds one need not check again.
//! What it is not: it knows no network, disk, clock, environment or random number, and it builds
//! without any crate that does (`--no-default-features`).
//!
//! Invariants: decoding never panics on any JSON; what a type accepts, it prints back as it was
//! given; unknown keys are refused at the edge ([`Unknown::Refuse`]) and passed over in what a
//! newer manager sends ([`Unknown::Ignore`]).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod app;
mod container;
mod container_options;
mod container_settings;
mod containers_per;
mod cron_job;
mod decimal;
mod desired;
mod device_credential;
mod device_group;
mod disk;
mod duration;
mod env;
mod fields;
mod history;
mod identity;
mod image;
mod json;
mod mount;
mod name;
mod observed;
mod port;
mod presented;
mod report;
mod schedule;
mod secret;
mod time_zone;
mod token;
mod update_config;
mod user;
mod user_group;
mod version;

pub use app::{App, AppFields, AppSpec};
pub use container::{ContainerSpec, Labels, MANAGED_LABEL, MANAGED_VALUE, RunLabels, Variable};
pub use container_options::{
    CAPABILITIES, Capabilities, Command, ContainerOptions, Cpus, Dns, Entrypoint, ExtraHosts,
    Given, GracePeriod, HealthCheck, Hostname, LogConfig, MAX_ARGUMENTS, MAX_BYTES,
    MAX_CHECK_SECONDS, MAX_COMMAND_BYTES, MAX_CPUS, MAX_DNS_SERVERS, MAX_EXTRA_HOSTS,
    MAX_GRACE_SECONDS, MAX_HOSTNAME_LENGTH, MAX_LABELS, MAX_LIMIT, MAX_LOG_OPTIONS, MAX_PATH_BYTES,
    MAX_PIDS, MAX_RESTARTS, MAX_RETRIES, MAX_SECURITY_OPTIONS, MAX_SYSCTLS, MAX_TMPFS,
    MAX_USER_LENGTH, MIN_CPUS, MIN_MEMORY_BYTES, MemoryLimit, OPTION_KEYS, OwnLabels, PidsLimit,
    RestartPolicy, SecurityOptions, ShmSize, StopSignal, Switch, Sysctls, Tmpfs, ULIMITS, Ulimit,
    Ulimits, User as ContainerUser, WorkingDir,
};
pub use container_settings::{ContainerSettings, MAX_LIST_ITEMS};
pub use containers_per::{ContainersPer, MAX_REPLICAS, Machine};
pub use cron_job::{CronJob, CronJobFields, CronJobSpec, JobVersion, MissedRuns, Overlap};
pub use desired::{Desired, DesiredApp, DesiredCronJob, DesiredError, Told};
pub use device_credential::{
    Admitted, CertifiedDevice, DEVICE_TOKENS, DeviceCredential, DeviceName, Enrollment,
    EnrollmentFields, EnrollmentId, MAX_ENROLLED, MAX_HOSTNAME_BYTES, NewDevice, TokenDigest,
    new_device_token, new_enrollment_token, token_enrollment, token_hostname,
};
pub use device_group::{DeviceGroup, DeviceGroupFields};
pub use disk::Disk;
pub use duration::ComposeDuration;
pub use env::EnvVars;
pub use fields::{Fields, Invalid, Unknown};
pub use history::{AppEntry, AppHistory, Author, ChangedField, MAX_VERSIONS, changed_fields};
pub use identity::Identity;
pub use image::{DEFAULT_REGISTRY, ImageError, ImageReference};
pub use json::{json_object_outside, json_value, strict_object};
pub use mount::{MappedDevice, Volume};
pub use name::{MAX_NAME_LENGTH, Name, NameError, NetworkName};
pub use observed::{
    ContainerState, Health, Observed, ObservedContainer, ObservedImage, ObservedRun, RunResult,
    WorkerContainer,
};
pub use port::{HostPort, PortMapping, Protocol, StartingPorts};
pub use presented::Presented;
pub use report::{
    AppReport, Comparison, CronJobReport, Declared, Device, DeviceLine, DeviceQuery, DeviceState,
    LONGEST_STEP_BACK, MAX_LINES, MAX_PAGE_SIZE, Report, ReportError, ReportQuery, Rollout,
    RunReport, Standing,
};
pub use schedule::{Schedule, ScheduleError, Set};
pub use secret::Secret;
pub use time_zone::TimeZone;
pub use token::{new_token, token_id};
pub use update_config::{FailureAction, UpdateConfig, UpdateOrder};
pub use user::{AccountName, MAX_SECRET_BYTES, SecretHash, User, UserFields};
pub use user_group::{Access, Granted, Grants, Rights, UserGroup, UserGroupFields, UserGroupSpec};
pub use version::{AppVersion, Revision, SpecHash, Uid};

/// The network that every container joins, unless it asks for the device's own or for none.
pub const NEBULA_NETWORK: &str = "nebula";
