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

use super::set::RecordChain;
use super::{Body, Frontiers, Records, Revoke, Revoked, Role, SignedRecord, Signer};
use crate::id::{Actor, ChangeId, GrantId, InviteId, NodeId, RecordId};
use crate::shard::root::ShardName;

/// What one grant amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The grant.
    pub grant: GrantId,
    /// Whom it was given to.
    pub key: NodeId,
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
pub type ChangeFrontier = BTreeMap<Actor, (u64, ChangeId)>;

/// One Revoke that ended a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The record.
    pub record: RecordId,
    /// True if the holder ended it: it left, or changed its key.
    pub own: bool,
    /// What it still lets count.
    pub changes: ChangeFrontier,
}

/// Who is a member, with which role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    grants: BTreeMap<GrantId, Standing>,
    endings: BTreeMap<GrantId, Vec<Ending>>,
    /// Live grants.
    by_key: BTreeMap<NodeId, Vec<GrantId>>,
    counting: BTreeSet<RecordId>,
    /// Records that do not count and are named by one that does: without them two members could differ on what counts.
    evidence: BTreeSet<RecordId>,
    admits: BTreeMap<RecordId, ChangeFrontier>,
    /// Changes that a frontier of a counting record names.
    named: BTreeSet<ChangeId>,
    forgotten: BTreeSet<String>,
    dissolved: Option<RecordId>,
    revoked_invites: BTreeSet<InviteId>,
    unsupported: Vec<RecordId>,
}

impl Members {
    /// Folds a set of records.
    pub fn fold(records: &Records) -> Self {
        let mut fold = Fold::new(records);
        for grant in fold.order() {
            fold.decide(grant);
        }
        fold.finish()
    }

    /// What the grant `id` amounts to; `None` if it does not count. It may have ended.
    pub fn grant(&self, id: &GrantId) -> Option<&Standing> {
        self.grants.get(id)
    }

    /// All counting grants, ended ones too, by id.
    pub fn grants(&self) -> impl Iterator<Item = &Standing> {
        self.grants.values()
    }

    /// True if the grant counts and nothing has ended it.
    pub fn is_live(&self, id: &GrantId) -> bool {
        self.grants.contains_key(id) && !self.endings.contains_key(id)
    }

    /// What ended a counting grant, in order of record id; empty while it is live.
    pub fn endings(&self, id: &GrantId) -> &[Ending] {
        self.endings.get(id).map_or(&[], Vec::as_slice)
    }

    /// All members, by key.
    pub fn keys(&self) -> impl Iterator<Item = NodeId> {
        self.by_key.keys().copied()
    }

    /// True if `key` holds a live grant.
    pub fn contains(&self, key: &NodeId) -> bool {
        self.by_key.contains_key(key)
    }

    /// The live grants of `key`, oldest first.
    pub fn of(&self, key: &NodeId) -> impl Iterator<Item = &Standing> {
        self.by_key.get(key).into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// The counting grants of `key` that have ended, by id.
    pub fn ended_of(&self, key: &NodeId) -> impl Iterator<Item = &Standing> {
        self.grants.values().filter(move |standing| standing.key == *key && !self.is_live(&standing.grant))
    }

    /// Keys whose grants have all ended.
    pub fn former(&self) -> BTreeSet<NodeId> {
        self.grants.values().map(|standing| standing.key).filter(|key| !self.contains(key)).collect()
    }

    /// The highest role that `key` has.
    pub fn role(&self, key: &NodeId) -> Option<Role> {
        self.of(key).map(|standing| standing.role).max()
    }

    /// The oldest live grant under which `key` may do what `allows` asks for.
    pub fn grant_for(&self, key: &NodeId, allows: fn(Role) -> bool) -> Option<GrantId> {
        self.of(key).find(|standing| allows(standing.role)).map(|standing| standing.grant)
    }

    /// True if the record counts.
    pub fn counts(&self, record: &RecordId) -> bool {
        self.counting.contains(record)
    }

    /// The counting records, and those that one of them needs to be understood.
    pub(crate) fn speaking(&self) -> impl Iterator<Item = RecordId> {
        self.counting.union(&self.evidence).copied()
    }

    /// What counting Admits let in, by record.
    pub fn admits(&self) -> impl Iterator<Item = (&RecordId, &ChangeFrontier)> {
        self.admits.iter()
    }

    /// Changes that a frontier of a counting record names.
    pub fn named(&self) -> &BTreeSet<ChangeId> {
        &self.named
    }

    /// True if members drop what that grant observed: somebody said so, and nobody writes under it any more.
    pub fn is_forgotten(&self, grant: &GrantId) -> bool {
        !self.is_live(grant) && self.forgotten.contains(&ShardName::Observed(*grant).to_string())
    }

    /// The record that dissolved the group, if one did.
    pub fn dissolved(&self) -> Option<RecordId> {
        self.dissolved
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
struct Fold<'a> {
    records: &'a Records,
    depths: BTreeMap<GrantId, usize>,
    /// Records of each chain, by place.
    chains: BTreeMap<RecordChain, Vec<&'a SignedRecord>>,
    /// Revokes by the grant that they would end.
    revokes: BTreeMap<GrantId, Vec<&'a SignedRecord>>,
    out: Members,
}

impl<'a> Fold<'a> {
    fn new(records: &'a Records) -> Self {
        let mut fold = Self {
            records,
            depths: BTreeMap::new(),
            chains: BTreeMap::new(),
            revokes: BTreeMap::new(),
            out: Members::default(),
        };
        fold.out.counting.insert(records.genesis());
        for signed in records.iter() {
            let record = signed.record();
            match &record.body {
                Body::Genesis(_) | Body::Grant(_) => {
                    let depth = records.line(&signed.id()).map(|line| line.len() - 1);
                    fold.depths.extend(depth.map(|depth| (signed.id(), depth)));
                }
                Body::Revoke(Revoke { what: Revoked::Grant(grant), .. }) => {
                    fold.revokes.entry(*grant).or_default().push(signed);
                }
                _ => {}
            }
            if signed.id() != records.genesis() {
                fold.chains.entry((record.grant, record.signer)).or_default().push(signed);
            }
            // Nothing stands above the recovery key.
            if record.signer == Signer::Recovery {
                fold.out.counting.insert(signed.id());
            }
        }
        fold
    }

    /// Admins first, each after those above it.
    fn order(&self) -> Vec<GrantId> {
        let mut order: Vec<_> = self
            .depths
            .iter()
            .map(|(grant, depth)| (self.records.role(grant) != Some(Role::Admin), *depth, *grant))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, grant)| grant).collect()
    }

    /// Says what ended a grant, and which of the records under it count.
    fn decide(&mut self, grant: GrantId) {
        if !self.out.counting.contains(&grant) {
            return;
        }
        let others = self.ended_from_above(&grant);
        let below: Vec<Below> = others.iter().map(|revoke| self.below(record_frontier(revoke))).collect();
        let chain = self.chains.get(&(grant, Signer::Holder)).map_or(&[][..], Vec::as_slice);
        let mut mine: Vec<&SignedRecord> = chain.to_vec();
        mine.retain(|record| below.iter().all(|below| below.has(record)));
        let (own, below) = self.ended_by_holder(&grant, &mine);
        mine.retain(|record| below.iter().all(|below| below.has(record)));
        let admin = self.records.role(&grant) == Some(Role::Admin);
        let counting = mine.iter().filter(|record| admin || ends(record, &grant)).map(|record| record.id());
        self.out.counting.extend(counting);
        let ending = |signed: &&SignedRecord, own| {
            let changes = frontiers(signed).map(change_frontier).unwrap_or_default();
            Ending { record: signed.id(), own, changes }
        };
        let others = others.iter().map(|signed| ending(signed, false));
        let mut endings: Vec<Ending> = others.chain(own.iter().map(|signed| ending(signed, true))).collect();
        endings.sort_by_key(|ending| ending.record);
        if !endings.is_empty() {
            self.out.endings.insert(grant, endings);
        }
    }

    /// The counting Revokes by which others may end this grant.
    fn ended_from_above(&self, grant: &GrantId) -> Vec<&'a SignedRecord> {
        let line = self.records.line(grant).unwrap_or_default();
        let is_admin = self.records.role(grant) == Some(Role::Admin);
        let may = |signed: &SignedRecord| {
            let record = signed.record();
            match record.signer {
                Signer::Recovery => true,
                Signer::Holder if is_admin => line.iter().skip(1).any(|above| *above == record.grant),
                Signer::Holder => self.records.role(&record.grant) == Some(Role::Admin),
            }
        };
        let revokes = self.revokes.get(grant).into_iter().flatten();
        revokes.filter(|signed| self.out.counting.contains(&signed.id()) && may(signed)).copied().collect()
    }

    /// The Revokes by which its holder ended it, each with what lies at or below it.
    fn ended_by_holder(
        &self,
        grant: &GrantId,
        mine: &[&'a SignedRecord],
    ) -> (Vec<&'a SignedRecord>, Vec<Below>) {
        let mut own: Vec<&SignedRecord> = mine.iter().filter(|record| ends(record, grant)).copied().collect();
        own.sort_by_key(|signed| (signed.record().seq, signed.id()));
        let (mut taken, mut below) = (Vec::new(), Vec::<Below>::new());
        for signed in own {
            if below.iter().all(|below| below.has(signed)) {
                below.push(self.below(Some((signed.record().seq, signed.id()))));
                taken.push(signed);
            }
        }
        (taken, below)
    }

    /// What lies at or below a record frontier.
    fn below(&self, frontier: Option<(u64, RecordId)>) -> Below {
        match frontier {
            None => Below::Chain(BTreeSet::new()),
            Some((seq, id)) if self.records.get(&id).is_none() => Below::Seq(seq),
            Some((_, id)) => Below::Chain(self.records.chain_to(&id).collect()),
        }
    }

    fn finish(mut self) -> Members {
        let counting: Vec<&SignedRecord> =
            self.out.counting.iter().filter_map(|id| self.records.get(id)).collect();
        for signed in counting {
            self.read(signed);
        }
        let out = &mut self.out;
        out.endings.retain(|grant, _| out.grants.contains_key(grant));
        if out.dissolved.is_none() {
            for standing in out.grants.values().filter(|standing| !out.endings.contains_key(&standing.grant))
            {
                out.by_key.entry(standing.key).or_default().push(standing.grant);
            }
        }
        // Oldest grant first: nearest to Genesis, then earliest in its issuer's chain, then by id.
        let grants = &out.grants;
        for of_key in out.by_key.values_mut() {
            of_key.sort_by_key(|id| (grants.get(id).map(|standing| (standing.depth, standing.seq)), *id));
        }
        self.out
    }

    /// What a counting record says.
    fn read(&mut self, signed: &SignedRecord) {
        let (id, record) = (signed.id(), signed.record());
        let depth = self.depths.get(&id).copied().unwrap_or_default();
        let out = &mut self.out;
        if let Some(frontiers) = frontiers(signed) {
            out.named.extend(frontiers.changes.iter().map(|(_, _, change)| *change));
            let named = frontiers.record.map(|(_, record)| record);
            out.evidence.extend(named.filter(|named| self.records.get(named).is_some()));
        }
        match &record.body {
            Body::Genesis(genesis) => {
                out.grants.insert(id, Standing::founder(id, genesis.founder));
            }
            Body::Grant(grant) => {
                let standing = Standing {
                    grant: id,
                    key: grant.key,
                    role: grant.role,
                    depth,
                    seq: record.seq,
                    alias: grant.alias.clone(),
                    labels: grant.labels.clone(),
                    invite: grant.invite,
                };
                out.grants.insert(id, standing);
            }
            Body::Revoke(Revoke { what: Revoked::Invite(invite), .. }) => {
                out.revoked_invites.insert(*invite);
            }
            Body::Revoke(_) => {}
            Body::Admit(admit) => {
                out.admits.insert(id, change_frontier(&admit.frontiers));
            }
            Body::Forget(forget) => {
                out.forgotten.insert(forget.shard.clone());
            }
            Body::Dissolve if record.grant == self.records.genesis() => {
                out.dissolved = out.dissolved.or(Some(id));
            }
            // Only the founder and the recovery key stand above everybody.
            Body::Dissolve => {}
            Body::Unknown { .. } => out.unsupported.push(id),
        }
    }
}

impl Standing {
    fn founder(grant: GrantId, key: NodeId) -> Self {
        Self {
            grant,
            key,
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
enum Below {
    Seq(u64),
    Chain(BTreeSet<RecordId>),
}

impl Below {
    fn has(&self, signed: &SignedRecord) -> bool {
        match self {
            Self::Seq(seq) => signed.record().seq <= *seq,
            Self::Chain(records) => records.contains(&signed.id()),
        }
    }
}

/// True if the record ends that grant.
fn ends(signed: &SignedRecord, grant: &GrantId) -> bool {
    matches!(&signed.record().body, Body::Revoke(Revoke { what: Revoked::Grant(ended), .. }) if ended == grant)
}

fn frontiers(signed: &SignedRecord) -> Option<&Frontiers> {
    match &signed.record().body {
        Body::Revoke(revoke) => Some(&revoke.frontiers),
        Body::Admit(admit) => Some(&admit.frontiers),
        _ => None,
    }
}

fn record_frontier(signed: &SignedRecord) -> Option<(u64, RecordId)> {
    frontiers(signed).and_then(|frontiers| frontiers.record)
}

fn change_frontier(frontiers: &Frontiers) -> ChangeFrontier {
    frontiers.changes.iter().map(|(actor, seq, change)| (*actor, (*seq, *change))).collect()
}
