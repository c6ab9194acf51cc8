//! The fold: who is a member, with which role, as a pure function of the set of records.
//!
//! It goes from Genesis down the tree of grants, admins first, so it always ends, and the order of arrival never matters.
//!
//! * A record *counts* if the grant it was issued under counts, and it lies at or below the record frontier of every
//!   counting Revoke of that grant. A grant counts if its record does, and is *live* until a counting Revoke ends it.
//! * A grant of a role below admin is ended by any admin. An admin is ended only from above: by a grant in its own line up
//!   to Genesis, or by the recovery key. So no two records can each decide whether the other counts.
//! * Everybody ends their own grants. Such a Revoke has itself as record frontier; one past an earlier one has no effect.
//! * Of members who are not admins no other record counts.
//!
//! Why this converges, and why it is right, is argued in `docs/trust.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::record_set::RecordChainId;
use super::{Frontiers, RecordBody, RecordSet, Revoke, RevokeTarget, Role, SignedRecord, Signer};
use crate::id::{ChainId, ChangeId, GrantId, InviteId, NodeId, RecordId};
use crate::shard::root::ShardName;

/// What one grant amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveGrant {
    /// The grant.
    pub grant: GrantId,
    /// Whom it was given to.
    pub holder: NodeId,
    /// What it allows.
    pub role: Role,
    /// How far below Genesis it stands.
    pub depth: usize,
    /// Its place in its issuer's chain.
    pub seq: u64,
    /// The alias asked for at `join`.
    pub alias: String,
    /// The labels asked for at `join`.
    pub labels: Vec<(String, String)>,
    /// The invite it used up.
    pub invite: Option<InviteId>,
}

/// The last change that counts of every chain that is named; of others nothing does.
pub type ChangeFrontier = BTreeMap<ChainId, (u64, ChangeId)>;

/// One Revoke that ended a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The record.
    pub record: RecordId,
    /// True if the holder ended it: it left, or changed its key.
    pub by_holder: bool,
    /// What it still lets count.
    pub frontier: ChangeFrontier,
}

/// Who is a member, with which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    grants: BTreeMap<GrantId, EffectiveGrant>,
    revocations: BTreeMap<GrantId, Vec<Revocation>>,
    /// Live grants.
    live_grants_by_node: BTreeMap<NodeId, Vec<GrantId>>,
    effective: BTreeSet<RecordId>,
    /// Records that do not count and are named by one that does: without them two members could differ on what counts.
    supporting: BTreeSet<RecordId>,
    admitted: BTreeMap<RecordId, ChangeFrontier>,
    /// Changes that a frontier of a counting record names.
    frontier_changes: BTreeSet<ChangeId>,
    forgotten_shards: BTreeSet<String>,
    dissolved_by: Option<RecordId>,
    revoked_invites: BTreeSet<InviteId>,
    unsupported: Vec<RecordId>,
}

impl Membership {
    /// Folds a set of records.
    pub fn evaluate(records: &RecordSet) -> Self {
        let mut evaluation = MembershipEvaluation::new(records);
        for grant in evaluation.evaluation_order() {
            evaluation.evaluate_grant(grant);
        }
        evaluation.finish()
    }

    /// What the grant `id` amounts to; `None` if it does not count. It may have ended.
    pub fn grant(&self, id: &GrantId) -> Option<&EffectiveGrant> {
        self.grants.get(id)
    }

    /// All counting grants, ended ones too, by id.
    pub fn grants(&self) -> impl Iterator<Item = &EffectiveGrant> {
        self.grants.values()
    }

    /// True if the grant counts and nothing has ended it.
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.grants.contains_key(id) && !self.revocations.contains_key(id)
    }

    /// What ended a counting grant, in order of record id; empty while it is live.
    pub fn revocations(&self, id: &GrantId) -> &[Revocation] {
        self.revocations.get(id).map_or(&[], Vec::as_slice)
    }

    /// All members, by key.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.live_grants_by_node.keys().copied()
    }

    /// True if `key` holds a live grant.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.live_grants_by_node.contains_key(node)
    }

    /// The live grants of `key`, oldest first.
    pub fn live_grants_of(&self, node: &NodeId) -> impl Iterator<Item = &EffectiveGrant> {
        self.live_grants_by_node.get(node).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// The counting grants of `key` that have ended, by id.
    pub fn ended_grants_of(&self, node: &NodeId) -> impl Iterator<Item = &EffectiveGrant> {
        self.grants.values().filter(move |grant| grant.holder == *node && !self.is_live(&grant.grant))
    }

    /// Keys whose grants have all ended.
    pub fn former_members(&self) -> BTreeSet<NodeId> {
        self.grants.values().map(|grant| grant.holder).filter(|key| !self.is_member(key)).collect()
    }

    /// The highest role that `key` has.
    pub fn role_of(&self, node: &NodeId) -> Option<Role> {
        self.live_grants_of(node).map(|grant| grant.role).max()
    }

    /// The oldest live grant under which `key` may do what `allows` asks for.
    pub fn oldest_grant_allowing(&self, node: &NodeId, allows: fn(Role) -> bool) -> Option<GrantId> {
        self.live_grants_of(node).find(|grant| allows(grant.role)).map(|standing| standing.grant)
    }

    /// True if the record counts.
    pub fn is_effective(&self, record: &RecordId) -> bool {
        self.effective.contains(record)
    }

    /// The counting records, and those that one of them needs to be understood.
    pub(crate) fn published(&self) -> impl Iterator<Item = RecordId> {
        self.effective.union(&self.supporting).copied()
    }

    /// What counting Admits let in, by record.
    pub fn admitted_frontiers(&self) -> impl Iterator<Item = (&RecordId, &ChangeFrontier)> {
        self.admitted.iter()
    }

    /// Changes that a frontier of a counting record names.
    pub fn frontier_changes(&self) -> &BTreeSet<ChangeId> {
        &self.frontier_changes
    }

    /// True if members drop what that grant observed: somebody said so, and nobody writes under it any more.
    pub fn is_forgotten(&self, grant: &GrantId) -> bool {
        !self.is_live(grant) && self.forgotten_shards.contains(&ShardName::Observed(*grant).to_string())
    }

    /// The record that dissolved the group, if one did.
    pub fn dissolved_by(&self) -> Option<RecordId> {
        self.dissolved_by
    }

    /// True if somebody revoked this invite.
    pub fn is_revoked(&self, invite: &InviteId) -> bool {
        self.revoked_invites.contains(invite)
    }

    /// Records that are kept and passed on, but whose meaning this version does not know.
    pub fn unsupported(&self) -> &[RecordId] {
        &self.unsupported
    }
}

/// A fold under way.
struct MembershipEvaluation<'a> {
    records: &'a RecordSet,
    depths: BTreeMap<GrantId, usize>,
    /// Records of each chain, by place.
    chains: BTreeMap<RecordChainId, Vec<&'a SignedRecord>>,
    /// Revokes by the grant that they would end.
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
            // Nothing stands above the recovery key.
            if record.signer == Signer::Recovery {
                evaluation.membership.effective.insert(signed.id());
            }
        }
        evaluation
    }

    /// Admins first, each after those above it.
    fn evaluation_order(&self) -> Vec<GrantId> {
        let mut order: Vec<_> = self
            .depths
            .iter()
            .map(|(grant, depth)| (self.records.role_of(grant) != Some(Role::Admin), *depth, *grant))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, grant)| grant).collect()
    }

    /// Says what ended a grant, and which of the records under it count.
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

    /// The counting Revokes by which others may end this grant.
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

    /// The Revokes by which its holder ended it, each with what lies at or below it.
    fn revocations_by_holder(
        &self,
        grant: &GrantId,
        mine: &[&'a SignedRecord],
    ) -> (Vec<&'a SignedRecord>, Vec<FrontierSet>) {
        let mut own: Vec<&SignedRecord> =
            mine.iter().filter(|record| is_revoke_of(record, grant)).copied().collect();
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

    /// What lies at or below a record frontier.
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
        // Oldest grant first: nearest to Genesis, then earliest in its issuer's chain, then by id.
        let grants = &out.grants;
        for grants_of_node in out.live_grants_by_node.values_mut() {
            grants_of_node.sort_by_key(|id| (grants.get(id).map(|grant| (grant.depth, grant.seq)), *id));
        }
        self.membership
    }

    /// What a counting record says.
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
            // Only the founder and the recovery key stand above everybody.
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

/// What lies at or below a record frontier. While the named record is not here, what has a place up to its own does.
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

/// True if the record ends that grant.
fn is_revoke_of(signed: &SignedRecord, grant: &GrantId) -> bool {
    matches!(&signed.record().body, RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(ended), .. }) if ended == grant)
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
    frontiers.last_changes.iter().map(|(actor, seq, change)| (*actor, (*seq, *change))).collect()
}
