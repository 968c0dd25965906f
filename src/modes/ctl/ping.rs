//! `ping`.

use super::failure::Failure;
use super::session::Session;
use std::time::Instant;

/// Asks for the status, which needs the credentials.
pub(super) async fn run(session: &Session) -> Result<(), Failure> {
    let start = Instant::now();
    let reply = session.client().status().await.map_err(|error| session.explain(&error))?;
    let milliseconds = start.elapsed().as_millis();
    let url = session.client().url();
    session.output().reply(&reply, |_| format!("{url} answers ({milliseconds} ms)\n"))
}
