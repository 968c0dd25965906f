//! `MongoDB` deployments of a test's own, whose members can be killed, paused and cut off, and the
//! one that all tests share. They come from the service `mongo` of `scripts/with-services`; what
//! each of these does is told at the head of `scripts/services/mongod`.
//!
//! Not here: a client. What a deployment holds is the business of whoever has its URL.

use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::Command;

/// A process that was killed is gone in milliseconds; the limit is for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The replica set of one member that all tests share. Nobody breaks it, and each test has a
/// database of its own there.
pub(crate) fn shared_url() -> String {
    variable("NEBULA_TEST_MONGO_URL")
}

/// A database's name that no other test of this run uses.
pub(crate) fn fresh_database_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A deployment that only this test uses. It goes, with its data, when this value does, also when
/// the test fails. Members count from 0.
pub(crate) struct MongoServers {
    name: String,
    url: String,
}

impl MongoServers {
    /// Starts one. The options are those of `mongod start`, and then mongod's own settings; without
    /// any it is a replica set of one member. No two that live at the same time may share a name.
    pub(crate) async fn start(name: &str, options: &[&str]) -> Self {
        let mut arguments = vec!["start", name];
        arguments.extend(options);
        let url = run(&arguments).await;
        Self { name: name.to_owned(), url }
    }

    /// Where clients find it, with the user, if it has one.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the primary that a client sees, and gives its index.
    pub(crate) async fn primary(&self) -> usize {
        run(&["primary", &self.name]).await.parse().expect("an index")
    }

    /// kill -9. It is gone afterwards, and its data are not.
    pub(crate) async fn kill(&self, member: usize) {
        let pid = self.pid(member);
        kill_process(pid, Signal::KILL).expect("killed");
        // A zombie may hold its port.
        let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let gone = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            while process.exists() {
                ticks.tick().await;
            }
        };
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        gone.unwrap_or_else(|_| panic!("member {member} of {} survived a kill", self.name));
    }

    /// Starts a member that was killed, and waits until it is a primary or a secondary again.
    pub(crate) async fn start_again(&self, member: usize) {
        run(&["start", &self.name, &member.to_string()]).await;
    }

    /// It is there, its connections as well, and it does nothing.
    pub(crate) fn pause(&self, member: usize) {
        kill_process(self.pid(member), Signal::STOP).expect("stopped");
    }

    pub(crate) fn resume(&self, member: usize) {
        kill_process(self.pid(member), Signal::CONT).expect("continued");
    }

    /// Nothing reaches it, and nothing of it reaches anybody; nobody is told.
    pub(crate) async fn cut(&self, member: usize) {
        run(&["cut", &self.name, &member.to_string()]).await;
    }

    pub(crate) async fn heal(&self, member: usize) {
        run(&["heal", &self.name, &member.to_string()]).await;
    }

    fn pid(&self, member: usize) -> Pid {
        let run = variable("NEBULA_RUN");
        let file = Path::new(&run).join(format!("mongo/{}/{member}/pid", self.name));
        let pid = std::fs::read_to_string(file).expect("the pid of a member");
        Pid::from_raw(pid.trim().parse().expect("a number")).expect("not 0")
    }
}

impl Drop for MongoServers {
    fn drop(&mut self) {
        let program = variable("NEBULA_TEST_MONGOD");
        let stop = std::process::Command::new(program).args(["stop", &self.name]).status();
        if !std::thread::panicking() {
            assert!(stop.is_ok_and(|status| status.success()), "{} is stopped", self.name);
        }
    }
}

async fn run(arguments: &[&str]) -> String {
    let program = variable("NEBULA_TEST_MONGOD");
    let output = Command::new(&program).args(arguments).output().await.expect("the program");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A variable that `scripts/with-services` sets.
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test`"))
}
