//! What one binary can be. Each mode has the same face: a checked `Config`, and
//! `run(config, dependencies, shutdown)`. Modes never import each other.

pub mod ctl;
pub mod manager;
pub mod worker;
