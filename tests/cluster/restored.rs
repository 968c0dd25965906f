//! A database goes back to an old dump while managers run: devices are told of the old state as of
//! a new one.

use crate::device::{Device, number, revision};
use crate::managers::{Cluster, DEGRADED, Database, PATIENCE, until};
use crate::sets::steady;
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use std::time::Duration;

/// All that a database holds, as `mongodump` writes it.
struct Dump(Vec<(String, Vec<Document>)>);

impl Dump {
    async fn of(database: &mongodb::Database) -> Self {
        let mut collections = Vec::new();
        for name in database.list_collection_names().await.unwrap() {
            let all = database.collection::<Document>(&name).find(doc! {}).await.unwrap();
            collections.push((name, all.try_collect().await.unwrap()));
        }
        Self(collections)
    }

    /// As if it had been made so much earlier.
    fn aged(mut self, by: Duration) -> Self {
        let by = i64::try_from(by.as_millis()).unwrap();
        for (name, documents) in &mut self.0 {
            let keys: &[&str] = match name.as_str() {
                "nebula_meta" => &["value"],
                "nebula_changes" => &["_id", "first"],
                _ => &["revision"],
            };
            for document in documents {
                for key in keys {
                    if let Some(Bson::Int64(revision)) = document.get_mut(key) {
                        *revision -= by;
                    }
                }
            }
        }
        self
    }

    /// One collection after the other, as `mongorestore` does, `--drop` or after they were
    /// emptied.
    async fn restore(&self, database: &mongodb::Database, drops: bool, takes: Duration) {
        for (name, documents) in &self.0 {
            let collection = database.collection::<Document>(name);
            if drops {
                collection.drop().await.unwrap();
            } else {
                collection.delete_many(doc! {}).await.unwrap();
            }
            // As long as it takes for the documents that these stand for.
            tokio::time::sleep(takes).await;
            // What managers wrote meanwhile under the same id stays; mongorestore says so and goes on.
            for document in documents {
                let inserted = collection.insert_one(document).await;
                let is_there = inserted.err().map(|error| error.to_string().contains("E11000"));
                assert_ne!(is_there, Some(false), "{document}");
            }
        }
    }
}

async fn the_old_state_wins(age: Duration, drops: bool, takes: Duration) {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let database = cluster.database.open().await;
    let first = &cluster.managers[0];
    first.create_app("app").await;
    first.create_app("later").await;
    first.create_group("group", &["app", "later"]).await;
    first.set("app", "N", 1).await.unwrap();
    let dump = Dump::of(&database).await.aged(age);
    first.set("app", "N", 2).await.unwrap();
    first.done("DELETE", "/apps/later", serde_json::Value::Null).await;
    let mut device = Device::default();
    let mut newest = 0;
    for manager in &cluster.managers {
        until("the newest state", DEGRADED, async || {
            let info = manager.shown("group").await?;
            newest = newest.max(revision(&info));
            device.take(&info);
            (number(&info, "app", "N") == 2 && info["apps_list"].as_array()?.len() == 1)
                .then_some(())
        })
        .await;
    }
    dump.restore(&database, drops, takes).await;
    for manager in &cluster.managers {
        until("the restored state, as a new one", PATIENCE, async || {
            let info = manager.shown("group").await?;
            let is_old = number(&info, "app", "N") == 1 && info["apps_list"].as_array()?.len() == 2;
            device.take(&info);
            (is_old && revision(&info) > newest).then_some(())
        })
        .await;
    }
    assert_eq!(number(&device.desired, "app", "N"), 1);
    // What is written from now on is newer still.
    cluster.managers[1].set("app", "N", 3).await.unwrap();
    until("a change after it", PATIENCE, async || {
        let info = cluster.managers[2].shown("group").await?;
        device.take(&info);
        (number(&device.desired, "app", "N") == 3).then_some(())
    })
    .await;
    // Dropped with their collections, they are made again: two objects of one name must not be.
    until("the unique indexes", PATIENCE, async || {
        let apps = database.collection::<Document>("nebula_apps");
        let names = apps.list_indexes().await.ok()?.try_collect::<Vec<_>>().await.ok()?;
        let unique = |index: &mongodb::IndexModel| {
            index.options.as_ref().is_some_and(|options| options.unique == Some(true))
        };
        names.iter().any(unique).then_some(())
    })
    .await;
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_a_restored_old_dump_wins() {
    the_old_state_wins(HOUR, true, Duration::ZERO).await;
}

/// Its notes are so young that they might be taken for those of new writes, and each collection
/// comes long after it was dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_a_young_dump_that_is_restored_slowly_wins() {
    the_old_state_wins(Duration::ZERO, true, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_a_dump_restored_into_emptied_collections_wins() {
    the_old_state_wins(HOUR, false, Duration::ZERO).await;
    the_old_state_wins(Duration::ZERO, false, Duration::from_millis(500)).await;
}
