//! Alive, ready, and counted.

use crate::harness::{Manager, Moody, config, read};
use nebula::modes::manager::Limits;
use nebula::store::SqliteStore;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

#[tokio::test]
async fn inv_09_readiness_follows_the_store_and_life_does_not() {
    let folder = TempDir::new().unwrap();
    for is_down in [false, true] {
        let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
        moody.is_down.store(is_down, Ordering::SeqCst);
        let manager = Manager::over(config(folder.path()), moody, Limits::default()).await;
        let ask =
            async |path| read(manager.client.get(manager.url(path)).send().await.unwrap()).await;
        let status = if is_down { 503 } else { 200 };
        assert_eq!(ask("/readyz").await, (status, json!({ "ready": !is_down })));
        assert_eq!(ask("/healthz").await, (200, json!({ "alive": true })));
        manager.stop().await;
    }
}

#[tokio::test]
async fn what_happened_is_counted() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    for _ in 0..3 {
        manager.info("eu").await;
    }
    manager.send("GET", "/no/such/path", Value::Null).await;
    manager.client.get(manager.url("/api/v2/apps")).send().await.unwrap();
    let response = manager.client.get(manager.url("/metrics")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    for line in [
        "nebula_requests_total{route=\"/api/v2/apps/{name}\",method=\"POST\",status=\"200\"} 1",
        "nebula_requests_total{route=\"/api/v2/device_groups/{name}/info\",method=\"GET\",status=\"200\"} 3",
        "nebula_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
        "nebula_requests_total{route=\"unauthorized\",method=\"any\",status=\"401\"} 1",
        "nebula_info_cache_hits_total 2",
        "nebula_info_cache_misses_total 1",
        "nebula_connections 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.contains("nebula_build_info{version="));
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn paths_and_methods_that_are_none_are_told_in_json() {
    let manager = Manager::start().await;
    for path in ["/nothing", "/apps/web/nothing", "/apps/", "/apps/web/", "//apps"] {
        let (status, body) = manager.get(path).await;
        assert_eq!((status, body), (404, json!({ "error": "nothing has this path" })), "{path}");
    }
    for (method, path, allowed) in [
        ("DELETE", "/apps", "GET,HEAD"),
        ("PUT", "/apps/web", "GET,HEAD,DELETE,POST"),
        ("GET", "/apps/web/update", "POST,PUT,PATCH"),
        ("POST", "/device_groups/eu/info", "GET,HEAD"),
        ("BREW", "/status", "GET,HEAD"),
    ] {
        let response = manager.request(method, &format!("/api/v2{path}")).send().await.unwrap();
        assert_eq!(response.headers()["allow"], allowed, "{method} {path}");
        let answer = (405, json!({ "error": "this path has other methods" }));
        assert_eq!(read(response).await, answer, "{method} {path}");
    }
}
