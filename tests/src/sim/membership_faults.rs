//! Operations that change the membership, copy a data directory or roll it back, or forge changes and
//! records.

use std::collections::BTreeMap;

use larder_core::delta::SignedDelta;
use larder_core::group::{ChangeNote, Group, UnacceptedSet};
use larder_core::id::{ChainId, ChangeId, GrantId, GroupId, Incarnation, NodeId, RecordId, hash16};
use larder_core::node::{AdminOp as Deed, AdminRequest, GroupState, Request};
use larder_core::record::{
    Frontiers, Grant, Record, RecordBody, Revoke, RevokeTarget, Role, SignedRecord, Signer,
};
use larder_core::shard::root::ShardName;
use larder_core::value::Value;
use larder_core::wire::member::{GroupFrame, PushedChanges, RecordBatch};

use super::plan::PlannedOp;
use super::runner::{Runner, core_role};

impl Runner<'_> {
    /// Applies an operation that can change the membership or what counts of a member.
    pub(super) fn apply_membership_fault(&mut self, node: usize, op: &PlannedOp) {
        match op {
            PlannedOp::RemoveMember { group, target } => {
                let target = self.key(*target);
                self.request_admin_op(
                    node,
                    *group,
                    Deed::RemoveMember { node: target.into(), keep_through: None },
                );
            }
            PlannedOp::ChangeRole { group, target, part } => {
                let target = self.key(*target);
                self.request_admin_op(
                    node,
                    *group,
                    Deed::ChangeRole { node: target.into(), role: core_role(*part) },
                );
            }
            PlannedOp::Leave { group } => {
                self.request_admin_op(node, *group, Deed::LeaveGroup { force: true })
            }
            PlannedOp::Readmit { group, pick } => {
                if let Some(change) = self.pick_unaccepted_change(node, *group, *pick) {
                    self.request_admin_op(
                        node,
                        *group,
                        Deed::ReadmitChanges { changes: vec![change.into()] },
                    );
                }
            }
            PlannedOp::Rewrite { group, pick } => {
                if let Some(change) = self.pick_unaccepted_change(node, *group, *pick) {
                    let note = ChangeNote { user: "sim".to_owned(), ..ChangeNote::default() };
                    self.request_admin_op(
                        node,
                        *group,
                        Deed::RewriteChanges { changes: vec![change.into()], note },
                    );
                }
            }
            PlannedOp::Restore { noticed, pause } => self.world.roll_back_disk(node, *noticed, *pause),
            PlannedOp::Swap { pause } => self.world.swap_disk_copy(node, *pause),
            PlannedOp::Forge { group, pick } => self.forge(node, *group, *pick),
            PlannedOp::RevokeTwice { group } => self.revoke_twice(node, *group),
            _ => {}
        }
    }

    fn key(&self, node: usize) -> NodeId {
        self.world.nodes[node % self.plan.nodes].secret.node_id()
    }

    fn request_admin_op(&mut self, node: usize, group: usize, op: Deed) {
        let group = self.group(group);
        let govern = AdminRequest { group: group.into(), op, user: "sim".to_owned(), message: String::new() };
        self.world.send_request(node, Request::Admin(govern));
    }

    fn group_state(&self, node: usize, group: usize) -> Option<&GroupState> {
        self.world.nodes[node].core_node.as_ref()?.group(&self.group(group))
    }

    /// An unaccepted change of the desired state on this node.
    fn pick_unaccepted_change(&self, node: usize, group: usize, pick: u64) -> Option<ChangeId> {
        let group_data = &self.group_state(node, group)?.group;
        let shard_id = group_data.desired()?.root().shard_id();
        let all: Vec<ChangeId> = group_data
            .unaccepted_in(&shard_id)
            .into_iter()
            .flat_map(UnacceptedSet::iter)
            .map(|change| change.id())
            .collect();
        all.get(usize::try_from(pick % all.len().max(1) as u64).unwrap_or(0)).copied()
    }

    /// Uses the key of an honest node for something that no honest node does. The result goes to the node's
    /// neighbours; the node itself does not know it.
    fn forge(&mut self, node: usize, group_index: usize, pick: u64) {
        let group = self.group(group_index);
        let Some(group_copy) = self.group_state(node, group_index).map(|state| state.group.clone()) else {
            return;
        };
        self.world.coverage.record("lied");
        self.world.nodes[node].has_forged = true;
        match pick % 4 {
            0 => self.push_fork(node, group, group_copy, pick),
            1 => self.write_then_push_fork(node, group_index, group_copy, pick),
            _ => {
                if let Some(record) = self.make_false_record(node, &group_copy, pick / 4) {
                    let records = vec![record.encode()];
                    let frame =
                        GroupFrame::RecordBatch(RecordBatch { records, is_last: true }).in_group(group);
                    self.world.send_to_neighbours(node, &frame);
                }
            }
        }
    }

    /// Sends two Revokes of one grant that both count, with frontiers one change apart.
    fn revoke_twice(&mut self, node: usize, group_index: usize) {
        let group = self.group(group_index);
        let Some(group_copy) = self.group_state(node, group_index).map(|state| state.group.clone()) else {
            return;
        };
        let secret = self.world.nodes[node].secret.clone();
        let mut own = group_copy.members().grants().filter(|grant| grant.holder == secret.node_id());
        let Some(grant) = own.find(|grant| grant.role == Role::Admin).map(|grant| grant.grant) else {
            return;
        };
        let Some(target) = last_author(&group_copy).filter(|target| *target != grant) else { return };
        self.world.coverage.record("lied");
        self.world.nodes[node].has_forged = true;
        let (mut seq, mut prev) =
            group_copy.records().newest_in_chain((grant, Signer::Holder)).unwrap_or((0, RecordId::ZERO));
        let known = group_copy.frontiers_of_grant(&target);
        let mut records = Vec::new();
        for frontiers in [known.clone(), frontiers_one_change_earlier(&group_copy, known)] {
            seq += 1;
            let body = RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(target), frontiers });
            let signed =
                Record { group, grant, signer: Signer::Holder, seq, prev, body, note: None }.sign(&secret);
            prev = signed.id();
            records.push(signed.encode());
        }
        self.world.send_to_neighbours(
            node,
            &GroupFrame::RecordBatch(RecordBatch { records, is_last: true }).in_group(group),
        );
    }

    /// Sends a change that the node itself does not know.
    fn push_fork(&mut self, node: usize, group: GroupId, mut group_copy: Group, choice: u64) {
        let secret = self.world.nodes[node].secret.clone();
        let puts = BTreeMap::from([(format!("config/r{} keys.k0", choice % 3), Value::from("forked"))]);
        let fresh = Incarnation(hash16("sim lie", &[&choice.to_be_bytes(), &self.world.now.to_be_bytes()]));
        let note = ChangeNote::default();
        let Ok(written) = group_copy.write(&secret, ShardName::Desired, puts, &note, fresh) else { return };
        for new in written.ingest.new_changes {
            let Some(signature) = new.signature else { continue };
            let changes = vec![SignedDelta { delta: new.delta, signature }];
            let frame = GroupFrame::Push(PushedChanges { shard_id: new.shard_id, changes }).in_group(group);
            self.world.send_to_neighbours(node, &frame);
        }
    }

    /// Makes the node write a change, and sends another change with the same sequence number.
    fn write_then_push_fork(&mut self, node: usize, group_index: usize, group_copy: Group, pick: u64) {
        let value = format!("after a fork {pick}");
        let resource = u8::try_from(pick % 3).unwrap_or(0);
        self.apply_op(node, &PlannedOp::Set { group: group_index, resource, key: 1, value });
        self.push_fork(node, self.group(group_index), group_copy, pick);
    }

    /// A record that no honest member issues: backdated, a fork of its chain, or with a false frontier.
    fn make_false_record(&mut self, node: usize, group: &Group, pick: u64) -> Option<SignedRecord> {
        let secret = &self.world.nodes[node].secret.clone();
        let mut grants = group.members().grants().filter(|grant| grant.holder == secret.node_id());
        let grant = grants.find(|grant| grant.role == Role::Admin)?.grant;
        // Ended grants are included. A second Revoke leaves fewer changes accepted than the first, whose
        // frontier then serves as evidence only.
        let is_grant = |signed: &&SignedRecord| {
            matches!(signed.record().body, RecordBody::Grant(_) | RecordBody::Genesis(_))
        };
        let all: Vec<GrantId> = group.records().iter().filter(is_grant).map(SignedRecord::id).collect();
        let target = all[usize::try_from(pick % all.len() as u64).ok()?];
        let newest = group.records().newest_in_chain((grant, Signer::Holder));
        let before = newest.and_then(|(_, id)| group.records().get(&id)).map(|signed| {
            let record = signed.record();
            (record.seq - 1, record.prev)
        });
        let after = if (pick / 64).is_multiple_of(2) { newest } else { before.filter(|(seq, _)| *seq > 0) };
        let (seq, prev) = after.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let body = match pick / 8 % 3 {
            0 => {
                let to = usize::try_from(pick / 16 % 64).unwrap_or(0) % self.plan.nodes;
                self.world.invited_nodes.entry(group.id()).or_default().insert(to);
                let key = self.key(to);
                RecordBody::Grant(Grant {
                    holder: key,
                    role: Role::Admin,
                    alias: String::new(),
                    labels: vec![],
                    invite: None,
                })
            }
            1 => {
                let frontiers = frontiers_one_change_earlier(group, group.frontiers_of_grant(&target));
                RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(target), frontiers })
            }
            _ => {
                let mut frontiers: Frontiers = group.frontiers_of_grant(&target);
                let unknown = ChangeId(larder_core::id::hash("sim lie", &[&pick.to_be_bytes()]));
                frontiers
                    .last_changes
                    .iter_mut()
                    .for_each(|change| *change = (change.0, change.1 + 1, unknown));
                RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(target), frontiers })
            }
        };
        let (group, signer) = (group.id(), Signer::Holder);
        Some(Record { group, grant, signer, seq, prev, body, note: None }.sign(secret))
    }
}

/// The grant that wrote a head of the desired state.
fn last_author(group: &Group) -> Option<GrantId> {
    let graph = group.desired()?.graph();
    let head = graph.heads().into_iter().next()?;
    Some(graph.chain_of(graph.get(&head)?)?.grant)
}

/// The given frontiers, one change earlier. Of two Revokes the lower frontier counts; the change that the
/// higher one names is kept as evidence only.
fn frontiers_one_change_earlier(group: &Group, frontiers: Frontiers) -> Frontiers {
    let one_earlier = |(actor, seq, _): (ChainId, u64, ChangeId)| {
        let graph = group.desired()?.graph();
        let entry = graph.entry_in_chain(graph.chain(&actor)?, seq.checked_sub(1)?)?;
        Some((actor, entry.seq, entry.id))
    };
    Frontiers {
        last_record: None,
        last_changes: frontiers.last_changes.into_iter().filter_map(one_earlier).collect(),
    }
}
