//! A proxy that cuts requests on which nothing moves, as most do after some time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// What whoever is cut gets to hear.
const GATEWAY_TIMEOUT: &[u8] = b"HTTP/1.1 504 Gateway Timeout\r\ncontent-type: text/html\r\ncontent-length: 7\r\nconnection: close\r\n\r\n<p>504\n";

/// The proxy, in front of one server that answers one request a connection.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    patience: Arc<Mutex<Duration>>,
    task: AbortHandle,
}

impl Relay {
    /// Every other request that is cut gets an answer that says so; the rest just end.
    pub(crate) async fn start(server: SocketAddr, patience: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let patience = Arc::new(Mutex::new(patience));
        let shared = patience.clone();
        let task = tokio::spawn(async move {
            let mut says = false;
            while let Ok((mut client, _)) = listener.accept().await {
                let patience = *shared.lock().expect("no panic holds it");
                says = !says;
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server");
                    let passed = timeout(patience, copy_bidirectional(&mut client, &mut server));
                    if passed.await.is_err() && says {
                        let _ = client.write_all(GATEWAY_TIMEOUT).await;
                    }
                });
            }
        });
        Self { address, patience, task: task.abort_handle() }
    }

    /// Changes how long it stays patient with the requests to come.
    pub(crate) fn set_patience(&self, patience: Duration) {
        *self.patience.lock().expect("no panic holds it") = patience;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
