//! Backup while in use, and restore by starting on the file.

use crate::harness::{Manager, Moody, config};
use nebula::model::App;
use nebula::modes::manager::Limits;
use nebula::store::{DATABASE_FILE, SqliteStore, Store};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

async fn download(manager: &Manager) -> Vec<u8> {
    let response = manager.request("GET", "/api/v2/backup").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.bytes().await.unwrap().to_vec()
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_03_a_backup_taken_while_writing_holds_all_that_was_acknowledged_before() {
    let manager = Arc::new(Manager::start().await);
    let done = Arc::new(AtomicBool::new(false));
    let (writing, until) = (Arc::clone(&manager), Arc::clone(&done));
    let writer = tokio::spawn(async move {
        let mut index = 0;
        while !until.load(Ordering::SeqCst) {
            writing.create_app(&format!("during-{index}")).await;
            index += 1;
        }
        index
    });
    for index in 0..20 {
        manager.create_app(&format!("before-{index}")).await;
    }
    manager.create_group("eu", &["before-0", "before-1"]).await;
    let before = manager.get("/apps").await.1["apps"].as_array().unwrap().clone();
    let info = manager.info("eu").await;
    let bytes = download(&manager).await;
    let last = manager.create_app("after").await;
    done.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    let left = files(manager.folder.as_ref().unwrap().path());
    assert!(left.iter().all(|name| name.starts_with("nebula.")), "{left:?}");

    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(DATABASE_FILE), bytes).unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let restored = Manager::over(config(folder.path()), store, Limits::default()).await;
    let after = restored.get("/apps").await.1["apps"].as_array().unwrap().clone();
    assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
    assert!(!after.contains(&json!("after")));
    assert_eq!(restored.info("eu").await, info);
    // The restored store overtakes what the old one gave out after the backup.
    let app = restored.create_app("after").await;
    assert!(app["revision"].as_u64() > last["revision"].as_u64());
}

/// The manager died and left its log; the backup is put in the place of its file. Replaying that
/// log into it would damage it.
#[tokio::test]
async fn inv_03_a_restored_file_does_not_take_over_the_log_of_the_one_it_replaces() {
    let folder = TempDir::new().unwrap();
    let manager = Manager::start().await;
    manager.create_app("kept").await;
    manager.create_group("eu", &["kept"]).await;
    let backup = download(&manager).await;
    for index in 0..50 {
        manager.create_app(&format!("lost-{index}")).await;
    }
    let old = manager.folder.as_ref().unwrap().path();
    let log = format!("{DATABASE_FILE}-wal");
    assert!(fs::metadata(old.join(&log)).unwrap().len() > 0, "the old store has a log");
    fs::copy(old.join(&log), folder.path().join(&log)).unwrap();
    fs::write(folder.path().join(DATABASE_FILE), backup).unwrap();

    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    assert!(store.find::<App>("kept").await.unwrap().is_some());
    let names = store.names(nebula::store::Kind::App).await.unwrap();
    assert_eq!(names, ["kept"]);
    assert!(files(folder.path()).contains(&format!("{log}.foreign")));
}

/// A manager that was killed has part of its data in the log: that one belongs to the file.
#[tokio::test]
async fn inv_01_the_log_of_a_killed_manager_is_read() {
    let folder = TempDir::new().unwrap();
    let manager = Manager::start().await;
    manager.create_app("kept").await;
    for name in files(manager.folder.as_ref().unwrap().path()) {
        let old = manager.folder.as_ref().unwrap().path().join(&name);
        fs::copy(old, folder.path().join(&name)).unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    assert!(store.find::<App>("kept").await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_was_closed_is_one_file() {
    let manager = Manager::start().await;
    manager.create_app("kept").await;
    let folder = manager.stop().await.unwrap();
    assert_eq!(files(folder.path()), [DATABASE_FILE, "nebula.lock"]);
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_so_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let moody = Moody::over(Arc::new(SqliteStore::open(folder.path()).await.unwrap()));
    let store = Arc::clone(&moody);
    let manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    moody.is_down.store(true, Ordering::SeqCst);
    let (status, answer) = manager.send("GET", "/backup", Value::Null).await;
    assert_eq!((status, answer), (503, json!({ "error": "the store could not try" })));
    assert!(files(folder.path()).iter().all(|name| name.starts_with("nebula.")));
}

#[tokio::test]
async fn what_a_killed_backup_left_is_removed_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    fs::write(folder.path().join(".nebula-backup-x1"), "half").unwrap();
    let _manager = Manager::over(config(folder.path()), store, Limits::default()).await;
    assert!(!folder.path().join(".nebula-backup-x1").exists());
}
