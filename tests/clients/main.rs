//! Programs that we did not write, against the built manager: the original's Python client, and a
//! fuzzer that reads the manager's own `OpenAPI` document. They come from the service `python` of
//! `scripts/with-services`.
#![cfg(feature = "daemon")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end")]

mod fuzz;
mod manager;
mod python;
mod sdk;
