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

mod hashing;
mod memory;
mod principal;
mod throttle;

pub(super) use hashing::{Busy, Hashing};
pub(super) use principal::{Permission, Principal};
pub(super) use throttle::TooMany;

use super::metrics::Metrics;
use crate::config::Credentials;
use crate::model::{Presented, Revision, Secret, SecretHash, token_id};
use crate::store::{Store, StoreError};
use hashing::Lane;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use memory::{Account, Known, Memory, Tag};
use sha2::Sha256;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;
use throttle::Throttle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

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
pub(super) struct Claim {
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
    throttle: Throttle,
    hashing: Hashing,
    /// Checking a token against all users takes long; one at a time, so that it does not take
    /// every turn.
    searches: Semaphore,
    /// Verifications that are going on: equal credentials are verified once.
    running: Mutex<HashMap<Tag, watch::Receiver<Option<Outcome>>>>,
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
            principal: Principal::admin(name),
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
            everybody: (!enabled).then(|| Principal::admin("anybody")),
            memory: Memory::new(),
            throttle: Throttle::new(),
            hashing: Hashing::new(metrics.hashes.clone()),
            searches: Semaphore::new(1),
            running: Mutex::default(),
            store,
        })
    }

    /// For the hashes of new secrets.
    pub(super) fn hashing(&self) -> &Hashing {
        &self.hashing
    }

    /// A user was written or deleted: from now on memory of them counts no longer.
    pub(super) fn user_changed(&self, name: &str, revision: Revision) {
        self.memory.user_changed(name, revision);
    }

    /// A user group was written or deleted: from now on everybody's rights are read again.
    pub(super) fn groups_changed(&self, revision: Revision) {
        self.memory.groups_changed(revision);
    }

    /// What memory says of a request, on the spot.
    pub(super) fn recognise(self: &Arc<Self>, headers: &HeaderMap) -> Recognised {
        if let Some(everybody) = &self.everybody {
            return Recognised::Principal(everybody.clone());
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // Two of them are not for us to choose from.
        let (Some(value), None) = (values.next(), values.next()) else {
            return Recognised::Nobody;
        };
        let Some(presented) = Presented::parse(value.as_bytes()) else {
            return Recognised::Nobody;
        };
        let tag = tag(&self.mac, &presented);
        let configured = match presented {
            Presented::Basic { .. } => &self.basic,
            Presented::Bearer(_) => &self.bearer,
        };
        if let Some(configured) = configured
            && bool::from(configured.tag.ct_eq(&tag))
        {
            return Recognised::Principal(configured.principal.clone());
        }
        let claim = Claim { presented, tag };
        match self.memory.known(&tag) {
            Some(known) if known.is_fresh() && self.memory.is_true(&known.account) => {
                if known.is_to_be_checked() {
                    self.begin(&claim, None);
                }
                Recognised::Principal(known.account.principal.clone())
            }
            None if self.memory.is_wrong(&tag) => Recognised::Nobody,
            _ => Recognised::Unknown(claim),
        }
    }

    /// Goes to the store and, when need be, computes the hash. It runs to its end when the request
    /// is given up, so that whoever asks again finds the answer.
    pub(super) async fn verify(
        self: &Arc<Self>,
        claim: &Claim,
        address: IpAddr,
    ) -> Result<Principal, Arc<Denied>> {
        let mut outcome = self.begin(claim, Some(address));
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(Arc::new(Denied::Busy))),
            // It panicked.
            Err(_) => Err(Arc::new(Denied::Busy)),
        }
    }

    /// Begins a verification, or joins the one that is going on. Without an address it is one of
    /// our own.
    fn begin(
        self: &Arc<Self>,
        claim: &Claim,
        address: Option<IpAddr>,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(&claim.tag) {
            return outcome.clone();
        }
        let (send, outcome) = watch::channel(None);
        running.insert(claim.tag, outcome.clone());
        let (here, claim) = (Arc::clone(self), claim.clone());
        tokio::spawn(async move {
            let done = Running { of: &here, tag: claim.tag };
            let verified = here.examine(&claim, address).await.map_err(Arc::new);
            // Off the list first: whoever comes now finds memory up to date.
            drop(done);
            send.send_replace(Some(verified));
        });
        outcome
    }

    async fn examine(&self, claim: &Claim, address: Option<IpAddr>) -> Result<Principal, Denied> {
        let tag = claim.tag;
        let last_change = self.memory.last_change();
        if let Some(known) = self.memory.known(&tag)
            && let Some(principal) = self.examine_known(claim, &known).await?
        {
            return Ok(principal);
        }
        let place = match address {
            Some(address) => {
                Some(self.throttle.take(address, claim.subject()).map_err(Denied::TooMany)?)
            }
            None => None,
        };
        let (found, claimed) = self.search(claim).await?;
        let Some(known) = found else {
            self.memory.keep_wrong(tag, last_change);
            return Err(Denied::Wrong(claimed));
        };
        if let Some(place) = place {
            place.give_back();
        }
        let principal = known.account.principal.clone();
        self.memory.keep(tag, known);
        Ok(principal)
    }

    /// Credentials that were right before: only the user's own changes can have made them wrong.
    async fn examine_known(
        &self,
        claim: &Claim,
        known: &Known,
    ) -> Result<Option<Principal>, Denied> {
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
        let is_due = known.checked.elapsed() >= memory::CHECKED_AGAIN;
        let checked = if is_due {
            match self.hashing.matches(Lane::Trusted, claim.secret(), &known.hash).await {
                Ok(false) => return Ok(None),
                // A fleet with more users than this machine can hash once a minute still works:
                // the store was asked just now, and equal credentials match an equal hash.
                Ok(true) | Err(Busy) => Instant::now(),
            }
        } else {
            known.checked
        };
        let principal = account.principal.clone();
        self.memory.keep(claim.tag, Known::new(account, known.hash.clone(), checked));
        Ok(Some(principal))
    }

    /// Looks for the user whose credentials these are. When they are nobody's, the second says
    /// whom they were meant for, if that can be told.
    async fn search(&self, claim: &Claim) -> Result<(Option<Known>, Option<String>), Denied> {
        let (names, _turn) = match &claim.presented {
            Presented::Basic { user, .. } => (vec![user.clone()], None),
            Presented::Bearer(token) => {
                let id = std::str::from_utf8(token).ok().and_then(token_id);
                let names = self.store.token_owners(id).await.map_err(Denied::Store)?;
                let turn = match id {
                    Some(_) => None,
                    None => Some(self.searches.acquire().await.map_err(|_| Denied::Busy)?),
                };
                (names, turn)
            }
        };
        let mut claimed = None;
        let is_one = names.len() == 1;
        let mut is_hashed = false;
        for name in names {
            let Some(account) = self.account(&name).await.map_err(Denied::Store)? else { continue };
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

    async fn account(&self, name: &str) -> Result<Option<Arc<Account>>, StoreError> {
        let snapshot = self.store.user_snapshot(name).await?;
        Ok(snapshot.map(|snapshot| self.memory.account(&snapshot)))
    }
}

impl Claim {
    /// What a guesser tries to get into.
    fn subject(&self) -> &str {
        match &self.presented {
            Presented::Basic { user, .. } => user,
            Presented::Bearer(token) => {
                std::str::from_utf8(token).ok().and_then(token_id).unwrap_or_default()
            }
        }
    }

    fn secret(&self) -> &[u8] {
        match &self.presented {
            Presented::Basic { password, .. } => password,
            Presented::Bearer(token) => token,
        }
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
