//! Every key of every mode, as data.
//!
//! Invariants: an environment name without the prefix `NEBULA_` is the original's, and neither it
//! nor its meaning changes; every default fits its key's kind and range.

mod ctl;
pub(super) mod kafka;
mod manager;
mod reporter;
mod worker;

pub use ctl::CTL;
pub use manager::MANAGER;
pub use reporter::REPORTER;
pub use worker::WORKER;

use super::key::Table;

/// All of them, in the order of the example file.
pub static ALL: [&Table; 4] = [&MANAGER, &WORKER, &REPORTER, &CTL];
