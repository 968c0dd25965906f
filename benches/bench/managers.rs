//! How soon a second manager shows what was written through the first: by change stream, and where
//! the store tells no changes and must be asked.
//!
//! Two look at the second manager: one asks all the time, the other is parked. Time counts from when
//! the write's 2xx was read.

use crate::mongo_servers::{MongoServers, fresh_database_name};
use crate::results::Figure;
use crate::server::Server;
use crate::{Outcome, object, percentile};
use nebula::client::{Client, Info, Noun};
use serde_json::json;
use std::time::{Duration, Instant};

const WRITES_BY_STREAM: u32 = 300;
/// Each takes about a second.
const WRITES_BY_POLLING: u32 = 60;
/// Between two writes, at random, so that they meet every moment of the store's rhythm.
const PAUSE_BY_STREAM: Duration = Duration::from_millis(50);
const PAUSE_BY_POLLING: Duration = Duration::from_secs(1);
const CACHE_SECONDS: u32 = 2;
/// What is promised.
const LIMIT_BY_STREAM_MS: f64 = 500.0;
/// A write that is not shown by then is an error.
const PATIENCE: Duration = Duration::from_secs(20);
const GROUP: &str = "bench";

pub(crate) async fn measure(figures: &mut Vec<Figure>) -> Outcome<()> {
    let members = MongoServers::start("told", &["--members", "3"]).await;
    let delays = delays(&members, 10, "stream", WRITES_BY_STREAM, PAUSE_BY_STREAM).await?;
    push("by change stream", delays, LIMIT_BY_STREAM_MS, figures);
    drop(members);
    let lone = MongoServers::start("asked", &["--standalone"]).await;
    let delays =
        self::delays(&lone, CACHE_SECONDS, "poll", WRITES_BY_POLLING, PAUSE_BY_POLLING).await?;
    let limit = f64::from(CACHE_SECONDS) * 1_000.0;
    push(&format!("by polling, cache_time {CACHE_SECONDS}"), delays, limit, figures);
    Ok(())
}

fn push(how: &str, delays: Delays, limit: f64, figures: &mut Vec<Figure>) {
    for (who, mut delays) in [("who asks", delays.asking), ("who is parked", delays.parked)] {
        for percent in [50, 99] {
            let name = format!("a write shown by another, {how}, to {who}, p{percent}");
            let figure = Figure::new(name, "ms", percentile(&mut delays, percent));
            figures.push(if percent == 99 { figure.at_most(limit) } else { figure });
        }
    }
}

/// In milliseconds.
#[derive(Default)]
struct Delays {
    asking: Vec<f64>,
    parked: Vec<f64>,
}

async fn delays(
    mongo: &MongoServers,
    cache_seconds: u32,
    by: &str,
    writes: u32,
    pause: Duration,
) -> Outcome<Delays> {
    let database = fresh_database_name();
    let first = Server::on_mongo(7_012, mongo.url(), &database, cache_seconds).await?;
    let second = Server::on_mongo(7_013, mongo.url(), &database, cache_seconds).await?;
    let followed = format!("nebula_store_followed{{by=\"{by}\"}}");
    second.until(&followed, 1.0, PATIENCE).await?;
    let app = |number: u32| {
        object(json!({ "docker_image": "bench:1", "starting_ports": [],
            "env_vars": { "BENCH": format!("write-{number}-") } }))
    };
    first.client.create(Noun::App, GROUP, &app(0)).await?;
    first.client.create(Noun::DeviceGroup, GROUP, &object(json!({ "apps": [GROUP] }))).await?;
    let mut etag = shows(&second.client, 0).await?.1;
    let mut delays = Delays::default();
    for number in 1..=writes {
        tokio::time::sleep(pause.mul_f64(rand::random())).await;
        let parked = tokio::spawn({
            let (client, etag) = (second.client.clone(), etag.clone());
            async move { is_told(&client, etag, number).await.map_err(|error| error.to_string()) }
        });
        second.until("nebula_parked", 1.0, PATIENCE).await?;
        first.client.update(Noun::App, GROUP, &app(number)).await?;
        let written = Instant::now();
        let (shown, new) = shows(&second.client, number).await?;
        etag = new;
        let told = parked.await??;
        let since = |at: Instant| at.saturating_duration_since(written).as_secs_f64() * 1_000.0;
        delays.asking.push(since(shown));
        delays.parked.push(since(told));
    }
    Ok(delays)
}

/// Asks until the answer has a write in it.
async fn shows(client: &Client, number: u32) -> Outcome<(Instant, String)> {
    let begun = Instant::now();
    loop {
        // The group itself is as new as the first write.
        if let Ok(Info::Answer { bytes, etag }) = client.info(GROUP, None).await
            && has(&bytes, number)
        {
            return Ok((Instant::now(), etag.ok_or("no ETag")?));
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("write {number} is not shown").into());
        }
    }
}

/// Waits at the manager until the answer has a write in it.
async fn is_told(client: &Client, mut etag: String, number: u32) -> Outcome<Instant> {
    loop {
        match client.check_in(GROUP, Some(&etag), Some(PATIENCE)).await?.info {
            Info::Answer { bytes, .. } if has(&bytes, number) => return Ok(Instant::now()),
            Info::Answer { etag: new, .. } => etag = new.ok_or("no ETag")?,
            Info::NotModified => return Err(format!("nobody was told of write {number}").into()),
        }
    }
}

fn has(answer: &[u8], number: u32) -> bool {
    let write = format!("write-{number}-");
    answer.windows(write.len()).any(|part| part == write.as_bytes())
}
