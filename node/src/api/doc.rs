//! The group's document as one Automerge file, and what applying the values of another would change.

use std::collections::BTreeMap;

use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use larder_core::machine::Machine;
use larder_core::resource::literal::Literal;
use larder_core::shard::root::Root;
use larder_core::shard::union::{Parts, UnionError};
use larder_core::value::Value;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::names::{self, Which};
use super::{Api, Body, Query, Reply, Shown};
use crate::failure::Failure;
use crate::limits;
use crate::view::{DocAuthor, DocAuthors, Plain, Plan};

/// Those who may unite a document now: each needs memory for a whole one more.
static UNITING: Semaphore = Semaphore::const_new(limits::UNIONS);

/// Values that a document wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DocPlan {
    /// In which group.
    pub group: Option<String>,
    /// Keys of the desired state, each with its value; `None` for nothing.
    pub keys: BTreeMap<String, Option<Plain>>,
}

impl From<UnionError> for Failure {
    fn from(error: UnionError) -> Self {
        let failure = Self::failed(error.to_string());
        match error {
            UnionError::Rebuilding => failure.hint("try again in a moment"),
            UnionError::Isolated(_) | UnionError::Defect(_) => failure,
        }
    }
}

pub(super) async fn export(State(api): State<Api>, Query(which): Query<Which>) -> Result<Response, Failure> {
    let _place = UNITING.acquire().await;
    let take = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        names::desired(of)?;
        of.group.flush();
        Ok::<_, Failure>(Parts::of(of.group.shards())?)
    };
    let parts = api.handle.look(take).await??;
    // It takes a second for a hundred thousand changes; the machine goes on meanwhile.
    let united = tokio::task::spawn_blocking(move || parts.unite()).await;
    let bytes =
        united.map_err(|error| Failure::failed(format!("the document cannot be united: {error}")))??;
    Ok(([(header::CONTENT_TYPE, "application/vnd.automerge")], Bytes::from(bytes)).into_response())
}

pub(super) async fn authors(State(api): State<Api>, Query(which): Query<Which>) -> Reply<DocAuthors> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        let mut authors = Vec::new();
        for shard in of.group.shards() {
            let name = |root: &Root| root.shard().to_string();
            authors.push(DocAuthor {
                actor: shard.root().actor().to_string(),
                node: None,
                shard: name(shard.root()),
                changes: 1,
            });
            for chain in shard.graph().chains() {
                let node = of.group.records().holder(&chain.grant).map(|(key, _)| key);
                authors.push(DocAuthor {
                    actor: chain.actor.to_string(),
                    node: node.map(|node| names::who(of, &node)),
                    shard: name(shard.root()),
                    changes: chain.len(),
                });
            }
        }
        authors.sort_by(|a, b| {
            (&a.shard, a.node.is_some(), &a.actor).cmp(&(&b.shard, b.node.is_some(), &b.actor))
        });
        Ok(Shown(DocAuthors { authors }))
    };
    api.handle.look(look).await?
}

pub(super) async fn plan(State(api): State<Api>, Body(wanted): Body<DocPlan>) -> Reply<Plan> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, wanted.group.as_deref())?;
        let desired = names::desired(of)?;
        let mut puts = BTreeMap::new();
        for (key, plain) in wanted.keys {
            let value = match plain.map(|plain| plain.0) {
                None => Value::Null,
                Some(Literal::Scalar(value)) => value,
                Some(Literal::List(_)) => {
                    return Err(Failure::usage(format!(
                        "the value of `{key}` is a list; a key holds one value"
                    )));
                }
            };
            let now = desired.state().winner(&key);
            // To unset what was never set is no difference.
            if now.unwrap_or(&Value::Null) != &value {
                puts.insert(key, value);
            }
        }
        Ok(Shown(Plan::new(desired, &puts)))
    };
    api.handle.look(look).await?
}
