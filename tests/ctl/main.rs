//! `nebula ctl` and the client beneath it, tested at their edges: the client against a server that
//! misbehaves on purpose, the command line through the real binary.

mod apps;
mod backup;
mod client;
mod cron_jobs;
mod device_groups;
mod devices;
mod enrollment;
mod errors;
mod help;
mod history;
mod login;
mod options;
mod program;
mod prompts;
mod real;
mod real_nouns;
mod reports;
mod rollouts;
mod server;
mod simulate;
mod tls;
mod transfer;
mod user_groups;
mod users;
