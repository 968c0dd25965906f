//! Accepting connections, up to a number, and letting them finish at the end.
//!
//! Invariants: no error of accepting ends the server or makes it spin; a connection over the limit
//! is told to come back and costs next to nothing; what is being answered when the manager is told
//! to stop is answered, within a deadline.

use super::connection::{Builders, Speaks, look, serve};
use super::service::Service;
use super::{ManagerError, Shared};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// After an error of accepting, mostly "too many open files": only time closes some.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How many refused connections are told so at once; the rest are just closed.
const REFUSALS: usize = 64;
/// How long a refused client has to read that it is refused.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// When a refused client may come back, in seconds. Not all at once: they came at once.
const COME_BACK: std::ops::Range<u64> = 2..20;

/// Accepts connections until the signal, then lets them finish.
pub(super) async fn run(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    manager: Arc<Shared>,
    shutdown: CancellationToken,
) -> Result<(), ManagerError> {
    let server = Server {
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        builders: Arc::new(Builders::new()),
        drain: CancellationToken::new(),
        tls,
        service: Service::new(Arc::clone(&manager)),
        manager,
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.accept(stream, peer.ip(), &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
    drop(listener);
    server.finish(connections).await;
    Ok(())
}

struct Server {
    manager: Arc<Shared>,
    service: Service,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    refusals: Arc<Semaphore>,
    builders: Arc<Builders>,
    drain: CancellationToken,
}

impl Server {
    fn accept(&self, stream: TcpStream, peer: IpAddr, connections: &mut JoinSet<()>) {
        // Answers are written whole; waiting for more would only delay them. It fails on a
        // connection that is closed already, which is found out below.
        let _ = stream.set_nodelay(true);
        let Ok(place) = Arc::clone(&self.manager.places).try_acquire_owned() else {
            self.refuse(stream, connections);
            return;
        };
        let (manager, service) = (Arc::clone(&self.manager), self.service.clone());
        let (builders, tls, drain) =
            (Arc::clone(&self.builders), self.acceptor(), self.drain.clone());
        connections.spawn(async move {
            let _open = Open::new(Arc::clone(&manager), place);
            if let Some(tls) = tls {
                // In a box: what a handshake needs, those without one would hold for life.
                return Box::pin(serve_tls(&service, &builders, tls, stream, peer, &drain)).await;
            }
            match look(&stream, &manager.limits, &drain).await {
                Ok(Some(speaks)) => {
                    serve(&service, &builders, speaks, stream, (peer, None), &drain).await;
                }
                Ok(None) => {}
                Err(_) => manager.metrics.limit_met("idle_connection"),
            }
        });
    }

    /// What a new connection is accepted with; certificates change while the manager runs.
    fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.as_ref().map(|tls| tls.borrow().clone())
    }

    /// Says 503 to a client over the limit, if that can be done in passing. A client that speaks
    /// TLS could not read it.
    fn refuse(&self, mut stream: TcpStream, connections: &mut JoinSet<()>) {
        self.manager.metrics.connections_refused.inc();
        self.manager.metrics.limit_met("connections");
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        if self.tls.is_some() {
            return;
        }
        connections.spawn(async move {
            let _place = place;
            let told = timeout(REFUSAL_TIME, async {
                stream.write_all(refusal(rand::random_range(COME_BACK)).as_bytes()).await?;
                stream.shutdown().await?;
                // Closing with unread bytes would reset the connection, and the client would see
                // an error in place of the answer.
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await? > 0 {}
                std::io::Result::Ok(())
            });
            // Whether the client has read it is its own affair.
            let _ = told.await;
        });
    }

    async fn finish(self, mut connections: JoinSet<()>) {
        self.manager.is_draining.store(true, Ordering::Relaxed);
        self.manager.parked.cancel();
        self.drain.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.manager.limits.drain, all).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "connections cut at the end of the drain"
            );
            connections.shutdown().await;
        }
        // A change whose client is gone is still done or undone as a whole.
        self.manager.declarations.finished().await;
    }
}

async fn serve_tls(
    service: &Service,
    builders: &Builders,
    tls: TlsAcceptor,
    stream: TcpStream,
    peer: IpAddr,
    drain: &CancellationToken,
) {
    let manager = service.manager();
    match timeout(manager.limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let speaks = if is_http2 { Speaks::Http2 } else { Speaks::Http1 };
            let certificate = super::tls::device_certificate(stream.get_ref().1);
            serve(service, builders, speaks, stream, (peer, certificate), drain).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
        Err(_) => manager.metrics.limit_met("handshake_time"),
    }
}

/// What a refused client reads.
fn refusal(seconds: u64) -> String {
    let body = r#"{"error": "too many connections"}"#;
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         cache-control: no-store\r\nretry-after: {seconds}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// A place among the connections, counted.
struct Open {
    manager: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(manager: Arc<Shared>, place: OwnedSemaphorePermit) -> Self {
        manager.metrics.connections.inc();
        Self { manager, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.manager.metrics.connections.dec();
    }
}
