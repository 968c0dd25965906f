//! The manager: the API by which people declare and devices ask.
//!
//! What it is: an HTTP server over a [`Store`]. A request goes through [`server`] (a connection),
//! [`service`] (credentials, ready bytes), [`routes`] (permission), and one file a noun.
//! What it is not: it decides nothing about containers, and it never calls a device.
//!
//! Invariants: no answer without valid credentials; a change that was answered with 2xx is on
//! disk; an answer to a device never shows less than a change that was answered before; no input
//! ends the process.

mod apps;
mod audit;
mod auth;
mod backup;
mod body;
mod buckets;
pub mod config;
mod connection;
mod cron_jobs;
mod declarations;
mod device_groups;
mod devices;
mod enrollment;
mod feed;
mod files;
mod health;
mod info;
mod limits;
mod metrics;
mod objects;
mod openapi;
mod operation;
mod proxies;
mod reply;
mod reports;
mod routes;
mod server;
mod service;
mod status;
mod tls;
mod transfer;
mod user_groups;
mod users;
mod wait;

pub use config::Config;
pub use limits::Limits;
pub use tls::TlsError;

use crate::monitoring::Place;
use crate::store::reports::{
    MAX_REPORTS_BYTES, MongoReports, ReportStore, Retention, SqliteReports,
};
use crate::store::{KeptStore, MongoSettings, MongoStore, OpenError, SqliteStore, Store};
use audit::Audit;
use auth::Authenticator;
use declarations::{Declarations, Memories};
use health::Readiness;
use info::InfoCache;
use metrics::Metrics;
use proxies::Proxies;
use reports::Reports;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tls::Certificates;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the manager does not run.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// HTTPS is configured and cannot be served.
    #[error("cannot serve HTTPS")]
    Tls(#[from] TlsError),
}

/// What the manager works with.
#[derive(Debug)]
pub struct Dependencies {
    /// Where declarations are kept.
    pub store: Arc<dyn Store>,
    /// Where reports and the inventory of devices are kept.
    pub reports: Arc<dyn ReportStore>,
    /// How much a client may take.
    pub limits: Limits,
}

impl Dependencies {
    fn within(mut self, connections: usize) -> Self {
        if connections < self.limits.connections {
            let wanted = self.limits.connections;
            tracing::warn!(
                connections,
                wanted,
                "limit of open files is low; more devices poll and fewer wait for changes"
            );
            self.limits.connections = connections;
        }
        self
    }
}

/// The stores of the configuration.
#[derive(Debug)]
pub struct Stores {
    /// Of declarations.
    pub store: Arc<dyn Store>,
    /// Of reports.
    pub reports: Arc<dyn ReportStore>,
}

/// Where a manager of this configuration is asked how it is.
pub fn place(config: &Config) -> Place {
    Place::Address { listen: config.listen, is_https: config.tls.is_some() }
}

/// The stores of the configuration. A database elsewhere need not be in reach yet.
pub async fn open_stores(config: &Config) -> Result<Stores, OpenError> {
    let retention =
        Retention { seconds: config.report_ttl_seconds, is_firm: config.is_report_ttl_given };
    let Some(settings) = &config.mongo else {
        // First the declarations: their lock says that nobody else uses the folder.
        let store = Arc::new(SqliteStore::open(&config.data_dir).await?);
        let reports = SqliteReports::new(&config.data_dir, retention, MAX_REPORTS_BYTES);
        return Ok(Stores { store, reports: Arc::new(reports) });
    };
    let settings = MongoSettings::from(settings.clone());
    settings.check()?;
    let store = MongoStore::new(settings);
    let reports = Arc::new(MongoReports::beside(&store, retention));
    let store: Arc<dyn Store> = Arc::new(store);
    match KeptStore::open(Arc::clone(&store), &config.data_dir) {
        Ok(kept) => Ok(Stores { store: Arc::new(kept), reports }),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(%error, cause, "nothing is kept for a start while the database is away");
            Ok(Stores { store, reports })
        }
    }
}

/// Serves until `shutdown`, then lets running requests finish. `listening` is called once, with
/// the address that was bound.
pub async fn run(
    config: Config,
    dependencies: Dependencies,
    listening: impl FnOnce(SocketAddr),
    shutdown: CancellationToken,
) -> Result<(), ManagerError> {
    let certificates = match &config.tls {
        Some(files) => Some(Certificates::open(files).await?),
        None => None,
    };
    let acceptor = certificates.as_ref().map(Certificates::acceptor);
    let dependencies = dependencies.within(files::connections_that_fit());
    backup::remove_leftovers(&config.data_dir);
    let manager = Shared::new(&config, dependencies);
    // Last, so that nobody can connect to a manager that will not come up.
    let bind_error = |source| ManagerError::Bind { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let store = if config.mongo.is_some() { "mongodb" } else { "embedded" };
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, https = acceptor.is_some(), store, version, "manager listens");
    listening(address);
    let (declarations, metrics) = (manager.declarations.clone(), Arc::clone(&manager.metrics));
    let mut beside = JoinSet::new();
    if let Some(certificates) = certificates {
        beside.spawn(certificates.follow(Arc::clone(&metrics)));
    }
    beside.spawn(feed::follow(declarations, metrics, config.cache_time));
    let served = server::run(listener, acceptor, manager, shutdown).await;
    beside.abort_all();
    served?;
    tracing::info!("manager stopped");
    Ok(())
}

/// What every request works with.
#[derive(Debug)]
struct Shared {
    auth: Arc<Authenticator>,
    audit: Audit,
    proxies: Proxies,
    info: Arc<InfoCache>,
    declarations: Declarations,
    reports: Reports,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    limits: Limits,
    data_dir: PathBuf,
    backups: Arc<Semaphore>,
    is_draining: AtomicBool,
    /// Ends what is parked when the manager drains.
    parked: CancellationToken,
    /// One for each connection that may be opened.
    places: Arc<Semaphore>,
}

impl Shared {
    /// True while so many connections are open that none should be held without need.
    fn is_crowded(&self) -> bool {
        let all = self.limits.connections;
        let in_use = all.saturating_sub(self.places.available_permits());
        in_use.saturating_mul(100) > all.saturating_mul(self.limits.parking_percent)
    }

    fn new(config: &Config, dependencies: Dependencies) -> Arc<Self> {
        let Dependencies { store, reports, limits } = dependencies;
        let info = Arc::new(InfoCache::new(config.cache_max_size));
        let (admin, token) = (config.local_admin.as_ref(), config.auth_token.as_ref());
        let metrics = Arc::new(Metrics::new());
        let store_of_users = Arc::clone(&store);
        let auth = Authenticator::new(config.auth_enabled, admin, token, store_of_users, &metrics);
        let memories = Memories { info: Arc::clone(&info), auth: Arc::clone(&auth) };
        Arc::new(Self {
            auth,
            audit: Audit::default(),
            proxies: Proxies::new(config.trusted_proxies.clone()),
            declarations: Declarations::new(store, memories, limits.write),
            reports: Reports::new(reports),
            info,
            metrics,
            readiness: Readiness::default(),
            limits,
            data_dir: config.data_dir.clone(),
            backups: Arc::new(Semaphore::new(1)),
            is_draining: AtomicBool::new(false),
            parked: CancellationToken::new(),
            places: Arc::new(Semaphore::new(limits.connections)),
        })
    }
}
