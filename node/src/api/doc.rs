//! The group's document as one Automerge file, and what applying the values of another would change.

use std::collections::BTreeMap;

use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use larder_core::node::Node;
use larder_core::resource::literal::Literal;
use larder_core::shard::export::{ExportError, ExportParts};
use larder_core::shard::root::ShardRoot;
use larder_core::value::Value;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::params::{GroupPath, group_state, node_ref};
use super::{ApiContext, ApiResult, JsonResponse, RequestBody};
use crate::dto::{DocAuthorEntry, DocAuthorList, JsonValue, WritePlan};
use crate::error::CliError;
use crate::limits;

/// The exports that may run at the same time. Each needs memory for a whole document.
static EXPORT_SLOTS: Semaphore = Semaphore::const_new(limits::CONCURRENT_DOC_EXPORTS);

/// Body of `POST /v1/groups/{group}/document/plan`: the values of a foreign document.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DocPlanBody {
    /// The keys of the desired state, each with its value; `None` for unset.
    pub values: BTreeMap<String, Option<JsonValue>>,
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            ExportError::Rebuilding => failure.with_hint("try again in a moment"),
            ExportError::ShardFault(_) | ExportError::Defect(_) => failure,
        }
    }
}

pub(super) async fn export(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> Result<Response, CliError> {
    let _slot = EXPORT_SLOTS.acquire().await;
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        state.desired_shard()?;
        state.group.flush_documents();
        Ok::<_, CliError>(ExportParts::from_shards(state.group.shards())?)
    };
    let parts = api.handle.query(query).await??;
    // A hundred thousand changes take a second, so the owner task does not wait for it.
    let export_task = tokio::task::spawn_blocking(move || parts.export()).await;
    let bytes = export_task
        .map_err(|error| CliError::failed(format!("the document could not be exported: {error}")))??;
    Ok(([(header::CONTENT_TYPE, "application/vnd.automerge")], Bytes::from(bytes)).into_response())
}

pub(super) async fn authors(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<DocAuthorList> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let mut authors = Vec::new();
        for shard in state.group.shards() {
            let shard_name = |root: &ShardRoot| root.name().to_string();
            authors.push(DocAuthorEntry {
                actor: shard.root().chain_id().to_string(),
                node: None,
                shard: shard_name(shard.root()),
                changes: 1,
            });
            for chain in shard.graph().chains() {
                let node = state.group.records().holder_and_role(&chain.grant).map(|(key, _)| key);
                authors.push(DocAuthorEntry {
                    actor: chain.id.to_string(),
                    node: node.map(|node| node_ref(state, &node)),
                    shard: shard_name(shard.root()),
                    changes: chain.len(),
                });
            }
        }
        authors.sort_by(|a, b| {
            (&a.shard, a.node.is_some(), &a.actor).cmp(&(&b.shard, b.node.is_some(), &b.actor))
        });
        Ok(JsonResponse(DocAuthorList { authors }))
    };
    api.handle.query(query).await?
}

pub(super) async fn plan(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
    RequestBody(body): RequestBody<DocPlanBody>,
) -> ApiResult<WritePlan> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let desired = state.desired_shard()?;
        let mut puts = BTreeMap::new();
        for (key, plain) in body.values {
            let value = match plain.map(|plain| plain.0) {
                None => Value::Null,
                Some(Literal::Scalar(value)) => value,
                Some(Literal::List(_)) => {
                    return Err(CliError::usage(format!(
                        "the value of `{key}` is a list; a key holds one value"
                    )));
                }
            };
            let current = desired.state().winner(&key);
            // A key that was never set cannot be unset.
            if current.unwrap_or(&Value::Null) != &value {
                puts.insert(key, value);
            }
        }
        Ok(JsonResponse(WritePlan::new(desired, &puts)))
    };
    api.handle.query(query).await?
}
