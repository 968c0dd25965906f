//! The routes of users.
//!
//! Invariants: a password or token in clear is answered once, when it was made here, and is kept
//! nowhere; hashing happens before anything is written and off the threads that serve.

use super::Shared;
use super::auth::Principal;
use super::body::{ObjectName, Payload};
use super::declarations::Change;
use super::objects::{exists, new_account_name, refuse_existing};
use super::reply::{Answer, Refusal, ok};
use crate::model::{Identity, Secret, SecretHash, User, UserFields, new_token};
use axum::Extension;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a changed user that is not there is answered with; the original's word.
fn unknown() -> Refusal {
    Refusal::flag("user_name", false)
}

/// A new user, with what was made for them.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    user: User,
    /// Passwords and tokens in clear, this once.
    #[serde(skip_serializing_if = "Map::is_empty")]
    generated: Map<String, Value>,
}

/// `POST /users/N`
pub(super) async fn create(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    refuse_existing::<User>(&manager, &name).await?;
    let user_name = new_account_name("user_name", &name)?;
    let fields = UserFields::decode(body.fields()?.clone(), Some(&name))?;
    fields.refuse_hashes()?;
    let mut generated = Map::new();
    let mut given_or_made = |key: &str, given: Option<Secret<String>>, make: fn() -> _| {
        given.unwrap_or_else(|| {
            let made: Secret<String> = make();
            generated.insert(key.to_owned(), made.expose().as_str().into());
            made
        })
    };
    let password = given_or_made("password", fields.password, random_password);
    let token = given_or_made("token", fields.token, random_token);
    let (password, token_hash) = tokio::try_join!(
        manager.auth.hashing().hash(&password),
        manager.auth.hashing().hash(&token)
    )?;
    let nothing = SecretHash::new("");
    let mut user =
        User { identity: Identity::default(), user_name, password, token: nothing, token_id: None };
    user.set_token(&token, token_hash);
    let change = Change::new(&who, "create", &name);
    let user = manager.declarations.create(change, user, exists::<User>()).await?;
    Ok(ok(&Created { user, generated }))
}

/// `PUT` and `PATCH /users/N/update`: only what is given changes.
pub(super) async fn update(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
    body: Payload,
) -> Answer {
    let user = known(&manager, &name).await?;
    let mut fields = UserFields::decode(body.fields()?.clone(), Some(&name))?;
    if fields.is_empty() {
        return Err(Refusal::NothingGiven);
    }
    // A user that is sent back as it was read holds hashes. Hashed again, they would lock it out.
    fields.password = fields.password.filter(|given| given.expose() != user.password.as_str());
    fields.token = fields.token.filter(|given| given.expose() != user.token.as_str());
    fields.refuse_hashes()?;
    let user = change(&manager, Change::new(&who, "update", &name), fields).await?;
    Ok(ok(&user))
}

/// `POST /users/N/refresh`
pub(super) async fn refresh(
    State(manager): State<Arc<Shared>>,
    Extension(who): Extension<Principal>,
    ObjectName(name): ObjectName,
) -> Answer {
    known(&manager, &name).await?;
    let token = random_token();
    let fields = UserFields { password: None, token: Some(token.clone()) };
    change(&manager, Change::new(&who, "refresh", &name), fields).await?;
    Ok(ok(&json!({ "token": token.expose() })))
}

/// Hashes what is new, and changes the user.
async fn change(manager: &Shared, change: Change, fields: UserFields) -> Result<User, Refusal> {
    let hashing = manager.auth.hashing();
    let password = match &fields.password {
        Some(password) => Some(hashing.hash(password).await?),
        None => None,
    };
    let token = match fields.token {
        Some(token) => Some((hashing.hash(&token).await?, token)),
        None => None,
    };
    let edit = move |mut user: User| {
        if let Some(password) = &password {
            user.password = password.clone();
        }
        if let Some((hash, token)) = &token {
            user.set_token(token, hash.clone());
        }
        Ok(user)
    };
    manager.declarations.change(change, unknown, edit).await
}

/// That there is no such user is answered before the body is looked at and anything is hashed.
async fn known(manager: &Shared, name: &str) -> Result<User, Refusal> {
    manager.declarations.find::<User>(name).await?.ok_or_else(unknown)
}

/// 256 bits: nobody guesses them, whatever the hash.
fn random_password() -> Secret<String> {
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

fn random_token() -> Secret<String> {
    new_token(rand::random(), random_password().expose())
}
