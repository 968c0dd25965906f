//! What `/info` is compared with: servers that give the same bytes to everybody who asks.
//!
//! - A bare hyper server: the same HTTP library, and nothing else. What Nebula does beyond it is
//!   authentication, permissions and the choice of the answer.
//! - nginx, at its best for this: a worker for each core, the file kept open, no log.

use crate::{Outcome, Process};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of the tag that Nebula gives, quotes included.
const TAG: &str = "\"0123456789abcdef0123456789abcdef\"";
const CACHE_CONTROL: &str = "private, no-cache";
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the bare server in a process of its own. Without a body it answers 304.
pub(crate) async fn start_bare(folder: &Path, port: u16, body: &[u8]) -> Outcome<Process> {
    let file = folder.join(format!("body-{port}"));
    std::fs::write(&file, body)?;
    let bare = Command::new(std::env::current_exe()?)
        .args(["bare", &format!("127.0.0.1:{port}"), &file.display().to_string()])
        .spawn()?;
    let process = Process(bare);
    answers(&format!("http://127.0.0.1:{port}/")).await?;
    Ok(process)
}

/// The bare server itself: hyper, answering every request with the same bytes.
pub(crate) async fn bare(address: SocketAddr, file: &str) -> Outcome<()> {
    let body = Bytes::from(std::fs::read(file)?);
    let status = if body.is_empty() { 304 } else { 200 };
    let listener = tokio::net::TcpListener::bind(address).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let body = body.clone();
        let service = service_fn(move |_| {
            let reply = hyper::Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .header("etag", TAG)
                .header("cache-control", CACHE_CONTROL)
                .body(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(reply.unwrap_or_default()) }
        });
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

/// An nginx of our own, with all its files in our folder.
pub(crate) struct Nginx {
    process: Child,
    pub(crate) url: String,
    /// The tag of the file, as nginx makes it.
    pub(crate) etag: String,
}

impl Nginx {
    pub(crate) async fn start(folder: &Path, port: u16, body: &[u8]) -> Outcome<Self> {
        let folder = folder.join("nginx");
        std::fs::create_dir_all(folder.join("www"))?;
        std::fs::write(folder.join("www/info"), body)?;
        std::fs::write(folder.join("nginx.conf"), configuration(&folder, port))?;
        let program = std::env::var("NEBULA_TEST_NGINX")?;
        let process = Command::new(program)
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .arg("-e")
            .arg(folder.join("error.log"))
            .stdout(Stdio::null())
            .spawn()?;
        let url = format!("http://127.0.0.1:{port}/info");
        let mut nginx = Self { process, url, etag: String::new() };
        let reply = answers(&nginx.url).await?;
        let etag = reply.headers().get("etag").and_then(|etag| etag.to_str().ok());
        nginx.etag = etag.ok_or("nginx gives no ETag")?.to_owned();
        if reply.bytes().await? != body {
            return Err("nginx gives other bytes".into());
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    /// Asked to end, for its workers outlive one that is killed.
    fn drop(&mut self) {
        if let Some(id) =
            i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "daemon off;\nuser root;\nworker_processes {cores};\npid {folder}/pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\ndefault_type application/json;\nserver_tokens off;\n\
         keepalive_requests 1000000000;\nkeepalive_timeout 1h;\n\
         sendfile on;\ntcp_nopush on;\n\
         open_file_cache max=16 inactive=1h;\nopen_file_cache_valid 1h;\n"
    );
    // Their compiled-in places are the machine's.
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {folder}/{kind};");
    }
    let _ = writeln!(
        text,
        "server {{ listen 127.0.0.1:{port} backlog=1024; root {folder}/www; etag on;\n\
         add_header Cache-Control \"{CACHE_CONTROL}\"; }}\n}}"
    );
    text
}

/// Waits until something answers there.
async fn answers(url: &str) -> Outcome<reqwest::Response> {
    let begun = Instant::now();
    loop {
        match reqwest::get(url).await {
            Ok(reply) => return Ok(reply),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(format!("{url} does not answer: {error}").into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
