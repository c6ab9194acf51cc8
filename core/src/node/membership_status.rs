//! Whether this node is a member of its groups, has left or was removed, and what follows for its links.

use std::collections::{BTreeMap, BTreeSet};

use super::group_state::{GroupContext, GroupState};
use super::input::{LinkId, MonoTime};
use super::protocol_error::ProtocolError;
use crate::group::Group;
use crate::id::NodeId;
use crate::limits;
use crate::record::{Membership, RecordBody, RecordNote, RecordSet, Signer};
use crate::wire::member::{GroupFrame, RecordBatch};

/// The membership status of a key in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MembershipStatus {
    /// The key holds an effective grant.
    Member,
    /// The key revoked its own grants.
    Left,
    /// Other members revoked the grants of the key.
    Removed,
    /// The group is dissolved.
    Dissolved,
    /// The key never held an effective grant.
    Stranger,
}

impl MembershipStatus {
    /// Evaluates the status of `key`.
    pub fn for_key(members: &Membership, key: &NodeId) -> Self {
        if members.dissolved_by().is_some() {
            return Self::Dissolved;
        }
        if members.is_member(key) {
            return Self::Member;
        }
        let mut ended_grants = members.ended_grants_of(key).peekable();
        if ended_grants.peek().is_none() {
            return Self::Stranger;
        }
        let revocations_by_holder = |grant| members.revocations(grant).iter().all(|ending| ending.by_holder);
        if ended_grants.all(|grant| revocations_by_holder(&grant.grant)) { Self::Left } else { Self::Removed }
    }
}

/// Who ended a membership, when and why. Time and reason are the signer's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipEnd {
    /// The member that signed the record; `None` if the recovery key did.
    pub signer: Option<NodeId>,
    /// The note of the record: time, user and reason.
    pub note: RecordNote,
}

impl MembershipEnd {
    /// Finds the end of the membership of `key`: its newest revocation, or the dissolution of the group.
    pub fn for_key(group: &Group, key: &NodeId) -> Option<Self> {
        let members = group.members();
        let revocations = members.ended_grants_of(key).flat_map(|grant| members.revocations(&grant.grant));
        let newest_record = |records: &RecordSet, ids: &mut dyn Iterator<Item = crate::id::RecordId>| {
            let signed = ids.filter_map(|id| records.get(&id));
            signed
                .map(crate::record::SignedRecord::record)
                .max_by_key(|record| (record.note.as_ref().map(|remark| remark.time), record.seq))
                .cloned()
        };
        let record = match members.dissolved_by() {
            Some(id) => group.records().get(&id)?.record().clone(),
            None => newest_record(group.records(), &mut revocations.map(|ending| ending.record))?,
        };
        debug_assert!(matches!(record.body, RecordBody::Revoke(_) | RecordBody::Dissolve));
        let holder_of_grant = || group.records().holder_and_role(&record.grant).map(|(key, _)| key);
        let signer = if record.signer == Signer::Recovery { None } else { holder_of_grant() };
        Some(Self { signer, note: record.note.unwrap_or_default() })
    }
}

impl GroupState {
    /// True if this node is a member.
    pub(super) fn is_member(&self, me: &NodeId) -> bool {
        self.group.members().is_member(me)
    }

    /// True if this node keeps links with the members. After it left, it does so until one member has the
    /// record.
    pub(super) fn needs_links(&self, me: &NodeId) -> bool {
        let has_left = || MembershipStatus::for_key(self.group.members(), me) == MembershipStatus::Left;
        self.is_member(me) || (!self.leave_confirmed && has_left())
    }

    /// A member refused a link. If this node left the group, that member has the record.
    pub(super) fn on_link_refused(&mut self, me: &NodeId, peer: &NodeId) {
        let members = self.group.members();
        if members.is_member(peer) && MembershipStatus::for_key(members, me) == MembershipStatus::Left {
            self.leave_confirmed = true;
        }
    }

    /// Closes sessions with former members; all sessions, if this node is no member.
    pub(super) fn close_nonmember_sessions(&mut self, ctx: &mut GroupContext<'_>) {
        let self_is_member = self.is_member(&ctx.own_id);
        let members = self.group.members();
        let nonmember_links: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| !self_is_member || !members.is_member(&session.peer))
            .map(|(link, _)| *link)
            .collect();
        for link in nonmember_links {
            ctx.send(link, &GroupFrame::StopSync);
            self.sync(ctx).close_session(link);
        }
        // The membership changed, so proofs are requested and sent again.
        self.proof_requested.clear();
        self.proof_sent.clear();
        let remaining: BTreeSet<NodeId> = self.group.members().nodes().collect();
        self.liveness.retain(&remaining);
    }

    /// Answers a frame of a peer that is not known as a member: sends the records that ended its membership,
    /// and asks for a membership proof.
    pub(super) fn challenge_nonmember(&mut self, ctx: &mut GroupContext<'_>, link: LinkId, peer: NodeId) {
        if !mark_if_due(&mut self.proof_requested, link, ctx.now.mono) {
            return;
        }
        let evidence = self.group.membership_records().removal_proof(&peer);
        if !evidence.is_empty() {
            self.sync(ctx).send_records(link, &evidence);
        }
        // The peer may have been admitted again by a grant that is not here.
        ctx.send(link, &GroupFrame::ProveMembership);
    }

    /// Sends the record by which this node left, once for each link.
    pub(super) fn send_leave_records(&mut self, ctx: &mut GroupContext<'_>, link: LinkId) {
        if self.proof_requested.insert(link, ctx.now.mono).is_none() {
            let records = self.group.membership_records().removal_proof(&ctx.own_id);
            let records = records.iter().map(crate::record::SignedRecord::encode).collect();
            ctx.send(link, &GroupFrame::GrantPath(RecordBatch { records, is_last: true }));
        }
    }

    /// Handles a frame of a group in which this node is no member. Only records matter, since they may make
    /// it one.
    pub(super) fn on_frame_as_nonmember(
        &mut self,
        ctx: &mut GroupContext<'_>,
        link: LinkId,
        peer: NodeId,
        frame: &GroupFrame,
    ) -> Result<(), ProtocolError> {
        let has_left = MembershipStatus::for_key(self.group.members(), &ctx.own_id) == MembershipStatus::Left;
        match frame {
            GroupFrame::RecordBatch(bundle) | GroupFrame::GrantPath(bundle) => {
                self.sync(ctx).on_records(link, bundle)?
            }
            // The neighbour has the record: it closes the session in response.
            GroupFrame::StopSync if self.proof_requested.contains_key(&link) => self.leave_confirmed = true,
            _ if has_left && self.group.members().is_member(&peer) => self.send_leave_records(ctx, link),
            _ => {}
        }
        Ok(())
    }
}

/// True if a proof is due on a link. Once is not enough, since the membership may change on one side only;
/// without a pause the links would be flooded.
pub(super) fn mark_if_due(last_sent: &mut BTreeMap<LinkId, MonoTime>, link: LinkId, now: MonoTime) -> bool {
    let is_due = last_sent
        .get(&link)
        .is_none_or(|sent_at| now.ms_since(*sent_at) >= limits::MEMBERSHIP_PROOF_RETRY_MS);
    if is_due {
        last_sent.insert(link, now);
    }
    is_due
}
