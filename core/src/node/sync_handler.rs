//! The handler that joins a group's state with what the node lends it, for one input.

use super::group_state::{GroupContext, GroupState};

/// Syncs one group with the node's neighbours. The methods stand in `anti_entropy` (comparing digests),
/// `fetch` (requesting ranges) and `broadcast` (sending new changes).
pub(super) struct SyncHandler<'s, 'c> {
    pub(super) state: &'s mut GroupState,
    pub(super) ctx: &'s mut GroupContext<'c>,
}

impl GroupState {
    pub(super) fn sync<'s, 'c>(&'s mut self, ctx: &'s mut GroupContext<'c>) -> SyncHandler<'s, 'c> {
        SyncHandler { state: self, ctx }
    }
}
