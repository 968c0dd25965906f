//! A manager that answers whatever a test wants, down to the byte.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What the manager says to the next check-ins.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The desired state, as a real manager gives it.
    State(Value),
    /// These bytes, head included, and then the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

/// A manager of one group.
pub(crate) struct Manager {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Receiver<u64>,
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
        let answer = Arc::new(Mutex::new(Answer::State(state(0, &[]))));
        let (count, asked) = watch::channel(0);
        let shared = answer.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (tls, shared, count) = (tls.clone(), shared.clone(), count.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(connection, shared, count).await };
                    match tls.accept(connection).await {
                        Ok(connection) => serve(connection, shared, count).await,
                        Err(_) => count.send_modify(|count| *count += 1),
                    }
                });
            }
        });
        Self { address, answer, asked, task: task.abort_handle(), revision: 1000 }
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
        *self.answer.lock().expect("no panic holds it") = answer;
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

async fn serve(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    answer: Arc<Mutex<Answer>>,
    asked: watch::Sender<u64>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let said = answer.lock().expect("no panic holds it").clone();
    let bytes = match said {
        Answer::Silence => {
            asked.send_modify(|count| *count += 1);
            return std::future::pending().await;
        }
        Answer::Raw(bytes) => bytes,
        Answer::State(state) => {
            let body = state.to_string();
            let etag = format!("\"{}\"", state["revision"]);
            let head = String::from_utf8_lossy(&head).to_lowercase();
            if head.contains(&format!("if-none-match: {etag}")) {
                format!("HTTP/1.1 304 Not Modified\r\netag: {etag}\r\nconnection: close\r\n\r\n")
            } else {
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: {etag}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
            }
            .into_bytes()
        }
    };
    // The worker may have gone away meanwhile, which is its right.
    let _ = connection.write_all(&bytes).await;
    let _ = connection.shutdown().await;
    asked.send_modify(|count| *count += 1);
}
