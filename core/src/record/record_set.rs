//! The records of one group that a node holds. Each has a verified signature and an issuer that may issue it,
//! and the chains have no gaps. A record whose predecessor is missing waits, within a limit.

use std::collections::{BTreeMap, BTreeSet};

use super::{Record, RecordBody, Revoke, RevokeTarget, Role, SignedRecord, Signer};
use crate::id::{GrantId, GroupId, NodeId, RecordId};
use crate::limits;

/// The records that one key issues under one grant.
pub type RecordChainId = (GrantId, Signer);

/// The newest record of a chain, or of one branch of a forked chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordTip {
    /// The grant of the chain.
    pub grant: GrantId,
    /// The key that signs the chain.
    pub signer: Signer,
    /// The record's position in the chain.
    pub seq: u64,
    /// The record's id.
    pub id: RecordId,
}

/// The outcome of [`RecordSet::insert`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordInsertion {
    /// The record and those that waited for it are in the set now, in this order.
    Inserted(Vec<RecordId>),
    /// The set holds the record already, or it waits already.
    AlreadyKnown,
    /// The record waits for a record on which it builds, or for room in the set.
    Waiting,
    /// The record would have to wait, but no more records may wait. Offer it again later.
    WaitingFull,
    /// The record can never be in the set.
    Rejected(RecordFault),
}

/// The reason why a record can never be part of the group. Its author is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The record belongs to another group, or is a second Genesis.
    #[error("the record belongs to another group")]
    Foreign,
    /// The key of the record's grant did not sign it.
    #[error("the record's signature is invalid")]
    Signature,
    /// The record does not follow its predecessor in the chain.
    #[error("the record does not follow its predecessor")]
    Chain,
    /// The record's grant does not allow it.
    #[error("the record's issuer may not issue it")]
    Authority,
}

/// All records of one group that a node holds. Equal sets behave alike for every further record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    group: GroupId,
    genesis: RecordId,
    records: BTreeMap<RecordId, SignedRecord>,
    chains: BTreeMap<RecordChainId, BTreeSet<(u64, RecordId)>>,
    /// The waiting records, by the record for which each waits.
    waiting: BTreeMap<RecordId, Vec<SignedRecord>>,
}

impl RecordSet {
    /// The set with only this Genesis, or `None` if it is no Genesis or the founder did not sign it.
    pub fn from_genesis(genesis: SignedRecord) -> Option<Self> {
        let group = genesis.genesis_group_id()?;
        let RecordBody::Genesis(body) = &genesis.record().body else { return None };
        if !genesis.is_signed_by(&body.founder) {
            return None;
        }
        let id = genesis.id();
        let held = BTreeMap::from([(id, genesis)]);
        Some(Self { group, genesis: id, records: held, chains: BTreeMap::new(), waiting: BTreeMap::new() })
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
        match self.records.get(&self.genesis).map(|genesis| &genesis.record().body) {
            Some(RecordBody::Genesis(body)) => &body.name,
            _ => "",
        }
    }

    /// The record with this id, if the set holds it.
    pub fn get(&self, id: &RecordId) -> Option<&SignedRecord> {
        self.records.get(id)
    }

    /// All records of the set, by id.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRecord> {
        self.records.values()
    }

    /// The number of records in the set.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Always false: a set holds at least its Genesis.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of waiting records.
    pub fn waiting_len(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Inserts a record, and then the records that waited for it.
    pub fn insert(&mut self, record: SignedRecord) -> RecordInsertion {
        if self.records.contains_key(&record.id()) || self.is_waiting(&record) {
            return RecordInsertion::AlreadyKnown;
        }
        match self.validate(&record) {
            Ok(()) => {}
            Err(NotInsertable::Rejected(fault)) => return RecordInsertion::Rejected(fault),
            Err(NotInsertable::WaitsFor(needed)) => {
                if self.waiting_len() >= limits::MAX_WAITING_RECORDS {
                    return RecordInsertion::WaitingFull;
                }
                self.waiting.entry(needed).or_default().push(record);
                return RecordInsertion::Waiting;
            }
        }
        let mut inserted = Vec::new();
        let mut next = vec![record];
        while let Some(record) = next.pop() {
            if self.records.contains_key(&record.id()) {
                continue;
            }
            match self.validate(&record) {
                Ok(()) => {
                    next.extend(self.waiting.remove(&record.id()).unwrap_or_default());
                    inserted.push(record.id());
                    self.insert_validated(record);
                }
                Err(NotInsertable::WaitsFor(needed)) => self.waiting.entry(needed).or_default().push(record),
                Err(NotInsertable::Rejected(_)) => {}
            }
        }
        RecordInsertion::Inserted(inserted)
    }

    /// True if exactly this record waits. The same record with another signature is treated as another one,
    /// because the signature can be verified only later.
    fn is_waiting(&self, record: &SignedRecord) -> bool {
        self.waiting.values().flatten().any(|other| other == record)
    }

    fn insert_validated(&mut self, record: SignedRecord) {
        let Record { grant, signer, seq, .. } = *record.record();
        self.chains.entry((grant, signer)).or_default().insert((seq, record.id()));
        self.records.insert(record.id(), record);
    }

    fn validate(&self, signed: &SignedRecord) -> Result<(), NotInsertable> {
        let record = signed.record();
        if record.group != self.group {
            return Err(NotInsertable::Rejected(RecordFault::Foreign));
        }
        if !self.records.contains_key(&record.grant) {
            return Err(NotInsertable::WaitsFor(record.grant));
        }
        let key = self.signing_key(record).ok_or(NotInsertable::Rejected(RecordFault::Authority))?;
        if !may_issue(self.role_of(&record.grant), record) {
            return Err(NotInsertable::Rejected(RecordFault::Authority));
        }
        if record.seq > 1 {
            let previous =
                self.records.get(&record.prev).ok_or(NotInsertable::WaitsFor(record.prev))?.record();
            let follows = previous.grant == record.grant
                && previous.signer == record.signer
                && previous.seq.checked_add(1) == Some(record.seq);
            if !follows {
                return Err(NotInsertable::Rejected(RecordFault::Chain));
            }
        }
        if self.path(&record.grant).is_none_or(|path| path.len() >= limits::MAX_GRANT_PATH_LEN) {
            return Err(NotInsertable::Rejected(RecordFault::Authority));
        }
        if !signed.is_signed_by(&key) {
            return Err(NotInsertable::Rejected(RecordFault::Signature));
        }
        if self.records.len() >= limits::MAX_RECORDS_PER_GROUP {
            return Err(NotInsertable::WaitsFor(RecordId::ZERO));
        }
        Ok(())
    }

    /// The key that must sign the record: that of the grant it acts under, or the group's recovery key.
    /// `None` if the set does not hold that grant.
    pub(crate) fn signing_key(&self, record: &Record) -> Option<NodeId> {
        if let RecordBody::Genesis(genesis) = &record.body {
            return Some(genesis.founder);
        }
        match (record.signer, &self.records.get(&record.grant)?.record().body) {
            (Signer::Holder, RecordBody::Genesis(genesis)) => Some(genesis.founder),
            (Signer::Recovery, RecordBody::Genesis(genesis)) => Some(genesis.recovery_key),
            (Signer::Holder, RecordBody::Grant(grant)) => Some(grant.holder),
            _ => None,
        }
    }

    /// The role that the grant gives, or `None` if the set does not hold the grant.
    pub fn role_of(&self, id: &GrantId) -> Option<Role> {
        self.holder_and_role(id).map(|(_, role)| role)
    }

    /// The grants from `id` up to Genesis, both included. Never longer than [`limits::MAX_GRANT_PATH_LEN`].
    pub fn path(&self, id: &GrantId) -> Option<Vec<GrantId>> {
        let mut path = vec![*id];
        let mut current = *id;
        while current != self.genesis {
            current = self.records.get(&current)?.record().grant;
            path.push(current);
            if path.len() > limits::MAX_GRANT_PATH_LEN {
                return None;
            }
        }
        Some(path)
    }

    /// The holder and role of a grant in the set, whether it counts or not.
    pub fn holder_and_role(&self, id: &GrantId) -> Option<(NodeId, Role)> {
        match &self.records.get(id)?.record().body {
            RecordBody::Genesis(genesis) => Some((genesis.founder, Role::Admin)),
            RecordBody::Grant(grant) => Some((grant.holder, grant.role)),
            _ => None,
        }
    }

    /// The record and its predecessors in its chain, newest first.
    pub fn chain_up_to(&self, id: &RecordId) -> impl Iterator<Item = RecordId> {
        std::iter::successors(self.records.get(id), |signed| self.records.get(&signed.record().prev))
            .map(SignedRecord::id)
    }

    /// The given records and everything that they need: their predecessors and their grants, up to Genesis.
    pub(crate) fn with_dependencies(&self, ids: impl IntoIterator<Item = RecordId>) -> BTreeSet<RecordId> {
        let mut closure = BTreeSet::new();
        let mut pending: Vec<RecordId> = ids.into_iter().collect();
        while let Some(id) = pending.pop() {
            let Some(signed) = self.records.get(&id).filter(|_| !closure.contains(&id)) else { continue };
            closure.insert(id);
            pending.extend([signed.record().prev, signed.record().grant]);
        }
        closure
    }

    /// The records that prove that `grant` belongs to this group: the grants from Genesis down to it, each
    /// with its predecessors. They are in an order in which each can be inserted at once.
    pub fn grant_proof(&self, grant: &GrantId) -> Option<Vec<SignedRecord>> {
        let mut proof = Vec::new();
        for id in self.path(grant)?.iter().rev() {
            let mut prefix = Vec::new();
            let mut current = *id;
            while let Some(signed) = self.records.get(&current) {
                prefix.push(signed.clone());
                current = signed.record().prev;
            }
            proof.extend(prefix.into_iter().rev());
        }
        let mut seen = BTreeSet::new();
        proof.retain(|signed| seen.insert(signed.id()));
        Some(proof)
    }

    /// The newest records of each chain of `ids`, sorted. `ids` must contain each record's predecessors.
    pub fn chain_tips(&self, ids: &BTreeSet<RecordId>) -> Vec<RecordTip> {
        let records = || ids.iter().filter_map(|id| self.records.get(id));
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

    /// Removes a record on which no other record of the set builds.
    pub(crate) fn remove(&mut self, id: &RecordId) {
        if let Some(signed) = self.records.remove(id) {
            let Record { grant, signer, seq, .. } = *signed.record();
            if let Some(chain) = self.chains.get_mut(&(grant, signer)) {
                chain.remove(&(seq, *id));
            }
            self.chains.retain(|_, chain| !chain.is_empty());
        }
    }

    /// The position and id of the newest record of the chain, on which the next one builds. Of a forked chain
    /// it is the longest branch, then the smallest id.
    pub fn newest_in_chain(&self, chain: RecordChainId) -> Option<(u64, RecordId)> {
        let records = self.chains.get(&chain)?;
        let (seq, _) = records.last()?;
        records.range((*seq, RecordId::ZERO)..).next().copied()
    }

    /// The records among `ids` that a peer with these tips lacks, in an order in which each can be inserted
    /// at once. A record is missing if it is neither a tip of the peer nor below one; a tip that this set
    /// does not hold says nothing about the records below it.
    pub fn missing_for_peer(&self, ids: &BTreeSet<RecordId>, peer_tips: &[RecordTip]) -> Vec<SignedRecord> {
        let mut peer_has: BTreeSet<RecordId> = BTreeSet::new();
        for tip in peer_tips {
            let mut current = tip.id;
            while let Some(known) = self.records.get(&current).filter(|_| peer_has.insert(current)) {
                current = known.record().prev;
            }
        }
        let missing = self.in_insertion_order(ids).into_iter().filter(|id| !peer_has.contains(id));
        missing.filter_map(|id| self.records.get(&id).cloned()).collect()
    }

    /// The records among `ids` that the set holds, without Genesis, in an order in which each can be inserted
    /// at once.
    pub(crate) fn in_insertion_order(&self, ids: &BTreeSet<RecordId>) -> Vec<RecordId> {
        let mut chains: Vec<_> = self.chains.iter().collect();
        chains.sort_by_key(|((grant, _), _)| self.path(grant).map_or(usize::MAX, |path| path.len()));
        let records = chains.into_iter().flat_map(|(_, records)| records);
        records.map(|(_, id)| *id).filter(|id| ids.contains(id)).collect()
    }
}

enum NotInsertable {
    WaitsFor(RecordId),
    Rejected(RecordFault),
}

/// Admins may issue any record. Other members may only revoke their own grant, to leave or to rotate their
/// key.
fn may_issue(role: Option<Role>, record: &Record) -> bool {
    match (role, &record.body) {
        (_, RecordBody::Genesis(_)) => false,
        (Some(Role::Admin), _) => true,
        (Some(_), RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), .. })) => {
            *grant == record.grant
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::fixture::{founder, genesis, grant, record};
    use crate::record::Forget;

    fn forget_record(seq: u64, prev: RecordId, shard: &str) -> SignedRecord {
        record(seq, prev, RecordBody::Forget(Forget { shard: shard.to_owned() })).sign(&founder())
    }

    fn record_set(signed_records: &[&SignedRecord]) -> RecordSet {
        let mut set = RecordSet::from_genesis(genesis()).unwrap();
        signed_records.iter().for_each(|signed| drop(set.insert((*signed).clone())));
        set
    }

    fn ids_of(records: &[SignedRecord]) -> Vec<RecordId> {
        records.iter().map(SignedRecord::id).collect()
    }

    fn all_ids(set: &RecordSet) -> BTreeSet<RecordId> {
        set.iter().map(SignedRecord::id).collect()
    }

    fn all_tips(set: &RecordSet) -> Vec<RecordTip> {
        set.chain_tips(&all_ids(set))
    }

    fn all_missing_for_peer(set: &RecordSet, peer_tips: &[RecordTip]) -> Vec<SignedRecord> {
        set.missing_for_peer(&all_ids(set), peer_tips)
    }

    #[test]
    fn peer_is_missing_every_record_not_at_or_below_its_tips() {
        let first = grant();
        let (left, right) = (forget_record(2, first.id(), "left"), forget_record(2, first.id(), "right"));
        let (longer, longest) =
            (forget_record(3, left.id(), "l"), forget_record(4, right.id(), "never inserted"));
        let full_set = record_set(&[&first, &left, &right, &longer]);
        assert_eq!(full_set.len(), 5);
        let missing_for = |peer_records: &[&SignedRecord]| {
            ids_of(&all_missing_for_peer(&full_set, &all_tips(&record_set(peer_records))))
        };
        assert_eq!(missing_for(&[&first, &left, &right, &longer]), []);
        assert_eq!(
            missing_for(&[&first, &left, &longer]),
            [right.id()],
            "one branch says nothing of the other"
        );
        let mut both = [left.id(), right.id()];
        both.sort_unstable();
        assert_eq!(missing_for(&[&first]), [both[0], both[1], longer.id()]);
        let unknown = RecordTip { grant: genesis().id(), signer: Signer::Holder, seq: 4, id: longest.id() };
        assert_eq!(
            all_missing_for_peer(&full_set, &[unknown]).len(),
            4,
            "what is not known here proves nothing"
        );
        let behind = record_set(&[&first, &left]);
        assert_eq!(
            all_missing_for_peer(&behind, &all_tips(&full_set)).len(),
            2,
            "nor does what may be another branch"
        );
    }

    #[test]
    fn record_with_a_forged_signature_does_not_block_the_genuine_one() {
        let first = grant();
        let second = forget_record(2, first.id(), "x");
        let forged = second.record().clone().sign(&crate::golden::fixture::operator());
        assert_eq!(forged.id(), second.id());
        let mut records = record_set(&[]);
        assert_eq!(records.insert(forged.clone()), RecordInsertion::Waiting);
        assert_eq!(records.insert(forged), RecordInsertion::AlreadyKnown);
        assert_eq!(records.insert(second.clone()), RecordInsertion::Waiting);
        assert_eq!(records.insert(first.clone()), RecordInsertion::Inserted(vec![first.id(), second.id()]));
        assert_eq!(records.get(&second.id()), Some(&second));
        assert_eq!(records.waiting_len(), 0);
    }
}
