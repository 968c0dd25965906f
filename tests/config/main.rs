//! The configuration layer, from the outside: what goes in as flags, environment and files, and
//! what comes out as a mode's `Config` or as the words of a refusal.
#![cfg(feature = "daemon")]

mod command_line;
mod example;
mod files;
mod given;
mod layers;
mod manager;
mod reporter;
mod secrets;
mod tls;
mod worker;
