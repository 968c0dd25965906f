//! Who asks: the configured local admin, the configured token, or a stored user.
//!
//! What it is: [`Authenticator::recognise`] answers from memory, at once, on every request;
//! [`Authenticator::verify`] goes to the store and computes a hash, for credentials that memory
//! does not know.
//! What it is not: what a principal may do is asked at each route, see `routes`.
//!
//! Invariants: it is asked before any body is read, any route is looked up and any memory of
//! answers is consulted; configured credentials are compared as MACs under a key that dies with
//! the process, in constant time; no hash is computed on a thread that serves, and none that is
//! not needed; a user who does not exist costs the time of one who does; a change of a user or a
//! user group counts from the next request on.

mod devices;
mod hashing;
mod memory;
mod principal;
mod throttle;

pub(super) use devices::DeviceCertificate;
pub(super) use hashing::{Busy, Hashing};
pub(super) use principal::{Permission, Principal};
pub(super) use throttle::TooMany;

use super::metrics::Metrics;
use crate::config::Credentials;
use crate::model::{
    DEVICE_TOKENS, MAX_SECRET_BYTES, Presented, Revision, Secret, SecretHash, token_id,
};
use crate::store::{KnownGroups, Store, StoreError};
use devices::{DeviceClaim, Devices, LookedUp};
use hashing::Lane;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use memory::{Account, Known, Memory, Tag};
use sha2::Sha256;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use throttle::Throttle;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

/// Tokens that wait to be compared with each user's. A search takes seconds, and whoever stands
/// further behind has given up before it begins.
const MAX_SEARCHES: usize = 8;
/// Half of the connections with which the embedded store reads.
const MAX_READS: usize = 2;
/// Devices that are looked up at once: one record each, which takes a fraction of a millisecond.
const MAX_DEVICE_READS: usize = 8;
/// How often a look is repeated because users change meanwhile; each round that fails is one in
/// which an admin changed somebody.
const MAX_ROUNDS: usize = 5;
/// A request that ends before this was given up by its client, and not by its own limit.
const GIVEN_UP_EARLY: Duration = Duration::from_secs(20);

/// What memory says of a request's credentials.
pub(super) enum Recognised {
    /// They are valid.
    Principal(Principal),
    /// They must be verified.
    Unknown(Claim),
    /// There are none, they are malformed, or they are known to be wrong.
    Nobody,
}

/// Credentials to be verified.
#[derive(Clone)]
pub(super) enum Claim {
    /// A stored user's.
    User(UserClaim),
    /// A device's own.
    Device(DeviceClaim),
}

/// A user's password or token.
#[derive(Clone)]
pub(super) struct UserClaim {
    presented: Presented,
    tag: Tag,
}

/// Why credentials do not let in.
#[derive(Debug)]
pub(super) enum Denied {
    /// They are wrong; the user whom they were meant for, if there is one.
    Wrong(Option<String>),
    /// Too many were wrong; these were not looked at.
    TooMany(TooMany),
    /// Too many wait to be checked.
    Busy,
    /// Whether they are right cannot be known: the store failed.
    Store(StoreError),
}

impl From<Busy> for Denied {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

/// One configured way in.
struct Configured {
    tag: Tag,
    principal: Principal,
}

/// The outcome of a verification that several requests wait for. An error of the store is told to
/// all of them.
type Outcome = Result<Principal, Arc<Denied>>;

/// Checks the credentials of requests.
pub(super) struct Authenticator {
    /// Keyed once: a check clones it instead of deriving the key's state again.
    mac: Hmac<Sha256>,
    basic: Option<Configured>,
    bearer: Option<Configured>,
    /// Everybody's principal when authentication is switched off.
    everybody: Option<Principal>,
    memory: Memory,
    devices: Devices,
    throttle: Throttle,
    hashing: Hashing,
    /// Checking a token against all users takes long; one at a time, so that it does not take
    /// every turn.
    searches: Semaphore,
    waiting_searches: Semaphore,
    /// Accounts that are read at once.
    reads: Semaphore,
    /// Devices that are looked up at once. Apart from users, whom a fleet must not hold up.
    device_reads: Semaphore,
    /// Verifications that are going on: equal credentials are verified once.
    running: Mutex<HashMap<Tag, watch::Receiver<Option<Outcome>>>>,
    /// For requests that wait.
    changed: Notify,
    store: Arc<dyn Store>,
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
        store: Arc<dyn Store>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        let key = rand::random::<[u8; 64]>();
        let mac = Hmac::<Sha256>::new(&key.into());
        let configured = |name: &str, presented: &Presented| Configured {
            tag: tag(&mac, presented),
            principal: Principal::local(name),
        };
        let basic = admin.map(|admin| {
            let password = admin.password.expose().clone().into_bytes();
            configured(&admin.user, &Presented::Basic { user: admin.user.clone(), password })
        });
        let bearer = token.map(|token| {
            configured("token", &Presented::Bearer(token.expose().clone().into_bytes()))
        });
        Arc::new(Self {
            mac,
            basic,
            bearer,
            everybody: (!enabled).then(|| Principal::local("anybody")),
            memory: Memory::new(),
            devices: Devices::new(),
            throttle: Throttle::new(),
            hashing: Hashing::new(metrics.hashes.clone()),
            searches: Semaphore::new(1),
            waiting_searches: Semaphore::new(MAX_SEARCHES),
            reads: Semaphore::new(MAX_READS),
            device_reads: Semaphore::new(MAX_DEVICE_READS),
            running: Mutex::default(),
            changed: Notify::new(),
            store,
        })
    }

    /// For the hashes of new secrets.
    pub(super) fn hashing(&self) -> &Hashing {
        &self.hashing
    }

    /// A user was written or deleted: from now on memory of them counts no longer.
    pub(super) fn user_changed(&self, name: &str, revision: Revision) {
        // What was known woke everybody when it came.
        if self.memory.user_changed(name, revision) {
            self.changed.notify_waiters();
        }
    }

    /// A user group was written or deleted: from now on everybody's rights are read again.
    pub(super) fn groups_changed(&self, revision: Revision) {
        if self.memory.groups_changed(revision) {
            self.changed.notify_waiters();
        }
    }

    /// Any user and user group may have been written: everybody is read again.
    pub(super) fn everybody_changed(&self, revision: Revision) {
        if self.memory.everybody_changed(revision) {
            self.changed.notify_waiters();
        }
        self.devices.all_changed();
    }

    /// What lets a device in was written or deleted: from now on memory of it counts no longer.
    pub(super) fn device_changed(&self, name: &str) {
        self.devices.changed(name);
    }

    /// Ends at the next change of what somebody may, counted from the moment it is made: for a
    /// device of its own record, for a user of any user or user group.
    pub(super) fn changed(&self, who: &Principal) -> Notified<'_> {
        match who.device() {
            Some(hostname) => self.devices.next_change(hostname.as_str()),
            None => self.changed.notified(),
        }
    }

    /// What memory says of a request, on the spot.
    ///
    /// A certificate counts where no credentials are presented: whoever says who they are is taken
    /// at their word.
    pub(super) fn recognise(
        self: &Arc<Self>,
        headers: &HeaderMap,
        certificate: Option<&Arc<DeviceCertificate>>,
    ) -> Recognised {
        if let Some(everybody) = &self.everybody {
            return Recognised::Principal(everybody.clone());
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next(), certificate) {
            (Some(value), None, _) => value,
            (None, _, Some(certificate)) => {
                let claim = || Some(DeviceClaim::of_certificate(certificate));
                let recognised = self.recognise_device(&certificate.fingerprint, claim);
                return recognised.unwrap_or(Recognised::Nobody);
            }
            // Two of them are not for us to choose from.
            _ => return Recognised::Nobody,
        };
        let Some(mut presented) = Presented::parse(value.as_bytes()) else {
            return Recognised::Nobody;
        };
        let whole = tag(&self.mac, &presented);
        let configured = match presented {
            Presented::Basic { .. } => &self.basic,
            Presented::Bearer(_) => &self.bearer,
        };
        if let Some(configured) = configured
            && bool::from(configured.tag.ct_eq(&whole))
        {
            return Recognised::Principal(configured.principal.clone());
        }
        if let Presented::Bearer(token) = &presented
            && DEVICE_TOKENS.iter().any(|prefix| token.starts_with(prefix.as_bytes()))
            && let Some(recognised) =
                self.recognise_device(&whole, || DeviceClaim::of_token(token, whole))
        {
            return recognised;
        }
        let tag = if presented.secret().len() <= MAX_SECRET_BYTES {
            whole
        } else {
            presented = presented.as_hashed();
            tag(&self.mac, &presented)
        };
        let claim = UserClaim { presented, tag };
        match self.memory.known(&tag) {
            Some(known) if known.is_fresh() && self.memory.is_true(&known.account) => {
                if known.is_to_be_checked() {
                    self.begin(&Claim::User(claim), None);
                }
                Recognised::Principal(known.account.principal.clone())
            }
            None if self.memory.is_wrong(&tag) => Recognised::Nobody,
            _ => Recognised::Unknown(Claim::User(claim)),
        }
    }

    /// The same for a device's own credentials; `claim` reads them when memory does not know them.
    /// None when they are not of a device's form.
    fn recognise_device(
        self: &Arc<Self>,
        tag: &Tag,
        claim: impl FnOnce() -> Option<DeviceClaim>,
    ) -> Option<Recognised> {
        Some(match self.devices.recall(tag) {
            devices::Memory::Right(principal, is_to_be_checked) => {
                if is_to_be_checked && let Some(claim) = claim() {
                    self.begin(&Claim::Device(claim), None);
                }
                Recognised::Principal(principal)
            }
            devices::Memory::Wrong => Recognised::Nobody,
            devices::Memory::Unknown => Recognised::Unknown(Claim::Device(claim()?)),
        })
    }

    /// Goes to the store and, when need be, computes the hash. It runs to its end when the request
    /// is given up, so that whoever asks again finds the answer.
    pub(super) async fn verify(
        self: &Arc<Self>,
        claim: &Claim,
        address: IpAddr,
    ) -> Result<Principal, Arc<Denied>> {
        for _ in 0..MAX_ROUNDS {
            let mut outcome = self.begin(claim, Some(address));
            let Ok(outcome) = outcome.wait_for(Option::is_some).await.map(|seen| seen.clone())
            else {
                // It panicked.
                break;
            };
            let is_overtaken = || match claim {
                Claim::User(claim) => {
                    let known = self.memory.known(&claim.tag);
                    known.is_some_and(|known| !self.memory.is_true(&known.account))
                }
                Claim::Device(claim) => {
                    claim.is_remembered() && self.devices.last(&claim.tag).is_none()
                }
            };
            match outcome {
                // Whoever joined it at its last moment may have come after a change that it had
                // not seen.
                Some(Ok(_)) if is_overtaken() => {}
                Some(outcome) => return outcome,
                None => break,
            }
        }
        Err(Arc::new(Denied::Busy))
    }

    /// Begins a verification, or joins the one that is going on. Without an address it is one of
    /// our own.
    fn begin(
        self: &Arc<Self>,
        claim: &Claim,
        address: Option<IpAddr>,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(claim.tag()) {
            return outcome.clone();
        }
        let (send, outcome) = watch::channel(None);
        running.insert(*claim.tag(), outcome.clone());
        let (here, claim) = (Arc::clone(self), claim.clone());
        tokio::spawn(async move {
            let done = Running { of: &here, tag: *claim.tag() };
            let begun = Instant::now();
            // The list holds one receiver. Whoever has waited long may come again for the answer;
            // what was given up at once is not worth a hash for each user.
            let is_wanted = || send.receiver_count() > 1 || begun.elapsed() > GIVEN_UP_EARLY;
            let verified = match &claim {
                Claim::User(claim) => here.examine(claim, address, is_wanted).await,
                Claim::Device(claim) => here.look_up_device(claim, is_wanted).await,
            };
            let verified = verified.map_err(Arc::new);
            // Off the list first: whoever comes now finds memory up to date.
            drop(done);
            send.send_replace(Some(verified));
        });
        outcome
    }

    /// Looks a device up. Nobody guesses its token, so wrong ones are not counted: whoever stands
    /// behind one address with it could keep it out by its name.
    async fn look_up_device(
        &self,
        claim: &DeviceClaim,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Principal, Denied> {
        for _ in 0..MAX_ROUNDS {
            let seen = self.devices.seen(claim.name());
            let looked_up = {
                let _turn = self.device_reads.acquire().await;
                // Whoever gave up in the queue leaves it to those who did not.
                if !is_wanted() && self.devices.last(&claim.tag).is_none() {
                    return Err(Denied::Busy);
                }
                claim.look_up(&*self.store).await
            };
            let looked_up = match looked_up {
                Ok(looked_up) => looked_up,
                // A store that is away has not changed its mind.
                Err(error @ StoreError::Unavailable { .. }) => {
                    match self.devices.last(&claim.tag) {
                        Some(principal) => LookedUp::Right(principal),
                        None => return Err(Denied::Store(error)),
                    }
                }
                Err(error) => return Err(Denied::Store(error)),
            };
            match looked_up {
                LookedUp::Right(principal) if self.devices.keep(claim, &principal, seen) => {
                    return Ok(principal);
                }
                LookedUp::Wrong if self.devices.keep_wrong(claim, seen) => {
                    return Err(Denied::Wrong(Some(format!("device:{}", claim.name()))));
                }
                LookedUp::Unknown if self.devices.keep_wrong(claim, seen) => {
                    return Err(Denied::Wrong(None));
                }
                // It was written meanwhile.
                _ => {}
            }
        }
        Err(Denied::Busy)
    }

    async fn examine(
        &self,
        claim: &UserClaim,
        address: Option<IpAddr>,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Principal, Denied> {
        if let Some(known) = self.memory.known(&claim.tag)
            && let Some(principal) = self.examine_known(claim, &known).await?
        {
            return Ok(principal);
        }
        let place = match address {
            Some(address) => {
                let is_guessable =
                    claim.token_id().is_none() || self.suspects(claim).await?.is_empty();
                let place = self.throttle.take(address, claim.subject(), is_guessable);
                Some(place.map_err(Denied::TooMany)?)
            }
            None => None,
        };
        let examined = self.examine_stranger(claim, is_wanted).await;
        // Only who was wrong has used a place up, not who could not be looked at.
        if let Some(place) = place
            && !matches!(examined, Err(Denied::Wrong(_)))
        {
            place.give_back();
        }
        examined
    }

    /// Credentials that memory does not know. A change that is acknowledged meanwhile counts, for
    /// whoever asks after it waits for this same outcome.
    async fn examine_stranger(
        &self,
        claim: &UserClaim,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Principal, Denied> {
        for _ in 0..MAX_ROUNDS {
            let last_change = self.memory.last_change();
            let (found, claimed) = self.search(claim, &is_wanted).await?;
            if let Some(known) = found {
                if self.memory.is_true(&known.account) {
                    let principal = known.account.principal.clone();
                    self.memory.keep(claim.tag, known);
                    return Ok(principal);
                }
                if let Some(principal) = self.examine_known(claim, &known).await? {
                    return Ok(principal);
                }
            } else if last_change == self.memory.last_change() {
                self.memory.keep_wrong(claim.tag, last_change);
                return Err(Denied::Wrong(claimed));
            }
        }
        Err(Denied::Busy)
    }

    /// Credentials that were right before: only the user's own changes can have made them wrong.
    async fn examine_known(
        &self,
        claim: &UserClaim,
        known: &Known,
    ) -> Result<Option<Principal>, Denied> {
        let mut checked = known.checked;
        for _ in 0..MAX_ROUNDS {
            let account = match self.account(known.account.principal.name()).await {
                Ok(Some(account)) => account,
                Ok(None) => return Ok(None),
                // A store that is away has not changed its mind; the hash is still computed.
                Err(StoreError::Unavailable { .. }) if self.memory.is_true(&known.account) => {
                    Arc::clone(&known.account)
                }
                Err(error) => return Err(Denied::Store(error)),
            };
            if *claim.hash_of(&account) != known.hash {
                return Ok(None);
            }
            if checked.elapsed() >= memory::CHECKED_AGAIN {
                match self.hashing.matches(Lane::Trusted, claim.secret(), &known.hash).await {
                    Ok(false) => return Ok(None),
                    // A fleet with more users than this machine can hash once a minute still
                    // works: the store was asked just now, and equal credentials match an equal
                    // hash.
                    Ok(true) | Err(Busy) => checked = Instant::now(),
                }
            }
            // Else it was changed while the hash was computed.
            if self.memory.is_true(&account) {
                let principal = account.principal.clone();
                self.memory.keep(claim.tag, Known::new(account, known.hash.clone(), checked));
                return Ok(Some(principal));
            }
        }
        Err(Denied::Busy)
    }

    /// The users whose credentials these may be.
    async fn suspects(&self, claim: &UserClaim) -> Result<Vec<String>, Denied> {
        match &claim.presented {
            Presented::Basic { user, .. } => Ok(vec![user.clone()]),
            Presented::Bearer(_) => {
                self.store.token_owners(claim.token_id()).await.map_err(Denied::Store)
            }
        }
    }

    /// Looks for the user whose credentials these are. When they are nobody's, the second says
    /// whom they were meant for, if that can be told.
    async fn search(
        &self,
        claim: &UserClaim,
        is_wanted: impl Fn() -> bool,
    ) -> Result<(Option<Known>, Option<String>), Denied> {
        let suspects = self.suspects(claim).await?;
        let is_one = suspects.len() == 1;
        let _turn = match suspects.len() {
            0 | 1 => None,
            _ => Some(self.search_turn().await?),
        };
        let mut claimed = None;
        let mut is_hashed = false;
        for name in suspects {
            if !is_wanted() {
                return Err(Denied::Busy);
            }
            let account = match self.account(&name).await {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                // One that cannot be read is nobody, and must not stand before the others.
                Err(error @ StoreError::Unreadable { .. }) => {
                    tracing::error!(%error, "a user cannot log in");
                    continue;
                }
                Err(error) => return Err(Denied::Store(error)),
            };
            let hash = claim.hash_of(&account).clone();
            is_hashed = true;
            if self.hashing.matches(Lane::Open, claim.secret(), &hash).await? {
                return Ok((Some(Known::new(account, hash, Instant::now())), None));
            }
            claimed = is_one.then_some(name);
        }
        if !is_hashed {
            self.hashing.pretend(claim.secret()).await?;
        }
        Ok((None, claimed))
    }

    /// Waits until no other token is compared with each user's.
    async fn search_turn(&self) -> Result<SemaphorePermit<'_>, Denied> {
        let _waiting = self.waiting_searches.try_acquire().map_err(|_| Denied::Busy)?;
        self.searches.acquire().await.map_err(|_| Denied::Busy)
    }

    async fn account(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        // After a change of a large group all of its users come at once. The first reads it, the
        // others find it read; and other reads of the store are not held up.
        let _turn = self.reads.acquire().await;
        let known = self.memory.known_groups();
        let Some(snapshot) = self.store.user_snapshot(name, &known).await? else {
            return Ok(None);
        };
        if let Some(account) = self.memory.account(snapshot) {
            return Ok(Some(account));
        }
        // Memory was cleared in between; with nothing known everything is read.
        let snapshot = self.store.user_snapshot(name, &KnownGroups::new()).await?;
        Ok(snapshot.and_then(|snapshot| self.memory.account(snapshot)))
    }
}

impl Claim {
    const fn tag(&self) -> &Tag {
        match self {
            Self::User(claim) => &claim.tag,
            Self::Device(claim) => &claim.tag,
        }
    }
}

impl UserClaim {
    /// What a guesser tries to get into.
    fn subject(&self) -> &str {
        match &self.presented {
            Presented::Basic { user, .. } => user,
            Presented::Bearer(_) => self.token_id().unwrap_or_default(),
        }
    }

    /// What a token says of whose it is.
    fn token_id(&self) -> Option<&str> {
        match &self.presented {
            Presented::Basic { .. } => None,
            Presented::Bearer(token) => std::str::from_utf8(token).ok().and_then(token_id),
        }
    }

    fn secret(&self) -> &[u8] {
        self.presented.secret()
    }

    fn hash_of<'a>(&self, account: &'a Account) -> &'a SecretHash {
        match &self.presented {
            Presented::Basic { .. } => &account.password,
            Presented::Bearer(_) => &account.token,
        }
    }
}

/// A verification's entry in the list; it goes with it, after a panic as well.
struct Running<'a> {
    of: &'a Authenticator,
    tag: Tag,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.of.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tag);
    }
}

/// The MAC of credentials. The two forms never share one.
fn tag(mac: &Hmac<Sha256>, presented: &Presented) -> Tag {
    let mut mac = mac.clone();
    match presented {
        Presented::Basic { user, password } => {
            mac.update(b"basic ");
            mac.update(user.as_bytes());
            mac.update(b":");
            mac.update(password);
        }
        Presented::Bearer(token) => {
            mac.update(b"bearer ");
            mac.update(token);
        }
    }
    mac.finalize().into_bytes().into()
}
