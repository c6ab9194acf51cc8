//! Every small set of records: what it means, whatever came first.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use larder_core::id::{GrantId, NodeId, RecordId, Secret, hash16};
use larder_core::record::{
    Body, Frontiers, Grant, Members, Placed, Record, Records, Revoke, Revoked, Role, SignedRecord, Signer,
    found,
};
use larder_tests::sim::trust::Fold;

use super::{Dice, whole};

/// Who can say something: the founder and those it lets in, in the order in which they are; the last is the recovery key.
static KEYS: LazyLock<Vec<(Secret, NodeId)>> = LazyLock::new(|| {
    let key = |n| Secret::from_bytes(&[n; 32]);
    (0..10).map(|n| (key(n), key(n).node())).collect()
});

const RECOVERY: usize = 9;

/// Records, in an order in which each can be placed, Genesis first.
#[derive(Clone)]
struct Set(Vec<SignedRecord>);

impl Set {
    fn new() -> Self {
        Self(vec![found(&KEYS[0].0, "small", [7; 16], KEYS[RECOVERY].1)])
    }

    fn with(&self, next: SignedRecord) -> Self {
        Self(self.0.iter().cloned().chain([next]).collect())
    }

    /// Equal for the same records in another order.
    fn id(&self) -> [u8; 16] {
        let ids: BTreeSet<RecordId> = self.0.iter().map(SignedRecord::id).collect();
        hash16("test set", &ids.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn holder(&self, grant: &GrantId) -> (usize, Role) {
        let signed = self.0.iter().find(|signed| signed.id() == *grant).unwrap();
        match &signed.record().body {
            Body::Genesis(_) => (0, Role::Admin),
            Body::Grant(grant) => (KEYS.iter().position(|(_, node)| *node == grant.key).unwrap(), grant.role),
            _ => panic!("no grant"),
        }
    }

    fn grants(&self) -> Vec<GrantId> {
        let is_grant =
            |signed: &&SignedRecord| matches!(signed.record().body, Body::Genesis(_) | Body::Grant(_));
        self.0.iter().filter(is_grant).map(SignedRecord::id).collect()
    }

    /// The records of a chain with their places.
    fn chain(&self, grant: GrantId, signer: Signer) -> Vec<(u64, RecordId)> {
        let of = |signed: &&SignedRecord| {
            let record = signed.record();
            record.seq > 0 && record.grant == grant && record.signer == signer
        };
        self.0.iter().filter(of).map(|signed| (signed.record().seq, signed.id())).collect()
    }

    /// Everything that somebody could say next: grants to the next key, and Revokes of every grant with the frontier
    /// nowhere, at any record under it, or at one that nobody has. It may be said anywhere in its author's chain: where
    /// something was said before, that is a fork.
    fn options(&self) -> Vec<SignedRecord> {
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
            let places = self.chain(under, signer).into_iter().chain([(0, RecordId::ZERO)]);
            for after in places {
                let say = |body: &Body| self.say((under, signer), after, body.clone()).sign(&KEYS[n].0);
                out.extend(bodies.iter().map(say));
            }
        }
        out.retain(|option| self.0.iter().all(|said| said.id() != option.id()));
        out
    }

    fn frontiers(&self, target: GrantId) -> Vec<Option<(u64, RecordId)>> {
        let chain = self.chain(target, Signer::Holder);
        let newest = chain.iter().map(|(seq, _)| *seq).max().unwrap_or_default();
        let unknown = (newest + 1, RecordId([0xee; 32]));
        [None, Some(unknown)].into_iter().chain(chain.into_iter().map(Some)).collect()
    }

    fn say(&self, under: (GrantId, Signer), (seq, prev): (u64, RecordId), body: Body) -> Record {
        let group = self.0[0].founds().unwrap();
        Record { group, grant: under.0, signer: under.1, seq: seq + 1, prev, body, remark: None }
    }

    /// How many records stand in a place of a chain that has another already.
    fn forks(&self) -> usize {
        let place = |signed: &SignedRecord| {
            let record = signed.record();
            (record.grant, record.signer, record.seq)
        };
        self.0.len() - self.0.iter().map(place).collect::<BTreeSet<_>>().len()
    }

    /// What the records are once all have come in this order.
    fn in_order(&self) -> Records {
        let mut records = self.begun();
        self.0[1..].iter().for_each(|record| drop(records.place(record.clone())));
        records
    }

    /// The same in whatever order, and however often they are told again. An order is a way through the states in which
    /// some have come; ways that meet in the very same state are gone on from there once.
    fn in_all_orders(&self) -> Records {
        let rest = &self.0[1..];
        let mut reached: Vec<Vec<Records>> = vec![Vec::new(); 1 << rest.len()];
        reached[0].push(self.begun());
        for came in 0..reached.len() {
            for state in reached[came].clone() {
                for (nth, record) in rest.iter().enumerate() {
                    let mut next = state.clone();
                    let placed = next.place(record.clone());
                    let to = came | 1 << nth;
                    if to == came {
                        assert_eq!((placed, &next), (Placed::Known, &state));
                    } else if !reached[to].contains(&next) {
                        reached[to].push(next);
                    }
                }
            }
        }
        let [records] =
            <[Records; 1]>::try_from(reached.pop().unwrap()).expect("all orders end in one state");
        records
    }

    fn begun(&self) -> Records {
        Records::begin(self.0[0].clone()).unwrap()
    }

    /// The product and the oracle say the same of it.
    fn agrees(&self, records: &Records) {
        assert_eq!((records.len(), records.waiting()), (self.0.len(), 0), "something waits for ever");
        let (members, oracle) = (Members::fold(records), Fold::new(&self.0));
        for signed in &self.0 {
            let id = signed.id();
            assert_eq!(members.counts(&id), oracle.counting.contains(&id), "{:#?}", self.0);
            if let Some(enders) = oracle.grants.get(&id) {
                let told: Vec<RecordId> = members.endings(&id).iter().map(|ending| ending.record).collect();
                assert!(told.iter().eq(enders.iter()), "{:#?}", self.0);
                assert_eq!(
                    members.of(&oracle.key(&id)).any(|standing| standing.grant == id),
                    enders.is_empty()
                );
            }
        }
    }
}

fn grant_to(key: NodeId, role: Role) -> Body {
    Body::Grant(Grant { key, role, alias: String::new(), labels: vec![], invite: None })
}

fn revoke(target: GrantId, record: Option<(u64, RecordId)>) -> Body {
    Body::Revoke(Revoke { what: Revoked::Grant(target), frontiers: Frontiers { record, changes: vec![] } })
}

/// Looks at sets, at each once.
#[derive(Default)]
struct Search {
    seen: Mutex<BTreeSet<[u8; 16]>>,
    in_all_orders: AtomicUsize,
}

impl Search {
    /// Checking the signatures of a set of six in all its 120 orders takes five milliseconds: of the millions in which
    /// somebody says two things in one place, one of fifty has to do.
    fn is_for_all_orders(set: &Set) -> bool {
        set.0.len() < 6 || set.forks() == 0 || set.id()[0] < 5
    }

    /// Looks at a set; answers those with one record more, if it was not looked at before.
    fn look(&self, set: &Set) -> Vec<Set> {
        if !self.seen.lock().unwrap().insert(set.id()) {
            return Vec::new();
        }
        let records = if Self::is_for_all_orders(set) {
            self.in_all_orders.fetch_add(1, Ordering::Relaxed);
            set.in_all_orders()
        } else {
            set.in_order()
        };
        set.agrees(&records);
        set.options().into_iter().map(|next| set.with(next)).collect()
    }

    /// Looks at a set, and at all that have more records, up to `most`.
    fn look_on(&self, set: &Set, most: usize) {
        for next in self.look(set) {
            if next.0.len() <= most {
                self.look_on(&next, most);
            }
        }
    }

    /// Looks at all sets of up to `most` records, on all cores.
    fn run(&self, most: usize) {
        let mut parts = vec![Set::new()];
        for _ in 1..most.min(4) {
            parts = parts.iter().flat_map(|set| self.look(set)).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(set) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.look_on(set, most);
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
    }
}

/// Whole: all sets of up to six records, which takes the better part of an hour. By default up to four.
#[test]
fn every_small_set_of_records_means_one_thing() {
    let search = Search::default();
    search.run(if whole() { 6 } else { 4 });
    let (sets, tried) = (search.seen.lock().unwrap().len(), search.in_all_orders.load(Ordering::Relaxed));
    println!("{sets} sets, {tried} of them in all orders");
    assert!(sets > 3_000 && tried > 3_000, "{sets} {tried}");
}

/// Sets of eight records, drawn by chance, each in all orders.
#[test]
fn larger_sets_drawn_by_chance_mean_one_thing() {
    let rounds = if whole() { 5_000 } else { 20 };
    for round in 0..rounds {
        let (mut set, mut dice) = (Set::new(), Dice(round));
        for _ in 0..7 {
            let mut options = set.options();
            set = set.with(options.swap_remove(dice.roll(options.len())));
        }
        set.agrees(&set.in_all_orders());
    }
}
