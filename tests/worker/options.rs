//! The optional keys of a container, as Docker itself shows them, and images by digest.

use crate::apps::{app, site};
use crate::docker::Docker;
use crate::world::{World, until, until_within, variable};
use serde_json::{Value, json};
use std::time::Duration;

/// What Docker says of a container.
async fn inspect(docker: &Docker, name: &str) -> Value {
    let text = docker.run(&["inspect", "--type", "container", name]).await;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

/// Every key that is expected, with what it should be.
#[track_caller]
fn holds(inspected: &Value, path: &str, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&inspected[path][key], value, "{path}.{key}");
    }
}

fn options() -> Value {
    json!({
        "docker_image": site("nocheck"), "entrypoint": [], "command": "/site", "user": "1000:1000",
        "working_dir": "/", "labels": {"team": "web"}, "hostname": "till-7", "mem_limit": "64m",
        "cpus": "512", "pids_limit": 50, "ulimits": {"nofile": {"soft": 512, "hard": 1024}, "core": 0},
        "cap_add": ["net_bind_service"], "cap_drop": ["ALL"], "read_only": true, "init": true,
        "security_opt": ["no-new-privileges"], "tmpfs": ["/run", "/tmp:size=1m,mode=1777"],
        "sysctls": {"net.core.somaxconn": 512}, "extra_hosts": ["db=10.0.0.5", "v6=[fd00::5]"],
        "dns": "10.0.0.1", "stop_signal": "QUIT", "stop_grace_period": "1500ms", "shm_size": "1m",
        "healthcheck": {"test": ["CMD", "/site", "health"], "interval": "1s", "timeout": "2s",
            "retries": 3, "start_period": "500ms", "start_interval": "100ms"},
        "logging": {"driver": "json-file", "options": {"max-size": "1m"}},
    })
}

/// The limits that Docker keeps of a container, whatever its kind.
fn holds_options(inspected: &Value, cores: u64) {
    holds(
        inspected,
        "Config",
        &json!({
            "Cmd": ["/site"], "Entrypoint": [], "User": "1000:1000", "WorkingDir": "/",
            "Hostname": "till-7", "StopSignal": "3", "StopTimeout": 2,
        }),
    );
    assert_eq!(inspected["Config"]["Labels"]["team"], "web");
    let check = &inspected["Config"]["Healthcheck"];
    assert_eq!(check["Test"], json!(["CMD", "/site", "health"]));
    let times =
        json!([check["Interval"], check["Timeout"], check["Retries"], check["StartPeriod"]]);
    assert_eq!(times, json!([1_000_000_000, 2_000_000_000, 3, 500_000_000]));
    holds(
        inspected,
        "HostConfig",
        &json!({
            "Memory": 64 << 20, "NanoCpus": cores * 1_000_000_000, "PidsLimit": 50,
            "CapDrop": ["ALL"], "ReadonlyRootfs": true,
            "Init": true, "SecurityOpt": ["no-new-privileges=true"],
            "Tmpfs": {"/run": "", "/tmp": "size=1m,mode=1777"},
            "Sysctls": {"net.core.somaxconn": "512"},
            "ExtraHosts": ["db:10.0.0.5", "v6:fd00::5"], "Dns": ["10.0.0.1"], "ShmSize": 1 << 20,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}},
        }),
    );
    // Newer engines show it with its beginning.
    let added = inspected["HostConfig"]["CapAdd"].to_string().replace("CAP_", "");
    assert_eq!(added, "[\"NET_BIND_SERVICE\"]");
    let mut ulimits = inspected["HostConfig"]["Ulimits"].as_array().cloned().unwrap_or_default();
    ulimits.sort_by_key(|limit| limit["Name"].to_string());
    let expected = json!([{"Name": "core", "Soft": 0, "Hard": 0},
        {"Name": "nofile", "Soft": 512, "Hard": 1024}]);
    assert_eq!(Value::from(ulimits), expected);
}

async fn cores(docker: &Docker) -> u64 {
    docker.run(&["info", "-f", "{{.NCPU}}"]).await.parse().expect("a number")
}

#[tokio::test]
async fn every_option_reaches_docker_and_the_app_runs() {
    let mut world = World::new().await;
    let worker = world.worker();
    let mut all = options();
    all["restart"] = json!("on-failure:7");
    let bare = app("bare", 1, &json!({"docker_image": site("nocheck")}));
    world.manager.declare(&[app("all", 1, &all), bare.clone()]);
    let (image, cores) = (site("nocheck"), cores(&world.docker).await);
    let before = world.docker.runs_only(&[("all-1", &image), ("bare-1", &image)]).await;
    let inspected = inspect(&world.docker, "all-1").await;
    holds_options(&inspected, cores);
    let policy = json!({"Name": "on-failure", "MaximumRetryCount": 7});
    assert_eq!(inspected["HostConfig"]["RestartPolicy"], policy);
    until("the declared health check says that it is well", async || {
        inspect(&world.docker, "all-1").await["State"]["Health"]["Status"] == "healthy"
    })
    .await;

    // Who says nothing gets Docker's defaults, and a log with a bound.
    let inspected = inspect(&world.docker, "bare-1").await;
    let log = json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}});
    assert_eq!(inspected["HostConfig"]["LogConfig"], log);
    holds(&inspected, "Config", &json!({"Entrypoint": ["/site"], "StopTimeout": null, "User": ""}));
    assert_eq!(inspected["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");

    // The same in other words restarts nothing; a key that is unset replaces the container.
    all["mem_limit"] = json!(64 << 20);
    world.manager.declare(&[app("all", 1, &all), bare.clone()]);
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.runs_only(&[("all-1", &image), ("bare-1", &image)]).await, before);
    all.as_object_mut().expect("an object").shift_remove("mem_limit");
    world.manager.declare(&[app("all", 2, &all), bare]);
    until("the limit is gone", async || {
        let output =
            world.docker.try_run(&["inspect", "-f", "{{.HostConfig.Memory}}", "all-1"]).await;
        String::from_utf8_lossy(&output.stdout).trim() == "0"
    })
    .await;
    world.manager.declare(&[]);
    world.docker.runs_only(&[]).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_run_of_a_cron_job_has_the_options_too() {
    let mut world = World::new().await;
    let worker = world.worker();
    let mut job = json!({
        "cron_job_name": "with", "cron_job_id": 1, "uid": "5f1e2d3c4b5a69788796a5b4",
        "revision": 1, "schedule": "* * * * *", "env_vars": {}, "running": true,
        "networks": ["nebula"], "volumes": [], "devices": [], "privileged": false,
        "restart": "on-failure:2",
    });
    job.as_object_mut().expect("an object").extend(options().as_object().cloned().expect("one"));
    world.manager.declare_cron_jobs(&[job]);
    let list = ["ps", "-a", "--filter", "label=cron_job_name=with", "--format", "{{.Names}}"];
    let name = until_within(Duration::from_secs(100), "the job ran", async || {
        world.docker.run(&list).await.lines().next().map(str::to_owned)
    })
    .await;
    let inspected = inspect(&world.docker, &name).await;
    holds_options(&inspected, cores(&world.docker).await);
    let policy = json!({"Name": "on-failure", "MaximumRetryCount": 2});
    assert_eq!(inspected["HostConfig"]["RestartPolicy"], policy);
    world.manager.declare_cron_jobs(&[]);
    worker.stop().await;
}

#[tokio::test]
async fn a_port_is_bound_to_the_address_and_for_the_protocol_that_it_says() {
    let mut world = World::new().await;
    let worker = world.worker();
    let ports =
        json!([8400, {"127.0.0.1:8410": "80", "127.0.0.1:8420": "53/udp", "8420": "53/tcp"}]);
    let web = json!({"docker_image": site("nocheck"), "starting_ports": ports,
        "containers_per": {"server": 2}});
    world.manager.declare(&[app("web", 1, &web)]);
    let image = site("nocheck");
    world.docker.runs_only(&[("web-1", &image), ("web-2", &image)]).await;
    Docker::says(8411, "/version", "1").await;
    let inspected = inspect(&world.docker, "web-2").await;
    let expected = json!({
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8411"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "8421"}],
        "53/tcp": [{"HostIp": "", "HostPort": "8421"}],
        "8400/tcp": [{"HostIp": "", "HostPort": "8401"}],
    });
    assert_eq!(inspected["HostConfig"]["PortBindings"], expected);
    worker.stop().await;
}

#[tokio::test]
async fn images_are_pulled_by_tag_by_digest_and_by_both() {
    let mut world = World::new().await;
    let repository = variable("NEBULA_TEST_SITE");
    let docker = world.docker.clone();
    let digest_of = async |tag: &str| {
        let image = site(tag);
        docker.run(&["pull", "-q", &image]).await;
        let form = "{{index .RepoDigests 0}}";
        let named = docker.run(&["image", "inspect", "-f", form, &image]).await;
        docker.run(&["rmi", "-f", &image]).await;
        named.split_once('@').expect("a digest").1.to_owned()
    };
    let (one, two) = (digest_of("1").await, digest_of("2").await);
    let worker = world.worker();
    let by_digest = format!("{repository}@{one}");
    // The digest counts, whatever the tag points to by now.
    let by_both = format!("{repository}:1@{two}");
    let bare = |name, image: &str, port: u16| {
        let ports = json!([{ port.to_string(): "80" }]);
        app(name, 1, &json!({"docker_image": image, "starting_ports": ports}))
    };
    world.manager.declare(&[bare("digest", &by_digest, 8430), bare("both", &by_both, 8440)]);
    Docker::says(8430, "/version", "1").await;
    Docker::says(8440, "/version", "2").await;
    let expected = [("digest-1", by_digest.as_str()), ("both-1", by_both.as_str())];
    let before = world.docker.runs_only(&expected).await;
    // It is found again, so nothing is pulled or replaced anew.
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.runs_only(&expected).await, before);
    worker.stop().await;
}
