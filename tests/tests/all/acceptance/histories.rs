//! Small histories with removals, a rotated key, forks and late arrivals. Every order of arrival must give
//! one document, which must equal the oracle's.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::acceptance::Candidate;
use larder_core::delta::SignedDelta;
use larder_core::group::{ChangeNote, Group, UnacceptedSet, accepted_candidates};
use larder_core::id::{ChangeId, Digest, GrantId, Incarnation, RecordId, SecretKey, ShardId, hash16};
use larder_core::record::{
    Admit, Frontiers, Grant, Record, RecordBody, RecordSet, Revoke, RevokeTarget, Role, SignedRecord, Signer,
    create_genesis,
};
use larder_core::shard::root::ShardName;
use larder_core::value::Value;
use larder_tests::rng::TestRng;
use larder_tests::sim::acceptance_oracle::{ReferenceMembership, reference_accept};

use super::{for_each_order, is_exhaustive};

tests! {
    every_arrival_order_yields_the_same_document,
    worked_examples_of_the_trust_document_hold,
}

/// A record or a change that a copy of the group receives.
#[derive(Clone)]
enum Arrival {
    Record(SignedRecord),
    Change(ShardId, SignedDelta),
}

fn deliver(group: &mut Group, arrival: &Arrival) {
    match arrival {
        Arrival::Record(record) => {
            group.apply_records([record.clone()]);
        }
        Arrival::Change(shard_id, delta) => {
            let taken = group.ingest_push(*shard_id, delta);
            assert_eq!(taken.rejection, None);
        }
    }
}

fn secret(n: usize) -> SecretKey {
    SecretKey::from_bytes(&[u8::try_from(n).unwrap() + 1; 32])
}

/// Five authors (two of them admins) and everything that they issue.
struct SmallWorld {
    rng: TestRng,
    initial_records: Vec<SignedRecord>,
    /// The author's own copy of the group, and the grant under which it acts.
    authors: Vec<(Group, GrantId)>,
    arrivals: Vec<Arrival>,
    writes: u64,
}

const AUTHORS: usize = 5;

impl SmallWorld {
    fn new(seed: u64) -> Self {
        let genesis = create_genesis(&secret(0), "small", [7; 16], secret(90).node_id());
        let group = genesis.genesis_group_id().unwrap();
        let mut begun = vec![genesis.clone()];
        let mut prev = RecordId::ZERO;
        for n in 1..AUTHORS {
            let role = if n == 1 { Role::Admin } else { Role::Operator };
            let seq = n as u64;
            let body = grant_to(n, role);
            let record =
                Record { group, grant: genesis.id(), signer: Signer::Holder, seq, prev, body, note: None };
            let signed = record.sign(&secret(0));
            prev = signed.id();
            begun.push(signed);
        }
        let grants: Vec<GrantId> = begun.iter().map(SignedRecord::id).collect();
        let copy = Group::new(record_set(&begun));
        let authors = grants.iter().map(|grant| (copy.clone(), *grant)).collect();
        Self {
            rng: TestRng::from_seed(seed),
            initial_records: begun,
            authors,
            arrivals: Vec::new(),
            writes: 0,
        }
    }

    fn write(&mut self, author: usize) {
        self.writes += 1;
        let fresh = Incarnation(hash16("test life", &[&self.writes.to_be_bytes()]));
        let key = format!("config/db keys.k{}", self.rng.below(2));
        let puts = BTreeMap::from([(key, Value::Int(i64::try_from(self.writes).unwrap()))]);
        let (group, _) = &mut self.authors[author];
        let note = ChangeNote { time: 1, ..ChangeNote::default() };
        let Ok(written) = group.write(&secret(author), ShardName::Desired, puts, &note, fresh) else {
            return;
        };
        for new in written.ingest.new_changes {
            let signature = new.signature.expect("an own change is signed");
            let delta = SignedDelta { delta: new.delta, signature };
            self.arrivals.push(Arrival::Change(new.shard_id, delta));
        }
    }

    fn issue(&mut self, author: usize, body: RecordBody) {
        let (group, grant) = &mut self.authors[author];
        let newest = group.records().newest_in_chain((*grant, Signer::Holder));
        let (seq, prev) = newest.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let record =
            Record { group: group.id(), grant: *grant, signer: Signer::Holder, seq, prev, body, note: None };
        let signed = record.sign(&secret(author));
        if group.apply_records([signed.clone()]).fault.is_none() {
            self.arrivals.push(Arrival::Record(signed));
        }
    }

    /// Writes two changes at one sequence number: one by the author, and one by a copy of it from before.
    fn fork_author(&mut self, author: usize) {
        let before = self.authors[author].0.clone();
        self.write(author);
        let other_copy = std::mem::replace(&mut self.authors[author].0, before);
        self.write(author);
        if self.rng.below(2) == 0 {
            self.authors[author].0 = other_copy;
        }
    }

    /// Delivers all arrivals, or a random part of them, to an author.
    fn deliver_to(&mut self, author: usize) {
        let skip_some = self.rng.below(2);
        for arrival in &self.arrivals {
            if skip_some == 0 || self.rng.below(3) > 0 {
                deliver(&mut self.authors[author].0, arrival);
            }
        }
    }

    fn revoke(&mut self, author: usize, target: usize) {
        let (group, _) = &self.authors[author];
        let grant = self.authors[target].1;
        let mut frontiers = group.frontiers_of_grant(&grant);
        match self.rng.below(4) {
            0 => frontiers.last_changes.clear(),
            1 => frontiers.last_record = None,
            _ => {}
        }
        self.issue(author, RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), frontiers }));
    }

    /// Rotates the key of an admin: it grants a new key and revokes its own grant.
    fn change_key(&mut self) {
        let author = self.authors.len();
        self.issue(1, grant_to(author, Role::Admin));
        let Some(Arrival::Record(granted)) = self.arrivals.last().cloned() else { return };
        let copy = self.authors[1].0.clone();
        self.authors.push((copy, granted.id()));
        self.revoke(1, 1);
    }

    fn issue_admit(&mut self, author: usize) {
        let (group, _) = &self.authors[author];
        let all: Vec<_> =
            valid_changes(group).into_iter().map(|(id, valid)| (valid.chain_id, valid.seq, id)).collect();
        if !all.is_empty() {
            let changes = vec![all[self.rng.index(all.len())]];
            self.issue(
                author,
                RecordBody::Admit(Admit {
                    frontiers: Frontiers { last_record: None, last_changes: changes },
                }),
            );
        }
    }

    /// Lets the authors write and issue until there are `limit` arrivals.
    fn generate(&mut self, limit: usize) {
        let mut changed_key = false;
        for _ in 0..10 * limit {
            if self.arrivals.len() >= limit {
                break;
            }
            let author = self.rng.index(self.authors.len());
            match self.rng.below(12) {
                0..=2 => self.write(author),
                3 | 4 if self.arrivals.len() + 2 <= limit => self.fork_author(author),
                5 if self.arrivals.len() + 2 <= limit && !changed_key => {
                    changed_key = true;
                    self.change_key();
                }
                6..=8 => {
                    let admin = self.rng.index(2);
                    self.revoke(admin, 1 + author % (AUTHORS - 1));
                }
                9 => self.issue_admit(0),
                _ => self.deliver_to(author),
            }
        }
        self.arrivals.truncate(limit);
    }
}

fn grant_to(n: usize, role: Role) -> RecordBody {
    let key = secret(n).node_id();
    RecordBody::Grant(Grant { holder: key, role, alias: String::new(), labels: vec![], invite: None })
}

fn record_set(signed: &[SignedRecord]) -> RecordSet {
    let mut records = RecordSet::from_genesis(signed[0].clone()).unwrap();
    signed[1..].iter().for_each(|record| drop(records.insert(record.clone())));
    records
}

/// Every valid change of the desired state in this copy, accepted or not.
fn valid_changes(group: &Group) -> BTreeMap<ChangeId, Candidate> {
    let desired = group.desired().unwrap();
    let mut all: BTreeMap<ChangeId, Candidate> = accepted_candidates(desired, group.records())
        .iter()
        .map(|(id, valid)| (*id, valid.clone()))
        .collect();
    let unaccepted = group.unaccepted_in(&desired.root().shard_id());
    all.extend(
        unaccepted
            .into_iter()
            .flat_map(UnacceptedSet::iter)
            .map(|change| (change.id(), change.to_candidate())),
    );
    all
}

/// The evaluated state of one copy.
#[derive(Debug, PartialEq, Eq)]
struct CopySnapshot {
    digest: Digest,
    accepted: BTreeSet<ChangeId>,
    held: BTreeSet<ChangeId>,
    kept: BTreeSet<ChangeId>,
    values: String,
}

fn snapshot(group: &mut Group) -> CopySnapshot {
    group.flush_documents();
    let desired = group.desired().unwrap();
    let accepted: BTreeSet<ChangeId> = desired.graph().iter().map(|entry| entry.id).collect();
    let unaccepted =
        group.unaccepted_in(&desired.root().shard_id()).into_iter().flat_map(UnacceptedSet::iter);
    let kept = unaccepted
        .filter(|change| change.is_replicated)
        .map(|change| change.id())
        .chain(accepted.iter().copied());
    CopySnapshot {
        digest: group.digest(&[]),
        kept: kept.collect(),
        held: desired.dependency_only().clone(),
        values: format!("{:?}", desired.state().iter().collect::<Vec<_>>()),
        accepted,
    }
}

/// Asserts that every order of arrival gives the same result, equal to the oracle's. Returns the number of
/// orders.
fn try_all_orders(world: &SmallWorld) -> usize {
    let begun = Group::new(record_set(&world.initial_records));
    let mut first: Option<CopySnapshot> = None;
    let mut count = 0;
    for_each_order(world.arrivals.len(), &mut |order| {
        let mut group = begun.clone();
        // A copy may have dropped an arrival that had to wait, so everything is delivered again, as a
        // neighbour would.
        for _ in 0..3 {
            order.iter().for_each(|nth| deliver(&mut group, &world.arrivals[*nth]));
        }
        let now = snapshot(&mut group);
        if first.is_none() {
            assert_oracle_agrees(world, &group, &now);
        }
        assert_eq!(*first.get_or_insert_with(|| snapshot(&mut group)), now, "{order:?}");
        count += 1;
    });
    count
}

fn assert_oracle_agrees(world: &SmallWorld, group: &Group, shown: &CopySnapshot) {
    let known_records: Vec<SignedRecord> = world
        .initial_records
        .iter()
        .cloned()
        .chain(world.arrivals.iter().filter_map(|arrival| match arrival {
            Arrival::Record(record) => Some(record.clone()),
            Arrival::Change(..) => None,
        }))
        .collect();
    let placed = record_set(&known_records);
    let placed_records: Vec<SignedRecord> = placed.iter().cloned().collect();
    let all = valid_changes(group);
    let verdict = reference_accept(&ReferenceMembership::new(&placed_records), &all);
    assert_eq!(verdict.accepted, shown.accepted);
    assert_eq!(verdict.held, shown.held);
    assert_eq!(verdict.kept, shown.kept);
    for id in &shown.accepted {
        let deps = all[id].deps.iter().filter(|dep| all.contains_key(dep));
        assert!(deps.into_iter().all(|dep| shown.accepted.contains(dep)), "not closed under ancestors");
    }
}

/// Whole scope: 250 histories of up to seven arrivals in all 5040 orders, a millisecond for each order.
/// Default scope: 60 histories of up to six.
fn every_arrival_order_yields_the_same_document() {
    let (rounds, most) = if is_exhaustive() { (250, 7) } else { (60, 5) };
    let (mut tries, mut unaccepted, mut held, mut forks) = (0, 0, 0, 0);
    for seed in 0..rounds {
        let mut world = SmallWorld::new(seed);
        let most = if seed % 8 == 0 { most + 1 } else { most };
        world.generate(most.min(7));
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_all_orders(&world)));
        tries += seen.unwrap_or_else(|_| panic!("seed {seed}"));
        let mut group = Group::new(record_set(&world.initial_records));
        (0..2).for_each(|_| world.arrivals.iter().for_each(|arrival| deliver(&mut group, arrival)));
        unaccepted +=
            group.shard_states().unaccepted_sets().map(|(_, set)| set.iter().count()).sum::<usize>();
        held += group.desired().unwrap().dependency_only().len();
        forks += group.shard_states().forks().count();
    }
    report!("{rounds} histories, {tries} orders: {unaccepted} changes aside, {held} held, {forks} forks");
    assert!(unaccepted > 20 && forks > 3, "{unaccepted} {held} {forks}");
}

/// The examples that `docs/trust.md` explains.
fn worked_examples_of_the_trust_document_hold() {
    // Two admins revoke the same grant with different frontiers. In the meantime its holder and another
    // author continue.
    let mut world = SmallWorld::new(1);
    world.write(2);
    world.deliver_all_to(0);
    world.revoke_with_known_frontiers(0, 2);
    world.write(2);
    world.deliver_all_to(3);
    world.write(3);
    world.revoke_with_known_frontiers(1, 2);
    assert!(world.arrivals.len() <= 6);
    try_all_orders(&world);
    let mut group = Group::new(record_set(&world.initial_records));
    (0..2).for_each(|_| world.arrivals.iter().for_each(|arrival| deliver(&mut group, arrival)));
    assert_eq!(group.desired().unwrap().dependency_only().len(), 1, "what another built upon is held");

    // An author forks. Another author builds on one branch; the Revoke names the other branch, which is shown
    // later.
    let mut world = SmallWorld::new(2);
    let before = world.authors[2].0.clone();
    world.write(2);
    let one = world.arrivals.len();
    world.deliver_all_to(3);
    world.write(3);
    world.authors[2].0 = before;
    world.write(2);
    let other = world.arrivals[one + 1].clone();
    deliver(&mut world.authors[0].0, &other);
    world.revoke_with_known_frontiers(0, 2);
    try_all_orders(&world);

    // An admin rotates its key. Later changes under the old key do not count, changes under the new key do.
    let mut world = SmallWorld::new(3);
    world.write(1);
    let late = world.authors[1].0.clone();
    world.change_key();
    world.write(AUTHORS);
    world.authors[1].0 = late;
    world.write(1);
    try_all_orders(&world);
}

impl SmallWorld {
    fn deliver_all_to(&mut self, author: usize) {
        for arrival in &self.arrivals {
            deliver(&mut self.authors[author].0, arrival);
        }
    }

    fn revoke_with_known_frontiers(&mut self, author: usize, target: usize) {
        let grant = self.authors[target].1;
        let frontiers = self.authors[author].0.frontiers_of_grant(&grant);
        self.issue(author, RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(grant), frontiers }));
    }
}
