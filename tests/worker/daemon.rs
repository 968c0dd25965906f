//! A dockerd of a test's own, which can be ended, killed and made to hang.

use crate::declared::site;
use crate::docker::Docker;
use crate::world::{until, variable};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use tokio::process::Command;

/// A dockerd that only this test uses.
pub(crate) struct Daemon {
    name: &'static str,
    settings: &'static [&'static str],
    host: String,
}

impl Daemon {
    /// Starts one, with further settings of the command line.
    pub(crate) async fn start(name: &'static str, settings: &'static [&'static str]) -> Self {
        let host = script("NEBULA_TEST_DOCKERD_START", name, settings).await;
        Self { name, settings, host }
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::at(&self.host)
    }

    /// Starts it as it was, after it ended.
    pub(crate) async fn start_again(&self) {
        script("NEBULA_TEST_DOCKERD_START", self.name, self.settings).await;
    }

    /// kill -9.
    pub(crate) async fn kill(&self) {
        self.end(Signal::KILL).await;
    }

    /// Ends it in order, as an upgrade of Docker does.
    pub(crate) async fn terminate(&self) {
        self.end(Signal::TERM).await;
    }

    /// It is there and does nothing.
    pub(crate) fn hang(&self) {
        kill_process(self.pid(), Signal::STOP).expect("stopped");
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).expect("continued");
    }

    /// Takes it down with its containers and its data.
    pub(crate) async fn remove(self) {
        script("NEBULA_TEST_DOCKERD_STOP", self.name, &[]).await;
    }

    /// Waits until there is a container of this version of the site: a change has begun.
    pub(crate) async fn begins_to_make(&self, tag: &str) {
        let (docker, image) = (self.docker(), site(tag));
        until("the change has begun", || async {
            docker.containers().await.values().any(|container| container.image == image)
        })
        .await;
    }

    async fn end(&self, signal: Signal) {
        let pid = self.pid();
        kill_process(pid, signal).expect("a signal");
        let executable = PathBuf::from(format!("/proc/{}/exe", pid.as_raw_nonzero()));
        // A zombie has none.
        until("dockerd has ended", || async { std::fs::read_link(&executable).is_err() }).await;
    }

    fn pid(&self) -> Pid {
        let file = variable("NEBULA_TEST_DOCKERD_PIDFILE");
        let file = file.replace("/main/", &format!("/{}/", self.name));
        let pid = std::fs::read_to_string(file).expect("the pid of dockerd");
        Pid::from_raw(pid.trim().parse().expect("a number")).expect("not 0")
    }
}

async fn script(variable_name: &str, name: &str, settings: &[&str]) -> String {
    let program = variable(variable_name);
    let output = Command::new(&program).arg(name).args(settings).output().await;
    let output = output.expect("the script");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {name}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
