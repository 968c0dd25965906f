//! Our image on real Docker: who its processes are, and what its health check says.

use crate::world::{World, until, until_within, variable};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::time::timeout;

/// A health check asks each second here, and has five seconds for an answer.
const VERDICT: Duration = Duration::from_secs(30);

/// Starts a container of our image, which is asked for its health each second.
async fn start(world: &World, name: &str, options: &[&str], arguments: &[&str]) {
    let image = variable("NEBULA_TEST_IMAGE");
    let fixed = ["run", "--detach", "--name", name, "--health-interval", "1s"];
    let all = [&fixed, options, &[image.as_str()], arguments].concat();
    world.docker.run(&all).await;
}

/// The numbers of the users as whom a container's processes run.
async fn users(world: &World, name: &str) -> Vec<String> {
    let listed = world.docker.run(&["top", name, "-eo", "uid,pid"]).await;
    let users = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    users.map(str::to_owned).collect()
}

async fn is_healthy(world: &World, name: &str) {
    until_within(VERDICT, &format!("{name} is healthy"), async || {
        let state = world.docker.run(&["inspect", "-f", "{{.State.Health.Status}}", name]).await;
        (state == "healthy").then_some(())
    })
    .await;
}

/// What the health check says, and whether it is content.
async fn health(world: &World, name: &str) -> (bool, String) {
    let said = world.docker.try_run(&["exec", name, "nebula", "health"]).await;
    let words = [said.stdout, said.stderr].concat();
    (said.status.success(), String::from_utf8_lossy(&words).into_owned())
}

#[tokio::test]
async fn manager_in_the_image_leaves_root_and_keeps_what_root_kept_before() {
    let world = World::new().await;
    let volume = "--volume=nebula-image-test:/var/lib/nebula";
    let token = ["--env", "AUTH_TOKEN=token", "--env", "NEBULA_TOKEN=token", volume];
    let root = [&token[..], &["--env", "NEBULA_RUN_AS=0"]].concat();
    start(&world, "root", &root, &["manager"]).await;
    is_healthy(&world, "root").await;
    assert_eq!(users(&world, "root").await, ["0"]);
    let create = ["nebula", "ctl", "apps", "create", "web", "--image", "web:1"];
    world.docker.run(&[&["exec", "root"], &create[..]].concat()).await;
    world.docker.run(&["stop", "root"]).await;

    start(&world, "user", &token, &["manager"]).await;
    is_healthy(&world, "user").await;
    assert_eq!(users(&world, "user").await, ["65532"]);
    let listed = world.docker.run(&["exec", "user", "nebula", "ctl", "apps", "list"]).await;
    assert!(listed.contains("web"), "{listed}");
    let create = ["nebula", "ctl", "apps", "create", "other", "--image", "web:1"];
    world.docker.run(&[&["exec", "user"], &create[..]].concat()).await;
    world.docker.run(&["rm", "--force", "root", "user"]).await;
    world.docker.run(&["volume", "rm", "nebula-image-test"]).await;
}

#[tokio::test]
async fn manager_started_as_another_user_stays_that_user() {
    let world = World::new().await;
    let volume = "--volume=nebula-user-test:/var/lib/nebula";
    let options = ["--user", "1000:1000", "--env", "AUTH_TOKEN=token", volume];
    start(&world, "manager", &options, &["manager"]).await;
    is_healthy(&world, "manager").await;
    assert_eq!(users(&world, "manager").await, ["1000"]);
    world.docker.run(&["rm", "--force", "manager"]).await;
    world.docker.run(&["volume", "rm", "nebula-user-test"]).await;
}

#[tokio::test]
async fn folder_with_files_of_others_is_not_given_away() {
    let world = World::new().await;
    let folder = world.folder.path().join("etc");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("passwd"), "root").expect("a file");
    let mount = format!("{}:/var/lib/nebula", folder.display());
    let image = variable("NEBULA_TEST_IMAGE");
    let run = ["run", "--rm", "--volume", &mount, "--env", "AUTH_TOKEN=token", &image, "manager"];
    let said = timeout(VERDICT, world.docker.try_run(&run)).await.expect("it does not start");
    let error = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(2), "{error}");
    assert!(error.contains("`/var/lib/nebula` holds files that are not of nebula"), "{error}");
    let run = [&run[..4], &["--env", "NEBULA_RUN_AS=nebula"], &run[4..]].concat();
    let said = timeout(VERDICT, world.docker.try_run(&run)).await.expect("it does not start");
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(error.contains("NEBULA_RUN_AS: expected numbers"), "{error}");
}

/// Flags, an init before it, HTTPS with a certificate for another name: it is found for all that.
#[tokio::test]
async fn health_check_finds_the_manager_where_it_listens_and_says_when_it_does_not_answer() {
    let world = World::new().await;
    let certified = rcgen::generate_simple_self_signed(["nebula.example".to_owned()]);
    let certified = certified.expect("a certificate");
    let folder = world.folder.path().join("tls");
    std::fs::create_dir(&folder).expect("a folder");
    for (name, pem) in
        [("cert.pem", certified.cert.pem()), ("key.pem", certified.signing_key.serialize_pem())]
    {
        std::fs::write(folder.join(name), pem).expect("written");
    }
    for folder in [world.folder.path(), &folder] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("opened");
    }
    let mount = format!("{}:/tls:ro", folder.display());
    let options = ["--init", "--env", "AUTH_TOKEN=token", "--volume", &mount];
    let files = ["--tls-cert-file", "/tls/cert.pem", "--tls-key-file", "/tls/key.pem"];
    let arguments = [&["manager", "--listen", "0.0.0.0:8443"], &files[..]].concat();
    start(&world, "manager", &options, &arguments).await;
    is_healthy(&world, "manager").await;
    assert_eq!(health(&world, "manager").await, (true, "the manager is well\n".to_owned()));

    let processes = world.docker.run(&["top", "manager", "-eo", "pid,args"]).await;
    // The init stands before it, and has its words as well.
    let line = processes.lines().rfind(|line| line.contains(" nebula manager"));
    let pid = line.and_then(|line| line.split_whitespace().next()).expect("a manager");
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not 0");
    kill_process(pid, Signal::STOP).expect("stopped");
    let (is_well, words) = health(&world, "manager").await;
    assert!(
        !is_well && words.contains("no answer from `https://127.0.0.1:8443/healthz`"),
        "{words}"
    );
    kill_process(pid, Signal::CONT).expect("continued");
    until("it is well again", || async { health(&world, "manager").await.0 }).await;
}

#[tokio::test]
async fn health_check_asks_worker_and_reporter_and_no_other_program() {
    let world = World::new().await;
    let of_worker = ["DEVICE_GROUP=tills", "NEBULA_MANAGER_HOST=127.0.0.1"];
    let of_reporter = ["KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092", "MONGO_URL=mongodb://127.0.0.1/"];
    for (mode, [one, other], user) in
        [("worker", of_worker, "0"), ("reporter", of_reporter, "65532")]
    {
        start(&world, mode, &["--env", one, "--env", other], &[mode]).await;
        is_healthy(&world, mode).await;
        assert_eq!(users(&world, mode).await, [user], "{mode}");
    }
    let image = variable("NEBULA_TEST_IMAGE");
    let said = world.docker.try_run(&["run", "--rm", &image, "health"]).await;
    let error = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{error}");
    assert!(error.contains("no mode of nebula"), "{error}");
}
