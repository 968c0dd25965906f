//! Who gets in.

use crate::harness::{Manager, PASSWORD, TOKEN, USER, basic, config, read};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nebula::modes::manager::Limits;
use nebula::store::SqliteStore;
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;

/// Every route, and paths that are none.
const ROUTES: [(&str, &str); 28] = [
    ("GET", "/api/v2/status"),
    ("GET", "/api/v2/apps"),
    ("GET", "/api/v2/apps/web"),
    ("HEAD", "/api/v2/apps/web"),
    ("POST", "/api/v2/apps/web"),
    ("POST", "/api/v2/apps/new"),
    ("DELETE", "/api/v2/apps/web"),
    ("POST", "/api/v2/apps/web/update"),
    ("PUT", "/api/v2/apps/web/update"),
    ("PATCH", "/api/v2/apps/web/update"),
    ("POST", "/api/v2/apps/web/start"),
    ("POST", "/api/v2/apps/web/stop"),
    ("POST", "/api/v2/apps/web/restart"),
    ("GET", "/api/v2/device_groups"),
    ("GET", "/api/v2/device_groups/eu"),
    ("POST", "/api/v2/device_groups/new"),
    ("DELETE", "/api/v2/device_groups/eu"),
    ("POST", "/api/v2/device_groups/eu/update"),
    ("PUT", "/api/v2/device_groups/eu/update"),
    ("PATCH", "/api/v2/device_groups/eu/update"),
    ("GET", "/api/v2/device_groups/eu/info"),
    ("GET", "/api/v2/device_groups/%65u/info"),
    ("POST", "/api/v2/device_groups/eu/prune"),
    ("POST", "/api/v2/prune"),
    ("GET", "/api/v2/backup"),
    ("GET", "/"),
    ("GET", "/api/v2/nothing"),
    ("OPTIONS", "/api/v2/apps"),
];

#[tokio::test]
async fn inv_07_without_valid_credentials_every_route_says_401_and_nothing_else() {
    let manager = Manager::start().await;
    manager.create_app("web").await;
    manager.create_group("eu", &["web"]).await;
    // The answer is ready, and the device has it: neither makes a difference.
    let path = "/api/v2/device_groups/eu/info";
    let known = manager.request("GET", path).send().await.unwrap();
    let etag = known.headers()["etag"].clone();
    let encode = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let wrong = [
        None,
        Some(String::new()),
        Some("Basic".to_owned()),
        Some("Basic ".to_owned()),
        Some("Basic !!!".to_owned()),
        Some(encode("")),
        Some(encode(USER)),
        Some(encode(&format!("{USER}:"))),
        Some(encode(&format!("{USER}:wrong"))),
        Some(encode(&format!("other:{PASSWORD}"))),
        Some(encode(&format!("{USER}:{PASSWORD} "))),
        Some(encode(&format!("{USER}:{PASSWORD}\0"))),
        Some(format!("Digest {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))),
        Some(format!("Basic {TOKEN}")),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some("Bearer wrong".to_owned()),
        Some(format!("Bearer {TOKEN}x")),
        Some(format!("Bearer {PASSWORD}")),
        Some(format!("Bearer {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))),
        Some(TOKEN.to_owned()),
    ];
    for (method, path) in ROUTES {
        for credentials in &wrong {
            let request = manager.client.request(method.parse().unwrap(), manager.url(path));
            let request = request.header("if-none-match", &etag).body("not even JSON");
            let request = match credentials {
                Some(value) => request.header("authorization", value),
                None => request,
            };
            let response = request.send().await.unwrap();
            let headers = response.headers();
            assert_eq!(headers["www-authenticate"], "Basic realm=\"nebula\"");
            assert_eq!(headers["cache-control"], "no-store");
            assert!(!headers.contains_key("etag") && !headers.contains_key("allow"));
            if method == "HEAD" {
                assert_eq!(response.status(), 401);
                continue;
            }
            let answer = (401, json!({ "error": "valid credentials are required" }));
            assert_eq!(read(response).await, answer, "{method} {path} {credentials:?}");
        }
    }
    // Two headers of which one is right are not for us to choose from.
    let two = manager.request("GET", path).header("authorization", "Bearer x");
    assert_eq!(two.send().await.unwrap().status(), 401);
    // Nothing of all that was done.
    assert_eq!(manager.get("/apps/web").await.1["app_id"], json!(1));
    assert_eq!(manager.get("/apps").await.1, json!({ "apps": ["web"] }));
    assert_eq!(manager.get("/device_groups").await.1, json!({ "device_groups": ["eu"] }));
    assert_eq!(manager.info("eu").await["prune_id"], json!(1));
}

#[tokio::test]
async fn the_forms_in_which_clients_send_valid_credentials() {
    let manager = Manager::start().await;
    let pair = format!("{USER}:{PASSWORD}");
    let right = [
        basic(),
        basic().replace("Basic", "basic"),
        format!("Basic {}", STANDARD_NO_PAD.encode(&pair)),
        format!("Basic   {} ", STANDARD.encode(&pair)),
        format!("Bearer {TOKEN}"),
        format!("BEARER {TOKEN}"),
    ];
    for value in right {
        let request = manager.client.get(manager.url("/api/v2/status"));
        let response = request.header("authorization", &value).send().await.unwrap();
        assert_eq!(response.status(), 200, "{value}");
    }
}

#[tokio::test]
async fn with_authentication_off_anybody_may() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let mut config = config(folder.path());
    (config.auth_enabled, config.local_admin, config.auth_token) = (false, None, None);
    let manager = Manager::over(config, store, Limits::default()).await;
    let response = manager.client.get(manager.url("/api/v2/apps")).send().await.unwrap();
    assert_eq!(read(response).await, (200, json!({ "apps": [] })));
}

#[tokio::test]
async fn a_way_in_that_is_not_configured_is_closed() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let mut config = config(folder.path());
    config.local_admin = None;
    let manager = Manager::over(config, store, Limits::default()).await;
    for value in [basic(), format!("Basic {}", STANDARD.encode(":")), "Basic ".to_owned()] {
        let request = manager.client.get(manager.url("/api/v2/apps"));
        assert_eq!(request.header("authorization", value).send().await.unwrap().status(), 401);
    }
    let request = manager.client.get(manager.url("/api/v2/apps")).bearer_auth(TOKEN);
    assert_eq!(request.send().await.unwrap().status(), 200);
}
