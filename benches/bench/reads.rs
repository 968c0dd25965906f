//! What a manager reads from `MongoDB` in steady state, by `MongoDB`'s own counters: without devices,
//! and while a thousand check in. No read is expected for a device.
//!
//! Counted are the commands that read. The drivers' monitors and this part's own questions send
//! others (`hello`, `ping`, `serverStatus`), which read nothing that is stored.

use crate::mongo_servers::fresh_database_name;
use crate::parked::{number, simulate};
use crate::results::Figure;
use crate::server::Server;
use crate::{Outcome, mongo_servers};
use mongodb::bson::{Bson, Document, doc};
use std::time::Duration;
use tokio::time::sleep;

const DEVICES: u64 = 1_000;
/// Of each device, in seconds.
const CHECK_IN: &str = "5";
/// How long is counted.
const MINUTE: Duration = Duration::from_secs(60);
/// After the last device has come, for what its first request caused.
const SETTLE: Duration = Duration::from_secs(5);
/// From when all devices are there, in seconds: longer than what is counted, and what settles.
const DURATION: &str = "75";
const PATIENCE: Duration = Duration::from_secs(60);
/// What is promised: none for a device. The rest is for what has another cause, such as a user's
/// credentials, which are looked at again each minute.
const LIMIT_PER_CHECK_IN: f64 = 0.001;
/// `getMore` is how a change stream is listened to, about once a second however many devices.
const READS: [&str; 5] = ["find", "aggregate", "count", "distinct", "getMore"];

pub(crate) async fn measure(figures: &mut Vec<Figure>) -> Outcome<()> {
    let (url, database) = (mongo_servers::shared_url(), fresh_database_name());
    let server = Server::on_mongo(7_012, &url, &database, 10).await?;
    let admin = mongodb::Client::with_uri_str(&url).await?.database("admin");
    sleep(SETTLE).await;
    let idle = counted(&admin).await?;
    let arguments =
        ["--check-in", CHECK_IN, "--ramp", "5", "--changes", "0", "--duration", DURATION];
    let managers = [&server];
    let devices = simulate(&managers, DEVICES, &arguments);
    let busy = async {
        // Those that come back keep their connections.
        #[expect(clippy::cast_precision_loss, reason = "a thousand")]
        server.until("nebula_connections", DEVICES as f64, PATIENCE).await?;
        sleep(SETTLE).await;
        let before = answered(&server).await?;
        let counted = counted(&admin).await?;
        Ok::<_, Box<dyn std::error::Error>>((counted, answered(&server).await? - before))
    };
    let (result, busy) = tokio::join!(devices, busy);
    let (busy, check_ins) = busy?;
    let devices = number(&result?, "/connected")?;
    figures.push(Figure::new("store reads, no device", "a minute", idle.reads));
    let what = format!("store reads, {devices} devices that check in");
    figures.push(Figure::new(what, "a minute", busy.reads));
    figures.push(Figure::new("their check-ins", "a minute", check_ins));
    let each = ((busy.reads - idle.reads) / check_ins).max(0.0);
    let each = Figure::new("store reads that a check-in adds", "reads", each);
    figures.push(each.at_most(LIMIT_PER_CHECK_IN));
    let what = "all that MongoDB counts (query, getmore, command), no device";
    figures.push(Figure::new(what, "a minute", idle.all));
    figures.push(Figure::new("the same, with devices", "a minute", busy.all));
    Ok(())
}

struct Counted {
    reads: f64,
    all: f64,
}

/// What a minute adds to `MongoDB`'s counters.
async fn counted(admin: &mongodb::Database) -> Outcome<Counted> {
    let before = counters(admin).await?;
    sleep(MINUTE).await;
    let after = counters(admin).await?;
    Ok(Counted { reads: after.reads - before.reads, all: after.all - before.all })
}

async fn counters(admin: &mongodb::Database) -> Outcome<Counted> {
    let status = admin.run_command(doc! { "serverStatus": 1 }).await?;
    let commands = status.get_document("metrics")?.get_document("commands")?;
    let reads = READS.iter().map(|name| {
        commands.get_document(name).ok().and_then(|command| amount(command, "total")).unwrap_or(0.0)
    });
    let counts = status.get_document("opcounters")?;
    let all = ["query", "getmore", "command"].iter().filter_map(|name| amount(counts, name));
    Ok(Counted { reads: reads.sum(), all: all.sum() })
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn amount(of: &Document, name: &str) -> Option<f64> {
    match of.get(name)? {
        Bson::Int32(count) => Some(f64::from(*count)),
        Bson::Int64(count) => Some(*count as f64),
        Bson::Double(count) => Some(*count),
        _ => None,
    }
}

/// Answers to `/info`, ready or made.
async fn answered(server: &Server) -> Outcome<f64> {
    let hits = server.metric("nebula_info_cache_hits_total").await?;
    Ok(hits + server.metric("nebula_info_cache_misses_total").await?)
}
