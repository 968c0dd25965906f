//! Devices with credentials of their own: a token that the device made, or a certificate; and the
//! tokens by which devices enroll.
//!
//! What it is: the claim that a request makes, and the memory of claims that were right. Tokens are
//! 256 random bits, so a digest is compared and no slow hash.
//!
//! Invariants: a claim counts while nothing was heard of its device since before its record was
//! read, and for at most [`REMEMBERED`]; a certificate counts no longer than it is valid; an
//! enrollment is looked at anew each time; memory is bounded, and wrong claims cannot push right
//! ones out.
//!
//! How a change is seen at once: each write of a device's record raises a count before anybody is
//! told of the write, and what was read before it does not count. Counts are shared by hash:
//! sharing costs an extra read, never a wrong answer.

use super::memory::Tag;
use super::principal::Principal;
use crate::clock::unix_seconds;
use crate::model::{
    CertifiedDevice, DeviceCredential, DeviceName, Enrollment, EnrollmentId, TokenDigest,
    token_enrollment, token_hostname,
};
use crate::store::{Store, StoreError};
use moka::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// How long a claim counts of which nothing is heard. Longer than a user's, because each device has
/// its own: a fleet of a hundred thousand costs less than two hundred reads a second.
const REMEMBERED: Duration = Duration::from_secs(600);
/// From this age on it is looked at again beside the request.
const CHECKED_AGAIN: Duration = Duration::from_secs(480);
/// Right claims: more devices than one manager has places for, at a third of a kilobyte each.
const MAX_KNOWN: u64 = 200_000;
const KNOWN_IDLE: Duration = Duration::from_secs(3600);
/// Wrong claims: devices that were shut out ask for ever.
const MAX_WRONG: u64 = 10_000;
const WRONG_REMEMBERED: Duration = Duration::from_secs(60);
/// Counts of changes, and those who wait for one: with a hundred thousand parked devices, a change
/// of one wakes a hundred.
const PLACES: usize = 1_024;

/// What a request claims to be.
#[derive(Debug, Clone)]
pub(in super::super) struct DeviceClaim {
    pub(super) tag: Tag,
    subject: Subject,
}

#[derive(Debug, Clone)]
enum Subject {
    /// A device, by its token.
    Token(DeviceName, TokenDigest),
    /// A device, by its certificate.
    Certificate(Arc<DeviceCertificate>),
    /// Somebody who may become a device, by an enrollment token.
    Enrollment(EnrollmentId, TokenDigest),
}

/// The certificate of a connection, which the handshake has found to be an authority's.
#[derive(Debug)]
pub(in super::super) struct DeviceCertificate {
    /// Whose it is.
    pub(in super::super) device: CertifiedDevice,
    /// Until when it is valid, in seconds since 1970.
    pub(in super::super) not_after: u64,
    /// The SHA-256 of all of it.
    pub(in super::super) fingerprint: [u8; 32],
}

impl DeviceClaim {
    /// Reads a token; none when it is not of these forms.
    pub(super) fn of_token(token: &[u8], tag: Tag) -> Option<Self> {
        let text = std::str::from_utf8(token).ok()?;
        let digest = || TokenDigest::of(token);
        let subject = match token_hostname(text) {
            Some(hostname) => Subject::Token(hostname, digest()),
            None => Subject::Enrollment(token_enrollment(text)?, digest()),
        };
        Some(Self { tag, subject })
    }

    /// By a certificate.
    pub(super) fn of_certificate(certificate: &Arc<DeviceCertificate>) -> Self {
        let subject = Subject::Certificate(Arc::clone(certificate));
        Self { tag: certificate.fingerprint, subject }
    }

    /// Whom it is about.
    pub(super) fn name(&self) -> &str {
        match &self.subject {
            Subject::Token(hostname, _) => hostname.as_str(),
            Subject::Certificate(certificate) => certificate.device.hostname.as_str(),
            Subject::Enrollment(id, _) => id.as_str(),
        }
    }

    /// Until when it can be right, in seconds since 1970.
    fn not_after(&self) -> u64 {
        match &self.subject {
            Subject::Certificate(certificate) => certificate.not_after,
            _ => u64::MAX,
        }
    }

    /// Whether it can be answered from memory.
    pub(super) const fn is_remembered(&self) -> bool {
        !matches!(self.subject, Subject::Enrollment(..))
    }

    /// Asks the store whether it is right.
    pub(super) async fn look_up(&self, store: &dyn Store) -> Result<LookedUp, StoreError> {
        Ok(match &self.subject {
            Subject::Token(hostname, digest) => {
                let Some(found) = store.find::<DeviceCredential>(hostname.as_str()).await? else {
                    return Ok(LookedUp::Unknown);
                };
                let is_theirs = found.token.as_ref().is_some_and(|token| equal(token, digest));
                let left = found.revoked.into_keys().collect();
                let principal = || Principal::of_device(found.hostname, &found.device_group, left);
                LookedUp::of(is_theirs, principal)
            }
            Subject::Certificate(certificate) => {
                let device = &certificate.device;
                let found: Option<DeviceCredential> = store.find(device.hostname.as_str()).await?;
                let group = &device.device_group;
                let revoked_at = found.as_ref().and_then(|found| found.revoked_from(group));
                let is_revoked = revoked_at.is_some_and(|revoked| device.not_before <= revoked);
                let is_valid =
                    unix_seconds().cast_unsigned() <= certificate.not_after && !is_revoked;
                let left = found.map(|found| found.revoked.into_keys().collect());
                let left = left.unwrap_or_default();
                let principal = || Principal::of_device(device.hostname.clone(), group, left);
                LookedUp::of(is_valid, principal)
            }
            Subject::Enrollment(id, digest) => {
                let Some(found) = store.find::<Enrollment>(id.as_str()).await? else {
                    return Ok(LookedUp::Unknown);
                };
                let is_valid =
                    equal(&found.token, digest) && unix_seconds().cast_unsigned() < id.expires_at();
                LookedUp::of(is_valid, || Principal::enrolling(id.clone()))
            }
        })
    }
}

/// What the store says of a claim.
#[derive(Debug)]
pub(super) enum LookedUp {
    /// It is right.
    Right(Principal),
    /// It is wrong, and about somebody who is there.
    Wrong,
    /// It is about nobody. Who it says that is must not be told: it may be any text.
    Unknown,
}

impl LookedUp {
    fn of(is_right: bool, principal: impl FnOnce() -> Principal) -> Self {
        if is_right { Self::Right(principal()) } else { Self::Wrong }
    }
}

/// A claim that was right.
#[derive(Debug)]
pub(super) struct Known {
    principal: Principal,
    place: usize,
    /// The count of changes before it was looked up.
    seen: u64,
    checked: Instant,
    /// Until when it counts at all, in seconds since 1970.
    not_after: u64,
    is_checked_again: AtomicBool,
}

impl Known {
    /// Whether its certificate has ended, which no handshake of an open connection tells.
    fn has_ended(&self) -> bool {
        self.not_after != u64::MAX && unix_seconds().cast_unsigned() > self.not_after
    }

    /// Whether it is time to look it up again; true once.
    fn is_to_be_checked(&self) -> bool {
        self.checked.elapsed() >= CHECKED_AGAIN
            && !self.is_checked_again.swap(true, Ordering::Relaxed)
    }
}

/// What memory says of a claim.
pub(super) enum Memory {
    /// It is right; and, once, that it is time to look it up again.
    Right(Principal, bool),
    /// It is wrong.
    Wrong,
    /// It must be looked up.
    Unknown,
}

/// All that is remembered of devices.
#[derive(Debug)]
pub(super) struct Devices {
    known: Cache<Tag, Arc<Known>>,
    /// The count of changes that they were wrong after.
    wrong: Cache<Tag, (usize, u64)>,
    places: Box<[Place]>,
    hasher: RandomState,
}

/// The devices of one hash.
#[derive(Debug, Default)]
struct Place {
    changes: AtomicU64,
    changed: Notify,
}

impl Devices {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_idle(KNOWN_IDLE).build(),
            wrong: Cache::builder().max_capacity(MAX_WRONG).time_to_live(WRONG_REMEMBERED).build(),
            places: (0..PLACES).map(|_| Place::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// A device's record was written.
    pub(super) fn changed(&self, name: &str) {
        self.places[self.place(name)].change();
    }

    /// Any may have been written.
    pub(super) fn all_changed(&self) {
        self.places.iter().for_each(Place::change);
    }

    /// Ends at the next change of a device, counted from the moment it is made.
    pub(super) fn next_change(&self, name: &str) -> Notified<'_> {
        self.places[self.place(name)].changed.notified()
    }

    /// To be asked before a claim is looked up, and handed to what remembers the outcome.
    pub(super) fn seen(&self, name: &str) -> u64 {
        self.changes(self.place(name))
    }

    pub(super) fn recall(&self, tag: &Tag) -> Memory {
        match self.known.get(tag) {
            Some(known) if known.has_ended() => Memory::Wrong,
            Some(known) if known.checked.elapsed() < REMEMBERED && self.is_true(&known) => {
                Memory::Right(known.principal.clone(), known.is_to_be_checked())
            }
            Some(_) => Memory::Unknown,
            None => match self.wrong.get(tag) {
                Some((place, seen)) if self.changes(place) == seen => Memory::Wrong,
                _ => Memory::Unknown,
            },
        }
    }

    /// Whose it was when it was looked up last, if nothing was heard of them since.
    pub(super) fn last(&self, tag: &Tag) -> Option<Principal> {
        let known = self.known.get(tag)?;
        (self.is_true(&known) && !known.has_ended()).then(|| known.principal.clone())
    }

    /// Remembers a right claim. False when it was overtaken.
    pub(super) fn keep(&self, claim: &DeviceClaim, principal: &Principal, seen: u64) -> bool {
        let place = self.place(claim.name());
        if claim.is_remembered() {
            self.wrong.invalidate(&claim.tag);
            let known = Known {
                principal: principal.clone(),
                place,
                seen,
                checked: Instant::now(),
                not_after: claim.not_after(),
                is_checked_again: AtomicBool::new(false),
            };
            self.known.insert(claim.tag, Arc::new(known));
        }
        self.changes(place) == seen
    }

    /// Remembers a wrong one. False when it was overtaken.
    pub(super) fn keep_wrong(&self, claim: &DeviceClaim, seen: u64) -> bool {
        let place = self.place(claim.name());
        self.known.invalidate(&claim.tag);
        self.wrong.insert(claim.tag, (place, seen));
        self.changes(place) == seen
    }

    fn is_true(&self, known: &Known) -> bool {
        self.changes(known.place) == known.seen
    }

    fn changes(&self, place: usize) -> u64 {
        self.places.get(place).map_or(0, |place| place.changes.load(Ordering::Acquire))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a hash is cut to an index")]
    fn place(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % PLACES
    }
}

impl Place {
    fn change(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

fn equal(one: &TokenDigest, other: &TokenDigest) -> bool {
    bool::from(one.bytes().ct_eq(other.bytes()))
}
