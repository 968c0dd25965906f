//! Every route of users, its answer and each refusal. New secrets are hashed for real here, which
//! takes a fifth of a second each; most users are put straight into the store.

use crate::harness::{Manager, basic_of, bearer, seed_secrets, seed_user};
use nebula::store::Kind;
use serde_json::{Value, json};

const NONE: Value = Value::Null;

/// Whether a text is a bcrypt hash of the contract's form, of this secret.
fn is_hash_of(shown: &Value, secret: &str) -> bool {
    let shown = shown.as_str().unwrap();
    shown.starts_with("$2b$12$") && shown.len() == 60 && bcrypt::verify(secret, shown).unwrap()
}

#[tokio::test]
async fn what_is_given_is_hashed_and_what_is_not_given_is_made_and_shown_once() {
    let manager = Manager::start().await;
    let given = json!({ "password": "pa:ss wörd", "token": "my-token" });
    let (status, user) = manager.send("POST", "/users/both", given).await;
    assert_eq!(status, 200, "{user}");
    let keys: Vec<&String> = user.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["user_name", "password", "token", "uid", "revision"], "nothing was made");
    assert_eq!(user["user_name"], json!("both"));
    assert!(is_hash_of(&user["password"], "pa:ss wörd") && is_hash_of(&user["token"], "my-token"));
    assert_eq!(manager.get("/users/both").await, (200, user));
    assert_eq!(manager.login(&basic_of("both", "pa:ss wörd")).await, 200);
    assert_eq!(manager.login(&bearer("my-token")).await, 200);

    let (status, user) = manager.send("POST", "/users/none", NONE).await;
    assert_eq!(status, 200, "{user}");
    let generated = user["generated"].as_object().unwrap();
    assert_eq!(generated.keys().collect::<Vec<_>>(), ["password", "token"]);
    let [password, token] = ["password", "token"].map(|key| generated[key].as_str().unwrap());
    assert!(password.len() >= 43, "256 bits");
    assert!(is_hash_of(&user["password"], password) && is_hash_of(&user["token"], token));
    let id = nebula::model::token_id(token).unwrap();
    assert_eq!(user["token_id"], json!(id));
    assert_eq!(manager.login(&basic_of("none", password)).await, 200);
    assert_eq!(manager.login(&bearer(token)).await, 200);
    // It is not shown again.
    let (_, shown) = manager.get("/users/none").await;
    assert!(!shown.to_string().contains(password) && !shown.to_string().contains(token));
    assert!(shown.get("generated").is_none());
    assert_eq!(manager.get("/users").await, (200, json!({ "users": ["both", "none"] })));
}

#[tokio::test]
async fn one_of_the_two_may_be_given() {
    let manager = Manager::start().await;
    let (status, user) = manager.send("POST", "/users/a", json!({ "password": "p" })).await;
    assert_eq!(status, 200);
    let generated = user["generated"].as_object().unwrap();
    assert_eq!(generated.keys().collect::<Vec<_>>(), ["token"]);
    // A user that is sent back as it was answered changes nothing: its hashes are not hashed.
    let (status, same) = manager.send("PUT", "/users/a/update", user.clone()).await;
    assert_eq!(status, 200, "{same}");
    assert_eq!((&same["password"], &same["token"]), (&user["password"], &user["token"]));
    assert_eq!(same["token_id"], user["token_id"]);
    assert!(same.get("generated").is_none());
    assert_eq!(manager.login(&bearer(generated["token"].as_str().unwrap())).await, 200);
    // And the hash is no password.
    let hash = user["password"].as_str().unwrap();
    assert_eq!(manager.login(&basic_of("a", hash)).await, 401);
}

/// Method, path, body, status and answer, on a manager that has the user `ann`.
#[tokio::test]
async fn refusals() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    let (_, before) = manager.get("/users/ann").await;
    let exists = || json!({ "user_exists": true });
    let unknown = || json!({ "user_exists": false });
    // the original's word for an unknown user where it is changed
    let no_name = || json!({ "user_name": false });
    let nothing = || json!({ "missing_parameters": true });
    let secret = || json!({ "password": "new" });
    for (method, path, body, status, answer) in [
        ("POST", "/users/ann", NONE, 403, exists()),
        ("POST", "/users/ann", json!({ "colour": 1 }), 403, exists()),
        ("GET", "/users/none", NONE, 403, unknown()),
        ("GET", "/users/%FF%00", NONE, 403, unknown()),
        ("DELETE", "/users/none", NONE, 403, unknown()),
        ("PUT", "/users/none/update", NONE, 403, no_name()),
        ("PUT", "/users/none/update", secret(), 403, no_name()),
        ("PATCH", "/users/none/update", json!({ "colour": 1 }), 403, no_name()),
        ("POST", "/users/none/refresh", NONE, 403, no_name()),
        ("PUT", "/users/ann/update", NONE, 400, nothing()),
        ("PATCH", "/users/ann/update", json!({}), 400, nothing()),
        ("PUT", "/users/ann/update", json!({ "user_name": "ann", "uid": "x" }), 400, nothing()),
        ("PATCH", "/users/ann/update", json!({ "token_id": "x", "generated": {} }), 400, nothing()),
    ] {
        let got = manager.send(method, path, body.clone()).await;
        assert_eq!(got, (status, answer), "{method} {path} {body}");
    }
    let long = "x".repeat(73);
    for (field, value) in [
        ("password", NONE),
        ("password", json!("")),
        ("password", json!(7)),
        ("password", json!(["p"])),
        ("password", json!("line\nbreak")),
        ("password", json!("nul\0")),
        ("password", json!(long)),
        // 72 characters, and more bytes
        ("password", json!(format!("ä{}", "x".repeat(71)))),
        ("token", NONE),
        ("token", json!("")),
        ("token", json!(true)),
        ("token", json!("has blank")),
        ("token", json!("ümlaut")),
        ("token", json!(long)),
        ("admin", json!(true)),
        ("colour", json!("red")),
        ("user_name", json!("other")),
        ("user_name", NONE),
    ] {
        for (method, path) in
            [("POST", "/users/new"), ("PUT", "/users/ann/update"), ("PATCH", "/users/ann/update")]
        {
            let mut body = json!({ "token": "t" });
            body[field] = value.clone();
            let (status, answer) = manager.send(method, path, body).await;
            assert!(status == 400 && answer[field].is_string(), "{method} {field} {answer}");
            let shown = answer.to_string();
            assert!(!shown.contains("xxx") && !shown.contains("blank"), "a secret: {shown}");
        }
    }
    for name in ["a%3Ab", "a%2Fb", "%20a", "a%0A", "%FF", &"x".repeat(129)] {
        let (status, answer) = manager.send("POST", &format!("/users/{name}"), NONE).await;
        assert!(status == 400 && answer["user_name"].is_string(), "{name} {answer}");
    }
    assert_eq!(manager.get("/users/ann").await, (200, before));
    assert_eq!(manager.get("/users").await.1, json!({ "users": ["ann"] }));
}

#[tokio::test]
async fn an_update_changes_what_is_given_and_nothing_else() {
    let (manager, store) = Manager::moody().await;
    seed_user(&*store, "ann").await;
    let (_, before) = manager.get("/users/ann").await;
    // 72 bytes are the most that bcrypt reads, and all of them count.
    let password = format!("{}y", "x".repeat(71));
    let body = json!({ "user_name": "ann", "password": password, "revision": 1 });
    let (status, user) = manager.send("PATCH", "/users/ann/update", body).await;
    assert_eq!(status, 200, "{user}");
    assert!(is_hash_of(&user["password"], &password));
    assert_eq!((&user["token"], &user["uid"]), (&before["token"], &before["uid"]));
    assert!(user["revision"].as_u64() > before["revision"].as_u64());
    assert_eq!(manager.login(&basic_of("ann", &password)).await, 200);
    assert_eq!(manager.login(&basic_of("ann", "x".repeat(72))).await, 401);
    assert_eq!(manager.login(&bearer("ann-token")).await, 200);
    // A token of the managers' own form is found by its id, whoever made it.
    let token = nebula::model::new_token([7; 8], "chosen");
    let body = json!({ "token": token.expose() });
    let (status, user) = manager.send("PUT", "/users/ann/update", body).await;
    assert_eq!((status, &user["token_id"]), (200, &json!("0707070707070707")));
    assert_eq!(manager.login(&bearer(token.expose())).await, 200);
    assert_eq!(manager.login(&bearer("ann-token")).await, 401);
    assert_eq!(manager.get("/users/ann").await.1, user);
}

#[tokio::test]
async fn a_refresh_makes_a_new_token_and_shows_it_once() {
    let (manager, store) = Manager::moody().await;
    seed_secrets(&*store, "ann", "p", "old").await;
    assert_eq!(manager.login(&bearer("old")).await, 200);
    let (status, answer) = manager.send("POST", "/users/ann/refresh", NONE).await;
    assert_eq!((status, answer.as_object().unwrap().len()), (200, 1));
    let token = answer["token"].as_str().unwrap();
    assert_eq!(manager.login(&bearer("old")).await, 401);
    assert_eq!(manager.login(&bearer(token)).await, 200);
    assert_eq!(manager.login(&basic_of("ann", "p")).await, 200, "the password is as it was");
    let (_, user) = manager.get("/users/ann").await;
    assert!(is_hash_of(&user["token"], token) && !user.to_string().contains(token));
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_its_name_free() {
    let (manager, store) = Manager::moody().await;
    let who = seed_user(&*store, "ann").await;
    assert_eq!(manager.login(&who).await, 200);
    assert_eq!(manager.send("DELETE", "/users/ann", NONE).await, (200, json!({})));
    assert_eq!(manager.get("/users/ann").await, (403, json!({ "user_exists": false })));
    assert_eq!(manager.login(&who).await, 401);
    assert_eq!(manager.get("/users").await.1, json!({ "users": [] }));
    seed_user(&*store, "ann").await;
    assert!(store.inner.get(Kind::User, "ann").await.unwrap().is_some());
}

/// Names of people: blanks, umlauts and mail addresses.
#[tokio::test]
async fn names_are_those_of_people() {
    let (manager, store) = Manager::moody().await;
    for (name, path) in
        [("ann@example.com", "ann@example.com"), ("Jörg  K", "J%C3%B6rg%20%20K"), ("50%", "50%25")]
    {
        let who = seed_user(&*store, name).await;
        let (status, user) = manager.get(&format!("/users/{path}")).await;
        assert_eq!((status, &user["user_name"]), (200, &json!(name)));
        assert_eq!(manager.login(&who).await, 200, "{name}");
        assert_eq!(manager.send("DELETE", &format!("/users/{path}"), NONE).await.0, 200);
        assert_eq!(manager.login(&who).await, 401, "{name}");
    }
}

/// Whoever saw a user once, or has a backup, knows its hashes: as secrets they would let them in.
#[tokio::test]
async fn a_hash_is_no_password_and_no_token() {
    let (manager, store) = Manager::moody().await;
    let who = seed_user(&*store, "ann").await;
    let before = manager.get("/users/ann").await.1;
    let refused = |field: &str| {
        (400, json!({ field: "is a hash, as the API shows it, and not the secret itself" }))
    };
    seed_user(&*store, "bob").await;
    for field in ["password", "token"] {
        let body = json!({ field: before[field].clone() });
        let got = manager.send("PUT", "/users/bob/update", body.clone()).await;
        assert_eq!(got, refused(field), "somebody else's");
        assert_eq!(manager.send("POST", "/users/new", body).await, refused(field));
    }
    // A user may be sent back as it was read, which changes nothing.
    assert_eq!(manager.send("PUT", "/users/ann/update", before).await.0, 200);
    assert_eq!(manager.login(&who).await, 200);
}
