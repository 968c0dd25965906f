//! Invariant 20: a plan is made only from a complete, valid 200.

use crate::apps::{app, site};
use crate::binary::Binary;
use crate::manager::{Answer, state};
use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn inv_20_no_odd_answer_stops_a_container() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({}))]);
    let worker = world.worker();
    let before = world.docker.runs_only(&[("web-1", &image)]).await;
    let html = "<html><body>Please log in to the hotel's network</body></html>";
    let gone = r#"{"device_group_exists": false}"#;
    let empty = state(9999, &[]).to_string();
    let odd: [(&str, &str, &str); 12] = [
        ("401 Unauthorized", "application/json", "{}"),
        ("403 Forbidden", "application/json", gone),
        ("403 Forbidden", "application/json", r#"{"access_allowed": false}"#),
        ("404 Not Found", "application/json", "{}"),
        ("500 Internal Server Error", "application/json", &empty),
        ("503 Service Unavailable", "text/plain", ""),
        ("302 Found", "text/html", html),
        ("200 OK", "text/html", html),
        ("200 OK", "application/json", ""),
        ("200 OK", "application/json", "{}"),
        ("200 OK", "application/json", r#"{"apps": [], "apps_list": [], "cron_jobs": []}"#),
        ("200 OK", "application/json", "null"),
    ];
    for (status, content_type, body) in odd {
        world.manager.say_http(status, content_type, body);
        world.manager.asked_again(2).await;
        assert_eq!(world.docker.containers().await, before, "{status} {body}");
    }
    // Cut anywhere: with too short a body, in the middle of the head, before anything.
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{empty}",
        empty.len()
    );
    for length in [0, 5, 20, 70, whole.len() - empty.len(), whole.len() - 1] {
        world.manager.say(Answer::Raw(whole.as_bytes()[..length].to_vec()));
        world.manager.asked_again(2).await;
        assert_eq!(world.docker.containers().await, before, "cut at {length}");
    }
    world.manager.say(Answer::Silence);
    world.manager.asked_again(1).await;
    assert_eq!(world.docker.containers().await, before, "silence");
    // An emptied group stops, so what is above was not merely slow.
    world.manager.declare(&[]);
    world.docker.runs_only(&[]).await;
    worker.stop().await;
}

#[tokio::test]
async fn inv_20_app_that_cannot_be_read_keeps_its_containers() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({})), app("other", 1, &json!({}))]);
    let worker = world.worker();
    let before = world.docker.runs_only(&[("web-1", &image), ("other-1", &image)]).await;
    world.manager.declare(&[
        app("web", 2, &json!({"containers_per": {"moons": 1}})),
        app("other", 2, &json!({"docker_image": site("2")})),
    ]);
    let after = world.docker.runs_only(&[("web-1", &image), ("other-1", &site("2"))]).await;
    assert_eq!(before["web-1"], after["web-1"]);
    worker.stop().await;
}

#[tokio::test]
async fn inv_20_group_that_is_gone_holds_what_runs_and_an_emptied_one_stops_it() {
    let mut world = World::new().await;
    let image = site("1");
    world.manager.declare(&[app("web", 1, &json!({"containers_per": {"server": 2}}))]);
    let worker = Binary::start(&world);
    let all = [("web-1", &*image), ("web-2", &image)];
    world.docker.runs_only(&all).await;
    let gone = r#"{"device_group_exists": false}"#;
    world.manager.say_http("403 Forbidden", "application/json", gone);
    worker.says(&["WARN", "what runs is kept", "group"]).await;
    // What is kept is also kept up, and by another worker too.
    worker.stop().await;
    let worker = Binary::start(&world);
    world.manager.asked_again(2).await;
    world.docker.run(&["rm", "-f", "web-2"]).await;
    let mended = world.docker.runs_only(&all).await;
    world.manager.asked_again(2).await;
    assert_eq!(world.docker.containers().await, mended);
    world.manager.declare(&[]);
    world.docker.runs_only(&[]).await;
    worker.stop().await;
}

#[tokio::test]
async fn older_answer_of_a_stale_manager_is_not_acted_on() {
    let mut world = World::new().await;
    world.manager.declare(&[app("web", 2, &json!({"docker_image": site("2")}))]);
    let worker = world.worker();
    let before = world.docker.runs_only(&[("web-1", &site("2"))]).await;
    world.manager.say(Answer::State(state(1, &[app("web", 1, &json!({}))])));
    world.manager.asked_again(3).await;
    assert_eq!(world.docker.containers().await, before);
    worker.stop().await;
}
