//! Sends all rows of the store, as of one moment, while the daemon continues to write.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::runtime::Handle;

use super::ApiContext;
use crate::error::CliError;
use crate::limits;
use crate::store::StoreSnapshot;

pub(super) async fn dump_store(State(api): State<ApiContext>) -> Result<Response, CliError> {
    let snapshot = api.handle.snapshot().await?;
    let (chunks, body) = Channel::<Bytes, io::Error>::new(limits::STREAM_QUEUE_CHUNKS);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || send_dump(&runtime, &snapshot, chunks));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::new(body)).into_response())
}

/// Sends all rows. A caller that reads nothing for a time is dropped, because the store cannot free pages
/// while its snapshot is in use.
fn send_dump(runtime: &Handle, snapshot: &StoreSnapshot, mut chunks: Sender<Bytes, io::Error>) {
    let mut send_chunk = |chunk: Vec<u8>| {
        let send = tokio::time::timeout(limits::STREAM_SEND_TIMEOUT, chunks.send_data(Bytes::from(chunk)));
        match runtime.block_on(send) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::Error::other("the caller stopped reading")),
        }
    };
    if let Err(error) = snapshot.write_dump(&mut send_chunk) {
        tracing::warn!(%error, "a backup ended early");
        chunks.abort(error);
    }
}
