//! `GET /api/v2/backup`: a consistent copy of the store, while it is in use.
//!
//! The copy is written to a file in the data folder and streamed from there, so that a slow
//! client holds no lock and no memory. The file has no name any more when the first byte is sent:
//! whatever happens then, nothing is left behind.

use super::Shared;
use super::reply::{Answer, Refusal};
use crate::store::StoreError;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use hyper::body::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OwnedSemaphorePermit;

const PREFIX: &str = ".nebula-backup-";
const CHUNK_BYTES: usize = 64 << 10;

/// Sends the copy. One at a time: each takes the disk as much room as the store.
pub(super) async fn download(State(manager): State<Arc<Shared>>) -> Answer {
    let permit = Arc::clone(&manager.backups).try_acquire_owned().map_err(|_| Refusal::Busy)?;
    let failed = |error: std::io::Error| StoreError::unavailable("copy itself", error);
    let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&manager.data_dir);
    let (file, path) = file.map_err(failed)?.into_parts();
    manager.declarations.store().backup(&path).await?;
    path.close().map_err(failed)?;
    let file = tokio::fs::File::from_std(file);
    send(file, permit, &Copied { media: "application/octet-stream", name: "nebula.db" }).await
}

/// What a copy is.
pub(super) struct Copied {
    pub(super) media: &'static str,
    /// Under which name a client keeps it.
    pub(super) name: &'static str,
}

/// Sends a file from its beginning.
pub(super) async fn send(
    mut file: tokio::fs::File,
    permit: OwnedSemaphorePermit,
    copied: &Copied,
) -> Answer {
    let failed = |error: std::io::Error| StoreError::unavailable("send a copy", error);
    let length = file.metadata().await.map_err(failed)?.len();
    file.seek(SeekFrom::Start(0)).await.map_err(failed)?;
    let mut response = Response::new(Body::from_stream(chunks(file, permit)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(copied.media));
    headers.insert(CONTENT_LENGTH, length.into());
    let name = format!("attachment; filename=\"{}\"", copied.name);
    headers.extend(HeaderValue::from_str(&name).ok().map(|name| (CONTENT_DISPOSITION, name)));
    Ok(response)
}

/// The file's bytes; the permit goes with them until the last one is sent.
fn chunks(
    file: tokio::fs::File,
    permit: OwnedSemaphorePermit,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, permit), |(mut file, permit)| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok((read > 0).then(|| (Bytes::from(chunk), (file, permit))))
    })
}

/// Removes what a manager that died in the middle of a copy left behind.
pub(super) fn remove_leftovers(data_dir: &Path) {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(file = %entry.path().display(), %error, "left-over copy stays");
        }
    }
}
