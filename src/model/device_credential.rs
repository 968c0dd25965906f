//! What lets a device in that has credentials of its own: one record a device, and the one-time
//! tokens by which devices get theirs.
//!
//! What it is: a device makes its own token, so that an answer which is lost on the way loses
//! nothing; a store keeps its digest alone. Tokens hold 256 random bits, which nobody guesses
//! however quickly they are checked, so no slow hash is needed for them.
//!
//! Invariants: no token in clear is part of a record; whoever reads a store can neither check in
//! nor enroll with what they read.

use super::fields::{Fields, Invalid, Unknown, string, unsigned};
use super::identity::Identity;
use super::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// How every device's token begins; its hostname in hex and a secret follow.
const DEVICE_PREFIX: &str = "nebula_device_";
/// How every enrollment token begins; its id and a secret follow.
const ENROLLMENT_PREFIX: &str = "nebula_enroll_";
/// How the tokens of this module begin, which are looked for elsewhere than users' tokens.
pub const DEVICE_TOKENS: [&str; 2] = [DEVICE_PREFIX, ENROLLMENT_PREFIX];
/// The longest name of a device, in bytes, as in its reports.
pub const MAX_HOSTNAME_BYTES: usize = 255;
/// 32 bytes in base64 without padding.
const SECRET_CHARACTERS: usize = 43;
/// Four bytes of time and six of chance, in hex.
const ID_DIGITS: usize = 20;
/// The most devices that one enrollment token lets in: what it keeps of each is read as a whole.
pub const MAX_ENROLLED: usize = 1_000;

/// The name of a device, as its reports carry it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

impl DeviceName {
    /// Checks a name.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let length = text.len();
        if text.is_empty() {
            Err("must not be empty".to_owned())
        } else if length > MAX_HOSTNAME_BYTES {
            Err(format!("must be at most {MAX_HOSTNAME_BYTES} bytes, this has {length}"))
        } else if text.contains(char::is_control) {
            Err("must not contain control characters".to_owned())
        } else {
            Ok(Self(text))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The SHA-256 of a token, which is what is kept of it. `Debug` hides it all the same.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of a token.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The 32 bytes, for a comparison in constant time.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn decode(value: Value) -> Result<Self, String> {
        let text = string(value)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| "must be a SHA-256 in base64".to_owned())
    }

    fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Puts a device's token together. `secret` is 32 random bytes in base64 for URLs.
pub fn new_device_token(hostname: &str, secret: &str) -> Secret<String> {
    let mut token = String::with_capacity(DEVICE_PREFIX.len() + 2 * hostname.len() + 44);
    token.push_str(DEVICE_PREFIX);
    for byte in hostname.bytes() {
        for digit in [byte >> 4, byte & 15] {
            token.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    token.push('_');
    token.push_str(secret);
    Secret::new(token)
}

/// The device that a device's token is for; none of any other token.
pub fn token_hostname(token: &str) -> Option<DeviceName> {
    let (hex, secret) = token.strip_prefix(DEVICE_PREFIX)?.split_once('_')?;
    let is_lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_whole = hex.len() % 2 == 0 && hex.len() <= 2 * MAX_HOSTNAME_BYTES;
    if !is_whole || !hex.bytes().all(is_lower) || !is_secret(secret) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok();
    let bytes = hex.as_bytes().chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>()?;
    DeviceName::new(String::from_utf8(bytes).ok()?).ok()
}

fn is_secret(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == SECRET_CHARACTERS && text.bytes().all(is_sign)
}

/// What lets one device in, or keeps it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCredential {
    /// What the store gave it.
    pub identity: Identity,
    /// The device.
    pub hostname: DeviceName,
    /// The group that it runs; empty when it was shut out before anything was known of it.
    pub device_group: String,
    /// Its token's; none while it may come with a certificate alone, and after it was shut out.
    pub token: Option<TokenDigest>,
    /// When it got the token, in seconds since 1970.
    pub enrolled_at: Option<u64>,
    /// When it was shut out last, in seconds since 1970. Certificates from before let nobody in, also
    /// when it has got a token again since.
    pub revoked_at: Option<u64>,
}

impl DeviceCredential {
    /// One that is not in a store yet, and lets nobody in.
    pub fn new(hostname: DeviceName, device_group: String) -> Self {
        let identity = Identity::default();
        let (token, enrolled_at, revoked_at) = (None, None, None);
        Self { identity, hostname, device_group, token, enrolled_at, revoked_at }
    }

    /// True when it had a token once, or was shut out: an exchange from before is over.
    pub fn is_spent(&self) -> bool {
        self.revoked_at.is_some() || self.enrolled_at.is_some()
    }

    /// Reads a whole one, as a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let hostname = fields.required("hostname", |value| string(value).and_then(DeviceName::new));
        let device_group = fields.required("device_group", string);
        let token = fields.take("token", TokenDigest::decode);
        let enrolled_at = fields.take("enrolled_at", |value| unsigned(&value));
        let revoked_at = fields.take("revoked_at", |value| unsigned(&value));
        let identity = Identity::take(&mut fields);
        fields.finish(Unknown::Ignore, &[])?;
        let (hostname, device_group) = (hostname?, device_group?);
        Ok(Self { identity, hostname, device_group, token, enrolled_at, revoked_at })
    }
}

impl Serialize for DeviceCredential {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("hostname", self.hostname.as_str())?;
        map.serialize_entry("device_group", &self.device_group)?;
        if let Some(token) = &self.token {
            map.serialize_entry("token", &token.to_text())?;
        }
        for (key, at) in [("enrolled_at", self.enrolled_at), ("revoked_at", self.revoked_at)] {
            if let Some(at) = at {
                map.serialize_entry(key, &at)?;
            }
        }
        self.identity.entries(&mut map)?;
        map.end()
    }
}

/// What one enrollment token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// What the store gave it.
    pub identity: Identity,
    /// What it is found by, which says when it ends as well.
    pub enrollment: EnrollmentId,
    /// The group whose devices it lets in.
    pub device_group: String,
    /// The digest of the enrollment token.
    pub token: TokenDigest,
    /// How many devices it lets in.
    pub devices: usize,
    /// The tokens that devices got by it: the same one again is an answer that was lost.
    pub used: Vec<TokenDigest>,
}

/// What an enrollment is found by: the time of its end and something random. So a list of names
/// tells which have ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnrollmentId(String);

impl EnrollmentId {
    /// A new one. `random` are bytes of chance.
    pub fn new(expires_at: u32, random: [u8; 6]) -> Self {
        let random = random.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Self(format!("{expires_at:08x}{random:012x}"))
    }

    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == ID_DIGITS && text.bytes().all(is_lower);
        is_id.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it ends, in seconds since 1970.
    pub fn expires_at(&self) -> u64 {
        u64::from_str_radix(self.0.get(..8).unwrap_or_default(), 16).unwrap_or_default()
    }
}

/// Puts an enrollment token together. `secret` is 32 random bytes in base64 for URLs.
pub fn new_enrollment_token(id: &EnrollmentId, secret: &str) -> Secret<String> {
    Secret::new(format!("{ENROLLMENT_PREFIX}{}_{secret}", id.as_str()))
}

/// The enrollment that an enrollment token is for; none of any other token.
pub fn token_enrollment(token: &str) -> Option<EnrollmentId> {
    let (id, secret) = token.strip_prefix(ENROLLMENT_PREFIX)?.split_once('_')?;
    EnrollmentId::parse(id).filter(|_| is_secret(secret))
}

impl Enrollment {
    /// Reads a whole one, as a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let enrollment = fields.required("enrollment", |value| {
            let text = string(value)?;
            EnrollmentId::parse(&text).ok_or_else(|| "must be 20 hexadecimal digits".to_owned())
        });
        let device_group = fields.required("device_group", string);
        let token = fields.required("token", TokenDigest::decode);
        let devices = fields.required("devices", |value| {
            let devices = unsigned(&value)?;
            usize::try_from(devices).map_err(|_| "is too large".to_owned())
        });
        let used = fields.required("used", |value| match value {
            Value::Array(list) => list.into_iter().map(TokenDigest::decode).collect(),
            _ => Err("must be a list".to_owned()),
        });
        let identity = Identity::take(&mut fields);
        fields.finish(Unknown::Ignore, &[])?;
        let (enrollment, device_group, token) = (enrollment?, device_group?, token?);
        Ok(Self { identity, enrollment, device_group, token, devices: devices?, used: used? })
    }

    /// Takes a device in by its token; false when there is no place left.
    pub fn admit(&mut self, token: &TokenDigest) -> bool {
        if self.used.contains(token) {
            return true;
        }
        let has_room = self.used.len() < self.devices.min(MAX_ENROLLED);
        if has_room {
            self.used.push(token.clone());
        }
        has_room
    }
}

impl Serialize for Enrollment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("enrollment", self.enrollment.as_str())?;
        map.serialize_entry("device_group", &self.device_group)?;
        map.serialize_entry("token", &self.token.to_text())?;
        map.serialize_entry("devices", &self.devices)?;
        let used: Vec<String> = self.used.iter().map(TokenDigest::to_text).collect();
        map.serialize_entry("used", &used)?;
        self.identity.entries(&mut map)?;
        map.end()
    }
}

/// The names in a device's certificate: its own, and its group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedDevice {
    /// The subject's common name.
    pub hostname: DeviceName,
    /// The subject's organizational unit.
    pub device_group: String,
    /// From when on the certificate is valid, in seconds since 1970.
    pub not_before: u64,
}

/// A request to enroll: which device, and the token that it made for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// The device.
    pub hostname: DeviceName,
    /// Of its token.
    pub token: TokenDigest,
}

impl NewDevice {
    /// Reads a body.
    pub fn decode(body: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        let hostname = fields.required("hostname", |value| string(value).and_then(DeviceName::new));
        let token = fields.required("token", string);
        if let (Ok(hostname), Ok(token)) = (&hostname, &token)
            && token_hostname(token).as_ref() != Some(hostname)
        {
            let form = "must be `nebula_device_`, the hostname in hex, `_` and 32 random bytes in base64 for URLs";
            fields.refuse("token", form);
        }
        fields.finish(Unknown::Refuse, &["hostname", "token"])?;
        Ok(Self { hostname: hostname?, token: TokenDigest::of(token?.as_bytes()) })
    }
}

/// How many devices an enrollment token is to let in, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrollmentFields {
    /// At most [`MAX_ENROLLED`].
    pub devices: usize,
    /// In seconds.
    pub ttl_seconds: u32,
}

impl EnrollmentFields {
    /// A day: long enough to carry a token to a device, and short enough to be forgotten.
    const TTL: u32 = 24 * 3600;
    /// The bounds of `ttl_seconds`.
    pub const TTLS: std::ops::RangeInclusive<u32> = 60..=30 * 24 * 3600;

    /// Reads a body; what is not given has its default.
    pub fn decode(body: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body);
        let devices = fields.take("devices", |value| {
            let devices = usize::try_from(unsigned(&value)?).unwrap_or(usize::MAX);
            let is_within = (1..=MAX_ENROLLED).contains(&devices);
            is_within.then_some(devices).ok_or_else(|| format!("must be from 1 to {MAX_ENROLLED}"))
        });
        let ttl_seconds = fields.take("ttl_seconds", |value| {
            let seconds = u32::try_from(unsigned(&value)?).unwrap_or(u32::MAX);
            let (least, most) = (Self::TTLS.start(), Self::TTLS.end());
            let is_within = Self::TTLS.contains(&seconds);
            is_within.then_some(seconds).ok_or_else(|| format!("must be from {least} to {most}"))
        });
        fields.finish(Unknown::Refuse, &["devices", "ttl_seconds"])?;
        let (devices, ttl_seconds) = (devices.unwrap_or(1), ttl_seconds.unwrap_or(Self::TTL));
        Ok(Self { devices, ttl_seconds })
    }
}
