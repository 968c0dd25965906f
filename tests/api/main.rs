//! The manager over real HTTP, on the embedded store: its contract, its refusals, and what must
//! hold whatever happens. Names with `inv_NN` prove the invariant of that number.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod access;
mod apps;
mod backup;
mod certificates;
mod concurrency;
mod credentials;
mod cron_jobs;
mod device_groups;
mod devices;
mod embedded_store;
mod enrollment;
mod harness;
mod health;
mod history;
mod hostile;
mod info;
mod kill;
mod matrix;
#[path = "../mongo_servers/servers.rs"]
#[expect(dead_code, reason = "other tests break more of it")]
mod mongo_servers;
mod mongo_store;
mod report_contract;
mod report_stores;
mod reports;
mod secrets;
mod server;
mod store_contract;
mod throttle;
mod transfer;
mod user_groups;
mod users;
