//! Registries that want credentials, ask for patience, or break off; with real pulls.

use crate::apps::{app, site};
use crate::docker::Docker;
use crate::world::{World, until, variable};
use nebula::engine::{ContainerEngine, DockerEngine, EngineError};
use nebula::model::ImageReference;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::Instant;

fn private() -> String {
    format!("{}:1", variable("NEBULA_TEST_PRIVATE_SITE"))
}

/// A device to which the private image is new: what is there would do when it cannot be pulled.
async fn device_without_the_image() -> World {
    let world = World::new().await;
    world.docker.try_run(&["rmi", &private()]).await;
    world
}

fn write_config(world: &mut World, config: &Value) {
    let folder = world.folder.path().join("docker-config");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.json"), config.to_string()).expect("a file");
    world.extra.insert("DOCKER_CONFIG".to_owned(), folder.display().to_string());
}

fn auth_of(password: &str) -> String {
    use base64::Engine;
    let user = variable("NEBULA_TEST_REGISTRY_USER");
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

#[tokio::test]
async fn config_of_docker_gives_credentials_and_is_read_anew_at_each_pull() {
    let mut world = device_without_the_image().await;
    let registry = variable("NEBULA_TEST_PRIVATE_REGISTRY");
    write_config(&mut world, &json!({"auths": {&registry: {"auth": auth_of("expired")}}}));
    let worker = world.worker();
    world.manager.declare(&[app("secret", 1, &json!({"docker_image": private()}))]);
    let memory = world.data_file("memory.json");
    until("the pull was refused", || async {
        std::fs::read_to_string(&memory).is_ok_and(|text| text.contains("\"error\""))
    })
    .await;
    assert!(world.docker.containers().await.is_empty());
    let password = variable("NEBULA_TEST_REGISTRY_PASSWORD");
    let server = format!("http://{registry}/v2/");
    write_config(&mut world, &json!({"auths": {server: {"auth": auth_of(&password)}}}));
    world.docker.runs_only(&[("secret-1", &private())]).await;
    worker.stop().await;
}

/// A credential helper that does this.
fn write_helper(folder: &Path, name: &str, script: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
}

#[tokio::test]
async fn helpers_give_credentials_and_a_broken_one_is_passed_over() {
    let mut world = device_without_the_image().await;
    let registry = variable("NEBULA_TEST_PRIVATE_REGISTRY");
    let helpers = world.folder.path().join("bin");
    std::fs::create_dir(&helpers).expect("a folder");
    let user = variable("NEBULA_TEST_REGISTRY_USER");
    let password = variable("NEBULA_TEST_REGISTRY_PASSWORD");
    let answer = json!({"ServerURL": registry, "Username": user, "Secret": password});
    let asked = world.folder.path().join("asked");
    // It answers for this registry alone, and only when it is asked as Docker asks.
    write_helper(
        &helpers,
        "sound",
        &format!(
            "server=$(cat); echo \"$1 $server\" >>{}\n[ \"$server\" = {registry} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\necho '{answer}'",
            asked.display()
        ),
    );
    // It hangs with a child that holds its output, and says first what must not be told.
    let orphan = world.folder.path().join("orphan");
    write_helper(
        &helpers,
        "hangs",
        &format!("echo '{password}'; sleep 100000 & echo $! >{}; wait", orphan.display()),
    );
    write_config(
        &mut world,
        &json!({"credHelpers": {&registry: "hangs"}, "credsStore": "sound", "auths": {&registry: {}}}),
    );
    let log = world.folder.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
    let path = format!("{}:{}", helpers.display(), variable("PATH"));
    command.arg("worker").envs(world.environment()).env("PATH", path).kill_on_drop(true);
    command.stderr(std::fs::File::create(&log).expect("a file"));
    let mut process = command.spawn().expect("the binary");
    world.manager.declare(&[app("secret", 1, &json!({"docker_image": private()}))]);
    world.docker.runs_only(&[("secret-1", &private())]).await;
    // Another registry gets no credentials, and needs none.
    let open = site("1");
    world.manager.declare(&[
        app("secret", 1, &json!({"docker_image": private()})),
        app("open", 1, &json!({})),
    ]);
    world.docker.runs_only(&[("secret-1", &private()), ("open-1", &open)]).await;
    process.kill().await.expect("killed");
    let asked = std::fs::read_to_string(asked).expect("it was asked");
    assert_eq!(asked.lines().next(), Some(format!("get {registry}").as_str()));
    let told = std::fs::read_to_string(log).expect("a log");
    assert!(told.contains("credential helper is passed over"), "{told}");
    assert!(!told.contains(&password), "inv 30: {told}");
    let orphan = std::fs::read_to_string(orphan).expect("a child");
    let alive = Path::new("/proc").join(orphan.trim()).join("stat");
    until("the helper's child is gone", || async {
        std::fs::read_to_string(&alive).is_ok_and(|stat| stat.contains(") Z ")) || !alive.exists()
    })
    .await;
}

#[tokio::test]
async fn garbage_for_a_config_is_passed_over() {
    let mut world = World::new().await;
    for garbage in ["", "[]", "{\"auths\": 7}", "\u{0}\u{0}", "{\"credsStore\": \"../../bin/sh\"}"]
    {
        write_config(&mut world, &json!({}));
        let file = Path::new(&world.extra["DOCKER_CONFIG"]).join("config.json");
        std::fs::write(file, garbage).expect("a file");
        let worker = world.worker();
        world.manager.declare(&[app("open", 1, &json!({}))]);
        world.docker.runs_only(&[("open-1", &site("1"))]).await;
        worker.stop().await;
        world.docker.clean().await;
        std::fs::remove_dir_all(world.folder.path().join("data")).expect("a folder");
    }
}

/// What a registry of the test does with a request for a path; it passes on all others.
type Answer = dyn Fn(&Request) -> Option<Vec<u8>> + Send + Sync;

#[derive(Debug, Clone)]
struct Request {
    at: Instant,
    path: String,
    range_from: Option<usize>,
}

/// What an answer begins with that stops in the middle and keeps the connection.
const STALL: &[u8] = b"stall";

/// A registry that stands before the real one.
struct Front {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::AbortHandle,
}

impl Front {
    async fn start(answer: Box<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shared, answer): (_, Arc<Answer>) = (seen.clone(), answer.into());
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, shared.clone(), answer.clone()));
            }
        });
        Self { address, seen, task: task.abort_handle() }
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    fn seen(&self, part: &str) -> Vec<Request> {
        let seen = self.seen.lock().expect("no panic holds it");
        seen.iter().filter(|request| request.path.contains(part)).cloned().collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut connection: TcpStream, seen: Arc<Mutex<Vec<Request>>>, answer: Arc<Answer>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            // Docker tries TLS first, and would wait for its answer.
            Ok(0x16) if head.is_empty() => return,
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let range = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": bytes=")?;
        name.eq_ignore_ascii_case("range").then(|| value.split('-').next())??.parse().ok()
    });
    let request = Request { at: Instant::now(), path: path.clone(), range_from: range };
    seen.lock().expect("no panic holds it").push(request.clone());
    let bytes = answer(&request).unwrap_or_else(|| {
        let real = variable("NEBULA_TEST_REGISTRY");
        response("307 Temporary Redirect", &format!("location: http://{real}{path}\r\n"), b"")
    });
    if let Some(bytes) = bytes.strip_prefix(STALL) {
        let _ = connection.write_all(&bytes[..bytes.len() / 2]).await;
        return std::future::pending().await;
    }
    // Docker may have gone away meanwhile, which is its right.
    let _ = connection.write_all(&bytes).await;
    let _ = connection.shutdown().await;
}

fn response(status: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ndocker-distribution-api-version: registry/2.0\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A refusal with these words, in the registries' form of errors.
fn refusal(words: &str) -> Vec<u8> {
    let body = json!({"errors": [{"code": "TOOMANYREQUESTS", "message": words}]}).to_string();
    response("429 Too Many Requests", "retry-after: 3\r\n", body.as_bytes())
}

#[tokio::test]
async fn every_form_of_too_many_requests_is_told_apart() {
    let world = World::new().await;
    let engine = DockerEngine::new(world.docker.host.clone());
    let forms: [(&str, Vec<u8>, Option<Duration>); 5] = [
        ("/manifests/", refusal("You have reached your pull rate limit."), None),
        (
            "/manifests/",
            refusal("retry-after: 985.86\u{b5}s, allowed: 44000/minute"),
            Some(Duration::from_nanos(985_860)),
        ),
        ("/manifests/", refusal("Retry-After: 1m30s"), Some(Duration::from_secs(90))),
        ("/manifests/", response("429 Too Many Requests", "", b"<html>slow down</html>"), None),
        ("/manifests/", response("429 Too Many Requests", "", b""), None),
    ];
    for (number, (part, bytes, expected)) in forms.into_iter().enumerate() {
        let front = Front::start(Box::new(move |request| match request.path.as_str() {
            "/v2/" => Some(response("200 OK", "", b"{}")),
            path => path.contains(part).then(|| bytes.clone()),
        }))
        .await;
        let image = ImageReference::parse(&front.image("site:1")).expect("an image");
        match engine.pull(&image, None).await {
            Err(EngineError::TooManyRequests { retry_after, message }) => {
                assert_eq!(retry_after, expected, "form {number}: {message}");
            }
            other => panic!("form {number}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn registry_that_says_how_long_is_left_alone_so_long_and_then_gives_the_image() {
    let mut world = World::new().await;
    let patience = Duration::from_secs(6);
    let refused: Mutex<Option<Instant>> = Mutex::new(None);
    let front = Front::start(Box::new(move |request| {
        if request.path == "/v2/" {
            return Some(response("200 OK", "", b"{}"));
        }
        let mut refused = refused.lock().expect("no panic holds it");
        let since = *refused.get_or_insert(request.at);
        (since.elapsed() < patience / 2).then(|| refusal("retry-after: 6s, allowed: 1/minute"))
    }))
    .await;
    let worker = world.worker();
    // Two apps of one registry, which is asked for neither.
    let (one, two) = (front.image("site:1"), front.image("site:2"));
    world.manager.declare(&[
        app("one", 1, &json!({"docker_image": one})),
        app("two", 1, &json!({"docker_image": two})),
    ]);
    world.docker.runs_only(&[("one-1", &one), ("two-1", &two)]).await;
    let asked = front.seen("/manifests/");
    let gap = |pair: &[Request]| pair[1].at.duration_since(pair[0].at);
    let longest = asked.windows(2).map(gap).max().expect("it was asked again");
    assert!(longest >= patience, "it was asked after {longest:?}");
    worker.stop().await;
    world.docker.clean().await;
    for image in [&one, &two] {
        world.docker.run(&["rmi", image]).await;
    }
}

#[tokio::test]
async fn pull_that_was_let_go_of_while_its_registry_stalled_is_begun_again() {
    let world = World::new().await;
    let image = crate::disk::push_large(&world.docker, "stalled", 8).await;
    let blob = crate::disk::largest_layer(&image).await;
    let (digest, path) = (blob.digest.clone(), format!("/v2/stalled/blobs/{}", blob.digest));
    let has_stalled = Mutex::new(false);
    let front = Front::start(Box::new(move |request| {
        if request.path == "/v2/" {
            return Some(response("200 OK", "", b"{}"));
        }
        let mut has_stalled = has_stalled.lock().expect("no panic holds it");
        let stalls = request.path == path && !std::mem::replace(&mut *has_stalled, true);
        stalls.then(|| [STALL, response("200 OK", "", &blob.bytes).as_slice()].concat())
    }))
    .await;
    let engine = Arc::new(DockerEngine::new(world.docker.host.clone()));
    let stalled = ImageReference::parse(&front.image("stalled:1")).expect("an image");
    let (pulling, reference) = (engine.clone(), stalled.clone());
    let pull = tokio::spawn(async move { pulling.pull(&reference, None).await });
    until("its layer is asked for", || async { !front.seen(&digest).is_empty() }).await;
    pull.abort();
    engine.pull(&stalled, None).await.expect("an image");
    assert_eq!(front.seen(&digest).len(), 2, "{:?}", front.seen(&digest));
    world.docker.run(&["rmi", stalled.as_str()]).await;
}

#[tokio::test]
async fn pull_that_is_cut_in_the_middle_of_a_layer_goes_on_where_it_was() {
    let mut world = World::new().await;
    let image = crate::disk::push_large(&world.docker, "cut", 8).await;
    let blob = crate::disk::largest_layer(&image).await;
    let path = format!("/v2/cut/blobs/{}", blob.digest);
    let whole = blob.bytes;
    let length = whole.len();
    let is_cut = Mutex::new(false);
    let front = Front::start(Box::new(move |request| {
        if request.path == "/v2/" {
            return Some(response("200 OK", "", b"{}"));
        }
        if request.path != path {
            return None;
        }
        let from = request.range_from.unwrap_or(0);
        let total = whole.len();
        let (status, range) = match request.range_from {
            Some(from) => (
                "206 Partial Content",
                format!("content-range: bytes {from}-{}/{total}\r\n", total - 1),
            ),
            None => ("200 OK", "accept-ranges: bytes\r\n".to_owned()),
        };
        let mut bytes = response(status, &range, &whole[from..]);
        let mut is_cut = is_cut.lock().expect("no panic holds it");
        if !std::mem::replace(&mut *is_cut, true) {
            bytes.truncate(total / 2);
        }
        Some(bytes)
    }))
    .await;
    let cut = front.image("cut:1");
    let worker = world.worker();
    world.manager.declare(&[app("web", 1, &json!({"docker_image": cut}))]);
    world.docker.runs_only(&[("web-1", &cut)]).await;
    let fetched = front.seen(&blob.digest);
    assert!(fetched.len() >= 2, "{fetched:?}");
    let from = fetched[1].range_from.unwrap_or(0);
    assert!(from > 0 && from < length, "begun anew: {fetched:?}");
    worker.stop().await;
    Docker::clean(&world.docker).await;
    world.docker.run(&["rmi", &cut]).await;
}
