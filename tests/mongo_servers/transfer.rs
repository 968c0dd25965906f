//! Moving everything out of and into a lone server, which has neither sessions that show one moment
//! nor transactions.

use crate::servers::MongoServers;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use nebula::config::Secret;
use nebula::model::{Author, Revision};
use nebula::store::transfer::{Existing, Import, Outcome, Refused, object_of};
use nebula::store::{Kind, MongoSettings, MongoStore, Object, Store, StoreError};
use serde_json::{Value, json};
use tokio::sync::mpsc::channel;

const DATABASE: &str = "nebula";

fn store(url: &str) -> MongoStore {
    let (url, database) = (Secret::new(url.to_owned()), DATABASE.to_owned());
    MongoStore::new(MongoSettings { url, database, max_pool_size: 5 })
}

fn app(name: &str, uid: u8, image: &str) -> Object {
    let item = json!({ "kind": "app", "object": {
        "app_name": name, "app_id": 1, "docker_image": image, "uid": format!("{uid:024x}"),
    } });
    let Value::Object(item) = item else { unreachable!() };
    object_of(item).expect("an app")
}

async fn import(store: &MongoStore, objects: Vec<Object>) -> Vec<Outcome> {
    let (existing, above) = (Existing::Replace, Revision(0));
    let batch = Import { objects, existing, above, is_dry_run: false };
    store.import(batch, &Author::elsewhere()).await.expect("an import").outcomes
}

/// An export during which something is done, when a part of it was sent.
async fn export(
    store: &MongoStore,
    meanwhile: impl Future<Output = ()>,
) -> Result<usize, StoreError> {
    let (sender, mut receiver) = channel(1);
    let gather = async {
        let mut count = usize::from(receiver.recv().await.is_some());
        meanwhile.await;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        count
    };
    let (exported, count) = tokio::join!(store.export(sender), gather);
    exported.map(|_| count)
}

#[tokio::test]
async fn a_lone_server_gives_one_moment_and_exchanges_nothing() {
    let server = MongoServers::start("lone-transfer", &["--standalone", "--auth"]).await;
    let store = store(server.url());
    let objects = (1..=5).map(|uid| app(&format!("app-{uid}"), uid, "nginx:1")).collect();
    assert_eq!(import(&store, objects).await, vec![Outcome::Added; 5]);
    assert_eq!(export(&store, async {}).await.expect("an export"), 5);
    // Our own writes show in the revision, the original's in the sums.
    let delete = async {
        store.delete(Kind::App, "app-5").await.expect("deleted");
    };
    let exported = export(&store, delete).await;
    assert!(matches!(exported, Err(StoreError::Conflict)), "{exported:?}");
    let database = Client::with_uri_str(server.url()).await.expect("a client").database(DATABASE);
    let original = async {
        let apps = database.collection::<Document>("nebula_apps");
        let start = doc! { "$inc": { "app_id": 1 } };
        apps.update_one(doc! { "app_name": "app-4" }, start).await.expect("written");
    };
    let exported = export(&store, original).await;
    assert!(matches!(exported, Err(StoreError::Conflict)), "{exported:?}");
    // An object cannot be taken out and put in at one moment.
    let other = vec![app("app-1", 9, "nginx:2"), app("app-2", 2, "nginx:2")];
    let outcomes = import(&store, other.clone()).await;
    assert_eq!(outcomes, [Outcome::Refused(Refused::NoExchange), Outcome::Replaced]);
    let kept = store.get(Kind::App, "app-2").await.expect("read").expect("there");
    let Object::App(kept) = kept else { panic!("{kept:?}") };
    assert_eq!(
        kept.spec.container.docker_image.to_string(),
        "nginx:1",
        "nothing of it was written"
    );
    assert_eq!(import(&store, other[1..].to_vec()).await, [Outcome::Replaced]);
}

#[tokio::test]
async fn whoever_may_only_read_may_export() {
    let server = MongoServers::start("read-transfer", &["--auth"]).await;
    let admin = store(server.url());
    import(&admin, vec![app("web", 1, "nginx:1")]).await;
    let database = Client::with_uri_str(server.url()).await.expect("a client").database("admin");
    let roles = vec![doc! { "role": "read", "db": DATABASE }];
    let user = doc! { "createUser": "reader", "pwd": "secret", "roles": roles };
    database.run_command(user).await.expect("a user");
    let (_, rest) = server.url().split_once('@').expect("a user");
    let reader = store(&format!("mongodb://reader:secret@{rest}"));
    assert_eq!(export(&reader, async {}).await.expect("an export"), 1);
    assert!(reader.delete(Kind::App, "web").await.is_err(), "it may not write");
}
