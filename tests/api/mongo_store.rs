//! The store in `MongoDB`: its contract on a replica set and on a lone server, and what an existing
//! database and other writers may hold for it.

use crate::store_contract::{a_snapshot_is_one_moment, a_user_is_read_at_one_moment, contract};
use nebula::config::Secret;
use nebula::store::{MongoSettings, MongoStore, Store};
use std::sync::Arc;

fn open(url: &str, database: &str) -> Arc<dyn Store> {
    let url = Secret::new(url.to_owned());
    Arc::new(MongoStore::new(MongoSettings {
        url,
        database: database.to_owned(),
        max_pool_size: 10,
    }))
}

fn url() -> String {
    std::env::var("NEBULA_TEST_MONGO_URL").expect("scripts/with-services mongo")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    contract(open(&url(), "contract")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_snapshot_holds_what_existed_together() {
    a_snapshot_is_one_moment(open(&url(), "snapshot")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_user_and_its_groups_are_read_together() {
    a_user_is_read_at_one_moment(open(&url(), "user")).await;
}
