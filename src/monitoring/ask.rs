//! Asks a daemon of this machine whether it is alive, as its own `/healthz` says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long the answer may take. It is made of memory alone; a machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At the address where it listens.
    Address {
        /// As configured, which may be all addresses.
        listen: SocketAddr,
        /// Whether it speaks HTTPS there.
        is_https: bool,
    },
    /// At a unix socket.
    Socket(PathBuf),
}

/// Why a daemon is not known to be well.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The request cannot be made.
    #[error("cannot make a request to `{place}`")]
    Request {
        /// Where.
        place: Place,
        /// Why.
        source: reqwest::Error,
    },
    /// Nobody answered in time.
    #[error("no answer from `{place}` within {} s", PATIENCE.as_secs())]
    NoAnswer {
        /// Where.
        place: Place,
        /// Why.
        source: reqwest::Error,
    },
    /// It says that it is not well.
    #[error("`{place}` answers {status}: {body}")]
    Unwell {
        /// Where.
        place: Place,
        /// The status of the answer.
        status: u16,
        /// Its words.
        body: String,
    },
}

impl Place {
    /// Where to go for what listens at this address: at all addresses means at this machine's own.
    fn url(&self) -> String {
        let Self::Address { listen, is_https } = self else {
            return "http://localhost/healthz".to_owned();
        };
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let scheme = if *is_https { "https" } else { "http" };
        format!("{scheme}://{}/healthz", SocketAddr::new(ip, listen.port()))
    }

    /// Asks whether it is well.
    pub async fn ask(&self) -> Result<(), AskError> {
        let request = |source| AskError::Request { place: self.clone(), source };
        let no_answer = |source| AskError::NoAnswer { place: self.clone(), source };
        // Its certificate is for the name by which others know it. Nothing secret is sent, and an
        // answer of whoever else has the port says as little as one in plain text.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .tls_danger_accept_invalid_certs(true);
        let builder = match self {
            Self::Socket(path) => builder.unix_socket(path.as_path()),
            Self::Address { .. } => builder,
        };
        let client = builder.build().map_err(request)?;
        let answer = client.get(self.url()).send().await.map_err(no_answer)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.text().await.map_err(no_answer)?;
        let body = body.chars().take(200).collect();
        Err(AskError::Unwell { place: self.clone(), status: status.as_u16(), body })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address { .. } => f.write_str(&self.url()),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}
