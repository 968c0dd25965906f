//! `nebula ctl backup`: a whole and sound file, or none.

use crate::program::User;
use crate::server::{Answer, Server, reply};
use std::os::unix::fs::PermissionsExt as _;

/// The bytes of a small store, in the mode in which the manager keeps its own.
fn store() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.db");
    let connection = rusqlite::Connection::open(&file).expect("opened");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE apps (name TEXT);
             INSERT INTO apps VALUES ('web'); PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .expect("filled");
    drop(connection);
    std::fs::read(file).expect("read")
}

/// A manager whose backup is these bytes.
fn manager(bytes: Vec<u8>) -> Server {
    Server::start(move |request| {
        assert_eq!(request.line, "GET /api/v2/backup");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len());
        Answer::Bytes([head.as_bytes(), &bytes].concat())
    })
}

/// What stands in the home folder.
fn files(user: &User) -> Vec<String> {
    let entries = std::fs::read_dir(user.home()).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().display().to_string()).collect()
}

#[test]
fn backup_writes_the_store_for_its_user_alone() {
    let server = manager(store());
    let user = User::of(&server);
    let outcome = user.ctl(&["backup", "nebula.db"]);
    insta::assert_snapshot!("backup", outcome.seen());
    let file = user.path("nebula.db");
    assert_eq!(std::fs::read(&file).expect("written"), store());
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(files(&user), ["nebula.db"]);
}

#[test]
fn backup_replaces_a_file_with_force_alone() {
    let server = manager(store());
    let user = User::of(&server);
    std::fs::write(user.path("nebula.db"), "older").expect("written");
    let err = user.ctl(&["backup", "nebula.db"]).fails(1);
    assert!(err.contains("is there already") && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read(user.path("nebula.db")).expect("kept"), b"older");
    assert!(server.requests().is_empty());
    user.ctl(&["backup", "nebula.db", "--force"]).ok();
    assert_eq!(std::fs::read(user.path("nebula.db")).expect("written"), store());
}

#[test]
fn backup_keeps_nothing_that_is_not_whole() {
    let mut short = store();
    short.truncate(short.len() - 4096);
    let mut broken = store();
    // The root of the table of tables, in the first page behind its header.
    broken[100..120].fill(0xFF);
    for bytes in [b"SQLite".to_vec(), b"<html>".repeat(100), short, broken] {
        let server = manager(bytes);
        let user = User::of(&server);
        std::fs::write(user.path("nebula.db"), "older").expect("written");
        let err = user.ctl(&["backup", "nebula.db", "--force"]).fails(1);
        assert!(err.contains("not a whole backup"), "{err}");
        assert_eq!(std::fs::read(user.path("nebula.db")).expect("kept"), b"older");
        assert_eq!(files(&user), ["nebula.db"]);
    }
}

#[test]
fn backup_that_is_cut_or_refused_leaves_nothing() {
    let cut = Server::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n";
        Answer::Bytes([head.as_bytes(), &store()[..4096]].concat())
    });
    let refused = Server::start(|_| reply(403, "Content-Type: application/json\r\n", "{}"));
    for server in [cut, refused] {
        let user = User::of(&server);
        user.ctl(&["backup", "nebula.db"]).fails(1);
        assert_eq!(files(&user), [""; 0]);
    }
}

#[test]
fn backup_that_is_interrupted_leaves_nothing() {
    let (arrived, wait) = std::sync::mpsc::channel();
    let server = Server::start(move |_| {
        let _ = arrived.send(());
        Answer::Silence
    });
    let user = User::of(&server);
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_nebula"))
        .args(["ctl", "backup", "nebula.db", "--url", &server.url])
        .current_dir(user.home())
        .spawn()
        .expect("the program runs");
    wait.recv().expect("the request arrives");
    let pid = child.id().to_string();
    let killed = std::process::Command::new("kill").args(["-INT", &pid]).status();
    assert!(killed.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(files(&user), [""; 0]);
}

#[test]
fn backup_follows_a_link_and_refuses_what_is_no_file() {
    let server = manager(store());
    let user = User::of(&server);
    std::fs::write(user.path("real.db"), "older").expect("written");
    std::os::unix::fs::symlink("real.db", user.path("latest.db")).expect("linked");
    user.ctl(&["backup", "latest.db", "--force"]).ok();
    assert_eq!(std::fs::read(user.path("real.db")).expect("written"), store());
    assert!(user.path("latest.db").is_symlink());
    std::fs::create_dir(user.path("folder")).expect("made");
    let err = user.ctl(&["backup", "folder", "--force"]).fails(1);
    assert!(err.contains("is no regular file"), "{err}");
    let err = user.ctl(&["backup", "-"]).fails(1);
    assert!(err.contains("`-` is no file"), "{err}");
}
