//! The manager's checked configuration.
//!
//! What it is: what `run` needs, in types; and the rules between keys. What it is not: it opens no
//! file, port or store. Certificates are read when the manager binds.
//!
//! Invariant: a manager that must authenticate has at least one way to do so.

use crate::config::{ConfigError, Credentials, Inputs, Mongo, Secret, Settings, tables};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The manager's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API is served.
    pub listen: SocketAddr,
    /// The admin who needs no entry in the store.
    pub local_admin: Option<Credentials>,
    /// The token with the local admin's rights: printable ASCII.
    pub auth_token: Option<Secret<String>>,
    /// Whether requests must authenticate. When true, `local_admin` or `auth_token` is there.
    pub auth_enabled: bool,
    /// The networks of proxies whose word for a client's address counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The folder of the embedded store, or of copies of a database's. It need not exist yet.
    pub data_dir: PathBuf,
    /// HTTPS; plain HTTP without.
    pub tls: Option<Tls>,
    /// How late a write of others may be heard of where the store must be asked.
    pub cache_time: Duration,
    /// How many device groups are kept in memory, at least one.
    pub cache_max_size: u64,
    /// How long a report is kept, in seconds.
    pub report_ttl_seconds: u32,
    /// Whether somebody set that: what others have set in the same database is then changed to it.
    pub is_report_ttl_given: bool,
    /// The database in `MongoDB`; none when the embedded store is used.
    pub mongo: Option<Mongo>,
}

/// The files that HTTPS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// The authorities whose client certificates are accepted, PEM.
    pub client_ca_file: Option<PathBuf>,
}

impl Config {
    /// Reads and checks the configuration. The error tells all that is wrong with it.
    pub fn load(inputs: &Inputs<'_>) -> Result<Self, ConfigError> {
        let mut settings = Settings::load(&tables::MANAGER, inputs)?;
        let embedded = "; unset it to use the embedded store under `data_dir`";
        let mongo = Mongo::from_settings(&mut settings, embedded);
        let local_admin = settings.credentials("basic_auth_user", "basic_auth_password");
        let auth_token = settings.token("auth_token");
        let auth_enabled = settings.truth("auth_enabled");
        require_a_way_in(&mut settings, auth_enabled);
        let trusted_proxies = trusted_proxies(&mut settings);
        let tls = tls(&mut settings);
        let config = (|| {
            Some(Self {
                listen: settings.address("listen")?,
                local_admin,
                auth_token,
                auth_enabled,
                trusted_proxies,
                data_dir: settings.path("data_dir")?,
                tls,
                cache_time: settings.seconds("cache_time"),
                cache_max_size: settings.number("cache_max_size"),
                report_ttl_seconds: settings.number("mongo_report_ttl").try_into().ok()?,
                is_report_ttl_given: settings.is_given("mongo_report_ttl"),
                mongo,
            })
        })();
        settings.finish(config)
    }
}

fn require_a_way_in(settings: &mut Settings, auth_enabled: bool) {
    let keys = ["basic_auth_user", "basic_auth_password", "auth_token"];
    // One that is there but wrong has been refused already.
    if auth_enabled && !keys.iter().any(|key| settings.is_given(key)) {
        settings.refuse(
            "auth_enabled",
            "requests must authenticate, but there is no way to: set `basic_auth_user` and `basic_auth_password` (environment BASIC_AUTH_USER, BASIC_AUTH_PASSWORD), or `auth_token` (AUTH_TOKEN), or `auth_enabled` to false (AUTH_ENABLED)",
        );
    }
}

fn trusted_proxies(settings: &mut Settings) -> Vec<IpNet> {
    let Some(text) = settings.text("trusted_proxies") else { return Vec::new() };
    let one = |word: &str| word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from)).ok();
    let all: Option<Vec<IpNet>> = text.split(',').map(|word| one(word.trim())).collect();
    all.unwrap_or_else(|| {
        let expected = "addresses or networks separated by commas, as in `10.0.0.0/8, 192.168.1.7`";
        settings.refuse_text("trusted_proxies", expected);
        Vec::new()
    })
}

fn tls(settings: &mut Settings) -> Option<Tls> {
    settings.needs("tls_cert_file", "tls_key_file");
    settings.needs("tls_key_file", "tls_cert_file");
    settings.needs("tls_client_ca_file", "tls_cert_file");
    Some(Tls {
        cert_file: settings.path("tls_cert_file")?,
        key_file: settings.path("tls_key_file")?,
        client_ca_file: settings.path("tls_client_ca_file"),
    })
}
