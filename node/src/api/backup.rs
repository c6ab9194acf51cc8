//! The store as it is now, row by row, while the daemon goes on.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use tokio::runtime::Handle;

use super::Api;
use crate::failure::Failure;
use crate::limits;
use crate::store::Snapshot;

pub(super) async fn rows(State(api): State<Api>) -> Result<Response, Failure> {
    let snapshot = api.handle.snapshot().await?;
    let (pieces, body) = Channel::<Bytes, io::Error>::new(limits::PIECES);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || send(&runtime, &snapshot, pieces));
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], Body::new(body)).into_response())
}

/// Sends all rows. Who takes none for long is gone, or holds back a store that would grow meanwhile.
fn send(runtime: &Handle, snapshot: &Snapshot, mut pieces: Sender<Bytes, io::Error>) {
    let mut out = |piece: Vec<u8>| {
        let sent = tokio::time::timeout(limits::PIECE_WAIT, pieces.send_data(Bytes::from(piece)));
        match runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::Error::other("nobody takes it")),
        }
    };
    if let Err(error) = snapshot.stream(&mut out) {
        tracing::warn!(%error, "a backup broke off");
        pieces.abort(error);
    }
}
