//! Cron jobs at the times of the real clock, on real Docker with real pulls.

use crate::apps::site;
use crate::world::{World, until_within};
use serde_json::{Value, json};
use std::time::Duration;

/// A minute until a run is due, and the time that a run may take.
const A_RUN: Duration = Duration::from_secs(100);

pub(crate) fn job(name: &str, more: &Value) -> Value {
    let mut job = json!({
        "cron_job_name": name, "cron_job_id": 1, "uid": "5f1e2d3c4b5a69788796a5b4",
        "revision": 1, "docker_image": site("nocheck"), "schedule": "* * * * *",
        "env_vars": {}, "running": true, "networks": ["nebula", "bridge"], "volumes": [],
        "devices": [], "privileged": false,
    });
    for (key, value) in more.as_object().expect("an object") {
        job[key] = value.clone();
    }
    job
}

/// One job that stays, and one that fails at once.
#[tokio::test]
async fn a_cron_job_runs_with_the_originals_names_and_leaves_only_what_it_ended_with() {
    let mut world = World::new().await;
    let worker = world.worker();
    let stays = job("stays", &json!({ "env_vars": { "GREETING": "hello" } }));
    let ends = job("ends", &json!({ "docker_image": site("job") }));
    world.manager.declare_cron_jobs(&[stays.clone(), ends]);
    let list = ["ps", "-a", "--filter", "label=cron_job_name=stays", "--format", "{{.Names}}"];
    let name = until_within(A_RUN, "the job ran", async || {
        let names = world.docker.run(&list).await;
        names.lines().next().map(str::to_owned)
    })
    .await;
    let due: u64 =
        name.trim_start_matches("stays-").trim_end_matches("-1").parse().expect("a time");
    assert_eq!(due % 60, 0, "{name} is named after the minute that it was due");
    let form = "{{.Config.Labels.cron_job_name}} {{.Config.Labels.orchestrator}} \
                {{.Config.Labels.container_type}} {{.HostConfig.RestartPolicy.Name}} \
                {{range .Config.Env}}{{.}} {{end}}";
    let inspected = world.docker.run(&["inspect", "-f", form, &name]).await;
    assert!(inspected.starts_with("stays nebula cron_job "), "{inspected}");
    // Docker says `no`, or nothing, for none.
    let policy = inspected.split(' ').nth(3);
    assert!(matches!(policy, Some("no" | "")), "{inspected}");
    assert!(inspected.contains("GREETING=hello"), "{inspected}");
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(world.docker.run(&["inspect", "-f", networks, &name]).await, "bridge nebula");

    // The other one's result is on disk, and its container is gone.
    let memory = world.folder.path().join("data/memory.json");
    let record = until_within(A_RUN, "the result is kept", async || {
        let memory: Value = serde_json::from_slice(&std::fs::read(&memory).ok()?).ok()?;
        memory["cron_jobs"]["ends"]["records"].get(0).cloned()
    })
    .await;
    assert_eq!(record["outcome"]["ended"]["exit_code"], 1, "{record}");
    let list = ["ps", "-aq", "--filter", "label=cron_job_name=ends"];
    until_within(A_RUN, "its container is removed", async || {
        world.docker.run(&list).await.is_empty().then_some(())
    })
    .await;

    // What is no longer declared ends.
    world.manager.declare_cron_jobs(&[]);
    until_within(A_RUN, "the job that stays is gone", async || {
        let left = world.docker.run(&["ps", "-aq", "--filter", "label=container_type=cron_job"]);
        left.await.is_empty().then_some(())
    })
    .await;
    worker.stop().await;
}
