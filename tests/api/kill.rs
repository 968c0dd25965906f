//! The real binary, killed without warning.

use crate::harness::{PASSWORD, PATIENCE, USER, client};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const BINARY: &str = env!("CARGO_BIN_EXE_nebula");

/// Starts the binary on a port that was free a moment ago, until it answers.
async fn start(data_dir: &Path, client: &reqwest::Client) -> (Child, String) {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let mut child = Command::new(BINARY)
        .arg("manager")
        .env("NEBULA_LISTEN", address.to_string())
        .env("NEBULA_DATA_DIR", data_dir)
        .env("BASIC_AUTH_USER", USER)
        .env("BASIC_AUTH_PASSWORD", PASSWORD)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let url = format!("http://{address}");
    let answers = async {
        while client.get(format!("{url}/readyz")).send().await.is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the manager ended");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, answers).await.expect("the manager must answer");
    (child, url)
}

/// Several clients create and update until the manager is killed under them; then all that was
/// acknowledged is there, and nothing is there by half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_01_what_was_acknowledged_outlives_kill_9() {
    let folder = TempDir::new().unwrap();
    let client = client();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for round in 0..3 {
        let (mut child, url) = start(folder.path(), &client).await;
        let mut writers = JoinSet::new();
        let (count, mut counted) = tokio::sync::mpsc::channel(1);
        for writer in 0..4 {
            let (client, url, count) = (client.clone(), url.clone(), count.clone());
            writers.spawn(async move {
                let mut done = Vec::new();
                for index in 0.. {
                    let name = format!("r{round}w{writer}i{index}");
                    let path = format!("{url}/api/v2/apps/{name}");
                    let Some(id) = create_and_update(&client, &path, &mut done, &name).await else {
                        break;
                    };
                    assert_eq!(id, 2);
                    let _ = count.send(()).await;
                }
                done
            });
        }
        // Enough is under way: kill it in the middle of the rest.
        for _ in 0..40 {
            counted.recv().await.unwrap();
        }
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        drop(counted);
        acknowledged.extend(writers.join_all().await.into_iter().flatten());
    }
    let (_child, url) = start(folder.path(), &client).await;
    for (name, id) in acknowledged {
        let request = client.get(format!("{url}/api/v2/apps/{name}"));
        let response = request.basic_auth(USER, Some(PASSWORD)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{name} was acknowledged");
        let app: Value = response.json().await.unwrap();
        // The last update may have reached the disk without its answer reaching us.
        assert!(app["app_id"].as_u64().unwrap() >= id, "{name}: {app}");
        assert_eq!(app["docker_image"], json!(format!("nginx:{}", app["app_id"])));
    }
}

/// Creates an app and updates it once; each acknowledged step is noted. None when the manager is
/// gone.
async fn create_and_update(
    client: &reqwest::Client,
    path: &str,
    done: &mut Vec<(String, u64)>,
    name: &str,
) -> Option<u64> {
    for (id, request) in [(1, client.post(path)), (2, client.put(format!("{path}/update")))] {
        let body = json!({ "docker_image": format!("nginx:{id}") });
        let request = request.basic_auth(USER, Some(PASSWORD)).json(&body);
        let response = request.send().await.ok()?;
        assert!(response.status().is_success(), "{}", response.status());
        done.push((name.to_owned(), id));
    }
    Some(2)
}
