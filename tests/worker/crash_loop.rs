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
    // Docker starts it five times; then the worker takes it over, with waits that grow.
    worker.says(&["held", "crashing", "its process ends with code 3 again and again"]).await;
    // Docker begins with its short waits again, which shows that it did not go on by itself.
    let waits = async || {
        let starts = times(&story(&world.docker, "crashing-1", &since).await, "start");
        starts.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<u64>>()
    };
    until("two waits of the worker's among Docker's", || async {
        waits().await.windows(2).filter(|pair| pair[0] > 2 * pair[1]).count() >= 2
    })
    .await;
    assert_eq!(fine(world.docker.containers().await), before);
    worker.stop().await;
}
