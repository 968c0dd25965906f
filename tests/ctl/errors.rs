//! When the manager cannot be asked, or does not answer as one: what people read.

use crate::program::User;
use crate::server::{Answer, Server, json, reply};

fn seen(server: &Server) -> String {
    User::of(server).ctl(&["apps", "list"]).seen()
}

/// The URL of a port on which nothing listens.
fn dead_url() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", free.local_addr().expect("an address"))
}

#[test]
fn connection_refused() {
    let url = dead_url();
    let told = |outcome: crate::program::Outcome| outcome.fails(1).replace(&url, "http://DEAD");
    let user = User::new();
    insta::assert_snapshot!("refused_by_flag", told(user.ctl(&["ping", "--url", &url])));
    let user = User::new().with("NEBULA_URL", &url);
    insta::assert_snapshot!("refused_by_environment", told(user.ctl(&["ping"])));
    let user = User::new();
    let file = format!("[ctl]\nurl = \"{url}\"\n");
    std::fs::write(user.path("nebula.toml"), file).expect("written");
    insta::assert_snapshot!("refused_by_file", told(user.ctl(&["ping"])));
}

#[test]
fn unknown_host() {
    let err = User::new().ctl(&["ping", "--url", "http://no-such-host.invalid"]).fails(1);
    assert!(err.contains("cannot reach the manager at `http://no-such-host.invalid`"), "{err}");
    assert!(err.contains("hint: is the host's name right? the URL comes from flag --url"), "{err}");
}

#[test]
fn unauthorized() {
    let server = Server::start(|_| json(401, "{\"authenticated\": false}"));
    insta::assert_snapshot!("unauthorized_without_credentials", seen(&server));
    let user = User::of(&server).with("NEBULA_TOKEN", "t0ken");
    let err = user.ctl(&["apps", "list"]).fails(1);
    assert!(err.contains("the credentials come from environment NEBULA_TOKEN"), "{err}");
    assert!(!err.contains("t0ken"), "{err}");
}

#[test]
fn unavailable() {
    let answer = || reply(503, "Content-Type: application/json\r\nRetry-After: 7\r\n", "{}");
    insta::assert_snapshot!("unavailable", seen(&Server::start(move |_| answer())));
}

#[test]
fn too_many_failed_logins() {
    let body = "{\"error\": \"too many failed logins from this address\"}";
    let headers = "Content-Type: application/json\r\nRetry-After: 30\r\n";
    let server = Server::start(move |_| reply(429, headers, body));
    let user = User::of(&server).with("NEBULA_TOKEN", "t0ken");
    insta::assert_snapshot!("too_many_failed_logins", user.ctl(&["apps", "list"]).seen());
}

#[test]
fn failed() {
    let server = Server::start(|_| reply(500, "Content-Type: text/plain\r\n", "no disk\nleft"));
    insta::assert_snapshot!("failed", seen(&server));
}

#[test]
fn another_service() {
    let page = "<html><body>Welcome to nginx!</body></html>";
    let server = Server::start(move |_| reply(200, "Content-Type: text/html\r\n", page));
    insta::assert_snapshot!("html_page", seen(&server));
    let server = Server::start(move |_| reply(404, "Content-Type: text/html\r\n", page));
    insta::assert_snapshot!("html_404", seen(&server));
}

#[test]
fn another_shape() {
    let server = Server::start(|_| json(200, "{\"apps\": 1}"));
    insta::assert_snapshot!("another_shape", seen(&server));
}

#[test]
fn cut() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let server = Server::start(move |_| Answer::Bytes(head.into()));
    insta::assert_snapshot!("cut", seen(&server));
}

#[test]
fn redirected() {
    let server = Server::start(|_| reply(301, "Location: https://nebula.example/api\r\n", ""));
    insta::assert_snapshot!("redirected", seen(&server));
}

#[test]
fn a_field_that_the_manager_refuses() {
    let body = "{\"docker_image\": \"is not in the allowed registry\"}";
    let server = Server::start(move |_| json(400, body));
    let outcome = User::of(&server).ctl(&["apps", "update", "web", "--image", "a"]);
    insta::assert_snapshot!("field_refused", outcome.seen());
}

#[test]
fn tls() {
    let ok = |_: &crate::server::Request| json(200, "{\"api_available\": true}");
    let (server, certificate) = Server::start_tls(ok);
    let user = User::of(&server);
    insta::assert_snapshot!("tls_not_trusted", user.ctl(&["ping"]).seen());
    let file = user.path("ca.pem");
    std::fs::write(&file, certificate).expect("written");
    let user = user.with("SSL_CERT_FILE", &file.display().to_string());
    assert!(user.ctl(&["ping"]).ok().starts_with("http://MANAGER answers ("));
    let user = User::of(&server).with("SSL_CERT_FILE", "/no/such/file");
    let err = user.ctl(&["ping"]).fails(2);
    assert!(err.contains("SSL_CERT_FILE") && err.contains("/no/such/file"), "{err}");
}

#[test]
fn plain_http_where_tls_was_expected() {
    // Answers at once, whatever comes, as a server of plain HTTP does.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut hello = [0; 5];
            let _ = std::io::Read::read_exact(&mut stream, &mut hello);
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
    });
    let err = User::new().ctl(&["ping", "--url", &url]).fails(1);
    assert!(err.contains("hint: does the manager speak TLS at all?"), "{err}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_usage() {
    let user = User::new().with("NEBULA_URL", "manager:80");
    let err = user.ctl(&["ping"]).fails(2);
    assert!(err.contains("`url` from environment NEBULA_URL"), "{err}");
    let user = User::new().with("NEBULA_TOKEN", "a").with("NEBULA_USERNAME", "b");
    let err = user.ctl(&["ping"]).fails(2);
    assert!(err.contains("found both"), "{err}");
    let user = User::new().with("NEBULA_USERNAME", "b");
    insta::assert_snapshot!("username_alone", user.ctl(&["ping"]).seen());
    let user = User::new();
    std::fs::write(user.path("nebula.toml"), "[ctl]\nurl = 7\n").expect("written");
    let err = user.ctl(&["ping"]).fails(2);
    assert!(err.contains("nebula.toml line 2, [ctl] url"), "{err}");
}

#[test]
fn the_stronger_layer_wins() {
    let server = Server::start(|_| json(200, "{\"apps\": []}"));
    let authorization = |user: &User, arguments: &[&str]| {
        user.ctl(&[&["apps", "list", "-o", "json"], arguments].concat()).ok();
        let requests = server.requests();
        requests.last().and_then(|last| last.header("authorization")).map(str::to_owned)
    };
    let user = User::of(&server);
    assert_eq!(authorization(&user, &[]), None);
    let file = "[ctl]\ntoken = \"from-file\"\n";
    std::fs::write(user.path("nebula.toml"), file).expect("written");
    assert_eq!(authorization(&user, &[]).as_deref(), Some("Bearer from-file"));
    std::fs::write(user.path("token"), "from-secret-file\n").expect("written");
    let user = user.with("NEBULA_TOKEN_FILE", "token");
    assert_eq!(authorization(&user, &[]).as_deref(), Some("Bearer from-secret-file"));
    let pair = ["--username", "a", "--password", "b"];
    assert_eq!(authorization(&user, &pair).as_deref(), Some("Basic YTpi"));
}

#[test]
fn ping_shows_the_reply_as_json() {
    let server = Server::start(|_| json(200, "{\"api_available\": true}"));
    let user = User::of(&server).with("NEBULA_OUTPUT", "json");
    assert_eq!(user.ctl(&["ping"]).ok(), "{\"api_available\": true}\n");
}

#[test]
fn colours_are_for_terminals_alone() {
    let server = Server::start(|_| json(500, "{}"));
    assert!(!seen(&server).contains('\x1b'));
    let user = User::of(&server).with("CLICOLOR_FORCE", "1");
    assert!(user.ctl(&["ping"]).err.contains("\x1b["), "the check above must be able to fail");
}
