//! The unaccepted changes of a group, each with the reason and with advice.

use axum::extract::State;
use larder_core::group::{ChangeNote, UnacceptedChange, UnacceptedReason};
use larder_core::id::ShardId;
use larder_core::node::{GroupState, Node};
use larder_core::record::Signer;
use larder_core::resource::list_item::ListItem;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::params::{GroupPath, group_state, node_ref};
use super::{ApiContext, ApiResult, JsonResponse};
use crate::dto::{JsonTime, JsonValue, QuarantineList, QuarantineState, QuarantinedChange};
use crate::time;

pub(super) async fn list_quarantine(
    State(api): State<ApiContext>,
    GroupPath(group): GroupPath,
) -> ApiResult<QuarantineList> {
    let query = move |local_node: &mut Node| {
        let state = group_state(local_node, &group)?;
        let mut entries: Vec<(i64, QuarantinedChange)> = state
            .group
            .shard_states()
            .unaccepted_sets()
            .flat_map(|(shard_id, unaccepted)| unaccepted.iter().map(move |change| (shard_id, change)))
            .map(|(shard_id, change)| (change.delta().time, quarantined_change(state, shard_id, change)))
            .collect();
        entries.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        Ok(JsonResponse(QuarantineList { changes: entries.into_iter().map(|(_, row)| row).collect() }))
    };
    api.handle.query(query).await?
}

fn quarantined_change(
    state: &GroupState,
    shard_id: &ShardId,
    change: &UnacceptedChange,
) -> QuarantinedChange {
    let delta = change.delta();
    let note = ChangeNote::decode(&delta.message, delta.time);
    let puts = delta.puts.iter().map(|put| {
        let value = match ListItem::decode(&put.value) {
            Some(item) => Some(item.value),
            None => Some(put.value.clone()).filter(|value| *value != Value::Null),
        };
        (put.key.clone(), value.map(|value| JsonValue(Literal::Scalar(value))))
    });
    QuarantinedChange {
        id: change.id().to_string(),
        shard: state
            .group
            .shard_by_id(shard_id)
            .map(|shard| shard.root().name().to_string())
            .unwrap_or_default(),
        node: node_ref(state, &change.author),
        user: note.user,
        time: JsonTime(note.time),
        message: note.message,
        state: if change.is_replicated { QuarantineState::Replicated } else { QuarantineState::Quarantine },
        reason: reason_text(state, state.group.unaccepted_reason(shard_id, change)),
        readmit_hint: "an admin runs `larder quarantine readmit`, or an operator `larder quarantine rewrite`"
            .to_owned(),
        puts: puts.collect(),
    }
}

fn reason_text(state: &GroupState, reason: UnacceptedReason) -> String {
    match reason {
        UnacceptedReason::GrantEnded(record) => {
            let record = state.group.records().get(&record).map(larder_core::record::SignedRecord::record);
            let holder = record.and_then(|record| state.group.records().holder_and_role(&record.grant));
            let revoked_by = match (record.map(|record| record.signer), holder) {
                (Some(Signer::Holder), Some((key, _))) => state.alias_of(&key).unwrap_or_else(|| key.short()),
                _ => "the recovery key".to_owned(),
            };
            let revoked_at = record.and_then(|record| record.note.as_ref()).map(|remark| remark.time);
            let on_date = revoked_at.map(|when| format!(" on {}", time::local(when))).unwrap_or_default();
            format!("{revoked_by} ended the membership of its author{on_date}; this change does not count")
        }
        UnacceptedReason::GrantIneffective => {
            "the node that admitted its author was no admin any more".to_owned()
        }
        UnacceptedReason::LostFork(winner) => {
            format!("the history of its author forked, and the branch of {} was kept", winner.short())
        }
        UnacceptedReason::BuiltOnUnaccepted(dependency) => {
            format!("it builds on {}, which is unaccepted", dependency.short())
        }
        UnacceptedReason::TooManyBranches => {
            "the history of its author has more branches than a node keeps".to_owned()
        }
    }
}
