//! Joining a group by an invite code. The node asks every node that it sees whether it is in the group,
//! without naming the group, and sends its join request to one that proves that it is
//! (`guest_streams::opener`).
//!
//! | phase | event | next |
//! |---|---|---|
//! | `Searching` | a member waits for the issuer of the code | `WaitingForIssuer` |
//! | `Searching`, `WaitingForIssuer` | the grant arrives | `Granted` |
//! | `Searching`, `WaitingForIssuer` | a member denies the code | ended: the request fails |
//! | `Granted` | the first sync with a member is complete | ended: the request succeeds |
//! | any | the operator joins the same group again | replaced by a new `Searching`: the request fails |

use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::GroupState;
use super::input::{AliasAndLabels, RequestId};
use super::node_context::NodeContext;
use super::pending_joins::{JoinPhase, PendingJoin};
use super::protocol_error::ProtocolError;
use crate::group::Group;
use crate::id::{GroupId, InviteId};
use crate::limits;
use crate::record::RecordSet;
use crate::store::{JoinRow, LAYOUT_VERSION, Row, Table, key};
use crate::wire::guest::JoinDenial;
use crate::wire::invite_code::InviteCode;

/// A member denied the join of `group` by `invite`.
pub(super) fn on_denied(ctx: &mut NodeContext<'_>, group: GroupId, invite: &InviteId, denial: JoinDenial) {
    let Some(join) = ctx.joins.remove_denied(&group, invite) else { return };
    ctx.outbox.store_batch(vec![Row::remove(Table::Joins, key::for_group(group))]);
    ctx.outbox.respond_if_waiting(join.request_id, Err(RequestError::JoinDenied(denial)));
}

/// Enters a group with the records of a grant to this node. False if the grant does not count, as this node
/// knows and the member that issued it does not.
pub(super) fn enter_group(ctx: &mut NodeContext<'_>, records: RecordSet) -> Result<bool, ProtocolError> {
    let group = records.group();
    let remove_join = Row::remove(Table::Joins, key::for_group(group));
    if let Some((state, mut ctx)) = ctx.group(group) {
        // This node was a member before.
        let outcome = state.group.apply_records(records.iter().cloned());
        state.sync(&mut ctx).on_records_ingested(outcome, None);
        state.leave_confirmed = false;
        if !state.is_member(&ctx.own_id) {
            return Ok(false);
        }
        ctx.outbox.store_batch(vec![remove_join]);
    } else {
        let new_group = Group::new(records);
        if !new_group.members().is_member(&ctx.own_id) {
            return Err(ProtocolError::UselessGrant);
        }
        let mut state = GroupState::new(new_group, ctx.now);
        let mut rows = state.group.initial_rows();
        rows.extend([state.to_row(), remove_join]);
        ctx.groups.insert(group, state);
        ctx.outbox.store_batch(rows);
    }
    ctx.joins.on_granted(&group);
    ctx.outbox.push(Effect::Event(NodeEvent::GroupEntered { group }));
    ctx.outbox.push(Effect::DesiredChanged { group });
    Ok(true)
}

/// Starts to join a group, or goes on after a restart: then `request_id` is `None`.
pub(super) fn start(
    ctx: &mut NodeContext<'_>,
    request_id: Option<RequestId>,
    code: InviteCode,
    (alias, labels): AliasAndLabels,
) {
    if let Err(error) = check_start(ctx, &code.group) {
        return ctx.outbox.respond_if_waiting(request_id, Err(error));
    }
    let row = JoinRow {
        version: LAYOUT_VERSION,
        code: code.to_bytes(),
        alias: alias.clone(),
        labels: labels.clone(),
    };
    let group = code.group;
    ctx.outbox.store_batch(vec![Row::put_encoded(Table::Joins, key::for_group(group), &row)]);
    let join = PendingJoin { code, alias, labels, request_id, phase: JoinPhase::Searching };
    let replaced = ctx.joins.0.insert(group, join);
    let replaced_id = replaced.and_then(|replaced| replaced.request_id);
    ctx.outbox.respond_if_waiting(replaced_id, Err(RequestError::JoinReplaced));
    ctx.backoff.reset();
}

fn check_start(ctx: &NodeContext<'_>, group: &GroupId) -> Result<(), RequestError> {
    let joins = &ctx.joins.0;
    if ctx.groups.get(group).is_some_and(|state| state.is_member(&ctx.own_id)) {
        return Err(RequestError::AlreadyMember);
    }
    if ctx.groups.len() + joins.len() >= limits::MAX_GROUPS && !joins.contains_key(group) {
        return Err(RequestError::LimitReached("groups"));
    }
    Ok(())
}

/// Ends the joins whose group is in sync with a member.
pub(super) fn finish_synced(ctx: &mut NodeContext<'_>) {
    let is_complete = |group: &GroupId, join: &PendingJoin| {
        let state = ctx.groups.get(group).filter(|_| join.is_granted());
        state.is_some_and(|state| state.sessions.values().any(|session| session.has_synced()))
    };
    let complete = ctx.joins.iter().filter(|(group, join)| is_complete(group, join));
    for group in complete.map(|(group, _)| *group).collect::<Vec<_>>() {
        let request_id = ctx.joins.0.remove(&group).and_then(|join| join.request_id);
        ctx.outbox.respond_if_waiting(request_id, Ok(Response::Joined(group)));
    }
}
