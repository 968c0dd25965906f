//! What goes wrong on a device, and what does not follow from it.

use crate::apps::{app, site};
use crate::daemon::Daemon;
use crate::docker::Docker;
use crate::manager::Answer;
use crate::world::{World, until, variable};
use nebula::model::{AppFields, Unknown};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn inv_18_broken_apps_leave_others_alone_and_keep_their_old_containers() {
    let mut world = World::new().await;
    let names = ["bad-tag", "no-network", "taken-port", "no-device", "unhealthy", "fine"];
    let one = site("1");
    let first: Vec<_> = names.iter().map(|name| app(name, 1, &json!({}))).collect();
    let containers: Vec<String> = names.iter().map(|name| format!("{name}-1")).collect();
    world.manager.declare(&first);
    let worker = world.worker();
    let all: Vec<(&str, &str)> =
        containers.iter().map(|name| (name.as_str(), one.as_str())).collect();
    let before = world.docker.runs_only(&all).await;
    let since = world.docker.now().await;
    let foreign = TcpListener::bind("0.0.0.0:8200").await.expect("the port");
    world.manager.declare(&[
        app("bad-tag", 2, &json!({"docker_image": site("nowhere")})),
        app("no-network", 2, &json!({"networks": ["moon"]})),
        app("taken-port", 2, &json!({"starting_ports": [{"8200": "80"}]})),
        app("no-device", 2, &json!({"devices": ["/dev/moon:/dev/moon:rwm"]})),
        app("unhealthy", 2, &json!({"docker_image": site("unhealthy")})),
        app("fine", 2, &json!({"docker_image": site("2")})),
    ]);
    // The sound one changes although the others cannot.
    until("the sound app is new", || async {
        let now = world.docker.containers().await;
        now.get("fine-1").is_some_and(|fine| fine.image == site("2") && fine.state == "running")
    })
    .await;
    // Each broken one serves with the container it had: never replaced, at most stopped for a try
    // of the new one and started again.
    for name in ["bad-tag-1", "no-network-1"] {
        assert_eq!(world.docker.containers().await[name], before[name], "{name}");
    }
    // Two can run beside each other while the new one is tried.
    for name in ["taken-port-1", "unhealthy-1"] {
        let next = format!("container={name}-next");
        until("the new one was tried", || async {
            let until = world.docker.now().await;
            let what = ["events", "--since", &since, "--until", &until, "--filter", &next];
            !world.docker.run(&what).await.is_empty()
        })
        .await;
        assert_eq!(world.docker.containers().await[name], before[name], "{name}");
    }
    // Two that share a device file cannot.
    until("the new one was tried and the old one serves again", || async {
        let now = world.docker.containers().await;
        let (old, was) = (now.get("no-device-1"), &before["no-device-1"]);
        let tried = old.is_some_and(|old| old.started_at != was.started_at);
        tried && old.is_some_and(|old| old.id == was.id && old.state == "running")
    })
    .await;
    // What was broken is mended, and it goes on by itself.
    drop(foreign);
    world.docker.run(&["network", "create", "moon"]).await;
    until("the mended apps are new", || async {
        let now = world.docker.containers().await;
        ["taken-port-1", "no-network-1"].iter().all(|name| {
            now.get(*name).is_some_and(|c| c.id != before[*name].id && c.state == "running")
        })
    })
    .await;
    Docker::says(8200, "/version", "1").await;
    worker.stop().await;
}

#[tokio::test]
async fn inv_13_whatever_the_edge_accepts_runs_or_is_reported_and_nothing_else_suffers() {
    let mut world = World::new().await;
    let digest = format!("{}@sha256:{}", variable("NEBULA_TEST_SITE"), "0".repeat(64));
    let odd = [
        json!({"docker_image": digest}),
        json!({"docker_image": "127.0.0.1:1/a/b/c:d"}),
        json!({"env_vars": {"LINES": "one\ntwo", "snow man": "\u{2603}", "EMPTY": ""}}),
        json!({"volumes": ["/nowhere/at/all:/data:ro,rshared"]}),
        json!({"volumes": ["named-volume:/data:nocopy"]}),
        json!({"volumes": ["/proc:/proc"]}),
        json!({"devices": ["/dev/null"]}),
        json!({"devices": ["/dev/moon:/dev/sun:m"]}),
        json!({"networks": []}),
        json!({"networks": ["default"]}),
        json!({"networks": ["bridge", "bridge", "nebula"]}),
        json!({"networks": ["none"], "starting_ports": [80]}),
        json!({"containers_per": {"memory": 0.01}}),
        json!({"containers_per": {"cpu": 0.001}}),
        json!({"containers_per": {"cpu": 3}, "starting_ports": [65_534]}),
        json!({"starting_ports": [{"8501": 80, "8502": "80"}, 8503]}),
        json!({"privileged": true, "rolling_restart": true}),
    ];
    let mut apps = vec![app("fine", 1, &json!({"starting_ports": [{"8500": "80"}]}))];
    for (number, fields) in odd.iter().enumerate() {
        let name = format!("odd{number}");
        // What the manager would take is what is told; a case that it refuses proves nothing.
        let body = fields.as_object().cloned().expect("an object");
        AppFields::decode(body, Some(&name), Unknown::Refuse).expect("the edge accepts it");
        apps.push(app(&name, 1, fields));
    }
    world.manager.declare(&apps);
    let worker = world.worker();
    Docker::says(8500, "/version", "1").await;
    // These can run, so they do. The privileged one can on most machines, but not where the tests
    // themselves run with fewer rights than it asks for.
    for name in ["odd2-1", "odd4-1", "odd6-1", "odd8-1", "odd10-1", "odd11-1", "odd15-1"] {
        until(name, || async {
            world.docker.containers().await.get(name).is_some_and(|c| c.state == "running")
        })
        .await;
    }
    assert!(worker.is_alive());
    let before = world.docker.containers().await["fine-1"].clone();
    world.manager.declare(&apps[..1]);
    world.docker.runs_only(&[("fine-1", &site("1"))]).await;
    assert_eq!(world.docker.containers().await["fine-1"], before);
    worker.stop().await;
}

#[tokio::test]
async fn inv_19_what_is_removed_or_stopped_by_hand_comes_back() {
    let mut world = World::new().await;
    let image = site("1");
    world.docker.run(&["pull", "-q", &image]).await;
    world.docker.run(&["run", "-d", "--name", "web-9", &image]).await;
    world
        .docker
        .run(&["run", "-d", "--name", "stranger", "--label", "orchestrator=other", &image])
        .await;
    let count = json!({"containers_per": {"server": 2}});
    world.manager.declare(&[app("web", 1, &count)]);
    let worker = world.worker();
    let all = [("web-1", &*image), ("web-2", &image), ("web-9", &image), ("stranger", &image)];
    let before = world.docker.runs_only(&all).await;
    for order in [
        &["rm", "-f", "web-1"][..],
        &["stop", "-t", "0", "web-2"],
        &["pause", "web-1"],
        &["kill", "web-2"],
    ] {
        let untouched = world.docker.containers().await;
        world.docker.run(order).await;
        let now = world.docker.runs_only(&all).await;
        let struck = order.iter().copied().find(|word| word.starts_with("web-"));
        for (name, container) in &now {
            if Some(name.as_str()) != struck {
                assert_eq!(*container, untouched[name], "{name} after {order:?}");
            }
        }
    }
    // Containers without our label were never touched, not even one with a name like ours.
    let after = world.docker.containers().await;
    for name in ["web-9", "stranger"] {
        assert_eq!(after[name], before[name]);
    }
    worker.stop().await;
}

#[tokio::test]
async fn inv_16_restarted_worker_restarts_no_container() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({"containers_per": {"server": 3}}))]);
    let all = [("web-1", &*image), ("web-2", &image), ("web-3", &image)];
    let worker = world.worker();
    let before = world.docker.runs_only(&all).await;
    worker.stop().await;
    let worker = world.worker();
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.containers().await, before);
    worker.stop().await;
    // Its memory lost, it finds by the labels alone that all is well.
    std::fs::remove_dir_all(world.folder.path().join("data")).expect("its folder");
    let worker = world.worker();
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.containers().await, before);
    worker.stop().await;
}

#[tokio::test]
async fn inv_22_the_same_state_again_calls_nothing_that_changes() {
    let mut world = World::new().await;
    let apps: Vec<_> = (1..=20)
        .map(|n| {
            app(
                &format!("app{n}"),
                1,
                &json!({"docker_image": site("nocheck"), "containers_per": {"server": 3}}),
            )
        })
        .collect();
    world.manager.declare(&apps);
    let worker = world.worker();
    until("sixty containers run", || async {
        let running = world.docker.run(&["ps", "-q", "--filter", "name=app"]).await;
        running.lines().count() == 60
    })
    .await;
    // The last container is up; a pass that still settles names ends within one more check-in.
    world.manager.asked_again(2).await;
    let since = world.docker.run(&["info", "-f", "{{.SystemTime}}"]).await;
    world.manager.declare(&apps);
    world.manager.asked_again(3).await;
    let until = world.docker.run(&["info", "-f", "{{.SystemTime}}"]).await;
    let events = world.docker.run(&["events", "--since", &since, "--until", &until]).await;
    assert_eq!(events, "", "a pass over the same state changed something");
    worker.stop().await;
}

#[tokio::test]
async fn inv_14_outage_of_manager_and_registry_restarts_nothing() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({}))]);
    let worker = world.worker();
    let before = world.docker.runs_only(&[("web-1", &image)]).await;
    // The manager goes, and the device restarts without it.
    world.manager.say(Answer::Raw(Vec::new()));
    world.manager.asked_again(2).await;
    worker.stop().await;
    let worker = world.worker();
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.containers().await, before);
    // What dies meanwhile is mended from what was accepted last.
    world.docker.run(&["rm", "-f", "web-1"]).await;
    let mended = world.docker.runs_only(&[("web-1", &image)]).await;
    // A change whose registry is away waits for it, and what runs goes on.
    world.manager.declare(&[app("web", 2, &json!({"docker_image": "127.0.0.1:9/site:2"}))]);
    world.manager.asked_again(3).await;
    assert_eq!(world.docker.containers().await, mended);
    // The manager back with what it said before: nothing restarts.
    world.manager.declare(&[app("web", 1, &json!({}))]);
    world.manager.asked_again(3).await;
    assert_eq!(world.docker.containers().await, mended);
    worker.stop().await;
}

#[tokio::test]
async fn inv_25_docker_killed_in_the_middle_of_a_change_converges() {
    let daemon = Daemon::start("killed", &[]).await;
    let mut world = World::on(daemon.docker()).await;
    let web = |id, version: &str| {
        app("web", id, &json!({"docker_image": site(version), "containers_per": {"server": 3}}))
    };
    let worker = world.worker();
    let all = ["web-1", "web-2", "web-3"];
    world.manager.declare(&[web(1, "1")]);
    let image = site("1");
    world.docker.runs_only(&all.map(|name| (name, image.as_str()))).await;
    for (id, version) in [(2, "2"), (3, "3"), (4, "1")] {
        world.manager.declare(&[web(id, version)]);
        // In the middle of a change: as soon as the next containers are being made.
        daemon.begins_to_make(version).await;
        daemon.kill().await;
        assert!(worker.is_alive());
        daemon.start_again().await;
        let image = site(version);
        world.docker.runs_only(&all.map(|name| (name, image.as_str()))).await;
    }
    worker.stop().await;
    daemon.remove().await;
}

#[tokio::test]
async fn state_on_disk_is_for_the_owner_alone_and_rubbish_in_it_is_survived() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({"env_vars": {"PASSWORD": "hunter2"}}))]);
    let worker = world.worker();
    let before = world.docker.runs_only(&[("web-1", &image)]).await;
    worker.stop().await;
    for name in ["accepted.json", "memory.json"] {
        let file = world.data_file(name);
        let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        std::fs::write(&file, "{\"cut").expect("written");
    }
    world.manager.say(Answer::Raw(Vec::new()));
    let worker = world.worker();
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.containers().await, before);
    worker.stop().await;
}
