//! The whole database is away for a while.

use crate::device::number;
use crate::managers::{Cluster, DEGRADED, Database, Manager, PATIENCE, admin, bearer, say, until};
use crate::servers::MongoServers;
use crate::sets::breakable;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest that a write may take to be refused.
const REFUSED: Duration = Duration::from_secs(5);

/// How the database goes away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Away {
    Killed,
    Cut,
}

impl Away {
    async fn begins(self, set: &MongoServers) {
        for member in 0..3 {
            match self {
                Self::Killed => set.kill(member).await,
                Self::Cut => set.cut(member).await,
            }
        }
    }

    async fn ends(self, set: &MongoServers) {
        match self {
            Self::Killed => {
                tokio::join!(set.start_again(0), set.start_again(1), set.start_again(2));
            }
            Self::Cut => {
                for member in 0..3 {
                    set.heal(member).await;
                }
            }
        }
        set.primary().await;
    }
}

async fn is_open(manager: &Manager, path: &str) -> u16 {
    let answer = manager.request(&admin(), "GET", path).send().await.unwrap();
    answer.status().as_u16()
}

/// Reads need no database, writes are refused in time.
async fn assert_serves_from_memory(manager: &Manager, users: &[String]) {
    for who in users {
        let (status, info) =
            manager.send_as(who, "GET", "/device_groups/group/info", Value::Null).await.unwrap();
        assert_eq!(status, 200, "{info}");
        assert_eq!(number(&info, "app", "N"), 1);
    }
    let begun = Instant::now();
    let (status, body) = manager.set("app", "N", 99).await.unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(begun.elapsed() < REFUSED, "a write is refused after {:?}", begun.elapsed());
    assert_eq!(is_open(manager, "/readyz").await, 503);
    assert_eq!(is_open(manager, "/healthz").await, 200);
}

async fn create_user(manager: &Manager, name: &str) -> String {
    let user = manager.done("POST", &format!("/users/{name}"), json!({})).await;
    bearer(user["generated"]["token"].as_str().expect("a token"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_09_devices_are_served_while_the_database_is_away() {
    let (set, _turn) = breakable().await;
    for away in [Away::Killed, Away::Cut] {
        let cluster = Cluster::start(Database::fresh(set.url())).await;
        let [stays, starts, parks] = &cluster.managers;
        stays.create_app("app").await;
        stays.create_group("group", &["app"]).await;
        stays.set("app", "N", 1).await.unwrap();
        let device = create_user(stays, "device").await;
        let members = json!({ "group_members": ["device"], "device_groups": { "group": "ro" } });
        stays.done("POST", "/user_groups/devices", members).await;
        let users = [admin(), device];
        for (manager, who) in
            cluster.managers.iter().flat_map(|m| users.iter().map(move |u| (m, u)))
        {
            until("everything is asked for once", PATIENCE, async || {
                let path = "/device_groups/group/info";
                let (status, info) = manager.send_as(who, "GET", path, Value::Null).await.ok()?;
                (status == 200 && number(&info, "app", "N") == 1).then_some(())
            })
            .await;
        }
        kept(starts).await;

        away.begins(set).await;
        starts.kill().await;
        let begun = Instant::now();
        starts.start_again().await;
        let (_, etag, _) = parks.wait_for_info(&users[1], "group", None, 0).await.unwrap();
        let parked = tokio::spawn({
            let (parks, who) = (Arc::clone(parks), users[1].clone());
            async move { parks.wait_for_info(&who, "group", etag.as_deref(), 120).await.unwrap() }
        });
        let what = "a manager that was started while the database is away";
        until(what, PATIENCE, async || {
            starts.info("group").await.ok().filter(|(status, _)| *status == 200)
        })
        .await;
        say(format_args!("{away:?}: {what} serves after {:?}", begun.elapsed()));
        tokio::join!(
            assert_serves_from_memory(stays, &users),
            assert_serves_from_memory(starts, &users),
            assert_serves_from_memory(parks, &users),
        );

        away.ends(set).await;
        let begun = Instant::now();
        until("a change", PATIENCE, async || {
            stays.set("app", "N", 2).await.ok().filter(|(status, _)| *status == 202)
        })
        .await;
        say(format_args!("{away:?}: writes go on {:?} after the election", begun.elapsed()));
        let (status, _, info) =
            tokio::time::timeout(2 * DEGRADED, parked).await.expect("told").unwrap();
        assert_eq!((status, number(&info, "app", "N")), (200, 2), "{info}");
        for manager in &cluster.managers {
            until("the change", DEGRADED, async || {
                let info = manager.shown("group").await?;
                (number(&info, "app", "N") == 2).then_some(())
            })
            .await;
            until("ready", DEGRADED, async || {
                (is_open(manager, "/readyz").await == 200).then_some(())
            })
            .await;
        }
        cluster.follow("stream").await;
    }
}

/// Waits until a manager has on its disk what it was asked for.
async fn kept(manager: &Manager) {
    until("the copies on disk", DEGRADED, async || {
        let file = rusqlite::Connection::open(manager.data_dir().join("kept.db")).ok()?;
        let count = |kind: &str| {
            let sql = "SELECT count(*) FROM kept WHERE kind = ?";
            file.query_row(sql, [kind], |row| row.get::<_, i64>(0)).ok()
        };
        let kinds = ["device_group", "user", "user_group"];
        kinds.iter().all(|kind| count(kind) == Some(1)).then_some(())
    })
    .await;
}

/// Whoever was refused while the database was there is not let in by a copy when it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_12_a_copy_on_disk_gives_no_right_back() {
    let (set, _turn) = breakable().await;
    let cluster = Cluster::start(Database::fresh(set.url())).await;
    let [here, there, _] = &cluster.managers;
    here.create_group("group", &[]).await;
    let mut users = Vec::new();
    for name in ["deleted", "refreshed"] {
        users.push(create_user(here, name).await);
    }
    let members = json!({ "group_members": ["deleted", "refreshed"], "admin": true });
    here.done("POST", "/user_groups/admins", members).await;
    for (manager, who) in [here, there].into_iter().flat_map(|m| users.iter().map(move |u| (m, u)))
    {
        until("the user may", PATIENCE, async || {
            let path = "/device_groups/group/info";
            let (status, _) = manager.send_as(who, "GET", path, Value::Null).await.ok()?;
            (status == 200).then_some(())
        })
        .await;
    }
    here.done("DELETE", "/users/deleted", Value::Null).await;
    here.done("POST", "/users/refreshed/refresh", Value::Null).await;
    for manager in [here, there] {
        until("no copy of a user who was changed", DEGRADED, async || {
            let file = rusqlite::Connection::open(manager.data_dir().join("kept.db")).ok()?;
            let sql = "SELECT count(*) FROM kept WHERE kind = 'user'";
            let count = file.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()?;
            (count == 0).then_some(())
        })
        .await;
    }
    Away::Killed.begins(set).await;
    for manager in [here, there] {
        manager.kill().await;
        manager.start_again().await;
        for who in &users {
            let path = "/device_groups/group/info";
            let (status, body) = manager.send_as(who, "GET", path, Value::Null).await.unwrap();
            assert!([401, 503].contains(&status), "{status} {body}");
        }
    }
    Away::Killed.ends(set).await;
}
