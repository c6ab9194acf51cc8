//! Creating a group.

use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::GroupState;
use super::node_context::NodeContext;
use crate::group::Group;
use crate::id::SecretKey;
use crate::limits;
use crate::record::{RecordSet, create_genesis};

/// Creates a group of which this node is the founder and first admin.
pub(super) fn create_group(ctx: &mut NodeContext<'_>, name: &str) -> Result<Response, RequestError> {
    if name.is_empty() || name.len() > limits::MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(RequestError::InvalidGroupName);
    }
    if ctx.groups.values().any(|state| state.group.name() == name) {
        return Err(RequestError::GroupNameTaken(name.to_owned()));
    }
    if ctx.groups.len() >= limits::MAX_GROUPS {
        return Err(RequestError::LimitReached("groups"));
    }
    let nonce = ctx.rng.next_nonce();
    let recovery_key = SecretKey::from_bytes(&ctx.rng.next_secret());
    let genesis = create_genesis(ctx.secret, name, nonce, recovery_key.node_id());
    let records = RecordSet::from_genesis(genesis).ok_or(RequestError::InvalidGroupName)?;
    let mut state = GroupState::new(Group::new(records), ctx.now);
    let group = state.group.id();
    let mut rows = state.group.initial_rows();
    rows.push(state.to_row());
    ctx.groups.insert(group, state);
    ctx.outbox.store_batch(rows);
    ctx.outbox.push(Effect::Event(NodeEvent::GroupEntered { group }));
    ctx.outbox.push(Effect::DesiredChanged { group });
    Ok(Response::GroupCreated { group, recovery_key })
}
