//! An app that ends soon after each start is started again with patience, by the worker and not by
//! Docker's own restart policy.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::healing::{story, times};
use crate::world::{World, until};
use serde_json::json;

#[tokio::test]
async fn inv_19_crash_loop_backs_off_and_is_told() {
    let mut world = World::new().await;
    let (nocheck, one) = (site("nocheck"), site("1"));
    let crashing = app(
        "crashing",
        1,
        &json!({"docker_image": nocheck, "env_vars": {"EXIT_AFTER_MS": "50", "EXIT_CODE": "3"}}),
    );
    world.manager.declare(&[crashing, app("fine", 1, &json!({}))]);
    let since = world.docker.now().await;
    let worker = Binary::start(&world);
    let fine = |all: std::collections::BTreeMap<String, crate::docker::Container>| {
        all.get("fine-1").cloned().filter(|fine| fine.state == "running" && fine.image == one)
    };
    until("the sound app runs", || async { fine(world.docker.containers().await).is_some() }).await;
    let before = fine(world.docker.containers().await);
    let starts = async || times(&story(&world.docker, "crashing-1", &since).await, "start");
    until("five tries", || async { starts().await.len() >= 5 }).await;
    let starts = starts().await;
    let waits: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first second is Docker's own business; then each wait is longer than the one before.
    assert!(waits[3] > waits[2] && waits[3] >= 3_000, "no patience: {waits:?} ms");
    worker.says(&["held", "crashing"]).await;
    assert_eq!(fine(world.docker.containers().await), before);
    worker.stop().await;
}
