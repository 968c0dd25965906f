//! Cron jobs at the times of the real clock, on real Docker with real pulls.

use crate::apps::site;
use crate::binary::Binary;
use crate::daemon::Daemon;
use crate::manager::Answer;
use crate::world::{World, until_within};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// The last runs of a job, as they are kept on disk.
fn records(world: &World, job: &str) -> Vec<Value> {
    let kept = std::fs::read(world.data_file("memory.json")).unwrap_or_default();
    let memory: Value = serde_json::from_slice(&kept).unwrap_or_default();
    memory["cron_jobs"][job]["records"].as_array().cloned().unwrap_or_default()
}

/// Waits until it is kept what became of a due time.
async fn recorded(world: &World, job: &str, due: u64) -> Value {
    until_within(A_RUN, &format!("what became of {job} of {due} is kept"), async || {
        records(world, job).into_iter().find(|record| record["due"] == due)
    })
    .await["outcome"]
        .clone()
}

/// One job that stays, and one that fails at once; then the same without a manager.
#[tokio::test]
async fn inv_17_cron_jobs_run_on_time_once_and_with_no_manager_in_reach() {
    // Its minutes are spent waiting, so the shared Docker is left to others.
    let daemon = Daemon::start("cron", &[]).await;
    let mut world = World::on(daemon.docker()).await;
    let worker = Binary::start(&world);
    let stays = job("stays", &json!({ "env_vars": { "GREETING": "hello" } }));
    let ends = job("ends", &json!({ "docker_image": site("job") }));
    world.manager.declare_cron_jobs(&[stays, ends]);
    let list = ["ps", "-a", "--filter", "label=cron_job_name=stays", "--format", "{{.Names}}"];
    let name = until_within(A_RUN, "the job ran", async || {
        let names = world.docker.run(&list).await;
        names.lines().next().map(str::to_owned)
    })
    .await;
    let due: u64 =
        name.trim_start_matches("stays-").trim_end_matches("-1").parse().expect("a time");
    assert_eq!(due % 60, 0, "{name} is named after the minute that it was due");
    is_made_as_the_original_does(&world, &name).await;

    // The other one's result is on disk, and its container is gone.
    assert_eq!(recorded(&world, "ends", due).await["ended"]["exit_code"], 1);
    let left = ["ps", "-aq", "--filter", "label=cron_job_name=ends"];
    until_within(A_RUN, "its container is removed", async || {
        world.docker.run(&left).await.is_empty().then_some(())
    })
    .await;

    // The manager is away, and so is the worker while the next runs are due. It boots from disk:
    // the one that was missed is caught up with, and the one whose last run lives is skipped.
    world.manager.say(Answer::Raw(Vec::new()));
    worker.stop().await;
    until_within(A_RUN, "the next minute has begun", async || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        (now.as_secs() > due + 60).then_some(())
    })
    .await;
    let worker = Binary::start(&world);
    assert_eq!(recorded(&world, "ends", due + 60).await["ended"]["exit_code"], 1);
    assert_eq!(recorded(&world, "stays", due + 60).await, "overlapped");
    // And the one after it is on time.
    assert_eq!(recorded(&world, "ends", due + 120).await["ended"]["exit_code"], 1);
    assert_eq!(recorded(&world, "stays", due + 120).await, "overlapped");
    assert_eq!(world.docker.run(&list).await, name);
    let all: Vec<Value> = records(&world, "ends").iter().map(|one| one["due"].clone()).collect();
    assert_eq!(all, [due, due + 60, due + 120].map(Value::from), "each ran once");

    // What is no longer declared ends.
    world.manager.declare_cron_jobs(&[]);
    until_within(A_RUN, "the job that stays is gone", async || {
        let left = world.docker.run(&["ps", "-aq", "--filter", "label=container_type=cron_job"]);
        left.await.is_empty().then_some(())
    })
    .await;
    worker.stop().await;
    daemon.remove().await;
}

async fn is_made_as_the_original_does(world: &World, name: &str) {
    let form = "{{.Config.Labels.cron_job_name}} {{.Config.Labels.orchestrator}} \
                {{.Config.Labels.container_type}} {{.HostConfig.RestartPolicy.Name}} \
                {{range .Config.Env}}{{.}} {{end}}";
    let inspected = world.docker.run(&["inspect", "-f", form, name]).await;
    assert!(inspected.starts_with("stays nebula cron_job "), "{inspected}");
    // Docker says `no`, or nothing, for none.
    let policy = inspected.split(' ').nth(3);
    assert!(matches!(policy, Some("no" | "")), "{inspected}");
    assert!(inspected.contains("GREETING=hello"), "{inspected}");
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    assert_eq!(world.docker.run(&["inspect", "-f", networks, name]).await, "bridge nebula");
}
