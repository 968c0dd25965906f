//! How others look at a worker: at a socket in its data folder, `/healthz` and `/metrics`.
//!
//! What it is: whether the worker itself goes on. What it is not: whether Docker or the manager answer,
//! for a worker without either does what it is to do. A socket, and not a port: a device may run anything
//! on its ports, and nobody beyond the device is to ask.
//!
//! Invariant: nothing here keeps the worker from its work; a socket that cannot be had is a warning.

use crate::monitoring::{self, Monitored, Place, metrics_text, notify, process_registry};
use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The socket, in the data folder.
const SOCKET: &str = "worker.sock";
/// After how long without the end of a pass or a check-in the worker counts as stuck. A pass is made
/// each half minute at least and takes milliseconds; with a Docker that hangs at each of its questions it
/// may take minutes.
const STUCK_AFTER: Duration = Duration::from_secs(300);

/// Where a worker with this data folder is asked.
pub fn place(data_dir: &Path) -> Place {
    Place::Socket(data_dir.join(SOCKET))
}

/// What is seen of a worker.
#[derive(Debug)]
pub(super) struct Monitor {
    last: Mutex<Instant>,
    passes: Counter,
    check_ins: Counter,
    registry: Registry,
    process: Registry,
}

impl Monitor {
    pub(super) fn new() -> Arc<Self> {
        let (passes, check_ins) = (Counter::default(), Counter::default());
        let mut registry = Registry::with_prefix("nebula");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This worker", build);
        registry.register("worker_passes", "Looks at Docker with what followed", passes.clone());
        let ended = "Check-ins that ended, with an answer or without";
        registry.register("worker_check_ins", ended, check_ins.clone());
        let (last, process) = (Mutex::new(Instant::now()), process_registry());
        Arc::new(Self { last, passes, check_ins, registry, process })
    }

    /// A pass ended.
    pub(super) fn passed(&self) {
        self.passes.inc();
        self.beat();
    }

    /// A check-in ended.
    pub(super) fn checked_in(&self) {
        self.check_ins.inc();
        self.beat();
    }

    fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

#[async_trait]
impl Monitored for Monitor {
    async fn needs(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn is_alive(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < STUCK_AFTER
    }

    fn metrics(&self) -> String {
        metrics_text(&self.process, &self.registry)
    }
}

/// Answers at the socket, and tells the service manager that the worker is alive, until the shutdown.
pub(super) async fn watch(monitor: Arc<Monitor>, data_dir: &Path, shutdown: CancellationToken) {
    let alive = Arc::clone(&monitor);
    let watchdog = notify::watchdog(move || alive.is_alive());
    let path = data_dir.join(SOCKET);
    let answering = async {
        match listen(&path) {
            Ok(listener) => monitoring::serve(listener, monitor, shutdown.clone()).await,
            Err(error) => {
                let socket = path.display();
                warn!(%socket, %error, "nobody can ask this worker how it is; it runs on");
            }
        }
    };
    let both = async { tokio::join!(watchdog, answering) };
    let _ = shutdown.run_until_cancelled(both).await;
    // One that nobody listens at would look like a worker that is stuck.
    let _ = std::fs::remove_file(&path);
}

/// The folder's lock says that no other worker listens there: a socket that is there is left from
/// one that was killed.
fn listen(path: &PathBuf) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
