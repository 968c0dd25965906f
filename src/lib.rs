//! Nebula runs Docker apps on fleets. The modules in reading order:
//!
//! [`model`] the nouns; [`reconcile`] the pure planner; then what touches the world: `clock`, `config`,
//! `engine`, `store`, `client`, `bus`, `monitoring`; `modes`, what the binary can be; `run_as`, who the process is; `cli`, its
//! command line; and `health`, which asks another process of the same binary.

pub mod model;
pub mod reconcile;

#[cfg(feature = "daemon")]
pub mod bus;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod engine;
#[cfg(feature = "daemon")]
pub mod health;
#[cfg(feature = "config")]
pub mod modes;
#[cfg(feature = "daemon")]
pub mod monitoring;
#[cfg(feature = "daemon")]
pub mod run_as;
#[cfg(feature = "daemon")]
pub mod store;
