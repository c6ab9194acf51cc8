//! An oracle for membership and acceptance: a second implementation, independent of the product and as simple
//! as possible. It uses sets, and starts each walk again. `docs/trust.md` states the same rules in words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "an oracle: whatever is wrong ends the run")]

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::Candidate;
use larder_core::id::{ChainId, ChangeId, GrantId, NodeId, RecordId};
use larder_core::limits;
use larder_core::record::{Frontiers, Record, RecordBody, RevokeTarget, Role, SignedRecord, Signer};

type ChainPosition = (u64, ChangeId);

/// The evaluated membership of a set of records.
pub struct ReferenceMembership<'a> {
    records: BTreeMap<RecordId, &'a Record>,
    genesis: RecordId,
    /// The records that count.
    pub counting: BTreeSet<RecordId>,
    /// The grants that count, each with the Revokes that ended it.
    pub grants: BTreeMap<GrantId, BTreeSet<RecordId>>,
}

impl<'a> ReferenceMembership<'a> {
    /// Evaluates a set of records, in any order.
    ///
    /// # Panics
    ///
    /// Panics if there is no Genesis, or if a grant that a record depends on is missing.
    pub fn new(signed: &'a [SignedRecord]) -> Self {
        let records: BTreeMap<RecordId, &Record> =
            signed.iter().map(|signed| (signed.id(), signed.record())).collect();
        let genesis =
            *records.iter().find(|(_, record)| matches!(record.body, RecordBody::Genesis(_))).unwrap().0;
        let mut membership = Self { records, genesis, counting: BTreeSet::new(), grants: BTreeMap::new() };
        membership.evaluate();
        membership
    }

    fn role(&self, grant: &GrantId) -> Role {
        match &self.records[grant].body {
            RecordBody::Grant(grant) => grant.role,
            _ => Role::Admin,
        }
    }

    /// The key that holds the grant.
    pub fn holder_key(&self, grant: &GrantId) -> NodeId {
        match &self.records[grant].body {
            RecordBody::Grant(grant) => grant.holder,
            RecordBody::Genesis(genesis) => genesis.founder,
            _ => panic!("no grant"),
        }
    }

    /// The grants on the path from `grant` (not included) up to Genesis (included).
    fn ancestor_grants(&self, grant: GrantId) -> Vec<GrantId> {
        let mut above = Vec::new();
        let mut at = grant;
        while at != self.genesis {
            at = self.records[&at].grant;
            above.push(at);
        }
        above
    }

    /// True if `record` is the frontier record or comes before it in its chain. If the frontier record is
    /// unknown, its sequence number decides.
    fn is_at_or_before(&self, record: RecordId, frontier: Option<(u64, RecordId)>) -> bool {
        let Some((seq, mut at)) = frontier else { return false };
        if !self.records.contains_key(&at) {
            return self.records[&record].seq <= seq;
        }
        loop {
            if at == record {
                return true;
            }
            match self.records.get(&at) {
                Some(one) if self.records.contains_key(&one.prev) => at = one.prev,
                _ => return false,
            }
        }
    }

    fn revoked_grant(&self, record: RecordId) -> Option<(GrantId, &'a Frontiers)> {
        match &self.records[&record].body {
            RecordBody::Revoke(revoke) => match revoke.target {
                RevokeTarget::Grant(grant) => Some((grant, &revoke.frontiers)),
                RevokeTarget::Invite(_) => None,
            },
            _ => None,
        }
    }

    /// Evaluates the grants from Genesis down, admins first: every record that can end a grant is evaluated
    /// before the grant itself.
    fn evaluate(&mut self) {
        self.counting.insert(self.genesis);
        let recovery = |record: &&Record| record.signer == Signer::Recovery;
        let by_recovery = self.records.iter().filter(|(_, record)| recovery(record)).map(|(id, _)| *id);
        self.counting.extend(by_recovery.collect::<Vec<_>>());
        let is_grant = |record: &Record| matches!(record.body, RecordBody::Genesis(_) | RecordBody::Grant(_));
        let mut order: Vec<GrantId> =
            self.records.iter().filter(|(_, record)| is_grant(record)).map(|(id, _)| *id).collect();
        order.sort_by_key(|grant| {
            (self.role(grant) != Role::Admin, self.ancestor_grants(*grant).len(), *grant)
        });
        for grant in order {
            if self.counting.contains(&grant) {
                self.evaluate_grant(grant);
            }
        }
    }

    fn evaluate_grant(&mut self, grant: GrantId) {
        let is_admin = self.role(&grant) == Role::Admin;
        let above = self.ancestor_grants(grant);
        let by_others: BTreeSet<RecordId> = self
            .counting
            .iter()
            .copied()
            .filter(|id| self.revoked_grant(*id).is_some_and(|(ended, _)| ended == grant))
            .filter(|id| {
                let record = self.records[id];
                let of_admin = self.role(&record.grant) == Role::Admin;
                record.signer == Signer::Recovery
                    || if is_admin { above.contains(&record.grant) } else { of_admin }
            })
            .collect();
        let mine = |id: &RecordId| {
            let record = self.records[id];
            *id != self.genesis && record.grant == grant && record.signer == Signer::Holder
        };
        let mut counts: Vec<RecordId> = self.records.keys().copied().filter(mine).collect();
        for ender in &by_others {
            let (_, frontiers) = self.revoked_grant(*ender).unwrap();
            counts.retain(|id| self.is_at_or_before(*id, frontiers.last_record));
        }
        let mut own: Vec<RecordId> = counts
            .iter()
            .copied()
            .filter(|id| self.revoked_grant(*id).is_some_and(|(ended, _)| ended == grant))
            .collect();
        own.sort_by_key(|id| (self.records[id].seq, *id));
        let mut effective: Vec<RecordId> = Vec::new();
        for id in own {
            let within =
                |before: &RecordId| self.is_at_or_before(id, Some((self.records[before].seq, *before)));
            if effective.iter().all(within) {
                effective.push(id);
            }
        }
        for ender in &effective {
            counts.retain(|id| self.is_at_or_before(*id, Some((self.records[ender].seq, *ender))));
        }
        counts.retain(|id| is_admin || self.revoked_grant(*id).is_some_and(|(ended, _)| ended == grant));
        self.counting.extend(counts);
        self.grants.insert(grant, by_others.into_iter().chain(effective).collect());
    }
}

/// The acceptance of the changes of one shard.
pub struct ReferenceAcceptance {
    /// The changes that members replicate.
    pub kept: BTreeSet<ChangeId>,
    /// The changes that make up the document.
    pub accepted: BTreeSet<ChangeId>,
    /// The accepted changes that only serve as dependencies of others.
    pub held: BTreeSet<ChangeId>,
}

/// The changes of one shard, each with its ancestors.
struct ShardChanges<'a> {
    all: &'a BTreeMap<ChangeId, Candidate>,
    below: BTreeMap<ChangeId, BTreeSet<ChangeId>>,
}

impl<'a> ShardChanges<'a> {
    fn new(all: &'a BTreeMap<ChangeId, Candidate>) -> Self {
        let mut below: BTreeMap<ChangeId, BTreeSet<ChangeId>> = BTreeMap::new();
        while below.len() < all.len() {
            for (id, valid) in all {
                let deps: Vec<&ChangeId> = valid.deps.iter().filter(|dep| all.contains_key(dep)).collect();
                if !below.contains_key(id) && deps.iter().all(|dep| below.contains_key(dep)) {
                    let mut mine: BTreeSet<ChangeId> = deps.iter().copied().copied().collect();
                    deps.iter().for_each(|dep| mine.extend(below[dep].iter().copied()));
                    below.insert(*id, mine);
                }
            }
        }
        Self { all, below }
    }

    fn at_or_below(&self, id: &ChangeId, descendant: &ChangeId) -> bool {
        id == descendant || self.below[descendant].contains(id)
    }

    fn with_ancestors(&self, changes: &BTreeSet<ChangeId>) -> BTreeSet<ChangeId> {
        changes.iter().flat_map(|id| self.below[id].iter().copied()).chain(changes.iter().copied()).collect()
    }

    /// True if the change is at or below the frontier. If the frontier change is unknown, its sequence number
    /// decides.
    fn is_within_frontier(&self, id: &ChangeId, frontier: Option<&ChainPosition>) -> bool {
        match frontier {
            None => false,
            Some((seq, named)) if !self.all.contains_key(named) => self.all[id].seq <= *seq,
            Some((_, named)) => self.at_or_below(id, named),
        }
    }

    fn forked_positions(&self, among: &BTreeSet<ChangeId>) -> BTreeMap<(ChainId, u64), BTreeSet<ChangeId>> {
        let mut places: BTreeMap<(ChainId, u64), BTreeSet<ChangeId>> = BTreeMap::new();
        for id in among {
            places.entry((self.all[id].chain_id, self.all[id].seq)).or_default().insert(*id);
        }
        places.retain(|_, branches| branches.len() > 1);
        places
    }
}

fn frontier_of_chain(frontiers: &Frontiers, actor: &ChainId) -> Option<ChainPosition> {
    frontiers
        .last_changes
        .iter()
        .find(|(chain_actor, _, _)| chain_actor == actor)
        .map(|(_, seq, id)| (*seq, *id))
}

/// Computes the acceptance of the valid changes of one shard.
pub fn reference_accept(
    membership: &ReferenceMembership<'_>,
    all: &BTreeMap<ChangeId, Candidate>,
) -> ReferenceAcceptance {
    let changes = ShardChanges::new(all);
    let frontiers = |record: &RecordId| match &membership.records[record].body {
        RecordBody::Revoke(revoke) => &revoke.frontiers,
        RecordBody::Admit(admit) => &admit.frontiers,
        _ => panic!("no frontiers"),
    };
    let admits: Vec<RecordId> = membership
        .counting
        .iter()
        .copied()
        .filter(|id| matches!(membership.records[id].body, RecordBody::Admit(_)))
        .collect();
    let revokes: Vec<RecordId> = membership
        .counting
        .iter()
        .copied()
        .filter(|id| matches!(membership.records[id].body, RecordBody::Revoke(_)))
        .collect();
    let counts = |id: &ChangeId| {
        let valid = &all[id];
        let by = |record: &RecordId| {
            changes.is_within_frontier(id, frontier_of_chain(frontiers(record), &valid.chain_id).as_ref())
        };
        membership.grants.get(&valid.grant).is_some_and(|enders| enders.iter().all(by))
            || admits.iter().any(by)
    };
    let mut anchors: BTreeSet<ChangeId> = all.keys().copied().filter(counts).collect();
    let thinned = drop_surplus_branches(&changes, &changes.with_ancestors(&anchors), &anchors);
    anchors.retain(|id| thinned.contains(id));
    let mut closed = changes.with_ancestors(&anchors);
    let named = admits.iter().chain(&revokes).flat_map(|record| &frontiers(record).last_changes);
    let named: BTreeSet<ChangeId> =
        named.map(|(_, _, change)| *change).filter(|change| all.contains_key(change)).collect();
    let kept: BTreeSet<ChangeId> = closed.union(&changes.with_ancestors(&named)).copied().collect();
    while let Some((position, branches)) = changes.forked_positions(&closed).pop_first() {
        let grant = &all[branches.first().unwrap()].grant;
        let enders = membership.grants.get(grant).cloned().unwrap_or_default();
        let names = |record: &RecordId| {
            let (_, named) = frontier_of_chain(frontiers(record), &position.0)
                .filter(|(_, named)| all.contains_key(named))?;
            branches.iter().find(|branch| changes.at_or_below(branch, &named)).copied()
        };
        let named = enders.iter().find_map(names).or_else(|| admits.iter().find_map(names));
        let stays = named.unwrap_or_else(|| preferred_branch(&changes, &closed, &anchors, &branches));
        for loser in branches.iter().filter(|branch| **branch != stays) {
            anchors.retain(|id| !changes.at_or_below(loser, id));
        }
        closed = changes.with_ancestors(&anchors);
    }
    let held = closed.difference(&anchors).copied().collect();
    ReferenceAcceptance { kept, accepted: closed, held }
}

/// The branch on which the most other keys built; then the longer branch; then the smaller id.
fn preferred_branch(
    changes: &ShardChanges<'_>,
    closed: &BTreeSet<ChangeId>,
    anchors: &BTreeSet<ChangeId>,
    branches: &BTreeSet<ChangeId>,
) -> ChangeId {
    let mut first: BTreeMap<ChainId, u64> = BTreeMap::new();
    for (actor, seq) in changes.forked_positions(closed).into_keys() {
        first.entry(actor).or_insert(seq);
    }
    let rank = |branch: &&ChangeId| {
        let own = &changes.all[*branch];
        let above =
            || closed.iter().filter(|id| changes.at_or_below(branch, id)).map(|id| (id, &changes.all[id]));
        let supports = |(id, valid): &(&ChangeId, &Candidate)| {
            let sided = first.get(&valid.chain_id).is_some_and(|seq| valid.seq >= *seq);
            anchors.contains(id) && valid.author != own.author && !sided
        };
        let keys: BTreeSet<NodeId> = above().filter(supports).map(|(_, valid)| valid.author).collect();
        let length =
            above().filter(|(_, valid)| valid.chain_id == own.chain_id).map(|(_, valid)| valid.seq).max();
        (std::cmp::Reverse((keys.len(), length)), **branch)
    };
    *branches.iter().min_by_key(rank).unwrap()
}

/// Drops branches on which no other author built, beyond the longest `MAX_WEAK_BRANCHES` of each chain.
fn drop_surplus_branches(
    changes: &ShardChanges<'_>,
    closed: &BTreeSet<ChangeId>,
    anchors: &BTreeSet<ChangeId>,
) -> BTreeSet<ChangeId> {
    let mut chains: BTreeMap<ChainId, BTreeSet<ChangeId>> = BTreeMap::new();
    for id in closed {
        chains.entry(changes.all[id].chain_id).or_default().insert(*id);
    }
    let mut dropped: BTreeSet<ChangeId> = BTreeSet::new();
    for chain in chains.values() {
        let is_tip =
            |id: &&ChangeId| chain.iter().all(|other| other == *id || !changes.at_or_below(id, other));
        let tips: BTreeSet<ChangeId> = chain.iter().filter(is_tip).copied().collect();
        if tips.len() <= limits::MAX_WEAK_BRANCHES {
            continue;
        }
        let author = changes.all[tips.first().unwrap()].author;
        let supported = |id: &ChangeId| {
            let others = anchors.iter().filter(|anchor| changes.all[*anchor].author != author);
            others.into_iter().any(|anchor| changes.at_or_below(id, anchor))
        };
        let mut weak: Vec<ChangeId> = tips.iter().filter(|tip| !supported(tip)).copied().collect();
        weak.sort_by_key(|tip| (std::cmp::Reverse(changes.all[tip].seq), *tip));
        let gone: BTreeSet<ChangeId> = weak.into_iter().skip(limits::MAX_WEAK_BRANCHES).collect();
        let path = |tip: &ChangeId| {
            chain.iter().filter(|id| changes.at_or_below(id, tip)).copied().collect::<Vec<_>>()
        };
        let stays: BTreeSet<ChangeId> = tips.difference(&gone).flat_map(path).collect();
        dropped.extend(gone.iter().flat_map(path).filter(|id| !stays.contains(id) && !supported(id)));
    }
    closed.iter().filter(|id| !dropped.iter().any(|gone| changes.at_or_below(gone, id))).copied().collect()
}
