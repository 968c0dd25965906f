//! What clients of an app see: one request every 10 ms, and what came of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// From one request to the next.
pub(crate) const EACH: Duration = Duration::from_millis(10);
/// A client that waits longer has given up, and its request failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer of the page is longer.
const LONGEST_BODY_BYTES: usize = 64 * 1024;

/// The page that tells the version.
pub(crate) const PAGE: &str = "/version";

/// What came of all requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How often each page was the answer.
    pub(crate) answers: BTreeMap<String, u64>,
    /// When after the first request, and why.
    pub(crate) failures: Vec<(Duration, String)>,
    pub(crate) slowest: Duration,
}

impl Tally {
    pub(crate) fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    fn count(&mut self, begun: Instant, asked: Instant, answer: Result<String, String>) {
        self.slowest = self.slowest.max(asked.elapsed());
        match answer {
            Ok(page) => *self.answers.entry(page.trim().to_owned()).or_default() += 1,
            Err(why) => self.failures.push((asked - begun, why)),
        }
    }
}

/// Asks for the page until it is ended.
pub(crate) struct Probe {
    stop: CancellationToken,
    task: JoinHandle<Tally>,
}

impl Probe {
    /// As strangers do: a connection a request, and nobody waits for another one's answer.
    pub(crate) fn of_strangers(address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(strangers(address, stop.clone()));
        Self { stop, task }
    }

    /// As a browser does: one request after the other on a connection that is kept.
    pub(crate) fn of_a_browser(address: SocketAddr) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(browser(address, stop.clone()));
        Self { stop, task }
    }

    /// No further request; what was asked is still answered.
    pub(crate) async fn end(self) -> Tally {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }
}

async fn strangers(address: SocketAddr, stop: CancellationToken) -> Tally {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut requests = JoinSet::new();
    let mut ticks = tokio::time::interval(EACH);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = requests.join_next() => {
                let (asked, answer) = ended.expect("no panic");
                tally.count(begun, asked, answer);
            }
            asked = ticks.tick() => {
                requests.spawn(async move { (asked, ask(address, PAGE, PATIENCE).await) });
            }
        }
    }
    while let Some(ended) = requests.join_next().await {
        let (asked, answer) = ended.expect("no panic");
        tally.count(begun, asked, answer);
    }
    tally
}

async fn browser(address: SocketAddr, stop: CancellationToken) -> Tally {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut kept: Option<BufReader<TcpStream>> = None;
    let mut ticks = tokio::time::interval(EACH);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let asked = Instant::now();
        let answer = timeout(PATIENCE, async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => connect(address).await?,
            };
            let page = exchange(&mut connection, PAGE, "keep-alive").await?.body;
            kept = Some(connection);
            Ok(page)
        });
        let answer = answer.await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        tally.count(begun, asked, answer);
    }
    tally
}

/// One request on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    path: &str,
    patience: Duration,
) -> Result<String, String> {
    answered(address, path, patience).await.map(|answer| answer.body)
}

/// Which replica of a balancer's answers, by the balancer's own name for it.
pub(crate) async fn replica_behind(
    address: SocketAddr,
    patience: Duration,
) -> Result<String, String> {
    let answer = answered(address, PAGE, patience).await?;
    answer.replica.ok_or_else(|| "no balancer answers".to_owned())
}

async fn answered(address: SocketAddr, path: &str, patience: Duration) -> Result<Answer, String> {
    let answer = timeout(patience, async {
        let mut connection = connect(address).await?;
        exchange(&mut connection, path, "close").await
    });
    answer.await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    Ok(BufReader::new(stream))
}

async fn exchange(
    connection: &mut BufReader<TcpStream>,
    path: &str,
    keeping: &str,
) -> Result<Answer, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: site\r\nConnection: {keeping}\r\n\r\n");
    let sent = connection.write_all(request.as_bytes()).await;
    sent.map_err(|error| format!("write: {error}"))?;
    answer(connection).await
}

/// An answer 200 that came whole.
struct Answer {
    body: String,
    /// What the balancer calls the replica that answered.
    replica: Option<String>,
}

async fn answer(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Answer, String> {
    let (mut length, mut replica) = (None, None);
    let mut status = String::new();
    loop {
        let mut line = String::new();
        let read = from.read_line(&mut line).await.map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err(format!("the answer ends in its head, after `{status}`"));
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if status.is_empty() {
            status = line;
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        } else if let Some(value) = line.strip_prefix("x-replica:") {
            replica = Some(value.trim().to_owned());
        }
    }
    let length = length.filter(|length| *length <= LONGEST_BODY_BYTES);
    let mut body = vec![0; length.ok_or_else(|| format!("no length after `{status}`"))?];
    from.read_exact(&mut body).await.map_err(|error| format!("body: {error}"))?;
    let body = String::from_utf8_lossy(&body).into_owned();
    if status.starts_with("http/1.1 200") {
        Ok(Answer { body, replica })
    } else {
        Err(format!("{status}: {body}"))
    }
}
