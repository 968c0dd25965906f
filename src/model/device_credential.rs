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
use super::version::Revision;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

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
/// Four bytes of time, four of the group and six of chance, in hex.
const ID_DIGITS: usize = 28;
/// The groups of which a device's revocation is kept: nobody moves it about more.
const MAX_REVOCATIONS: usize = 16;
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
        } else if matches!(&*text, "." | "..") {
            Err("must not be `.` or `..`, which no path can name".to_owned())
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
    /// By group, when it was shut out last, in seconds since 1970; by an empty name when nobody knew
    /// its group. Certificates of that group from before let nobody in, also when the device has got a
    /// token again since. By group, for whoever may enroll devices of another one could else shut it
    /// out by its name, or let it in.
    pub revoked: BTreeMap<String, u64>,
}

impl DeviceCredential {
    /// One that is not in a store yet, and lets nobody in.
    pub fn new(hostname: DeviceName, device_group: String) -> Self {
        let identity = Identity::default();
        let (token, enrolled_at, revoked) = (None, None, BTreeMap::new());
        Self { identity, hostname, device_group, token, enrolled_at, revoked }
    }

    /// Shuts it out, as a device of these groups, or of any when none is known.
    pub fn revoke(&mut self, groups: &[String], now: u64) {
        self.token = None;
        let unknown = [String::new()];
        for group in if groups.is_empty() { &unknown } else { groups } {
            self.revoked.insert(group.clone(), now);
        }
        while self.revoked.len() > MAX_REVOCATIONS {
            let oldest = self.revoked.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(group, _)| group.clone()) else { break };
            self.revoked.remove(&oldest);
        }
    }

    /// When it was shut out as a device of a group.
    pub fn revoked_from(&self, group: &str) -> Option<u64> {
        self.revoked.get(group).max(self.revoked.get("")).copied()
    }

    /// When it was shut out, while it is.
    pub fn revoked_at(&self) -> Option<u64> {
        self.revoked.values().max().copied().filter(|_| self.token.is_none())
    }

    /// Reads a whole one, as a store keeps it.
    pub fn decode(object: Map<String, Value>) -> Result<Self, Invalid> {
        let mut fields = Fields::new(object);
        let hostname = fields.required("hostname", |value| string(value).and_then(DeviceName::new));
        let device_group = fields.required("device_group", string);
        let token = fields.take("token", TokenDigest::decode);
        let enrolled_at = fields.take("enrolled_at", |value| unsigned(&value));
        let revoked = fields.take("revoked", |value| match value {
            Value::Object(map) => map.into_iter().map(|(k, v)| Ok((k, unsigned(&v)?))).collect(),
            _ => Err("must be an object".to_owned()),
        });
        let identity = Identity::take(&mut fields);
        fields.finish(Unknown::Ignore, &[])?;
        let (hostname, device_group) = (hostname?, device_group?);
        let revoked = revoked.unwrap_or_default();
        Ok(Self { identity, hostname, device_group, token, enrolled_at, revoked })
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
        if let Some(at) = self.enrolled_at {
            map.serialize_entry("enrolled_at", &at)?;
        }
        if !self.revoked.is_empty() {
            map.serialize_entry("revoked", &self.revoked)?;
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
    /// The devices that it let in.
    pub used: Vec<Admitted>,
}

/// A device that an enrollment token let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Which.
    pub hostname: DeviceName,
    /// Of the token that it made: the same one again is an answer that was lost.
    pub token: TokenDigest,
    /// The revision of the device's record by then, zero when there was none. The exchange may be
    /// completed while that is the same, and never after somebody else wrote the record.
    pub seen: Revision,
}

impl Admitted {
    fn decode(value: Value) -> Result<Self, String> {
        let Value::Object(object) = value else { return Err("must be an object".to_owned()) };
        let mut fields = Fields::new(object);
        let hostname = fields.required("hostname", |value| string(value).and_then(DeviceName::new));
        let token = fields.required("token", TokenDigest::decode);
        let seen = fields.required("seen", |value| unsigned(&value).map(Revision));
        fields.finish_inner(Unknown::Ignore, &[])?;
        let whole = (|| Ok::<_, Invalid>((hostname?, token?, seen?)))();
        let (hostname, token, seen) = whole.map_err(|_| "is not whole".to_owned())?;
        Ok(Self { hostname, token, seen })
    }
}

impl Serialize for Admitted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("hostname", self.hostname.as_str())?;
        map.serialize_entry("token", &self.token.to_text())?;
        map.serialize_entry("seen", &self.seen)?;
        map.end()
    }
}

/// What an enrollment is found by: the time of its end, a hash of its group and something random. So a
/// list of names tells which have ended, and which may be a group's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnrollmentId(String);

impl EnrollmentId {
    /// A new one. `random` are bytes of chance.
    pub fn new(expires_at: u32, group: &str, random: [u8; 6]) -> Self {
        let random = random.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Self(format!("{expires_at:08x}{:08x}{random:012x}", Self::hash(group)))
    }

    /// Whether it may be one of a group; another group has the same hash once in four billion.
    pub fn may_be_of(&self, group: &str) -> bool {
        self.0.get(8..16) == Some(&*format!("{:08x}", Self::hash(group)))
    }

    fn hash(group: &str) -> u32 {
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(group.as_bytes()).into();
        u32::from_be_bytes([a, b, c, d])
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
            EnrollmentId::parse(&text).ok_or_else(|| "must be 28 hexadecimal digits".to_owned())
        });
        let device_group = fields.required("device_group", string);
        let token = fields.required("token", TokenDigest::decode);
        let devices = fields.required("devices", |value| {
            let devices = unsigned(&value)?;
            usize::try_from(devices).map_err(|_| "is too large".to_owned())
        });
        let used = fields.required("used", |value| match value {
            Value::Array(list) => list.into_iter().map(Admitted::decode).collect(),
            _ => Err("must be a list".to_owned()),
        });
        let identity = Identity::take(&mut fields);
        fields.finish(Unknown::Ignore, &[])?;
        let (enrollment, device_group, token) = (enrollment?, device_group?, token?);
        Ok(Self { identity, enrollment, device_group, token, devices: devices?, used: used? })
    }

    /// The device that was let in with this token of its own.
    pub fn admitted(&self, token: &TokenDigest) -> Option<&Admitted> {
        self.used.iter().find(|admitted| admitted.token == *token)
    }

    /// Takes a device in, once; false when there is no place left.
    pub fn admit(&mut self, device: Admitted) -> bool {
        if self.admitted(&device.token).is_some() {
            return true;
        }
        let has_room = self.used.len() < self.devices.min(MAX_ENROLLED);
        if has_room {
            self.used.push(device);
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
        map.serialize_entry("used", &self.used)?;
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
