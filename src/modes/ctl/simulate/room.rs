//! Whether this machine has room for so many connections, before any is made.

use super::super::failure::Failure;
use super::super::output;
use super::managers::Manager;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside the devices' connections.
const OTHER_FILES: u64 = 64;
/// Ports that others on this machine may need, and ours that still close.
const OTHER_PORTS: usize = 1_000;
/// What Linux gives out when nothing is configured.
const USUAL_PORTS: usize = 28_232;

/// Raises the limit of open files, and refuses what cannot fit.
pub(super) fn make(devices: usize, managers: &[Manager]) -> Result<(), Failure> {
    let most_files = raise_files()?;
    let fit = usize::try_from(most_files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if devices > fit {
        return Err(Failure::new(format!(
            "{devices} devices need as many open files, and this process may have {most_files}"
        ))
        .hint(format!("{fit} devices fit; `ulimit -n` shows the limit, root may raise it")));
    }
    let ports = ports_per_source();
    let fit = ports.saturating_mul(managers.iter().map(Manager::addresses).sum());
    if managers.iter().any(|manager| !manager.is_on_loopback()) && devices > fit {
        return Err(Failure::new(format!(
            "{devices} devices need as many ports, and this machine has {fit} for these managers"
        ))
        .hint(format!(
            "{fit} devices fit; for more widen net.ipv4.ip_local_port_range, give further \
             managers with --manager, or run with another --name on a second machine"
        )));
    }
    if managers.iter().all(Manager::is_on_loopback) && devices > ports {
        let sources = devices.div_ceil(ports);
        output::say(&format!(
            "an address has {ports} ports to connect from: the devices use {sources} of 127.0.0.0/8"
        ));
    }
    Ok(())
}

/// How many connections one address of this machine can have to one of a manager.
pub(super) fn ports_per_source() -> usize {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.ok().and_then(|text| {
        let mut ends = text.split_ascii_whitespace().map(|end| end.parse::<usize>().ok());
        let (first, last) = (ends.next()??, ends.next()??);
        Some(last.saturating_sub(first) + 1)
    });
    range.unwrap_or(USUAL_PORTS).saturating_sub(OTHER_PORTS).max(1)
}

/// Raises the soft limit to the hard one, which everybody may.
fn raise_files() -> Result<u64, Failure> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.unwrap_or(u64::MAX) < most {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| Failure::new("cannot raise the limit of open files").because(error))?;
    }
    Ok(most)
}
