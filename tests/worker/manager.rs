//! A manager that answers whatever a test wants, down to the byte.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Bytes for a request with this head, or none.
type Make = dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync;

/// What the manager says to the next check-ins.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The desired state, as a real manager gives it: who knows it and is willing to wait is told
    /// when there is something else to say.
    State(Value),
    /// What this makes of the request's head: bytes, and then the end of the connection; nothing,
    /// ever, of none.
    Made(Arc<Make>),
    /// These bytes, head included, and then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

/// A request that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) at: Instant,
    /// How long it was willing to wait.
    pub(crate) wait: Option<Duration>,
}

/// A manager of one group.
pub(crate) struct Manager {
    pub(crate) address: SocketAddr,
    answer: watch::Sender<Answer>,
    asked: watch::Receiver<u64>,
    asks: Arc<Mutex<Vec<Ask>>>,
    reports: watch::Receiver<Vec<Value>>,
    task: AbortHandle,
    revision: u64,
}

impl Manager {
    pub(crate) async fn start() -> Self {
        Self::listen(None).await
    }

    /// One that speaks TLS with this certificate. Whoever does not like it has asked as well.
    pub(crate) async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer = watch::Sender::new(Answer::State(state(0, &[])));
        let (count, asked) = watch::channel(0);
        let asks = Arc::new(Mutex::new(Vec::new()));
        let (heard, reports) = watch::channel(Vec::new());
        let visit = Visit { answer: answer.subscribe(), asked: count, asks: asks.clone(), heard };
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (tls, visit) = (tls.clone(), visit.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return visit.serve(connection).await };
                    match tls.accept(connection).await {
                        Ok(connection) => visit.serve(connection).await,
                        Err(_) => visit.asked.send_modify(|count| *count += 1),
                    }
                });
            }
        });
        Self { address, answer, asked, asks, reports, task: task.abort_handle(), revision: 1000 }
    }

    /// Declares cron jobs and no app; each call is a newer state.
    pub(crate) fn declare_cron_jobs(&mut self, jobs: &[Value]) {
        self.declare_both(&[], jobs);
    }

    /// Declares apps and cron jobs; each call is a newer state.
    pub(crate) fn declare_both(&mut self, apps: &[Value], jobs: &[Value]) {
        self.revision += 1;
        let mut said = state(self.revision, apps);
        said["cron_jobs_list"] = jobs.iter().map(|job| job["cron_job_name"].clone()).collect();
        said["cron_jobs"] = jobs.into();
        self.say(Answer::State(said));
    }

    /// Declares apps; each call is a newer state.
    pub(crate) fn declare(&mut self, apps: &[Value]) {
        self.declare_both(apps, &[]);
    }

    pub(crate) fn say(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Says what this makes of each request's head.
    pub(crate) fn say_by(&self, make: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) {
        self.say(Answer::Made(Arc::new(make)));
    }

    /// Waits for a report that is so, the oldest that is. `what` says what it never was.
    pub(crate) async fn is_told(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = |reports: &Vec<Value>| reports.iter().find(|it| is_it(it)).cloned();
        let waited = self.reports.wait_for(|reports| found(reports).is_some());
        let waited = tokio::time::timeout(super::world::PATIENCE, waited).await;
        let report = waited.map(|reports| found(&reports.expect("the manager lives")));
        let Ok(Some(report)) = report else {
            panic!("no report that {what}, of {:#?}", self.reports.borrow().last());
        };
        report
    }

    /// All reports so far.
    pub(crate) fn reports(&self) -> Vec<Value> {
        self.reports.borrow().clone()
    }

    /// The requests since this was last looked at.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        std::mem::take(&mut *self.asks.lock().expect("no panic holds it"))
    }

    /// Goes away: nothing listens at its address any more.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }

    /// Says these words with this status, as any web server might.
    pub(crate) fn say_http(&self, status: &str, content_type: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        self.say(Answer::Raw(format!("{head}{body}").into_bytes()));
    }

    /// Waits until the worker has asked so many times more, so that it has seen the last answer.
    pub(crate) async fn asked_again(&mut self, times: u64) {
        let until = *self.asked.borrow_and_update() + times;
        let waited = self.asked.wait_for(|count| *count >= until);
        let waited = tokio::time::timeout(super::world::PATIENCE, waited).await;
        waited.expect("the worker checks in").expect("the manager lives");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A device group's state as a manager tells it.
pub(crate) fn state(revision: u64, apps: &[Value]) -> Value {
    let names: Vec<&Value> = apps.iter().map(|app| &app["app_name"]).collect();
    json!({
        "apps": apps, "apps_list": names, "cron_jobs": [], "cron_jobs_list": [],
        "prune_id": 1, "device_group_id": 1, "revision": revision,
    })
}

/// How long a request with this head is willing to wait.
pub(crate) fn wait_of(head: &str) -> Option<Duration> {
    let (_, wait) = head.lines().next()?.split_once("?wait=")?;
    Some(Duration::from_secs(wait.split(' ').next()?.parse().expect("whole seconds")))
}

/// The answer that tells a state.
pub(crate) fn told(state: &Value, more: &str) -> Vec<u8> {
    let body = state.to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The answer that there is nothing new.
pub(crate) fn unchanged(more: &str) -> Vec<u8> {
    format!("HTTP/1.1 304 Not Modified\r\n{more}connection: close\r\n\r\n").into_bytes()
}

/// What a connection needs of the manager.
#[derive(Clone)]
struct Visit {
    answer: watch::Receiver<Answer>,
    asked: watch::Sender<u64>,
    asks: Arc<Mutex<Vec<Ask>>>,
    heard: watch::Sender<Vec<Value>>,
}

impl Visit {
    async fn serve(mut self, mut connection: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match connection.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        if head.starts_with("post ") {
            return self.take_reports(&head, connection).await;
        }
        let ask = Ask { at: Instant::now(), wait: wait_of(&head) };
        self.asks.lock().expect("no panic holds it").push(ask);
        let bytes = self.answer(&head).await;
        self.asked.send_modify(|count| *count += 1);
        let Some(bytes) = bytes else { return std::future::pending().await };
        // The worker may have gone away meanwhile, which is its right.
        let _ = connection.write_all(&bytes).await;
        let _ = connection.shutdown().await;
    }

    /// Takes reports as a real manager does, or answers them as it answers check-ins.
    async fn take_reports(&self, head: &str, mut connection: impl AsyncRead + AsyncWrite + Unpin) {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        if connection.read_exact(&mut body).await.is_err() {
            return;
        }
        let said = self.answer.borrow().clone();
        let bytes = match said {
            Answer::Silence => return std::future::pending().await,
            Answer::Raw(bytes) => bytes,
            Answer::Made(_) | Answer::State(_) => {
                assert!(head.contains("content-encoding: gzip"), "{head}");
                assert!(head.contains("connection: close"), "two connections a device: {head}");
                let body = flate2::read::GzDecoder::new(body.as_slice());
                let mut body: Value = serde_json::from_reader(body).expect("JSON");
                let Value::Array(reports) = body["reports"].take() else { panic!("a list") };
                let accepted = reports.len();
                self.heard.send_modify(|heard| heard.extend(reports));
                told(&json!({"accepted": accepted, "refused": []}), "")
            }
        };
        let _ = connection.write_all(&bytes).await;
        let _ = connection.shutdown().await;
    }

    async fn answer(&mut self, head: &str) -> Option<Vec<u8>> {
        let deadline = Instant::now() + wait_of(head).unwrap_or_default();
        loop {
            let said = self.answer.borrow_and_update().clone();
            let state = match said {
                Answer::Silence => return None,
                Answer::Raw(bytes) => return Some(bytes),
                Answer::Made(make) => return make(head),
                Answer::State(state) => state,
            };
            let etag = format!("etag: \"{}\"\r\n", state["revision"]);
            if !head.contains(&format!("if-none-match: \"{}\"", state["revision"])) {
                return Some(told(&state, &etag));
            }
            let changed = tokio::time::timeout_at(deadline, self.answer.changed()).await;
            if changed.is_err() {
                return Some(unchanged(&etag));
            }
        }
    }
}
