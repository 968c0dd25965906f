//! From any count to any count in one update with a new image. All pairs up to twenty are run in
//! the planner's simulation; here are the corners on real Docker.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::probe::{PAGE, ask};
use crate::world::{World, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const PORT: u16 = 8620;

#[tokio::test]
async fn inv_21_any_count_to_any_count_without_ports() {
    walk(&json!({}), &[0, 20, 0, 3, 7, 3]).await;
}

#[tokio::test]
async fn inv_21_any_count_to_any_count_with_ports() {
    walk(&json!({"starting_ports": [{PORT.to_string(): "80"}]}), &[0, 20, 1, 20, 0, 3, 7, 3]).await;
}

#[tokio::test]
async fn inv_21_any_count_to_any_count_one_by_one() {
    walk(&json!({"rolling_restart": true}), &[1, 3, 2]).await;
    let ports = json!({"rolling_restart": true, "starting_ports": [{PORT.to_string(): "80"}]});
    walk(&ports, &[3, 1, 2]).await;
}

/// Goes through these counts, each with another image than the one before.
async fn walk(more: &Value, counts: &[u16]) {
    let mut world = World::new().await;
    let steady = app("steady", 1, &json!({"docker_image": site("nocheck")}));
    world.manager.declare(std::slice::from_ref(&steady));
    let worker = Binary::start(&world);
    let nocheck = site("nocheck");
    let before = world.docker.runs_only(&[("steady-1", &nocheck)]).await;
    for (count, id) in counts.iter().zip(1..) {
        // Not asked for their health: twenty that are would keep a machine busy with that.
        let version = if id % 2 == 0 { "2" } else { "1" };
        let image = site(if version == "2" { "nocheck2" } else { "nocheck" });
        let mut many = app("many", id, more);
        many["docker_image"] = image.clone().into();
        many["containers_per"] = json!({"server": count});
        world.manager.declare(&[steady.clone(), many]);
        let names: Vec<String> = (1..=*count).map(|replica| format!("many-{replica}")).collect();
        let many = names.iter().map(|name| (name.as_str(), image.as_str()));
        let all: Vec<(&str, &str)> = many.chain([("steady-1", nocheck.as_str())]).collect();
        let now = world.docker.runs_only(&all).await;
        assert_eq!(now["steady-1"], before["steady-1"], "an unchanged app was touched");
        if more["starting_ports"].is_array() {
            for replica in 0..*count {
                let address = SocketAddr::from(([127, 0, 0, 1], PORT + replica));
                until(&format!("{address} says {version}"), || async {
                    let page = ask(address, PAGE, Duration::from_secs(1)).await;
                    page.is_ok_and(|page| page.trim() == version)
                })
                .await;
            }
        }
    }
    // Names and ports were planned, not fought over.
    let said = worker.said();
    for conflict in ["Conflict", "already in use", "already allocated"] {
        assert!(!said.contains(conflict), "{conflict}:\n{said}");
    }
    worker.stop().await;
}
