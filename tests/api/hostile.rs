//! Input that means harm. Each is refused in the contract's words, and the manager serves on.

use crate::harness::{
    Manager, Moody, PATIENCE, basic, basic_of, bearer, config, read, rest, seed_group, seed_user,
};
use nebula::modes::manager::Limits;
use nebula::store::SqliteStore;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn inv_08_bodies_that_are_no_object_are_refused() {
    let (manager, store) = Manager::moody().await;
    manager.create_app("web").await;
    manager.create_job("job").await;
    manager.create_group("eu", &[]).await;
    seed_user(&*store, "ann").await;
    seed_group(&*store, "ops", json!({})).await;
    let deep = |open: &str, close: &str| {
        format!("{{\"env_vars\":{}{}}}", open.repeat(100_000), close.repeat(100_000))
    };
    let keys = (0..5_000).map(|i| format!("\"k{i}\":0")).collect::<Vec<_>>().join(",");
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"}".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"7".to_vec(),
        b"\"docker_image\"".to_vec(),
        b"{\"docker_image\":\"nginx\"} x".to_vec(),
        b"{'docker_image': 'nginx'}".to_vec(),
        b"{\"docker_image\": NaN}".to_vec(),
        b"{\"docker_image\":\"a\",\"docker_image\":\"b\"}".to_vec(),
        b"{\"docker_image\":\"a\",\"env_vars\":{\"A\":\"1\",\"A\":\"2\"}}".to_vec(),
        b"{\"docker_image\":\"\xff\xfe\"}".to_vec(),
        b"{\"docker_image\":\"\\ud800\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"\0\0\0\0".to_vec(),
        b"{\"starting_ports\":[1e999]}".to_vec(),
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        format!("{{{keys}}}").into_bytes(),
        "[".repeat(1 << 20).into_bytes(),
    ];
    for (method, path) in [
        ("POST", "/apps/new"),
        ("PUT", "/apps/web/update"),
        ("POST", "/apps/web/update"),
        ("POST", "/device_groups/new"),
        ("PATCH", "/device_groups/eu/update"),
        ("POST", "/device_groups/eu/update"),
        ("POST", "/cron_jobs/new"),
        ("PATCH", "/cron_jobs/job/update"),
        ("POST", "/cron_jobs/job/update"),
        ("POST", "/users/new"),
        ("PUT", "/users/ann/update"),
        ("POST", "/user_groups/new"),
        ("PUT", "/user_groups/ops/update"),
    ] {
        for body in &bodies {
            let request = manager.request(method, &format!("/api/v2{path}")).body(body.clone());
            let (status, answer) = read(request.send().await.unwrap()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(status, 400, "{method} {path} {shown} {answer}");
            let reason = answer["error"].as_str().unwrap();
            assert!(reason.starts_with("the body ") && reason.len() < 300, "{reason}");
        }
    }
    assert_eq!(manager.get("/apps/web").await.1["app_id"], json!(1));
    assert_eq!(manager.get("/apps").await.1, json!({ "apps": ["web"] }));
    assert_eq!(manager.get("/cron_jobs/job").await.1["cron_job_id"], json!(1));
    assert_eq!(manager.get("/users").await.1, json!({ "users": ["ann"] }));
    assert_eq!(manager.get("/user_groups").await.1, json!({ "user_groups": ["ops"] }));
}

#[tokio::test]
async fn inv_08_huge_values_are_refused_by_field() {
    let manager = Manager::start().await;
    let many = |n: usize, item: &str| Value::Array(vec![json!(item); n]);
    for (field, value) in [
        ("starting_ports", json!([18_446_744_073_709_551_615_u64])),
        ("starting_ports", json!([-9_223_372_036_854_775_808_i64])),
        ("starting_ports", Value::Array((1..60_000).map(Value::from).collect())),
        ("containers_per", json!({ "server": 1e300 })),
        ("containers_per", json!({ "cpu": 1e300 })),
        ("docker_image", json!("x".repeat(500_000))),
        ("volumes", many(50_000, "/a:/b")),
        ("networks", many(50_000, "nebula")),
    ] {
        let mut body = json!({ "docker_image": "nginx" });
        body[field] = value;
        let (status, answer) = manager.send("POST", "/apps/new", body).await;
        assert!(status == 400 && answer[field].is_string(), "{field} {answer}");
        assert!(answer.to_string().len() < 1_000);
    }
    let (status, answer) =
        manager.send("POST", "/device_groups/new", json!({ "apps": many(50_000, "a") })).await;
    assert!(status == 400 && answer["apps"].is_string());
    let grants: serde_json::Map<String, Value> =
        (0..10_001).map(|index| (format!("n{index}"), json!("rw"))).collect();
    let schedule = |text: &str| json!({ "docker_image": "a", "schedule": text });
    let job = |field: &str, value: Value| json!({ "docker_image": "a", "schedule": "@daily", field: value });
    for (path, body, field) in [
        ("/cron_jobs/new", schedule(&"*".repeat(900_000)), "schedule"),
        ("/cron_jobs/new", schedule(&"1,".repeat(400_000)), "schedule"),
        ("/cron_jobs/new", schedule(&"* ".repeat(400_000)), "schedule"),
        ("/cron_jobs/new", schedule("18446744073709551616 * * * *"), "schedule"),
        ("/cron_jobs/new", schedule("0-59/4294967296 * * * *"), "schedule"),
        ("/cron_jobs/new", job("volumes", many(50_000, "/a:/b")), "volumes"),
        ("/cron_jobs/new", job("docker_image", json!("x".repeat(900_000))), "docker_image"),
        ("/device_groups/new", json!({ "cron_jobs": many(50_000, "a") }), "cron_jobs"),
        ("/users/new", json!({ "password": "x".repeat(900_000) }), "password"),
        ("/users/new", json!({ "token": "x".repeat(900_000) }), "token"),
        ("/user_groups/new", json!({ "apps": grants.clone() }), "apps"),
        ("/user_groups/new", json!({ "cron_jobs": grants.clone() }), "cron_jobs"),
        ("/user_groups/new", json!({ "device_groups": grants }), "device_groups"),
        ("/user_groups/new", json!({ "group_members": many(50_000, "a") }), "group_members"),
    ] {
        let (status, answer) = manager.send("POST", path, body).await;
        assert!(status == 400 && answer[field].is_string(), "{path} {field} {answer}");
        assert!(answer.to_string().len() < 1_000, "{path} {field}");
    }
    for path in ["/cron_jobs", "/users", "/user_groups"] {
        let path = format!("{path}/{}", "n".repeat(30_000));
        assert_eq!(manager.get(&path).await.0, 403, "such a name is merely not found");
    }
}

/// Credentials of any size and form cost what they must and no more.
#[tokio::test]
async fn inv_08_huge_and_odd_credentials_are_merely_wrong() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    for who in [
        basic_of("ann", "x".repeat(20_000)),
        basic_of(&"n".repeat(20_000), "x"),
        basic_of("a\0b", "x"),
        basic_of("%", "%"),
        basic_of("'; --", "x"),
        bearer(&"x".repeat(20_000)),
        bearer(&format!("nebula_{}_x", "0".repeat(16))),
        bearer(&format!("nebula_{}", "_".repeat(5_000))),
        format!("Basic {}", "=".repeat(5_000)),
    ] {
        assert_eq!(manager.login(&who).await, 401, "{who:.60}");
    }
    manager.assert_alive().await;
}

#[tokio::test]
async fn inv_08_a_body_over_the_limit_is_refused_whether_or_not_it_says_so() {
    let manager = Manager::start().await;
    let limit = 1 << 20;
    let answer = (413, json!({ "error": format!("the body is larger than {limit} bytes") }));
    let request = manager.request("POST", "/api/v2/apps/web").body(vec![b' '; limit + 1]);
    assert_eq!(read(request.send().await.unwrap()).await, answer);
    // One that says 20 GB and sends none of it.
    let head = format!(
        "POST /api/v2/apps/web HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         content-length: 20000000000\r\n\r\n",
        basic()
    );
    let mut stream = TcpStream::connect(manager.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413 "));
    // One in chunks, without a length.
    let mut stream = TcpStream::connect(manager.address).await.unwrap();
    let head = head.replace("content-length: 20000000000", "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..20 {
        // It may be refused before all is sent.
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413 "));
    let exact = manager.request("POST", "/api/v2/apps/web").body(vec![b' '; limit]);
    assert_eq!(read(exact.send().await.unwrap()).await.0, 400, "a body of the limit is read");
    manager.assert_alive().await;
}

#[tokio::test]
async fn inv_08_bytes_that_are_no_http_end_their_own_connection() {
    let manager = Manager::start().await;
    let line = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n").into_bytes()
    };
    let huge = "x".repeat(200_000);
    let many = (0..5_000).map(|i| format!("h{i}: x")).collect::<Vec<_>>().join("\r\n");
    let all: Vec<Vec<u8>> = vec![
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /\xff\xfe HTTP/1.1\r\nhost: \xff\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        line(&format!("/{huge}"), ""),
        line("/", &format!("authorization: {huge}")),
        line("/", &many),
        line("/", "content-length: -1"),
        line("/", "content-length: 5\r\ncontent-length: 6"),
        line("/", "transfer-encoding: nonsense"),
        line("/", "authorization: Basic \x01\x02"),
    ];
    for bytes in all {
        let mut stream = TcpStream::connect(manager.address).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        stream.shutdown().await.unwrap_or_default();
        let answer = rest(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        manager.assert_alive().await;
    }
}

#[tokio::test]
async fn inv_08_paths_queries_and_headers_of_all_sorts() {
    let manager = Manager::start().await;
    manager.create_group("eu", &[]).await;
    for path in [
        "/apps/%",
        "/apps/%zz",
        "/apps/%2e%2e%2f%2e%2e",
        "/apps/%00",
        "/apps/a%0d%0ab",
        "/apps/🦀",
        "/device_groups//info",
        "/device_groups/%/info",
        "/device_groups/a/b/info",
    ] {
        let (status, _) = manager.get(path).await;
        assert!((400..500).contains(&status), "{path} {status}");
    }
    let long = "n".repeat(30_000);
    assert_eq!(manager.get(&format!("/apps/{long}")).await.0, 403);
    assert_eq!(manager.get(&format!("/device_groups/{long}/info")).await.0, 403);
    let query = format!("/device_groups/eu/info?{}", "a=b&".repeat(5_000));
    assert_eq!(manager.get(&query).await.0, 200);
    let tags = "\"x\",".repeat(10_000);
    let request = manager.request("GET", "/api/v2/device_groups/eu/info");
    let response = request.header("if-none-match", tags).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Clients that send a part of a request and nothing more are cut off; others notice nothing.
#[tokio::test]
async fn inv_08_slow_clients_are_cut_off_and_block_nobody() {
    let limits = Limits {
        head: Duration::from_millis(200),
        idle: Duration::from_millis(200),
        body: Duration::from_millis(200),
        ..Limits::default()
    };
    let manager = Manager::with_limits(limits).await;
    let mut silent = Vec::new();
    for begin in [
        "",
        "G",
        "GET /api/v2/status HTTP/1.1\r\nhost: x\r\nauth",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(manager.address).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            silent.push(stream);
        }
    }
    // Its headers are whole, its body is not.
    let mut half = TcpStream::connect(manager.address).await.unwrap();
    let head = format!(
        "POST /api/v2/apps/web HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         content-length: 100\r\n\r\n{{",
        basic()
    );
    half.write_all(head.as_bytes()).await.unwrap();
    // One that used its connection and went silent.
    let mut used = TcpStream::connect(manager.address).await.unwrap();
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    manager.assert_alive().await;
    for stream in &mut silent {
        rest(stream).await;
    }
    assert!(rest(&mut half).await.starts_with("HTTP/1.1 408 "));
    assert!(rest(&mut used).await.starts_with("HTTP/1.1 200 "));
    manager.assert_alive().await;
}

/// Headers that trickle in, a byte now and then, are cut off as well.
#[tokio::test]
async fn inv_08_headers_that_trickle_are_cut_off() {
    let limits = Limits { head: Duration::from_millis(100), ..Limits::default() };
    let manager = Manager::with_limits(limits).await;
    let mut stream = TcpStream::connect(manager.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let trickle = async {
        while stream.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("it must be cut off");
}

#[tokio::test]
async fn inv_08_a_panic_is_one_request_s_500() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    moody.panics.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(manager.get("/apps").await, (500, json!({ "error": "internal error" })));
    }
    moody.panics.store(false, Ordering::SeqCst);
    assert_eq!(manager.get("/apps").await.0, 200);
}
