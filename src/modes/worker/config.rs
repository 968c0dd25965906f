//! The worker's checked configuration.
//!
//! What it is: what `run` needs, in types; and the rules between keys. What it is not: it asks
//! neither the manager nor Docker whether they answer.
//!
//! `reporting_fail_hard` is read and checked but has no field: in the original it let a failure of
//! reporting stop the device's workloads, and here reporting never does.

use crate::config::{
    ConfigError, Credentials, Environment, Inputs, Kafka, Secret, Settings, TlsFiles, TlsKeys,
    tables,
};
use crate::model::Name;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The file below the data folder that holds the accepted state; there once a device has run.
#[cfg(feature = "daemon")]
pub(super) const ACCEPTED: &str = "accepted.json";

/// The keys of what is trusted and presented in TLS.
const TLS: TlsKeys = TlsKeys {
    ca_file: "manager_ca_file",
    cert_file: "manager_cert_file",
    key_file: "manager_key_file",
};

/// The worker's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The manager's base URL, which ends in a slash: `api/v2/...` is joined to it.
    pub manager_url: Url,
    /// As whom the worker asks it.
    pub manager_credentials: ManagerCredentials,
    /// Whom it trusts to be the manager, and the certificate that it presents.
    pub manager_tls: TlsFiles,
    /// How long an answer may take, from one second to an hour. A parked check-in takes longer by
    /// what it asked to be parked for.
    pub request_timeout: Duration,
    /// From one check-in to the next, from one second to a day.
    pub check_in_time: Duration,
    /// The registry that `registry_auth` belongs to.
    pub registry_host: String,
    /// User and password of that registry.
    pub registry_auth: Option<Credentials>,
    /// The folder with the `config.json` of Docker's command line, if this machine may have one.
    pub docker_config: Option<PathBuf>,
    /// The longest random wait before a change is carried out, up to a day. Zero waits not at all.
    pub max_restart_wait: Duration,
    /// From how many percent of Docker's disk on unused images are removed at once, 1 to 100.
    pub prune_disk_percent: u64,
    /// The device group of this device.
    pub device_group: Name,
    /// This device's name in reports.
    pub hostname: String,
    /// Where Docker answers: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub docker_host: String,
    /// What the worker must know after a restart. It need not exist yet.
    pub data_dir: PathBuf,
    /// Whether a report is sent only when something changed.
    pub report_on_update_only: bool,
    /// Where reports go, when Kafka is configured.
    pub kafka: Option<Kafka>,
}

/// As whom the worker asks the manager. The token wins when a user is given too.
#[derive(Debug, Clone)]
pub enum ManagerCredentials {
    /// As nobody but the bearer of its certificate or of the credential that it enrolled earlier, if
    /// there is one; or at a manager whose authentication is off or done by a proxy.
    None,
    /// As itself, once it has enrolled with this token: printable ASCII.
    Enroll(Secret<String>),
    /// With user and password.
    Basic(Credentials),
    /// With a token: printable ASCII.
    Bearer(Secret<String>),
}

impl Config {
    /// Reads and checks the configuration. `hostname` is this machine's name, which holds when
    /// no layer sets one. The error tells all that is wrong.
    pub fn load(inputs: &Inputs<'_>, hostname: &str) -> Result<Self, ConfigError> {
        let mut settings = Settings::load(&tables::WORKER, inputs)?;
        let manager_url = manager_url(&mut settings);
        let manager_credentials = manager_credentials(&mut settings);
        let manager_tls = TlsFiles::from_settings(&mut settings, &TLS);
        // Whoever sets a device up is told of files that cannot be used. A device that ran before
        // starts with what it has: nobody is there to mend a file that a power cut left empty.
        #[cfg(feature = "daemon")]
        if !settings.path("data_dir").is_some_and(|folder| folder.join(ACCEPTED).exists()) {
            manager_tls.check(&mut settings, &TLS, inputs.read);
        }
        if manager_url.as_ref().is_some_and(|url| url.scheme() != "https") {
            refuse_unused_certificate(&mut settings);
        }
        settings.unset_if("registry_auth_user", "skip");
        settings.unset_if("registry_auth_password", "skip");
        let registry_auth = settings.credentials("registry_auth_user", "registry_auth_password");
        let device_group = device_group(&mut settings);
        let hostname = hostname_or(&mut settings, hostname);
        let docker_host = docker_host(&mut settings);
        let kafka = Kafka::from_settings(&mut settings);
        let config = (|| {
            Some(Self {
                manager_url: manager_url?,
                manager_credentials,
                manager_tls,
                request_timeout: settings.seconds("nebula_manager_request_timeout"),
                check_in_time: settings.seconds("nebula_manager_check_in_time"),
                registry_host: settings.text("registry_host")?,
                registry_auth,
                docker_config: docker_config(inputs.environment),
                max_restart_wait: settings.seconds("max_restart_wait_in_seconds"),
                prune_disk_percent: settings.number("prune_disk_percent"),
                device_group: device_group?,
                hostname: hostname?,
                docker_host: docker_host?,
                data_dir: settings.path("data_dir")?,
                report_on_update_only: settings.truth("report_on_update_only"),
                kafka,
            })
        })();
        settings.finish(config)
    }
}

/// The whole base URL where it is given, and otherwise one made of protocol, host and port.
fn manager_url(settings: &mut Settings) -> Option<Url> {
    if settings.is_given("nebula_manager_uri") {
        return settings.url("nebula_manager_uri");
    }
    if !settings.is_given("nebula_manager_host") {
        settings.missing("nebula_manager_host");
    }
    let host = settings.text("nebula_manager_host")?;
    let protocol = settings.text("nebula_manager_protocol")?;
    let port = settings.number("nebula_manager_port");
    // An IPv6 address has its own colons and stands in brackets within a URL.
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let bracketed = if is_ipv6 { format!("[{host}]") } else { host.clone() };
    let has_more = !is_ipv6 && !host.starts_with('[') && host.contains(':');
    let is_host_only = !has_more && !host.contains(['/', '@', '?', '#', '\\']);
    let url = Url::parse(&format!("{protocol}://{bracketed}:{port}/")).ok();
    let url = url.filter(|_| is_host_only);
    if url.is_none() {
        settings.refuse_text(
            "nebula_manager_host",
            "a host name or IP address alone (the port goes into `nebula_manager_port`, a whole URL into `nebula_manager_uri`)",
        );
    }
    url
}

fn manager_credentials(settings: &mut Settings) -> ManagerCredentials {
    let (user, password) = ("nebula_manager_auth_user", "nebula_manager_auth_password");
    // Both are checked even when the token wins: half a pair is a mistake that waits for its day.
    let basic = settings.credentials(user, password);
    let token = settings.token("nebula_manager_auth_token");
    let enrollment = settings.token("enrollment_token");
    let others = [user, password, "nebula_manager_auth_token"];
    if settings.is_given("enrollment_token")
        && let Some(other) = others.into_iter().find(|other| settings.is_given(other))
    {
        // Either would hide the other, and nobody could tell which one a device lives by.
        let why = format!(
            "cannot stand beside `{other}`: an enrolled device asks as itself, so take that out"
        );
        settings.refuse("enrollment_token", why);
    }
    match (token, basic, enrollment) {
        (Some(token), _, _) => ManagerCredentials::Bearer(token),
        (None, Some(credentials), _) => ManagerCredentials::Basic(credentials),
        (None, None, Some(token)) => ManagerCredentials::Enroll(token),
        (None, None, None) => ManagerCredentials::None,
    }
}

/// A certificate is presented in TLS alone: without it the device would ask as nobody.
fn refuse_unused_certificate(settings: &mut Settings) {
    if settings.is_given(TLS.cert_file) {
        let why = "is presented by `https` alone, and the manager is reached by `http`: set `nebula_manager_protocol` or `nebula_manager_uri`";
        settings.refuse(TLS.cert_file, why);
    }
}

fn device_group(settings: &mut Settings) -> Option<Name> {
    let text = settings.text("device_group")?;
    Name::new(text).map_err(|error| settings.refuse("device_group", error.to_string())).ok()
}

fn hostname_or(settings: &mut Settings, of_machine: &str) -> Option<String> {
    if settings.is_given("hostname") {
        return settings.text("hostname");
    }
    if of_machine.is_empty() {
        settings.missing("hostname");
        return None;
    }
    Some(of_machine.to_owned())
}

/// Where Docker's command line keeps what it knows, by the same two variables. It is no key of
/// ours: a login with `docker login` is to work as it does for `docker pull`.
fn docker_config(environment: &Environment) -> Option<PathBuf> {
    let given = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let of_home = || given("HOME").map(|home| PathBuf::from(home).join(".docker"));
    given("DOCKER_CONFIG").map(PathBuf::from).or_else(of_home)
}

fn docker_host(settings: &mut Settings) -> Option<String> {
    let text = settings.text("docker_host")?;
    let is_path = text.strip_prefix("unix://").is_some_and(|path| path.starts_with('/'));
    // The default port depends on the tool, so it is never left to a guess.
    let address = ["tcp://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_address = address.is_some_and(|address| {
        address.rsplit_once(':').is_some_and(|(host, port)| {
            let named = !host.is_empty() && !host.contains(['/', '@']);
            named && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    });
    if !is_path && !is_address {
        settings
            .refuse_text("docker_host", "`unix:///path`, `tcp://host:port` or `http://host:port`");
        return None;
    }
    Some(text)
}
