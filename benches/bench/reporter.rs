//! How fast a reporter keeps what has waited in Kafka, against a bare `insert_many` of the same
//! reports by the same driver into the same server.
//!
//! The bare one has its documents ready in memory, no index and no inventory. So the ratio is what
//! reading Kafka, understanding reports, indexes that pages and expiry need, and the inventory cost
//! together. It counts from the first reports that are kept: the start of the reporter and its way into
//! the consumer group are no part of its rate, and are told beside it.

use crate::idle::{core_seconds, number_after};
use crate::mongo_servers::{fresh_database_name, shared_url};
use crate::results::Figure;
use crate::{Outcome, Process, median};
use mongodb::bson::{RawDocumentBuf, doc, serialize_to_raw_document_buf};
use mongodb::options::{ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, IndexModel};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const REPORTS: usize = 50_000;
/// Each reports in its turn, as devices do.
const DEVICES: usize = 2_000;
const PARTITIONS: i32 = 4;
const TOPIC: &str = "bench";
/// Documents that the bare insert writes at once.
const BARE_BATCH: usize = 1_000;
/// Each is a bare insert and a reporter, one after the other; the median of their ratios counts, for
/// the machine has other things to do as well.
const ROUNDS: usize = 3;
/// What is promised.
const LIMIT: f64 = 0.7;
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is looked whether all are there.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) async fn measure(figures: &mut Vec<Figure>) -> Outcome<()> {
    let kafka = std::env::var("NEBULA_TEST_KAFKA")?;
    let bytes = fill(&kafka).await?;
    let (mut rates, mut bare_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut indexed_rates, mut indexed_ratios) = (Vec::new(), Vec::new());
    let (mut starts, mut peaks, mut seconds_of_core) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let database = fresh_database_name();
        let stored = Client::with_uri_str(shared_url()).await?.database(&database);
        let bare = insert(&stored.collection("bare")).await?;
        let indexed = stored.collection("indexed");
        indexed.create_indexes(indexes()).await?;
        let indexed = insert(&indexed).await?;
        let Kept { start, rate, peak_megabytes, core_seconds } = keep(&kafka, &database).await?;
        let kept = stored.collection::<RawDocumentBuf>("nebula_reports");
        let reports = kept.count_documents(doc! {}).await?;
        if reports != REPORTS as u64 {
            return Err(format!("{reports} reports are there").into());
        }
        stored.drop().await?;
        rates.push(rate);
        bare_rates.push(bare);
        ratios.push(rate / bare);
        indexed_rates.push(indexed);
        indexed_ratios.push(rate / indexed);
        starts.push(start.as_secs_f64() * 1000.0);
        peaks.push(peak_megabytes);
        seconds_of_core.push(core_seconds);
    }
    let what = "reports kept, by a bare insert of ready documents";
    let value = median(rates);
    let kept = Figure::new(what, "a second", value);
    figures.push(kept.beside_at(median(bare_rates), median(ratios)).at_least(LIMIT));
    let what = "the same, by one into a collection with the same indexes";
    let kept = Figure::new(what, "a second", value);
    figures.push(kept.beside_at(median(indexed_rates), median(indexed_ratios)));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred megabytes")]
    let size = bytes as f64 / number(REPORTS) / 1024.0;
    figures.push(Figure::new("a report's size", "kB", size));
    figures.push(Figure::new("the reporter's start to its first reports", "ms", median(starts)));
    figures.push(Figure::new("the reporter, resident at most", "MB", median(peaks)));
    let each = median(seconds_of_core) / number(REPORTS) * 1e6;
    figures.push(Figure::new("the reporter's time on a core, a report", "us", each));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Puts all reports into the topic, and says how many bytes they are.
async fn fill(kafka: &str) -> Outcome<u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("compression.type", "gzip").set("linger.ms", "20");
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
        made.map_err(|(topic, code)| format!("no topic {topic}: {code}"))?;
    }
    let producer: FutureProducer = config.create()?;
    let mut bytes = 0;
    for first in (0..REPORTS).step_by(DEVICES) {
        let mut under_way = Vec::with_capacity(DEVICES);
        for number in first..REPORTS.min(first + DEVICES) {
            let report = report(number);
            let (hostname, payload) = (hostname(number), serde_json::to_vec(&report)?);
            bytes += payload.len() as u64;
            let record = FutureRecord::to(TOPIC).key(&hostname).payload(&payload);
            under_way.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in under_way {
            delivery.await?.map_err(|(error, _)| error)?;
        }
    }
    Ok(bytes)
}

/// What a driver does at best, in reports a second.
async fn insert(collection: &Collection<RawDocumentBuf>) -> Outcome<f64> {
    let mut documents = Vec::with_capacity(REPORTS);
    for number in 0..REPORTS {
        documents.push(serialize_to_raw_document_buf(&report(number))?);
    }
    let begun = Instant::now();
    for batch in documents.chunks(BARE_BATCH) {
        let insert = collection.insert_many(batch).ordered(false);
        insert.write_concern(WriteConcern::majority()).await?;
    }
    Ok(number(REPORTS) / begun.elapsed().as_secs_f64())
}

/// Those that pages by device and group and the end of a report's life need.
fn indexes() -> Vec<IndexModel> {
    [
        doc! { "hostname": 1, "_id": 1 },
        doc! { "device_group": 1, "_id": 1 },
        doc! { "report_insert_date": 1 },
    ]
    .map(|keys| IndexModel::builder().keys(keys).build())
    .into()
}

/// What a reporter took.
struct Kept {
    /// Until it had kept its first reports.
    start: Duration,
    /// Reports a second from then on.
    rate: f64,
    peak_megabytes: f64,
    core_seconds: f64,
}

/// Starts a reporter in a group of its own, and waits until all reports are in the database.
async fn keep(kafka: &str, database: &str) -> Outcome<Kept> {
    let client = Client::with_uri_str(shared_url()).await?;
    let reports = client.database(database).collection::<RawDocumentBuf>("nebula_reports");
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let begun = Instant::now();
    let reporter = Command::new(crate::program())
        .arg("reporter")
        .env("NEBULA_LISTEN", "127.0.0.1:0")
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka)
        .env("KAFKA_TOPIC", TOPIC)
        .env("KAFKA_GROUP_ID", database)
        .env("MONGO_URL", shared_url())
        .env("SCHEMA_NAME", database)
        .env("RUST_LOG", "error")
        .stderr(Stdio::inherit())
        .spawn()?;
    let reporter = Process(reporter);
    let id = reporter.0.id();
    let mut first: Option<(Instant, u64)> = None;
    loop {
        // By the collection's own counter: looking costs nothing.
        let count = reports.estimated_document_count().selection_criteria(primary.clone()).await?;
        if count > 0 {
            first.get_or_insert((Instant::now(), count));
        }
        if count >= REPORTS as u64 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {count} reports are there").into());
        }
        tokio::time::sleep(LOOK).await;
    }
    // The inventory follows the last reports.
    until_inventory(&client, database).await?;
    let (since, already) = first.ok_or("no report is there")?;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = (REPORTS as u64 - already) as f64 / since.elapsed().as_secs_f64();
    let start = since.duration_since(begun);
    let peak_megabytes = number_after("VmHWM:", &format!("/proc/{id}/status"))? / 1024.0;
    Ok(Kept { start, rate, peak_megabytes, core_seconds: core_seconds(id)? })
}

/// Until the inventory knows the last report of each device.
async fn until_inventory(client: &Client, database: &str) -> Outcome<()> {
    let devices = client.database(database).collection::<RawDocumentBuf>("nebula_devices");
    let last = i64::try_from(REPORTS.div_ceil(DEVICES))?;
    let begun = Instant::now();
    while devices.count_documents(doc! { "sequence": last }).await? < DEVICES as u64 {
        if begun.elapsed() > PATIENCE {
            return Err("the inventory is not up to date".into());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn hostname(number: usize) -> String {
    format!("speaker-{:05}", number % DEVICES)
}

/// A report as a worker makes it, of an app with two containers.
fn report(number: usize) -> Value {
    let (device, round) = (number % DEVICES, number / DEVICES);
    let created = 1_790_000_000 + round * 30;
    let image = "registry.example.com/speakers/smart-speaker:2.14.3";
    let digest = "sha256:6f1c0d2a9b7e4f5c8a3d1e0b2c4f6a8d9e7b5c3a1f0d2e4b6c8a0f2d4e6b8c0a";
    let containers: Vec<Value> =
        (1..=2).map(|replica| container(device, round, replica, created)).collect();
    json!({
        "hostname": hostname(number), "device_group": format!("speakers-{}", device % 20),
        "report_creation_time": created, "updated": round % 10 == 0,
        "report_id": format!("{:08x}{:016x}", created, number),
        "boot_id": format!("{:032x}", device), "sequence": round + 1,
        "state": "converged", "revision": 4_711, "away_after_seconds": 95,
        "apps": [{
            "app_name": "smart-speaker", "uid": "66b1f0c2a4d8e9f01a2b3c4d", "app_id": 17,
            "state": "converged", "replicas_up": 2, "replicas_wanted": 2, "running_ids": [17],
            "image": image, "image_digest": digest, "restarts": 0,
        }],
        "cron_jobs": [],
        "worker": { "version": "0.1.0", "uptime_seconds": 86_400 + round * 30,
            "address": "192.168.17.23" },
        "docker": { "version": "28.5.1", "reachable": true },
        "reports_dropped": 0,
        "memory_usage": { "total": 7_822, "used": 1_653 + device % 97, "free": 4_120,
            "available": 5_902 },
        "root_disk_usage": { "total": 60_216, "used": 17_921, "free": 39_205 },
        "cpu_usage": { "cores": 4, "used_percent": 12.5 },
        "current_device_group_config": {
            "apps": [{
                "app_id": 17, "app_name": "smart-speaker", "starting_ports": [{ "8080": "80" }],
                "containers_per": { "server": 2 }, "env_vars": { "LEVEL": "***", "REGION": "***" },
                "docker_image": image, "running": true, "networks": ["nebula"],
                "volumes": ["/var/lib/speaker:/data"], "devices": ["/dev/snd:/dev/snd"],
                "privileged": false, "rolling_restart": true, "uid": "66b1f0c2a4d8e9f01a2b3c4d",
            }],
            "apps_list": ["smart-speaker"], "prune_id": 3, "cron_jobs": [], "cron_jobs_list": [],
            "device_group_id": 12,
        },
        "apps_containers": containers,
        "cron_jobs_containers": [],
    })
}

/// Docker's figures of a container, on a machine with control groups of the second version.
fn container(device: usize, round: usize, replica: usize, created: usize) -> Value {
    let total = 41_230_117_000_u64 + (device * 7_919 + round * 104_729) as u64;
    json!({
        "id": format!("{:064x}", device * 10 + replica),
        "name": format!("/smart-speaker-{replica}"),
        "read": format!("2026-09-21T10:{:02}:{:02}.130466402Z", round % 60, created % 60),
        "preread": "2026-09-21T10:00:00.127193044Z",
        "pids_stats": { "current": 11, "limit": 9_371 },
        "blkio_stats": {
            "io_service_bytes_recursive": [
                { "major": 254, "minor": 0, "op": "read", "value": 4_198_400 },
                { "major": 254, "minor": 0, "op": "write", "value": 81_920 },
            ],
            "io_serviced_recursive": null, "io_queue_recursive": null,
        },
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(total), "precpu_stats": cpu(total - 12_400_000),
        "memory_stats": memory(device, round),
        "networks": { "eth0": {
            "rx_bytes": 918_273 + round * 1_388, "rx_packets": 7_213, "rx_errors": 0,
            "rx_dropped": 0, "tx_bytes": 712_993, "tx_packets": 6_102, "tx_errors": 0,
            "tx_dropped": 0,
        } },
    })
}

fn memory(device: usize, round: usize) -> Value {
    // Names of control groups that stand at zero in most containers.
    const ZERO: [&str; 19] = [
        "active_anon",
        "anon_thp",
        "file_dirty",
        "file_writeback",
        "pgdeactivate",
        "pglazyfree",
        "pglazyfreed",
        "pgrefill",
        "pgscan",
        "pgsteal",
        "shmem",
        "sock",
        "thp_collapse_alloc",
        "thp_fault_alloc",
        "unevictable",
        "workingset_activate",
        "workingset_nodereclaim",
        "workingset_refault",
        "pgactivate",
    ];
    let mut stats = json!({
        "active_file": 4_096, "anon": 27_394_048, "file": 4_194_304, "file_mapped": 2_928_640,
        "inactive_anon": 27_390_000 + round, "inactive_file": 4_190_208, "kernel_stack": 180_224,
        "pgfault": 13_862, "pgmajfault": 18, "slab": 449_320, "slab_reclaimable": 236_544,
        "slab_unreclaimable": 212_776,
    });
    for name in ZERO {
        stats[name] = json!(0);
    }
    json!({ "usage": 31_494_144 + device * 4_096, "limit": 8_202_092_544_u64, "stats": stats })
}

fn cpu(total: u64) -> Value {
    json!({
        "cpu_usage": { "total_usage": total, "usage_in_kernelmode": total / 4,
            "usage_in_usermode": total / 4 * 3 },
        "system_cpu_usage": 4_120_337_450_000_000_u64, "online_cpus": 4,
        "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
    })
}
