//! The planner's laws, its text cases, and tables for the nouns it plans with.
//!
//! Nothing here knows a clock, a network or a random number but those of `proptest`, nor a disk but
//! for the case files; everything runs in the build without default features.

mod cases;
mod cron;
mod images;
mod kills;
mod laws;
mod model;
mod model_access;
mod model_history;
mod model_jobs;
mod model_options;
mod rollouts;
mod status;
mod support;
mod trouble;
mod updates;
