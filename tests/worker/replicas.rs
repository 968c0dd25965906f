//! Who of an app's replicas was well when: each is asked for its health, at its own address, every
//! 10 ms.

use crate::docker::Docker;
use crate::probe::{EACH, ask};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A replica answers itself in a millisecond; on a busy machine in some more.
const PATIENCE: Duration = Duration::from_secs(1);
/// A time in which a container answered each time that it is well.
#[derive(Debug, Clone)]
struct Up {
    container: String,
    from: Instant,
    until: Instant,
    is_over: bool,
}

/// Watches the replicas of an app.
pub(crate) struct Replicas {
    begun: Instant,
    ups: Arc<Mutex<Vec<Up>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Replicas {
    pub(crate) fn of(docker: &Docker, app: &str) -> Self {
        let ups = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let watch = watch(docker.clone(), app.to_owned(), ups.clone(), stop.clone());
        Self { begun: Instant::now(), ups, stop, task: tokio::spawn(watch) }
    }

    /// How many are well now.
    pub(crate) fn up(&self) -> usize {
        let ups = self.ups.lock().expect("no panic holds it");
        let open = ups.iter().filter(|up| !up.is_over);
        open.map(|up| up.container.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// Ends the watch. Gives the fewest that were well at one moment since then, and the record
    /// for a person to read.
    pub(crate) async fn fewest_since(self, since: Instant) -> (usize, String) {
        self.stop.cancel();
        self.task.await.expect("no panic");
        let ups = self.ups.lock().expect("no panic holds it").clone();
        // The count falls when one ends, and at no other time.
        let ends = ups.iter().filter(|up| up.is_over && up.until >= since).map(|up| up.until);
        let at = |moment: Instant| {
            let open =
                ups.iter().filter(|up| up.from <= moment && (up.until > moment || !up.is_over));
            open.map(|up| up.container.as_str()).collect::<BTreeSet<_>>().len()
        };
        let fewest = ends.chain([since]).map(at).min().unwrap_or(0);
        let line = |up: &Up| {
            let (from, until) = (up.from - self.begun, up.until - self.begun);
            let end =
                if up.is_over { format!("{} ms", until.as_millis()) } else { "the end".into() };
            format!("{} was well from {} ms to {end}", up.container, from.as_millis())
        };
        (fewest, ups.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// Asks every container of the app from its start to its end.
async fn watch(docker: Docker, app: String, ups: Arc<Mutex<Vec<Up>>>, stop: CancellationToken) {
    let filter = format!("label=app_name={app}");
    let mut asked = JoinSet::new();
    // By container. The address of one that has ended is soon another one's.
    let mut alive: BTreeMap<String, CancellationToken> = BTreeMap::new();
    let mut again = tokio::time::interval(Duration::from_millis(100));
    while !stop.is_cancelled() {
        // Each time that Docker was away.
        again.tick().await;
        let mut events = Command::new("docker");
        events.env("DOCKER_HOST", &docker.host).kill_on_drop(true);
        events.args(["events", "--filter", &filter]);
        events.args(["--filter", "event=start", "--filter", "event=die"]);
        events.args(["--format", "{{.Action}} {{.ID}}"]);
        events.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut events = events.spawn().expect("the docker command line");
        let mut lines = BufReader::new(events.stdout.take().expect("piped")).lines();
        let listed = docker.try_run(&["ps", "-q", "--no-trunc", "--filter", &filter]).await;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let mut told: Vec<String> = listed.lines().map(|id| format!("start {id}")).collect();
        loop {
            for line in told.drain(..) {
                let (action, id) = line.split_once(' ').expect("two words");
                if action == "die" {
                    alive.remove(id).inspect(CancellationToken::cancel);
                } else if !alive.contains_key(id) {
                    let end = stop.child_token();
                    alive.insert(id.to_owned(), end.clone());
                    asked.spawn(replica(docker.clone(), id.to_owned(), ups.clone(), end));
                }
            }
            let line = tokio::select! {
                () = stop.cancelled() => break,
                line = lines.next_line() => line,
            };
            let Ok(Some(line)) = line else { break };
            told.push(line);
        }
    }
    while asked.join_next().await.is_some() {}
}

/// Asks one container until it has ended.
async fn replica(docker: Docker, id: String, ups: Arc<Mutex<Vec<Up>>>, end: CancellationToken) {
    let of_nebula = "{{with index .NetworkSettings.Networks \"nebula\"}}{{.IPAddress}}{{end}}";
    let mut again = tokio::time::interval(Duration::from_millis(100));
    // Docker may be killed in the moment after it told of the start.
    let address = loop {
        again.tick().await;
        if end.is_cancelled() {
            return;
        }
        let inspected = docker.try_run(&["inspect", "-f", of_nebula, &id]).await;
        if let Ok(address) = String::from_utf8_lossy(&inspected.stdout).trim().parse() {
            break address;
        }
    };
    let address = std::net::SocketAddr::new(address, 80);
    let mut open: Option<usize> = None;
    let mut ticks = tokio::time::interval(EACH);
    while !end.is_cancelled() {
        ticks.tick().await;
        let is_answered = ask(address, "/health", PATIENCE).await.is_ok();
        let mut ups = ups.lock().expect("no panic holds it");
        let now = Instant::now();
        match (is_answered, open) {
            (true, Some(index)) => ups[index].until = now,
            (true, None) => {
                open = Some(ups.len());
                let container = id.chars().take(12).collect();
                ups.push(Up { container, from: now, until: now, is_over: false });
            }
            (false, Some(index)) => {
                ups[index].is_over = true;
                open = None;
            }
            (false, None) => {}
        }
    }
}
