//! `nebula ctl login` and `logout`: what is kept, where, and to whom it goes.

use crate::program::User;
use crate::server::{Server, json};
use std::os::unix::fs::PermissionsExt as _;

/// A manager that takes `admin:pw` and the token `t0ken`.
fn manager() -> Server {
    Server::start(|request| match request.header("authorization") {
        Some("Basic YWRtaW46cHc=" | "Bearer t0ken") => {
            json(200, "{\"api_available\": true, \"apps\": []}")
        }
        _ => json(401, "{\"authenticated\": false}"),
    })
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn login_from_a_pipe_keeps_what_the_manager_takes() {
    let server = manager();
    let user = User::of(&server);
    let outcome = user.ctl_with(&["login"], "admin\npw\n");
    insta::assert_snapshot!("login", outcome.seen());
    assert_eq!(mode(&user.login_file()), 0o600);
    assert_eq!(mode(user.login_file().parent().expect("a folder")), 0o700);
    user.ctl(&["apps", "list"]).ok();
}

#[test]
fn login_takes_a_username_from_its_flag_and_the_password_from_a_pipe() {
    let server = manager();
    let user = User::of(&server);
    user.ctl_with(&["login", "--username", "admin"], "pw\n").ok();
    user.ctl(&["apps", "list"]).ok();
}

#[test]
fn login_keeps_a_token() {
    let server = manager();
    let user = User::of(&server);
    user.ctl(&["login", "--token", "t0ken"]).ok();
    user.ctl(&["apps", "list"]).ok();
}

#[test]
fn login_keeps_nothing_that_the_manager_refuses() {
    let server = manager();
    let user = User::of(&server);
    user.ctl_with(&["login"], "admin\npw\n").ok();
    let before = std::fs::read(user.login_file()).expect("kept");
    let err = user.ctl_with(&["login"], "admin\nwrong\n").fails(1);
    assert!(err.contains("does not accept the credentials"), "{err}");
    assert!(!err.contains("wrong"), "{err}");
    assert_eq!(std::fs::read(user.login_file()).expect("kept"), before);
}

#[test]
fn login_replaces_a_file_that_others_could_read() {
    let server = manager();
    let user = User::of(&server);
    user.ctl_with(&["login"], "admin\npw\n").ok();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(user.login_file(), open).expect("set");
    user.ctl(&["login", "--token", "t0ken"]).ok();
    assert_eq!(mode(&user.login_file()), 0o600);
}

#[test]
fn login_with_nothing_on_the_pipe_is_usage() {
    let server = manager();
    let user = User::of(&server);
    insta::assert_snapshot!("login_nothing", user.ctl_with(&["login"], "").seen());
    assert!(server.requests().is_empty());
}

#[test]
fn login_names_the_manager_for_later_commands() {
    let server = manager();
    let user = User::new();
    user.ctl(&["login", "--url", &server.url, "--token", "t0ken"]).ok();
    user.ctl(&["apps", "list"]).ok();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_login_that_something_stronger_shadows_says_so() {
    let server = manager();
    let user = User::new();
    let file = "[ctl]\nurl = \"http://127.0.0.1:9\"\n";
    std::fs::write(user.path("nebula.toml"), file).expect("written");
    let outcome = user.ctl(&["login", "--url", &server.url, "--token", "t0ken"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.seen());
    assert!(outcome.err.contains("warning: "), "{}", outcome.seen());
    assert!(outcome.err.contains("nebula.toml line 2"), "{}", outcome.seen());
}

#[test]
fn kept_credentials_go_to_their_own_manager_alone() {
    let (server, other) = (manager(), manager());
    let user = User::new();
    user.ctl(&["login", "--url", &server.url, "--token", "t0ken"]).ok();
    let err = user.ctl(&["ping", "--url", &other.url]).fails(1);
    assert!(err.contains(&format!("the kept login is for {}", server.url)), "{err}");
    assert_eq!(other.requests()[0].header("authorization"), None);
}

#[test]
fn logout_forgets() {
    let server = manager();
    let user = User::of(&server);
    user.ctl(&["login", "--token", "t0ken"]).ok();
    assert_eq!(user.ctl(&["logout"]).err, "logged out\n");
    assert!(!user.login_file().exists());
    user.ctl(&["ping"]).fails(1);
    assert_eq!(user.ctl(&["logout"]).err, "there was no login to forget\n");
}

#[test]
fn a_login_that_cannot_be_read_does_not_show_itself() {
    let server = manager();
    let user = User::of(&server);
    user.ctl(&["login", "--token", "t0ken"]).ok();
    std::fs::write(user.login_file(), "token = \"s3cret").expect("written");
    let err = user.ctl(&["ping"]).fails(2);
    assert!(err.contains("nebula ctl logout") && !err.contains("s3cret"), "{err}");
    user.ctl(&["logout"]).ok();
}
