//! Everything that is stored of a group, looked at once more while the daemon goes on.
//!
//! The answer comes in lines: how far it is, now and then, and at the end what was found.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Frame;
use larder_core::id::GroupId;
use larder_core::machine::Machine;
use larder_core::store::verify;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::names::{self, Which};
use super::{Api, Query};
use crate::failure::Failure;
use crate::limits;
use crate::store::Snapshot;
use crate::view::{Progress, Tagged, Verify, VerifyFailed, View};

/// Each takes a processor for itself until it is done, whether or not anybody still waits for it.
static PLACES: Semaphore = Semaphore::const_new(limits::VERIFIES);

pub(super) async fn verify(State(api): State<Api>, Query(which): Query<Which>) -> Result<Response, Failure> {
    let place = PLACES.try_acquire().map_err(|_| {
        Failure::failed("the store is being verified already").hint("try again when that is done")
    })?;
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        Ok::<_, Failure>((of.group.id(), of.group.changes()))
    };
    let (group, of) = api.handle.look(look).await??;
    let snapshot = api.handle.snapshot().await?;
    let (lines, body) = Channel::<Bytes, Infallible>::new(limits::PIECES);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || work(&runtime, &snapshot, (group, of), lines, place));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::new(body)).into_response())
}

fn work(
    runtime: &Handle,
    snapshot: &Snapshot,
    (group, of): (GroupId, u64),
    mut lines: Sender<Bytes, Infallible>,
    place: SemaphorePermit<'static>,
) {
    let mut each = |done: u64| {
        if done.is_multiple_of(limits::VERIFY_TOLD) {
            // Whoever is slow hears of the next step.
            drop(lines.try_send(Frame::data(line(&Progress { done, of }))));
        }
    };
    let end = match verify::verify(snapshot, group, &mut each) {
        Ok(found) => line(&view(found)),
        Err(error) => line(&Failure::failed(error.to_string()).hint("check the disk")),
    };
    drop(place);
    // Whoever asked may have gone.
    drop(runtime.block_on(tokio::time::timeout(limits::PIECE_WAIT, lines.send_data(end))));
}

fn view(found: verify::Verified) -> Verify {
    let failed = found.failed.into_iter().map(|one| VerifyFailed { id: one.id, why: one.why });
    Verify { changes: found.changes, records: found.records, failed: failed.collect(), more: found.more }
}

fn line<V: View>(view: &V) -> Bytes {
    let mut line = serde_json::to_vec(&Tagged::new(view)).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
