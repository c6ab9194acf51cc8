//! Membership and acceptance: the product and the oracle must agree on every set of records and changes.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::{Candidate, CandidateSet, compute_acceptance};
use larder_core::id::{ChainId, ChangeId, GrantId, RecordId, hash};
use larder_core::record::{
    Admit, Frontiers, Grant, Membership, Record, RecordBody, RecordInsertion, RecordSet, Revoke,
    RevokeTarget, Role, SignedRecord, Signer,
};
use larder_tests::sim::acceptance_oracle;

use crate::decisions::Decisions;
use crate::fixture::{self, secret_key};

/// Decodes the bytes as a signed record. It must encode to the same bytes, and a record set must accept it or
/// give a reason.
pub fn fuzz_signed_record(data: &[u8]) {
    let Ok(signed) = SignedRecord::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    assert_eq!(signed.encoded_len(), data.len());
    let mut records = RecordSet::from_genesis(fixture::genesis()).expect("a Genesis");
    let before = records.len();
    match records.insert(signed.clone()) {
        RecordInsertion::Inserted(placed) => assert_eq!(records.len(), before + placed.len()),
        RecordInsertion::AlreadyKnown
        | RecordInsertion::Waiting
        | RecordInsertion::WaitingFull
        | RecordInsertion::Rejected(_) => assert_eq!(records.len(), before),
    }
    let _ = (
        signed.genesis_group_id(),
        signed.is_signed_by(&secret_key(fixture::FOUNDER).node_id()),
        Membership::evaluate(&records),
    );
}

/// Lets holders of grants issue records, honest or not, and compares the membership with the oracle's.
pub fn fuzz_membership(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    let mut world = MembershipWorld::new();
    while world.records.len() < 24
        && let Some(step) = decisions.next_byte()
    {
        world.issue_record(step, &mut decisions);
    }
    world.assert_oracle_agrees();
}

/// Does the same with changes under the grants, and compares the acceptance with the oracle's.
pub fn fuzz_acceptance(data: &[u8]) {
    let mut decisions = Decisions::new(data);
    let mut world = MembershipWorld::new();
    while world.records.len() + world.changes.len() < 40
        && let Some(step) = decisions.next_byte()
    {
        match step % 3 {
            0 => world.issue_record(step / 3, &mut decisions),
            _ => world.write_change(&mut decisions),
        }
    }
    world.assert_oracle_agrees();
}

/// Valid records and changes.
struct MembershipWorld {
    records: Vec<SignedRecord>,
    record_set: RecordSet,
    grants: Vec<(GrantId, u8, Role)>,
    changes: BTreeMap<ChangeId, Candidate>,
    /// All ancestors of each change, and the change itself.
    ancestors: BTreeMap<ChangeId, BTreeSet<ChangeId>>,
    write_count: u64,
}

impl MembershipWorld {
    fn new() -> Self {
        let genesis = fixture::genesis();
        let grants = vec![(genesis.id(), fixture::FOUNDER, Role::Admin)];
        let placed = RecordSet::from_genesis(genesis.clone()).expect("a Genesis");
        let (changes, below) = (BTreeMap::new(), BTreeMap::new());
        Self { records: vec![genesis], record_set: placed, grants, changes, ancestors: below, write_count: 0 }
    }

    fn issue_record(&mut self, step: u8, decisions: &mut Decisions<'_>) {
        let (grant, number, role) = *decisions.choose(&self.grants);
        let recovery = decisions.one_in(8);
        let (issuing_grant, signer, signing_key) = match recovery {
            true => (self.records[0].id(), Signer::Recovery, fixture::RECOVERY),
            false => (grant, Signer::Holder, number),
        };
        let grantee = 10 + decisions.next_byte_or_zero() % 6;
        let (body, granted) = match step % 6 {
            0 | 1 => {
                let role = *decisions.choose(&[Role::Admin, Role::Admin, Role::Operator, Role::Node]);
                let alias = String::new();
                (
                    RecordBody::Grant(Grant {
                        holder: secret_key(grantee).node_id(),
                        role,
                        alias,
                        labels: vec![],
                        invite: None,
                    }),
                    Some(role),
                )
            }
            2 => (RecordBody::Admit(Admit { frontiers: self.random_frontiers(decisions) }), None),
            _ => {
                let revoked =
                    if role == Role::Admin || recovery { decisions.choose(&self.grants).0 } else { grant };
                (
                    RecordBody::Revoke(Revoke {
                        target: RevokeTarget::Grant(revoked),
                        frontiers: self.random_frontiers(decisions),
                    }),
                    None,
                )
            }
        };
        let chain: Vec<(u64, RecordId)> = self
            .records
            .iter()
            .filter(|signed| {
                let record = signed.record();
                record.seq > 0 && record.grant == issuing_grant && record.signer == signer
            })
            .map(|signed| (signed.record().seq, signed.id()))
            .collect();
        // The record follows the newest record of the chain, or any record, which forks the chain.
        let after = if decisions.one_in(5) { decisions.index(chain.len() + 1) } else { chain.len() };
        let (seq, prev) =
            after.checked_sub(1).map_or((1, RecordId::ZERO), |index| (chain[index].0 + 1, chain[index].1));
        let record =
            Record { group: fixture::group(), grant: issuing_grant, signer, seq, prev, body, note: None }
                .sign(&secret_key(signing_key));
        if matches!(self.record_set.insert(record.clone()), RecordInsertion::Inserted(_)) {
            if let Some(role) = granted {
                self.grants.push((record.id(), grantee, role));
            }
            self.records.push(record);
        }
    }

    fn random_frontiers(&self, decisions: &mut Decisions<'_>) -> Frontiers {
        let record = match decisions.next_byte_or_zero() % 3 {
            0 => None,
            1 => Some((decisions.number() % 8, RecordId([decisions.next_byte_or_zero(); 32]))),
            _ => {
                let signed = decisions.choose(&self.records);
                Some((signed.record().seq, signed.id()))
            }
        };
        let mut changes: BTreeMap<ChainId, (u64, ChangeId)> = BTreeMap::new();
        let all: Vec<(ChangeId, &Candidate)> = self.changes.iter().map(|(id, valid)| (*id, valid)).collect();
        for _ in 0..decisions.next_byte_or_zero() % 4 {
            if all.is_empty() {
                break;
            }
            let (id, valid) = *decisions.choose(&all);
            let frontier = if decisions.one_in(4) {
                (valid.seq + 1, ChangeId([decisions.next_byte_or_zero(); 32]))
            } else {
                (valid.seq, id)
            };
            changes.insert(valid.chain_id, frontier);
        }
        let changes = changes.into_iter().map(|(actor, (seq, id))| (actor, seq, id)).collect();
        Frontiers { last_record: record, last_changes: changes }
    }

    /// Writes a valid change: it follows its own predecessor, and no two of its ancestors share a position in
    /// a chain.
    fn write_change(&mut self, decisions: &mut Decisions<'_>) {
        let (grant, number, _) = *decisions.choose(&self.grants);
        let incarnation_byte = [decisions.next_byte_or_zero() % 2];
        let actor = ChainId(larder_core::id::hash16("larder fuzz actor", &[&grant.0, &incarnation_byte]));
        let mine: Vec<ChangeId> =
            self.changes.iter().filter(|(_, valid)| valid.chain_id == actor).map(|(id, _)| *id).collect();
        // Most changes continue the longest branch. A change at any other position makes a fork.
        let newest = mine.iter().max_by_key(|id| (self.changes[*id].seq, **id)).copied();
        let previous =
            if decisions.one_in(4) && !mine.is_empty() { Some(*decisions.choose(&mine)) } else { newest };
        let previous = if decisions.one_in(12) { None } else { previous };
        let mut deps: BTreeSet<ChangeId> = previous.into_iter().collect();
        let all: Vec<ChangeId> = self.changes.keys().copied().collect();
        for _ in 0..decisions.next_byte_or_zero() % 3 {
            if !all.is_empty() {
                deps.insert(*decisions.choose(&all));
            }
        }
        let below: BTreeSet<ChangeId> =
            deps.iter().flat_map(|dep| self.ancestors[dep].iter().copied()).collect();
        let seq = previous.map_or(0, |previous| self.changes[&previous].seq) + 1;
        let mut positions: BTreeSet<(ChainId, u64)> = BTreeSet::from([(actor, seq)]);
        if !below.iter().all(|id| positions.insert((self.changes[id].chain_id, self.changes[id].seq))) {
            return;
        }
        self.write_count += 1;
        let id = ChangeId(hash("larder fuzz change", &[&self.write_count.to_be_bytes(), &actor.0]));
        let deps: Vec<ChangeId> = deps.into_iter().collect();
        self.changes.insert(
            id,
            Candidate { chain_id: actor, seq, grant, author: secret_key(number).node_id(), deps },
        );
        self.ancestors.insert(id, below.into_iter().chain([id]).collect());
    }

    /// Both orders of insertion must give the same membership, and the oracle must agree with it.
    fn assert_oracle_agrees(&self) {
        let mut backwards = RecordSet::from_genesis(self.records[0].clone()).expect("a Genesis");
        self.records[1..].iter().rev().for_each(|record| drop(backwards.insert(record.clone())));
        let (members, reference) = (
            Membership::evaluate(&self.record_set),
            acceptance_oracle::ReferenceMembership::new(&self.records),
        );
        assert_eq!(members, Membership::evaluate(&backwards));
        for signed in &self.records {
            assert_eq!(members.is_effective(&signed.id()), reference.counting.contains(&signed.id()));
        }
        let mut changes = CandidateSet::new();
        self.changes.iter().for_each(|(id, valid)| changes.insert(*id, valid.clone()));
        let (acceptance, reference_acceptance) = (
            compute_acceptance(&members, &changes),
            acceptance_oracle::reference_accept(&reference, &self.changes),
        );
        let mut positions: BTreeSet<(ChainId, u64)> = BTreeSet::new();
        for (id, valid) in &self.changes {
            assert_eq!(acceptance.is_accepted(id), reference_acceptance.accepted.contains(id));
            assert_eq!(acceptance.is_replicated(id), reference_acceptance.kept.contains(id));
            assert_eq!(acceptance.dependency_only.contains(id), reference_acceptance.held.contains(id));
            if acceptance.is_accepted(id) {
                assert!(valid.deps.iter().all(|dep| acceptance.is_accepted(dep)), "closed under ancestors");
                assert!(positions.insert((valid.chain_id, valid.seq)), "two in one place");
            }
        }
    }
}
