//! Who asks, and what they may do.
//!
//! Invariants: it is asked before any body is read, any route is looked up and any memory of
//! answers is consulted; credentials are compared only as MACs under a key that dies with the
//! process, in constant time; what no rule permits is refused.

use super::metrics::Metrics;
use crate::config::{Credentials, Secret};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::Sha256;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// With padding or without: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a route needs. Each route declares its own, beside its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// Any valid credentials.
    Any,
    /// All rights.
    Admin,
    /// Something of apps.
    Apps(Access),
    /// Something of device groups.
    DeviceGroups(Access),
    /// Ordering devices to remove unused images.
    Prune,
}

/// Reading or changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read-only.
    Read,
    /// Read and change.
    Write,
}

/// Whoever presented valid credentials.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    name: Arc<str>,
    rights: Rights,
}

/// What a principal may do. Stored users bring theirs with a later issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    All,
}

impl Principal {
    fn admin(name: &str) -> Self {
        Self { name: name.into(), rights: Rights::All }
    }

    /// The name for logs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may do what a route needs.
    pub(super) fn may(&self, permission: Permission) -> bool {
        match (self.rights, permission) {
            (
                Rights::All,
                Permission::Any
                | Permission::Admin
                | Permission::Apps(Access::Read | Access::Write)
                | Permission::DeviceGroups(Access::Read | Access::Write)
                | Permission::Prune,
            ) => true,
        }
    }
}

type Tag = [u8; 32];

/// One configured way in.
struct Known {
    tag: Tag,
    principal: Principal,
}

/// Checks the credentials of requests.
pub(super) struct Authenticator {
    /// Keyed once: a check clones it instead of deriving the key's state again.
    mac: Hmac<Sha256>,
    basic: Option<Known>,
    bearer: Option<Known>,
    /// Everybody's principal when authentication is switched off.
    everybody: Option<Principal>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// Takes the configured credentials; none is kept in clear.
    pub(super) fn new(
        enabled: bool,
        admin: Option<&Credentials>,
        token: Option<&Secret<String>>,
    ) -> Self {
        let key = rand::random::<[u8; 64]>();
        let mac = Hmac::<Sha256>::new(&key.into());
        let known = |name: &str, secret: &[u8]| Known {
            tag: tag(&mac, secret),
            principal: Principal::admin(name),
        };
        let basic = admin.map(|admin| {
            let pair = format!("{}:{}", admin.user, admin.password.expose());
            known(&admin.user, pair.as_bytes())
        });
        let bearer = token.map(|token| known("token", token.expose().as_bytes()));
        let everybody = (!enabled).then(|| Principal::admin("anybody"));
        Self { mac, basic, bearer, everybody }
    }

    /// The principal of a request, when its credentials are valid.
    pub(super) fn check(&self, headers: &HeaderMap, metrics: &Metrics) -> Option<&Principal> {
        let known = self.everybody.as_ref().or_else(|| self.credentials(headers));
        if known.is_none() {
            metrics.unauthorized.inc();
        }
        known
    }

    fn credentials(&self, headers: &HeaderMap) -> Option<&Principal> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // Two of them are not for us to choose from.
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let value = value.as_bytes();
        let space = value.iter().position(|byte| *byte == b' ')?;
        let (scheme, rest) = value.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"Basic") {
            let pair = BASE64.decode(rest).ok()?;
            self.compare(self.basic.as_ref()?, &pair)
        } else if scheme.eq_ignore_ascii_case(b"Bearer") {
            self.compare(self.bearer.as_ref()?, rest)
        } else {
            None
        }
    }

    fn compare<'a>(&self, known: &'a Known, given: &[u8]) -> Option<&'a Principal> {
        let is_equal = tag(&self.mac, given).ct_eq(&known.tag);
        bool::from(is_equal).then_some(&known.principal)
    }
}

fn tag(mac: &Hmac<Sha256>, secret: &[u8]) -> Tag {
    let mut mac = mac.clone();
    mac.update(secret);
    mac.finalize().into_bytes().into()
}
