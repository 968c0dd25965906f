//! How much of everything one client may take. Each limit that is met is counted in `/metrics`.

use std::time::Duration;

/// The limits of a manager. Tests make them small; the defaults are for production.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; as many as the limit of open files allows when that is fewer. Each costs
    /// about 13 kB; a fleet behind a proxy needs far fewer than it has devices.
    pub connections: usize,
    /// Of these, in percent: with more of them in use nobody is parked, and devices are told to
    /// come back at a pace.
    pub parking_percent: usize,
    /// From accepting a connection to the end of its TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its headers. A client that takes longer is
    /// cut off between one and two times this.
    pub head: Duration,
    /// Between two requests of one connection, once it presented valid credentials; before that,
    /// `head` counts. Longer than the workers' usual check-in interval, so that they need not
    /// connect anew each time.
    pub idle: Duration,
    /// Without a byte taken by a client that has an answer to read.
    pub stall: Duration,
    /// From the end of the headers to the end of the body.
    pub body: Duration,
    /// The size of a body. The largest app that passes validation is far smaller.
    pub body_bytes: usize,
    /// From the end of the headers to the head of the answer, of all routes but backups.
    pub request: Duration,
    /// Until a write is answered. What was begun is still done or undone as a whole.
    pub write: Duration,
    /// Until a backup is written and its answer begins.
    pub backup: Duration,
    /// Until `/readyz` says no.
    pub ready: Duration,
    /// From the signal to stop until connections that are still busy are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            parking_percent: 90,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            body: Duration::from_secs(20),
            body_bytes: 1 << 20,
            request: Duration::from_secs(30),
            write: Duration::from_millis(4_500),
            backup: Duration::from_secs(600),
            ready: Duration::from_secs(2),
            drain: Duration::from_secs(20),
        }
    }
}
