//! Creating a group.

use super::Node;
use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::GroupState;
use crate::group::Group;
use crate::id::SecretKey;
use crate::limits;
use crate::record::{RecordSet, create_genesis};

impl Node {
    /// Creates a group of which this node is the founder and first admin.
    pub(super) fn create_group(&mut self, name: &str) -> Result<Response, RequestError> {
        if name.is_empty() || name.len() > limits::MAX_NAME_BYTES || name.chars().any(char::is_control) {
            return Err(RequestError::InvalidGroupName);
        }
        if self.groups.len() >= limits::MAX_GROUPS {
            return Err(RequestError::LimitReached("groups"));
        }
        let nonce = self.rng.next_nonce();
        let recovery_key = SecretKey::from_bytes(&self.rng.next_secret());
        let genesis = create_genesis(&self.secret, name, nonce, recovery_key.node_id());
        let records = RecordSet::from_genesis(genesis).ok_or(RequestError::InvalidGroupName)?;
        let mut state = GroupState::new(Group::new(records), self.now);
        let group = state.group.id();
        let mut rows = state.group.initial_rows();
        rows.push(state.to_row());
        self.groups.insert(group, state);
        self.outbox.store_batch(rows);
        self.outbox.push(Effect::Event(NodeEvent::GroupEntered { group }));
        self.outbox.push(Effect::DesiredChanged { group });
        Ok(Response::GroupCreated { group, recovery_key })
    }
}
