//! A server that answers whatever a test tells it to, byte for byte, and remembers what it was
//! asked. It speaks HTTP/1.1, one request a connection, so that a test can cut an answer short.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `GET /api/v2/apps`.
    pub(crate) line: String,
    /// The whole head.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// What to answer.
pub(crate) enum Answer {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Silence,
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// The server; its thread ends with the test's process.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// A server on a free port.
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("http", handler, |stream, serve| serve(stream))
    }

    /// A server that answers every GET with one object, and every change with another.
    pub(crate) fn with_object(read: &'static str, written: String) -> Self {
        Self::start(move |request| {
            if request.line.starts_with("GET") { json(200, read) } else { json(202, &written) }
        })
    }

    /// One over TLS, with a certificate of its own for `localhost`, returned as PEM.
    pub(crate) fn start_tls(
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
            .expect("a certificate");
        (Self::start_tls_with(config, handler), made.cert.pem())
    }

    /// One over TLS as this says, to be reached as `localhost`.
    pub(crate) fn start_tls_with(
        config: rustls::ServerConfig,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        let mut server = Self::listen("https", handler, move |stream, serve| {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("tls");
            serve(&mut rustls::StreamOwned::new(tls, stream));
        });
        server.url = server.url.replace("127.0.0.1", "localhost");
        server
    }

    fn listen(
        scheme: &str,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
        wrap: impl Fn(&mut TcpStream, &dyn Fn(&mut dyn ReadWrite)) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, wrap): (Arc<Handler>, _) = (Arc::new(handler), Arc::new(wrap));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, wrap) = (Arc::clone(&handler), Arc::clone(&wrap));
                let seen = Arc::clone(&seen);
                thread::spawn(move || {
                    let mut stream = stream;
                    wrap(&mut stream, &|io| serve(io, &*handler, &seen));
                });
            }
        });
        Self { url, requests }
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

/// The body of the last request that had one.
pub(crate) fn sent(server: &Server) -> serde_json::Value {
    let requests = server.requests();
    let last = requests.iter().rev().find(|request| !request.body.is_empty());
    serde_json::from_str(&last.expect("a request with a body").body).expect("JSON")
}

/// Both directions of a connection.
pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn serve(io: &mut dyn ReadWrite, handler: &Handler, seen: &Mutex<Vec<Request>>) {
    let Some(request) = read_request(io) else { return };
    seen.lock().expect("not poisoned").push(request.clone());
    match handler(&request) {
        Answer::Bytes(bytes) => {
            // The client may be gone already, which is its right.
            let _ = io.write_all(&bytes).and_then(|()| io.flush());
        }
        // Ends when the client has had enough and closes.
        Answer::Silence => while io.read(&mut [0; 64]).is_ok_and(|read| read > 0) {},
    }
}

fn read_request(io: &mut dyn ReadWrite) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if io.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let mut request = Request { line, head, body: String::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    io.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &str) -> Answer {
    reply(status, "Content-Type: application/json\r\n", body)
}

/// An answer with headers of the test's own, each ending its line.
pub(crate) fn reply(status: u16, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(
        format!(
            "HTTP/1.1 {status} Some Words\r\nConnection: close\r\n{headers}\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}
