//! TLS that fails, clocks that are wrong, portals and proxies: told once in plain words with what
//! to do, and not acted on.

use crate::manager::{Answer, Manager, state};
use crate::offline::{Log, pretended};
use crate::world::{PATIENCE, World, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStderr, Command};

/// The real binary, without a Docker, and what it says.
pub(crate) struct Worker {
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
    process: Child,
}

impl Worker {
    pub(crate) fn start(world: &World) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        command.arg("worker").envs(world.environment()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the binary");
        let lines = BufReader::new(process.stderr.take().expect("its words")).lines();
        Self { lines, said: Vec::new(), process }
    }

    /// Waits until it has said this.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        let line = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.next_line().await.expect("text") {
                self.said.push(line.clone());
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it ended without saying {words:?}: {:#?}", self.said);
        });
        line.await.unwrap_or_else(|_| panic!("it never said {words:?}"))
    }

    /// Waits for its end, which has an exit code unless it was killed.
    pub(crate) async fn ends(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("it ends").expect("its end").code()
    }
}

/// An authority of the owner's own.
pub(crate) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("made")
}

fn server(certificate: &rcgen::Certificate, key: &KeyPair) -> rustls::ServerConfig {
    nebula::client::install_crypto_provider();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate")
}

/// A manager with a certificate of the authority, and a worker that is told to use it.
async fn with_certificate(
    authority: &CertifiedIssuer<'static, KeyPair>,
    is_trusted: bool,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> World {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("signed");
    let mut world = World::on(crate::docker::Docker::at("unix:///nowhere")).await;
    world.manager = Manager::start_tls(server(&certificate, &key)).await;
    let url = format!("https://localhost:{}", world.manager.address.port());
    world.extra.insert("NEBULA_MANAGER_URI".to_owned(), url);
    if is_trusted {
        let file = world.folder.path().join("ca.pem");
        std::fs::write(&file, authority.pem()).expect("written");
        world.extra.insert("SSL_CERT_FILE".to_owned(), file.display().to_string());
    }
    world
}

/// It is told in these words, and not again while it stays so.
async fn is_told_once(mut world: World, words: &[&str]) {
    let mut worker = Worker::start(&world);
    let line = worker.says("check-in failed").await;
    for words in words {
        assert!(line.contains(words), "{words:?} is not in {line}");
    }
    world.manager.asked_again(3).await;
    // The next thing that is said of check-ins is that they fail for another reason.
    world.manager.stop();
    let line = worker.says("check-in failed").await;
    assert!(line.contains("Connection refused"), "{line}");
}

#[tokio::test]
async fn certificate_of_an_unknown_authority() {
    let world = with_certificate(&authority(), false, "localhost", |_| {}).await;
    is_told_once(world, &["an authority that is not trusted here", "set `manager_ca_file`"]).await;
}

#[tokio::test]
async fn certificate_that_has_expired_and_one_that_is_not_valid_yet() {
    let authority = authority();
    let clock =
        format!("this machine's clock says {}", &nebula::client::in_words(SystemTime::now())[..10]);
    let old = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let world = with_certificate(&authority, true, "localhost", old).await;
    is_told_once(world, &["its certificate expired at 2020-01-01T00:00:00Z", &clock]).await;
    let new = |params: &mut CertificateParams| params.not_before = date_time_ymd(2090, 1, 1);
    let world = with_certificate(&authority, true, "localhost", new).await;
    is_told_once(world, &["is valid only from 2090-01-01T00:00:00Z", &clock]).await;
}

#[tokio::test]
async fn certificate_for_another_name() {
    let world = with_certificate(&authority(), true, "manager.example", |_| {}).await;
    let words = "its certificate is for `manager.example`, not for `localhost`";
    is_told_once(world, &[words, "reach the manager by a name that its certificate is for"]).await;
}

#[tokio::test]
async fn certificate_that_is_an_authoritys_own() {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("made");
    let mut world = with_certificate(&authority(), true, "localhost", |_| {}).await;
    world.manager = Manager::start_tls(server(&certificate, &key)).await;
    let url = format!("https://localhost:{}", world.manager.address.port());
    world.extra.insert("NEBULA_MANAGER_URI".to_owned(), url);
    is_told_once(world, &["its certificate is an authority's own", "CA:FALSE"]).await;
}

#[tokio::test]
async fn certificate_in_order_is_accepted() {
    let world = with_certificate(&authority(), true, "localhost", |_| {}).await;
    Worker::start(&world).says("new desired state accepted").await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_and_tls_on_a_plain_one() {
    let mut world = with_certificate(&authority(), true, "localhost", |_| {}).await;
    world.extra.remove("NEBULA_MANAGER_URI");
    is_told_once(world, &["does not speak HTTP", "set `nebula_manager_protocol` to `https`"]).await;
    let mut world = World::on(crate::docker::Docker::at("unix:///nowhere")).await;
    world.extra.insert("NEBULA_MANAGER_PROTOCOL".to_owned(), "https".to_owned());
    // A manager that answers to whatever comes: a client's first TLS bytes end no head.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    world.extra.insert("NEBULA_MANAGER_PORT".to_owned(), port.to_string());
    let answering = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = connection.read_u8().await;
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = connection.read_to_end(&mut Vec::new()).await;
        }
    });
    let line = Worker::start(&world).says("check-in failed").await;
    assert!(line.contains("what answers there does not speak TLS"), "{line}");
    assert!(line.contains("set `nebula_manager_protocol` to `http`"), "{line}");
    answering.abort();
}

/// The state, told at a time that is this much from now.
fn dated(away_seconds: i64, revision: u64, more: &str) -> Answer {
    let now = chrono::DateTime::<chrono::Utc>::from(SystemTime::now());
    let date = now + chrono::Duration::seconds(away_seconds);
    let date = date.format("%a, %d %b %Y %H:%M:%S GMT");
    let body = state(revision, &[]).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ndate: {date}\r\n{more}content-type: application/json\r\nconnection: close\r\ncontent-length: {}",
        body.len()
    );
    Answer::Raw(format!("{head}\r\n\r\n{body}").into_bytes())
}

#[tokio::test]
async fn wrong_clock_is_told_when_it_begins_changes_and_ends() {
    let (log, _hearing) = Log::hear();
    let (mut world, engine) = pretended().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    let wrong = || log.lines("clock differs");
    for (away, more, lines) in [
        (0, "", 0),
        (-200, "", 0),
        (-3600, "age: 3600\r\n", 0),
        (600, "", 1),
        (630, "", 1),
        (-86_400, "", 2),
        (-270, "", 2),
    ] {
        world.manager.say(dated(away, 2000, more));
        world.manager.asked_again(3).await;
        assert_eq!(wrong().len(), lines, "{away}: {:#?}", log.lines(""));
    }
    assert!(wrong()[0].contains("direction=\"behind\""), "{:?}", wrong());
    assert!(wrong()[1].contains("direction=\"ahead\""), "{:?}", wrong());
    assert!(log.lines("agrees").is_empty());
    world.manager.say(dated(0, 2000, ""));
    until("it is told", || async { log.lines("agrees with the manager's again").len() == 1 }).await;
    // Neither the wait nor anything else followed from it.
    assert!(log.lines("check-in failed").is_empty(), "{:#?}", log.lines(""));
    worker.stop().await;
}

#[tokio::test]
async fn redirect_to_another_host_gets_no_credentials() {
    let (log, _hearing) = Log::hear();
    let (mut world, engine) = pretended().await;
    let thief = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let to = thief.local_addr().expect("an address");
    let answer =
        format!("HTTP/1.1 307 Go\r\nlocation: http://{to}/login\r\ncontent-length: 0\r\n\r\n");
    world.manager.say(Answer::Raw(answer.into_bytes()));
    let worker = world.worker_on(Arc::new(engine));
    world.manager.asked_again(3).await;
    let told = log.lines("check-in failed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!("redirects to `http://{to}/login` (307)")), "{told:?}");
    assert!(told[0].contains("credentials are not sent there"), "{told:?}");
    let came = tokio::time::timeout(Duration::ZERO, thief.accept()).await;
    assert!(came.is_err(), "somebody asked there");
    worker.stop().await;
}

#[tokio::test]
async fn proxy_of_the_environment_is_used() {
    let mut world = World::on(crate::docker::Docker::at("unix:///nowhere")).await;
    let proxy = format!("http://{}", world.manager.address);
    for (key, value) in [
        ("NEBULA_MANAGER_HOST", "manager.invalid"),
        ("http_proxy", proxy.as_str()),
        ("NO_PROXY", ""),
        ("no_proxy", ""),
    ] {
        world.extra.insert(key.to_owned(), value.to_owned());
    }
    Worker::start(&world).says("new desired state accepted").await;
}
