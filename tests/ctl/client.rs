//! The client against servers that misbehave: an answer is whole or an error, and credentials go
//! nowhere else.

use crate::server::{Answer, Server, json, reply};
use nebula::client::{
    Action, Client, ClientError, ClockDifference, Credentials, Info, MAX_BODY_BYTES, Noun, Object,
    Problem,
};
use nebula::config::Secret;
use nebula::model::ReportQuery;
use rstest::rstest;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn basic() -> Credentials {
    Credentials::Basic { user: "admin".into(), password: Secret::new("pass:wörd".into()) }
}

fn client(server: &Server) -> Client {
    Client::new(&server.url, &basic(), LONG).expect("a client")
}

/// Asks a server that always answers the same for a group's info.
async fn info_of(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Result<Info, ClientError> {
    let server = Server::start(move |_| answer());
    client(&server).info("speakers", None).await
}

#[tokio::test]
async fn info_hands_over_a_complete_answer_with_its_etag() {
    let headers = "Content-Type: application/json; charset=utf-8\r\nETag: \"a1\"\r\n";
    let info = info_of(move || reply(200, headers, "{\"apps\": []}")).await.expect("an answer");
    let bytes = b"{\"apps\": []}".to_vec();
    assert_eq!(info, Info::Answer { bytes, etag: Some("\"a1\"".into()) });
}

#[tokio::test]
async fn info_sends_the_etag_and_understands_304() {
    let server = Server::start(|_| reply(304, "", ""));
    let info = client(&server).info("speakers", Some("\"a1\"")).await.expect("an answer");
    assert_eq!(info, Info::NotModified);
    let request = &server.requests()[0];
    assert_eq!(request.line, "GET /api/v2/device_groups/speakers/info");
    assert_eq!(request.header("if-none-match"), Some("\"a1\""));
}

#[tokio::test]
async fn info_says_how_long_it_waits_and_has_that_long_and_its_own_limit() {
    let hold = Duration::from_secs(2);
    let server = Server::start(move |_| {
        std::thread::sleep(hold);
        // A device's clock that is 10 s ahead. The time of the wait is no part of that.
        let date = chrono::Utc::now() - chrono::Duration::seconds(10);
        let date = date.format("%a, %d %b %Y %H:%M:%S GMT");
        reply(304, &format!("Date: {date}\r\nRetry-After: 7\r\n"), "")
    });
    let limit = Duration::from_secs(1);
    let client = Client::new(&server.url, &Credentials::None, limit).expect("a client");
    let answer = client.check_in("speakers", Some("\"a1\""), Some(hold)).await.expect("in time");
    assert_eq!(answer.info, Info::NotModified);
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(server.requests()[0].line, "GET /api/v2/device_groups/speakers/info?wait=2");
    let Some(ClockDifference::Ahead(by)) = answer.clock else { panic!("{answer:?}") };
    assert!(by >= Duration::from_millis(8_200), "{by:?}");
    // Whoever is not asked to wait has no more than the limit.
    let error = client.info("speakers", Some("\"a1\"")).await.expect_err("late");
    let ClientError::TimedOut { limit: told, .. } = error else { panic!("{error}") };
    assert_eq!(told, limit);
}

#[tokio::test]
async fn info_304_that_nobody_asked_for_is_an_error() {
    let error = info_of(|| reply(304, "", "")).await.expect_err("nothing to be unmodified");
    assert!(matches!(&error, ClientError::Unexpected(refusal) if refusal.status == 304), "{error}");
}

#[tokio::test]
async fn inv_20_a_cut_body_is_an_error() {
    let cut = || {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n";
        Answer::Bytes(format!("{head}\r\n{{\"apps\": []}}").into_bytes())
    };
    let error = info_of(cut).await.expect_err("the body is cut");
    assert!(matches!(error, ClientError::Cut { .. }), "{error}");
}

#[tokio::test]
async fn inv_20_a_cut_chunked_body_is_an_error() {
    let cut = || {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        Answer::Bytes(format!("{head}c\r\n{{\"apps\": []}}\r\n").into_bytes())
    };
    let error = info_of(cut).await.expect_err("the last chunk is missing");
    assert!(matches!(error, ClientError::Cut { .. }), "{error}");
}

#[rstest]
#[case::html(200, "Content-Type: text/html\r\n", "<html>Welcome</html>")]
#[case::no_content_type(200, "", "{\"apps\": []}")]
#[case::empty_page(200, "Content-Type: application/json\r\n", "")]
#[tokio::test]
async fn inv_20_what_is_not_json_is_an_error(
    #[case] status: u16,
    #[case] headers: &'static str,
    #[case] body: &'static str,
) {
    let error = info_of(move || reply(status, headers, body)).await.expect_err("no JSON");
    assert!(matches!(error, ClientError::NotJson { status: 200, .. }), "{error}");
}

#[rstest]
#[case(201)]
#[case(202)]
#[case(204)]
#[case(206)]
#[tokio::test]
async fn inv_20_another_success_is_no_answer(#[case] status: u16) {
    let error = info_of(move || json(status, "{\"apps\": []}")).await.expect_err("not a 200");
    assert!(matches!(error, ClientError::Unexpected(_)), "{error}");
}

#[rstest]
#[case(401, "Unauthorized")]
#[case(403, "Refused")]
#[case(404, "Refused")]
#[case(429, "Unavailable")]
#[case(500, "Failed")]
#[case(502, "Failed")]
#[case(503, "Unavailable")]
#[tokio::test]
async fn inv_20_a_refusal_has_its_variant_with_status_and_body(
    #[case] status: u16,
    #[case] variant: &str,
) {
    let body = "{\"device_group_exists\": false}";
    let error = info_of(move || json(status, body)).await.expect_err("refused");
    assert!(format!("{error:?}").starts_with(variant), "{error:?}");
    let refusal = error.refusal().expect("a refusal");
    assert_eq!(refusal.status, status);
    assert_eq!(refusal.reason, body);
    let flag = refusal.body.as_ref().and_then(|body| body.get("device_group_exists"));
    assert_eq!(flag, Some(&false.into()));
}

#[tokio::test]
async fn a_refusal_keeps_a_reason_of_one_short_line() {
    let body = format!("first\n\x1b[31msecond {}", "x".repeat(100_000));
    let error = info_of(move || reply(500, "Content-Type: text/plain\r\n", &body)).await;
    let error = error.expect_err("failed");
    let reason = &error.refusal().expect("a refusal").reason;
    assert!(reason.starts_with("first [31msecond xxx"), "{reason}");
    assert!(reason.chars().count() <= 301, "{}", reason.len());
}

#[tokio::test]
async fn a_refusal_in_words_has_them_as_its_reason() {
    let error = info_of(|| json(500, "{\"error\": \"the disk is full\"}")).await;
    let error = error.expect_err("failed");
    assert_eq!(error.to_string(), "the manager failed (500 the disk is full)");
}

#[rstest]
#[case("Retry-After: 7\r\n", Some(7))]
#[case("Retry-After: soon\r\n", None)]
#[case("", None)]
#[tokio::test]
async fn retry_after_is_read_in_seconds(#[case] header: &'static str, #[case] wait: Option<u64>) {
    for status in [403, 429, 500, 503] {
        let error = info_of(move || reply(status, header, "")).await.expect_err("later");
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_given_up() {
    // Without a length, so that only what is read can tell; far longer than the limit, so that a
    // client that reads on would be seen.
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let mut bytes = head.as_bytes().to_vec();
    bytes.resize(bytes.len() + MAX_BODY_BYTES + 1, b' ');
    let error = info_of(move || Answer::Bytes(bytes.clone())).await.expect_err("too large");
    assert!(matches!(error, ClientError::TooLarge), "{error}");
}

#[tokio::test]
async fn a_silent_manager_is_given_up_in_time() {
    let server = Server::start(|_| Answer::Silence);
    let limit = Duration::from_millis(50);
    let client = Client::new(&server.url, &Credentials::None, limit).expect("a client");
    let error = client.info("speakers", None).await.expect_err("silence");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(!server.requests().is_empty(), "the request must have arrived");
}

#[rstest]
#[case("info")]
#[case("backup")]
#[tokio::test]
async fn a_body_that_stalls_is_given_up_in_time(#[case] what: &str) {
    // The head promises more than comes, and the connection stays open.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.expect("a client");
        let _ = stream.read(&mut [0; 4096]).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n";
        let _ = stream.write_all(format!("{head}{{").as_bytes()).await;
        let _ = stream.read(&mut [0; 64]).await;
    });
    let client = Client::new(&url, &Credentials::None, Duration::from_millis(50)).expect("ok");
    let error = match what {
        "info" => client.info("speakers", None).await.expect_err("a stall"),
        _ => client.backup(&mut Vec::new()).await.expect_err("a stall"),
    };
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    server.abort();
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_broken() {
    let error = info_of(|| Answer::Bytes(Vec::new())).await.expect_err("no answer");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_refused() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let client = Client::new(&url, &Credentials::None, LONG).expect("a client");
    let error = client.status().await.expect_err("nothing listens");
    let ClientError::Unreachable { problem, .. } = &error else { panic!("{error}") };
    assert_eq!(*problem, Problem::Refused);
}

#[tokio::test]
async fn credentials_go_with_every_request() {
    let server = Server::start(|_| json(200, "{\"apps\": [], \"api_available\": true}"));
    let client = client(&server);
    client.status().await.expect("status");
    client.list(Noun::App).await.expect("list");
    client.act("web", Action::Restart).await.expect("restart");
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Basic YWRtaW46cGFzczp3w7ZyZA=="));
    }
    let token = Credentials::Bearer(Secret::new("t0ken".into()));
    let client = Client::new(&server.url, &token, LONG).expect("a client");
    client.status().await.expect("status");
    assert_eq!(server.requests()[3].header("authorization"), Some("Bearer t0ken"));
}

#[rstest]
#[case(302)]
#[case(307)]
#[case(308)]
#[tokio::test]
async fn a_redirect_to_another_origin_is_refused_and_gets_nothing(#[case] status: u16) {
    let thief = Server::start(|_| json(200, "{\"apps\": []}"));
    let location = format!("Location: {}/api/v2/steal?token=x\r\n", thief.url);
    let server = Server::start(move |_| reply(status, &location, ""));
    let error = client(&server).list(Noun::App).await.expect_err("another origin");
    let ClientError::Redirected { status: told, to } = &error else { panic!("{error}") };
    assert_eq!((*told, to.as_str()), (status, format!("{}/api/v2/steal", thief.url).as_str()));
    assert!(thief.requests().is_empty(), "{:?}", thief.requests());
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_with_the_same_method() {
    let server = Server::start(|request| match request.line.as_str() {
        "POST /api/v2/apps/web/start" => reply(307, "Location: /api/v2/apps/web/go\r\n", ""),
        _ => json(202, "{\"app_name\": \"web\"}"),
    });
    client(&server).act("web", Action::Start).await.expect("followed");
    let requests = server.requests();
    assert_eq!(requests[1].line, "POST /api/v2/apps/web/go");
    assert!(requests[1].header("authorization").is_some());
}

#[tokio::test]
async fn a_redirect_that_would_turn_a_post_into_a_get_is_refused() {
    let server = Server::start(|_| reply(302, "Location: /elsewhere\r\n", ""));
    let error = client(&server).act("web", Action::Start).await.expect_err("not followed");
    assert!(matches!(error, ClientError::Redirected { status: 302, .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let server = Server::start(|_| reply(302, "Location: /api/v2/apps\r\n", ""));
    let error = client(&server).list(Noun::App).await.expect_err("a circle");
    assert!(matches!(error, ClientError::Redirected { .. }), "{error}");
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn names_are_one_part_of_the_path_whatever_they_hold() {
    let server = Server::start(|_| json(200, "{}"));
    let client = Client::new(&format!("{}/pre/", server.url), &basic(), LONG).expect("a client");
    assert_eq!(client.url(), format!("{}/pre", server.url));
    client.delete(Noun::App, "a/../b?c#d e%2fü").await.expect("deleted");
    let line = &server.requests()[0].line;
    assert_eq!(line, "DELETE /pre/api/v2/apps/a%2F..%2Fb%3Fc%23d%20e%252f%C3%BC");
    for name in ["", ".", ".."] {
        let error = client.delete(Noun::App, name).await.expect_err("no name");
        assert!(matches!(error, ClientError::Name { .. }), "{error}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn every_route_has_its_method_and_path() {
    let server =
        Server::start(|_| json(200, "{\"device_groups\": [], \"data\": null, \"last_id\": null}"));
    let client = client(&server);
    let body = Object::from_iter([("docker_image".to_owned(), "nginx".into())]);
    client.list(Noun::DeviceGroup).await.expect("list");
    client.get(Noun::App, "web").await.expect("get");
    client.create(Noun::App, "web", &body).await.expect("create");
    client.update(Noun::App, "web", &body).await.expect("update");
    client.prune_all().await.expect("prune");
    client.prune_device_group("speakers").await.expect("prune");
    client.refresh_user("eve").await.expect("refresh");
    client.reports(&ReportQuery::default()).await.expect("reports");
    for noun in [Noun::App, Noun::DeviceGroup, Noun::CronJob, Noun::User, Noun::UserGroup] {
        client.get(noun, "a").await.expect("get");
    }
    let requests = server.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v2/device_groups",
            "GET /api/v2/apps/web",
            "POST /api/v2/apps/web",
            "PATCH /api/v2/apps/web/update",
            "POST /api/v2/prune",
            "POST /api/v2/device_groups/speakers/prune",
            "POST /api/v2/users/eve/refresh",
            "GET /api/v2/reports?page_size=10",
            "GET /api/v2/apps/a",
            "GET /api/v2/device_groups/a",
            "GET /api/v2/cron_jobs/a",
            "GET /api/v2/users/a",
            "GET /api/v2/user_groups/a",
        ]
    );
    assert_eq!(requests[2].body, "{\"docker_image\":\"nginx\"}");
}

#[tokio::test]
async fn inv_30_no_debug_and_no_error_shows_a_secret() {
    let server = Server::start(|_| json(401, "{}"));
    let client = client(&server);
    let error = client.status().await.expect_err("refused");
    let token = Credentials::Bearer(Secret::new("t0ken\n".into()));
    let bad_token = Client::new(&server.url, &token, LONG).expect_err("a line break");
    let bad_url = Client::new("http://me:pass:wörd@host", &basic(), LONG).expect_err("userinfo");
    let all = format!("{client:?} {:?} {error:?} {error} {bad_token:?} {bad_url:?}", basic());
    for secret in ["pass:wörd", "YWRtaW46", "t0ken"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn inv_30_no_debug_of_a_reply_shows_what_is_in_it() {
    let server = Server::start(|_| json(200, "{\"token\": \"t0ken\"}"));
    let reply = client(&server).refresh_user("eve").await.expect("refreshed");
    assert_eq!(reply.content["token"], "t0ken");
    assert_eq!(format!("{reply:?}"), "Reply(18 bytes)");
}

#[rstest]
#[case("manager:80")]
#[case("ftp://manager")]
#[case("http://")]
#[case("http://manager/?a=b")]
#[case("http://admin@manager")]
fn a_base_url_that_cannot_be_used_is_refused(#[case] url: &str) {
    let error = Client::new(url, &Credentials::None, LONG).expect_err("no URL");
    assert!(matches!(error, ClientError::Url { .. }), "{error}");
}

#[tokio::test]
async fn a_backup_that_is_cut_is_an_error() {
    let server = Server::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
        Answer::Bytes(format!("{head}SQLite format 3\0").into_bytes())
    });
    let error = client(&server).backup(&mut Vec::new()).await.expect_err("cut");
    assert!(matches!(error, ClientError::Cut { .. }), "{error}");
}
