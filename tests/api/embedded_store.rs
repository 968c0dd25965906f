//! The embedded store: its contract, and which files it refuses.

use crate::store_contract::{
    a_snapshot_is_one_moment, a_user_is_read_at_one_moment, app, contract, group,
};
use nebula::model::{App, Author, DeviceGroup};
use nebula::store::{DATABASE_FILE, Kind, OpenError, SqliteStore, Store, StoreError};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

async fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder).await.unwrap())
}

/// Every message of an error and its causes.
fn told(error: &OpenError) -> String {
    let first: &dyn std::error::Error = error;
    let all = std::iter::successors(Some(first), |cause| cause.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    let folder = TempDir::new().unwrap();
    contract(open(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_snapshot_holds_what_existed_together() {
    let folder = TempDir::new().unwrap();
    a_snapshot_is_one_moment(open(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_04_a_user_and_its_groups_are_read_together() {
    let folder = TempDir::new().unwrap();
    a_user_is_read_at_one_moment(open(folder.path()).await).await;
}

/// The schema of the first release, to the letter: a file that it wrote keeps its members.
const FIRST_SCHEMA: &str = "
    CREATE TABLE documents (
        kind TEXT NOT NULL, name TEXT NOT NULL, uid BLOB NOT NULL, revision INTEGER NOT NULL,
        body TEXT NOT NULL, PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE members (
        app TEXT NOT NULL, device_group TEXT NOT NULL, PRIMARY KEY (app, device_group)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX members_by_group ON members (device_group);
    CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL) STRICT;
    INSERT INTO meta VALUES (1, 4242);
    INSERT INTO documents VALUES ('app', 'web', x'0102030405060708090a0b0c', 4000,
        '{\"app_id\":3,\"app_name\":\"web\",\"docker_image\":\"nginx:1\"}');
    INSERT INTO documents VALUES ('device_group', 'eu', x'0102030405060708090a0b0d', 4242,
        '{\"device_group\":\"eu\",\"device_group_id\":2,\"prune_id\":5,\"apps\":[\"web\",\"gone\"],\"cron_jobs\":[]}');
    INSERT INTO members VALUES ('web', 'eu'), ('gone', 'eu');
    PRAGMA application_id = 0x6e656275;
    PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_file_of_the_first_release_keeps_what_it_holds() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(DATABASE_FILE);
    Connection::open(&file).unwrap().execute_batch(FIRST_SCHEMA).unwrap();
    for _ in 0..2 {
        let store = open(folder.path()).await;
        let snapshot = store.group_snapshot("eu").await.unwrap().unwrap();
        assert_eq!((snapshot.group.device_group_id, snapshot.group.prune_id), (2, 5));
        assert_eq!(snapshot.apps[0].app_id, 3);
        assert_eq!(snapshot.revision().0, 4242);
        assert!(snapshot.store_revision.0 >= 4242);
        assert!(store.token_owners(None).await.unwrap().is_empty());
    }
    let store = open(folder.path()).await;
    // A write of a member, of one that comes into being, and a deletion find the group.
    let web = store.find::<App>("web").await.unwrap().unwrap();
    assert_eq!(
        store
            .update(
                App { app_id: 4, ..web.clone() },
                web.identity.revision.unwrap(),
                &Author::new("ann", "update")
            )
            .await
            .unwrap()
            .device_groups,
        ["eu"]
    );
    // What was there before there were histories can be gone back to.
    let history = store.history("web").await.unwrap().unwrap();
    let [second, first] = history.entries() else { panic!("{history:?}") };
    assert_eq!((second.app.app_id, second.author.who.as_str()), (4, "ann"));
    assert_eq!((first.app.app_id, first.author.what.as_str(), first.time), (3, "elsewhere", 4));
    assert_eq!(first.app, web);
    assert_eq!(
        store.create(app("gone"), &Author::elsewhere()).await.unwrap().device_groups,
        ["eu"]
    );
    let gone = store.delete(Kind::App, "web").await.unwrap();
    let db = Connection::open(&file).unwrap();
    let count = "SELECT count(*) FROM history WHERE uid = ?";
    let uid = web.identity.uid.unwrap().bytes();
    let kept: i64 = db.query_row(count, [uid], |row| row.get(0)).unwrap();
    assert_eq!(kept, 0, "a history goes with its app");
    assert_eq!(gone.device_groups, ["eu"]);
    let eu = store.find::<DeviceGroup>("eu").await.unwrap().unwrap();
    assert_eq!(eu.identity.revision, Some(gone.revision));
    drop(store);
    let db = Connection::open(&file).unwrap();
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let old: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'members'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!((version, old), (3, 0));
}

#[tokio::test]
async fn what_was_written_is_there_after_it_was_opened_again() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let web = store.create(app("web"), &Author::elsewhere()).await.unwrap();
    let eu = store.create(group("eu", &["web"]), &Author::elsewhere()).await.unwrap();
    drop(store);
    let store = open(folder.path()).await;
    assert_eq!(store.find::<App>("web").await.unwrap(), Some(web.object));
    assert_eq!(store.find::<DeviceGroup>("eu").await.unwrap(), Some(eu.object));
    let gone = store.delete(Kind::App, "web").await.unwrap();
    assert!(gone.revision > eu.revision);
    assert_eq!(gone.device_groups, ["eu"]);
}

#[tokio::test]
async fn a_second_manager_on_the_same_folder_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path()).await;
    let error = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    let lock = folder.path().join("nebula.lock");
    let expected =
        format!("another manager runs on this data folder: it has locked `{}`", lock.display());
    assert_eq!(told(&error), expected);
    first.create(app("web"), &Author::elsewhere()).await.unwrap();
    drop(first);
    open(folder.path()).await;
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()).await);
    let file = folder.path().join(DATABASE_FILE);
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = fs::read(&file).unwrap();
    let error = SqliteStore::open(folder.path()).await.unwrap_err();
    let expected = format!(
        "`{}` was written by a newer Nebula: it has schema version 99, this one knows up to 3",
        file.display()
    );
    assert_eq!(told(&error), expected);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_left_as_they_are() {
    let other = |file: &Path| {
        let db = Connection::open(file).unwrap();
        db.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    };
    let text = |file: &Path| fs::write(file, "a letter to my aunt, ".repeat(100)).unwrap();
    let short = |file: &Path| fs::write(file, "hi").unwrap();
    let makers: [&dyn Fn(&Path); 3] = [&other, &text, &short];
    for make in makers {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join(DATABASE_FILE);
        make(&file);
        let before = fs::read(&file).unwrap();
        let error = SqliteStore::open(folder.path()).await.unwrap_err();
        assert_eq!(told(&error), format!("`{}` is not a store of Nebula", file.display()));
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    for index in 0..200 {
        store.create(app(&format!("app-{index}")), &Author::elsewhere()).await.unwrap();
    }
    drop(store);
    let file = folder.path().join(DATABASE_FILE);
    let mut bytes = fs::read(&file).unwrap();
    // Everything from the second page on.
    bytes[4096..].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    let error = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(told(&error).contains("is damaged"));
}

#[tokio::test]
async fn nobody_else_may_read_its_files() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("a/b");
    let store = open(&folder).await;
    store.create(app("web"), &Author::elsewhere()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert!(files >= 3, "file, log and lock");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = SqliteStore::open(&file.join("data")).await.unwrap_err();
    assert!(told(&error).contains("file/data"), "{}", told(&error));
}

/// The disk is full in the middle of a write: it is refused, wholly absent, and later ones work.
#[tokio::test]
async fn inv_02_a_write_that_finds_the_disk_full_is_wholly_absent() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    store.create(app("web"), &Author::elsewhere()).await.unwrap();
    let eu = store.create(group("eu", &["web"]), &Author::elsewhere()).await.unwrap();
    drop(store);
    // A trigger stands for the full disk: it fails late, when other rows are written already.
    let file = folder.path().join(DATABASE_FILE);
    let db = Connection::open(&file).unwrap();
    db.execute_batch(
        "CREATE TRIGGER full BEFORE UPDATE OF revision ON documents
         WHEN old.kind = 'device_group' BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    .unwrap();
    drop(db);
    let store = open(folder.path()).await;
    let refused = store.delete(Kind::App, "web").await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(store.find::<App>("web").await.unwrap().is_some());
    let snapshot = store.group_snapshot("eu").await.unwrap().unwrap();
    assert_eq!(snapshot.store_revision, eu.revision, "not even a revision was taken");
    store.create(app("other"), &Author::elsewhere()).await.unwrap();
}

/// A future that is dropped once the work began does not stop it half-way.
#[tokio::test]
async fn inv_02_a_write_whose_caller_went_away_is_whole() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).await;
    let author = Author::elsewhere();
    for index in 0..50 {
        let name = format!("app-{index}");
        let write = store.create(app(&name), &author);
        // Polled once or not at all, then dropped.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, write).await;
    }
    store.create(app("last"), &Author::elsewhere()).await.unwrap();
    for name in store.names(Kind::App).await.unwrap() {
        assert!(store.find::<App>(&name).await.unwrap().is_some(), "{name} is whole");
    }
}
