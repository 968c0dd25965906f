//! How often somebody may be wrong, and that others do not suffer from it.

use crate::harness::{Manager, PATIENCE, basic_of, bearer, client_builder, read, seed_user};
use reqwest::Response;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// More than any burst.
const MANY: usize = 100;
/// How often one user may be wrong at once.
const BURST: usize = 10;

async fn status_of(manager: &Manager, who: &str) -> Response {
    manager.request_as(who, "GET", "/api/v2/status").send().await.unwrap()
}

/// Guesses the passwords of these users in turn, each guess another one, until it is told to wait.
/// Returns the number of guesses that were looked at, and the seconds to wait.
async fn guess(manager: &Manager, names: &[&str]) -> (usize, u64) {
    for index in 0..MANY {
        let who = basic_of(names[index % names.len()], format!("guess-{index}"));
        let request = manager.request_as(&who, "GET", "/api/v2/status");
        // A header that anybody can write is no address.
        let forwarded = format!("10.0.0.{index}");
        let response = request.header("x-forwarded-for", forwarded).send().await.unwrap();
        if response.status() == 401 {
            continue;
        }
        assert!(!response.headers().contains_key("www-authenticate"));
        let seconds = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer = (429, json!({ "error": "too many failed logins, try again later" }));
        assert_eq!(read(response).await, answer);
        return (index, seconds);
    }
    panic!("nobody was told to wait");
}

#[tokio::test]
async fn inv_11_whoever_guesses_is_told_to_wait_and_others_are_not() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    let bob = seed_user(&*store, "bob").await;
    let cid = seed_user(&*store, "cid").await;
    assert_eq!(manager.login(&ann).await, 200);
    let (looked_at, seconds) = guess(&manager, &["ann"]).await;
    assert!(looked_at >= BURST, "a person mistypes a few times: {looked_at}");
    assert!((1..=6).contains(&seconds));
    // Whoever was let in before is not hindered, by a change of somebody else neither.
    assert_eq!(manager.login(&ann).await, 200);
    let group = json!({ "group_members": ["ann"], "apps": { "web": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/g", group).await.0, 200);
    assert_eq!(manager.login(&ann).await, 200, "rights are read again, the hash is not computed");
    let password = json!({ "password": "new" });
    assert_eq!(manager.send("PUT", "/users/cid/update", password).await.0, 200);
    assert_eq!(manager.login(&ann).await, 200);
    // Nor is another user who comes for the first time, nor are the configured ones.
    assert_eq!(manager.login(&bob).await, 200);
    assert_eq!(manager.login(&bearer("bob-token")).await, 200);
    assert_eq!(manager.login(&cid).await, 401);
    manager.assert_alive().await;
    // What it was told is true.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
    assert_eq!(manager.login(&basic_of("ann", "one more")).await, 401);
}

#[tokio::test]
async fn an_address_that_guesses_many_users_is_told_to_wait_as_well() {
    let (manager, store) = Manager::moody().await;
    let names: Vec<String> = (0..20).map(|index| format!("user-{index}")).collect();
    for name in &names {
        seed_user(&*store, name).await;
    }
    let ann = seed_user(&*store, "ann").await;
    let bob = seed_user(&*store, "bob").await;
    assert_eq!(manager.login(&ann).await, 200);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (looked_at, seconds) = guess(&manager, &names).await;
    assert!((30..MANY).contains(&looked_at) && (1..=2).contains(&seconds), "{looked_at}");
    assert_eq!(manager.login(&ann).await, 200, "she was let in before");
    // From another address.
    let other = IpAddr::from([127, 0, 0, 2]);
    let elsewhere = client_builder().local_address(other).build().unwrap();
    let request = elsewhere.get(manager.url("/api/v2/status"));
    let response = request.header("authorization", &bob).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn whoever_is_right_uses_nothing_up() {
    let (manager, store) = Manager::moody().await;
    for index in 0..60 {
        let who = seed_user(&*store, &format!("user-{index}")).await;
        assert_eq!(manager.login(&who).await, 200, "{index}");
    }
}

/// A fleet with an old token asks for ever.
#[tokio::test]
async fn the_same_wrong_credentials_are_looked_at_once() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    let wrong = basic_of("ann", "will be right");
    for _ in 0..MANY {
        assert_eq!(manager.login(&wrong).await, 401);
    }
    assert_eq!(store.users_read.load(Ordering::SeqCst), 1);
    for token in ["old", "nebula_0101010101010101_x"] {
        for _ in 0..MANY {
            assert_eq!(manager.login(&bearer(token)).await, 401);
        }
    }
    let body = json!({ "password": "will be right" });
    assert_eq!(manager.send("PUT", "/users/ann/update", body).await.0, 200);
    assert_eq!(manager.login(&wrong).await, 200, "it is right now");
    let body = json!({ "token": "old" });
    assert_eq!(manager.send("PUT", "/users/ann/update", body).await.0, 200);
    assert_eq!(manager.login(&bearer("old")).await, 200);
}

/// A thousand devices share a token and come at once.
#[tokio::test]
async fn equal_credentials_that_come_at_once_are_verified_once() {
    let (manager, store) = Manager::moody().await;
    let manager = Arc::new(manager);
    let ann = seed_user(&*store, "ann").await;
    for (who, status) in [(ann, 200), (basic_of("ann", "wrong"), 401)] {
        let read_before = store.users_read.load(Ordering::SeqCst);
        store.gate.store(true, Ordering::SeqCst);
        let mut devices = JoinSet::new();
        for _ in 0..40 {
            let (manager, who) = (Arc::clone(&manager), who.clone());
            devices.spawn(async move { status_of(&manager, &who).await.status().as_u16() });
        }
        store.arrived.notified().await;
        // Meanwhile most of the others come as well: each of these answers takes turns with them.
        for _ in 0..40 {
            manager.assert_alive().await;
        }
        store.open.notify_one();
        let answers = devices.join_all().await;
        assert!(answers.iter().all(|answer| *answer == status), "{answers:?}");
        assert_eq!(store.users_read.load(Ordering::SeqCst), read_before + 1);
    }
}

/// What could not be looked at was no failure of whoever asked.
#[tokio::test]
async fn inv_09_a_store_that_was_down_uses_nobody_s_tries_up() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    store.is_down.store(true, Ordering::SeqCst);
    for _ in 0..MANY {
        assert_eq!(manager.login(&ann).await, 503);
    }
    store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(manager.login(&ann).await, 200);
}

/// A client that goes away while its credentials are verified leaves nothing behind that hinders.
#[tokio::test]
async fn a_client_that_gives_up_is_verified_all_the_same() {
    let (manager, store) = Manager::moody().await;
    let ann = seed_user(&*store, "ann").await;
    store.gate.store(true, Ordering::SeqCst);
    let impatient = tokio::spawn(manager.request_as(&ann, "GET", "/api/v2/status").send());
    store.arrived.notified().await;
    impatient.abort();
    assert!(impatient.await.is_err());
    manager.assert_alive().await;
    store.open.notify_one();
    let read = || store.users_read.load(Ordering::SeqCst);
    let known = tokio::time::timeout(PATIENCE, manager.login(&ann)).await;
    assert_eq!((known.unwrap(), read()), (200, 1), "it found the answer or waited for it");
    assert_eq!(manager.send_as(&ann, "GET", "/apps", Value::Null).await.0, 200);
}

#[tokio::test]
async fn inv_11_a_new_token_is_not_shut_out_by_whoever_guesses_beside_it() {
    let (manager, _store) = Manager::moody().await;
    let made = manager.send("POST", "/users/dev", Value::Null).await.1;
    let token = made["generated"]["token"].as_str().unwrap();
    // All at once: one after the other, a slow machine's hashes would take longer than a place.
    let is_told_to_wait = async |who: fn(usize) -> String| {
        let mut guesses = JoinSet::new();
        for number in 0..MANY {
            guesses.spawn(manager.request_as(&who(number), "GET", "/api/v2/status").send());
        }
        guesses.join_all().await.into_iter().any(|answer| answer.unwrap().status() == 429)
    };
    assert!(is_told_to_wait(|number| basic_of(&format!("user-{number}"), "guess")).await);
    assert_eq!(manager.login(&bearer(token)).await, 200, "nobody guesses the id of a token");
    // Whoever makes an id up is a guesser like any other.
    assert!(is_told_to_wait(|number| bearer(&format!("nebula_{number:016x}_x"))).await);
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_an_address_of_its_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = Arc::new(nebula::store::SqliteStore::open(folder.path()).await.unwrap());
    let mut config = crate::harness::config(folder.path());
    config.trusted_proxies = ["127.0.0.0/8", "10.1.1.1/32"].map(|net| net.parse().unwrap()).into();
    let manager = Manager::over(config, store, nebula::modes::manager::Limits::default()).await;
    let ask = async |number: usize, forwarded: &str| {
        let who = basic_of("ann", format!("guess-{forwarded}-{number}"));
        let request = manager.request_as(&who, "GET", "/api/v2/status");
        request.header("x-forwarded-for", forwarded).send().await.unwrap().status().as_u16()
    };
    let mut number = 0;
    while ask(number, "192.0.2.1").await == 401 {
        number += 1;
        assert!(number < MANY, "nobody was told to wait");
    }
    // What a client wrote itself stands before what the proxy added.
    assert_eq!(ask(0, "192.0.2.9, 192.0.2.1").await, 429);
    assert_eq!(ask(0, "192.0.2.9, 192.0.2.1, 10.1.1.1").await, 429, "through two proxies");
    assert_eq!(ask(0, "192.0.2.2").await, 401);
    assert_eq!(ask(0, "192.0.2.1, 192.0.2.2:4711").await, 401);
    assert_eq!(ask(0, "nonsense").await, 401, "it counts for the proxy");
}

/// How many hashes were computed for credentials that nobody knew yet.
async fn hashes(manager: &Manager) -> u64 {
    let metrics = manager.client.get(manager.url("/metrics")).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("nebula_hashes_total{lane=\"open\"} "));
    line.map_or(0, |number| number.parse().unwrap())
}

#[tokio::test]
async fn a_change_of_one_user_or_of_any_group_makes_nobody_else_hash_again() {
    let (manager, store) = Manager::moody().await;
    let (ann, bob) = (seed_user(&*store, "ann").await, seed_user(&*store, "bob").await);
    assert_eq!((manager.login(&ann).await, manager.login(&bob).await), (200, 200));
    let before = hashes(&manager).await;
    assert_eq!(before, 2, "one for each");
    let password = json!({ "password": "new" });
    assert_eq!(manager.send("PUT", "/users/bob/update", password).await.0, 200);
    let group = json!({ "group_members": ["ann"], "apps": { "web": "ro" } });
    assert_eq!(manager.send("POST", "/user_groups/g", group).await.0, 200);
    assert_eq!(manager.login(&ann).await, 200);
    assert_eq!(hashes(&manager).await, before);
    assert_eq!(manager.login(&bob).await, 401, "it is another password now");
    assert_eq!(hashes(&manager).await, before + 1);
    // A user who does not exist costs what one who does costs.
    assert_eq!(manager.login(&basic_of("nobody", "x")).await, 401);
    assert_eq!(hashes(&manager).await, before + 2);
}
