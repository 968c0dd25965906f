//! The optional keys of a container: names, values and meaning are the Compose specification's.
//!
//! What it is: one type a key, checked against what Docker takes and what a device can run, and
//! [`ContainerOptions`], which holds those that are set. One line of the list below makes a key
//! known to bodies, replies, hashes and updates.
//! What it is not: it knows no Docker; `engine/body.rs` hands the values on.
//!
//! Invariants: a key that is not set is in no reply and in no hash, so that an object without any is
//! printed and hashed as before there were any; a reply shows a value as it was given, while a hash
//! sees what it means (`512m` and `0.5g` are one).

mod bytes;
mod capability;
mod command;
mod dns;
mod given;
mod health_check;
mod identity;
mod limits;
mod logging;
mod mounts;
mod pairs;
mod restart;
mod security;
mod stop;
mod ulimit;

pub use bytes::{MAX_BYTES, MIN_MEMORY_BYTES, MemoryLimit, ShmSize};
pub use capability::{CAPABILITIES, Capabilities};
pub use command::{Command, Entrypoint, MAX_ARGUMENTS, MAX_COMMAND_BYTES};
pub use dns::{Dns, ExtraHosts, MAX_DNS_SERVERS, MAX_EXTRA_HOSTS};
pub use given::Given;
pub use health_check::{HealthCheck, MAX_CHECK_SECONDS, MAX_RETRIES};
pub use identity::{
    Hostname, MAX_HOSTNAME_LENGTH, MAX_PATH_BYTES, MAX_USER_LENGTH, User, WorkingDir,
};
pub use limits::{Cpus, MAX_CPUS, MAX_PIDS, MIN_CPUS, PidsLimit, Switch};
pub use logging::{LogConfig, MAX_LOG_OPTIONS};
pub use mounts::{MAX_TMPFS, Tmpfs};
pub use pairs::{MAX_LABELS, MAX_SYSCTLS, OwnLabels, Sysctls};
pub use restart::{MAX_RESTARTS, RestartPolicy};
pub use security::{MAX_SECURITY_OPTIONS, SecurityOptions};
pub use stop::{GracePeriod, MAX_GRACE_SECONDS, StopSignal};
pub use ulimit::{MAX_LIMIT, ULIMITS, Ulimit, Ulimits};

use super::fields::{Fields, Optional, Unknown};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

/// The value of a key. What it serializes to is what it means, and goes into a spec's hash: it
/// must stay the same across releases.
pub trait OptionValue: Serialize + Sized {
    /// Reads a value; the error is the reason for whoever sent it.
    fn decode(value: Value, unknown: Unknown) -> Result<Self, String>;
}

macro_rules! options {
    ($($(#[$doc:meta])* $key:ident: $kind:ty,)+) => {
        /// The keys, in the order of replies.
        pub const OPTION_KEYS: &[&str] = &[$(stringify!($key)),+];

        /// Those of the optional keys that are set.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct ContainerOptions {
            $($(#[$doc])* pub $key: Option<Given<$kind>>,)+
        }

        /// The same as a request's body holds them.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(super) struct OptionFields {
            $(pub(super) $key: Optional<Given<$kind>>,)+
        }

        impl OptionFields {
            /// Takes what is there out of a body.
            pub(super) fn take(fields: &mut Fields, unknown: Unknown) -> Self {
                Self {
                    $($key: Optional::take(fields, stringify!($key), |value| {
                        Given::decode(value, unknown)
                    }),)+
                }
            }
        }

        impl ContainerOptions {
            /// These options with the given ones changed.
            pub(super) fn with(self, fields: OptionFields) -> Self {
                Self { $($key: fields.$key.after(self.$key),)+ }
            }

            /// Adds to what is hashed what the set ones mean.
            pub(super) fn add_shape(&self, shape: &mut Map<String, Value>) {
                $(if let Some(given) = &self.$key {
                    shape.insert(stringify!($key).to_owned(), given.meaning());
                })+
            }

            /// The entries of the wire form.
            pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
                $(if let Some(given) = &self.$key {
                    map.serialize_entry(stringify!($key), given.wire())?;
                })+
                Ok(())
            }
        }
    };
}

options! {
    /// What it runs, in place of the image's command.
    command: Command,
    /// What the command is handed to, in place of the image's entrypoint.
    entrypoint: Entrypoint,
    /// The user that it runs as, in place of the image's.
    user: User,
    /// The folder that it starts in, in place of the image's.
    working_dir: WorkingDir,
    /// Labels beside those by which it is found again.
    labels: OwnLabels,
    /// The name that it has for itself, in place of its id.
    hostname: Hostname,
    /// The most memory that it may use.
    mem_limit: MemoryLimit,
    /// The most processors' time that it may use.
    cpus: Cpus,
    /// The most processes and threads that it may have.
    pids_limit: PidsLimit,
    /// The kernel's limits on each of its processes.
    ulimits: Ulimits,
    /// Capabilities that it has beside Docker's default ones.
    cap_add: Capabilities,
    /// Capabilities of Docker's default ones that it has not.
    cap_drop: Capabilities,
    /// How the kernel guards it.
    security_opt: SecurityOptions,
    /// Whether its own file system cannot be written to.
    read_only: Switch,
    /// File systems in memory.
    tmpfs: Tmpfs,
    /// Whether a small init runs as its first process, which reaps the others.
    init: Switch,
    /// The kernel's settings of its own namespaces.
    sysctls: Sysctls,
    /// Names with addresses, for its `/etc/hosts`.
    extra_hosts: ExtraHosts,
    /// Name servers in place of the device's.
    dns: Dns,
    /// How it is found out whether it is well, over what the image says.
    healthcheck: HealthCheck,
    /// Where its output goes.
    logging: LogConfig,
    /// The signal that asks it to end, in place of the image's.
    stop_signal: StopSignal,
    /// How long it has for that, before it is killed.
    stop_grace_period: GracePeriod,
    /// The size of its `/dev/shm`.
    shm_size: ShmSize,
    /// When Docker starts it again.
    restart: RestartPolicy,
}
