//! Disks that fill up, and images that go, on real Dockers with small disks of their own.

use crate::apps::{app, site};
use crate::docker::Docker;
use crate::manager::{Answer, state};
use crate::world::{World, until, variable};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// A Docker of its own whose disk has so many megabytes. It ends with the test.
struct Small {
    name: String,
    root: PathBuf,
}

impl Small {
    async fn start(name: &str, megabytes: u32) -> (Self, Docker) {
        let root = Path::new(&variable("NEBULA_RUN")).join("docker").join(name).join("data");
        std::fs::create_dir_all(&root).expect("a folder");
        mount(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "nebula"], &root).await;
        let small = Self { name: name.to_owned(), root };
        let mut start = Command::new(variable("NEBULA_TEST_DOCKERD_START"));
        let started = start.arg(name).stderr(Stdio::inherit()).output().await.expect("a dockerd");
        assert!(started.status.success(), "the dockerd started");
        let host = String::from_utf8_lossy(&started.stdout).trim().to_owned();
        (small, Docker::at(&host))
    }

    async fn resize(&self, megabytes: u32) {
        mount(&["-o", &format!("remount,size={megabytes}m")], &self.root).await;
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let stop = std::process::Command::new(variable("NEBULA_TEST_DOCKERD_STOP"))
            .arg(&self.name)
            .status();
        if !std::thread::panicking() {
            assert!(stop.is_ok_and(|status| status.success()), "the dockerd stopped");
        }
    }
}

async fn mount(arguments: &[&str], folder: &Path) {
    let mut command = Command::new("mount");
    let status = command.args(arguments).arg(folder).status().await.expect("mount");
    assert!(status.success(), "mount {arguments:?}");
}

/// An image with a layer that cannot be compressed, of so many megabytes, in the open registry.
/// Gives its name there. It is on no Docker afterwards.
pub(crate) async fn push_large(docker: &Docker, name: &str, megabytes: u64) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut noise = std::fs::File::open("/dev/urandom").expect("noise").take(megabytes << 20);
    let mut data = std::fs::File::create(folder.path().join("data")).expect("a file");
    std::io::copy(&mut noise, &mut data).expect("a file of noise");
    let base = variable("NEBULA_TEST_LOCAL_SITE");
    let recipe = format!("FROM {base}\nCOPY data /data\n");
    std::fs::write(folder.path().join("Dockerfile"), recipe).expect("a file");
    let tag = format!("{}/{name}:1", variable("NEBULA_TEST_REGISTRY"));
    let context = folder.path().display().to_string();
    let mut build = Command::new("docker");
    build.env("DOCKER_HOST", &docker.host).env("DOCKER_BUILDKIT", "0");
    let built = build.args(["build", "-q", "-t", &tag, &context]).output().await.expect("docker");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    docker.run(&["push", "-q", &tag]).await;
    docker.run(&["rmi", &tag]).await;
    tag
}

/// A layer as it lies in the registry.
pub(crate) struct Layer {
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

/// The largest layer of an image in the open registry.
pub(crate) async fn largest_layer(image: &str) -> Layer {
    let (registry, rest) = image.split_once('/').expect("a registry");
    let (name, tag) = rest.split_once(':').expect("a tag");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = format!("http://{registry}/v2/{name}");
    let manifest = client
        .get(format!("{base}/manifests/{tag}"))
        .header("accept", "application/vnd.docker.distribution.manifest.v2+json");
    let manifest = manifest.send().await.expect("an answer").text().await.expect("a text");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let layers = manifest["layers"].as_array().expect("layers");
    let largest = layers.iter().max_by_key(|layer| layer["size"].as_u64()).expect("a layer");
    let digest = largest["digest"].as_str().expect("a digest").to_owned();
    let blob = client.get(format!("{base}/blobs/{digest}")).send().await.expect("an answer");
    let bytes = blob.bytes().await.expect("its bytes").to_vec();
    Layer { digest, bytes }
}

/// The names of a Docker's images.
async fn images(docker: &Docker) -> Vec<String> {
    let listed = docker.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).await;
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test]
async fn pull_that_does_not_fit_is_refused_with_numbers_and_made_when_there_is_room() {
    let (small, docker) = Small::start("small", 150).await;
    let builder = World::new().await;
    let large = push_large(&builder.docker, "large", 90).await;
    drop(builder);
    let mut world = World::on(docker).await;
    let worker = world.worker();
    let fine = app("fine", 1, &json!({}));
    world.manager.declare(std::slice::from_ref(&fine));
    let before = world.docker.runs_only(&[("fine-1", &site("1"))]).await;
    world.manager.declare(&[fine, app("big", 1, &json!({"docker_image": large}))]);
    let memory = world.data_file("memory.json");
    until("it is known how much room it needs", || async {
        std::fs::read_to_string(&memory).is_ok_and(|text| text.contains("needed_bytes"))
    })
    .await;
    let text = std::fs::read_to_string(&memory).expect("a memory");
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let needed = kept["pulls"]["rooms"]["big"]["needed_bytes"].as_u64().expect("a number");
    assert!(needed > 180 << 20 && needed < 300 << 20, "{needed}");
    // What was begun of it is gone from the disk, and nobody suffered.
    until("the disk is as free as before", || async {
        let used = docker_used(&small.root).await;
        used < 60
    })
    .await;
    assert_eq!(world.docker.containers().await["fine-1"], before["fine-1"]);
    small.resize(600).await;
    world.docker.runs_only(&[("fine-1", &site("1")), ("big-1", &large)]).await;
    worker.stop().await;
    drop(small);
}

/// Megabytes used on the disk of a folder.
async fn docker_used(folder: &Path) -> u64 {
    let mut df = Command::new("df");
    let said = df.args(["--output=used", "-m"]).arg(folder).output().await.expect("df");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number")
}

#[tokio::test]
async fn disk_over_its_threshold_loses_the_image_that_was_replaced_and_no_other() {
    let (small, docker) = Small::start("threshold", 400).await;
    let builder = World::new().await;
    let old = push_large(&builder.docker, "old", 40).await;
    let new = push_large(&builder.docker, "new", 40).await;
    drop(builder);
    let mut world = World::on(docker).await;
    world.extra.insert("NEBULA_PRUNE_DISK_PERCENT".to_owned(), "15".to_owned());
    // A person's own image, which is in nobody's way.
    world.docker.run(&["pull", "-q", &site("3")]).await;
    let worker = world.worker();
    world.manager.declare(&[app("web", 1, &json!({"docker_image": old}))]);
    world.docker.runs_only(&[("web-1", &old)]).await;
    world.manager.declare(&[app("web", 2, &json!({"docker_image": new}))]);
    world.docker.runs_only(&[("web-1", &new)]).await;
    let mut left = vec![new.clone(), site("3")];
    left.sort();
    until("the old image is gone", || async { images(&world.docker).await == left }).await;
    worker.stop().await;
    drop(small);
}

#[tokio::test]
async fn inv_27_order_to_prune_removes_all_that_nothing_uses_and_nothing_else() {
    let (small, docker) = Small::start("prune", 400).await;
    let mut world = World::on(docker).await;
    let worker = world.worker();
    let stopped =
        |runs: bool| app("stopped", 1, &json!({"docker_image": site("3"), "running": runs}));
    world.manager.declare(&[app("web", 1, &json!({})), stopped(true)]);
    world.docker.runs_only(&[("web-1", &site("1")), ("stopped-1", &site("3"))]).await;
    let apps = [app("web", 2, &json!({"docker_image": site("2")})), stopped(false)];
    world.manager.declare(&apps);
    world.docker.runs_only(&[("web-1", &site("2"))]).await;
    // A person's: one that a stopped container uses, one under a second name, one that goes.
    let person = site("nocheck");
    world.docker.run(&["pull", "-q", &person]).await;
    world.docker.run(&["create", "--name", "person", &person]).await;
    world.docker.run(&["tag", &site("2"), "also:2"]).await;
    world.docker.run(&["pull", "-q", &site("job")]).await;
    let mut said = state(5_000, &apps);
    said["prune_id"] = json!(2);
    world.manager.say(Answer::State(said));
    let mut left = vec!["also:2".to_owned(), site("2"), site("3"), person];
    left.sort();
    until("what nothing uses is gone", || async { images(&world.docker).await == left }).await;
    // The order was carried out: what comes later stays, also for a worker that starts again.
    world.docker.run(&["pull", "-q", &site("job")]).await;
    worker.stop().await;
    let again = world.worker();
    world.manager.asked_again(3).await;
    assert!(images(&world.docker).await.contains(&site("job")));
    again.stop().await;
    drop(small);
}

/// Invariant 26, with everything full: Docker's disk, the worker's own and that of its log.
#[tokio::test]
async fn inv_26_full_disks_end_nothing_and_what_was_asked_is_done_when_there_is_room() {
    let (small, docker) = Small::start("full", 150).await;
    let mut world = World::on(docker).await;
    let data = world.folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    mount(&["-t", "tmpfs", "-o", "size=64k", "nebula"], &data).await;
    let web = |id: u64, image: &str| app("web", id, &json!({"docker_image": image}));
    let steady = app("steady", 1, &json!({}));
    let environment = world.environment();
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nebula"));
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full disk");
        command.arg("worker").envs(&environment).stderr(full).kill_on_drop(true);
        command.spawn().expect("the binary")
    };
    let mut process = start();
    world.manager.declare(&[web(1, &site("1")), steady.clone()]);
    let one = site("1");
    let before = world.docker.runs_only(&[("web-1", &one), ("steady-1", &one)]).await;
    let fillings = [fill(&small.root), fill(&data)];
    world.manager.declare(&[web(2, &site("2")), steady.clone()]);
    world.manager.asked_again(5).await;
    assert!(process.try_wait().expect("a process").is_none(), "the worker lives");
    // A worker that starts with a full disk runs what is there.
    process.kill().await.expect("killed");
    process = start();
    world.manager.asked_again(5).await;
    assert!(process.try_wait().expect("a process").is_none(), "the worker lives");
    assert_eq!(world.docker.containers().await, before);
    for filling in fillings {
        std::fs::remove_file(filling).expect("a file");
    }
    let two = site("2");
    let after = world.docker.runs_only(&[("web-1", &two), ("steady-1", &one)]).await;
    assert_eq!(after["steady-1"], before["steady-1"]);
    until("the memory is kept again", || async { data.join("memory.json").exists() }).await;
    process.kill().await.expect("killed");
    Command::new("umount").arg(&data).status().await.expect("umount");
    drop(small);
}

/// Fills the disk of a folder to the last byte.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filling");
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut block = vec![7_u8; 1 << 20];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
    path
}
