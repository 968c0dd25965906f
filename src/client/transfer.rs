//! The routes that move everything at once, and how a long answer is taken down.

use super::{Ask, Client, ClientError, MAX_BACKUP_PREPARATION, Object, Reply, refusal};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

impl Client {
    /// Copies the manager's whole embedded store into `file` while it runs, and returns the number
    /// of bytes. What stands in `file` after an error is not a backup.
    pub async fn backup<W>(&self, file: &mut W) -> Result<u64, ClientError>
    where
        W: AsyncWrite + Unpin,
    {
        self.download("backup", file).await
    }

    /// Writes everything that is declared into `file`, in the form of
    /// [`crate::store::transfer::Line`], and returns the number of bytes.
    pub async fn export<W>(&self, file: &mut W) -> Result<u64, ClientError>
    where
        W: AsyncWrite + Unpin,
    {
        self.download("export", file).await
    }

    /// Takes a batch of objects over from another store.
    pub async fn import(&self, batch: &Object) -> Result<Reply<Object>, ClientError> {
        self.object(Method::POST, &["import"], Some(batch)).await
    }

    /// Takes a long answer down, of which only a stall counts.
    async fn download<W>(&self, route: &str, file: &mut W) -> Result<u64, ClientError>
    where
        W: AsyncWrite + Unpin,
    {
        let url = self.route(&[route])?;
        let ask =
            Ask { method: Method::GET, url, body: None, etag: None, limit: None, is_report: false };
        let sent = timeout(MAX_BACKUP_PREPARATION, self.send(ask)).await;
        let mut response = sent.unwrap_or_else(|_| Err(self.timed_out(MAX_BACKUP_PREPARATION)))?;
        let stalled = |_| self.timed_out(self.timeout);
        if response.status() != StatusCode::OK {
            return Err(timeout(self.timeout, refusal::read(response))
                .await
                .unwrap_or_else(stalled));
        }
        let mut written = 0;
        loop {
            let chunk = timeout(self.timeout, response.chunk()).await.map_err(stalled)?;
            let Some(chunk) = chunk.map_err(|error| self.body_error(error, self.timeout))? else {
                break;
            };
            file.write_all(&chunk).await.map_err(ClientError::Write)?;
            written += chunk.len() as u64;
        }
        file.flush().await.map_err(ClientError::Write)?;
        Ok(written)
    }
}
