//! Verifies the stored rows of a group while the daemon continues to work.
//!
//! The response is one JSON document a line: the progress from time to time, and the result at the end.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Frame;
use larder_core::id::GroupId;
use larder_core::node::Node;
use larder_core::store::verify;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ApiContext;
use super::params::{GroupPath, group_state};
use crate::dto::{HasSchema, TaskProgress, VerifyFailure, VerifyReport, WithSchema};
use crate::error::CliError;
use crate::limits;
use crate::store::StoreSnapshot;

/// The verifications that may run at the same time. Each uses one processor until it is complete, even if its
/// caller has gone.
static VERIFY_SLOTS: Semaphore = Semaphore::const_new(limits::CONCURRENT_VERIFIES);

pub(super) async fn verify_group(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> Result<Response, CliError> {
    let slot = VERIFY_SLOTS.try_acquire().map_err(|_| {
        CliError::failed("the store is being verified already").with_hint("wait until that is complete")
    })?;
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        Ok::<_, CliError>((state.group.id(), state.group.shard_states().change_count()))
    };
    let (group, total) = api.handle.query(query).await??;
    let snapshot = api.handle.snapshot().await?;
    let (lines, body) = Channel::<Bytes, Infallible>::new(limits::STREAM_QUEUE_CHUNKS);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || run_verify(&runtime, &snapshot, (group, total), lines, slot));
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((content_type, Body::new(body)).into_response())
}

fn run_verify(
    runtime: &Handle,
    snapshot: &StoreSnapshot,
    (group, total): (GroupId, u64),
    mut lines: Sender<Bytes, Infallible>,
    slot: SemaphorePermit<'static>,
) {
    let mut on_progress = |verified: u64| {
        if verified.is_multiple_of(limits::VERIFY_PROGRESS_CHANGES) {
            // A slow caller misses a step.
            drop(lines.try_send(Frame::data(json_line(&TaskProgress { done: verified, total }))));
        }
    };
    let last_line = match verify::verify_group(snapshot, group, &mut on_progress) {
        Ok(report) => json_line(&verify_report(report)),
        Err(error) => json_line(&CliError::failed(error.to_string()).with_hint("check the disk")),
    };
    drop(slot);
    // The caller may have gone.
    drop(runtime.block_on(tokio::time::timeout(limits::STREAM_SEND_TIMEOUT, lines.send_data(last_line))));
}

fn verify_report(report: verify::VerifyReport) -> VerifyReport {
    let failed =
        report.failures.into_iter().map(|failure| VerifyFailure { id: failure.id, reason: failure.reason });
    VerifyReport {
        changes: report.changes,
        records: report.records,
        failed: failed.collect(),
        more: report.omitted_failures,
    }
}

fn json_line<V: HasSchema>(value: &V) -> Bytes {
    let mut bytes = serde_json::to_vec(&WithSchema::new(value)).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
