//! The records of one group that this node holds: each with a checked signature, in chains without gaps, issued by
//! somebody who may say such a thing. What waits for a record before it is kept aside, bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Record, Revoke, Revoked, Role, SignedRecord, Signer};
use crate::id::{GrantId, GroupId, NodeId, RecordId};
use crate::limits;

/// One author's records under one grant.
pub type RecordChain = (GrantId, Signer);

/// The newest record of a chain (of each branch, if the chain forked).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordTip {
    /// The grant acted under.
    pub grant: GrantId,
    /// Which key of it signs this chain.
    pub signer: Signer,
    /// Place in the chain.
    pub seq: u64,
    /// The record's id.
    pub id: RecordId,
}

/// What became of a record that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It and others that had waited for it are in the set now, in this order.
    New(Vec<RecordId>),
    /// It was there already, or waits already.
    Known,
    /// It waits for a record that it builds on, or for room.
    Delayed,
    /// It would have to wait, and as many wait as may: it is to be offered again.
    Full,
    /// It can never be in the set: whose fault and why.
    Refused(RecordFault),
}

/// Why a record can never be part of the group. The fault is that of the peer that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// It belongs to another group, or is a second Genesis.
    #[error("a record of another group")]
    Foreign,
    /// The key of the grant acted under did not sign it.
    #[error("a record with a false signature")]
    Signature,
    /// Its place does not follow from the record before it.
    #[error("a record out of place in its chain")]
    Chain,
    /// It acts under a grant that does not allow this.
    #[error("a record by a member who may not issue it")]
    Authority,
}

/// All records of one group that this node holds. Equal ones hold the same, and take in the same whatever comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    group: GroupId,
    genesis: RecordId,
    held: BTreeMap<RecordId, SignedRecord>,
    chains: BTreeMap<RecordChain, BTreeSet<(u64, RecordId)>>,
    /// What waits, by what it waits for.
    waiting: BTreeMap<RecordId, Vec<SignedRecord>>,
}

impl Records {
    /// The set that a Genesis begins; `None` if it is no Genesis or its founder did not sign it.
    pub fn begin(genesis: SignedRecord) -> Option<Self> {
        let group = genesis.founds()?;
        let Body::Genesis(body) = &genesis.record().body else { return None };
        if !genesis.is_signed_by(&body.founder) {
            return None;
        }
        let id = genesis.id();
        let held = BTreeMap::from([(id, genesis)]);
        Some(Self { group, genesis: id, held, chains: BTreeMap::new(), waiting: BTreeMap::new() })
    }

    /// The group's id.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The id of the Genesis record, which is also the founder's grant.
    pub fn genesis(&self) -> RecordId {
        self.genesis
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        match self.held.get(&self.genesis).map(|genesis| &genesis.record().body) {
            Some(Body::Genesis(body)) => &body.name,
            _ => "",
        }
    }

    /// The record `id`, if it is held.
    pub fn get(&self, id: &RecordId) -> Option<&SignedRecord> {
        self.held.get(id)
    }

    /// All records held, by id.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRecord> {
        self.held.values()
    }

    /// How many records are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// A set is never empty: it begins with Genesis.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many records wait for one that they build on.
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Offers a record. Whatever had waited for it is placed too.
    pub fn place(&mut self, record: SignedRecord) -> Placed {
        if self.held.contains_key(&record.id()) || self.waits(&record) {
            return Placed::Known;
        }
        match self.judge(&record) {
            Ok(()) => {}
            Err(Judged::Refused(fault)) => return Placed::Refused(fault),
            Err(Judged::Waits(on)) => {
                if self.waiting() >= limits::ORPHAN_RECORDS {
                    return Placed::Full;
                }
                self.waiting.entry(on).or_default().push(record);
                return Placed::Delayed;
            }
        }
        let mut placed = Vec::new();
        let mut next = vec![record];
        while let Some(record) = next.pop() {
            if self.held.contains_key(&record.id()) {
                continue;
            }
            match self.judge(&record) {
                Ok(()) => {
                    next.extend(self.waiting.remove(&record.id()).unwrap_or_default());
                    placed.push(record.id());
                    self.keep(record);
                }
                Err(Judged::Waits(on)) => self.waiting.entry(on).or_default().push(record),
                Err(Judged::Refused(_)) => {}
            }
        }
        Placed::New(placed)
    }

    /// True if just this waits. The same record with another signature is another matter: which of the two is right
    /// shows only once it can be judged.
    fn waits(&self, record: &SignedRecord) -> bool {
        self.waiting.values().flatten().any(|other| other == record)
    }

    fn keep(&mut self, record: SignedRecord) {
        let Record { grant, signer, seq, .. } = *record.record();
        self.chains.entry((grant, signer)).or_default().insert((seq, record.id()));
        self.held.insert(record.id(), record);
    }

    fn judge(&self, signed: &SignedRecord) -> Result<(), Judged> {
        let record = signed.record();
        if record.group != self.group {
            return Err(Judged::Refused(RecordFault::Foreign));
        }
        if !self.held.contains_key(&record.grant) {
            return Err(Judged::Waits(record.grant));
        }
        let key = self.signing_key(record).ok_or(Judged::Refused(RecordFault::Authority))?;
        if !may_issue(self.role(&record.grant), record) {
            return Err(Judged::Refused(RecordFault::Authority));
        }
        if record.seq > 1 {
            let previous = self.held.get(&record.prev).ok_or(Judged::Waits(record.prev))?.record();
            let follows = previous.grant == record.grant
                && previous.signer == record.signer
                && previous.seq.checked_add(1) == Some(record.seq);
            if !follows {
                return Err(Judged::Refused(RecordFault::Chain));
            }
        }
        if self.line(&record.grant).is_none_or(|line| line.len() >= limits::LINE) {
            return Err(Judged::Refused(RecordFault::Authority));
        }
        if !signed.is_signed_by(&key) {
            return Err(Judged::Refused(RecordFault::Signature));
        }
        if self.held.len() >= limits::RECORDS {
            return Err(Judged::Waits(RecordId::ZERO));
        }
        Ok(())
    }

    fn signing_key(&self, record: &Record) -> Option<NodeId> {
        match (record.signer, &self.held.get(&record.grant)?.record().body) {
            (Signer::Holder, Body::Genesis(genesis)) => Some(genesis.founder),
            (Signer::Recovery, Body::Genesis(genesis)) => Some(genesis.recovery),
            (Signer::Holder, Body::Grant(grant)) => Some(grant.key),
            _ => None,
        }
    }

    /// The role that a grant gives; `None` if `id` is not a grant held here.
    pub fn role(&self, id: &GrantId) -> Option<Role> {
        self.holder(id).map(|(_, role)| role)
    }

    /// The grants from `id` up to Genesis, both included. Never longer than [`limits::LINE`].
    pub fn line(&self, id: &GrantId) -> Option<Vec<GrantId>> {
        let mut line = vec![*id];
        let mut at = *id;
        while at != self.genesis {
            at = self.held.get(&at)?.record().grant;
            line.push(at);
            if line.len() > limits::LINE {
                return None;
            }
        }
        Some(line)
    }

    /// Whom a grant held here was given to, and with which role; whether it counts is another question.
    pub fn holder(&self, id: &GrantId) -> Option<(NodeId, Role)> {
        match &self.held.get(id)?.record().body {
            Body::Genesis(genesis) => Some((genesis.founder, Role::Admin)),
            Body::Grant(grant) => Some((grant.key, grant.role)),
            _ => None,
        }
    }

    /// A record and those before it in its chain, newest first.
    pub fn chain_to(&self, id: &RecordId) -> impl Iterator<Item = RecordId> {
        std::iter::successors(self.held.get(id), |signed| self.held.get(&signed.record().prev))
            .map(SignedRecord::id)
    }

    /// These records and all that is needed to place them: the chains before them, and the lines that they stand under.
    pub(crate) fn with_foundations(&self, of: impl IntoIterator<Item = RecordId>) -> BTreeSet<RecordId> {
        let mut out = BTreeSet::new();
        let mut todo: Vec<RecordId> = of.into_iter().collect();
        while let Some(id) = todo.pop() {
            let Some(signed) = self.held.get(&id).filter(|_| !out.contains(&id)) else { continue };
            out.insert(id);
            todo.extend([signed.record().prev, signed.record().grant]);
        }
        out
    }

    /// The records that convince a stranger that `grant` belongs to this group: Genesis, the line of grants, and the
    /// chains these stand in up to their place. In an order in which each can be placed at once.
    pub fn proof(&self, grant: &GrantId) -> Option<Vec<SignedRecord>> {
        let mut proof = Vec::new();
        for id in self.line(grant)?.iter().rev() {
            let mut prefix = Vec::new();
            let mut at = *id;
            while let Some(signed) = self.held.get(&at) {
                prefix.push(signed.clone());
                at = signed.record().prev;
            }
            proof.extend(prefix.into_iter().rev());
        }
        let mut seen = BTreeSet::new();
        proof.retain(|signed| seen.insert(signed.id()));
        Some(proof)
    }

    /// The newest records of every chain of a set that has with each record those before it, sorted.
    pub fn tips(&self, of: &BTreeSet<RecordId>) -> Vec<RecordTip> {
        let records = || of.iter().filter_map(|id| self.held.get(id));
        let has_next: BTreeSet<RecordId> = records().map(|signed| signed.record().prev).collect();
        let newest =
            records().filter(|signed| signed.id() != self.genesis && !has_next.contains(&signed.id()));
        let tip = |signed: &SignedRecord| {
            let record = signed.record();
            RecordTip { grant: record.grant, signer: record.signer, seq: record.seq, id: signed.id() }
        };
        let mut tips: Vec<RecordTip> = newest.map(tip).collect();
        tips.sort_unstable();
        tips
    }

    /// Lets go of a record on which nothing that is held builds.
    pub(crate) fn forget(&mut self, id: &RecordId) {
        if let Some(signed) = self.held.remove(id) {
            let Record { grant, signer, seq, .. } = *signed.record();
            if let Some(chain) = self.chains.get_mut(&(grant, signer)) {
                chain.remove(&(seq, *id));
            }
            self.chains.retain(|_, chain| !chain.is_empty());
        }
    }

    /// The place and id that the next record of a chain names: the newest one's. Of a forked chain the longest, then
    /// the smallest id.
    pub fn newest(&self, chain: RecordChain) -> Option<(u64, RecordId)> {
        let records = self.chains.get(&chain)?;
        let (seq, _) = records.last()?;
        records.range((*seq, RecordId::ZERO)..).next().copied()
    }

    /// The records of a set that a peer with these tips lacks, in an order in which each can be placed at once: of every chain what
    /// is neither a tip of theirs nor below one, in order of the depth of the grant it stands under. A tip that is not
    /// known here says nothing of what is below it.
    pub fn missing(&self, of: &BTreeSet<RecordId>, theirs: &[RecordTip]) -> Vec<SignedRecord> {
        let mut have: BTreeSet<RecordId> = BTreeSet::new();
        for tip in theirs {
            let mut at = tip.id;
            while let Some(known) = self.held.get(&at).filter(|_| have.insert(at)) {
                at = known.record().prev;
            }
        }
        let lacking = self.in_order(of).into_iter().filter(|id| !have.contains(id));
        lacking.filter_map(|id| self.held.get(&id).cloned()).collect()
    }

    /// Those of some records that are held, Genesis apart, in an order in which each can be placed at once.
    pub(crate) fn in_order(&self, of: &BTreeSet<RecordId>) -> Vec<RecordId> {
        let mut chains: Vec<_> = self.chains.iter().collect();
        chains.sort_by_key(|((grant, _), _)| self.line(grant).map_or(usize::MAX, |line| line.len()));
        let records = chains.into_iter().flat_map(|(_, records)| records);
        records.map(|(_, id)| *id).filter(|id| of.contains(id)).collect()
    }
}

enum Judged {
    Waits(RecordId),
    Refused(RecordFault),
}

/// Admins issue anything; of the others only the Revoke of their own grant counts (leaving, changing key).
fn may_issue(role: Option<Role>, record: &Record) -> bool {
    match (role, &record.body) {
        (_, Body::Genesis(_)) => false,
        (Some(Role::Admin), _) => true,
        (Some(_), Body::Revoke(Revoke { what: Revoked::Grant(grant), .. })) => *grant == record.grant,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Forget;
    use crate::vectors::scene::{founder, genesis, grant, record};

    fn forget(seq: u64, prev: RecordId, shard: &str) -> SignedRecord {
        record(seq, prev, Body::Forget(Forget { shard: shard.to_owned() })).sign(&founder())
    }

    fn set(of: &[&SignedRecord]) -> Records {
        let mut records = Records::begin(genesis()).unwrap();
        of.iter().for_each(|record| drop(records.place((*record).clone())));
        records
    }

    fn ids(of: &[SignedRecord]) -> Vec<RecordId> {
        of.iter().map(SignedRecord::id).collect()
    }

    fn whole(of: &Records) -> BTreeSet<RecordId> {
        of.iter().map(SignedRecord::id).collect()
    }

    fn tips(of: &Records) -> Vec<RecordTip> {
        of.tips(&whole(of))
    }

    fn missing(of: &Records, theirs: &[RecordTip]) -> Vec<SignedRecord> {
        of.missing(&whole(of), theirs)
    }

    #[test]
    fn a_peer_lacks_what_is_not_below_its_tips() {
        let first = grant();
        let (left, right) = (forget(2, first.id(), "left"), forget(2, first.id(), "right"));
        let (longer, longest) = (forget(3, left.id(), "l"), forget(4, right.id(), "never placed"));
        let all = set(&[&first, &left, &right, &longer]);
        assert_eq!(all.len(), 5);
        let lacks = |of: &[&SignedRecord]| ids(&missing(&all, &tips(&set(of))));
        assert_eq!(lacks(&[&first, &left, &right, &longer]), []);
        assert_eq!(lacks(&[&first, &left, &longer]), [right.id()], "one branch says nothing of the other");
        let mut both = [left.id(), right.id()];
        both.sort_unstable();
        assert_eq!(lacks(&[&first]), [both[0], both[1], longer.id()]);
        let unknown = RecordTip { grant: genesis().id(), signer: Signer::Holder, seq: 4, id: longest.id() };
        assert_eq!(missing(&all, &[unknown]).len(), 4, "what is not known here proves nothing");
        let behind = set(&[&first, &left]);
        assert_eq!(missing(&behind, &tips(&all)).len(), 2, "nor does what may be another branch");
    }

    #[test]
    fn a_false_copy_does_not_keep_the_right_one_out() {
        let first = grant();
        let second = forget(2, first.id(), "x");
        let forged = second.record().clone().sign(&crate::vectors::scene::operator());
        assert_eq!(forged.id(), second.id());
        let mut records = set(&[]);
        assert_eq!(records.place(forged.clone()), Placed::Delayed);
        assert_eq!(records.place(forged), Placed::Known);
        assert_eq!(records.place(second.clone()), Placed::Delayed);
        assert_eq!(records.place(first.clone()), Placed::New(vec![first.id(), second.id()]));
        assert_eq!(records.get(&second.id()), Some(&second));
        assert_eq!(records.waiting(), 0);
    }
}
