//! What does not stay well by itself is made well again, with patience, and nothing else is touched.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::daemon::Daemon;
use crate::docker::Docker;
use crate::world::{World, until, until_within};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// What Docker told of a container: when, in ms of Docker's own clock, and what.
pub(crate) async fn story(docker: &Docker, container: &str, since: &str) -> Vec<(u64, String)> {
    let (until, filter) = (docker.now().await, format!("container={container}"));
    let what = ["events", "--since", since, "--until", &until, "--filter", &filter];
    let form = ["--format", "{{.TimeNano}} {{.Action}}"];
    let told = docker.run(&[&what[..], &form].concat()).await;
    let line = |line: &str| {
        let (nanoseconds, action) = line.split_once(' ')?;
        let nanoseconds: u64 = nanoseconds.parse().ok()?;
        Some((nanoseconds / 1_000_000, action.to_owned()))
    };
    told.lines().filter_map(line).collect()
}

pub(crate) fn times(story: &[(u64, String)], action: &str) -> Vec<u64> {
    story.iter().filter(|(_, told)| told == action).map(|(at, _)| *at).collect()
}

#[tokio::test]
async fn inv_19_unhealthy_container_is_restarted_at_once_and_then_with_patience() {
    let mut world = World::new().await;
    world.manager.declare(&[app("ailing", 1, &json!({"docker_image": site("unhealthy")}))]);
    let since = world.docker.now().await;
    let worker = Binary::start(&world);
    let told = async || story(&world.docker, "ailing-1", &since).await;
    until("three restarts", || async { times(&told().await, "start").len() >= 4 }).await;
    let told = told().await;
    let ill = times(&told, "health_status: unhealthy");
    let after: Vec<u64> = times(&told, "start")[1..]
        .iter()
        .zip(&ill)
        .map(|(started, ill)| started.saturating_sub(*ill))
        .collect();
    assert!(after[0] < 1_500, "restarted {after:?} ms after it was ill");
    assert!(after[2] > after[0] + 500, "no patience: restarted {after:?} ms after it was ill");
    worker.stop().await;
}

#[tokio::test]
async fn inv_19_renamed_disconnected_or_restarted_by_hand_is_set_right() {
    let mut world = World::new().await;
    let image = site("1");
    world.docker.run(&["pull", "-q", &image]).await;
    world.docker.run(&["run", "-d", "--name", "stranger", &image]).await;
    world.manager.declare(&[app("web", 1, &json!({"containers_per": {"server": 2}}))]);
    let worker = Binary::start(&world);
    let all = [("web-1", &*image), ("web-2", &image), ("stranger", &image)];
    let before = world.docker.runs_only(&all).await;
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    for order in [
        &["rename", "web-1", "mine"][..],
        &["network", "disconnect", "nebula", "web-1"],
        &["network", "disconnect", "bridge", "web-2"],
        &["restart", "-t", "0", "web-2"],
        // Both at once, so that each has the other's name.
        &["rename", "web-1", "between"],
        &["rename", "web-2", "web-1"],
        &["rename", "between", "web-2"],
    ] {
        // A name that the worker took back meanwhile cannot be changed any more.
        world.docker.try_run(order).await;
        if order[0] == "rename" && order[1] != "between" && order[2] != "mine" {
            continue;
        }
        world.docker.runs_only(&all).await;
        until("both are in both networks", || async {
            let seen = world.docker.try_run(&["inspect", "-f", networks, "web-1", "web-2"]).await;
            String::from_utf8_lossy(&seen.stdout).lines().all(|one| one == "bridge nebula ")
        })
        .await;
    }
    assert_eq!(world.docker.containers().await["stranger"], before["stranger"]);
    worker.stop().await;
}

#[tokio::test]
async fn inv_16_upgraded_worker_calls_nothing_that_changes() {
    let mut world = World::new().await;
    let nocheck = site("nocheck");
    let web = json!({"docker_image": nocheck, "containers_per": {"server": 2}});
    world.manager.declare(&[app("web", 1, &web)]);
    let worker = Binary::start(&world);
    world.docker.runs_only(&[("web-1", &nocheck), ("web-2", &nocheck)]).await;
    // The pass that settles names ends within one more check-in.
    world.manager.asked_again(3).await;
    let since = world.docker.now().await;
    worker.stop().await;
    let worker = Binary::start(&world);
    world.manager.asked_again(3).await;
    worker.kill().await;
    let worker = Binary::start(&world);
    world.manager.asked_again(3).await;
    let until = world.docker.now().await;
    let events = world.docker.run(&["events", "--since", &since, "--until", &until]).await;
    assert_eq!(events, "", "another worker changed something");
    worker.stop().await;
}

#[tokio::test]
async fn inv_25_docker_that_hangs_in_the_middle_of_a_change_is_waited_for() {
    let daemon = Daemon::start("hung", &[]).await;
    let mut world = World::on(daemon.docker()).await;
    let web = |id, version: &str| {
        app("web", id, &json!({"docker_image": site(version), "containers_per": {"server": 3}}))
    };
    let all = ["web-1", "web-2", "web-3"];
    let runs = async |world: &World, version: &str| {
        let image = site(version);
        world.docker.runs_only(&all.map(|name| (name, image.as_str()))).await
    };
    let steady = app("steady", 1, &json!({}));
    world.manager.declare(&[web(1, "1")]);
    let mut worker = Binary::start(&world);
    runs(&world, "1").await;
    world.manager.declare(&[web(2, "2")]);
    daemon.begins_to_make("2").await;
    daemon.hang();
    // It goes on asking its manager, and takes a new state up when it can.
    world.manager.declare(&[web(3, "3")]);
    world.manager.asked_again(3).await;
    assert!(worker.is_alive());
    // Nor does it keep whoever wants to end it.
    worker.stop().await;
    let worker = Binary::start(&world);
    world.manager.asked_again(2).await;
    daemon.resume();
    runs(&world, "3").await;
    world.manager.declare(&[web(3, "3"), steady]);
    let before = world.docker.containers().await;
    until("the next app runs too", || async {
        world.docker.containers().await.get("steady-1").is_some_and(|one| one.state == "running")
    })
    .await;
    let after = world.docker.containers().await;
    for name in all {
        assert_eq!(before[name], after[name], "{name}");
    }
    worker.stop().await;
    daemon.remove().await;
}

/// A folder on a disk of its own, as small as this.
fn small_disk(path: &std::path::Path) {
    std::fs::create_dir_all(path).expect("a folder");
    let mount = ["-t", "tmpfs", "-o", "size=64k,mode=700", "nebula"];
    let mounted = Command::new("mount").args(mount).arg(path).status().expect("mount");
    assert!(mounted.success());
}

#[tokio::test]
async fn inv_26_full_disk_stops_neither_what_runs_nor_a_change() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data");
    small_disk(&data);
    let (one, two) = (site("1"), site("2"));
    world.manager.declare(&[app("web", 1, &json!({})), app("steady", 1, &json!({}))]);
    let worker = Binary::start(&world);
    let before = world.docker.runs_only(&[("web-1", &one), ("steady-1", &one)]).await;
    world.manager.asked_again(2).await;
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while std::io::Write::write_all(&mut file, &[1; 512]).is_ok() {}
    world
        .manager
        .declare(&[app("web", 2, &json!({"docker_image": two})), app("steady", 1, &json!({}))]);
    let after = world.docker.runs_only(&[("web-1", &two), ("steady-1", &one)]).await;
    assert_eq!(before["steady-1"], after["steady-1"]);
    worker.says(&["could not be kept on disk"]).await;
    // Killed with nothing kept, the next one learns all again and touches nothing.
    worker.kill().await;
    let mut worker = Binary::start(&world);
    world.manager.asked_again(3).await;
    assert!(worker.is_alive());
    assert_eq!(world.docker.containers().await, after);
    worker.stop().await;
    drop(file);
    let unmounted = Command::new("umount").arg("-l").arg(&data).status().expect("umount");
    assert!(unmounted.success());
}

/// An app that was broken before it ever ran, one of each kind, beside a good one.
#[tokio::test]
async fn inv_18_apps_that_are_broken_from_the_start_leave_a_good_one_alone() {
    let mut world = World::new().await;
    let taken = tokio::net::TcpListener::bind("0.0.0.0:8650").await.expect("the port");
    let broken = [
        ("bad-tag", json!({"docker_image": site("nowhere")})),
        ("no-registry", json!({"docker_image": "127.0.0.1:9/site:1"})),
        ("no-network", json!({"networks": ["moon"]})),
        ("taken-port", json!({"starting_ports": [{"8650": "80"}]})),
        ("bad-volume", json!({"volumes": ["/dev/null/below:/data"]})),
        ("no-device", json!({"devices": ["/dev/moon:/dev/moon:rwm"]})),
        ("no-command", json!({"docker_image": site("nocommand")})),
    ];
    let mut apps: Vec<_> = broken.iter().map(|(name, more)| app(name, 1, more)).collect();
    apps.push(app("good", 1, &json!({"docker_image": site("nocheck")})));
    world.manager.declare(&apps);
    let since = std::time::Instant::now();
    let mut worker = Binary::start(&world);
    let good = async || world.docker.containers().await.get("good-1").cloned();
    until("the good app runs", || async {
        good().await.is_some_and(|good| good.state == "running")
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(20), "the broken ones held it up");
    let before = good().await;
    for (name, _) in &broken {
        worker.says(&["held", name]).await;
    }
    // Changed to another version and back by the broken ones' troubles: nothing.
    world.manager.asked_again(5).await;
    assert_eq!(good().await, before);
    assert!(worker.is_alive());
    // Mended ones come up by themselves.
    drop(taken);
    world.docker.run(&["network", "create", "moon"]).await;
    until("the mended apps run", || async {
        let now = world.docker.containers().await;
        let runs = |name: &str| now.get(name).is_some_and(|one| one.state == "running");
        runs("taken-port-1") && runs("no-network-1")
    })
    .await;
    world.manager.declare(&apps[apps.len() - 1..]);
    world.docker.runs_only(&[("good-1", &site("nocheck"))]).await;
    assert_eq!(good().await, before);
    worker.stop().await;
}

#[tokio::test]
async fn inv_19_a_container_with_many_ports_comes_back_on_the_event_and_not_at_the_next_look() {
    // Docker lists it as ended only when the last of its ports is closed.
    let mut world = World::new().await;
    let ports: Vec<_> = (8_500..8_506).map(|port| json!({port.to_string(): "80"})).collect();
    let keys = json!({"docker_image": site("nocheck"), "starting_ports": ports});
    world.manager.declare(&[app("web", 1, &keys)]);
    let worker = Binary::start(&world);
    world.docker.runs_only(&[("web-1", &site("nocheck"))]).await;
    for _ in 0..4 {
        let before = world.docker.containers().await["web-1"].started_at.clone();
        world.docker.run(&["kill", "web-1"]).await;
        // A look comes every half minute whatever happens; this is before it.
        until_within(Duration::from_secs(15), "it runs again", async || {
            let now = world.docker.containers().await;
            let web = now.get("web-1")?;
            (web.state == "running" && web.started_at != before).then_some(())
        })
        .await;
    }
    worker.stop().await;
}
