//! One device's connection: HTTP/1.1, or HTTP/2 where TLS agrees on it, as with the worker's
//! client.
//!
//! Invariants: an answer is whole or an error; nothing of an answer is kept but what is returned;
//! a connection costs one task, the device's own, which drives it while it waits.

use super::figures::Trouble;
use super::managers::{Manager, Secured};
use crate::client::MAX_BODY_BYTES;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{
    ACCEPT, AUTHORIZATION, ETAG, HOST, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::time::timeout;

/// Each connection keeps a buffer of this size for as long as it lives. hyper's own choice is
/// twice that, for answers that are larger than a device's.
const READ_BYTES: usize = 4 << 10;
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("nebula-simulate/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A connection.
pub(super) struct Connection {
    sender: Sender,
    driver: Driver,
}

enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

/// Moves the bytes. None once the connection has ended.
struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

/// What to get.
pub(super) struct Ask<'a> {
    pub path: &'a str,
    pub token: Option<&'a HeaderValue>,
    pub etag: Option<&'a HeaderValue>,
    /// Until the last byte of the answer.
    pub limit: Duration,
}

/// What came.
pub(super) struct Answer {
    pub status: StatusCode,
    pub etag: Option<HeaderValue>,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Connection {
    /// Connects a device to a manager.
    pub(super) async fn open(manager: &Manager, device: usize) -> Result<Self, Trouble> {
        let stream = manager.connect(device).await?;
        match manager.secure(stream).await? {
            Secured::Plain(stream) => Self::one(TokioIo::new(stream)).await,
            Secured::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                let builder = http2::Builder::new(TokioExecutor::new());
                let (sender, connection) =
                    builder.handshake(TokioIo::new(stream)).await.map_err(|_| Trouble::Connect)?;
                let driver = Driver(Some(Box::pin(connection)));
                Ok(Self { sender: Sender::Two(sender), driver })
            }
            Secured::Tls(stream) => Self::one(TokioIo::new(stream)).await,
        }
    }

    async fn one<T>(stream: T) -> Result<Self, Trouble>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.read_buf_exact_size(Some(READ_BYTES));
        let (sender, connection) = builder.handshake(stream).await.map_err(|_| Trouble::Connect)?;
        Ok(Self { sender: Sender::One(sender), driver: Driver(Some(Box::pin(connection))) })
    }

    /// Whether nothing can be asked any more.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.0.is_none()
            || match &self.sender {
                Sender::One(sender) => sender.is_closed(),
                Sender::Two(sender) => sender.is_closed(),
            }
    }

    /// Waits, and notices meanwhile when the other end closes.
    pub(super) async fn idle(&mut self, work: impl Future<Output = ()>) {
        self.driver.drive(work).await;
    }

    /// Gets a whole answer.
    pub(super) async fn get(
        &mut self,
        manager: &Manager,
        ask: &Ask<'_>,
    ) -> Result<Answer, Trouble> {
        let request = self.request(manager, ask)?;
        let Self { sender, driver } = self;
        let work = async {
            let response = match sender {
                Sender::One(sender) => sender.send_request(request).await,
                Sender::Two(sender) => sender.send_request(request).await,
            };
            read(response.map_err(|_| Trouble::Reset)?).await
        };
        timeout(ask.limit, driver.drive(work)).await.map_err(|_| Trouble::TimedOut)?
    }

    fn request(&self, manager: &Manager, ask: &Ask<'_>) -> Result<Request<Empty<Bytes>>, Trouble> {
        let mut request = match self.sender {
            Sender::One(_) => Request::get(ask.path).header(HOST, manager.authority()),
            Sender::Two(_) => {
                let uri = format!("https://{}{}", manager.authority(), ask.path);
                Request::get(uri).version(Version::HTTP_2)
            }
        }
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, JSON);
        if let Some(token) = ask.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(etag) = ask.etag {
            request = request.header(IF_NONE_MATCH, etag.clone());
        }
        request.body(Empty::new()).map_err(|_| Trouble::Invalid)
    }
}

impl Driver {
    /// Does the work and drives the connection meanwhile. Work that waits for a connection that
    /// has ended is told so by hyper.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Some(driver) = &mut self.0
                && driver.as_mut().poll(cx).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

/// Reads an answer to its end.
async fn read(response: Response<Incoming>) -> Result<Answer, Trouble> {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Trouble::Invalid),
        Err(_) => return Err(Trouble::Cut),
    };
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after =
        retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    // Copied, because a part of the reading buffer would keep all of it.
    let etag = head.headers.get(ETAG).and_then(|tag| HeaderValue::from_bytes(tag.as_bytes()).ok());
    Ok(Answer { status: head.status, etag, retry_after, body })
}

impl Answer {
    /// What is wrong with an answer that is not the one asked for.
    pub(super) fn trouble(&self) -> Trouble {
        match self.status {
            StatusCode::UNAUTHORIZED => Trouble::Unauthorized,
            StatusCode::FORBIDDEN => Trouble::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => Trouble::TooMany,
            StatusCode::SERVICE_UNAVAILABLE => Trouble::Unavailable,
            _ => Trouble::Status,
        }
    }
}
