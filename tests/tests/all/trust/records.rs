//! Every small set of records: what it means, whatever came first.

use std::sync::atomic::{AtomicUsize, Ordering};

use larder_core::id::{GrantId, NodeId, RecordId, Secret};
use larder_core::record::{
    Body, Frontiers, Grant, Members, Record, Records, Revoke, Revoked, Role, SignedRecord, Signer, found,
};
use larder_tests::sim::trust::Fold;

use super::{Dice, orders, whole};

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

const RECOVERY: u8 = 99;

/// Records, in an order in which each can be placed; and how many were looked at.
struct Search {
    records: Vec<SignedRecord>,
    sets: usize,
    tried: usize,
    dice: Dice,
    /// Of so many sets, one is tried in all orders; every set is compared with the oracle.
    every: usize,
}

impl Search {
    fn new(every: usize) -> Self {
        let genesis = found(&secret(0), "small", [7; 16], secret(RECOVERY).node());
        Self { records: vec![genesis], sets: 0, tried: 0, dice: Dice(1), every }
    }

    /// Looks at the set as it is, and at every set with one record more, down to `depth` more.
    fn go(&mut self, depth: usize) {
        self.look();
        if depth == 0 {
            return;
        }
        for next in self.options() {
            self.records.push(next);
            self.go(depth - 1);
            self.records.pop();
        }
    }

    fn holder(&self, grant: &GrantId) -> (u8, Role) {
        let signed = self.records.iter().find(|signed| signed.id() == *grant).unwrap();
        match &signed.record().body {
            Body::Genesis(_) => (0, Role::Admin),
            Body::Grant(grant) => ((0..9).find(|n| secret(*n).node() == grant.key).unwrap(), grant.role),
            _ => panic!("no grant"),
        }
    }

    fn grants(&self) -> Vec<GrantId> {
        let is_grant =
            |signed: &&SignedRecord| matches!(signed.record().body, Body::Genesis(_) | Body::Grant(_));
        self.records.iter().filter(is_grant).map(SignedRecord::id).collect()
    }

    /// The newest records of a chain, newest first.
    fn chain(&self, grant: GrantId, signer: Signer) -> Vec<(u64, RecordId)> {
        let of = |signed: &&SignedRecord| {
            let record = signed.record();
            record.seq > 0 && record.grant == grant && record.signer == signer
        };
        self.records.iter().rev().filter(of).map(|signed| (signed.record().seq, signed.id())).collect()
    }

    /// Everything that somebody could say next: grants to the next key, and Revokes of every grant with the frontier
    /// nowhere, at the newest record known, or at one that nobody has. Whoever signs may have issued its newest record
    /// once more, as a fork.
    fn options(&self) -> Vec<SignedRecord> {
        let mut out = Vec::new();
        let next = u8::try_from(self.grants().len()).unwrap();
        let genesis = self.records[0].id();
        let holders = self.grants().into_iter().map(|grant| (grant, Signer::Holder));
        for (under, signer) in holders.chain([(genesis, Signer::Recovery)]) {
            let (n, role) = match signer {
                Signer::Holder => self.holder(&under),
                Signer::Recovery => (RECOVERY, Role::Admin),
            };
            let mut bodies = Vec::new();
            if role == Role::Admin {
                bodies.extend([Role::Admin, Role::Operator].map(|role| grant_to(secret(next).node(), role)));
            }
            for target in self.grants() {
                if role == Role::Admin || target == under {
                    bodies.extend(self.frontiers(target).into_iter().map(|record| revoke(target, record)));
                }
            }
            let chain = self.chain(under, signer);
            let newest = chain.first().copied();
            for body in bodies {
                out.push(self.say((under, signer), newest, body).sign(&secret(n)));
            }
        }
        out
    }

    fn frontiers(&self, target: GrantId) -> Vec<Option<(u64, RecordId)>> {
        let newest = self.chain(target, Signer::Holder).first().copied();
        let unknown = (newest.map_or(1, |(seq, _)| seq + 1), RecordId([0xee; 32]));
        let mut out = vec![None, Some(unknown)];
        out.extend(newest.map(Some));
        out
    }

    fn say(&self, under: (GrantId, Signer), after: Option<(u64, RecordId)>, body: Body) -> Record {
        let (seq, prev) = after.map_or((1, RecordId::ZERO), |(seq, id)| (seq + 1, id));
        let group = self.records[0].founds().unwrap();
        Record { group, grant: under.0, signer: under.1, seq, prev, body, remark: None }
    }

    fn look(&mut self) {
        self.sets += 1;
        let records = placed(self.records.iter());
        let members = agrees(&records, &self.records);
        if self.dice.roll(self.every) > 0 {
            return;
        }
        self.tried += 1;
        let rest = &self.records[1..];
        orders(rest.len(), &mut |order| {
            let one = placed(self.records[..1].iter().chain(order.iter().map(|nth| &rest[*nth])));
            assert_eq!(one.len(), records.len(), "something waits for ever");
            assert_eq!(Members::fold(&one), members);
        });
    }
}

fn grant_to(key: NodeId, role: Role) -> Body {
    Body::Grant(Grant { key, role, alias: String::new(), labels: vec![], invite: None })
}

fn revoke(target: GrantId, record: Option<(u64, RecordId)>) -> Body {
    Body::Revoke(Revoke { what: Revoked::Grant(target), frontiers: Frontiers { record, changes: vec![] } })
}

fn placed<'a>(mut of: impl Iterator<Item = &'a SignedRecord>) -> Records {
    let mut records = Records::begin(of.next().unwrap().clone()).unwrap();
    for record in of {
        records.place(record.clone());
    }
    records
}

/// The product and the oracle say the same of a set.
fn agrees(records: &Records, all: &[SignedRecord]) -> Members {
    assert_eq!(records.len(), all.len(), "something waits for ever");
    let (members, oracle) = (Members::fold(records), Fold::new(all));
    for signed in all {
        let id = signed.id();
        assert_eq!(members.counts(&id), oracle.counting.contains(&id), "{all:#?}");
        if let Some(enders) = oracle.grants.get(&id) {
            let told: Vec<RecordId> = members.endings(&id).iter().map(|ending| ending.record).collect();
            assert!(told.iter().eq(enders.iter()), "{all:#?}");
            assert_eq!(members.of(&oracle.key(&id)).any(|standing| standing.grant == id), enders.is_empty());
        }
    }
    members
}

/// Whole: every set of up to six records, one of two thousand in every order. By default up to four, one of forty.
#[test]
fn every_small_set_of_records_means_one_thing() {
    let (depth, every) = if whole() { (5, 2000) } else { (3, 40) };
    let mut begun = Search::new(every);
    begun.look();
    let (firsts, next) = (begun.options(), AtomicUsize::new(0));
    let part = || {
        let mut search = Search::new(every);
        while let Some(first) = firsts.get(next.fetch_add(1, Ordering::Relaxed)) {
            search.records.push(first.clone());
            search.go(depth - 1);
            search.records.pop();
        }
        (search.sets, search.tried)
    };
    let parts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
        parts.into_iter().map(|part| part.join().unwrap()).collect()
    });
    let sets = begun.sets + parts.iter().map(|(sets, _)| sets).sum::<usize>();
    let tried = begun.tried + parts.iter().map(|(_, tried)| tried).sum::<usize>();
    println!("{sets} sets, {tried} of them in all orders");
    assert!(sets > 2_000 && tried > 20, "{sets} {tried}");
}

/// Sets of six records and more, drawn by chance, each in every order of six.
#[test]
fn larger_sets_drawn_by_chance_mean_one_thing() {
    let rounds = if whole() { 5_000 } else { 60 };
    for round in 0..rounds {
        let mut search = Search::new(1);
        search.dice = Dice(round);
        for _ in 0..5 {
            let options = search.options();
            let next = options[search.dice.roll(options.len())].clone();
            search.records.push(next);
            if search.dice.roll(4) == 0 {
                search.fork();
            }
        }
        search.records.truncate(6);
        search.look();
    }
}

impl Search {
    /// The signer of the newest record says something else in its place.
    fn fork(&mut self) {
        let newest = self.records.last().unwrap().record().clone();
        let body = match newest.body {
            Body::Grant(grant) => Body::Grant(Grant { alias: "other".to_owned(), ..grant }),
            Body::Revoke(Revoke { what, .. }) => {
                Body::Revoke(Revoke { what, frontiers: Frontiers::default() })
            }
            other => other,
        };
        let n = match newest.signer {
            Signer::Holder => self.holder(&newest.grant).0,
            Signer::Recovery => RECOVERY,
        };
        let other = Record { body, ..newest }.sign(&secret(n));
        if self.records.iter().all(|record| record.id() != other.id()) {
            self.records.push(other);
        }
    }
}
