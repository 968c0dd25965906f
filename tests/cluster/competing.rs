//! Several managers change the same things at the same time.

use crate::managers::{Cluster, Database};
use crate::sets::steady;
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinSet;

/// How many clients change one app at once, and how often each.
const CLIENTS: usize = 6;
const CHANGES: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_01_each_acknowledged_change_of_one_app_counts_once() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    cluster.managers[0].create_app("shared").await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let manager = Arc::clone(cluster.turn(client));
        clients.spawn(async move {
            let mut ids = Vec::new();
            for change in 0..CHANGES {
                let (status, app) =
                    manager.set("shared", &format!("C{client}"), change as u64).await.unwrap();
                assert_eq!(status, 202, "{app}");
                ids.push(app["app_id"].as_u64().unwrap());
            }
            assert!(ids.is_sorted_by(|before, after| before < after), "{ids:?}");
            ids
        });
    }
    let mut ids: Vec<u64> = clients.join_all().await.into_iter().flatten().collect();
    ids.sort_unstable();
    let last = (CLIENTS * CHANGES) as u64 + 1;
    assert_eq!(ids, (2..=last).collect::<Vec<u64>>(), "each change has an id of its own");
    for manager in &cluster.managers {
        let (_, app): (u16, Value) = manager.get("/apps/shared").await.unwrap();
        assert_eq!(app["app_id"], last);
    }
}
