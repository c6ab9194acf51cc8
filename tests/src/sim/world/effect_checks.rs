//! Checks every single effect, and records the rare situations that an effect shows.

use std::collections::BTreeSet;

use larder_core::delta::encoded_change::EncodedChange;
use larder_core::delta::{Delta, columnar};
use larder_core::group::{UnacceptedChange, UnacceptedReason, WriteError};
use larder_core::id::{ChangeId, GroupId, NodeId};
use larder_core::node::{Effect, GroupState, LinkId, LinkKind, NodeEvent, RequestError, Response};
use larder_core::resource::edit::EditError;
use larder_core::shard::root::{ShardName, ShardRoot};
use larder_core::store::{Row, RowReader, Table, UnacceptedRow, decode_layout, key};
use larder_core::wire::guest::GuestFrame;
use larder_core::wire::member::{GroupFrame, MemberFrame, PushedChanges, RangeResponse};

use super::super::invariants::Invariant;
use super::{PendingWrite, World};

/// The time for which frames that were queued before a node learned of a removal may still be sent.
const QUEUED_GRACE_US: u64 = 30_000_000;

impl World {
    /// Checks an effect before it is carried out.
    pub(super) fn check_effect(&mut self, node: usize, effect: &Effect) {
        match effect {
            Effect::Send { link, bytes } => self.check_frame(node, *link, bytes),
            Effect::Store { rows, .. } => self.check_rows(node, rows),
            Effect::Event(notice) => self.check_event(node, notice),
            _ => {}
        }
    }

    fn check_event(&mut self, node: usize, notice: &NodeEvent) {
        match notice {
            NodeEvent::ProtocolViolation { peer, .. }
                if self.node_index_of(peer).is_none_or(|peer| self.nodes[peer].has_forged) => {}
            NodeEvent::ProtocolViolation { peer, error } if !self.faults.breaks_stream_order() => {
                self.record_violation(
                    Invariant::Blame,
                    format!("node {node} blames {}: {error}", peer.short()),
                );
            }
            NodeEvent::ShardIsolated { reason: what, .. } => {
                self.record_violation(Invariant::Sound, format!("node {node} isolated a shard: {what}"));
            }
            NodeEvent::GroupRepaired { .. } => self.coverage.record("refetched"),
            NodeEvent::DuplicateKey { .. } if self.nodes[node].was_damaged => {}
            NodeEvent::DuplicateKey { .. } | NodeEvent::IncarnationRenewed { .. }
                if self.nodes[node].was_copied || self.nodes[node].has_forged => {}
            NodeEvent::DuplicateKey { .. } | NodeEvent::IncarnationRenewed { .. } => {
                self.record_violation(
                    Invariant::Sound,
                    format!("node {node} takes itself for a copy: {notice:?}"),
                );
            }
            _ => {}
        }
    }

    fn check_rows(&mut self, node: usize, rows: &[Row]) {
        for row in rows {
            match row.table {
                Table::Snapshots => self.coverage.record("snapshot"),
                Table::Checkpoints => self.coverage.record("mark"),
                Table::Changes => self.record_merged_heads(row.value.as_deref().unwrap_or_default()),
                _ => {}
            }
            let group = row.key.get(..16).and_then(GroupId::from_slice);
            if let Some(group) = group.filter(|group| !self.invited_nodes.contains_key(group))
                && self.founding_node == Some(node)
            {
                self.invited_nodes.entry(group).or_default().insert(node);
            }
            let of_group = !matches!(row.table, Table::Meta | Table::Addresses);
            if of_group && !group.is_some_and(|group| self.was_invited(&group, node)) {
                let table = row.table.name();
                self.record_violation(
                    Invariant::Members,
                    format!("node {node} stores {table} of a group it is not in"),
                );
            }
        }
    }

    fn record_merged_heads(&mut self, bytes: &[u8]) {
        if Delta::decode(bytes).is_ok_and(|delta| delta.deps.len() > 2) {
            self.coverage.record("merged-heads");
        }
    }

    fn was_invited(&self, group: &GroupId, node: usize) -> bool {
        self.invited_nodes.get(group).is_some_and(|nodes| nodes.contains(&node))
    }

    fn check_frame(&mut self, node: usize, link: LinkId, bytes: &[u8]) {
        let Some((_, to)) = self.network.end_of(link, node) else { return };
        let kind = self.network.streams.get(&link).map(|stream| stream.kind);
        if kind != Some(LinkKind::Member) {
            if matches!(GuestFrame::decode(bytes), Ok(GuestFrame::MembershipEnded(_))) {
                self.coverage.record("told-removed");
            }
            // A joining node may retry for ever if the issuer of its invite code is gone.
            self.traffic += u64::from(!self.changes_membership);
            return;
        }
        let frame = match MemberFrame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                return self.record_violation(Invariant::Sound, format!("node {node} sends {error}"));
            }
        };
        let MemberFrame::Group(group, frame) = frame else {
            self.traffic += u64::from(matches!(frame, MemberFrame::Unknown(_)));
            return;
        };
        if !self.was_invited(&group, to) {
            let detail = format!("node {node} sends {frame:?} of {} that {to} is not in", group.short());
            self.record_violation(Invariant::Members, detail);
        }
        self.check_frame_to_non_member(node, to, group, &frame);
        match &frame {
            GroupFrame::Presence(_) => return,
            GroupFrame::RecordBatch(_) => self.coverage.record("records"),
            GroupFrame::GrantPath(_) => self.coverage.record("line-shown"),
            GroupFrame::ForwardedJoin(_) | GroupFrame::ForwardedResponse(_) if self.changes_membership => {
                return self.coverage.record("carried");
            }
            GroupFrame::ForwardedJoin(_) => self.coverage.record("carried"),
            GroupFrame::RangeResponse(batch) => {
                if batch.has_more {
                    self.coverage.record("window-more");
                }
                self.check_batch(node, group, batch);
            }
            GroupFrame::Push(push) => self.check_push(node, group, push),
            _ => {}
        }
        self.traffic += 1;
    }

    /// Checks that a node sends no changes to a node that it knows as a non-member. Frames that were queued
    /// before it learned this may still be sent.
    fn check_frame_to_non_member(&mut self, node: usize, to: usize, group: GroupId, frame: &GroupFrame) {
        let serves = !matches!(
            frame,
            GroupFrame::RecordBatch(_)
                | GroupFrame::GrantPath(_)
                | GroupFrame::ProveMembership
                | GroupFrame::StopSync
        );
        if !serves || !self.changes_membership {
            return;
        }
        let is_member =
            |state: &GroupState| state.group.members().is_member(&self.nodes[to].secret.node_id());
        let core_node = self.nodes[node].core_node.as_ref();
        if core_node.and_then(|core_node| core_node.group(&group)).is_none_or(is_member) {
            self.non_member_since.remove(&(node, to, group));
            return;
        }
        let since = *self.non_member_since.entry((node, to, group)).or_insert(self.now);
        if self.now - since > QUEUED_GRACE_US {
            let detail = format!("node {node} sends {frame:?} to {to}, which it knows to be no member");
            self.record_violation(Invariant::NonMembers, detail);
        }
    }

    /// Records since when each change is in quarantine.
    pub(super) fn track_quarantine(&mut self, node: usize) {
        let Some(core_node) = self.nodes[node].core_node.as_ref().filter(|_| self.changes_membership) else {
            return;
        };
        let unaccepted = core_node
            .groups()
            .flat_map(|state| state.group.shard_states().unaccepted_sets())
            .flat_map(|(_, set)| set.iter());
        let mut ids: BTreeSet<ChangeId> = BTreeSet::new();
        ids.extend(unaccepted.filter(|change| !change.is_replicated).map(UnacceptedChange::id));
        let is_evidence = |state: &GroupState| {
            let all = state
                .group
                .shard_states()
                .unaccepted_sets()
                .flat_map(|(shard_id, set)| set.iter().map(move |one| (shard_id, one)));
            let mut kept = all.filter(|(_, one)| {
                one.is_replicated && state.group.members().frontier_changes().contains(&one.id())
            });
            kept.any(|(shard_id, one)| {
                matches!(state.group.unaccepted_reason(shard_id, one), UnacceptedReason::GrantEnded(_))
            })
        };
        if core_node.groups().any(is_evidence) {
            self.coverage.record("evidence");
        }
        self.quarantined_since
            .retain(|(quarantining_node, id), _| *quarantining_node != node || ids.contains(id));
        for id in ids {
            self.quarantined_since.entry((node, id)).or_insert(self.now);
        }
    }

    /// Checks that no quarantined change is sent, except one that was queued before it was quarantined.
    fn check_not_quarantined(&mut self, node: usize, ids: &[ChangeId]) {
        let since = |id: &ChangeId| self.quarantined_since.get(&(node, *id)).copied();
        let is_still_quarantined =
            |id: &&ChangeId| since(id).is_some_and(|since| self.now - since > QUEUED_GRACE_US / 6);
        if let Some(id) = ids.iter().find(is_still_quarantined) {
            let detail = format!("node {node} passes {} on, which is in its quarantine", id.short());
            self.record_violation(Invariant::NonMembers, detail);
        }
    }

    fn check_batch(&mut self, node: usize, group: GroupId, batch: &RangeResponse) {
        let has_unaccepted = |state: &GroupState| state.group.unaccepted_in(&batch.shard_id).is_some();
        let core_node = self.nodes[node].core_node.as_ref();
        if !core_node.and_then(|core_node| core_node.group(&group)).is_some_and(has_unaccepted) {
            return;
        }
        let root = ShardRoot::derive(group, ShardName::Desired);
        if root.shard_id() == batch.shard_id
            && let Ok(read) = columnar::decode(&root, &batch.columns)
        {
            let ids: Vec<ChangeId> = read.changes.iter().map(EncodedChange::id).collect();
            self.check_not_quarantined(node, &ids);
        }
    }

    /// Checks that every pushed change is durable.
    fn check_push(&mut self, node: usize, group: GroupId, push: &PushedChanges) {
        for change in &push.changes {
            let Ok(delta) = Delta::decode(&change.delta) else { continue };
            if self.changes_membership {
                let root = ShardRoot::derive(group, ShardName::Desired);
                if let Ok(composed) = EncodedChange::new(&root, delta.clone()) {
                    self.check_not_quarantined(node, &[composed.id()]);
                }
            }
            let chain = key::chain_from_seq(group, push.shard_id, delta.chain_id(group), delta.seq);
            let Ok(rows) = self.nodes[node].disk.rows.read_rows(Table::Changes, &chain);
            let Ok(unaccepted_rows) = self.nodes[node].disk.rows.read_rows(Table::Unaccepted, &chain);
            let is_unaccepted = |stored: &[u8]| {
                decode_layout::<UnacceptedRow>(stored).is_some_and(|row| row.delta == change.delta)
            };
            let durable = rows.iter().any(|(_, stored)| *stored == change.delta)
                || unaccepted_rows.iter().any(|(_, stored)| is_unaccepted(stored));
            if !durable {
                let detail =
                    format!("node {node} pushes change {} of a chain before it is durable", delta.seq);
                self.record_violation(Invariant::Durable, detail);
            }
        }
    }

    /// Checks a response before the caller receives it.
    pub(super) fn check_response(
        &mut self,
        pending_write: Option<&PendingWrite>,
        answer: &Result<Response, RequestError>,
    ) {
        match answer {
            Err(RequestError::Refetching) => self.coverage.record("declined-refetching"),
            Err(RequestError::StoreFailed(_)) => self.coverage.record("declined-storage"),
            Err(RequestError::InvalidEdit(EditError::Conflicted(..))) => {
                self.coverage.record("declined-conflict")
            }
            Err(RequestError::Write(WriteError::Role(_))) => self.coverage.record("reader"),
            Err(RequestError::Write(
                error @ (WriteError::Invalid(_) | WriteError::MissingDeps | WriteError::ShardFault(_)),
            )) => {
                self.record_violation(Invariant::Sound, error.to_string());
            }
            _ => {}
        }
        let (Some(waiting), Ok(Response::Written(Some(change)))) = (pending_write, answer) else { return };
        let node = &self.nodes[waiting.node];
        let desired =
            node.core_node.as_ref().and_then(|core_node| core_node.group(&waiting.group)?.group.desired());
        let Some(entry) = desired.and_then(|desired| desired.graph().get(change)) else {
            let state = node.core_node.as_ref().and_then(|core_node| core_node.group(&waiting.group));
            let is_known = state.zip(desired).is_some_and(|(state, desired)| {
                state.group.shard_states().has_change(&desired.root().shard_id(), change)
            });
            if is_known && self.changes_membership {
                // The change became unaccepted while it was being stored.
                return;
            }
            let detail = format!("node {} does not show what it acknowledged", waiting.node);
            return self.record_violation(Invariant::OwnWrites, detail);
        };
        let (Some(desired), seq, id) = (desired, entry.seq, entry.id) else { return };
        let Some(chain) = desired.graph().chain_of(entry) else { return };
        let row = key::change(waiting.group, desired.root().shard_id(), chain.id, seq, id);
        let Ok(stored) = node.disk.rows.read_rows(Table::Changes, &row);
        // The change may have become unaccepted in the meantime, with its row not yet moved back.
        let Ok(unaccepted_rows) = node.disk.rows.read_rows(Table::Unaccepted, &row);
        if stored.is_empty() && unaccepted_rows.is_empty() {
            let detail = format!("node {} acknowledged {} before it was durable", waiting.node, id.short());
            self.record_violation(Invariant::Durable, detail);
        }
    }

    /// The index of the node with this id.
    pub(in super::super) fn node_index_of(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.secret.node_id() == *id)
    }
}
