//! The rules, case by case. That they hold together on everything small is tried in the crate `tests`.

use super::*;
use crate::id::{EpochId, Incarnation, RecordId, Secret};
use crate::record::{Admit, Body, Frontiers, Grant, Record, Revoke, Revoked, Role, Signer, found};

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

/// A group, record by record.
struct Stage {
    records: Records,
    changes: Changes,
}

/// The founder, who is an admin.
const FOUNDER: u8 = 1;

impl Stage {
    fn new() -> Self {
        let genesis = found(&secret(FOUNDER), "shop", [9; 16], secret(99).node());
        Self { records: Records::begin(genesis).unwrap(), changes: Changes::new() }
    }

    fn genesis(&self) -> GrantId {
        self.records.genesis()
    }

    fn issue(&mut self, by: u8, grant: GrantId, body: Body) -> RecordId {
        let newest = self.records.newest((grant, Signer::Holder));
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let (group, signer) = (self.records.group(), Signer::Holder);
        let record = Record { group, grant, signer, seq, prev, body, remark: None }.sign(&secret(by));
        let id = record.id();
        self.records.place(record);
        assert!(self.records.get(&id).is_some());
        id
    }

    fn grant(&mut self, by: u8, under: GrantId, to: u8, role: Role) -> GrantId {
        let key = secret(to).node();
        let body = Grant { key, role, alias: String::new(), labels: vec![], invite: None };
        self.issue(by, under, Body::Grant(body))
    }

    /// The founder lets an operator in.
    fn operator(&mut self, n: u8) -> GrantId {
        let genesis = self.genesis();
        self.grant(FOUNDER, genesis, n, Role::Operator)
    }

    fn revoke(&mut self, by: u8, under: GrantId, grant: GrantId, keep: &[(Actor, u64, u32)]) -> RecordId {
        let record = self.records.newest((grant, Signer::Holder));
        let frontiers = Frontiers { record, changes: frontier(keep) };
        self.issue(by, under, Body::Revoke(Revoke { what: Revoked::Grant(grant), frontiers }))
    }

    fn admit(&mut self, keep: &[(Actor, u64, u32)]) -> RecordId {
        let frontiers = Frontiers { record: None, changes: frontier(keep) };
        let genesis = self.genesis();
        self.issue(FOUNDER, genesis, Body::Admit(Admit { frontiers }))
    }

    fn write(&mut self, n: u32, actor: Actor, grant: GrantId, seq: u64, deps: &[u32]) {
        let key = self.records.holder(&grant).unwrap().0;
        let deps = deps.iter().map(|dep| id(*dep)).collect();
        self.changes.insert(id(n), Valid { actor, seq, grant, key, deps });
    }

    fn accept(&self) -> Acceptance {
        accept(&Members::fold(&self.records), &self.changes)
    }

    fn accepted(&self) -> Vec<u32> {
        let acceptance = self.accept();
        self.changes.ids().filter(|id| acceptance.is_accepted(id)).map(number).collect()
    }
}

fn frontier(keep: &[(Actor, u64, u32)]) -> Vec<(Actor, u64, ChangeId)> {
    let mut changes: Vec<_> = keep.iter().map(|(actor, seq, n)| (*actor, *seq, id(*n))).collect();
    changes.sort_unstable();
    changes
}

fn actor(grant: GrantId, life: u8) -> Actor {
    Actor::of(crate::id::GroupId::ZERO, EpochId::ZERO, grant, Incarnation([life; 16]))
}

fn id(n: u32) -> ChangeId {
    let mut id = ChangeId([0xcc; 32]);
    id.0[..4].copy_from_slice(&n.to_be_bytes());
    id
}

fn number(id: ChangeId) -> u32 {
    u32::from_be_bytes([id.0[0], id.0[1], id.0[2], id.0[3]])
}

fn numbers(of: &BTreeSet<ChangeId>) -> Vec<u32> {
    of.iter().copied().map(number).collect()
}

#[test]
fn what_live_members_wrote_is_accepted() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    stage.write(1, actor(a, 0), a, 1, &[0]);
    stage.write(2, actor(b, 0), b, 1, &[1]);
    stage.write(3, actor(a, 0), a, 2, &[1]);
    stage.write(4, actor(b, 0), b, 2, &[2, 3]);
    assert_eq!(stage.accept(), Acceptance::default(), "all are anchors");
}

#[test]
fn a_removed_members_late_change_is_outside_until_somebody_built_on_it() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.genesis(), stage.operator(2), stage.operator(3));
    stage.write(1, actor(b, 0), b, 1, &[0]);
    stage.write(2, actor(b, 0), b, 2, &[1]);
    stage.write(3, actor(b, 0), b, 3, &[2]);
    stage.revoke(FOUNDER, a, b, &[(actor(b, 0), 1, 1)]);
    assert_eq!(numbers(&stage.accept().outside), [2, 3]);
    // One that had not heard of it built on 2.
    stage.write(4, actor(c, 0), c, 1, &[2]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.held), [2]);
    assert_eq!(numbers(&acceptance.outside), [3]);
    assert!(acceptance.is_anchor(&id(4)) && !acceptance.is_anchor(&id(2)));
}

#[test]
fn an_admit_lets_in_what_a_revoke_left_out() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    stage.write(1, actor(b, 0), b, 1, &[0]);
    stage.write(2, actor(b, 0), b, 2, &[1]);
    stage.revoke(FOUNDER, a, b, &[]);
    assert_eq!(numbers(&stage.accept().outside), [1, 2]);
    stage.admit(&[(actor(b, 0), 1, 1)]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.outside), [2]);
    assert!(acceptance.is_anchor(&id(1)));
}

#[test]
fn below_several_revokes_is_below_each() {
    let mut stage = Stage::new();
    let a = stage.genesis();
    let second = stage.grant(FOUNDER, a, 2, Role::Admin);
    let b = stage.operator(3);
    for n in 1..=3 {
        stage.write(n, actor(b, 0), b, n.into(), &[n - 1]);
    }
    stage.revoke(FOUNDER, a, b, &[(actor(b, 0), 3, 3)]);
    assert_eq!(stage.accepted(), [1, 2, 3]);
    stage.revoke(2, second, b, &[(actor(b, 0), 1, 1)]);
    let acceptance = stage.accept();
    assert_eq!(stage.accepted(), [1]);
    assert_eq!(numbers(&acceptance.losing), [2, 3], "what a frontier names is kept as evidence");
}

#[test]
fn a_frontier_whose_change_is_not_here_counts_by_place() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    stage.write(1, actor(b, 0), b, 1, &[0]);
    stage.write(20, actor(b, 0), b, 2, &[1]);
    stage.write(30, actor(b, 0), b, 3, &[20]);
    stage.revoke(FOUNDER, a, b, &[(actor(b, 0), 2, 21)]);
    assert_eq!(numbers(&stage.accept().outside), [30]);
    // Now it comes, and is another branch.
    stage.write(21, actor(b, 0), b, 2, &[1]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.outside), [20, 30]);
    assert!(acceptance.forks.is_empty(), "only one branch is kept");
}

#[test]
fn the_longer_branch_of_a_fork_stays_and_the_other_is_kept() {
    let mut stage = Stage::new();
    let b = stage.operator(2);
    stage.write(1, actor(b, 0), b, 1, &[0]);
    stage.write(9, actor(b, 0), b, 2, &[1]);
    stage.write(2, actor(b, 0), b, 2, &[1]);
    assert_eq!(stage.accepted(), [1, 2], "of equal ones the smaller hash");
    stage.write(10, actor(b, 0), b, 3, &[9]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.losing), [2]);
    let fork = Fork { actor: actor(b, 0), seq: 2, winner: id(9), losers: vec![id(2)] };
    assert_eq!(acceptance.forks, [fork]);
}

#[test]
fn the_branch_that_more_others_built_on_stays() {
    let mut stage = Stage::new();
    let (a, b, c) = (stage.genesis(), stage.operator(2), stage.operator(3));
    stage.write(2, actor(b, 0), b, 1, &[0]);
    stage.write(3, actor(b, 0), b, 2, &[2]);
    stage.write(4, actor(b, 0), b, 3, &[3]);
    stage.write(9, actor(b, 0), b, 1, &[0]);
    stage.write(20, actor(a, 0), a, 1, &[9]);
    assert_eq!(stage.accepted(), [9, 20]);
    stage.write(21, actor(c, 0), c, 1, &[3]);
    stage.write(22, actor(c, 0), c, 2, &[21]);
    assert_eq!(stage.accepted(), [2, 3, 4, 21, 22], "one key each: then the longer");
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.losing), [9, 20], "an honest member's work above a fork is not lost");
}

#[test]
fn records_name_the_branch_before_anything_else_does() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    stage.write(2, actor(b, 0), b, 1, &[0]);
    stage.write(3, actor(b, 0), b, 2, &[2]);
    stage.write(9, actor(b, 0), b, 1, &[0]);
    assert_eq!(stage.accepted(), [2, 3]);
    stage.admit(&[(actor(b, 0), 1, 9)]);
    assert_eq!(stage.accepted(), [9]);
    stage.revoke(FOUNDER, a, b, &[(actor(b, 0), 1, 2)]);
    assert_eq!(stage.accepted(), [2], "a Revoke goes before an Admit");
}

#[test]
fn a_forker_lends_no_weight_from_its_fork_on() {
    let mut stage = Stage::new();
    let (b, c) = (stage.operator(2), stage.operator(3));
    // c forks, and builds on both branches of b's fork.
    stage.write(1, actor(b, 0), b, 1, &[0]);
    stage.write(2, actor(b, 0), b, 1, &[0]);
    stage.write(3, actor(b, 0), b, 2, &[2]);
    stage.write(11, actor(c, 0), c, 1, &[1]);
    stage.write(12, actor(c, 0), c, 1, &[3]);
    let winners: Vec<u32> = stage.accept().forks.iter().map(|fork| number(fork.winner)).collect();
    assert!(winners.contains(&2), "the longer of b's branches, {winners:?}");
}

#[test]
fn a_forker_alone_makes_others_keep_two_branches() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    for n in 1..=5 {
        stage.write(n, actor(b, 0), b, 1, &[0]);
    }
    stage.write(8, actor(b, 0), b, 2, &[4]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.outside), [2, 3, 5]);
    assert_eq!(numbers(&acceptance.losing), [1]);
    // What another member built on stays, however many branches there are.
    stage.write(20, actor(a, 0), a, 1, &[5]);
    let acceptance = stage.accept();
    assert_eq!(numbers(&acceptance.outside), [2, 3]);
    assert_eq!(stage.accepted(), [5, 20]);
}

#[test]
fn a_long_history_is_no_deep_one() {
    let mut stage = Stage::new();
    let (a, b) = (stage.genesis(), stage.operator(2));
    for n in 1..=50_000 {
        stage.write(n, actor(b, 0), b, n.into(), &[n - 1]);
    }
    stage.write(60_000, actor(a, 0), a, 1, &[50_000]);
    stage.revoke(FOUNDER, a, b, &[]);
    let acceptance = stage.accept();
    assert_eq!((acceptance.held.len(), acceptance.outside.len()), (50_000, 0));
}

#[test]
fn a_shard_holds_just_what_is_accepted() {
    let story = crate::vectors::scene::story();
    let records = crate::vectors::scene::records();
    let changes = Changes::of(&story.shard, &records);
    assert_eq!(changes.ids().count(), 6);
    assert_eq!(accept(&Members::fold(&records), &changes), Acceptance::default());
    let grants: BTreeSet<_> = changes.iter().map(|(_, valid)| valid.grant).collect();
    assert_eq!(grants.len(), 2, "of both members");
}
