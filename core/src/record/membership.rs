//! Evaluation of a record set: the members and their roles, as a pure function of the set.
//!
//! The evaluation starts at Genesis and goes down the tree of grants, admins first. It always ends, and the
//! order in which records arrived does not matter.
//!
//! * A record *counts* if the grant under which it was issued counts, and if it is at or below the record
//!   frontier of every counting Revoke of that grant. A grant counts if its record counts, and is *live*
//!   until a counting Revoke ends it.
//! * Any admin can end a grant of a lower role. Only a grant above it on its path to Genesis, or the recovery
//!   key, can end an admin's grant. So no two records can each decide whether the other counts.
//! * A holder can end its own grants. Such a Revoke is its own record frontier; a Revoke after an earlier one
//!   has no effect.
//! * No other record of a member who is not an admin counts.
//!
//! `docs/trust.md` explains why this converges and why it is right.

use std::collections::{BTreeMap, BTreeSet};

use super::record_set::RecordChainId;
use super::{Frontiers, RecordBody, RecordSet, Revoke, RevokeTarget, Role, SignedRecord, Signer};
use crate::id::{ChainId, ChangeId, GrantId, InviteId, NodeId, RecordId, base32};
use crate::shard::root::ShardName;

/// A grant that counts, with the data that membership needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveGrant {
    /// The id of the grant.
    pub grant: GrantId,
    /// The key that holds the grant.
    pub holder: NodeId,
    /// The role that the grant gives.
    pub role: Role,
    /// The number of grants between this one and Genesis, plus one; 0 for the founder's grant.
    pub depth: usize,
    /// The position of its record in the issuer's chain.
    pub seq: u64,
    /// The alias requested at `join`.
    pub alias: String,
    /// The labels requested at `join`.
    pub labels: Vec<(String, String)>,
    /// The invite that the join used.
    pub invite: Option<InviteId>,
}

/// The last change that counts of each named chain. No change of another chain counts.
pub type ChangeFrontier = BTreeMap<ChainId, (u64, ChangeId)>;

/// One Revoke that ended a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The record that ended the grant.
    pub record: RecordId,
    /// True if the holder ended the grant: it left, or rotated its key.
    pub by_holder: bool,
    /// The changes under the grant that still count.
    pub frontier: ChangeFrontier,
}

/// The result of evaluating a record set: the members, their grants and what else counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    grants: BTreeMap<GrantId, EffectiveGrant>,
    revocations: BTreeMap<GrantId, Vec<Revocation>>,
    /// The live grants of each member.
    live_grants_by_node: BTreeMap<NodeId, Vec<GrantId>>,
    effective: BTreeSet<RecordId>,
    /// Records that do not count, but that a counting record names. Without them, two members could disagree
    /// about what counts.
    supporting: BTreeSet<RecordId>,
    admitted: BTreeMap<RecordId, ChangeFrontier>,
    /// The changes that a frontier of a counting record names.
    frontier_changes: BTreeSet<ChangeId>,
    forgotten_shards: BTreeSet<String>,
    dissolved_by: Option<RecordId>,
    revoked_invites: BTreeSet<InviteId>,
    unsupported: Vec<RecordId>,
}

impl Membership {
    /// Evaluates a record set.
    pub fn evaluate(records: &RecordSet) -> Self {
        let mut evaluation = MembershipEvaluation::new(records);
        for grant in evaluation.evaluation_order() {
            evaluation.evaluate_grant(grant);
        }
        evaluation.finish()
    }

    /// The grant `id` if it counts. It may have ended.
    pub fn grant(&self, id: &GrantId) -> Option<&EffectiveGrant> {
        self.grants.get(id)
    }

    /// All counting grants, including ended ones, by id.
    pub fn grants(&self) -> impl Iterator<Item = &EffectiveGrant> {
        self.grants.values()
    }

    /// True if the grant counts and has not ended.
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.grants.contains_key(id) && !self.revocations.contains_key(id)
    }

    /// The Revokes that ended a counting grant, in order of record id. Empty while it is live.
    pub fn revocations(&self, id: &GrantId) -> &[Revocation] {
        self.revocations.get(id).map_or(&[], Vec::as_slice)
    }

    /// All members, by key.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.live_grants_by_node.keys().copied()
    }

    /// True if the node holds a live grant.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.live_grants_by_node.contains_key(node)
    }

    /// The live grants of the node, oldest first.
    pub fn live_grants_of(&self, node: &NodeId) -> impl Iterator<Item = &EffectiveGrant> {
        self.live_grants_by_node.get(node).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// The counting grants of the node that have ended, by id.
    pub fn ended_grants_of(&self, node: &NodeId) -> impl Iterator<Item = &EffectiveGrant> {
        self.grants.values().filter(move |grant| grant.holder == *node && !self.is_live(&grant.grant))
    }

    /// The nodes whose grants have all ended.
    pub fn former_members(&self) -> BTreeSet<NodeId> {
        self.grants.values().map(|grant| grant.holder).filter(|key| !self.is_member(key)).collect()
    }

    /// The other member or former member whose id begins with `text`, in either case.
    pub fn node_with_id_prefix(&self, text: &str, except: &NodeId) -> Option<NodeId> {
        let prefix = text.to_ascii_lowercase();
        if !base32::is_base32(&prefix) {
            return None;
        }
        let mut others = self.nodes().chain(self.former_members()).filter(|node| node != except);
        others.find(|node| node.to_string().starts_with(&prefix))
    }

    /// The highest role of the node's live grants.
    pub fn role_of(&self, node: &NodeId) -> Option<Role> {
        self.live_grants_of(node).map(|grant| grant.role).max()
    }

    /// The node's oldest live grant whose role passes `allows`.
    pub fn oldest_grant_allowing(&self, node: &NodeId, allows: fn(Role) -> bool) -> Option<GrantId> {
        self.live_grants_of(node).find(|grant| allows(grant.role)).map(|grant| grant.grant)
    }

    /// True if the record counts.
    pub fn is_effective(&self, record: &RecordId) -> bool {
        self.effective.contains(record)
    }

    /// The ids of the counting records and of the records that they name.
    pub(crate) fn published(&self) -> impl Iterator<Item = RecordId> {
        self.effective.union(&self.supporting).copied()
    }

    /// The frontiers of each counting Admit, by record.
    pub fn admitted_frontiers(&self) -> impl Iterator<Item = (&RecordId, &ChangeFrontier)> {
        self.admitted.iter()
    }

    /// The changes that a frontier of a counting record names.
    pub fn frontier_changes(&self) -> &BTreeSet<ChangeId> {
        &self.frontier_changes
    }

    /// True if a Forget names the grant's observed shard and the grant is not live.
    pub fn is_forgotten(&self, grant: &GrantId) -> bool {
        !self.is_live(grant) && self.forgotten_shards.contains(&ShardName::Observed(*grant).to_string())
    }

    /// The record that deleted the group, if there is one.
    pub fn dissolved_by(&self) -> Option<RecordId> {
        self.dissolved_by
    }

    /// True if a counting Revoke ends the invite.
    pub fn is_revoked(&self, invite: &InviteId) -> bool {
        self.revoked_invites.contains(invite)
    }

    /// Records whose kind this version does not know.
    pub fn unsupported(&self) -> &[RecordId] {
        &self.unsupported
    }
}

/// An evaluation in progress.
struct MembershipEvaluation<'a> {
    records: &'a RecordSet,
    depths: BTreeMap<GrantId, usize>,
    /// The records of each chain, by position.
    chains: BTreeMap<RecordChainId, Vec<&'a SignedRecord>>,
    /// The Revokes of each grant, whether they count or not.
    revokes: BTreeMap<GrantId, Vec<&'a SignedRecord>>,
    membership: Membership,
}

impl<'a> MembershipEvaluation<'a> {
    fn new(records: &'a RecordSet) -> Self {
        let mut evaluation = Self {
            records,
            depths: BTreeMap::new(),
            chains: BTreeMap::new(),
            revokes: BTreeMap::new(),
            membership: Membership::default(),
        };
        evaluation.membership.effective.insert(records.genesis());
        for signed in records.iter() {
            let record = signed.record();
            match &record.body {
                RecordBody::Genesis(_) | RecordBody::Grant(_) => {
                    let depth = records.path(&signed.id()).map(|path| path.len() - 1);
                    evaluation.depths.extend(depth.map(|depth| (signed.id(), depth)));
                }
                RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), .. }) => {
                    evaluation.revokes.entry(*grant).or_default().push(signed);
                }
                _ => {}
            }
            if signed.id() != records.genesis() {
                evaluation.chains.entry((record.grant, record.signer)).or_default().push(signed);
            }
            // No grant is above the recovery key.
            if record.signer == Signer::Recovery {
                evaluation.membership.effective.insert(signed.id());
            }
        }
        evaluation
    }

    /// All grants, admins first and each after the grants above it.
    fn evaluation_order(&self) -> Vec<GrantId> {
        let mut order: Vec<_> = self
            .depths
            .iter()
            .map(|(grant, depth)| (self.records.role_of(grant) != Some(Role::Admin), *depth, *grant))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, grant)| grant).collect()
    }

    /// Determines which Revokes ended the grant, and which of the records under it count.
    fn evaluate_grant(&mut self, grant: GrantId) {
        if !self.membership.effective.contains(&grant) {
            return;
        }
        let others = self.revocations_by_others(&grant);
        let frontier_sets: Vec<FrontierSet> =
            others.iter().map(|signed| self.frontier_set(record_frontier(signed))).collect();
        let chain = self.chains.get(&(grant, Signer::Holder)).map_or(&[][..], Vec::as_slice);
        let mut own_records: Vec<&SignedRecord> = chain.to_vec();
        own_records.retain(|signed| frontier_sets.iter().all(|frontier_set| frontier_set.contains(signed)));
        let (by_holder, frontier_sets) = self.revocations_by_holder(&grant, &own_records);
        own_records.retain(|signed| frontier_sets.iter().all(|frontier_set| frontier_set.contains(signed)));
        let is_admin = self.records.role_of(&grant) == Some(Role::Admin);
        let effective = own_records
            .iter()
            .filter(|signed| is_admin || is_revoke_of(signed, &grant))
            .map(|record| record.id());
        self.membership.effective.extend(effective);
        let to_revocation = |signed: &&SignedRecord, by_holder| {
            let frontier = frontiers_of(signed).map(change_frontier).unwrap_or_default();
            Revocation { record: signed.id(), by_holder, frontier }
        };
        let others = others.iter().map(|signed| to_revocation(signed, false));
        let mut revocations: Vec<Revocation> =
            others.chain(by_holder.iter().map(|signed| to_revocation(signed, true))).collect();
        revocations.sort_by_key(|revocation| revocation.record);
        if !revocations.is_empty() {
            self.membership.revocations.insert(grant, revocations);
        }
    }

    /// The counting Revokes of the grant by other issuers that may end it.
    fn revocations_by_others(&self, grant: &GrantId) -> Vec<&'a SignedRecord> {
        let path = self.records.path(grant).unwrap_or_default();
        let is_admin = self.records.role_of(grant) == Some(Role::Admin);
        let may_revoke = |signed: &SignedRecord| {
            let record = signed.record();
            match record.signer {
                Signer::Recovery => true,
                Signer::Holder if is_admin => path.iter().skip(1).any(|above| *above == record.grant),
                Signer::Holder => self.records.role_of(&record.grant) == Some(Role::Admin),
            }
        };
        let revokes = self.revokes.get(grant).into_iter().flatten();
        revokes
            .filter(|signed| self.membership.effective.contains(&signed.id()) && may_revoke(signed))
            .copied()
            .collect()
    }

    /// The holder's own Revokes of the grant, each with the records at or below it.
    fn revocations_by_holder(
        &self,
        grant: &GrantId,
        own_records: &[&'a SignedRecord],
    ) -> (Vec<&'a SignedRecord>, Vec<FrontierSet>) {
        let mut own: Vec<&SignedRecord> =
            own_records.iter().filter(|record| is_revoke_of(record, grant)).copied().collect();
        own.sort_by_key(|signed| (signed.record().seq, signed.id()));
        let (mut taken, mut below) = (Vec::new(), Vec::<FrontierSet>::new());
        for signed in own {
            if below.iter().all(|frontier_set| frontier_set.contains(signed)) {
                below.push(self.frontier_set(Some((signed.record().seq, signed.id()))));
                taken.push(signed);
            }
        }
        (taken, below)
    }

    /// The records at or below a record frontier.
    fn frontier_set(&self, frontier: Option<(u64, RecordId)>) -> FrontierSet {
        match frontier {
            None => FrontierSet::Records(BTreeSet::new()),
            Some((seq, id)) if self.records.get(&id).is_none() => FrontierSet::UpToSeq(seq),
            Some((_, id)) => FrontierSet::Records(self.records.chain_up_to(&id).collect()),
        }
    }

    fn finish(mut self) -> Membership {
        let effective: Vec<&SignedRecord> =
            self.membership.effective.iter().filter_map(|id| self.records.get(id)).collect();
        for signed in effective {
            self.apply_record(signed);
        }
        let out = &mut self.membership;
        out.revocations.retain(|grant, _| out.grants.contains_key(grant));
        if out.dissolved_by.is_none() {
            for grant in out.grants.values().filter(|grant| !out.revocations.contains_key(&grant.grant)) {
                out.live_grants_by_node.entry(grant.holder).or_default().push(grant.grant);
            }
        }
        // The oldest grant is the nearest to Genesis, then the earliest in its issuer's chain, then the one
        // with the smallest id.
        let grants = &out.grants;
        for grants_of_node in out.live_grants_by_node.values_mut() {
            grants_of_node.sort_by_key(|id| (grants.get(id).map(|grant| (grant.depth, grant.seq)), *id));
        }
        self.membership
    }

    /// Adds a counting record to the membership.
    fn apply_record(&mut self, signed: &SignedRecord) {
        let (id, record) = (signed.id(), signed.record());
        let depth = self.depths.get(&id).copied().unwrap_or_default();
        let membership = &mut self.membership;
        if let Some(frontiers) = frontiers_of(signed) {
            membership.frontier_changes.extend(frontiers.last_changes.iter().map(|(_, _, change)| *change));
            let named_record = frontiers.last_record.map(|(_, record)| record);
            membership.supporting.extend(named_record.filter(|named| self.records.get(named).is_some()));
        }
        match &record.body {
            RecordBody::Genesis(genesis) => {
                membership.grants.insert(id, EffectiveGrant::of_founder(id, genesis.founder));
            }
            RecordBody::Grant(grant) => {
                let grant_of_record = EffectiveGrant {
                    grant: id,
                    holder: grant.holder,
                    role: grant.role,
                    depth,
                    seq: record.seq,
                    alias: grant.alias.clone(),
                    labels: grant.labels.clone(),
                    invite: grant.invite,
                };
                membership.grants.insert(id, grant_of_record);
            }
            RecordBody::Revoke(Revoke { target: RevokeTarget::Invite(invite), .. }) => {
                membership.revoked_invites.insert(*invite);
            }
            RecordBody::Revoke(_) => {}
            RecordBody::Admit(admit) => {
                membership.admitted.insert(id, change_frontier(&admit.frontiers));
            }
            RecordBody::Forget(forget) => {
                membership.forgotten_shards.insert(forget.shard.clone());
            }
            RecordBody::Dissolve if record.grant == self.records.genesis() => {
                membership.dissolved_by = membership.dissolved_by.or(Some(id));
            }
            // Only the founder and the recovery key may delete the group.
            RecordBody::Dissolve => {}
            RecordBody::Unknown { .. } => membership.unsupported.push(id),
        }
    }
}

impl EffectiveGrant {
    fn of_founder(grant: GrantId, key: NodeId) -> Self {
        Self {
            grant,
            holder: key,
            role: Role::Admin,
            depth: 0,
            seq: 0,
            alias: String::new(),
            labels: Vec::new(),
            invite: None,
        }
    }
}

/// The records at or below a record frontier. While the named record is missing, these are all records up to
/// its position.
enum FrontierSet {
    UpToSeq(u64),
    Records(BTreeSet<RecordId>),
}

impl FrontierSet {
    fn contains(&self, signed: &SignedRecord) -> bool {
        match self {
            Self::UpToSeq(seq) => signed.record().seq <= *seq,
            Self::Records(records) => records.contains(&signed.id()),
        }
    }
}

/// True if the record is a Revoke of the grant.
fn is_revoke_of(signed: &SignedRecord, grant: &GrantId) -> bool {
    match &signed.record().body {
        RecordBody::Revoke(revoke) => revoke.target == RevokeTarget::Grant(*grant),
        _ => false,
    }
}

fn frontiers_of(signed: &SignedRecord) -> Option<&Frontiers> {
    match &signed.record().body {
        RecordBody::Revoke(revoke) => Some(&revoke.frontiers),
        RecordBody::Admit(admit) => Some(&admit.frontiers),
        _ => None,
    }
}

fn record_frontier(signed: &SignedRecord) -> Option<(u64, RecordId)> {
    frontiers_of(signed).and_then(|frontiers| frontiers.last_record)
}

fn change_frontier(frontiers: &Frontiers) -> ChangeFrontier {
    frontiers.last_changes.iter().map(|(chain_id, seq, change)| (*chain_id, (*seq, *change))).collect()
}
