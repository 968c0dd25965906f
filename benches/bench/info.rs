//! `/info` under load, against a bare hyper server that returns the same bytes, and a stored user
//! against the admin.

use crate::{Manager, Measured, Outcome, Process, URL, median};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nebula::client::Info;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Rounds of each load, alternating, of which the median counts: a shared machine is noisy.
const ROUNDS: usize = 5;
/// How long one round takes.
const ROUND: &str = "3s";
/// `admin:bench` and `device:bench`.
const ADMIN: &str = "Authorization: Basic YWRtaW46YmVuY2g=";
const DEVICE: &str = "Authorization: Basic ZGV2aWNlOmJlbmNo";

pub(crate) async fn measure(
    manager: &Manager,
    folder: &Path,
    results: &mut Vec<Measured>,
) -> Outcome<()> {
    let Info::Answer { bytes, etag } = manager.client.info("bench", None).await? else {
        return Err("no answer".into());
    };
    let known = format!("If-None-Match: {}", etag.ok_or("no ETag")?);
    let info = format!("{URL}/api/v2/device_groups/bench/info");
    for (what, body, port, headers) in [
        ("/info 200, 64 connections, to bare hyper", bytes, 7_002, vec![ADMIN]),
        ("/info 304, 64 connections, to bare hyper", Vec::new(), 7_003, vec![ADMIN, &known]),
    ] {
        let file = folder.join(format!("body-{port}"));
        std::fs::write(&file, body)?;
        let bare = Command::new(std::env::current_exe()?)
            .args(["bare", &format!("127.0.0.1:{port}"), &file.display().to_string()])
            .spawn()?;
        let _bare = Process(bare);
        let plain = format!("http://127.0.0.1:{port}/");
        results.push(alternate(what, (&info, &headers), (&plain, &headers))?);
    }
    // The first request takes the hash; what counts is all that come after it.
    requests_a_second(&info, &[DEVICE], "1s")?;
    let what = "/info 200, a stored user's, to the admin's";
    results.push(alternate(what, (&info, &[DEVICE]), (&info, &[ADMIN]))?);
    Ok(())
}

/// Loads one and the other in turn.
fn alternate(
    what: &'static str,
    (nebula, nebula_headers): (&str, &[&str]),
    (other, other_headers): (&str, &[&str]),
) -> Outcome<Measured> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(requests_a_second(nebula, nebula_headers, ROUND)?);
        theirs.push(requests_a_second(other, other_headers, ROUND)?);
    }
    let (nebula, compared) = (median(ours), Some(median(theirs)));
    Ok(Measured { what, unit: "requests a second", nebula, compared })
}

fn requests_a_second(url: &str, headers: &[&str], time: &str) -> Outcome<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c64", "-d", time]).stdin(Stdio::null());
    for header in headers {
        command.args(["-H", header]);
    }
    let output = command.arg(url).output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") && !headers.iter().any(|header| header.starts_with("If-None")) {
        return Err(format!("refused: {text}").into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.ok_or(format!("wrk says: {text}"))?.trim().parse()?)
}

/// The server to compare with: hyper, answering every request with the same bytes.
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
                .header("etag", "\"0123456789abcdef0123456789abcdef\"")
                .body(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(reply.unwrap_or_default()) }
        });
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}
