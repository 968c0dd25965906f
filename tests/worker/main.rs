//! The worker against real Docker and a real registry, and a manager that can be made to answer
//! anything. `make test` brings up what these tests need.

mod apps;
mod cron_jobs;
mod disk;
mod docker;
mod engine;
mod faults;
mod kill;
mod manager;
mod odd_answers;
mod offline;
mod options;
mod registries;
mod trouble;
mod world;
