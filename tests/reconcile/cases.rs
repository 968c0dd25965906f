//! The planner's decisions as text: `cases/NAME.txt` says what is desired and what is there, and
//! below the line `plan:` what the planner makes of it. The file's name says the behaviour.
//!
//! `UPDATE_CASES=1 cargo test --test reconcile cases` rewrites what is below that line; read the
//! difference before you keep it. A line of a case is one of these, in any order, `#` for words:
//!
//! ```text
//! app NAME [image IMAGE] [id N] [replicas N | per cpu=0.5] [ports 80,81:8080] [networks a,b|-]
//!          [rolling] [stopped] [unreadable]
//! cron NAME [unreadable]           an hourly cron job of the group, of image tool:1
//! container NAME of APP REPLICA VERSION STATE [ports 80] [networks a,b]
//!     REPLICA  1, 2 ..., or `-` when nothing tells
//!     VERSION  current; older (an earlier id and spec); oldest; created-again (another uid, the
//!              same id and spec); legacy (made by the original)
//!     STATE    created running starting healthy unhealthy paused restarting exited removing dead
//!              unknown
//! worker NAME                      the container in which the worker itself runs
//! networks a b                     what the device has; `bridge extra host nebula none` if not said
//! images a b                       likewise; every app's image if not said
//! not fetched APP                  no pull of this version is remembered; remembered if not said
//! image ID [names a,b] [pulled | unused N h] [used] [N MB]
//!                                  one more image, whose names may be an app's; pulled by us and
//!                                  used or unused for so long; used by a container of anybody
//! disk N of N MB free
//! prune N after N                  the group's order, and the last that was carried out
//! removing images                  images are being removed
//! from registry IMAGE              the image came from a registry
//! refused by REGISTRY: N times, AGO ms ago[, again after N ms]
//! room for APP: N MB               an earlier pull of this version showed that it needs so much
//! spread N ms                      devices take turns within this time
//! tried APP SUBJECT [of CONTAINER]: N times, AGO ms ago[, error WORDS]
//!     SUBJECT  replica-1, pull; or revive, remove, rename, stop, connect-NETWORK of a container
//! busy APP                         its steps are under way
//! pulling APP                      its pull is under way
//! device N cores N MB              4 cores and 8192 MB if not said
//! ```

use crate::support::{START_MS, answer, app, readable, with};
use nebula::model::{
    App, AppVersion, ContainerState, Desired, Disk, Health, HostPort, Machine, Observed,
    ObservedContainer, ObservedImage, SpecHash, Uid, WorkerContainer,
};
use nebula::reconcile::pretend::World as PretendedWorld;
use nebula::reconcile::{Busy, Inputs, Memory, Policy, check, plan};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MARK: &str = "plan:\n";
const NOTHING: &str = "nothing to do\n";

#[test]
fn every_case_gives_its_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reconcile/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of cases is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} cases", files.len());
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).expect("a case can be read");
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let (world, expected) = text.split_once(MARK).unwrap_or((&text, ""));
        let made = Case::read(world).plan(&name);
        if update {
            std::fs::write(path, format!("{world}{MARK}{made}")).expect("a case can be written");
        } else if made != expected {
            wrong.push(format!("{name}\n--- expected\n{expected}--- planned\n{made}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of the holds and steps that some case must show.
#[test]
fn the_cases_show_every_reason_and_every_step() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reconcile/cases");
    let all: String = std::fs::read_dir(folder)
        .expect("the folder of cases is there")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .collect();
    for shown in [
        "create network nebula",
        ": pull ",
        ": create ",
        ": connect ",
        ": stop ",
        ": start ",
        ": unpause ",
        ": remove ",
        ": rename ",
        ": pulling `",
        ": pull of `",
        ": failed after ",
        " does not exist on this device",
        " is held by `",
        " do not fit its ports",
        " that one device may run",
        "until the new container stays up",
        "waiting for replica ",
        "Docker is starting it again",
        "until Docker has removed",
        "is that of the container in which this worker runs",
        "is in an unknown state",
        "cannot be run by this version",
        "busy with earlier steps",
        "is held by another container",
        ": pulling `",
        "so that devices take turns",
        "is asked again in",
        " MB on the disk, and ",
        "remove image ",
    ] {
        assert!(all.contains(shown), "no case shows `{shown}`");
    }
}

/// What a case says.
struct Case {
    desired: Desired,
    observed: Observed,
    memory: Memory,
    busy: Busy,
    spread_ms: u64,
}

impl Case {
    fn plan(mut self, name: &str) -> String {
        let policy = Policy { pull_spread_ms: self.spread_ms, ..Policy::default() };
        let inputs = Inputs {
            desired: &self.desired,
            observed: &self.observed,
            busy: &self.busy,
            policy: &policy,
            now_ms: START_MS,
        };
        let made = plan(&inputs, &mut self.memory);
        let wrong = check(&inputs, &made);
        assert!(wrong.is_empty(), "{name}: {wrong:?}\n{made}");
        let text = made.to_string();
        if text.is_empty() { NOTHING.to_owned() } else { text }
    }

    fn read(text: &str) -> Self {
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .collect();
        let desired = read_desired(&lines);
        let apps: BTreeMap<&str, &App> =
            readable(&desired).map(|app| (app.app_name.as_str(), app)).collect();
        let observed = read_observed(&lines, &apps);
        let memory = read_memory(&lines, &apps);
        let version = |name: &str| apps[name].version();
        let busy = Busy {
            apps: after(&lines, "busy ").map(str::to_owned).collect(),
            pulls: after(&lines, "pulling ").map(|app| (app.to_owned(), version(app))).collect(),
            images: lines.contains(&"removing images"),
            network: lines.contains(&"creating a network"),
        };
        for line in &lines {
            let words = [
                "app ",
                "cron ",
                "container ",
                "worker ",
                "networks ",
                "images ",
                "image ",
                "disk ",
                "prune ",
                "removing images",
                "creating a network",
                "refused by ",
                "room for ",
                "spread ",
                "not fetched ",
                "from registry ",
                "tried ",
                "busy ",
                "pulling ",
                "device ",
            ];
            assert!(words.iter().any(|word| line.starts_with(word)), "what is `{line}`?");
        }
        let spread = after(&lines, "spread ").next().map(first_word);
        Self { desired, observed, memory, busy, spread_ms: spread.map_or(0, number) }
    }
}

fn after<'a>(lines: &[&'a str], word: &str) -> impl Iterator<Item = &'a str> {
    lines.iter().filter_map(move |line| line.strip_prefix(word).map(str::trim))
}

/// The word after another one.
fn word_after<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == key)?;
    words.get(at + 1).copied()
}

/// The word before another one.
fn word_before<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == key)?;
    words.get(at.checked_sub(1)?).copied()
}

fn names(list: &str) -> BTreeSet<String> {
    list.split([',', ' '])
        .filter(|name| !name.is_empty() && *name != "-")
        .map(str::to_owned)
        .collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn read_desired(lines: &[&str]) -> Desired {
    let apps: Vec<Value> = after(lines, "app ").map(read_app).collect();
    let mut wire = answer(&apps);
    let jobs = after(lines, "cron ").map(read_cron_job);
    wire["cron_jobs"] = jobs.collect();
    if let Some(prune) = after(lines, "prune ").next() {
        wire["prune_id"] = json!(number(first_word(prune)));
    }
    wire["cron_jobs_list"] = after(lines, "cron ").map(first_word).collect();
    Desired::decode(wire.to_string().as_bytes()).expect("a case's answer is whole")
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

fn read_cron_job(line: &str) -> Value {
    let is_unreadable = line.split_whitespace().any(|word| word == "unreadable");
    json!({
        "cron_job_name": first_word(line), "cron_job_id": 1, "docker_image": "tool:1",
        "schedule": if is_unreadable { "never" } else { "0 * * * *" },
    })
}

fn read_app(line: &str) -> Value {
    let words: Vec<&str> = line.split_whitespace().collect();
    let get = |key: &str| word_after(&words, key);
    let replicas = get("replicas").map_or(1, number);
    let mut wire = app(words[0], get("image").unwrap_or("site:1"), replicas);
    if words.contains(&"unreadable") {
        return with(wire, json!({"docker_image": "NOT AN IMAGE"}));
    }
    if let Some((key, value)) = get("per").and_then(|per| per.split_once('=')) {
        let value: f64 = value.parse().expect("a number of replicas per");
        wire["containers_per"] = json!({ key: value });
    }
    if let Some(ports) = get("ports") {
        let ports = ports.split(',').map(|port| match port.split_once(':') {
            Some((host, container)) => json!({ host: container }),
            None => json!(number(port)),
        });
        wire["starting_ports"] = ports.collect();
    }
    if let Some(networks) = get("networks") {
        wire["networks"] = json!(names(networks));
    }
    with(
        wire,
        json!({
            "app_id": get("id").map_or(2, number), "rolling_restart": words.contains(&"rolling"),
            "running": !words.contains(&"stopped"),
        }),
    )
}

fn read_observed(lines: &[&str], apps: &BTreeMap<&str, &App>) -> Observed {
    let containers = after(lines, "container ").map(|line| read_container(line, apps)).collect();
    let networks = after(lines, "networks ").next().unwrap_or("bridge extra host nebula none");
    let named = match after(lines, "images ").next() {
        Some(images) => names(images),
        None => apps.values().map(|app| app.spec.container.docker_image.familiar()).collect(),
    };
    let images = named.iter().map(|name| ObservedImage {
        id: PretendedWorld::built(name),
        names: [name.clone()].into(),
        size_bytes: 0,
    });
    let more = || after(lines, "image ").map(|line| line.split_whitespace().collect::<Vec<_>>());
    let images = images.chain(more().map(|words| ObservedImage {
        id: words[0].to_owned(),
        names: word_after(&words, "names").map(names).unwrap_or_default(),
        size_bytes: word_before(&words, "MB").map_or(0, number) << 20,
    }));
    let used = more().filter(|words| words.contains(&"used")).map(|words| words[0].to_owned());
    let disk = after(lines, "disk ").next().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Disk { total_bytes: number(words[2]) << 20, free_bytes: number(words[0]) << 20 }
    });
    let machine = after(lines, "device ").next().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Machine {
            cores: u32::try_from(number(words[0])).expect("few cores"),
            memory_mb: number(words[2]),
        }
    });
    let machine = machine.unwrap_or(Machine { cores: 4, memory_mb: 8192 });
    Observed {
        containers,
        runs: Vec::new(),
        networks: names(networks),
        images: images.collect(),
        used_images: used.collect(),
        disk,
        machine,
        worker: after(lines, "worker ").next().map(|name| WorkerContainer {
            id: "id of the worker".to_owned(),
            name: name.to_owned(),
        }),
    }
}

fn read_container(line: &str, apps: &BTreeMap<&str, &App>) -> ObservedContainer {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, "of", owner, replica, version, state, ..] = words.as_slice() else {
        panic!("`container {line}`: expected NAME of APP REPLICA VERSION STATE");
    };
    let app = apps.get(owner).copied();
    let replica: Option<u32> = replica.parse().ok();
    let (state, health) = read_state(state);
    let binds = matches!(state, ContainerState::Running | ContainerState::Paused);
    let own_ports = || app.zip(replica).map(|(app, replica)| app.host_ports(replica));
    let host_ports = match word_after(&words, "ports") {
        Some(ports) => names(ports)
            .iter()
            .map(|p| HostPort::tcp(u16::try_from(number(p)).expect("a port")))
            .collect(),
        None if binds => own_ports().unwrap_or_default().into_iter().collect(),
        None => BTreeSet::new(),
    };
    let networks = match word_after(&words, "networks") {
        Some(networks) => names(networks),
        None => app.map(|app| app.networks().into_iter().collect()).unwrap_or_default(),
    };
    ObservedContainer {
        id: format!("id-of-{name}"),
        name: (*name).to_owned(),
        app: (*owner).to_owned(),
        replica,
        version: read_version(version, app),
        image_id: String::new(),
        state,
        health,
        networks,
        host_ports,
        exit_code: (state == ContainerState::Exited).then_some(137),
        up_seconds: None,
        verdict_ms: None,
        restarts: 0,
    }
}

fn read_version(word: &str, app: Option<&App>) -> Option<AppVersion> {
    let gone = || AppVersion { uid: None, app_id: 2, spec: SpecHash::from_label("gone") };
    let current = app.map_or_else(gone, App::version);
    let made =
        |app_id: u64| AppVersion { app_id, spec: SpecHash::from_label(word), ..current.clone() };
    match word {
        "current" => Some(current),
        "older" => Some(made(1)),
        "oldest" => Some(made(0)),
        "created-again" => Some(AppVersion { uid: Some(Uid::from_bytes([7; 12])), ..current }),
        "legacy" => None,
        other => panic!("`{other}` is no version"),
    }
}

fn read_state(word: &str) -> (ContainerState, Health) {
    match word {
        "created" => (ContainerState::Created, Health::None),
        "running" => (ContainerState::Running, Health::None),
        "starting" => (ContainerState::Running, Health::Starting),
        "healthy" => (ContainerState::Running, Health::Healthy),
        "unhealthy" => (ContainerState::Running, Health::Unhealthy),
        "paused" => (ContainerState::Paused, Health::None),
        "restarting" => (ContainerState::Restarting, Health::None),
        "exited" => (ContainerState::Exited, Health::None),
        "removing" => (ContainerState::Removing, Health::None),
        "dead" => (ContainerState::Dead, Health::None),
        "unknown" => (ContainerState::Unknown, Health::None),
        other => panic!("`{other}` is no state"),
    }
}

fn read_images_memory(lines: &[&str], memory: &mut Value) {
    for name in after(lines, "from registry ") {
        memory["images"]["pulled"][PretendedWorld::built(name)] = json!({});
    }
    for line in after(lines, "image ") {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"pulled") {
            memory["images"]["pulled"][words[0]] = json!({});
        }
        if let Some(hours) = word_after(&words, "unused") {
            let since = START_MS - number(hours) * 3_600_000;
            memory["images"]["pulled"][words[0]] = json!({"unused_since_ms": since});
        }
    }
    if let Some((_, last)) = after(lines, "prune ").find_map(|line| line.split_once(" after ")) {
        memory["images"]["prune_id"] = json!(number(last));
    }
    for line in after(lines, "refused by ") {
        let (registry, how) = line.split_once(": ").expect("refused by REGISTRY: ...");
        let words: Vec<&str> = how.split_whitespace().collect();
        memory["pulls"]["registries"][registry] = json!({
            "count": number(words[0]), "last_ms": START_MS - number(words[2]),
            "retry_after_ms": word_after(&words, "after").map(number),
            "error": "toomanyrequests: slow down",
        });
    }
}

fn read_memory(lines: &[&str], apps: &BTreeMap<&str, &App>) -> Memory {
    let mut memory = json!({"fetched": {}, "attempts": {}});
    let unfetched: BTreeSet<&str> = after(lines, "not fetched ").collect();
    for (name, app) in apps.iter().filter(|(name, _)| !unfetched.contains(*name)) {
        memory["fetched"][*name] = json!(app.version());
    }
    read_images_memory(lines, &mut memory);
    for line in after(lines, "room for ") {
        let (app, room) = line.split_once(": ").expect("room for APP: N MB");
        memory["pulls"]["rooms"][app] = json!({
            "version": apps[app].version(), "needed_bytes": number(first_word(room)) << 20,
        });
    }
    for line in after(lines, "tried ") {
        let (what, how) = line.split_once(':').expect("tried APP SUBJECT: ...");
        let words: Vec<&str> = what.split_whitespace().collect();
        let app = words[0];
        let version = apps.get(app).map(|app| app.version().to_string()).unwrap_or_default();
        let subject = match (words[1], word_after(&words, "of")) {
            ("pull", _) => format!("pull {version}"),
            ("network", _) => "network nebula".to_owned(),
            (subject, Some(container)) => match subject.split_once('-') {
                Some((verb, network)) => format!("{verb} id-of-{container} {network}"),
                None => format!("{subject} id-of-{container}"),
            },
            (replica, None) => format!("{} {version}", replica.replace('-', " ")),
        };
        let app = if words[1] == "network" { "" } else { app };
        let (how, error) = how.split_once(", error ").map_or((how, None), |(h, e)| (h, Some(e)));
        let digits: Vec<&str> = how.split_whitespace().collect();
        let (count, ago) = (number(digits[0]), number(digits[2]));
        memory["attempts"][app][subject] =
            json!({"count": count, "last_ms": START_MS - ago, "error": error});
    }
    serde_json::from_value(memory).expect("a case's memory is read")
}
