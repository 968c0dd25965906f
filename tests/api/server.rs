//! Connections: HTTP/1 and HTTP/2, how many, and how they end. HTTPS is in `certificates`.

use crate::harness::{
    Manager, Moody, TOKEN, basic, client_builder, config, embedded_reports, rest,
};
use nebula::modes::manager::{Dependencies, Limits, run};
use nebula::store::SqliteStore;
use reqwest::Version;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn it_speaks_http_1_and_http_2_on_one_port() {
    let manager = Manager::start().await;
    manager.create_group("eu", &[]).await;
    let clients = [
        (client_builder().http1_only().build().unwrap(), Version::HTTP_11),
        (client_builder().http2_prior_knowledge().build().unwrap(), Version::HTTP_2),
    ];
    for (client, version) in clients {
        for path in ["/healthz", "/api/v2/device_groups", "/api/v2/device_groups/eu/info"] {
            let response = client.get(manager.url(path)).bearer_auth(TOKEN).send().await.unwrap();
            assert_eq!((response.status().as_u16(), response.version()), (200, version));
            let etag = response.headers().get("etag").cloned();
            assert!(response.json::<Value>().await.unwrap().is_object());
            let Some(etag) = etag else { continue };
            let again = client.get(manager.url(path)).header("if-none-match", etag);
            assert_eq!(again.try_clone().unwrap().send().await.unwrap().status(), 401);
            assert_eq!(again.bearer_auth(TOKEN).send().await.unwrap().status(), 304);
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let manager = Manager::start().await;
    let folder = TempDir::new().unwrap();
    let mut config = config(folder.path());
    config.listen = manager.address;
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let reports = embedded_reports(folder.path());
    let dependencies = Dependencies { store, reports, limits: Limits::default() };
    let error = run(config, dependencies, |_| {}, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on `{}`", manager.address));
}

#[tokio::test]
async fn inv_11_connections_over_the_limit_are_told_to_come_back() {
    let manager = Manager::with_limits(Limits { connections: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(manager.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // It has been accepted when it was answered.
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        open.push(stream);
    }
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut third = TcpStream::connect(manager.address).await.unwrap();
    third.write_all(request).await.unwrap();
    third.shutdown().await.unwrap();
    let answer = rest(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("application/json"));
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let length = answer.split("content-length: ").nth(1).unwrap();
    assert_eq!(length.split("\r\n").next().unwrap().parse(), Ok(body.len()));
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({ "error": "too many connections" })
    );
    // A place that is free again is given again, as soon as the manager has seen it.
    open.clear();
    let served =
        async { while manager.client.get(manager.url("/healthz")).send().await.is_err() {} };
    tokio::time::timeout(crate::harness::PATIENCE, served).await.unwrap();
}

/// A request is under way when the manager is told to stop: it is answered, the idle connection is
/// closed, and no new one is accepted.
#[tokio::test]
async fn a_request_that_is_under_way_is_answered_before_the_end() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    let mut idle = TcpStream::connect(manager.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
    moody.gate.store(true, Ordering::SeqCst);
    let body = json!({ "docker_image": "nginx" });
    let request = manager.request("POST", "/api/v2/apps/web").json(&body);
    let under_way = tokio::spawn(request.send());
    moody.arrived.notified().await;
    manager.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(manager.address).await.is_err());
    assert!(!manager.running.is_finished());
    moody.open.notify_one();
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    manager.running.await.unwrap();
}

/// A client that never finishes cannot keep the manager from stopping.
#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    let mut stuck = TcpStream::connect(manager.address).await.unwrap();
    let head = format!(
        "POST /api/v2/apps/web HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         expect: 100-continue\r\ncontent-length: 100\r\n\r\n",
        basic()
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    // The manager wants the body: the request is under way.
    assert_ne!(stuck.read(&mut [0; 100]).await.unwrap(), 0);
    manager.stop().await;
    assert_eq!(rest(&mut stuck).await, "");
}

/// Each takes a place among the connections, and there are only so many.
#[tokio::test]
async fn inv_08_a_stranger_that_says_nothing_gives_its_place_up() {
    let head = Duration::from_millis(100);
    let limits = Limits { head, idle: Duration::from_secs(3_600), ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    let request = |path: &str, head: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n");
    let open = async |text: String| {
        let mut stream = TcpStream::connect(manager.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    };
    let known = request("/api/v2/status", &format!("authorization: {}\r\n", basic()));
    let mut known_stream = open(known.clone()).await;
    assert_ne!(known_stream.read(&mut [0; 1024]).await.unwrap(), 0);
    for text in [String::new(), request("/healthz", ""), request("/api/v2/status", "")] {
        // It ends; what it was answered before that is of no interest.
        rest(&mut open(text).await).await;
    }
    // The one whose owner is known is older, and stays.
    known_stream.write_all(known.as_bytes()).await.unwrap();
    assert_ne!(known_stream.read(&mut [0; 1024]).await.unwrap(), 0);
}
