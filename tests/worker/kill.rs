//! kill -9 of the real binary, at moments of every kind.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::world::World;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn worker_killed_at_any_moment_of_a_change_converges_without_orphans() {
    let mut world = World::new().await;
    let web = |id: u64| {
        let version = if id.is_multiple_of(2) { "2" } else { "1" };
        json!({"docker_image": site(version), "containers_per": {"server": 2},
            "starting_ports": [{"8400": "80"}]})
    };
    let steady = app("steady", 1, &json!({}));
    let declared = |id: u64| [app("web", id, &web(id)), steady.clone()];
    let image = |id: u64| if id.is_multiple_of(2) { site("2") } else { site("1") };
    world.manager.declare(&declared(1));
    let mut worker = Binary::start(&world);
    let one = site("1");
    let before =
        world.docker.runs_only(&[("web-1", &one), ("web-2", &one), ("steady-1", &one)]).await;
    // A change takes about a second; the kills walk through it.
    for (id, after_ms) in (2..).zip((0..1_200).step_by(150)) {
        world.manager.declare(&declared(id));
        world.manager.asked_again(1).await;
        worker.lives(Duration::from_millis(after_ms)).await;
        worker.kill().await;
        worker = Binary::start(&world);
        let image = image(id);
        let now = world
            .docker
            .runs_only(&[("web-1", &image), ("web-2", &image), ("steady-1", &one)])
            .await;
        assert_eq!(now["steady-1"], before["steady-1"], "an unchanged app was touched");
    }
    worker.kill().await;
}
