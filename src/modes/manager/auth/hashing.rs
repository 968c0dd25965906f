//! bcrypt, which takes a fifth of a second of a core by design, away from the threads that serve.
//!
//! Invariants: at most half of the cores work for credentials that nobody knows yet, so that
//! guessing cannot take the machine; credentials that were valid before do not wait behind them.

use super::super::metrics::Hashed;
use crate::model::{Secret, SecretHash};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, oneshot};

/// The cost of new hashes, which the API's clients expect: 2^12 rounds.
const COST: u32 = 12;
/// The most strangers, and the most new secrets, that wait for their turn. At five hashes a second
/// and core, whoever stands further behind has long given up.
const MAX_WAITING: usize = 128;
/// The most known ones that wait, a core: it is less than a second's work.
const MAX_KNOWN_A_CORE: usize = 4;
/// The priority of hashing, of 0 (that of serving) to 19: it gets a tenth of a core that is wanted
/// by others, and all of one that is not.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// A hash of the cost of new ones, of nothing anybody knows: it is checked where there is no user,
/// so that their absence cannot be told by the time.
const NOBODY: &str = "$2b$12$sildZpua2.kGIwrP0vOvbekxJoVByfGl4IBWkYxh9q3biZBHet5OC";

/// Too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Busy;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// These credentials were valid before.
    Trusted,
    /// A new secret, which an admin sets.
    New,
    /// Anybody's.
    Open,
}

/// The threads that hash.
#[derive(Debug)]
pub(in super::super) struct Hashing {
    trusted: Turns,
    new: Turns,
    open: Turns,
    computed: Family<Hashed, Counter>,
}

/// Who may hash at once, and who waits.
#[derive(Debug)]
struct Turns {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Hashing {
    pub(super) fn new(computed: Family<Hashed, Counter>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let turns = |at_once, most_waiting| Turns {
            free: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
            most_waiting,
        };
        Self {
            trusted: turns(cores, cores * MAX_KNOWN_A_CORE),
            new: turns(cores, MAX_WAITING),
            open: turns((cores / 2).max(1), MAX_WAITING),
            computed,
        }
    }

    /// Whether a secret is the one that was hashed. A hash that is none matches nothing.
    pub(super) async fn matches(
        &self,
        lane: Lane,
        secret: &[u8],
        hash: &SecretHash,
    ) -> Result<bool, Busy> {
        let (secret, hash) = (Secret::new(secret.to_owned()), hash.clone());
        self.run(lane, move || match bcrypt::verify(secret.expose(), hash.as_str()) {
            Ok(is_equal) => is_equal,
            Err(error) => {
                tracing::warn!(%error, "a kept hash cannot be read, so nothing matches it");
                false
            }
        })
        .await
    }

    /// Takes the time of a check that fails.
    pub(super) async fn pretend(&self, secret: &[u8]) -> Result<(), Busy> {
        self.matches(Lane::Open, secret, &SecretHash::new(NOBODY)).await.map(|_| ())
    }

    /// The hash of a new secret.
    pub(in super::super) async fn hash(&self, secret: &Secret<String>) -> Result<SecretHash, Busy> {
        let secret = secret.clone();
        let hashed = self.run(Lane::New, move || bcrypt::hash(secret.expose(), COST)).await?;
        hashed.map(SecretHash::new).map_err(|error| {
            tracing::error!(%error, "a secret could not be hashed");
            Busy
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (turns, lane) = match lane {
            Lane::Trusted => (&self.trusted, "trusted"),
            Lane::New => (&self.new, "new"),
            Lane::Open => (&self.open, "open"),
        };
        let waiting = Waiting::enter(&turns.waiting);
        if waiting.others >= turns.most_waiting {
            return Err(Busy);
        }
        let turn = Arc::clone(&turns.free).acquire_owned().await.map_err(|_| Busy)?;
        drop(waiting);
        self.computed.get_or_create(&Hashed { lane }).inc();
        let (send, outcome) = oneshot::channel();
        // A thread of its own, because its priority cannot be raised again; next to a hash, making
        // one costs nothing.
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            let _turn = turn;
            give_way();
            // Nobody waits any more for what the manager's end has overtaken.
            let _ = send.send(work());
        });
        if let Err(error) = thread {
            tracing::error!(%error, "no thread to hash on");
            return Err(Busy);
        }
        outcome.await.map_err(|_| Busy)
    }
}

/// Lets this thread wait whenever one that serves wants the core. On a machine with few cores,
/// requests would else wait some milliseconds behind each hash.
fn give_way() {
    // Linux takes the process for the thread here; elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "hashing keeps its priority");
    }
}

/// A place among those who wait; also when the wait is given up.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    others: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Self { count, others: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
