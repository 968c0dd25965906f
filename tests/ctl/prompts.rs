//! Questions on a real terminal, which util-linux's `script` provides. Each test waits for the
//! question before it types.

use crate::program::User;
use crate::server::{Server, json};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

/// A shell on a terminal that runs the program, then tells its exit code and the terminal's state.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(user: &User, arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_nebula");
        let line = format!("'{program}' ctl {arguments}; echo \"code=$?\"; stty -a");
        let child = Command::new("script")
            .args(["--quiet", "--command", &line, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", user.home())
            .envs(user.environment())
            .current_dir(user.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script runs");
        Self { child, seen: String::new() }
    }

    /// Waits for a question, then types.
    fn answer(&mut self, question: &str, keys: &str) {
        let out = self.child.stdout.as_mut().expect("piped");
        let mut byte = [0];
        let start = self.seen.len();
        while !self.seen[start..].contains(question) {
            assert_eq!(out.read(&mut byte).expect("readable"), 1, "no question: {}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
        let keyboard = self.child.stdin.as_mut().expect("piped");
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).expect("typed");
    }

    /// All that was on the terminal, to the end.
    fn end(mut self) -> String {
        let mut rest = String::new();
        let mut out = self.child.stdout.take().expect("piped");
        out.read_to_string(&mut rest).expect("readable");
        self.child.wait().expect("it ends");
        self.seen + &rest
    }
}

fn manager() -> Server {
    Server::start(|request| match request.header("authorization") {
        Some("Basic YWRtaW46cHc=") => json(200, "{\"api_available\": true}"),
        Some(_) => json(401, "{}"),
        None => json(200, "{}"),
    })
}

#[track_caller]
fn assert_sane(seen: &str) {
    for setting in ["-echo", "-icanon", "-isig"] {
        let words: Vec<&str> = seen.split([' ', '\r', '\n', ';']).collect();
        assert!(!words.contains(&setting), "{setting} in {seen}");
        assert!(words.contains(&&setting[1..]), "stty did not run: {seen}");
    }
}

#[test]
fn login_asks_without_showing_the_password() {
    let server = manager();
    let user = User::of(&server);
    let mut terminal = Terminal::start(&user, "login");
    terminal.answer("Username for", "admin\n");
    terminal.answer("Password: ", "wrong\x15px\x7fw\n");
    let seen = terminal.end();
    assert!(seen.contains("logged in to") && seen.contains("code=0"), "{seen}");
    assert!(!seen.contains("wrong") && !seen.contains("px"), "{seen}");
    assert_sane(&seen);
}

#[test]
fn ctrl_c_at_the_password_leaves_the_terminal_sane() {
    let server = manager();
    let user = User::of(&server);
    let mut terminal = Terminal::start(&user, "login --username admin");
    terminal.answer("Password: ", "p\x03");
    let seen = terminal.end();
    assert!(seen.contains("code=130"), "{seen}");
    assert_sane(&seen);
    assert!(server.requests().is_empty() && !user.login_file().exists());
}

#[test]
fn delete_asks_and_only_yes_deletes() {
    for (keys, code, deletes) in [("y\n", "code=0", true), ("\n", "code=1", false)] {
        let server = manager();
        let user = User::of(&server);
        let mut terminal = Terminal::start(&user, "apps delete web");
        terminal.answer("[y/N] ", keys);
        let seen = terminal.end();
        assert!(seen.contains("Delete app `web`?") && seen.contains(code), "{seen}");
        assert_eq!(server.requests().len(), usize::from(deletes), "{seen}");
    }
}

#[test]
fn ctrl_c_at_a_question_deletes_nothing() {
    let server = manager();
    let user = User::of(&server);
    let mut terminal = Terminal::start(&user, "apps delete web");
    terminal.answer("[y/N] ", "\x03");
    let seen = terminal.end();
    // The terminal's own signal ends the shell as well, as it ends a script.
    assert!(!seen.contains("deleted"), "{seen}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_new_password_is_asked_for_twice_and_never_shown() {
    for (again, code, asks) in [("n3w\n", "code=0", true), ("nwe\n", "code=1", false)] {
        let server = manager();
        let user = User::of(&server);
        let mut terminal = Terminal::start(&user, "users update eve --prompt-password");
        terminal.answer("New password: ", "n3w\n");
        terminal.answer("The new password again: ", again);
        let seen = terminal.end();
        assert!(seen.contains(code) && !seen.contains("n3w"), "{seen}");
        assert_sane(&seen);
        let requests = server.requests();
        assert_eq!(requests.len(), usize::from(asks), "{seen}");
        assert!(requests.iter().all(|request| request.body == "{\"password\":\"n3w\"}"));
    }
}

#[test]
fn a_file_named_dash_is_asked_for_on_a_terminal_and_not_shown() {
    let server = manager();
    let user = User::of(&server);
    let mut terminal = Terminal::start(&user, "users update eve --new-token-file -");
    terminal.answer("New token: ", "t0ken\n");
    terminal.answer("The new token again: ", "t0ken\n");
    let seen = terminal.end();
    assert!(seen.contains("code=0") && !seen.contains("t0ken"), "{seen}");
    assert_eq!(server.requests()[0].body, "{\"token\":\"t0ken\"}");
}
