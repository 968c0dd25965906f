//! What one binary can be. Each mode has the same face: a checked `Config`, and
//! `run(config, dependencies, shutdown)`. Modes never import each other.

#[cfg(feature = "daemon")]
pub mod ctl;
#[cfg(feature = "daemon")]
pub mod manager;
#[cfg(feature = "daemon")]
pub mod reporter;
#[cfg(feature = "daemon")]
pub mod worker;

/// Without the daemon a manager is no more than the check of its configuration.
#[cfg(not(feature = "daemon"))]
pub mod manager {
    pub mod config;
}
/// The same of a reporter.
#[cfg(not(feature = "daemon"))]
pub mod reporter {
    pub mod config;
}
/// The same of a worker.
#[cfg(not(feature = "daemon"))]
pub mod worker {
    pub mod config;
}
