//! Credentials that were checked, remembered under a MAC.
//!
//! Invariants: what is remembered of credentials is a MAC under a key that dies with the process;
//! they count for at most [`REMEMBERED`] after their hash was checked; they count no longer than
//! the user and the user groups that they were checked with are unchanged on this manager; memory
//! is bounded, and wrong credentials cannot push right ones out.
//!
//! How a change is seen at once: each write of a user raises the floor of that user to the write's
//! revision, each write of a user group raises the floor of all, before anybody is told of the
//! write. An account counts while the snapshot it was read from is not below both. Floors of users
//! are shared by hash, as those of `/info` are: sharing costs an extra read, never a wrong answer.

use super::principal::Principal;
use crate::model::{Revision, Rights, SecretHash, UserGroupSpec};
use crate::store::{KnownGroups, SeenGroup, UserSnapshot};
use moka::sync::Cache;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long checked credentials count.
pub(super) const REMEMBERED: Duration = Duration::from_secs(60);
/// From this age on they are checked again beside the request, so that nobody waits for the hash.
pub(super) const CHECKED_AGAIN: Duration = Duration::from_secs(40);
/// Right credentials: of a hundred thousand users, at less than a kilobyte each, for they share
/// what their groups grant. What was right once but counts no longer is kept a while longer, for
/// its check goes before those of strangers.
const MAX_KNOWN: u64 = 100_000;
/// User groups whose grants are kept; with more, they are read again.
const MAX_GROUPS: usize = 10_000;
const KNOWN_IDLE: Duration = Duration::from_secs(600);
/// Wrong credentials that are known to be wrong: a fleet with an old token asks for ever.
const MAX_WRONG: u64 = 10_000;
const WRONG_REMEMBERED: Duration = Duration::from_secs(60);
/// Floors of users.
const FLOORS: usize = 4_096;

/// A MAC of credentials.
pub(super) type Tag = [u8; 32];

/// A user as they were read: who they are, and what they may.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) principal: Principal,
    pub(super) password: SecretHash,
    pub(super) token: SecretHash,
    store_revision: Revision,
    floor: usize,
}

/// Credentials that were right.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) account: Arc<Account>,
    /// The hash that they matched.
    pub(super) hash: SecretHash,
    /// When they did.
    pub(super) checked: Instant,
    is_checked_again: AtomicBool,
}

impl Known {
    pub(super) fn new(account: Arc<Account>, hash: SecretHash, checked: Instant) -> Self {
        Self { account, hash, checked, is_checked_again: AtomicBool::new(false) }
    }

    /// Whether they still count, as far as time goes.
    pub(super) fn is_fresh(&self) -> bool {
        self.checked.elapsed() < REMEMBERED
    }

    /// True once, when it is time to check them again.
    pub(super) fn is_to_be_checked(&self) -> bool {
        self.checked.elapsed() >= CHECKED_AGAIN
            && !self.is_checked_again.swap(true, Ordering::Relaxed)
    }
}

/// What a user group grants, and when that was read.
#[derive(Debug)]
struct Granted {
    revision: Revision,
    read: Instant,
    spec: Arc<UserGroupSpec>,
}

/// All that is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    known: Cache<Tag, Arc<Known>>,
    /// The change of any user that they were wrong after.
    wrong: Cache<Tag, u64>,
    /// What each user group grants, as it was last read.
    granted: Mutex<HashMap<String, Granted>>,
    users: Box<[AtomicU64]>,
    any_user: AtomicU64,
    groups: AtomicU64,
    hasher: RandomState,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::builder().max_capacity(MAX_KNOWN).time_to_idle(KNOWN_IDLE).build(),
            granted: Mutex::default(),
            wrong: Cache::builder().max_capacity(MAX_WRONG).time_to_live(WRONG_REMEMBERED).build(),
            users: (0..FLOORS).map(|_| AtomicU64::new(0)).collect(),
            any_user: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// A user was written. False when that was known.
    pub(super) fn user_changed(&self, name: &str, revision: Revision) -> bool {
        let before = self.users[self.floor_of(name)].fetch_max(revision.0, Ordering::AcqRel);
        self.any_user.fetch_max(revision.0, Ordering::AcqRel);
        before < revision.0
    }

    /// A user group was written. False when that was known.
    pub(super) fn groups_changed(&self, revision: Revision) -> bool {
        self.groups.fetch_max(revision.0, Ordering::AcqRel) < revision.0
    }

    /// Any user and any user group may have been written. False when that was known.
    pub(super) fn everybody_changed(&self, revision: Revision) -> bool {
        self.any_user.fetch_max(revision.0, Ordering::AcqRel);
        // Every account is read at a revision not below this, its user included.
        self.groups_changed(revision)
    }

    /// The user groups that need not be read again.
    pub(super) fn known_groups(&self) -> KnownGroups {
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        // A change without a revision, which no manager makes, is seen after this time as well.
        let fresh = granted.iter().filter(|(_, granted)| granted.read.elapsed() < REMEMBERED);
        fresh.map(|(name, granted)| (name.clone(), granted.revision)).collect()
    }

    /// The account of a user, as it was read. None when a group that was known when it was asked
    /// for is known no longer.
    pub(super) fn account(&self, snapshot: UserSnapshot) -> Option<Arc<Account>> {
        let UserSnapshot { user, groups, store_revision } = snapshot;
        let groups = groups.into_iter().map(|seen| self.granted(seen)).collect::<Option<_>>()?;
        let name = user.user_name.as_str();
        Some(Arc::new(Account {
            principal: Principal::user(name, Rights::of(groups)),
            floor: self.floor_of(name),
            password: user.password,
            token: user.token,
            store_revision,
        }))
    }

    /// What a group grants, from what was read or from memory. All users of a group share it.
    fn granted(&self, seen: SeenGroup) -> Option<Arc<UserGroupSpec>> {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(group) = seen.group else {
            let kept = granted.get(&seen.name).filter(|kept| kept.revision == seen.revision);
            return kept.map(|kept| Arc::clone(&kept.spec));
        };
        let spec = Arc::new(group.spec);
        if granted.len() >= MAX_GROUPS {
            granted.clear();
        }
        let (revision, read) = (seen.revision, Instant::now());
        granted.insert(seen.name, Granted { revision, read, spec: Arc::clone(&spec) });
        Some(spec)
    }

    /// Whether an account is still what the store holds.
    pub(super) fn is_true(&self, account: &Account) -> bool {
        let read = account.store_revision.0;
        read >= self.users[account.floor].load(Ordering::Acquire)
            && read >= self.groups.load(Ordering::Acquire)
    }

    /// Credentials that were right once; whether they count is another question.
    pub(super) fn known(&self, tag: &Tag) -> Option<Arc<Known>> {
        self.known.get(tag)
    }

    /// Remembers right credentials.
    pub(super) fn keep(&self, tag: Tag, known: Known) {
        self.wrong.invalidate(&tag);
        self.known.insert(tag, Arc::new(known));
    }

    /// The last change of any user, to be handed to [`Memory::keep_wrong`].
    pub(super) fn last_change(&self) -> u64 {
        self.any_user.load(Ordering::Acquire)
    }

    /// Remembers wrong credentials, which were compared with all users as they were after a
    /// change.
    pub(super) fn keep_wrong(&self, tag: Tag, last_change: u64) {
        self.known.invalidate(&tag);
        self.wrong.insert(tag, last_change);
    }

    /// Whether credentials are known to be wrong. A change of any user may make them right.
    pub(super) fn is_wrong(&self, tag: &Tag) -> bool {
        self.wrong.get(tag).is_some_and(|change| change == self.last_change())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a hash is cut to an index")]
    fn floor_of(&self, user: &str) -> usize {
        self.hasher.hash_one(user) as usize % FLOORS
    }
}
