//! Signed records: their evaluation must not depend on their order of arrival.

use std::collections::BTreeSet;

use larder_core::id::{ChangeId, GrantId, InviteId, RecordId, SecretKey};
use larder_core::record::{
    Admit, Forget, Frontiers, Genesis, Grant, Membership, Record, RecordBody, RecordInsertion, RecordSet,
    Revoke, RevokeTarget, Role, SignedRecord, Signer,
};

use crate::codecs::check_record_is_canonical;
use crate::decisions::Decisions;
use crate::fixture::{self, secret_key};

/// Decodes the bytes as a record, and lets members and others issue valid and invalid records.
pub fn fuzz_records(data: &[u8]) {
    check_record_is_canonical(data);
    let mut decisions = Decisions::new(data);
    let mut issuer = RecordIssuer::new();
    while let Some(step) = decisions.next_byte() {
        if issuer.issued.len() >= MAX_RECORDS {
            break;
        }
        issuer.issue_record(step, &mut decisions);
    }
    let (genesis, made) = (fixture::genesis(), issuer.issued);
    made.iter().for_each(|record| check_record_is_canonical(&record.encode()));
    let mut forwards = RecordSet::from_genesis(genesis.clone()).expect("a Genesis");
    made.iter().for_each(|record| drop(forwards.insert(record.clone())));
    let mut backwards = RecordSet::from_genesis(genesis.clone()).expect("a Genesis");
    made.iter().rev().for_each(|record| drop(backwards.insert(record.clone())));
    assert_equal_sets(&forwards, &backwards, "whatever the order");
    let half = made.len() / 2;
    let mut fewer = RecordSet::from_genesis(genesis).expect("a Genesis");
    made.iter().take(half).for_each(|record| drop(fewer.insert(record.clone())));
    exchange_missing(&mut fewer, &mut forwards);
    check_every_grant_is_provable(&forwards);
}

/// The largest number of records of one run.
const MAX_RECORDS: usize = 40;

fn assert_equal_sets(a: &RecordSet, b: &RecordSet, when: &str) {
    let ids = |records: &RecordSet| records.iter().map(SignedRecord::id).collect::<Vec<_>>();
    assert_eq!(ids(a), ids(b), "{when}");
    assert_eq!(a.chain_tips(&all_record_ids(a)), b.chain_tips(&all_record_ids(b)), "{when}");
    assert_eq!(Membership::evaluate(a), Membership::evaluate(b), "{when}");
}

fn all_record_ids(records: &RecordSet) -> BTreeSet<RecordId> {
    records.iter().map(SignedRecord::id).collect()
}

/// Two members exchange the records that the other lacks. Afterwards both have all.
fn exchange_missing(a: &mut RecordSet, b: &mut RecordSet) {
    for _ in 0..2 {
        let to_b = a.missing_for_peer(&all_record_ids(a), &b.chain_tips(&all_record_ids(b)));
        let to_a = b.missing_for_peer(&all_record_ids(b), &a.chain_tips(&all_record_ids(a)));
        add_all(b, to_b);
        add_all(a, to_a);
    }
    assert_equal_sets(a, b, "after they met");
}

fn add_all(records: &mut RecordSet, sent: Vec<SignedRecord>) {
    for record in sent {
        let placed = records.insert(record);
        assert!(
            matches!(placed, RecordInsertion::Inserted(_) | RecordInsertion::AlreadyKnown),
            "each can be placed at once: {placed:?}"
        );
    }
}

/// Every effective grant can be proved to a non-member, record by record.
fn check_every_grant_is_provable(records: &RecordSet) {
    let members = Membership::evaluate(records);
    for grant in members.grants() {
        let proof = records.grant_proof(&grant.grant).expect("a line up to Genesis");
        let mut shown = RecordSet::from_genesis(proof[0].clone()).expect("Genesis comes first");
        add_all(&mut shown, proof[1..].to_vec());
        assert!(Membership::evaluate(&shown).grant(&grant.grant).is_some());
    }
    for key in members.nodes() {
        assert!(members.role_of(&key).is_some() && members.live_grants_of(&key).next().is_some());
    }
}

/// All issuers, honest or not.
struct RecordIssuer {
    issued: Vec<SignedRecord>,
    /// The issued grants, each with the key of its holder.
    grants: Vec<(GrantId, SecretKey)>,
}

impl RecordIssuer {
    fn new() -> Self {
        let founder = (fixture::genesis().id(), secret_key(fixture::FOUNDER));
        Self { issued: Vec::new(), grants: vec![founder] }
    }

    fn issue_record(&mut self, step: u8, decisions: &mut Decisions<'_>) {
        let (grant, holder) = decisions.choose(&self.grants).clone();
        let recovery = step & 0x10 != 0;
        let signer = if recovery { Signer::Recovery } else { Signer::Holder };
        let by = if recovery { secret_key(fixture::RECOVERY) } else { holder };
        let (body, to) = self.random_body(step, decisions);
        let (seq, prev) = self.seq_and_prev(grant, signer, decisions);
        let group = if decisions.one_in(32) { larder_core::id::GroupId::ZERO } else { fixture::group() };
        let record = Record { group, grant, signer, seq, prev, body, note: None };
        let by = if decisions.one_in(16) { secret_key(decisions.next_byte_or_zero()) } else { by };
        let signed = record.sign(&by);
        if let Some(to) = to {
            self.grants.push((signed.id(), to));
        }
        self.issued.push(signed);
    }

    /// The position after the newest record of the chain, or sometimes another position.
    fn seq_and_prev(&self, grant: GrantId, signer: Signer, decisions: &mut Decisions<'_>) -> (u64, RecordId) {
        let is_in_chain = |made: &&SignedRecord| {
            let record = made.record();
            (record.grant, record.signer) == (grant, signer)
        };
        let chain: Vec<_> = self.issued.iter().filter(is_in_chain).collect();
        let after = if decisions.one_in(6) { decisions.index(chain.len() + 1) } else { chain.len() };
        let position = match after.checked_sub(1).map(|last| chain[last]) {
            Some(last) => (last.record().seq.saturating_add(1), last.id()),
            None => (1, RecordId::ZERO),
        };
        if decisions.one_in(16) { (decisions.number(), position.1) } else { position }
    }

    fn random_body(&self, step: u8, decisions: &mut Decisions<'_>) -> (RecordBody, Option<SecretKey>) {
        let body = match step & 0x0f {
            0..=6 => {
                let to = decisions.next_byte_or_zero() % 16;
                let roles =
                    [Role::Admin, Role::Admin, Role::Operator, Role::Node, Role::Reader, Role::Other(9)];
                let grant = Grant {
                    holder: secret_key(to).node_id(),
                    role: *decisions.choose(&roles),
                    alias: String::from_utf8_lossy(decisions.bytes()).into_owned(),
                    labels: random_labels(decisions),
                    invite: decisions.next_bool().then(|| InviteId([decisions.next_byte_or_zero(); 32])),
                };
                return (RecordBody::Grant(grant), Some(secret_key(to)));
            }
            7 | 8 => {
                let what = RevokeTarget::Grant(decisions.choose(&self.grants).0);
                RecordBody::Revoke(Revoke { target: what, frontiers: random_frontiers(decisions) })
            }
            9 => {
                let what = RevokeTarget::Invite(InviteId([decisions.next_byte_or_zero(); 32]));
                RecordBody::Revoke(Revoke { target: what, frontiers: Frontiers::default() })
            }
            10 => RecordBody::Admit(Admit { frontiers: random_frontiers(decisions) }),
            11 => {
                RecordBody::Forget(Forget { shard: String::from_utf8_lossy(decisions.bytes()).into_owned() })
            }
            12 => {
                let key = secret_key(decisions.next_byte_or_zero()).node_id();
                let (name, nonce) =
                    (String::from_utf8_lossy(decisions.bytes()).into_owned(), decisions.repeated_byte());
                RecordBody::Genesis(Genesis { founder: key, name, nonce, recovery_key: key })
            }
            _ => RecordBody::Unknown {
                tag: 8 + u16::from(decisions.next_byte_or_zero()),
                bytes: decisions.bytes().to_vec(),
            },
        };
        (body, None)
    }
}

fn random_labels(decisions: &mut Decisions<'_>) -> Vec<(String, String)> {
    let text = |decisions: &mut Decisions<'_>| String::from_utf8_lossy(decisions.bytes()).into_owned();
    (0..decisions.next_byte_or_zero() % 3).map(|_| (text(decisions), text(decisions))).collect()
}

fn random_frontiers(decisions: &mut Decisions<'_>) -> Frontiers {
    let record =
        decisions.next_bool().then(|| (decisions.number(), RecordId([decisions.next_byte_or_zero(); 32])));
    let change = |decisions: &mut Decisions<'_>| {
        (
            larder_core::id::ChainId(decisions.repeated_byte()),
            decisions.number(),
            ChangeId([decisions.next_byte_or_zero(); 32]),
        )
    };
    Frontiers {
        last_record: record,
        last_changes: (0..decisions.next_byte_or_zero() % 3).map(|_| change(decisions)).collect(),
    }
}
