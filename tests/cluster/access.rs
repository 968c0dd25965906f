//! A right that is taken away through one manager is gone on all of them, for parked requests as
//! well.

use crate::managers::{Cluster, Database, Manager, bearer, until};
use crate::sets::steady;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the others take, who are told of it.
const THERE: Duration = Duration::from_secs(10);

/// What takes a right away.
#[derive(Debug, Clone, Copy)]
enum Taken {
    Token,
    Permission,
    User,
}

/// A user who may ask for the group, and the header of their token.
async fn create_user(manager: &Manager, name: &str) -> String {
    let user = manager.done("POST", &format!("/users/{name}"), json!({})).await;
    let body = json!({ "group_members": [name], "device_groups": { "group": "ro" } });
    manager.done("POST", &format!("/user_groups/{name}"), body).await;
    bearer(user["generated"]["token"].as_str().expect("a token"))
}

async fn status(manager: &Manager, who: &str) -> u16 {
    let path = "/device_groups/group/info";
    manager.send_as(who, "GET", path, Value::Null).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_12_what_is_taken_away_is_gone_on_all_managers() {
    let cluster = Cluster::start(Database::fresh(steady().await.url())).await;
    let [here, there, _] = &cluster.managers;
    here.create_app("app").await;
    here.create_group("group", &["app"]).await;
    for taken in [Taken::Token, Taken::Permission, Taken::User] {
        let name = format!("{taken:?}").to_lowercase();
        let who = create_user(here, &name).await;
        for manager in &cluster.managers {
            until("the user may", THERE, async || {
                (status(manager, &who).await == 200).then_some(())
            })
            .await;
        }
        let (_, etag, _) = there.wait_for_info(&who, "group", None, 0).await.unwrap();
        let parked = tokio::spawn({
            let (there, who) = (Arc::clone(there), who.clone());
            async move { there.wait_for_info(&who, "group", etag.as_deref(), 50).await.unwrap().0 }
        });
        until("the request is parked", THERE, async || {
            let metrics = reqwest::get(there.url("/metrics")).await.ok()?.text().await.ok()?;
            metrics.contains("nebula_parked 1").then_some(())
        })
        .await;
        let expected = match taken {
            Taken::Token => {
                here.done("POST", &format!("/users/{name}/refresh"), Value::Null).await;
                401
            }
            Taken::Permission => {
                let body = json!({ "device_groups": {} });
                here.done("PUT", &format!("/user_groups/{name}/update"), body).await;
                403
            }
            Taken::User => {
                here.done("DELETE", &format!("/users/{name}"), Value::Null).await;
                401
            }
        };
        // The next request already; how long its refusal takes is a matter of a hash.
        assert_eq!(status(here, &who).await, expected, "{taken:?}");
        for manager in &cluster.managers {
            until("refused elsewhere", THERE, async || {
                (status(manager, &who).await == expected).then_some(())
            })
            .await;
        }
        let parked = tokio::time::timeout(THERE, parked).await.expect("a parked request ends");
        assert_eq!(parked.unwrap(), expected, "{taken:?}");
    }
}
