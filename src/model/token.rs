//! The form of the tokens that managers make: `nebula_<id>_<secret>`.
//!
//! The id tells whose token it is, so that one hash is computed to check it and not one of each
//! user. It is no secret. A token of any other form is as good, but whoever presents one may be
//! any user.
//!
//! And of those that devices make for themselves: `nebula_device_<hostname>_<secret>`, the hostname
//! in hexadecimal digits, because a hostname may hold what a header cannot carry.

use super::secret::Secret;
use super::user::MAX_SECRET_BYTES;

const PREFIX: &str = "nebula_";
const DEVICE_PREFIX: &str = "nebula_device_";
/// 64 bits: two of a million tokens share an id once in tens of millions of fleets, and then both
/// are checked.
const ID_DIGITS: usize = 16;

/// Puts a token together. `secret` is 32 random bytes in an alphabet of visible ASCII.
pub fn new_token(id: [u8; ID_DIGITS / 2], secret: &str) -> Secret<String> {
    let id = u64::from_be_bytes(id);
    let token = format!("{PREFIX}{id:0ID_DIGITS$x}_{secret}");
    debug_assert!(token.len() <= MAX_SECRET_BYTES, "bcrypt reads all of it");
    Secret::new(token)
}

/// Puts the token of a device together. `secret` is 32 random bytes in an alphabet of visible ASCII.
pub fn new_device_token(hostname: &str, secret: &str) -> Secret<String> {
    let halves = hostname.bytes().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let digits = halves.filter_map(|half| char::from_digit(half.into(), 16));
    Secret::new(format!("{DEVICE_PREFIX}{}_{secret}", digits.collect::<String>()))
}

/// The id in a token of that form.
pub fn token_id(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && !secret.is_empty()).then_some(id)
}
