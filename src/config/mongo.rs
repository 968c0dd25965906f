//! The `MongoDB` of manager and reporter.

use super::settings::Settings;
use crate::model::Secret;

/// A `MongoDB` and how it is used.
#[derive(Debug, Clone)]
pub struct Mongo {
    /// The connection string, with its credentials.
    pub url: Secret<String>,
    /// The database.
    pub database: String,
    /// Connections at most.
    pub max_pool_size: u32,
}

impl Mongo {
    /// `None` when `mongo_url` is not set, or something is wrong, which is recorded in the settings.
    /// `or_else` says what else could be done about a wrong one.
    pub fn from_settings(settings: &mut Settings, or_else: &str) -> Option<Self> {
        Some(Self {
            url: url(settings, or_else)?,
            database: settings.text("schema_name")?,
            max_pool_size: settings.number("mongo_max_pool_size").try_into().ok()?,
        })
    }
}

/// The connection string, if it looks like one; the driver says of its options whether they are. The
/// reason never holds it: a password is in it.
fn url(settings: &mut Settings, or_else: &str) -> Option<Secret<String>> {
    let url = settings.secret("mongo_url")?;
    if is_connection_string(url.expose()) {
        return Some(url);
    }
    let expected = "must be a MongoDB connection string, as in `mongodb://user:password@host:27017/?replicaSet=rs0`, with `%`, `@`, `:` and `/` in a user or password percent-encoded";
    settings.refuse("mongo_url", format!("{expected}{or_else}"));
    None
}

/// A scheme, a user and password whose special letters are encoded, if there are any, and a host.
fn is_connection_string(url: &str) -> bool {
    let schemes = ["mongodb://", "mongodb+srv://"];
    let Some(rest) = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let after = &rest[authority.len()..];
    // A `/` in a password ends the authority too early, and leaves an `@` behind it.
    let path = after.split('?').next().unwrap_or_default();
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let is_encoded = |part: &str| {
        let mut escapes = part.split('%').skip(1);
        !part.contains('@')
            && escapes.all(|escape| {
                let digits = escape.as_bytes().get(..2);
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            })
    };
    !hosts.is_empty() && !path.contains('@') && user.split(':').count() <= 2 && is_encoded(user)
}
