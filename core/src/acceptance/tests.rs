//! Tests of the single rules. The crate `tests` tests all small cases exhaustively.

use super::*;
use crate::group::accepted_candidates;
use crate::id::{Incarnation, RecordId, SecretKey, ShardId};
use crate::record::{
    Admit, Frontiers, Grant, Record, RecordBody, RecordSet, Revoke, RevokeTarget, Role, Signer,
    create_genesis,
};

fn secret_key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

/// A group under construction.
struct TestGroup {
    records: RecordSet,
    candidates: CandidateSet,
}

/// The key number of the founder, an admin.
const FOUNDER: u8 = 1;

impl TestGroup {
    fn new() -> Self {
        let genesis = create_genesis(&secret_key(FOUNDER), "shop", [9; 16], secret_key(99).node_id());
        Self { records: RecordSet::from_genesis(genesis).unwrap(), candidates: CandidateSet::new() }
    }

    fn genesis(&self) -> GrantId {
        self.records.genesis()
    }

    fn issue_record(&mut self, issuer: u8, grant: GrantId, body: RecordBody) -> RecordId {
        let newest = self.records.newest_in_chain((grant, Signer::Holder));
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let (group, signer) = (self.records.group(), Signer::Holder);
        let record = Record { group, grant, signer, seq, prev, body, note: None }.sign(&secret_key(issuer));
        let id = record.id();
        self.records.insert(record);
        assert!(self.records.get(&id).is_some());
        id
    }

    fn grant(&mut self, issuer: u8, under: GrantId, holder: u8, role: Role) -> GrantId {
        let key = secret_key(holder).node_id();
        let body = Grant { holder: key, role, alias: String::new(), labels: vec![], invite: None };
        self.issue_record(issuer, under, RecordBody::Grant(body))
    }

    /// Makes the founder grant the role `operator` to a new member.
    fn grant_operator(&mut self, n: u8) -> GrantId {
        let genesis = self.genesis();
        self.grant(FOUNDER, genesis, n, Role::Operator)
    }

    fn revoke(
        &mut self,
        issuer: u8,
        under: GrantId,
        grant: GrantId,
        kept_changes: &[(ChainId, u64, u32)],
    ) -> RecordId {
        let record = self.records.newest_in_chain((grant, Signer::Holder));
        let frontiers = Frontiers { last_record: record, last_changes: frontier_changes(kept_changes) };
        self.issue_record(
            issuer,
            under,
            RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), frontiers }),
        )
    }

    fn admit(&mut self, kept_changes: &[(ChainId, u64, u32)]) -> RecordId {
        let frontiers = Frontiers { last_record: None, last_changes: frontier_changes(kept_changes) };
        let genesis = self.genesis();
        self.issue_record(FOUNDER, genesis, RecordBody::Admit(Admit { frontiers }))
    }

    fn add_change(&mut self, n: u32, chain_id: ChainId, grant: GrantId, seq: u64, deps: &[u32]) {
        let key = self.records.holder_and_role(&grant).unwrap().0;
        let deps = deps.iter().map(|dep| change_id(*dep)).collect();
        self.candidates.insert(change_id(n), Candidate { chain_id, seq, grant, author: key, deps });
    }

    fn compute_acceptance(&self) -> Acceptance {
        compute_acceptance(&Membership::evaluate(&self.records), &self.candidates)
    }

    fn accepted_numbers(&self) -> Vec<u32> {
        let acceptance = self.compute_acceptance();
        self.candidates.ids().filter(|id| acceptance.is_accepted(id)).map(change_number).collect()
    }
}

fn frontier_changes(kept_changes: &[(ChainId, u64, u32)]) -> Vec<(ChainId, u64, ChangeId)> {
    let mut changes: Vec<_> =
        kept_changes.iter().map(|(chain_id, seq, n)| (*chain_id, *seq, change_id(*n))).collect();
    changes.sort_unstable();
    changes
}

fn chain_of_grant(grant: GrantId, incarnation: u8) -> ChainId {
    ChainId::derive(crate::id::GroupId::ZERO, ShardId::ZERO, grant, Incarnation([incarnation; 16]))
}

fn change_id(n: u32) -> ChangeId {
    let mut id = ChangeId([0xcc; 32]);
    id.0[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn change_number(id: ChangeId) -> u32 {
    u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}

fn change_numbers(ids: &BTreeSet<ChangeId>) -> Vec<u32> {
    ids.iter().copied().map(change_number).collect()
}

#[test]
fn changes_of_live_members_are_accepted_as_anchors() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    group.add_change(1, chain_of_grant(a, 0), a, 1, &[0]);
    group.add_change(2, chain_of_grant(b, 0), b, 1, &[1]);
    group.add_change(3, chain_of_grant(a, 0), a, 2, &[1]);
    group.add_change(4, chain_of_grant(b, 0), b, 2, &[2, 3]);
    assert_eq!(group.compute_acceptance(), Acceptance::default(), "all are anchors");
}

#[test]
fn change_after_a_revocation_is_local_only_until_a_live_member_builds_on_it() {
    let mut group = TestGroup::new();
    let (a, b, c) = (group.genesis(), group.grant_operator(2), group.grant_operator(3));
    group.add_change(1, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(2, chain_of_grant(b, 0), b, 2, &[1]);
    group.add_change(3, chain_of_grant(b, 0), b, 3, &[2]);
    group.revoke(FOUNDER, a, b, &[(chain_of_grant(b, 0), 1, 1)]);
    assert_eq!(change_numbers(&group.compute_acceptance().local_only), [2, 3]);
    // A member that did not know of the Revoke builds on change 2.
    group.add_change(4, chain_of_grant(c, 0), c, 1, &[2]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.dependency_only), [2]);
    assert_eq!(change_numbers(&acceptance.local_only), [3]);
    assert!(acceptance.is_anchor(&change_id(4)) && !acceptance.is_anchor(&change_id(2)));
}

#[test]
fn admit_record_accepts_changes_that_a_revoke_excluded() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    group.add_change(1, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(2, chain_of_grant(b, 0), b, 2, &[1]);
    group.revoke(FOUNDER, a, b, &[]);
    assert_eq!(change_numbers(&group.compute_acceptance().local_only), [1, 2]);
    group.admit(&[(chain_of_grant(b, 0), 1, 1)]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.local_only), [2]);
    assert!(acceptance.is_anchor(&change_id(1)));
}

#[test]
fn several_revokes_accept_only_what_lies_below_each_frontier() {
    let mut group = TestGroup::new();
    let a = group.genesis();
    let second = group.grant(FOUNDER, a, 2, Role::Admin);
    let b = group.grant_operator(3);
    for n in 1..=3 {
        group.add_change(n, chain_of_grant(b, 0), b, n.into(), &[n - 1]);
    }
    group.revoke(FOUNDER, a, b, &[(chain_of_grant(b, 0), 3, 3)]);
    assert_eq!(group.accepted_numbers(), [1, 2, 3]);
    group.revoke(2, second, b, &[(chain_of_grant(b, 0), 1, 1)]);
    let acceptance = group.compute_acceptance();
    assert_eq!(group.accepted_numbers(), [1]);
    assert_eq!(
        change_numbers(&acceptance.replicated_only),
        [2, 3],
        "what a frontier names is kept as evidence"
    );
}

#[test]
fn frontier_with_an_unknown_change_is_compared_by_seq() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    group.add_change(1, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(20, chain_of_grant(b, 0), b, 2, &[1]);
    group.add_change(30, chain_of_grant(b, 0), b, 3, &[20]);
    group.revoke(FOUNDER, a, b, &[(chain_of_grant(b, 0), 2, 21)]);
    assert_eq!(change_numbers(&group.compute_acceptance().local_only), [30]);
    // The unknown change arrives. It is on another branch.
    group.add_change(21, chain_of_grant(b, 0), b, 2, &[1]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.local_only), [20, 30]);
    assert!(acceptance.forks.is_empty(), "only one branch is kept");
}

#[test]
fn longer_branch_of_a_fork_wins_and_the_other_is_replicated_only() {
    let mut group = TestGroup::new();
    let b = group.grant_operator(2);
    group.add_change(1, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(9, chain_of_grant(b, 0), b, 2, &[1]);
    group.add_change(2, chain_of_grant(b, 0), b, 2, &[1]);
    assert_eq!(group.accepted_numbers(), [1, 2], "of equal ones the smaller hash");
    group.add_change(10, chain_of_grant(b, 0), b, 3, &[9]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.replicated_only), [2]);
    let fork =
        Fork { chain_id: chain_of_grant(b, 0), seq: 2, winner: change_id(9), losers: vec![change_id(2)] };
    assert_eq!(acceptance.forks, [fork]);
}

#[test]
fn branch_with_more_supporting_members_wins_a_fork() {
    let mut group = TestGroup::new();
    let (a, b, c) = (group.genesis(), group.grant_operator(2), group.grant_operator(3));
    group.add_change(2, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(3, chain_of_grant(b, 0), b, 2, &[2]);
    group.add_change(4, chain_of_grant(b, 0), b, 3, &[3]);
    group.add_change(9, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(20, chain_of_grant(a, 0), a, 1, &[9]);
    assert_eq!(group.accepted_numbers(), [9, 20]);
    group.add_change(21, chain_of_grant(c, 0), c, 1, &[3]);
    group.add_change(22, chain_of_grant(c, 0), c, 2, &[21]);
    assert_eq!(group.accepted_numbers(), [2, 3, 4, 21, 22], "one key each: then the longer");
    let acceptance = group.compute_acceptance();
    assert_eq!(
        change_numbers(&acceptance.replicated_only),
        [9, 20],
        "an honest member's work above a fork is not lost"
    );
}

#[test]
fn branch_named_by_a_record_wins_a_fork() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    group.add_change(2, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(3, chain_of_grant(b, 0), b, 2, &[2]);
    group.add_change(9, chain_of_grant(b, 0), b, 1, &[0]);
    assert_eq!(group.accepted_numbers(), [2, 3]);
    group.admit(&[(chain_of_grant(b, 0), 1, 9)]);
    assert_eq!(group.accepted_numbers(), [9]);
    group.revoke(FOUNDER, a, b, &[(chain_of_grant(b, 0), 1, 2)]);
    assert_eq!(group.accepted_numbers(), [2], "a Revoke goes before an Admit");
}

#[test]
fn member_that_forked_is_no_supporter_after_its_fork() {
    let mut group = TestGroup::new();
    let (b, c) = (group.grant_operator(2), group.grant_operator(3));
    // c forks, and builds on both branches of b's fork.
    group.add_change(1, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(2, chain_of_grant(b, 0), b, 1, &[0]);
    group.add_change(3, chain_of_grant(b, 0), b, 2, &[2]);
    group.add_change(11, chain_of_grant(c, 0), c, 1, &[1]);
    group.add_change(12, chain_of_grant(c, 0), c, 1, &[3]);
    let winners: Vec<u32> =
        group.compute_acceptance().forks.iter().map(|fork| change_number(fork.winner)).collect();
    assert!(winners.contains(&2), "the longer of b's branches, {winners:?}");
}

#[test]
fn at_most_two_unsupported_branches_of_a_chain_are_replicated() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    for n in 1..=5 {
        group.add_change(n, chain_of_grant(b, 0), b, 1, &[0]);
    }
    group.add_change(8, chain_of_grant(b, 0), b, 2, &[4]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.local_only), [2, 3, 5]);
    assert_eq!(change_numbers(&acceptance.replicated_only), [1]);
    // A branch on which another member built is kept, however many branches there are.
    group.add_change(20, chain_of_grant(a, 0), a, 1, &[5]);
    let acceptance = group.compute_acceptance();
    assert_eq!(change_numbers(&acceptance.local_only), [2, 3]);
    assert_eq!(group.accepted_numbers(), [5, 20]);
}

#[test]
fn acceptance_of_50000_changes_does_not_overflow_the_stack() {
    let mut group = TestGroup::new();
    let (a, b) = (group.genesis(), group.grant_operator(2));
    for n in 1..=50_000 {
        group.add_change(n, chain_of_grant(b, 0), b, n.into(), &[n - 1]);
    }
    group.add_change(60_000, chain_of_grant(a, 0), a, 1, &[50_000]);
    group.revoke(FOUNDER, a, b, &[]);
    let acceptance = group.compute_acceptance();
    assert_eq!((acceptance.dependency_only.len(), acceptance.local_only.len()), (50_000, 0));
}

#[test]
fn candidates_of_a_shard_are_all_accepted() {
    let fixture = crate::golden::fixture::history();
    let records = crate::golden::fixture::records();
    let changes = accepted_candidates(&fixture.shard, &records);
    assert_eq!(changes.ids().count(), 6);
    assert_eq!(compute_acceptance(&Membership::evaluate(&records), &changes), Acceptance::default());
    let grants: BTreeSet<_> = changes.iter().map(|(_, valid)| valid.grant).collect();
    assert_eq!(grants.len(), 2, "of both members");
}
