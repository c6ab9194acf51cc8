//! Writes to the desired state of a group: edits, and reverts of earlier changes.

use std::collections::BTreeMap;

use super::effect::{RequestError, Response};
use super::group_state::{GroupContext, GroupState};
use super::input::WriteRequest;
use crate::group::{ChangeNote, Group};
use crate::history::{self, RevertRequest};
use crate::id::ChangeId;
use crate::resource::edit_transaction;
use crate::shard::root::ShardName;
use crate::value::Value;

/// Writes edits as one change.
pub(super) fn write_edits(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    request: WriteRequest,
) -> Result<Response, RequestError> {
    let WriteRequest { edits, expected_heads, note, allow_unknown, .. } = request;
    write_change(state, ctx, note, |group| {
        let desired = group.desired().ok_or(RequestError::UnknownGroup)?;
        if let Some(mut expected_heads) = expected_heads {
            expected_heads.sort_unstable();
            if expected_heads != desired.graph().heads() {
                let short: Vec<String> = expected_heads.iter().map(ChangeId::short).collect();
                return Err(RequestError::HeadsChanged(short.join(", ")));
            }
        }
        Ok(edit_transaction::plan_edits(desired, &edits, allow_unknown)?)
    })
}

/// Writes the change that takes back earlier changes.
pub(super) fn revert(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    revert: &RevertRequest,
    note: ChangeNote,
) -> Result<Response, RequestError> {
    write_change(state, ctx, note, |group| {
        // Earlier values are read from the document.
        group.flush_documents();
        let desired = group.desired().ok_or(RequestError::UnknownGroup)?;
        Ok(history::plan_revert(desired, group.members(), revert)?)
    })
}

/// Writes what `plan_puts` returns as one change of this node.
fn write_change(
    state: &mut GroupState,
    ctx: &mut GroupContext<'_>,
    mut note: ChangeNote,
    plan_puts: impl FnOnce(&mut Group) -> Result<BTreeMap<String, Value>, RequestError>,
) -> Result<Response, RequestError> {
    note.time = ctx.now.unix_secs;
    if state.refetching {
        return Err(RequestError::Refetching);
    }
    let puts = plan_puts(&mut state.group)?;
    let incarnation = ctx.rng.next_incarnation();
    let written = state.group.write(ctx.secret, ShardName::Desired, puts, &note, incarnation)?;
    let change_id = written.change_id;
    state.on_written(ctx, written);
    Ok(Response::Written(change_id))
}
