//! Devices with credentials of their own: how they get them, what these are good for, and how they
//! end. Certificates are in `server`.

use crate::harness::{Manager, PATIENCE, bearer, config, read, seed_group, seed_user};
use crate::info::until_parked;
use crate::reports::report;
use nebula::model::{
    Admitted, Author, DeviceCredential, DeviceName, Enrollment, EnrollmentId, Identity, Revision,
    TokenDigest, new_device_token, new_enrollment_token,
};
use nebula::modes::manager::Limits;
use nebula::store::{Kind, SqliteStore, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const NONE: Value = Value::Null;
/// 43 characters, as 32 bytes have.
const SECRET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

/// The token that a device of this name made in these tests.
pub(crate) fn device_token(hostname: &str) -> String {
    new_device_token(hostname, SECRET).expose().clone()
}

/// The record of a device with that token.
pub(crate) fn enrolled_device(hostname: &str, group: &str) -> DeviceCredential {
    let token = Some(TokenDigest::of(device_token(hostname).as_bytes()));
    let hostname = DeviceName::new(hostname).unwrap();
    let new = DeviceCredential::new(hostname, group.to_owned());
    DeviceCredential { token, enrolled_at: Some(1), ..new }
}

/// An enrollment that has not ended, and its token.
pub(crate) fn enrollment(group: &str, devices: usize) -> (Enrollment, String) {
    let id = EnrollmentId::new(u32::MAX, group, rand::random());
    let text = new_enrollment_token(&id, SECRET).expose().clone();
    let enrollment = Enrollment {
        identity: Identity::default(),
        enrollment: id,
        device_group: group.to_owned(),
        token: TokenDigest::of(text.as_bytes()),
        devices,
        used: Vec::new(),
    };
    (enrollment, text)
}

fn admitted(hostname: &str, seen: Revision) -> Admitted {
    let token = TokenDigest::of(device_token(hostname).as_bytes());
    Admitted { hostname: DeviceName::new(hostname).unwrap(), token, seen }
}

/// Makes an enrollment token of a group, and shows its header.
async fn made(manager: &Manager, group: &str, body: Value) -> String {
    let (status, made) =
        manager.send("POST", &format!("/device_groups/{group}/enroll"), body).await;
    assert_eq!(status, 200, "{made}");
    bearer(made["enrollment_token"].as_str().unwrap())
}

/// Exchanges it for the token that a device of this name made.
async fn exchange(manager: &Manager, by: &str, hostname: &str) -> (u16, Value) {
    exchange_for(manager, by, hostname, &device_token(hostname)).await
}

async fn exchange_for(manager: &Manager, by: &str, hostname: &str, token: &str) -> (u16, Value) {
    let body = json!({ "hostname": hostname, "token": token });
    manager.send_as(by, "POST", "/enroll", body).await
}

async fn checks_in(manager: &Manager, who: &str, group: &str) -> u16 {
    manager.send_as(who, "GET", &format!("/device_groups/{group}/info"), NONE).await.0
}

fn refused() -> (u16, Value) {
    (401, json!({ "error": "valid credentials are required" }))
}

/// A token of the same device with another secret.
fn other_token(hostname: &str) -> String {
    new_device_token(hostname, &SECRET.replace('a', "_")).expose().clone()
}

#[tokio::test]
async fn device_enrolls_checks_in_and_reports_until_it_is_revoked() {
    let manager = Manager::start().await;
    manager.create_group("shop", &[]).await;
    manager.create_group("bar", &[]).await;
    let (status, told) = manager.send("POST", "/device_groups/shop/enroll", NONE).await;
    assert_eq!((status, &told["device_group"], &told["devices"]), (200, &json!("shop"), &json!(1)));
    let by = bearer(told["enrollment_token"].as_str().unwrap());
    let enrolled = (200, json!({ "hostname": "till 1/ü", "device_group": "shop" }));
    assert_eq!(exchange(&manager, &by, "till 1/ü").await, enrolled);
    let till = bearer(&device_token("till 1/ü"));
    assert_eq!(checks_in(&manager, &till, "shop").await, 200);
    assert_eq!(checks_in(&manager, &till, "bar").await, 403);
    let bring =
        |report: Value| manager.send_as(&till, "POST", "/reports", json!({ "reports": [report] }));
    assert_eq!(bring(report(1, "till 1/ü", "shop")).await.0, 202);
    for another in [report(2, "till 2", "shop"), report(3, "till 1/ü", "bar")] {
        assert_eq!(bring(another).await, (403, json!({ "access_allowed": false })));
    }
    let path = "/devices/till%201%2F%C3%BC";
    let (_, device) = manager.get(path).await;
    assert!(device["credential"]["enrolled_at"].as_u64() > Some(1_000_000), "{device}");
    assert_eq!(device["credential"]["revoked_at"], NONE);
    let (status, revoked) = manager.send("POST", &format!("{path}/revoke"), NONE).await;
    assert_eq!((status, &revoked["hostname"]), (200, &json!("till 1/ü")));
    assert_eq!(checks_in(&manager, &till, "shop").await, 401);
    assert_eq!(bring(report(4, "till 1/ü", "shop")).await.0, 401);
    let (_, device) = manager.get(path).await;
    assert_eq!(device["credential"]["revoked_at"], revoked["revoked_at"]);
    // What let it in once does not let it in again, and what is new does.
    assert_eq!(exchange(&manager, &by, "till 1/ü").await, refused());
    let by = made(&manager, "shop", NONE).await;
    assert_eq!(exchange_for(&manager, &by, "till 1/ü", &other_token("till 1/ü")).await, enrolled);
    assert_eq!(checks_in(&manager, &bearer(&other_token("till 1/ü")), "shop").await, 200);
    assert_eq!(checks_in(&manager, &till, "shop").await, 401);
}

#[tokio::test]
async fn enrollment_token_is_good_for_so_many_devices_and_the_same_exchange_again_is_none() {
    let manager = Manager::start().await;
    manager.create_group("shop", &[]).await;
    let by = made(&manager, "shop", json!({ "devices": 2 })).await;
    for hostname in ["a", "a", "b", "a", "b"] {
        assert_eq!(exchange(&manager, &by, hostname).await.0, 200, "{hostname}");
    }
    assert_eq!(exchange(&manager, &by, "c").await, refused());
    // The same device with another token is one more.
    assert_eq!(exchange_for(&manager, &by, "a", &other_token("a")).await, refused());
    assert_eq!(checks_in(&manager, &bearer(&device_token("a")), "shop").await, 200);
    // It is good for nothing else.
    assert_eq!(checks_in(&manager, &by, "shop").await, 403);
    assert_eq!(manager.login(&by).await, 403);
}

#[tokio::test]
async fn exchange_that_was_cut_off_between_its_writes_ends_in_an_enrolled_device() {
    let (manager, store) = Manager::moody().await;
    let (mut half, token) = enrollment("shop", 1);
    let seen = Revision::default();
    assert!(half.admit(admitted("till", seen)));
    let store: Arc<dyn Store> = store.inner.clone();
    store.create(half, &Author::elsewhere()).await.unwrap();
    let answer = exchange(&manager, &bearer(&token), "till").await;
    assert_eq!(answer, (200, json!({ "hostname": "till", "device_group": "shop" })));
}

#[tokio::test]
async fn exchange_that_cannot_be_is_refused_by_its_field() {
    let (manager, store) = Manager::moody().await;
    let by = |(enrollment, token): (Enrollment, String)| {
        let store = store.inner.clone();
        async move {
            store.create(enrollment, &Author::elsewhere()).await.unwrap();
            bearer(&token)
        }
    };
    let right = by(enrollment("shop", 1)).await;
    for (body, field) in [
        (json!({}), "hostname"),
        (json!({ "hostname": "a" }), "token"),
        (json!({ "hostname": "", "token": device_token("a") }), "hostname"),
        (json!({ "hostname": "a", "token": "a-token" }), "token"),
        (json!({ "hostname": "a", "token": device_token("b") }), "token"),
        (json!({ "hostname": "a", "token": format!("{}=", device_token("a")) }), "token"),
        (json!({ "hostname": "a", "token": device_token("a"), "colour": "red" }), "colour"),
    ] {
        let (status, answer) = manager.send_as(&right, "POST", "/enroll", body.clone()).await;
        assert!(status == 400 && answer[field].is_string(), "{body} {answer}");
        assert!(!answer.to_string().contains(SECRET), "{answer}");
    }
    // Another secret, another id, one that has ended.
    let (id, secret) = right.rsplit_once('_').unwrap();
    let wrong_secret = format!("{id}_{}", secret.replace('a', "b"));
    let (_, never_made) = enrollment("shop", 1);
    let (mut ended, _) = enrollment("shop", 1);
    ended.enrollment = EnrollmentId::new(1_000_000, "shop", rand::random());
    let token = new_enrollment_token(&ended.enrollment, SECRET).expose().clone();
    ended.token = TokenDigest::of(token.as_bytes());
    let ended = by((ended, token)).await;
    for wrong in [wrong_secret, bearer(&never_made), ended] {
        assert_eq!(exchange(&manager, &wrong, "a").await, refused(), "{wrong}");
    }
    // One that is of another group already stays there.
    let there = enrolled_device("till", "bar");
    store.inner.create(there, &Author::elsewhere()).await.unwrap();
    let (status, answer) = exchange(&manager, &right, "till").await;
    assert!(status == 400 && answer["hostname"].is_string(), "{answer}");
    assert_eq!(exchange(&manager, &right, "a").await.0, 200);
}

#[tokio::test]
async fn enrollment_is_asked_for_within_bounds_and_those_that_ended_are_removed() {
    let (manager, store) = Manager::moody().await;
    let path = "/device_groups/shop/enroll";
    let unknown = (403, json!({ "device_group_exists": false }));
    assert_eq!(manager.send("POST", path, NONE).await, unknown);
    manager.create_group("shop", &[]).await;
    for (body, field) in [
        (json!({ "devices": 0 }), "devices"),
        (json!({ "devices": 1_001 }), "devices"),
        (json!({ "ttl_seconds": 59 }), "ttl_seconds"),
        (json!({ "ttl_seconds": 2_592_001 }), "ttl_seconds"),
        (json!({ "ttl_seconds": "1h" }), "ttl_seconds"),
        (json!({ "uses": 1 }), "uses"),
    ] {
        let (status, answer) = manager.send("POST", path, body.clone()).await;
        assert!(status == 400 && answer[field].is_string(), "{body} {answer}");
    }
    let (mut ended, _) = enrollment("shop", 1);
    ended.enrollment = EnrollmentId::new(1_000_000, "shop", rand::random());
    store.inner.create(ended, &Author::elsewhere()).await.unwrap();
    manager.send("POST", path, json!({ "devices": 1_000, "ttl_seconds": 60 })).await;
    assert_eq!(store.inner.names(Kind::Enrollment).await.unwrap().len(), 1);
}

#[tokio::test]
async fn inv_12_a_parked_device_is_shut_out_at_once_and_others_stay() {
    let manager = Arc::new(Manager::start().await);
    manager.create_group("shop", &[]).await;
    let by = made(&manager, "shop", json!({ "devices": 2 })).await;
    let mut parked = Vec::new();
    for hostname in ["lost", "kept"] {
        assert_eq!(exchange(&manager, &by, hostname).await.0, 200);
        let who = bearer(&device_token(hostname));
        let path = "/api/v2/device_groups/shop/info?wait=30";
        let etag = manager.request_as(&who, "GET", path).send().await.unwrap().headers()["etag"]
            .to_str()
            .unwrap()
            .to_owned();
        let request = manager.request_as(&who, "GET", path).header("if-none-match", etag);
        parked.push(tokio::spawn(request.timeout(PATIENCE).send()));
    }
    until_parked(&manager, 2).await;
    assert_eq!(manager.send("POST", "/devices/lost/revoke", NONE).await.0, 200);
    let lost = parked.remove(0).await.unwrap().unwrap();
    assert_eq!(read(lost).await, refused());
    // The other one hears of a change, as ever.
    let (status, _) = manager
        .send("PATCH", "/device_groups/shop/update", json!({ "apps": [], "cron_jobs": [] }))
        .await;
    assert_eq!(status, 202);
    assert_eq!(parked.remove(0).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn inv_09_devices_go_on_while_the_store_is_away_and_no_other_ones_come() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("shop", &[]).await;
    let by = made(&manager, "shop", json!({ "devices": 2 })).await;
    for hostname in ["a", "b"] {
        assert_eq!(exchange(&manager, &by, hostname).await.0, 200);
    }
    let (a, b) = (bearer(&device_token("a")), bearer(&device_token("b")));
    assert_eq!(checks_in(&manager, &a, "shop").await, 200);
    store.is_down.store(true, Ordering::SeqCst);
    assert_eq!(checks_in(&manager, &a, "shop").await, 200);
    assert_eq!(checks_in(&manager, &b, "shop").await, 503);
    assert_eq!(manager.send("POST", "/devices/a/revoke", NONE).await.0, 503);
    store.is_down.store(false, Ordering::SeqCst);
    assert_eq!(checks_in(&manager, &b, "shop").await, 200);
}

#[tokio::test]
async fn inv_07_who_may_revoke_a_device() {
    let (manager, store) = Manager::moody().await;
    let unknown = (403, json!({ "device_exists": false }));
    for (name, access) in [("reader", "ro"), ("writer", "rw")] {
        seed_user(&*store, name).await;
        let grants = json!({ "group_members": [name], "device_groups": { "shop": access } });
        seed_group(&*store, &format!("{name}s"), grants).await;
    }
    for (hostname, group) in [("till", "shop"), ("jukebox", "bar")] {
        store.inner.create(enrolled_device(hostname, group), &Author::elsewhere()).await.unwrap();
    }
    let (reader, writer) = (basic("reader"), basic("writer"));
    let revoke = |who: String, hostname: &'static str| {
        let (manager, path) = (&manager, format!("/devices/{hostname}/revoke"));
        async move { manager.send_as(&who, "POST", &path, NONE).await }
    };
    assert_eq!(revoke(reader.clone(), "jukebox").await, unknown);
    assert_eq!(revoke(writer.clone(), "jukebox").await, unknown);
    assert_eq!(revoke(writer.clone(), "ghost").await, unknown);
    assert_eq!(revoke(reader, "till").await, (403, json!({ "access_allowed": false })));
    assert_eq!(checks_in(&manager, &bearer(&device_token("till")), "shop").await, 403);
    assert_eq!(revoke(writer, "till").await.0, 200);
    assert_eq!(checks_in(&manager, &bearer(&device_token("till")), "shop").await, 401);
    // One that came by a certificate alone, and never told of itself.
    assert_eq!(manager.send("POST", "/devices/ghost/revoke", NONE).await.0, 200);
    assert!(store.inner.get(Kind::DeviceCredential, "ghost").await.unwrap().is_some());
}

fn basic(name: &str) -> String {
    crate::harness::basic_of(name, format!("{name}-password"))
}

#[tokio::test]
async fn inv_30_no_token_is_in_the_store_or_its_export() {
    let folder = TempDir::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    manager.create_group("shop", &[]).await;
    let by = made(&manager, "shop", NONE).await;
    assert_eq!(exchange(&manager, &by, "till").await.0, 200);
    let export = manager.request("GET", "/api/v2/export").send().await.unwrap();
    let export = export.text().await.unwrap();
    assert!(export.contains("\"hostname\":\"till\""), "{export}");
    assert!(!export.contains("enrollment"), "{export}");
    let secret = by.rsplit_once('_').unwrap().1;
    let mut files = vec![export.into_bytes()];
    for file in std::fs::read_dir(folder.path()).unwrap() {
        files.push(std::fs::read(file.unwrap().path()).unwrap_or_default());
    }
    for secret in [secret, SECRET] {
        let holds = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!files.iter().any(holds), "{secret}");
    }
}

/// The record is not what it was at the admission: somebody shut the device out in between.
#[tokio::test]
async fn exchange_that_was_overtaken_by_a_revocation_lets_nobody_in() {
    let (manager, store) = Manager::moody().await;
    let store: Arc<dyn Store> = store.inner.clone();
    for (hostname, is_there) in [("new", false), ("known", true)] {
        let mut seen = Revision::default();
        if is_there {
            let there = enrolled_device(hostname, "shop");
            let there = DeviceCredential { token: None, ..there };
            seen = store.create(there, &Author::elsewhere()).await.unwrap().revision;
        }
        let (mut half, token) = enrollment("shop", 2);
        assert!(half.admit(admitted(hostname, seen)));
        store.create(half, &Author::elsewhere()).await.unwrap();
        // Straight to the record, so that the enrollment is not ended with it.
        let shop = ["shop".to_owned()];
        if let Some(mut known) = store.find::<DeviceCredential>(hostname).await.unwrap() {
            known.revoke(&shop, 1_000_000);
            store.update(known, seen, &Author::elsewhere()).await.unwrap();
        } else {
            let name = DeviceName::new(hostname).unwrap();
            let mut new = DeviceCredential::new(name, "shop".to_owned());
            new.revoke(&shop, 1_000_000);
            store.create(new, &Author::elsewhere()).await.unwrap();
        }
        assert_eq!(exchange(&manager, &bearer(&token), hostname).await, refused(), "{hostname}");
        assert_eq!(checks_in(&manager, &bearer(&device_token(hostname)), "shop").await, 401);
    }
}

/// A device that was let in before, on a new disk: its first answer may be lost like any other.
#[tokio::test]
async fn device_that_enrolls_again_repeats_its_exchange_until_it_is_answered() {
    let (manager, store) = Manager::moody().await;
    let store: Arc<dyn Store> = store.inner.clone();
    let before = DeviceCredential {
        token: Some(TokenDigest::of(other_token("till").as_bytes())),
        ..enrolled_device("till", "shop")
    };
    let seen = store.create(before, &Author::elsewhere()).await.unwrap().revision;
    let (mut half, token) = enrollment("shop", 1);
    assert!(half.admit(admitted("till", seen)));
    store.create(half, &Author::elsewhere()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(exchange(&manager, &bearer(&token), "till").await.0, 200);
    }
}

#[tokio::test]
async fn two_groups_cannot_have_one_device() {
    let (manager, store) = Manager::moody().await;
    let store: Arc<dyn Store> = store.inner.clone();
    let mut by = Vec::new();
    for group in ["shop", "bar"] {
        let (enrollment, token) = enrollment(group, 100);
        store.create(enrollment, &Author::elsewhere()).await.unwrap();
        by.push(bearer(&token));
    }
    for round in 0..10 {
        let hostname = format!("till-{round}");
        let (own, other) = (device_token(&hostname), other_token(&hostname));
        let (one, two) = tokio::join!(
            exchange_for(&manager, &by[0], &hostname, &own),
            exchange_for(&manager, &by[1], &hostname, &other),
        );
        let mut statuses = [one.0, two.0];
        statuses.sort_unstable();
        assert!(statuses[0] == 200 && statuses[1] != 200, "{one:?} {two:?}");
    }
    // One that is heard of, with no credential of its own, is its group's as well.
    manager.create_group("bar", &[]).await;
    let told = json!({ "reports": [report(1, "kiosk", "bar")] });
    assert_eq!(manager.send("POST", "/reports", told).await.0, 202);
    assert_eq!(exchange(&manager, &by[0], "kiosk").await.0, 400);
}

#[tokio::test]
async fn device_that_was_shut_out_of_a_group_reports_of_its_new_one() {
    let manager = Manager::start().await;
    for group in ["shop", "bar"] {
        manager.create_group(group, &[]).await;
    }
    let bring = async |token: &str, report: Value| {
        let body = json!({ "reports": [report] });
        manager.send_as(&bearer(token), "POST", "/reports", body).await.0
    };
    let by = made(&manager, "shop", NONE).await;
    assert_eq!(exchange(&manager, &by, "till").await.0, 200);
    assert_eq!(bring(&device_token("till"), report(1, "till", "shop")).await, 202);
    assert_eq!(manager.send("POST", "/devices/till/revoke", NONE).await.0, 200);
    let by = made(&manager, "bar", NONE).await;
    // It was heard of a moment ago, as another group's.
    let other = other_token("till");
    assert_eq!(exchange_for(&manager, &by, "till", &other).await.0, 200);
    assert_eq!(bring(&other, report(2, "till", "bar")).await, 202);
    let (_, device) = manager.get("/devices/till").await;
    assert_eq!(device["device_group"], "bar", "{device}");
}

#[tokio::test]
async fn revocation_ends_every_enrollment_that_the_device_came_by() {
    let manager = Manager::start().await;
    manager.create_group("shop", &[]).await;
    let first = made(&manager, "shop", json!({ "devices": 5 })).await;
    let second = made(&manager, "shop", json!({ "devices": 5 })).await;
    assert_eq!(exchange(&manager, &first, "till").await.0, 200);
    let other = other_token("till");
    assert_eq!(exchange_for(&manager, &second, "till", &other).await.0, 200);
    assert_eq!(manager.send("POST", "/devices/till/revoke", NONE).await.0, 200);
    for by in [first, second] {
        assert_eq!(exchange(&manager, &by, "another").await, refused());
    }
}

#[tokio::test]
async fn group_has_so_many_open_enrollments_and_a_new_one_ends_the_oldest() {
    let (manager, store) = Manager::moody().await;
    manager.create_group("shop", &[]).await;
    manager.create_group("bar", &[]).await;
    let oldest = made(&manager, "shop", json!({ "ttl_seconds": 3_600 })).await;
    let others = made(&manager, "bar", json!({ "ttl_seconds": 3_600 })).await;
    for _ in 0..100 {
        made(&manager, "shop", NONE).await;
    }
    assert_eq!(store.inner.names(Kind::Enrollment).await.unwrap().len(), 101);
    assert_eq!(exchange(&manager, &oldest, "a").await, refused());
    assert_eq!(exchange(&manager, &others, "a").await.0, 200);
}
