//! The joins that are not complete. [`super::join`] has the transitions.

use std::collections::BTreeMap;

use super::input::RequestId;
use crate::id::{GroupId, InviteId};
use crate::wire::invite_code::InviteCode;

/// How far a join has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinPhase {
    /// No member has answered.
    Searching,
    /// A member holds the request until the issuer of the code is reachable. The issuer's short id.
    WaitingForIssuer(String),
    /// The grant is here; the first sync is not complete.
    Granted,
}

/// A join that is not complete.
#[derive(Clone, Debug)]
pub struct PendingJoin {
    pub(super) code: InviteCode,
    pub(super) alias: String,
    pub(super) labels: Vec<(String, String)>,
    /// The request to respond to; `None` if its caller has gone, or the node was restarted.
    pub(super) request_id: Option<RequestId>,
    pub(super) phase: JoinPhase,
}

impl PendingJoin {
    /// How far the join has come.
    pub fn phase(&self) -> &JoinPhase {
        &self.phase
    }

    /// True once the grant is here.
    pub fn is_granted(&self) -> bool {
        self.phase == JoinPhase::Granted
    }

    /// The short id of the issuer that a member waits for.
    pub fn waiting_for_issuer(&self) -> Option<&str> {
        match &self.phase {
            JoinPhase::WaitingForIssuer(issuer) => Some(issuer),
            JoinPhase::Searching | JoinPhase::Granted => None,
        }
    }
}

/// The joins that are not complete, by group.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingJoins(pub(super) BTreeMap<GroupId, PendingJoin>);

impl PendingJoins {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &PendingJoin)> {
        self.0.iter()
    }

    /// The join of `group`, if its grant is not here.
    pub(super) fn unfinished(&self, group: &GroupId) -> Option<&PendingJoin> {
        self.0.get(group).filter(|join| !join.is_granted())
    }

    fn unfinished_mut(&mut self, group: &GroupId) -> Option<&mut PendingJoin> {
        self.0.get_mut(group).filter(|join| !join.is_granted())
    }

    /// True if the grant of any join is not here.
    pub(super) fn is_searching(&self) -> bool {
        self.0.values().any(|join| !join.is_granted())
    }

    /// The next group to ask a peer about, after `last`.
    pub(super) fn next_to_probe(&self, last: Option<GroupId>) -> Option<GroupId> {
        let mut unfinished = self.0.iter().filter(|(_, join)| !join.is_granted());
        unfinished.find(|(group, _)| Some(**group) > last).map(|(group, _)| *group)
    }

    pub(super) fn on_waiting_for_issuer(&mut self, group: &GroupId, issuer: String) {
        if let Some(join) = self.unfinished_mut(group) {
            join.phase = JoinPhase::WaitingForIssuer(issuer);
        }
    }

    pub(super) fn on_granted(&mut self, group: &GroupId) {
        if let Some(join) = self.0.get_mut(group) {
            join.phase = JoinPhase::Granted;
        }
    }

    /// Ends the unfinished join of `group` if it was requested by `invite`.
    pub(super) fn remove_denied(&mut self, group: &GroupId, invite: &InviteId) -> Option<PendingJoin> {
        self.unfinished(group).filter(|join| join.code.invite_id() == *invite)?;
        self.0.remove(group)
    }

    /// The caller of a request has gone.
    pub(super) fn cancel_request(&mut self, request_id: RequestId) {
        for join in self.0.values_mut() {
            join.request_id.take_if(|waiting| *waiting == request_id);
        }
    }
}
