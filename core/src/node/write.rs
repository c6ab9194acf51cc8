//! Founding groups, and writing to their desired state.

use std::collections::BTreeMap;

use super::Node;
use super::admission;
use super::effect::{Effect, NodeEvent, RequestError, Response};
use super::group_state::GroupState;
use super::input::{RequestId, WriteRequest};
use crate::group::{ChangeNote, Group};
use crate::history::{self, RevertRequest};
use crate::id::{ChangeId, GroupId};
use crate::limits;
use crate::record::RecordSet;
use crate::resource::edit_transaction;
use crate::shard::root::ShardName;
use crate::value::Value;

impl Node {
    pub(super) fn create_group(&mut self, request_id: RequestId, name: &str) {
        let is_valid =
            !name.is_empty() && name.len() <= limits::MAX_NAME_BYTES && !name.chars().any(char::is_control);
        if !is_valid {
            return self.respond_error(request_id, RequestError::InvalidGroupName);
        }
        if self.groups.len() >= limits::MAX_GROUPS {
            return self.respond_error(request_id, RequestError::LimitReached("groups"));
        }
        let (genesis, recovery_key) =
            admission::create_genesis(&self.secret, name, self.rng.next_nonce(), self.rng.next_secret());
        let Some(records) = RecordSet::from_genesis(genesis) else {
            return self.respond_error(request_id, RequestError::InvalidGroupName);
        };
        let mut state = GroupState::new(Group::new(records), self.now);
        let group = state.group.id();
        let mut rows = state.group.initial_rows();
        rows.push(state.to_row());
        self.groups.insert(group, state);
        self.outbox.store_batch(rows);
        self.outbox.push(Effect::Event(NodeEvent::GroupEntered { group }));
        self.outbox.push(Effect::DesiredChanged { group });
        self.outbox.respond(request_id, Ok(Response::GroupCreated { group, recovery_key }));
    }

    pub(super) fn handle_write_request(&mut self, request_id: RequestId, request: WriteRequest) {
        let written = self.execute_write(request);
        self.outbox.respond(request_id, written.map(Response::Written));
    }

    fn execute_write(&mut self, request: WriteRequest) -> Result<Option<ChangeId>, RequestError> {
        let WriteRequest { group, edits, expected_heads: base, note, allow_unknown: lenient } = request;
        self.write_change(group, note, |state| {
            let desired = state.group.desired().ok_or(RequestError::UnknownGroup)?;
            if let Some(expected_heads) = base
                && !has_same_heads(&expected_heads, &desired.graph().heads())
            {
                let short: Vec<String> = expected_heads.iter().map(ChangeId::short).collect();
                return Err(RequestError::HeadsChanged(short.join(", ")));
            }
            Ok(edit_transaction::plan_edits(desired, &edits, lenient)?)
        })
    }

    pub(super) fn handle_revert_request(
        &mut self,
        request_id: RequestId,
        group: GroupId,
        revert: &RevertRequest,
        note: ChangeNote,
    ) {
        let written = self.write_change(group, note, |state| {
            // What was before is read from the document.
            state.group.flush_documents();
            let desired = state.group.desired().ok_or(RequestError::UnknownGroup)?;
            Ok(history::plan_revert(desired, state.group.members(), revert)?)
        });
        self.outbox.respond(request_id, written.map(Response::Written));
    }

    /// Writes what is drawn up as one change of this node.
    fn write_change(
        &mut self,
        group: GroupId,
        mut note: ChangeNote,
        plan_puts: impl FnOnce(&mut GroupState) -> Result<BTreeMap<String, Value>, RequestError>,
    ) -> Result<Option<ChangeId>, RequestError> {
        note.time = self.now.unix_secs;
        let new_incarnation = self.rng.next_incarnation();
        let (state, mut ctx) = self.group_with_context(group).ok_or(RequestError::UnknownGroup)?;
        if state.refetching {
            return Err(RequestError::Refetching);
        }
        let puts = plan_puts(state)?;
        let written = state.group.write(ctx.secret, ShardName::Desired, puts, &note, new_incarnation)?;
        let id = written.change_id;
        state.on_written(&mut ctx, written);
        Ok(id)
    }
}

fn has_same_heads(expected_heads: &[ChangeId], heads: &[ChangeId]) -> bool {
    let mut expected_heads = expected_heads.to_vec();
    expected_heads.sort_unstable();
    expected_heads == heads
}
