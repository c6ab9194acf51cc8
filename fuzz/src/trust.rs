//! Who counts, and what of theirs: the product and the oracle say the same of any set of records and changes.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::accept::{Changes, Valid, accept};
use larder_core::id::{Actor, ChangeId, GrantId, RecordId, hash};
use larder_core::record::{
    Admit, Body, Frontiers, Grant, Members, Placed, Record, Records, Revoke, Revoked, Role, SignedRecord,
    Signer,
};
use larder_tests::sim::trust;

use crate::scene::{self, secret};
use crate::script::Script;

/// Bytes that may be a signed record: what is read is written back as it was, and a set takes it or says why not.
pub fn signed_record(data: &[u8]) {
    let Ok(signed) = SignedRecord::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    assert_eq!(signed.weight(), data.len());
    let mut records = Records::begin(scene::genesis()).expect("a Genesis");
    let before = records.len();
    match records.place(signed.clone()) {
        Placed::New(placed) => assert_eq!(records.len(), before + placed.len()),
        Placed::Known | Placed::Delayed | Placed::Refused(_) => assert_eq!(records.len(), before),
    }
    let _ = (signed.founds(), signed.is_signed_by(&secret(scene::FOUNDER).node()), Members::fold(&records));
}

/// A script by which holders of grants issue records, in good faith or not.
pub fn group_fold(data: &[u8]) {
    let mut script = Script::new(data);
    let mut court = Court::begin();
    while court.records.len() < 24
        && let Some(step) = script.draw()
    {
        court.issue(step, &mut script);
    }
    court.agrees();
}

/// The same, with changes written under the grants.
pub fn acceptance(data: &[u8]) {
    let mut script = Script::new(data);
    let mut court = Court::begin();
    while court.records.len() + court.changes.len() < 40
        && let Some(step) = script.draw()
    {
        match step % 3 {
            0 => court.issue(step / 3, &mut script),
            _ => court.write(&mut script),
        }
    }
    court.agrees();
}

/// Records and changes, all of them valid.
struct Court {
    records: Vec<SignedRecord>,
    placed: Records,
    grants: Vec<(GrantId, u8, Role)>,
    changes: BTreeMap<ChangeId, Valid>,
    /// All ancestors of each change, and itself.
    below: BTreeMap<ChangeId, BTreeSet<ChangeId>>,
    written: u64,
}

impl Court {
    fn begin() -> Self {
        let genesis = scene::genesis();
        let grants = vec![(genesis.id(), scene::FOUNDER, Role::Admin)];
        let placed = Records::begin(genesis.clone()).expect("a Genesis");
        let (changes, below) = (BTreeMap::new(), BTreeMap::new());
        Self { records: vec![genesis], placed, grants, changes, below, written: 0 }
    }

    fn issue(&mut self, step: u8, script: &mut Script<'_>) {
        let (grant, number, role) = *script.pick(&self.grants);
        let recovery = script.rarely(8);
        let (under, signer, by) = match recovery {
            true => (self.records[0].id(), Signer::Recovery, scene::RECOVERY),
            false => (grant, Signer::Holder, number),
        };
        let to = 10 + script.byte() % 6;
        let (body, granted) = match step % 6 {
            0 | 1 => {
                let role = *script.pick(&[Role::Admin, Role::Admin, Role::Operator, Role::Node]);
                let alias = String::new();
                (
                    Body::Grant(Grant { key: secret(to).node(), role, alias, labels: vec![], invite: None }),
                    Some(role),
                )
            }
            2 => (Body::Admit(Admit { frontiers: self.frontiers(script) }), None),
            _ => {
                let what = if role == Role::Admin || recovery { script.pick(&self.grants).0 } else { grant };
                (Body::Revoke(Revoke { what: Revoked::Grant(what), frontiers: self.frontiers(script) }), None)
            }
        };
        let chain: Vec<(u64, RecordId)> = self
            .records
            .iter()
            .filter(|signed| {
                let record = signed.record();
                record.seq > 0 && record.grant == under && record.signer == signer
            })
            .map(|signed| (signed.record().seq, signed.id()))
            .collect();
        // After the newest; or after any, which forks the chain.
        let after = if script.rarely(5) { script.index(chain.len() + 1) } else { chain.len() };
        let (seq, prev) =
            after.checked_sub(1).map_or((1, RecordId::ZERO), |at| (chain[at].0 + 1, chain[at].1));
        let record = Record { group: scene::group(), grant: under, signer, seq, prev, body, remark: None }
            .sign(&secret(by));
        if matches!(self.placed.place(record.clone()), Placed::New(_)) {
            if let Some(role) = granted {
                self.grants.push((record.id(), to, role));
            }
            self.records.push(record);
        }
    }

    fn frontiers(&self, script: &mut Script<'_>) -> Frontiers {
        let record = match script.byte() % 3 {
            0 => None,
            1 => Some((script.number() % 8, RecordId([script.byte(); 32]))),
            _ => {
                let signed = script.pick(&self.records);
                Some((signed.record().seq, signed.id()))
            }
        };
        let mut changes: BTreeMap<Actor, (u64, ChangeId)> = BTreeMap::new();
        let all: Vec<(ChangeId, &Valid)> = self.changes.iter().map(|(id, valid)| (*id, valid)).collect();
        for _ in 0..script.byte() % 4 {
            if all.is_empty() {
                break;
            }
            let (id, valid) = *script.pick(&all);
            let named = if script.rarely(4) {
                (valid.seq + 1, ChangeId([script.byte(); 32]))
            } else {
                (valid.seq, id)
            };
            changes.insert(valid.actor, named);
        }
        let changes = changes.into_iter().map(|(actor, (seq, id))| (actor, seq, id)).collect();
        Frontiers { record, changes }
    }

    /// A change on top of some others, as the gate would take it: it follows its own predecessor, and no two of its
    /// ancestors stand in one place.
    fn write(&mut self, script: &mut Script<'_>) {
        let (grant, number, _) = *script.pick(&self.grants);
        let life = [script.byte() % 2];
        let actor = Actor(larder_core::id::hash16("larder fuzz actor", &[&grant.0, &life]));
        let mine: Vec<ChangeId> =
            self.changes.iter().filter(|(_, valid)| valid.actor == actor).map(|(id, _)| *id).collect();
        // The longest branch is gone on with, mostly; any other place is a fork.
        let newest = mine.iter().max_by_key(|id| (self.changes[*id].seq, **id)).copied();
        let previous = if script.rarely(4) && !mine.is_empty() { Some(*script.pick(&mine)) } else { newest };
        let previous = if script.rarely(12) { None } else { previous };
        let mut deps: BTreeSet<ChangeId> = previous.into_iter().collect();
        let all: Vec<ChangeId> = self.changes.keys().copied().collect();
        for _ in 0..script.byte() % 3 {
            if !all.is_empty() {
                deps.insert(*script.pick(&all));
            }
        }
        let below: BTreeSet<ChangeId> = deps.iter().flat_map(|dep| self.below[dep].iter().copied()).collect();
        let seq = previous.map_or(0, |previous| self.changes[&previous].seq) + 1;
        let mut places: BTreeSet<(Actor, u64)> = BTreeSet::from([(actor, seq)]);
        if !below.iter().all(|id| places.insert((self.changes[id].actor, self.changes[id].seq))) {
            return;
        }
        self.written += 1;
        let id = ChangeId(hash("larder fuzz change", &[&self.written.to_be_bytes(), &actor.0]));
        let deps: Vec<ChangeId> = deps.into_iter().collect();
        self.changes.insert(id, Valid { actor, seq, grant, key: secret(number).node(), deps });
        self.below.insert(id, below.into_iter().chain([id]).collect());
    }

    /// Both orders of placing give one set, and the oracle says the same of it.
    fn agrees(&self) {
        let mut backwards = Records::begin(self.records[0].clone()).expect("a Genesis");
        self.records[1..].iter().rev().for_each(|record| drop(backwards.place(record.clone())));
        let (members, fold) = (Members::fold(&self.placed), trust::Fold::new(&self.records));
        assert_eq!(members, Members::fold(&backwards));
        for signed in &self.records {
            assert_eq!(members.counts(&signed.id()), fold.counting.contains(&signed.id()));
        }
        let mut changes = Changes::new();
        self.changes.iter().for_each(|(id, valid)| changes.insert(*id, valid.clone()));
        let (acceptance, verdict) = (accept(&members, &changes), trust::accept(&fold, &self.changes));
        let mut places: BTreeSet<(Actor, u64)> = BTreeSet::new();
        for (id, valid) in &self.changes {
            assert_eq!(acceptance.is_accepted(id), verdict.accepted.contains(id));
            assert_eq!(acceptance.is_kept(id), verdict.kept.contains(id));
            assert_eq!(acceptance.held.contains(id), verdict.held.contains(id));
            if acceptance.is_accepted(id) {
                assert!(valid.deps.iter().all(|dep| acceptance.is_accepted(dep)), "closed under ancestors");
                assert!(places.insert((valid.actor, valid.seq)), "two in one place");
            }
        }
    }
}
