//! No password, token or hash is told to anybody who should not see it: not in logs, lists, errors
//! or `Debug`.

use crate::harness::{Manager, basic_of, bearer, cheap_hash, read, seed_user, user};
use nebula::model::Author;
use nebula::store::{KnownGroups, Object, Store};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tracing_subscriber::EnvFilter;

const NONE: Value = Value::Null;

/// All that is logged in this process, of every test that runs beside.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// The lines about a name.
    fn about(&self, name: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(name)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// For every thread: hashes are computed and the store is read on others than the test's.
fn capture() -> Log {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("nebula=trace"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    log
}

/// One test, for there is one log.
#[tokio::test]
async fn inv_30_logs_say_who_did_what_and_no_secret() {
    let log = capture();
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "log-ann").await;
    let group = json!({ "group_members": ["log-ann"], "apps": { "log-app": "ro" } });
    let mut secrets: Vec<String> = Vec::new();
    let replies = Mutex::new(String::new());
    let send = async |who: &str, method: &str, path: &str, body: Value| {
        let (status, answer) = manager.send_as(who, method, path, body).await;
        if status >= 400 {
            *replies.lock().unwrap() += &answer.to_string();
        }
        (status, answer)
    };
    let admin = crate::harness::basic();
    // Everything that takes, makes or keeps a secret, well and badly.
    let given = json!({ "password": "s3cret-password", "token": "s3cret-token" });
    send(&admin, "POST", "/users/log-bob", given).await;
    let (_, made) = send(&admin, "POST", "/users/log-cid", NONE).await;
    let (_, fresh) = send(&admin, "POST", "/users/log-cid/refresh", NONE).await;
    let new = json!({ "password": "s3cret-second", "token": "s3cret-third" });
    send(&admin, "PUT", "/users/log-bob/update", new).await;
    for bad in [
        json!({ "password": "s3cret-bad\n" }),
        json!({ "token": "s3cret bad ü" }),
        json!({ "password": ["s3cret-list"] }),
        json!({ "password": { "s3cret-key": 1 } }),
        json!({ "token": "s3cret-fine", "colour": "s3cret-colour" }),
        json!({ "user_name": "s3cret-name" }),
        json!({ "password": format!("s3cret-{}", "x".repeat(80)) }),
    ] {
        assert_eq!(send(&admin, "PUT", "/users/log-bob/update", bad).await.0, 400);
    }
    let broken = manager.request("PUT", "/api/v2/users/log-bob/update");
    let broken = broken.body("{\"password\": \"s3cret-broken\", }").send().await.unwrap();
    let (_, answer) = read(broken).await;
    *replies.lock().unwrap() += &answer.to_string();
    send(&admin, "POST", "/user_groups/log-group", group).await;
    send(&admin, "GET", "/apps?token=s3cret-query", NONE).await;
    for (who, expected) in [
        (basic_of("log-bob", "s3cret-wrong"), 401),
        (basic_of("s3cret-as-a-name", "x"), 401),
        (bearer("s3cret-bearer"), 401),
        (bearer("nebula_0909090909090909_s3cret"), 401),
        (basic_of("log-bob", "s3cret-second"), 200),
        (bearer("s3cret-third"), 200),
        (ann.clone(), 200),
        (bearer("log-ann-token"), 200),
    ] {
        assert_eq!(send(&who, "GET", "/status", NONE).await.0, expected);
    }
    send(&ann, "POST", "/apps/log-app", NONE).await;
    store.is_down.store(true, Ordering::SeqCst);
    assert_eq!(send(&basic_of("log-bob", "s3cret-down"), "GET", "/status", NONE).await.0, 503);
    store.is_down.store(false, Ordering::SeqCst);
    send(&admin, "DELETE", "/users/log-cid", NONE).await;

    for (value, keys) in [(&made["generated"], ["password", "token"]), (&fresh, ["token", "token"])]
    {
        secrets.extend(keys.map(|key| value[key].as_str().unwrap().to_owned()));
    }
    secrets.extend(
        [made["password"].clone(), made["token"].clone()].map(|v| v.as_str().unwrap().to_owned()),
    );
    secrets.extend(["s3cret", "log-ann-password", "log-ann-token", "$2b$"].map(str::to_owned));
    let (_, users) = manager.get("/users").await;
    let (_, groups) = manager.get("/user_groups/log-group").await;
    let text = log.text();
    for secret in &secrets {
        for (place, told) in [
            ("the log", &text),
            ("an error", &*replies.lock().unwrap()),
            ("a list", &users.to_string()),
            ("a group", &groups.to_string()),
        ] {
            let line = told.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "`{secret}` is in {place}");
        }
    }
    // And it says what happened: or else this test would pass without a log.
    for (about, words) in [
        ("/users/log-bob", ["write done", "who=\"local:nebula\"", "method=\"POST\"", "status=200"]),
        ("/users/log-cid/refresh", ["write done", "127.0.0.1", "method=\"POST\"", "status=200"]),
        ("/users/log-bob/update", ["write refused", "status=400", "why=\"invalid\"", "INFO"]),
        ("who=\"log-bob\"", ["not let in", "status=401", "127.0.0.1", "INFO"]),
        ("/apps/log-app", ["not permitted", "who=\"log-ann\"", "status=403", "INFO"]),
    ] {
        let lines = log.about(about);
        let has_all = |line: &String| words.iter().all(|word| line.contains(word));
        assert!(lines.iter().any(has_all), "{about} {words:?} {lines:#?}");
    }
}

#[tokio::test]
async fn inv_30_what_a_store_gives_prints_without_secrets() {
    let (_manager, store) = Manager::moody().await;
    let token = nebula::model::new_token([0xab; 8], "s3cret");
    let ann = user("ann", cheap_hash("s3cret"), cheap_hash(token.expose()), token.expose());
    let written = store.inner.create(ann, &Author::elsewhere()).await.unwrap();
    let object: Object = written.object.clone().into();
    let snapshot = store.user_snapshot("ann", &KnownGroups::new()).await.unwrap().unwrap();
    for printed in [format!("{written:?}"), format!("{object:#?}"), format!("{snapshot:?}")] {
        assert!(printed.contains("ann") && printed.contains("***"), "{printed}");
        assert!(!printed.contains("$2b$") && !printed.contains("s3cret"), "{printed}");
    }
}
