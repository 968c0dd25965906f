//! Three managers on a replica set of three, and what breaks them: kill -9, pauses, a cut network,
//! an old dump, a rolling restart. Tests are named after the invariants that they try.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test fails where what it needs is not there")]

#[path = "../mongo_servers/servers.rs"]
#[expect(dead_code, reason = "these tests break their servers, so they have their own")]
mod servers;

mod access;
mod away;
mod competing;
mod device;
mod faults;
mod load;
mod managers;
mod order;
mod restarts;
mod restored;
mod sets;
mod visible;
