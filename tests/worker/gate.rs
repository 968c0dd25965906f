//! A manager that lets in whom it knows: devices enroll at it, present certificates, and are revoked.

use crate::manager::{state, told, unchanged};
use crate::world::{PATIENCE, World};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST /api/v2/enroll`.
    pub(crate) line: String,
    /// What stands behind `Bearer`.
    pub(crate) bearer: Option<String>,
    pub(crate) body: Vec<u8>,
    /// The certificate that the other side presented.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn is_enrollment(&self) -> bool {
        self.line == "POST /api/v2/enroll"
    }

    pub(crate) fn is_check_in(&self) -> bool {
        self.line.starts_with("GET ")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// What becomes of enrollments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enrolling {
    /// They are answered.
    Works,
    /// They come, and nothing follows.
    Hangs,
    /// They are done, and the reply is lost.
    LosesReplies,
    /// The time of every enrollment token is over.
    IsOver,
}

#[derive(Clone)]
struct Known {
    enrolling: Enrolling,
    /// How many devices may still enroll with a token.
    uses: HashMap<String, u32>,
    /// Hostnames by their tokens.
    devices: HashMap<String, String>,
    /// Whether a certificate alone lets in.
    takes_certificates: bool,
    requests: Vec<Request>,
}

/// The manager.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    known: Arc<watch::Sender<Known>>,
    task: AbortHandle,
}

impl Gate {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    pub(crate) async fn start_tls(config: rustls::ServerConfig) -> Self {
        let gate = Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await;
        gate.known.send_modify(|known| known.takes_certificates = true);
        gate
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let known = Arc::new(watch::Sender::new(Known {
            enrolling: Enrolling::Works,
            uses: HashMap::new(),
            devices: HashMap::new(),
            takes_certificates: false,
            requests: Vec::new(),
        }));
        let visited = Arc::clone(&known);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (tls, known) = (tls.clone(), Arc::clone(&visited));
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(connection, None, &known).await };
                    // Whoever has no certificate that counts is shown the door.
                    let Ok(connection) = tls.accept(connection).await else { return };
                    let certificates = connection.get_ref().1.peer_certificates();
                    let own = certificates.and_then(|all| Some(all.first()?.to_vec()));
                    serve(connection, own, &known).await;
                });
            }
        });
        Self { address, known, task: task.abort_handle() }
    }

    /// Sends a world's worker here: to enroll with this token, or with none.
    pub(crate) fn invite(&self, world: &mut World, token: Option<&str>) {
        for (key, value) in [
            ("NEBULA_MANAGER_PORT", self.address.port().to_string()),
            ("NEBULA_MANAGER_AUTH_TOKEN", String::new()),
            ("NEBULA_ENROLLMENT_TOKEN", token.unwrap_or_default().to_owned()),
        ] {
            world.extra.insert(key.to_owned(), value);
        }
    }

    /// Makes an enrollment token for so many devices.
    pub(crate) fn make_token(&self, token: &str, devices: u32) {
        self.known.send_modify(|known| {
            known.uses.insert(token.to_owned(), devices);
        });
    }

    /// How many devices may still enroll with it.
    pub(crate) fn uses_left(&self, token: &str) -> u32 {
        self.known.borrow().uses[token]
    }

    pub(crate) fn enrolling(&self, what: Enrolling) {
        self.known.send_modify(|known| known.enrolling = what);
    }

    /// Lets nobody in any more who has enrolled.
    pub(crate) fn revoke_all(&self) {
        self.known.send_modify(|known| known.devices.clear());
    }

    /// The token of a device that is let in.
    pub(crate) fn token_of(&self, hostname: &str) -> Option<String> {
        let known = self.known.borrow();
        known.devices.iter().find(|(_, of)| *of == hostname).map(|(token, _)| token.clone())
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.known.borrow().requests.clone()
    }

    /// All enrollments so far.
    pub(crate) fn enrollments(&self) -> Vec<Value> {
        self.requests().iter().filter(|it| it.is_enrollment()).map(Request::json).collect()
    }

    /// Waits for so many requests more of this kind.
    pub(crate) async fn asked(&self, what: &str, times: usize, is_it: impl Fn(&Request) -> bool) {
        let count = |known: &Known| known.requests.iter().filter(|it| is_it(it)).count();
        let mut watching = self.known.subscribe();
        let until = count(&watching.borrow_and_update()) + times;
        let waited =
            tokio::time::timeout(PATIENCE, watching.wait_for(|it| count(it) >= until)).await;
        assert!(waited.is_ok(), "never asked {what}: {:#?}", self.requests());
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    certificate: Option<Vec<u8>>,
    known: &watch::Sender<Known>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("text");
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let length = field("content-length").map_or(0, |text| text.parse().expect("a number"));
    let mut body = vec![0; length];
    if connection.read_exact(&mut body).await.is_err() {
        return;
    }
    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let bearer = field("authorization").and_then(|it| Some(it.strip_prefix("Bearer ")?.to_owned()));
    let request = Request { line, bearer, body, certificate };
    let etag = field("if-none-match");
    let mut answer = None;
    known.send_modify(|known| answer = known.answer(&request, etag.as_deref()));
    let Some(answer) = answer else { return std::future::pending().await };
    // The worker may have been killed meanwhile.
    let _ = connection.write_all(&answer).await;
    let _ = connection.shutdown().await;
}

impl Known {
    /// None when nothing ever follows; nothing when the connection ends.
    fn answer(&mut self, request: &Request, etag: Option<&str>) -> Option<Vec<u8>> {
        self.requests.push(request.clone());
        if request.is_enrollment() {
            return self.enroll(request);
        }
        let is_known = match &request.bearer {
            Some(token) => self.devices.contains_key(token),
            None => self.takes_certificates && request.certificate.is_some(),
        };
        if !is_known {
            return Some(refused());
        }
        if !request.is_check_in() {
            return Some(told(&json!({"accepted": 1, "refused": []}), ""));
        }
        let tag = "etag: \"1000\"\r\n";
        if etag == Some("\"1000\"") {
            return Some(unchanged(tag));
        }
        Some(told(&state(1000, &[]), tag))
    }

    fn enroll(&mut self, request: &Request) -> Option<Vec<u8>> {
        match self.enrolling {
            Enrolling::Hangs => return None,
            Enrolling::IsOver => return Some(refused()),
            Enrolling::Works | Enrolling::LosesReplies => {}
        }
        let body = request.json();
        let said = |key: &str| body[key].as_str().expect("a text").to_owned();
        let (hostname, token) = (said("hostname"), said("token"));
        if self.devices.get(&token) != Some(&hostname) {
            let uses = request.bearer.as_ref().and_then(|token| self.uses.get_mut(token));
            let Some(uses) = uses.filter(|uses| **uses > 0) else { return Some(refused()) };
            *uses -= 1;
            self.devices.retain(|_, of| *of != hostname);
            self.devices.insert(token, hostname.clone());
        }
        if self.enrolling == Enrolling::LosesReplies {
            return Some(Vec::new());
        }
        Some(told(&json!({"hostname": hostname, "device_group": "tills"}), ""))
    }
}

fn refused() -> Vec<u8> {
    let body = r#"{"authenticated": false}"#;
    format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
