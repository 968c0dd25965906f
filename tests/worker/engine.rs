//! One contract for every engine: the fake and Docker go through the same steps.

use crate::docker::Docker;
use crate::world::variable;
use futures_util::StreamExt;
use nebula::engine::{ContainerEngine, DockerEngine, FakeEngine};
use nebula::model::{
    App, ContainerState, HostPort, ImageReference, Machine, NEBULA_NETWORK, Observed,
    ObservedContainer,
};
use nebula::reconcile::pretend::World;
use serde_json::json;

#[tokio::test]
async fn fake_engine_keeps_the_contract() {
    let site = "127.0.0.1:5000/site";
    let mut world = World::new();
    world.registry.insert(format!("{site}:1"));
    let engine = FakeEngine::new(world, Machine { cores: 2, memory_mb: 1024 });
    contract(&engine, site).await;
}

#[tokio::test]
async fn docker_keeps_the_contract() {
    let world = crate::world::World::new().await;
    let engine = DockerEngine::new(world.docker.host.clone());
    contract(&engine, &variable("NEBULA_TEST_SITE")).await;
    Docker::clean(&world.docker).await;
}

async fn contract(engine: &dyn ContainerEngine, site: &str) {
    let image = ImageReference::parse(&format!("{site}:1")).expect("an image");
    let missing = ImageReference::parse(&format!("{site}:nowhere")).expect("an image");
    let app = App::decode(
        json!({"app_name": "web", "app_id": 1, "docker_image": image.as_str(),
            "starting_ports": [{"8300": "80"}]})
        .as_object()
        .cloned()
        .expect("an object"),
    )
    .expect("an app");
    let one = |observed: &Observed, name: &str| -> Option<ObservedContainer> {
        observed.containers.iter().find(|c| c.name == name).cloned()
    };
    let mut changes = engine.changes().await.expect("events");

    engine.create_network(NEBULA_NETWORK).await.expect("a network");
    engine.create_network(NEBULA_NETWORK).await.expect("the same again");
    assert!(engine.observe().await.expect("all").networks.contains(NEBULA_NETWORK));

    engine.pull(&missing, None).await.expect_err("an error within the stream of a pull");
    let id = engine.pull(&image, None).await.expect("an image");
    let observed = engine.observe().await.expect("all");
    let pulled = observed.image(&image.familiar()).cloned().expect("it is there");
    assert_eq!(pulled.id, id);
    assert_eq!(engine.pull(&image, None).await.expect("the same again"), id);

    let spec = app.container_spec(1, "web-1".to_owned());
    engine.create(&spec).await.expect("a container");
    changes.next().await.expect("an event").expect("of a create");
    engine.create(&spec).await.expect_err("the name is taken");
    let created = one(&engine.observe().await.expect("all"), "web-1").expect("it is there");
    assert_eq!(created.state, ContainerState::Created);
    let names: Vec<String> = pulled.names.iter().cloned().collect();
    assert!(engine.observe().await.expect("all").used_images.contains(&id));
    engine.remove_image(&id, &names).await.expect_err("a container uses it");
    assert!(engine.observe().await.expect("all").image(&image.familiar()).is_some());
    assert_eq!(created.version, Some(app.version()));
    assert_eq!((created.app.as_str(), created.replica), ("web", Some(1)));
    assert!(created.host_ports.is_empty());
    assert!(created.networks.contains(NEBULA_NETWORK));

    engine.connect(&created.id, "bridge", None).await.expect("a further network");
    engine.connect(&created.id, "bridge", None).await.expect("the same again");
    engine.start(&created.id).await.expect("started");
    engine.start(&created.id).await.expect("the same again");
    let started = one(&engine.observe().await.expect("all"), "web-1").expect("it is there");
    assert_eq!(started.state, ContainerState::Running);
    assert_eq!(started.host_ports, [HostPort::tcp(8300)].into());
    assert_eq!(started.networks, ["bridge".to_owned(), NEBULA_NETWORK.to_owned()].into());

    engine.remove(&created.id).await.expect_err("it runs");
    let rival = app.container_spec(1, "web-1-next".to_owned());
    engine.create(&rival).await.expect("beside it");
    engine.start("web-1-next").await.expect_err("the port is taken");
    engine.rename("web-1-next", "web-1").await.expect_err("the name is taken");
    engine.stop(&created.id).await.expect("stopped");
    engine.stop(&created.id).await.expect("the same again");
    let stopped = one(&engine.observe().await.expect("all"), "web-1").expect("it is there");
    assert_eq!(stopped.state, ContainerState::Exited);
    assert!(stopped.host_ports.is_empty());
    engine.start("web-1-next").await.expect("the port is free");
    engine.remove(&created.id).await.expect("removed");
    engine.remove(&created.id).await.expect("the same again");
    engine.rename("web-1-next", "web-1").await.expect("the name is free");
    engine.stop("web-1").await.expect("stopped");
    engine.remove("web-1").await.expect("removed");
    assert!(engine.observe().await.expect("all").containers.is_empty());
    engine.start("web-1").await.expect_err("it is gone");

    // A name that went to another image is not that image's end.
    engine.remove_image("sha256:another", &names).await.expect("it is gone");
    assert!(engine.observe().await.expect("all").image(&image.familiar()).is_some());
    engine.remove_image(&id, &names).await.expect("removed");
    assert!(engine.observe().await.expect("all").images.iter().all(|image| image.id != id));
    engine.remove_image(&id, &names).await.expect("the same again");
    engine.remove_image(&id, &[]).await.expect("the same again, by its id");
}
