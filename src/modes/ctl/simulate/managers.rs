//! Where the managers are.

use super::super::failure::Failure;
use super::connection::{Ask, Connection};
use super::figures::Trouble;
use super::room;
use crate::client::{TlsFiles, tls_config};
use hyper::header::HeaderValue;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

/// As the worker's client has it.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long managers of one store may take to learn of what was made through the first.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);

/// A manager, or the load balancer in front of several.
#[derive(Debug)]
pub(super) struct Manager {
    url: String,
    authority: String,
    prefix: String,
    tls: Option<Tls>,
    /// Those of its addresses that answer.
    sockets: Vec<SocketAddr>,
    ports_per_source: usize,
}

struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}

impl Manager {
    /// Looks for the manager at a URL.
    pub(super) async fn find(text: &str, files: &TlsFiles) -> Result<Self, Failure> {
        let refuse = |reason: &str| Failure::usage(format!("manager `{text}`: {reason}"));
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url =
            url.ok_or_else(|| refuse("expected http://HOST[:PORT][/PREFIX] or https://..."))?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(refuse("it names no host"));
        };
        if !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("it must not hold a user, a query or a fragment"));
        }
        let tls = if url.scheme() == "https" { Some(tls(&host, files)?) } else { None };
        let name = match host {
            Host::Ipv6(address) => address.to_string(),
            ref host => host.to_string(),
        };
        let found = tokio::net::lookup_host((name.as_str(), port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| Failure::new(format!("cannot find `{text}`")).because(error))?
            .collect();
        let mut sockets = Vec::new();
        let mut last = None;
        for socket in found {
            match timeout(CONNECT_TIME, TcpStream::connect(socket)).await {
                Ok(Ok(_)) => sockets.push(socket),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(std::io::ErrorKind::TimedOut.into()),
            }
        }
        if let (true, Some(error)) = (sockets.is_empty(), last) {
            return Err(Failure::new(format!("cannot reach the manager at {text}")).because(error));
        }
        let authority =
            url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let prefix = url.path().trim_end_matches('/').to_owned();
        let ports_per_source = room::ports_per_source();
        Ok(Self { url: text.to_owned(), authority, prefix, tls, sockets, ports_per_source })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The host and port as requests name them.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path behind the URL's own.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    pub(super) fn addresses(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn is_on_loopback(&self) -> bool {
        self.sockets.iter().all(|socket| socket.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// A connection of its own for a device.
    pub(super) async fn connect(&self, device: usize) -> Result<TcpStream, Trouble> {
        let stream = timeout(CONNECT_TIME, self.dial(device)).await;
        let stream = stream.map_err(|_| Trouble::Connect)?.map_err(|_| Trouble::Connect)?;
        // As every client does that sends whole requests.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn dial(&self, device: usize) -> std::io::Result<TcpStream> {
        let place = self.sockets.get(device % self.sockets.len().max(1)).copied();
        let to = place.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let source = device / self.ports_per_source;
        if source == 0 || to.ip() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            return TcpStream::connect(to).await;
        }
        // One address of ours has not enough ports; loopback has 16 million addresses.
        let offset = u32::try_from(source).map_err(|_| std::io::ErrorKind::AddrNotAvailable)?;
        let from = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits().wrapping_add(offset));
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        socket.connect(to).await
    }

    /// The same connection secured, when the URL says so.
    pub(super) async fn secure(&self, stream: TcpStream) -> Result<Secured, Trouble> {
        let Some(Tls { connector, name }) = &self.tls else { return Ok(Secured::Plain(stream)) };
        let secured = timeout(CONNECT_TIME, connector.connect(name.clone(), stream)).await;
        let secured = secured.map_err(|_| Trouble::Connect)?.map_err(|_| Trouble::Connect)?;
        Ok(Secured::Tls(Box::new(secured)))
    }
}

/// A connection on which HTTP can be spoken.
pub(super) enum Secured {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Trusts what this command trusts, and offers what the worker offers.
fn tls(host: &Host<&str>, files: &TlsFiles) -> Result<Tls, Failure> {
    let failed =
        |error: &dyn std::error::Error| Failure::new("cannot prepare TLS").because_of(error);
    let config = tls_config(files).map_err(|error| failed(&error))?;
    let name = match host {
        Host::Domain(name) => {
            ServerName::try_from((*name).to_owned()).map_err(|error| failed(&error))?
        }
        Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
    };
    Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
}

/// Waits until a manager gives a group's state to the devices' users. It also lets the manager
/// check their tokens once before it is measured, as it has those of a fleet that runs.
pub(super) async fn wait_until_known(
    manager: &Manager,
    tokens: &[HeaderValue],
    group: &str,
) -> Result<(), Failure> {
    let deadline = Instant::now() + KNOWN_WITHIN;
    let path = manager.path(&format!("/api/v2/device_groups/{group}/info"));
    for token in tokens {
        while let Err(trouble) = ask_once(manager, token, &path).await {
            if Instant::now() > deadline {
                let message = format!(
                    "the manager at {} does not answer simulated devices: {}",
                    manager.url(),
                    trouble.words()
                );
                return Err(Failure::new(message)
                    .hint("managers that are given together must work on one store"));
            }
            sleep(LOOK).await;
        }
    }
    Ok(())
}

async fn ask_once(manager: &Manager, token: &HeaderValue, path: &str) -> Result<(), Trouble> {
    let mut connection = Connection::open(manager, 0).await?;
    let ask = Ask { path, token: Some(token), etag: None, limit: CONNECT_TIME };
    let answer = connection.get(manager, &ask).await?;
    if answer.status == hyper::StatusCode::OK { Ok(()) } else { Err(answer.trouble()) }
}
