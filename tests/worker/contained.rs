//! A worker in a container of the Docker that it manages, from our image: it knows which container is its
//! own and never touches it, and apps outlive it.

use crate::apps::{app, site};
use crate::daemon::Daemon;
use crate::docker::{Container, Docker};
use crate::manager::{Answer, state};
use crate::world::{World, until, variable};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::process::Command;

/// Brings our image, and one that differs in nothing but its id, to a Docker of the test's own.
async fn bring_images(docker: &Docker) {
    let main = variable("NEBULA_TEST_DOCKER_HOST");
    let mut save = Command::new("docker")
        .env("DOCKER_HOST", &main)
        .args(["save", &variable("NEBULA_TEST_IMAGE")])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the docker command line");
    let saved: Stdio = save.stdout.take().expect("piped").try_into().expect("a pipe");
    let load = Command::new("docker")
        .env("DOCKER_HOST", &docker.host)
        .args(["load", "--quiet"])
        .stdin(saved)
        .output()
        .await
        .expect("the docker command line");
    assert!(load.status.success(), "{load:?}");
    assert!(save.wait().await.expect("its end").success());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Dockerfile"), "FROM nebula:latest\nLABEL newer=1\n")
        .expect("written");
    let folder = folder.path().display().to_string();
    docker.run(&["build", "--tag", "nebula:newer", &folder]).await;
}

/// Starts a worker in a container as the README has it, with further arguments.
async fn start(world: &World, name: &str, image: &str, more: &[&str]) {
    let socket = world.docker.host.trim_start_matches("unix://");
    let socket = format!("{socket}:/var/run/docker.sock");
    let volume = "nebula-worker:/var/lib/nebula-worker";
    let mut arguments = vec!["run", "--detach", "--name", name, "--network", "host"];
    arguments.extend(["--restart", "unless-stopped", "--volume", &socket, "--volume", volume]);
    let mut environment = world.environment();
    for within in ["NEBULA_DATA_DIR", "NEBULA_DOCKER_HOST"] {
        environment.remove(within);
    }
    let environment: Vec<String> =
        environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for variable in &environment {
        arguments.extend(["--env", variable]);
    }
    arguments.extend(more);
    arguments.extend([image, "worker"]);
    world.docker.run(&arguments).await;
}

/// What runs besides workers.
async fn apps(world: &World) -> BTreeMap<String, Container> {
    let mut all = world.docker.containers().await;
    all.retain(|_, container| !container.image.starts_with("nebula"));
    all
}

/// Waits until these apps' containers run, and gives them.
async fn run(world: &World, names: &[&str]) -> BTreeMap<String, Container> {
    until(&format!("{names:?} run"), || async {
        let apps = apps(world).await;
        apps.keys().map(String::as_str).eq(names.iter().copied())
            && apps.values().all(|container| container.state == "running")
    })
    .await;
    apps(world).await
}

#[tokio::test]
async fn inv_16_new_image_of_the_worker_itself_restarts_no_container() {
    let daemon = Daemon::start("update", &[]).await;
    bring_images(&daemon.docker()).await;
    let mut world = World::on(daemon.docker()).await;
    world.manager.declare(&[app("web", 1, &json!({"containers_per": {"server": 2}}))]);
    start(&world, "nebula-worker", "nebula:latest", &[]).await;
    let before = run(&world, &["web-1", "web-2"]).await;

    // Its container is killed, and Docker starts it again.
    world.docker.run(&["kill", "nebula-worker"]).await;
    world.docker.run(&["start", "nebula-worker"]).await;
    world.manager.asked_again(2).await;
    assert_eq!(apps(&world).await, before);

    // The documented update.
    world.docker.run(&["rm", "--force", "nebula-worker"]).await;
    start(&world, "nebula-worker", "nebula:newer", &[]).await;
    world.manager.asked_again(2).await;
    assert_eq!(apps(&world).await, before);
    // And it works: the other replica goes, this one stays.
    world.manager.declare(&[app("web", 1, &json!({}))]);
    let after = run(&world, &["web-1"]).await;
    assert_eq!(after["web-1"].id, before["web-1"].id, "{after:?}");
    daemon.remove().await;
}

#[tokio::test]
async fn worker_never_touches_its_own_container_whatever_its_name_and_labels() {
    let daemon = Daemon::start("own", &[]).await;
    bring_images(&daemon.docker()).await;
    let mut world = World::on(daemon.docker()).await;
    let disguise = [
        ["--label", "orchestrator=nebula"],
        ["--label", "container_type=app"],
        ["--label", "app_name=web"],
    ];
    world.manager.declare(&[app("web", 1, &json!({}))]);
    start(&world, "web-1", "nebula:newer", disguise.as_flattened()).await;
    let own = |containers: &BTreeMap<String, Container>| containers["web-1"].clone();
    let before = own(&world.docker.containers().await);

    // The app runs beside it, and says what is in its way.
    run(&world, &["web-1-next"]).await;
    let told =
        world.manager.is_told("the app is held", |report| report["apps"][0]["state"] == "held");
    let reason = told.await["apps"][0]["reason"].to_string();
    assert!(reason.contains("`web-1`") && reason.contains("this worker runs"), "{reason}");

    // No app of that name is declared any more, and all that is not used is to go.
    world.manager.declare(&[]);
    run(&world, &[]).await;
    let mut empty = state(2_000, &[]);
    empty["prune_id"] = 2.into();
    world.manager.say(Answer::State(empty));
    until("unused images are gone", || async {
        let images = world.docker.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).await;
        !images.contains(&site("1"))
    })
    .await;
    world.docker.run(&["image", "inspect", "nebula:newer"]).await;
    assert_eq!(own(&world.docker.containers().await), before);
    daemon.remove().await;
}

#[tokio::test]
async fn worker_that_is_named_after_its_container_says_so() {
    let world = World::new().await;
    let environment = ["--env", "DEVICE_GROUP=tills", "--env", "NEBULA_MANAGER_HOST=127.0.0.1"];
    let image = variable("NEBULA_TEST_IMAGE");
    let run = [&["run", "--detach", "--name", "unnamed"], &environment[..], &[&image, "worker"]];
    world.docker.run(&run.concat()).await;
    until("it says that its name will not last", || async {
        let said = world.docker.try_run(&["logs", "unnamed"]).await;
        String::from_utf8_lossy(&said.stderr).contains("another device; set `hostname`")
    })
    .await;
}
