//! Every small set of records must evaluate to the same membership in any order of arrival.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use larder_core::id::{GrantId, NodeId, RecordId, SecretKey, hash16};
use larder_core::record::{
    Frontiers, Grant, Membership, Record, RecordBody, RecordInsertion, RecordSet, Revoke, RevokeTarget, Role,
    SignedRecord, Signer, create_genesis,
};
use larder_tests::rng::TestRng;
use larder_tests::sim::acceptance_oracle::ReferenceMembership;

use super::is_exhaustive;

tests! {
    every_small_record_set_evaluates_identically_in_any_order,
    random_record_sets_evaluate_identically_in_any_order,
}

/// The keys that can issue records: the founder, the holders in the order of their grants, and last the
/// recovery key.
static KEYS: LazyLock<Vec<(SecretKey, NodeId)>> = LazyLock::new(|| {
    let key = |n| SecretKey::from_bytes(&[n; 32]);
    (0..10).map(|n| (key(n), key(n).node_id())).collect()
});

const RECOVERY: usize = 9;

/// Records in an order in which each can be inserted, with Genesis first.
#[derive(Clone)]
struct OrderedRecords(Vec<SignedRecord>);

impl OrderedRecords {
    fn new() -> Self {
        Self(vec![create_genesis(&KEYS[0].0, "small", [7; 16], KEYS[RECOVERY].1)])
    }

    fn with_record(&self, next: SignedRecord) -> Self {
        Self(self.0.iter().cloned().chain([next]).collect())
    }

    /// A hash that is equal for the same records in another order.
    fn id(&self) -> [u8; 16] {
        let ids: BTreeSet<RecordId> = self.0.iter().map(SignedRecord::id).collect();
        hash16("test set", &ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn holder(&self, grant: &GrantId) -> (usize, Role) {
        let signed = self.0.iter().find(|signed| signed.id() == *grant).unwrap();
        match &signed.record().body {
            RecordBody::Genesis(_) => (0, Role::Admin),
            RecordBody::Grant(grant) => {
                (KEYS.iter().position(|(_, node)| *node == grant.holder).unwrap(), grant.role)
            }
            _ => panic!("no grant"),
        }
    }

    fn grants(&self) -> Vec<GrantId> {
        let is_grant = |signed: &&SignedRecord| {
            matches!(signed.record().body, RecordBody::Genesis(_) | RecordBody::Grant(_))
        };
        self.0.iter().filter(is_grant).map(SignedRecord::id).collect()
    }

    /// The records of a chain, each with its sequence number.
    fn chain_positions(&self, grant: GrantId, signer: Signer) -> Vec<(u64, RecordId)> {
        let is_in_chain = |signed: &&SignedRecord| {
            let record = signed.record();
            record.seq > 0 && record.grant == grant && record.signer == signer
        };
        self.0.iter().filter(is_in_chain).map(|signed| (signed.record().seq, signed.id())).collect()
    }

    /// Every record that any key could issue next: grants to the next key, and Revokes of every grant. The
    /// frontier of a Revoke is empty, any record of the grant, or an unknown record. Each record may follow
    /// any record of its chain; where one follows already, this makes a fork.
    fn possible_next_records(&self) -> Vec<SignedRecord> {
        let mut out = Vec::new();
        let next = KEYS[self.grants().len()].1;
        let holders = self.grants().into_iter().map(|grant| (grant, Signer::Holder));
        for (under, signer) in holders.chain([(self.0[0].id(), Signer::Recovery)]) {
            let (n, role) = match signer {
                Signer::Holder => self.holder(&under),
                Signer::Recovery => (RECOVERY, Role::Admin),
            };
            let mut bodies = Vec::new();
            if role == Role::Admin {
                bodies.extend([Role::Admin, Role::Operator].map(|role| grant_to(next, role)));
            }
            for target in self.grants() {
                if role == Role::Admin || target == under {
                    bodies.extend(self.frontiers(target).into_iter().map(|record| revoke(target, record)));
                }
            }
            let places = self.chain_positions(under, signer).into_iter().chain([(0, RecordId::ZERO)]);
            for after in places {
                let signed_record = |body: &RecordBody| {
                    self.record_after((under, signer), after, body.clone()).sign(&KEYS[n].0)
                };
                out.extend(bodies.iter().map(signed_record));
            }
        }
        out.retain(|option| self.0.iter().all(|said| said.id() != option.id()));
        out
    }

    fn frontiers(&self, target: GrantId) -> Vec<Option<(u64, RecordId)>> {
        let chain = self.chain_positions(target, Signer::Holder);
        let newest = chain.iter().map(|(seq, _)| *seq).max().unwrap_or_default();
        let unknown = (newest + 1, RecordId([0xee; 32]));
        [None, Some(unknown)].into_iter().chain(chain.into_iter().map(Some)).collect()
    }

    fn record_after(
        &self,
        under: (GrantId, Signer),
        (seq, prev): (u64, RecordId),
        body: RecordBody,
    ) -> Record {
        let group = self.0[0].genesis_group_id().unwrap();
        Record { group, grant: under.0, signer: under.1, seq: seq + 1, prev, body, note: None }
    }

    /// The number of records that share their position in a chain with an earlier record.
    fn forks(&self) -> usize {
        let chain_position = |signed: &SignedRecord| {
            let record = signed.record();
            (record.grant, record.signer, record.seq)
        };
        self.0.len() - self.0.iter().map(chain_position).collect::<BTreeSet<_>>().len()
    }

    /// The record set after all records arrived in this order.
    fn placed_in_order(&self) -> RecordSet {
        let mut records = self.only_genesis();
        self.0[1..].iter().for_each(|record| drop(records.insert(record.clone())));
        records
    }

    /// The record set after all records arrived, in every order and with repetitions. Orders that lead to
    /// equal partial sets continue from there only once.
    fn placed_in_all_orders(&self) -> RecordSet {
        let rest = &self.0[1..];
        let mut reached: Vec<Vec<RecordSet>> = vec![Vec::new(); 1 << rest.len()];
        reached[0].push(self.only_genesis());
        for arrived in 0..reached.len() {
            for state in reached[arrived].clone() {
                for (nth, record) in rest.iter().enumerate() {
                    let mut next = state.clone();
                    let placed = next.insert(record.clone());
                    let to = arrived | 1 << nth;
                    if to == arrived {
                        assert_eq!((placed, &next), (RecordInsertion::AlreadyKnown, &state));
                    } else if !reached[to].contains(&next) {
                        reached[to].push(next);
                    }
                }
            }
        }
        let [records] =
            <[RecordSet; 1]>::try_from(reached.pop().unwrap()).expect("all orders end in one state");
        records
    }

    fn only_genesis(&self) -> RecordSet {
        RecordSet::from_genesis(self.0[0].clone()).unwrap()
    }

    /// Asserts that the membership equals the oracle's.
    fn assert_oracle_agrees(&self, records: &RecordSet) {
        assert_eq!((records.len(), records.waiting_len()), (self.0.len(), 0), "something waits for ever");
        let (members, oracle) = (Membership::evaluate(records), ReferenceMembership::new(&self.0));
        for signed in &self.0 {
            let id = signed.id();
            assert_eq!(members.is_effective(&id), oracle.counting.contains(&id), "{:#?}", self.0);
            if let Some(enders) = oracle.grants.get(&id) {
                let revocations: Vec<RecordId> =
                    members.revocations(&id).iter().map(|ending| ending.record).collect();
                assert!(revocations.iter().eq(enders.iter()), "{:#?}", self.0);
                assert_eq!(
                    members.live_grants_of(&oracle.holder_key(&id)).any(|grant| grant.grant == id),
                    enders.is_empty()
                );
            }
        }
    }
}

fn grant_to(key: NodeId, role: Role) -> RecordBody {
    RecordBody::Grant(Grant { holder: key, role, alias: String::new(), labels: vec![], invite: None })
}

fn revoke(target: GrantId, record: Option<(u64, RecordId)>) -> RecordBody {
    RecordBody::Revoke(Revoke {
        target: RevokeTarget::Grant(target),
        frontiers: Frontiers { last_record: record, last_changes: vec![] },
    })
}

/// A search over record sets that visits each set once.
#[derive(Default)]
struct RecordSetSearch {
    seen: Mutex<BTreeSet<[u8; 16]>>,
    tried_in_all_orders: AtomicUsize,
}

impl RecordSetSearch {
    /// Testing a set of six in all 120 orders takes five milliseconds because of the signatures. Millions of
    /// sets have a fork, so only one in fifty of these is tested in all orders.
    fn is_for_all_orders(set: &OrderedRecords) -> bool {
        set.0.len() < 6 || set.forks() == 0 || set.id()[0] < 5
    }

    /// Tests a set. Returns the sets with one more record, unless the set was visited before.
    fn visit(&self, set: &OrderedRecords) -> Vec<OrderedRecords> {
        if !self.seen.lock().unwrap().insert(set.id()) {
            return Vec::new();
        }
        let records = if Self::is_for_all_orders(set) {
            self.tried_in_all_orders.fetch_add(1, Ordering::Relaxed);
            set.placed_in_all_orders()
        } else {
            set.placed_in_order()
        };
        set.assert_oracle_agrees(&records);
        set.possible_next_records().into_iter().map(|next| set.with_record(next)).collect()
    }

    /// Tests a set and all its extensions with up to `limit` records.
    fn visit_descendants(&self, set: &OrderedRecords, limit: usize) {
        for next in self.visit(set) {
            if next.0.len() <= limit {
                self.visit_descendants(&next, limit);
            }
        }
    }

    /// Tests all sets of up to `limit` records, on all cores.
    fn run(&self, limit: usize) {
        let mut parts = vec![OrderedRecords::new()];
        for _ in 1..limit.min(4) {
            parts = parts.iter().flat_map(|set| self.visit(set)).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(set) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.visit_descendants(set, limit);
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
    }
}

/// Whole scope: all sets of up to six records, which takes almost an hour. Default scope: up to four.
fn every_small_record_set_evaluates_identically_in_any_order() {
    let search = RecordSetSearch::default();
    search.run(if is_exhaustive() { 6 } else { 4 });
    let (sets, tried) =
        (search.seen.lock().unwrap().len(), search.tried_in_all_orders.load(Ordering::Relaxed));
    report!("{sets} sets, {tried} of them in all orders");
    assert!(sets > 3_000 && tried > 3_000, "{sets} {tried}");
}

/// Random sets of eight records, each in all orders.
fn random_record_sets_evaluate_identically_in_any_order() {
    let rounds = if is_exhaustive() { 5_000 } else { 20 };
    for round in 0..rounds {
        let (mut set, mut rng) = (OrderedRecords::new(), TestRng::from_seed(round));
        for _ in 0..7 {
            let mut options = set.possible_next_records();
            set = set.with_record(options.swap_remove(rng.index(options.len())));
        }
        set.assert_oracle_agrees(&set.placed_in_all_orders());
    }
}
