//! What devices ask for all the time, ready in memory: one `(ETag, bytes)` a device group.
//!
//! Invariants: the bytes come from one consistent read; an answer never shows less than a write
//! that was acknowledged before it was asked for; many who ask at once cost one read; a group that
//! does not fit into memory costs a read each time a device asks, and nothing worse.
//!
//! How: every write raises the floor of each group it touched to the write's revision, before
//! anybody is told of it. Ready bytes count only while the snapshot they were made from is not
//! below the floor. A build that raced a write therefore loses by itself, however late it ends. Of a
//! store that others write to, a read may show the revision of a write before all that the write
//! stamps with it: so what was read before a write was heard of does not count after it either.
//! Floors are not kept with the bytes, because they must outlive what memory drops: there is a
//! fixed number of them, and groups share them by hash. Sharing costs an extra build, never a
//! wrong answer.

use super::reply::Refusal;
use crate::model::{App, CronJob, Name, Revision};
use crate::store::{Cause, GroupSnapshot, Store, StoreError};
use axum::response::Response;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use moka::sync::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::futures::Notified;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

use super::reply::ReplyBody;

/// Floors. A write to one group makes one in this many others build again: 128 kB buy that it is
/// rare in any fleet.
const FLOORS: usize = 16_384;
/// Groups whose parked requests are woken together. A request that is woken for another group looks
/// and parks again.
const WAKES: usize = 1_024;
/// Builds that may go on at once; each remembers its last answer for those who waited for it.
const BUILDERS: usize = 64;
/// Memory for each of the `cache_max_size` groups. A typical group takes a few kB, so in practice
/// many times `cache_max_size` groups fit, and none is favoured by a count.
const BYTES_PER_GROUP: u64 = 64 << 10;
/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD: usize = 300;

/// How often a store that is behind is read again before the request is told to come back.
const BEHIND_ROUNDS: usize = 5;
/// And how long after each.
const BEHIND_WAIT: Duration = Duration::from_millis(100);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// A device may keep the answer but must ask each time; a shared cache must not keep it at all.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// The ready bytes of one group.
#[derive(Debug)]
pub(super) struct Ready {
    name: Arc<str>,
    etag: HeaderValue,
    bytes: Bytes,
    store_revision: Revision,
    floor: usize,
    /// How many writes had been heard of when it was read.
    heard: u64,
}

/// Ready bytes of every group that was asked for.
#[derive(Debug)]
pub(super) struct InfoCache {
    ready: Cache<Arc<str>, Arc<Ready>>,
    floors: Box<[AtomicU64]>,
    /// By floor: how many writes have been heard of.
    heard: Box<[AtomicU64]>,
    builders: Box<[Mutex<Option<Arc<Ready>>>]>,
    wakes: Box<[Notify]>,
    hasher: RandomState,
}

impl InfoCache {
    /// Memory for about this many groups, and for many more when they are small.
    ///
    /// `cache_time` has no say here: an answer is true until the next write that is heard of, and
    /// false from then on, whatever its age. How soon others' writes are heard of is `feed`'s.
    pub(super) fn new(groups: u64) -> Self {
        let weigh = |name: &Arc<str>, ready: &Arc<Ready>| {
            u32::try_from(2 * name.len() + ready.bytes.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            ready: Cache::builder()
                .max_capacity(groups.saturating_mul(BYTES_PER_GROUP))
                .weigher(weigh)
                .build(),
            floors: (0..FLOORS).map(|_| AtomicU64::new(0)).collect(),
            heard: (0..FLOORS).map(|_| AtomicU64::new(0)).collect(),
            builders: (0..BUILDERS).map(|_| Mutex::new(None)).collect(),
            wakes: (0..WAKES).map(|_| Notify::new()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Makes every answer of these groups that is older than this write worthless. Called between
    /// the write's commit and its answer.
    pub(super) fn raise<'a>(&self, groups: impl Iterator<Item = &'a String>, revision: Revision) {
        for group in groups {
            let floor = self.floor_of(group);
            let before = self.floors[floor].fetch_max(revision.0, Ordering::AcqRel);
            self.heard[floor].fetch_add(1, Ordering::AcqRel);
            // A write of this manager is told by the store as well; those who wait were woken.
            if before < revision.0 {
                self.wakes[floor % WAKES].notify_waiters();
            }
        }
    }

    /// The same for every group.
    pub(super) fn raise_all(&self, revision: Revision) {
        let mut has_risen = false;
        for (floor, heard) in self.floors.iter().zip(&self.heard) {
            has_risen |= floor.fetch_max(revision.0, Ordering::AcqRel) < revision.0;
            heard.fetch_add(1, Ordering::AcqRel);
        }
        if has_risen {
            self.wakes.iter().for_each(Notify::notify_waiters);
        }
    }

    /// Ends at the next change of a group. It counts from the moment it is made, so whoever makes
    /// it before looking misses nothing.
    pub(super) fn changed(&self, group: &str) -> Notified<'_> {
        self.wakes[self.floor_of(group) % WAKES].notified()
    }

    /// The ready bytes of a group, if they are still true.
    pub(super) fn ready(&self, group: &str) -> Option<Arc<Ready>> {
        self.ready.get(group).filter(|ready| self.is_true(ready))
    }

    /// The bytes of a group, made anew when need be; none when there is no such group.
    pub(super) async fn get(
        &self,
        group: &str,
        store: &dyn Store,
    ) -> Result<Option<Arc<Ready>>, Refusal> {
        if let Some(ready) = self.ready(group) {
            return Ok(Some(ready));
        }
        let floor = self.floor_of(group);
        let mut last = self.builders[floor % BUILDERS].lock().await;
        // While this one waited, another may have made it.
        let made = last.as_ref().filter(|made| *made.name == *group && self.is_true(made));
        if let Some(ready) = made.cloned().or_else(|| self.ready(group)) {
            return Ok(Some(ready));
        }
        let heard = self.heard[floor].load(Ordering::Acquire);
        let Some(snapshot) = self.read(group, floor, store).await? else {
            self.ready.invalidate(group);
            return Ok(None);
        };
        let name = group.to_owned();
        // Megabytes of it are written and hashed for tens of milliseconds.
        let made =
            tokio::task::spawn_blocking(move || Ready::new(&name, (floor, heard), &snapshot));
        let ready = Arc::new(made.await.map_err(|_| Refusal::Panic)??);
        self.ready.insert(Arc::clone(&ready.name), Arc::clone(&ready));
        *last = Some(Arc::clone(&ready));
        Ok(Some(ready))
    }

    /// Reads a group, not older than any write that was heard of before. A member of a store that
    /// has just become its head may need a moment to show what was acknowledged.
    async fn read(
        &self,
        group: &str,
        floor: usize,
        store: &dyn Store,
    ) -> Result<Option<GroupSnapshot>, StoreError> {
        let needed = self.floors[floor].load(Ordering::Acquire);
        for _ in 0..BEHIND_ROUNDS {
            let snapshot = store.group_snapshot(group).await?;
            if snapshot.as_ref().is_none_or(|snapshot| snapshot.store_revision.0 >= needed) {
                return Ok(snapshot);
            }
            sleep(BEHIND_WAIT).await;
        }
        Err(StoreError::unavailable("show its last writes", Cause::TooSlow))
    }

    fn is_true(&self, ready: &Ready) -> bool {
        ready.store_revision.0 >= self.floors[ready.floor].load(Ordering::Acquire)
            && ready.heard == self.heard[ready.floor].load(Ordering::Acquire)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a hash is cut to an index")]
    fn floor_of(&self, group: &str) -> usize {
        self.hasher.hash_one(group) as usize % FLOORS
    }
}

/// The wire form.
#[derive(Serialize)]
struct Info<'a> {
    apps: &'a [App],
    apps_list: Vec<&'a str>,
    cron_jobs: &'a [CronJob],
    cron_jobs_list: Vec<&'a str>,
    prune_id: u64,
    device_group_id: u64,
    revision: Revision,
}

impl Ready {
    fn new(
        name: &str,
        (floor, heard): (usize, u64),
        snapshot: &GroupSnapshot,
    ) -> Result<Self, Refusal> {
        fn names<T>(all: &[T], name: impl Fn(&T) -> &Name) -> Vec<&str> {
            all.iter().map(|one| name(one).as_str()).collect()
        }
        let info = Info {
            apps: &snapshot.apps,
            apps_list: names(&snapshot.apps, |app| &app.app_name),
            cron_jobs: &snapshot.cron_jobs,
            cron_jobs_list: names(&snapshot.cron_jobs, |job| &job.cron_job_name),
            prune_id: snapshot.group.prune_id,
            device_group_id: snapshot.group.device_group_id,
            revision: snapshot.revision(),
        };
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a group's answer could not be written");
            Refusal::Panic
        };
        let bytes = serde_json::to_vec(&info).map_err(|error| failed(&error))?;
        let etag = HeaderValue::from_str(&etag(&bytes)).map_err(|error| failed(&error))?;
        let store_revision = snapshot.store_revision;
        Ok(Self { name: name.into(), etag, bytes: bytes.into(), store_revision, floor, heard })
    }

    /// The answer: 304 when the device has these bytes already.
    pub(super) fn reply(&self, request: &HeaderMap) -> Response<ReplyBody> {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, PRIVATE);
        let body = if self.is_known_to(request) {
            None
        } else {
            headers.insert(CONTENT_TYPE, JSON);
            Some(self.bytes.clone())
        };
        let mut response = Response::new(ReplyBody::Ready(body));
        if matches!(response.body(), ReplyBody::Ready(None)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        *response.headers_mut() = headers;
        response
    }

    /// `If-None-Match` compares weakly: `W/"x"` is `"x"`.
    pub(super) fn is_known_to(&self, request: &HeaderMap) -> bool {
        let etag = self.etag.as_bytes();
        let is_ours = |tag: &[u8]| {
            let tag = tag.trim_ascii();
            tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag
        };
        let mut given = request.get_all(IF_NONE_MATCH).iter();
        given.any(|value| value.as_bytes().split(|byte| *byte == b',').any(is_ours))
    }
}

/// A strong tag: 128 bits of the bytes' hash.
fn etag(bytes: &[u8]) -> String {
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in Sha256::digest(bytes).iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}
