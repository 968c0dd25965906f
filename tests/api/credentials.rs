//! Which credentials of stored users count, and for how long.

use crate::harness::{
    Manager, Moody, PASSWORD, PATIENCE, TOKEN, USER, basic, basic_of, bearer, cheap_hash, client,
    config, seed_group, seed_secrets, seed_user, user,
};
use nebula::model::{Author, SecretHash, new_token};
use nebula::modes::manager::Limits;
use nebula::store::{Kind, SqliteStore, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

const NONE: Value = Value::Null;
const INFO: &str = "/api/v2/device_groups/eu/info";

/// Makes the manager believe that so much time has passed, at a moment when nothing waits for it.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn every_form_of_password_token_and_hash_counts() {
    let (manager, store) = Manager::moody().await;
    let made = |id: u8, secret: &str| new_token([id; 8], secret).expose().clone();
    let long = "x".repeat(100);
    for (name, password, token) in [
        ("old", "p", "any-text/at.all~"),
        ("new", "with:colons:", &*made(1, "s_e_c")),
        ("long", &*long, &*long),
        ("umlaut", "pässwörd ", "t"),
    ] {
        seed_secrets(&*store, name, password, token).await;
        assert_eq!(manager.login(&basic_of(name, password)).await, 200, "{name}");
        assert_eq!(manager.login(&bearer(token)).await, 200, "{name}");
    }
    // The prefixes of other implementations, and of the original's time.
    for prefix in ["$2a$", "$2y$", "$2b$"] {
        let hash = cheap_hash("secret").as_str().replace("$2b$", prefix);
        let hash = SecretHash::new(hash);
        let name = format!("of-{}", &prefix[1..3]);
        store
            .inner
            .create(user(&name, hash, cheap_hash("-"), "-"), &Author::elsewhere())
            .await
            .unwrap();
        assert_eq!(manager.login(&basic_of(&name, "secret")).await, 200, "{prefix}");
    }
    let bytes = b"\xff\xfe:\x80";
    store
        .inner
        .create(user("bytes", cheap_hash(bytes), cheap_hash("-"), "-"), &Author::elsewhere())
        .await
        .unwrap();
    assert_eq!(manager.login(&basic_of("bytes", bytes)).await, 200);
    // bcrypt reads 72 bytes: of an old secret the rest never counted.
    let same = format!("{}yyyy", "x".repeat(72));
    assert_eq!(manager.login(&basic_of("long", &same)).await, 200);
    assert_eq!(manager.login(&basic_of("long", "x".repeat(71))).await, 401);
    // What is no hash matches nothing, not even itself.
    for (index, odd) in ["", "garbage", "$2b$04$short", "$1$abc"].into_iter().enumerate() {
        let name = format!("odd-{index}");
        store
            .inner
            .create(
                user(&name, SecretHash::new(odd), SecretHash::new(odd), "x"),
                &Author::elsewhere(),
            )
            .await
            .unwrap();
        for password in ["", odd, "garbage "] {
            assert_eq!(manager.login(&basic_of(&name, password)).await, 401, "{odd} {password}");
        }
    }
}

#[tokio::test]
async fn a_password_is_no_token_and_a_token_no_password() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    seed_secrets(&*store, "bob", "ann-token", "ann-password").await;
    // A stored user of the local admin's name is somebody else.
    seed_secrets(&*store, USER, "own", "own-token").await;
    for (who, status) in [
        (basic_of("ann", "ann-password"), 200),
        (bearer("ann-token"), 200),
        (basic_of("ann", "ann-token"), 401),
        (basic_of("bob", "ann-password"), 401),
        (basic_of("Ann", "ann-password"), 401),
        (basic_of("ann", "ann-password "), 401),
        (basic_of("ann", ""), 401),
        (basic_of("", "ann-password"), 401),
        (basic_of("ann", PASSWORD), 401),
        (basic_of("ann", TOKEN), 401),
        (bearer("ann:ann-password"), 401),
        (bearer(&basic_of("ann", "ann-password")[6..]), 401),
        (basic_of("token", TOKEN), 401),
        (basic_of("own-token", "own"), 401),
    ] {
        // Both ways: what one form proved says nothing of the other.
        assert_eq!(manager.login(&who).await, status, "{who}");
        assert_eq!(manager.login(&who).await, status, "{who} again");
    }
    // `ann-password` is bob's token: whoever shows it is bob, not ann.
    let app = json!({ "group_members": ["bob"], "apps": { "web": "ro" } });
    seed_group(&*store, "g", app).await;
    let refused = (403, json!({ "access_allowed": false }));
    let none = (403, json!({ "app_exists": false }));
    let show = async |who: &str| manager.send_as(who, "GET", "/apps/web", NONE).await;
    assert_eq!(show(&bearer("ann-password")).await, none);
    assert_eq!(show(&basic_of("ann", "ann-password")).await, refused);
    for (who, answer) in [
        (basic(), &none),
        (bearer(TOKEN), &none),
        (basic_of(USER, "own"), &refused),
        (bearer("own-token"), &refused),
    ] {
        assert_eq!(&show(&who).await, answer, "{who}");
    }
}

#[tokio::test]
async fn a_token_s_id_alone_proves_nothing() {
    let (manager, store) = Manager::moody().await;
    let made = |id: u8, secret: &str| new_token([id; 8], secret).expose().clone();
    seed_secrets(&*store, "ann", "p", &made(1, "ann-secret")).await;
    seed_secrets(&*store, "bob", "p", &made(2, "bob-secret")).await;
    // By chance of the same id.
    seed_secrets(&*store, "cid", "p", &made(1, "cid-secret")).await;
    for (token, status) in [
        (made(1, "ann-secret"), 200),
        (made(1, "cid-secret"), 200),
        (made(2, "bob-secret"), 200),
        (made(1, "bob-secret"), 401),
        (made(2, "ann-secret"), 401),
        (made(1, "wrong"), 401),
        (made(3, "ann-secret"), 401),
        ("nebula_0101010101010101_".to_owned(), 401),
        ("nebula_0101010101010101".to_owned(), 401),
        ("ann-secret".to_owned(), 401),
    ] {
        assert_eq!(manager.login(&bearer(&token)).await, status, "{token}");
    }
    let (_, user) = manager.get("/users/cid").await;
    assert_eq!(user["token_id"], json!("0101010101010101"));
}

/// Each change is seen by the very next request, on every connection, by password and by token, on
/// the path that is answered from ready bytes.
#[tokio::test]
async fn inv_12_a_change_counts_from_the_next_request_on() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("eu", &[]).await;
    let response = manager.request("GET", INFO).send().await.unwrap();
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    let connections = [client(), client()];
    let users = "/users/{user}";
    let group = "/user_groups/{user}s/update";
    for (index, (method, path, body, by_password, by_token)) in [
        ("PUT", "/users/{user}/update", json!({ "password": "new" }), 401, 304),
        ("PUT", "/users/{user}/update", json!({ "token": "new" }), 304, 401),
        ("POST", "/users/{user}/refresh", NONE, 304, 401),
        ("DELETE", users, NONE, 401, 401),
        ("PUT", group, json!({ "group_members": ["somebody"] }), 403, 403),
        ("PATCH", group, json!({ "device_groups": {} }), 403, 403),
        ("PUT", group, json!({ "device_groups": { "us": "rw" } }), 403, 403),
        ("DELETE", "/user_groups/{user}s", NONE, 403, 403),
        // Changes that take nothing away.
        ("PUT", group, json!({ "device_groups": { "eu": "rw" } }), 304, 304),
        ("PUT", group, json!({ "admin": true, "device_groups": {} }), 304, 304),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user-{index}");
        let password = seed_user(&*store, &name).await;
        let token = bearer(&format!("{name}-token"));
        let rights = json!({ "group_members": [name], "device_groups": { "eu": "ro" } });
        seed_group(&*store, &format!("{name}s"), rights).await;
        let check = async |by_password: u16, by_token: u16, when: &str| {
            for client in &connections {
                for (who, expected) in [(&password, by_password), (&token, by_token)] {
                    let request = client.get(manager.url(INFO)).header("authorization", who);
                    let response = request.header("if-none-match", &etag).send().await.unwrap();
                    let status = response.status().as_u16();
                    assert_eq!(status, expected, "{when} {method} {path} {body} {who}");
                }
            }
        };
        check(304, 304, "before").await;
        check(304, 304, "before, remembered").await;
        let path = path.replace("{user}", &name);
        let (status, answer) = manager.send(method, &path, body.clone()).await;
        assert_eq!(status, 200, "{method} {path} {answer}");
        check(by_password, by_token, "after").await;
        check(by_password, by_token, "after, again").await;
    }
}

#[tokio::test]
async fn inv_12_an_admin_who_is_one_no_more_and_a_user_who_comes_back() {
    let (manager, store) = Manager::moody().await;
    let root = seed_user(&*store, "root").await;
    seed_group(&*store, "roots", json!({ "group_members": ["root"], "admin": true })).await;
    let users = async |who: &str| manager.send_as(who, "GET", "/users/root", NONE).await.0;
    assert_eq!(users(&root).await, 200);
    // It may even take its own rights away, and not give them back.
    let update = "/user_groups/roots/update";
    let (status, _) = manager.send_as(&root, "PUT", update, json!({ "admin": false })).await;
    assert_eq!((status, users(&root).await), (200, 403));
    let (status, answer) = manager.send_as(&root, "PUT", update, json!({ "admin": true })).await;
    assert_eq!((status, answer), (403, json!({ "access_allowed": false })));
    assert_eq!(manager.send("PUT", update, json!({ "admin": true })).await.0, 200);
    assert_eq!(users(&root).await, 200);
    // Deleted and created again with the same password: in between it counts for nothing, and what
    // was wrong becomes right at once.
    assert_eq!(manager.send("DELETE", "/users/root", NONE).await.0, 200);
    assert_eq!(users(&root).await, 401);
    assert_eq!(users(&root).await, 401);
    let body = json!({ "password": "root-password", "token": "t" });
    assert_eq!(manager.send("POST", "/users/root", body).await.0, 200);
    assert_eq!(users(&root).await, 200);
}

/// A verification has read the user, then a change is acknowledged, then the verification ends.
/// Whoever asks after the change is not told what was true before it, though equal credentials are
/// verified together.
#[tokio::test]
async fn inv_12_a_verification_that_a_change_overtook_counts_for_nothing() {
    for (body, password, after) in [
        (json!({ "password": "new" }), "ann-password", 401),
        (json!({ "password": "new" }), "new", 200),
    ] {
        let (manager, store) = Manager::moody().await;
        let manager = Arc::new(manager);
        seed_user(&*store, "ann").await;
        let who = basic_of("ann", password);
        let ask = || {
            let (manager, who) = (Arc::clone(&manager), who.clone());
            tokio::spawn(async move { manager.login(&who).await })
        };
        store.gate.store(true, Ordering::SeqCst);
        let early = ask();
        store.arrived.notified().await;
        assert_eq!(manager.send("PUT", "/users/ann/update", body).await.0, 200);
        let late = ask();
        // Each of these answers takes turns with the late one.
        for _ in 0..20 {
            manager.assert_alive().await;
        }
        store.open.notify_one();
        assert_eq!(late.await.unwrap(), after, "{password}");
        // It asked before the change: both answers were true at one time.
        assert!(matches!(early.await.unwrap(), 200 | 401));
        assert_eq!(manager.login(&who).await, after, "{password}");
    }
}

/// Two managers over one store; the second hears of nothing and must look again by itself.
async fn two_managers() -> (Manager, Manager, Arc<Moody>, TempDir) {
    let folder = TempDir::new().unwrap();
    let store = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let [one, two] =
        [Arc::clone(&store), Arc::clone(&store)].map(|store| -> Arc<dyn Store> { store });
    let one = Manager::over(config(folder.path()), one, Limits::default()).await;
    let two = Manager::over(config(folder.path()), two, Limits::default()).await;
    (one, two, store, folder)
}

#[tokio::test]
async fn inv_12_what_another_manager_changed_counts_after_a_minute() {
    for (method, path, body, after) in [
        ("DELETE", "/users/ann", NONE, 401),
        ("PUT", "/users/ann/update", json!({ "password": "new" }), 401),
        ("DELETE", "/user_groups/anns", NONE, 403),
    ] {
        let (one, two, store, _folder) = two_managers().await;
        let ann = seed_user(&*store, "ann").await;
        let rights = json!({ "group_members": ["ann"], "apps": { "web": "ro" } });
        seed_group(&*store, "anns", rights).await;
        one.create_app("web").await;
        let show =
            async |manager: &Manager| manager.send_as(&ann, "GET", "/apps/web", NONE).await.0;
        assert_eq!((show(&one).await, show(&two).await), (200, 200));
        assert_eq!(one.send(method, path, body.clone()).await.0, 200);
        assert_eq!(show(&one).await, after, "{method} {path}");
        pass(61).await;
        assert_eq!(show(&two).await, after, "{method} {path}");
    }
}

/// From forty seconds on the check is made beside a request, which does not wait for it.
#[tokio::test]
async fn credentials_are_checked_again_before_anybody_has_to_wait() {
    let (one, two, store, _folder) = two_managers().await;
    let ann = seed_user(&*store, "ann").await;
    assert_eq!(two.login(&ann).await, 200);
    let read = || store.users_read.load(Ordering::SeqCst);
    let before = read();
    assert_eq!(two.login(&ann).await, 200);
    assert_eq!(read(), before, "what is remembered needs no store");
    assert_eq!(one.send("DELETE", "/users/ann", NONE).await.0, 200);
    pass(41).await;
    store.gate.store(true, Ordering::SeqCst);
    assert_eq!(two.login(&ann).await, 200, "it still counts, and the answer does not wait");
    let begun = tokio::time::timeout(PATIENCE, store.arrived.notified()).await;
    begun.expect("the check must begin");
    store.open.notify_one();
    let refused = async { while two.login(&ann).await != 401 {} };
    tokio::time::timeout(PATIENCE, refused).await.expect("the check must be made");
}

#[tokio::test]
async fn inv_09_a_store_that_is_down_lets_in_whom_it_knew_and_nobody_else() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("eu", &[]).await;
    manager.info("eu").await;
    let all =
        json!({ "group_members": ["known", "changed", "new"], "device_groups": { "eu": "ro" } });
    seed_group(&*store, "g", all).await;
    let known = seed_user(&*store, "known").await;
    let changed = seed_user(&*store, "changed").await;
    let new = seed_user(&*store, "new").await;
    let wrong = basic_of("known", "wrong");
    let info = async |who: &str| {
        let response = manager.request_as(who, "GET", INFO).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        status
    };
    assert_eq!((info(&known).await, info(&changed).await), (200, 200));
    let body = json!({ "password": "other" });
    assert_eq!(manager.send("PUT", "/users/changed/update", body).await.0, 200);
    store.is_down.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(info(&known).await, 200);
        assert_eq!(info(&bearer("nobodys")).await, 503, "it may be somebody's");
        assert_eq!(info(&wrong).await, 503);
        assert_eq!(info(&new).await, 503, "right, but nobody can know");
        assert_eq!(info(&changed).await, 503, "wrong by now, but nobody can know");
    }
    // An hour of it.
    pass(61).await;
    assert_eq!((info(&known).await, info(&new).await), (200, 503));
    store.is_down.store(false, Ordering::SeqCst);
    assert_eq!((info(&known).await, info(&new).await), (200, 200));
    assert_eq!((info(&wrong).await, info(&changed).await), (401, 401));
    assert_eq!(info(&bearer("nobodys")).await, 401);
    assert_eq!(info(&basic_of("changed", "other")).await, 200);
    assert!(store.inner.get(Kind::User, "known").await.unwrap().is_some());
}
