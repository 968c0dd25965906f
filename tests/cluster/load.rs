//! Clients that write without end, through whichever managers answer, and remember what they were
//! told.
//!
//! What was answered with 2xx must be there in the end; what was not answered may be there or not.

use crate::device::number;
use crate::managers::{Cluster, Manager, PATIENCE, until};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After this many changes of its app a client makes a new one, and one that it deletes.
const CHANGES: u64 = 10;
/// What a client does not get an answer to, it tries elsewhere after this.
const ANSWERED: Duration = Duration::from_secs(8);
/// The wait after a failure, so that a fault does not end in a storm.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a device asks.
const CHECK_IN: Duration = Duration::from_millis(10);

/// What one client knows of the apps that it made; their names are never used again.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Names, and the last change that was acknowledged and the last that was tried.
    pub(crate) kept: Vec<(String, u64, u64)>,
    /// Names whose deletion was acknowledged.
    pub(crate) deleted: Vec<String>,
}

/// Clients at work.
pub(crate) struct Load {
    stop: CancellationToken,
    clients: JoinSet<Told>,
    /// Acknowledged writes by manager.
    acknowledged: Arc<[AtomicU64; 3]>,
}

/// One client.
struct Writer {
    managers: Vec<(usize, Arc<Manager>)>,
    next: usize,
    acknowledged: Arc<[AtomicU64; 3]>,
    stop: CancellationToken,
}

impl Load {
    /// This many clients, each with names of its own that begin with `prefix`. Each goes from
    /// manager to manager when one does not answer, and now and then without a reason.
    pub(crate) fn begin(cluster: &Cluster, prefix: &str, count: usize) -> Self {
        let managers: Vec<_> = cluster.managers.iter().cloned().enumerate().collect();
        Self::through(&managers, prefix, count)
    }

    /// The same through some managers.
    pub(crate) fn through(managers: &[(usize, Arc<Manager>)], prefix: &str, count: usize) -> Self {
        let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
        let acknowledged: Arc<[AtomicU64; 3]> = Arc::default();
        for client in 0..count {
            let writer = Writer {
                managers: managers.to_vec(),
                next: client,
                acknowledged: Arc::clone(&acknowledged),
                stop: stop.clone(),
            };
            clients.spawn(writer.run(format!("{prefix}-{client}")));
        }
        Self { stop, clients, acknowledged }
    }

    /// Waits until this manager has acknowledged some more writes, and says how long it took.
    pub(crate) async fn goes_on(&self, manager: usize, writes: u64, limit: Duration) -> Duration {
        let (begun, count) = (Instant::now(), &self.acknowledged[manager]);
        let enough = count.load(Ordering::Relaxed) + writes;
        until(&format!("writes through manager {manager}"), limit, async || {
            (count.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        begun.elapsed()
    }

    /// Ends the clients; each finishes, or gives up, what it does.
    pub(crate) async fn end(self) -> Vec<Told> {
        self.stop.cancel();
        self.clients.join_all().await
    }
}

impl Writer {
    async fn run(mut self, prefix: String) -> Told {
        let mut told = Told::default();
        for round in 0_u64.. {
            let name = format!("{prefix}-{round}");
            if !self.create(&name).await {
                return told;
            }
            told.kept.push((name.clone(), 0, 0));
            for change in 1..=CHANGES {
                let Some(kept) = told.kept.last_mut() else { break };
                kept.2 = change;
                let body = json!({
                    "env_vars": { "N": change.to_string() },
                    "docker_image": format!("demo:{change}"),
                });
                let path = format!("/apps/{name}/update");
                if !self.until_done("PUT", &path, &body, &[]).await {
                    return told;
                }
                kept.1 = change;
            }
            let gone = format!("{prefix}-{round}-gone");
            let exists = json!({ "app_exists": false });
            let is_gone = self.create(&gone).await
                && self
                    .until_done("DELETE", &format!("/apps/{gone}"), &Value::Null, &[exists])
                    .await;
            if !is_gone {
                return told;
            }
            told.deleted.push(gone);
        }
        told
    }

    async fn create(&mut self, name: &str) -> bool {
        let body = json!({ "docker_image": "demo:0", "env_vars": { "N": "0" } });
        let exists = json!({ "app_exists": true });
        self.until_done("POST", &format!("/apps/{name}"), &body, &[exists]).await
    }

    /// Repeats a request until it is acknowledged, by 2xx or, when it is repeated, by a refusal
    /// that says that it was done before. False when the load ended first.
    async fn until_done(&mut self, method: &str, path: &str, body: &Value, done: &[Value]) -> bool {
        for attempt in 0.. {
            if self.stop.is_cancelled() {
                return false;
            }
            self.next += usize::from(attempt > 0 || rand::random_ratio(1, 8));
            let (index, manager) = &self.managers[self.next % self.managers.len()];
            let sent = manager.send(method, path, body.clone());
            match tokio::time::timeout(ANSWERED, sent).await {
                Ok(Ok((200..300, _))) => {
                    self.acknowledged[*index].fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Ok(Ok((403, flag))) if attempt > 0 && done.contains(&flag) => return true,
                Ok(Ok((503, _)) | Err(_)) | Err(_) => tokio::time::sleep(PAUSE).await,
                Ok(Ok(other)) => panic!("{method} {path}: {other:?}"),
            }
        }
        unreachable!("it tries without end")
    }
}

/// Devices that ask each manager for one group, so that it is always ready in memory. They go when
/// this value does.
pub(crate) struct Devices(JoinSet<()>);

impl Devices {
    pub(crate) fn begin(cluster: &Cluster, group: &str) -> Self {
        let mut devices = JoinSet::new();
        for manager in &cluster.managers {
            let (manager, group) = (Arc::clone(manager), group.to_owned());
            devices.spawn(async move {
                let mut ticks = tokio::time::interval(CHECK_IN);
                loop {
                    ticks.tick().await;
                    // What it is answered, others look at.
                    let _ = manager.info(&group).await;
                }
            });
        }
        Self(devices)
    }

    /// Still at work; one that panicked is not.
    pub(crate) fn end(self) {
        assert_eq!(self.0.len(), 3);
    }
}

/// Asserts that all that was acknowledged is there through every manager, and that nothing is there
/// by half or twice.
pub(crate) async fn assert_kept(cluster: &Cluster, all: &[Told]) {
    let apps = cluster.database.open().await.collection::<Document>("nebula_apps");
    for told in all {
        for (name, acknowledged, tried) in &told.kept {
            let count = apps.count_documents(doc! { "app_name": name }).await.unwrap();
            assert_eq!(count, 1, "{name} is there once");
            for manager in &cluster.managers {
                let app = manager.done("GET", &format!("/apps/{name}"), Value::Null).await;
                let n: u64 = app["env_vars"]["N"].as_str().unwrap().parse().unwrap();
                assert!(
                    (*acknowledged..=*tried).contains(&n),
                    "{name}: {acknowledged} was acknowledged: {app}"
                );
                assert_eq!(app["docker_image"], format!("demo:{n}"), "a half of a change: {app}");
                assert!(app["app_id"].as_u64().unwrap() > n, "{name}: {app}");
            }
        }
        for name in &told.deleted {
            for manager in &cluster.managers {
                let (status, body) = manager.get(&format!("/apps/{name}")).await.unwrap();
                assert_eq!(
                    (status, body),
                    (403, json!({ "app_exists": false })),
                    "{name} came back"
                );
            }
        }
    }
}

/// Waits until devices of a group are told by every manager exactly what the store holds.
pub(crate) async fn shown_by_all(cluster: &Cluster, group: &str) -> Duration {
    let begun = Instant::now();
    for manager in &cluster.managers {
        // What a fault left takes as long as the network's own limits; never is what would be wrong.
        until(&format!("{group} as the store holds it"), PATIENCE, async || {
            let (status, info) = manager.info(group).await.ok()?;
            (status == 200 && is_as_stored(cluster, &info, group).await).then_some(())
        })
        .await;
    }
    begun.elapsed()
}

async fn is_as_stored(cluster: &Cluster, info: &Value, group: &str) -> bool {
    let database = cluster.database.open().await;
    let groups = database.collection::<Document>("nebula_device_groups");
    let stored = groups.find_one(doc! { "device_group": group }).await.unwrap().unwrap();
    let apps = database.collection::<Document>("nebula_apps");
    let mut seen = Vec::new();
    let mut highest = stored.get_i64("revision").unwrap_or(0);
    for name in stored.get_array("apps").unwrap().iter().filter_map(|name| name.as_str()) {
        let Some(app) = apps.find_one(doc! { "app_name": name }).await.unwrap() else { continue };
        let n = app.get_document("env_vars").unwrap().get_str("N").unwrap_or("0").to_owned();
        if number(info, name, "N").to_string() != n {
            return false;
        }
        highest = highest.max(app.get_i64("revision").unwrap_or(0));
        seen.push(name.to_owned());
    }
    info["apps_list"] == json!(seen) && info["revision"] == highest
}
