//! What is declared runs, changes and goes, on real Docker with real pulls.

pub(crate) use crate::declared::{app, site};
use crate::docker::Docker;
use crate::world::{World, until, variable};
use serde_json::json;

#[tokio::test]
async fn speaker_story_from_first_call_to_last_container() {
    let mut world = World::new().await;
    let shared = world.folder.path().join("music");
    std::fs::create_dir(&shared).expect("a folder");
    let volume = format!("{}:/music:rw", shared.display());
    let speaker = |id, image: &str, greeting: &str| {
        app(
            "smart_speaker",
            id,
            &json!({"docker_image": image, "starting_ports": [{"8080": "80"}], "volumes": [volume],
                "env_vars": {"GREETING": greeting}}),
        )
    };
    let worker = world.worker();
    world.manager.declare(&[speaker(1, &site("1"), "hello")]);
    Docker::says(8080, "/version", "1").await;
    Docker::says(8080, "/env/GREETING", "hello").await;
    let mounts =
        "{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}{{.HostConfig.RestartPolicy.Name}}";
    let inspected = world.docker.run(&["inspect", "-f", mounts, "smart_speaker-1"]).await;
    assert_eq!(inspected, format!("{}:/music unless-stopped", shared.display()));
    let labels = "{{.Config.Labels.app_name}} {{.Config.Labels.orchestrator}} {{.Config.Labels.container_type}}";
    let inspected = world.docker.run(&["inspect", "-f", labels, "smart_speaker-1"]).await;
    assert_eq!(inspected, "smart_speaker nebula app");
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    let inspected = world.docker.run(&["inspect", "-f", networks, "smart_speaker-1"]).await;
    assert_eq!(inspected, "bridge nebula");

    world.manager.declare(&[speaker(2, &site("2"), "hello")]);
    Docker::says(8080, "/version", "2").await;
    world.manager.declare(&[speaker(3, &site("2"), "good evening")]);
    Docker::says(8080, "/env/GREETING", "good evening").await;
    world.docker.runs_only(&[("smart_speaker-1", &site("2"))]).await;

    world.manager.declare(&[app("smart_speaker", 4, &json!({"running": false}))]);
    world.docker.runs_only(&[]).await;
    world.manager.declare(&[speaker(5, &site("2"), "again")]);
    Docker::says(8080, "/env/GREETING", "again").await;
    world.manager.declare(&[]);
    world.docker.runs_only(&[]).await;
    worker.stop().await;
}

#[tokio::test]
async fn replicas_take_ports_from_the_first_up_and_follow_the_count() {
    let mut world = World::new().await;
    let worker = world.worker();
    let web = |id, count: u32, port: u16| {
        app(
            "web",
            id,
            &json!({"containers_per": {"server": count}, "starting_ports": [{port.to_string(): "80"}]}),
        )
    };
    let image = site("1");
    world.manager.declare(&[web(1, 3, 8100)]);
    world.docker.runs_only(&[("web-1", &image), ("web-2", &image), ("web-3", &image)]).await;
    Docker::says(8102, "/version", "1").await;
    // Each replica takes the port that another one holds at this moment.
    world.manager.declare(&[web(2, 3, 8101)]);
    Docker::says(8103, "/version", "1").await;
    world.docker.runs_only(&[("web-1", &image), ("web-2", &image), ("web-3", &image)]).await;
    world.manager.declare(&[web(3, 1, 8101)]);
    world.docker.runs_only(&[("web-1", &image)]).await;
    worker.stop().await;
}

#[tokio::test]
async fn memory_and_cores_give_the_count() {
    let mut world = World::new().await;
    let worker = world.worker();
    let info = world.docker.run(&["info", "-f", "{{.NCPU}} {{.MemTotal}}"]).await;
    let (cores, bytes) = info.split_once(' ').expect("two numbers");
    let memory_mb: u64 = bytes.parse::<u64>().expect("a number") / (1024 * 1024);
    world.manager.declare(&[
        app("by-core", 1, &json!({"containers_per": {"cpu": 1}})),
        app("by-memory", 1, &json!({"containers_per": {"memory": memory_mb / 2}})),
    ]);
    let image = site("1");
    let cores: u32 = cores.parse().expect("a number");
    let names: Vec<String> = (1..=cores)
        .map(|replica| format!("by-core-{replica}"))
        .chain((1..=2).map(|replica| format!("by-memory-{replica}")))
        .collect();
    let expected: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), image.as_str())).collect();
    world.docker.runs_only(&expected).await;
    worker.stop().await;
}

#[tokio::test]
async fn restart_pulls_what_is_new_under_the_same_tag() {
    let mut world = World::new().await;
    let worker = world.worker();
    let moving = site("moving");
    let push = async |version: &str| {
        world.docker.run(&["pull", "-q", &site(version)]).await;
        world.docker.run(&["tag", &site(version), &moving]).await;
        world.docker.run(&["push", "-q", &moving]).await;
        world.docker.run(&["rmi", &moving, &site(version)]).await;
    };
    let web =
        |id| app("web", id, &json!({"docker_image": moving, "starting_ports": [{"8080": "80"}]}));
    push("1").await;
    world.manager.declare(&[web(1)]);
    Docker::says(8080, "/version", "1").await;
    let old = world.docker.containers().await["web-1"].id.clone();
    world.docker.run(&["pull", "-q", &site("2")]).await;
    world.docker.run(&["tag", &site("2"), "127.0.0.1:5000/site:moving"]).await;
    world.docker.run(&["push", "-q", &moving]).await;
    world.manager.declare(&[web(2)]);
    Docker::says(8080, "/version", "2").await;
    // Nothing changed but the id: a restart.
    world.manager.declare(&[web(3)]);
    until("another container", || async {
        let now = world.docker.containers().await;
        now.get("web-1").is_some_and(|web| web.id != old && web.state == "running")
            && now.len() == 1
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn private_registry_gets_its_credentials_whatever_is_in_the_password() {
    let mut world = World::new().await;
    let registry = variable("NEBULA_TEST_PRIVATE_REGISTRY");
    world.extra.insert("REGISTRY_HOST".to_owned(), format!("http://{registry}"));
    for (key, name) in [("REGISTRY_AUTH_USER", "USER"), ("REGISTRY_AUTH_PASSWORD", "PASSWORD")] {
        world.extra.insert(key.to_owned(), variable(&format!("NEBULA_TEST_REGISTRY_{name}")));
    }
    let private = format!("{}:1", variable("NEBULA_TEST_PRIVATE_SITE"));
    let worker = world.worker();
    world.manager.declare(&[app("secret", 1, &json!({"docker_image": private}))]);
    world.docker.runs_only(&[("secret-1", &private)]).await;
    worker.stop().await;
}

#[tokio::test]
async fn image_that_was_built_on_the_device_runs_without_a_registry() {
    let mut world = World::new().await;
    let local = variable("NEBULA_TEST_LOCAL_SITE");
    let worker = world.worker();
    world.manager.declare(&[app("own", 1, &json!({"docker_image": local}))]);
    world.docker.runs_only(&[("own-1", &local)]).await;
    worker.stop().await;
}

#[tokio::test]
async fn host_and_none_networks_stand_alone() {
    let mut world = World::new().await;
    let worker = world.worker();
    world.manager.declare(&[
        app("on-host", 1, &json!({"networks": ["host"], "env_vars": {"PORT": "8190"}})),
        app("on-none", 1, &json!({"networks": ["none"]})),
    ]);
    Docker::says(8190, "/version", "1").await;
    let mode = "{{.HostConfig.NetworkMode}}";
    until("both run", || async { world.docker.containers().await.len() == 2 }).await;
    assert_eq!(world.docker.run(&["inspect", "-f", mode, "on-none-1"]).await, "none");
    worker.stop().await;
}

#[tokio::test]
async fn rolling_app_takes_down_one_replica_at_a_time() {
    let mut world = World::new().await;
    let worker = world.worker();
    let image = |version: &str| json!({"docker_image": site(version), "rolling_restart": true, "containers_per": {"server": 3}, "starting_ports": [{"8100": "80"}]});
    world.manager.declare(&[app("web", 1, &image("1"))]);
    let (one, two) = (site("1"), site("2"));
    world.docker.runs_only(&[("web-1", &one), ("web-2", &one), ("web-3", &one)]).await;
    world.manager.declare(&[app("web", 2, &image("2"))]);
    until("all replicas are new", || async {
        let now = world.docker.containers().await;
        let running = now.values().filter(|c| c.state == "running").count();
        assert!(running >= 2, "only {running} of 3 ran at one moment");
        running == 3 && now.len() == 3 && now.values().all(|c| c.image == site("2"))
    })
    .await;
    world.docker.runs_only(&[("web-1", &two), ("web-2", &two), ("web-3", &two)]).await;
    worker.stop().await;
}
