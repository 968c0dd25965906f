//! A user: who may ask the API beside the configured local admin.
//!
//! Invariant: a password or token in clear is never part of a [`User`], and never printed.

use super::fields::{Fields, Invalid, Unknown, clip, string};
use super::identity::{Identity, READ_ONLY};
use super::secret::Secret;
use super::token::token_id;
use serde::ser::{Serialize, SerializeMap};
use serde_json::{Map, Value};

/// The longest name of a user or a user group in bytes.
const MAX_NAME_BYTES: usize = 128;
/// bcrypt reads no further: what comes after would not count, and two secrets would be one.
pub const MAX_SECRET_BYTES: usize = 72;
/// The keys that a user's body may hold and set.
const KEYS: [&str; 2] = ["password", "token"];

/// A user with their identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What the store gave it.
    pub identity: Identity,
    /// The name, which goes before the colon of `Basic` credentials.
    pub user_name: AccountName,
    /// The password's hash.
    pub password: SecretHash,
    /// The token's hash.
    pub token: SecretHash,
    /// The part of the token by which its user is found; none of a token that has no such part,
    /// which old ones have not.
    pub token_id: Option<String>,
}

/// The name of a user or a user group. People have blanks and umlauts in their names, and mail
/// addresses; a colon would end it in `Basic` credentials, and a slash in a path. What cannot be
/// seen, or turns the line it is printed on, would make one name look like another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

impl AccountName {
    /// Checks a name.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let is_odd = |c: char| match c {
            ':' | '/' => true,
            ' ' => false,
            c => !c.is_alphanumeric() && !c.is_ascii_graphic(),
        };
        if text.is_empty() {
            Err("must not be empty".to_owned())
        } else if text.len() > MAX_NAME_BYTES {
            Err(format!("must be at most {MAX_NAME_BYTES} bytes, this has {}", text.len()))
        } else if text.contains(is_odd) || text.trim() != text || matches!(&*text, "." | "..") {
            let rule = "must hold only letters, digits, blanks between others, and ASCII signs but `:` and `/`";
            Err(format!("{rule}, got `{}`", clip(&text)))
        } else {
            Ok(Self(text))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A bcrypt hash, as the API shows it and a store keeps it. `Debug` hides it all the same: it is
/// what an attacker would work on.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash(String);

impl SecretHash {
    /// A hash that was made or kept; whether it can be checked shows when it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The fields of a request's body: each may be given or not. The secrets are in clear.
#[derive(Debug, Clone, Default)]
pub struct UserFields {
    /// The password, when given.
    pub password: Option<Secret<String>>,
    /// The token, when given.
    pub token: Option<Secret<String>>,
}

impl UserFields {
    /// Reads a body. The user's own read-only keys may come back as a client read them; `name` is
    /// the one in the path, which they must not contradict.
    pub fn decode(body: Map<String, Value>, name: Option<&str>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        fields.same_name("user_name", name);
        fields.ignore(&READ_ONLY);
        fields.ignore(&["token_id", "generated"]);
        let decoded = Self {
            password: fields.take("password", new_secret),
            token: fields.take("token", |value| {
                let token = new_secret(value)?;
                let is_odd = |c: char| !c.is_ascii_graphic();
                if token.expose().contains(is_odd) {
                    return Err("must hold only visible ASCII characters: it travels in a header"
                        .to_owned());
                }
                Ok(token)
            }),
        };
        fields.finish(Unknown::Refuse, &KEYS)?;
        Ok(decoded)
    }

    /// Refuses what is a hash: whoever saw a user once would know it, and log in with it.
    pub fn refuse_hashes(&self) -> Result<(), Invalid> {
        for (field, secret) in [("password", &self.password), ("token", &self.token)] {
            if secret.as_ref().is_some_and(|secret| is_hash(secret.expose())) {
                let reason = "is a hash, as the API shows it, and not the secret itself";
                return Err(Invalid::field(field, reason));
            }
        }
        Ok(())
    }

    /// True when nothing is given that could change a user.
    pub fn is_empty(&self) -> bool {
        self.password.is_none() && self.token.is_none()
    }
}

/// Whether a text has bcrypt's form: `$2b$12$` and 53 characters.
fn is_hash(text: &str) -> bool {
    let form = text.as_bytes();
    form.len() == 60 && form.starts_with(b"$2") && form[3] == b'$' && form[6] == b'$'
}

/// Reads a new password or token. A reason never holds the value.
fn new_secret(value: Value) -> Result<Secret<String>, String> {
    let text = string(value)?;
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if text.len() > MAX_SECRET_BYTES {
        let length = text.len();
        return Err(format!(
            "must be at most {MAX_SECRET_BYTES} bytes, which is all that bcrypt reads, this has {length}"
        ));
    }
    if text.contains(char::is_control) {
        return Err("must hold no control character".to_owned());
    }
    Ok(Secret::new(text))
}

impl User {
    /// Reads a whole user, as a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let user_name =
            fields.required("user_name", |value| string(value).and_then(AccountName::new));
        let hash = |value| string(value).map(SecretHash::new);
        let password = fields.required("password", hash);
        let token = fields.required("token", hash);
        let token_id = fields.take("token_id", string);
        let identity = Identity::take(&mut fields);
        fields.finish(Unknown::Ignore, &[])?;
        Ok(Self { identity, user_name: user_name?, password: password?, token: token?, token_id })
    }

    /// Takes a new token: its hash, and what it is found by.
    pub fn set_token(&mut self, token: &Secret<String>, hash: SecretHash) {
        self.token_id = token_id(token.expose()).map(str::to_owned);
        self.token = hash;
    }
}

impl Serialize for User {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("user_name", self.user_name.as_str())?;
        map.serialize_entry("password", self.password.as_str())?;
        map.serialize_entry("token", self.token.as_str())?;
        if let Some(token_id) = &self.token_id {
            map.serialize_entry("token_id", token_id)?;
        }
        self.identity.entries(&mut map)?;
        map.end()
    }
}
