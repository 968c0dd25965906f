//! The worker against real Docker and a real registry, and a manager that can be made to answer
//! anything. `make test` brings up what these tests need.

mod apps;
mod binary;
mod certificates;
mod counts;
mod crash_loop;
mod cron_jobs;
mod daemon;
mod declared;
mod disk;
mod docker;
mod engine;
mod enrollment;
mod examples;
mod faults;
mod fleet;
mod gate;
mod healing;
mod kill;
mod manager;
mod odd_answers;
mod offline;
mod options;
mod pace;
mod probe;
mod push;
mod random;
mod registries;
mod relay;
mod replicas;
mod reports;
mod shop;
mod site_example;
mod trouble;
mod updates;
mod world;
