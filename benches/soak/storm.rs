//! All that can go wrong on a device, at random moments, and what must hold when it is over.

use crate::binary::Binary;
use crate::daemon::Daemon;
use crate::docker::{Container, Docker};
use crate::fleet::Group;
use crate::manager::{Answer, state};
use crate::world::{World, variable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The longest back-off is five minutes, and some more by jitter. What is not there by then is not
/// on its way.
const PATIENCE: Duration = Duration::from_secs(420);
/// An app whose new version a fault made fail is held on its old one. After this it is declared
/// again, as whoever looks after it would.
const HELD: Duration = Duration::from_secs(60);
/// The disk of the worker's data.
const DISK_BYTES: usize = 256 * 1024;

/// What is wrong until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    ManagerAway,
    ManagerSilent,
    ManagerOdd,
    RegistryHangs,
    DockerHangs,
    DockerDown,
    NetworkCut,
    DiskFull,
}

const TROUBLES: [Trouble; 8] = [
    Trouble::ManagerAway,
    Trouble::ManagerSilent,
    Trouble::ManagerOdd,
    Trouble::RegistryHangs,
    Trouble::DockerHangs,
    Trouble::DockerDown,
    Trouble::NetworkCut,
    Trouble::DiskFull,
];

/// What a person, or an accident, does to one container. The name follows.
const BY_HAND: [&[&str]; 7] = [
    &["rm", "-f"],
    &["stop", "-t", "0"],
    &["kill"],
    &["pause"],
    &["restart", "-t", "0"],
    &["network", "disconnect", "nebula"],
    &["rename"],
];

/// A device in trouble.
pub(crate) struct Storm {
    random: StdRng,
    world: World,
    daemon: Daemon,
    worker: Option<Binary>,
    group: Group,
    revision: u64,
    troubles: BTreeSet<Trouble>,
    /// Apps that were changed or struck since everything was last well.
    touched: BTreeSet<String>,
    before: BTreeMap<String, Container>,
    deeds: BTreeMap<String, u64>,
}

impl Storm {
    /// Everything up, and one app running.
    pub(crate) async fn prepare(seed: u64) -> Self {
        // Containers live on while it is down, so that whatever touches them is the worker.
        let daemon = Daemon::start("soak", &["--live-restore"]).await;
        let world = World::on(daemon.docker()).await;
        let data = world.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let size = format!("size={DISK_BYTES},mode=700");
        let mount = ["-t", "tmpfs", "-o", &size, "nebula"];
        run(Command::new("mount").args(mount).arg(&data)).await;
        let mut storm = Self {
            random: StdRng::seed_from_u64(seed),
            worker: Some(Binary::start(&world)),
            world,
            daemon,
            group: Group::new(),
            revision: 1_000,
            troubles: BTreeSet::new(),
            touched: BTreeSet::new(),
            before: BTreeMap::new(),
            deeds: BTreeMap::new(),
        };
        let image = crate::declared::site("nocheck");
        storm.docker().run(&["pull", "-q", &image]).await;
        storm.docker().run(&["run", "-d", "--name", "stranger", &image]).await;
        storm.declare();
        storm.converges().await;
        storm
    }

    fn docker(&self) -> &Docker {
        &self.world.docker
    }

    /// Does one thing after the other for so long. Gives their number.
    pub(crate) async fn rage(&mut self, time: Duration) -> u64 {
        let (begun, mut count) = (Instant::now(), 0);
        while begun.elapsed() < time {
            let deed = self.deed().await;
            *self.deeds.entry(deed).or_default() += 1;
            count += 1;
            let pause = Duration::from_millis(self.random.random_range(0..1_500));
            tokio::time::sleep(pause).await;
            let worker = self.worker.as_mut().expect("one is always there");
            assert!(worker.is_alive(), "the worker ended by itself:\n{}", worker.said());
        }
        count
    }

    async fn deed(&mut self) -> String {
        match self.random.random_range(0..10) {
            0..=2 => {
                let name = self.group.change(&mut self.random);
                self.touched.insert(name.to_owned());
                self.declare();
                "an app declared".to_owned()
            }
            3..=4 => {
                let trouble = TROUBLES[self.random.random_range(0..TROUBLES.len())];
                if self.troubles.contains(&trouble) {
                    self.mend(trouble).await;
                    format!("{trouble:?} mended")
                } else {
                    self.make(trouble).await;
                    format!("{trouble:?}")
                }
            }
            5 => {
                let worker = self.worker.take().expect("one is always there");
                worker.kill().await;
                self.worker = Some(Binary::start(&self.world));
                "worker killed".to_owned()
            }
            6 => {
                let worker = self.worker.take().expect("one is always there");
                worker.stop().await;
                self.worker = Some(Binary::start(&self.world));
                "worker upgraded".to_owned()
            }
            _ => self.strike().await,
        }
    }

    /// A person does something to a container of an app, though never of the one that stays.
    async fn strike(&mut self) -> String {
        if !self.troubles.is_disjoint(&[Trouble::DockerHangs, Trouble::DockerDown].into()) {
            return "nothing, for Docker is away".to_owned();
        }
        let all = self.docker().containers().await;
        let names: Vec<&String> =
            all.keys().filter(|name| !name.starts_with("st") && !name.ends_with("-next")).collect();
        if names.is_empty() {
            return "nothing, for nothing runs".to_owned();
        }
        let name = names[self.random.random_range(0..names.len())].clone();
        let order = BY_HAND[self.random.random_range(0..BY_HAND.len())];
        let app = name.split('-').next().unwrap_or_default();
        self.touched.insert(app.to_owned());
        let mut words = [order, &[name.as_str()]].concat();
        let other = format!("{name}-renamed");
        if order == ["rename"] {
            words.push(&other);
        }
        // The worker may have taken it away meanwhile.
        self.docker().try_run(&words).await;
        format!("docker {} by hand", order.join(" "))
    }

    fn declare(&mut self) {
        self.revision += 1;
        self.answer();
    }

    /// Has the manager say what it should at this moment.
    fn answer(&self) {
        if self.troubles.contains(&Trouble::ManagerSilent) {
            self.world.manager.say(Answer::Silence);
        } else if self.troubles.contains(&Trouble::ManagerAway) {
            self.world.manager.say(Answer::Raw(Vec::new()));
        } else if self.troubles.contains(&Trouble::ManagerOdd) {
            let gone = r#"{"device_group_exists": false}"#;
            self.world.manager.say_http("403 Forbidden", "application/json", gone);
        } else {
            let values = self.group.values();
            self.world.manager.say(Answer::State(state(self.revision, &values)));
        }
    }

    async fn make(&mut self, trouble: Trouble) {
        self.troubles.insert(trouble);
        match trouble {
            Trouble::ManagerAway | Trouble::ManagerSilent | Trouble::ManagerOdd => self.answer(),
            Trouble::RegistryHangs => signal_registry(Signal::STOP),
            Trouble::DockerHangs if !self.troubles.contains(&Trouble::DockerDown) => {
                self.daemon.hang();
                // Health checks time out while nobody reads their answers.
                self.touched.extend(["a", "b", "c", "d", "e", "f"].map(str::to_owned));
            }
            Trouble::DockerHangs => {
                self.troubles.remove(&trouble);
            }
            Trouble::DockerDown => {
                if self.troubles.remove(&Trouble::DockerHangs) {
                    self.daemon.resume();
                }
                if self.random.random_bool(0.5) {
                    self.daemon.kill().await;
                } else {
                    self.daemon.terminate().await;
                }
            }
            Trouble::NetworkCut => self.cut("-I").await,
            Trouble::DiskFull => {
                if let Ok(mut file) = std::fs::File::create(self.filler()) {
                    while file.write_all(&[1; 512]).is_ok() {}
                }
            }
        }
    }

    async fn mend(&mut self, trouble: Trouble) {
        self.troubles.remove(&trouble);
        match trouble {
            Trouble::ManagerAway | Trouble::ManagerSilent | Trouble::ManagerOdd => self.answer(),
            Trouble::RegistryHangs => signal_registry(Signal::CONT),
            Trouble::DockerHangs => self.daemon.resume(),
            Trouble::DockerDown => self.daemon.start_again().await,
            Trouble::NetworkCut => self.cut("-D").await,
            Trouble::DiskFull => std::fs::remove_file(self.filler()).expect("removed"),
        }
    }

    fn filler(&self) -> PathBuf {
        self.world.data_file("filler")
    }

    /// What goes to the manager and to the registry is lost, and nobody says so.
    async fn cut(&self, how: &str) {
        let registry = variable("NEBULA_TEST_REGISTRY");
        let registry = registry.rsplit(':').next().unwrap_or_default().to_owned();
        for port in [self.world.manager.address.port().to_string(), registry] {
            let rule = ["-w", how, "INPUT", "-p", "tcp", "--dport", &port, "-j", "DROP"];
            run(Command::new("iptables").args(rule)).await;
        }
    }

    /// Mends everything.
    pub(crate) async fn end(&mut self) {
        for trouble in self.troubles.clone() {
            self.mend(trouble).await;
        }
    }

    /// Waits until every sound app runs as declared, and checks that what nobody touched is what
    /// it was. Gives the apps that had to be declared again.
    pub(crate) async fn converges(&mut self) -> BTreeSet<&'static str> {
        let mut begun = Instant::now();
        let mut again = BTreeSet::new();
        loop {
            let wrong = self.wrong().await;
            if wrong.is_empty() {
                break;
            }
            if again.is_empty() && begun.elapsed() > HELD {
                again.extend(wrong.keys().copied());
                for name in &again {
                    assert!(self.touched.contains(*name), "{name} is wrong: {}", self.report());
                    self.group.again(name);
                }
                self.declare();
                begun = Instant::now();
            }
            assert!(begun.elapsed() < PATIENCE, "{wrong:#?}\n{}", self.report());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.check_untouched().await;
        again
    }

    /// By app: what is there instead of what should be.
    async fn wrong(&self) -> BTreeMap<&'static str, Vec<(String, Container)>> {
        let now = self.docker().containers().await;
        let mut wrong = BTreeMap::new();
        for (app, expected) in self.group.expected() {
            let prefix = format!("{app}-");
            let own: Vec<(String, Container)> =
                now.clone().into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
            let is_right = own.len() == expected.len()
                && own.iter().all(|(name, container)| {
                    container.state == "running" && expected.get(name) == Some(&container.image)
                });
            if !is_right {
                wrong.insert(app, own);
            }
        }
        wrong
    }

    async fn check_untouched(&mut self) {
        let expected = self.group.expected();
        let now = self.docker().containers().await;
        let of_app = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
        for (name, container) in &self.before {
            let app = of_app(name);
            if !self.touched.contains(&app) {
                let seen = now.get(name);
                assert!(seen == Some(container), "{name} was touched: {seen:?}\n{}", self.report());
            }
        }
        let is_kept =
            |name: &str| name == "stranger" || expected.contains_key(of_app(name).as_str());
        self.before = now.into_iter().filter(|(name, _)| is_kept(name)).collect();
        self.touched.clear();
    }

    fn report(&self) -> String {
        let said = self.worker.as_ref().map(Binary::said).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("declared: {:#?}\nthe end of the worker's log:\n{last}", self.group)
    }

    /// Takes everything down. Gives the deeds by kind.
    pub(crate) async fn finish(mut self) -> BTreeMap<String, u64> {
        let data = self.world.folder.path().join("data");
        self.worker.take().expect("one is always there").stop().await;
        run(Command::new("umount").arg(data)).await;
        self.daemon.remove().await;
        self.deeds
    }
}

async fn run(command: &mut Command) {
    let status = command.status().await.expect("a program");
    assert!(status.success(), "{command:?}: {status}");
}

fn signal_registry(signal: Signal) {
    let file = format!("{}/registry/open/pid", variable("NEBULA_RUN"));
    let pid = std::fs::read_to_string(file).expect("the pid of the registry");
    let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("not 0");
    kill_process(pid, signal).expect("a signal");
}
