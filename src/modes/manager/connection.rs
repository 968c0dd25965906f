//! One connection, from its first byte to its last, and how long it may do nothing.
//!
//! Invariants: a connection on which nothing moves ends; one that is being answered is not cut but
//! by the end of the drain; a request costs the watch a few atomic operations and no timer.
//!
//! hyper's own timer for headers starts anew with each request, counts the pause between two
//! requests as part of the second one's headers, and does not run before the first byte. This
//! watch looks once per [`Limits::head`] at what has moved since.

use super::auth::DeviceCertificate;
use super::limits::Limits;
use super::service::Service;
use hyper::Version;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The most a connection's reading buffer holds, which bounds headers: cookies and tokens of real
/// clients need a tenth of it.
const HEAD_BYTES: usize = 64 << 10;
/// The same for HTTP/2, whose headers are counted after decompression.
const HEADER_LIST_BYTES: u32 = 32 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// What one HTTP/2 stream may have sent to it before its client reads.
const STREAM_SEND_BYTES: usize = 256 << 10;
/// Streams that a client opened and reset before they were looked at ("rapid reset").
const RESET_STREAMS: usize = 20;
/// How every connection of HTTP/2 begins; no method of HTTP/1 does.
const PREFACE: &[u8; 4] = b"PRI ";
/// Until a connection that has sent a part of that is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often an HTTP/2 connection is asked whether its other end is there, and how long it has.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// The protocols' settings.
#[derive(Debug, Clone)]
pub(super) struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

impl Builders {
    pub(super) fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_LIST_BYTES)
            .max_send_buf_size(STREAM_SEND_BYTES)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        Self { http1, http2 }
    }
}

/// Looks at the first bytes of a connection without taking them: none when it ends or the manager
/// drains. A server that takes them to look at them hands them on in
/// a buffer that stays twice as large for the whole life of the connection.
pub(super) async fn look(
    stream: &TcpStream,
    limits: &Limits,
    drain: &CancellationToken,
) -> Result<Option<Speaks>, Elapsed> {
    let looked = async {
        let mut start = [0; PREFACE.len()];
        let mut ticks = interval(LOOK_AGAIN);
        loop {
            let seen = stream.peek(&mut start).await.ok().filter(|seen| *seen > 0)?;
            if !PREFACE.starts_with(&start[..seen]) {
                return Some(Speaks::Http1);
            }
            if seen == PREFACE.len() {
                return Some(Speaks::Http2);
            }
            // What is there is there still, so the stream would say at once that it is.
            ticks.tick().await;
        }
    };
    drain.run_until_cancelled(timeout(limits.head, looked)).await.unwrap_or(Ok(None))
}

/// A connection in its protocol.
#[expect(clippy::large_enum_variant, reason = "nearly all connections are of the one in place")]
enum Wire<I: Read + Write + Unpin + 'static> {
    Http1(http1::Connection<I, Service>),
    Http2(Pin<Box<http2::Connection<I, Service, TokioExecutor>>>),
}

impl<I: Read + Write + Unpin + Send + 'static> Wire<I> {
    fn finish(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(connection).graceful_shutdown(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Http1(connection) => Pin::new(connection).poll(cx),
            Self::Http2(connection) => connection.as_mut().poll(cx),
        }
    }
}

/// Serves one connection until its client leaves, its time is up or the manager drains.
pub(super) async fn serve(
    service: &Service,
    builders: &Builders,
    speaks: Speaks,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (address, certificate): (IpAddr, Option<Arc<DeviceCertificate>>),
    drain: &CancellationToken,
) {
    let manager = service.manager();
    let progress = Arc::new(Progress::default());
    let service = service.of_connection(Arc::clone(&progress), address, certificate);
    let io = TokioIo::new(Watched { stream, progress: Arc::clone(&progress) });
    let mut connection = match speaks {
        Speaks::Http1 => Wire::Http1(builders.http1.serve_connection(io, service)),
        Speaks::Http2 => Wire::Http2(Box::pin(builders.http2.serve_connection(io, service))),
    };
    let mut watch = Watch::new(manager.limits);
    let mut timer = pin!(sleep_until(Instant::now() + manager.limits.head));
    let mut drained = pin!(drain.cancelled());
    let (mut is_registered, mut is_told) = (false, false);
    let ended = poll_fn(|cx| {
        // The signal's future takes a lock that all connections share. Polling it once leaves our
        // waker there; from then on a flag is enough.
        if !is_registered {
            is_registered = true;
            let _ = drained.as_mut().poll(cx);
        }
        if !is_told && manager.is_draining.load(Relaxed) {
            is_told = true;
            connection.finish();
        }
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(Instant::now() + manager.limits.head);
            match watch.look(&progress) {
                Verdict::Stay => {}
                Verdict::Finish => connection.finish(),
                Verdict::Cut(limit) => {
                    manager.metrics.limit_met(limit);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        connection.poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "connection ended");
    }
}

/// What has moved on a connection. The watch reads it, the stream and the service write it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Requests begun so far.
    begun: AtomicU64,
    /// Requests that are being answered by the router.
    in_flight: AtomicUsize,
    /// Bytes came since the last request began, while none was being answered.
    has_part_of_head: AtomicBool,
    /// In HTTP/2 bytes come for other reasons than requests.
    is_http2: AtomicBool,
    /// Somebody presented valid credentials.
    is_known: AtomicBool,
    /// Bytes wait to be taken by the client.
    is_blocked: AtomicBool,
    /// The client has taken bytes so far.
    written: AtomicU64,
}

impl Progress {
    /// A request's headers are complete.
    pub(super) fn begin(&self, version: Version) {
        self.begun.fetch_add(1, Relaxed);
        self.has_part_of_head.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    /// Whoever is at the other end has presented valid credentials.
    pub(super) fn recognised(&self) {
        if !self.is_known.load(Relaxed) {
            self.is_known.store(true, Relaxed);
        }
    }

    /// Counts a request as being answered, until the guard is dropped.
    pub(super) fn enter(progress: &Arc<Self>) -> InFlight {
        progress.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(progress))
    }
}

/// A request that is being answered.
pub(super) struct InFlight(Arc<Progress>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

enum Verdict {
    Stay,
    Finish,
    Cut(&'static str),
}

/// Compares what has moved with what had at the last look.
struct Watch {
    limits: Limits,
    begun: u64,
    written: u64,
    had_part_of_head: bool,
    idle_looks: u32,
    blocked_looks: u32,
}

impl Watch {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            begun: 0,
            written: 0,
            had_part_of_head: false,
            idle_looks: 0,
            blocked_looks: 0,
        }
    }

    fn look(&mut self, progress: &Progress) -> Verdict {
        let begun = progress.begun.load(Relaxed);
        let written = progress.written.load(Relaxed);
        let has_begun = begun != std::mem::replace(&mut self.begun, begun);
        let has_written = written != std::mem::replace(&mut self.written, written);
        let is_blocked = progress.is_blocked.load(Relaxed) && !has_written;
        self.blocked_looks = if is_blocked { self.blocked_looks + 1 } else { 0 };
        if self.looks(self.limits.stall) <= self.blocked_looks {
            return Verdict::Cut("stalled_client");
        }
        if is_blocked || has_begun || has_written || progress.in_flight.load(Relaxed) > 0 {
            (self.had_part_of_head, self.idle_looks) = (false, 0);
            return Verdict::Stay;
        }
        let has_part = progress.has_part_of_head.load(Relaxed) && !progress.is_http2.load(Relaxed);
        if std::mem::replace(&mut self.had_part_of_head, has_part) && has_part {
            return Verdict::Cut("head_time");
        }
        self.idle_looks += 1;
        // A stranger that says nothing takes the place of somebody who would.
        let patience =
            if progress.is_known.load(Relaxed) { self.limits.idle } else { self.limits.head };
        match self.idle_looks.checked_sub(self.looks(patience)) {
            None => Verdict::Stay,
            // One look long it may say goodbye.
            Some(0) => Verdict::Finish,
            Some(_) => Verdict::Cut("idle_connection"),
        }
    }

    /// How many looks a time takes, at least one.
    fn looks(&self, time: Duration) -> u32 {
        let looks = time.as_millis().div_ceil(self.limits.head.as_millis().max(1));
        u32::try_from(looks).unwrap_or(u32::MAX).max(1)
    }
}

/// A stream that notes what moves on it.
struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Watched<S> {
    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                self.progress.written.fetch_add(*bytes as u64, Relaxed);
                self.progress.is_blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.progress.is_blocked.store(true, Relaxed),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before && self.progress.in_flight.load(Relaxed) == 0 {
            self.progress.has_part_of_head.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
