//! How many files this process may have open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are no connections of clients: the store's, the log, those of what is starting.
const RESERVED: u64 = 200;
/// Where the kernel knows no limit.
const UNLIMITED: u64 = 1 << 20;

/// Raises the limit as far as this process may, and says how many connections fit under it.
/// Systems start programs with a low limit that each may raise.
pub(super) fn connections_that_fit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::debug!(%error, "limit of open files could not be raised");
            current
        }
    };
    let files = current.unwrap_or(UNLIMITED);
    usize::try_from(files.saturating_sub(RESERVED).max(1)).unwrap_or(usize::MAX)
}
