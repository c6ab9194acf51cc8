//! Signed records: what is made of them must not depend on the order in which they came.

use std::collections::BTreeSet;

use larder_core::id::{ChangeId, GrantId, InviteId, RecordId, Secret};
use larder_core::record::{
    Admit, Body, Forget, Frontiers, Genesis, Grant, Members, Placed, Record, Records, Revoke, Revoked, Role,
    SignedRecord, Signer,
};

use crate::codecs::one_spelling;
use crate::scene::{self, secret};
use crate::script::Script;

/// Bytes that may be a record; or a script by which members and others issue records, good and bad.
pub fn records(data: &[u8]) {
    one_spelling(data);
    let mut script = Script::new(data);
    let mut office = Office::begin();
    while let Some(step) = script.draw() {
        if office.made.len() >= MOST {
            break;
        }
        office.issue(step, &mut script);
    }
    let (genesis, made) = (scene::genesis(), office.made);
    made.iter().for_each(|record| one_spelling(&record.encode()));
    let mut forwards = Records::begin(genesis.clone()).expect("a Genesis");
    made.iter().for_each(|record| drop(forwards.place(record.clone())));
    let mut backwards = Records::begin(genesis.clone()).expect("a Genesis");
    made.iter().rev().for_each(|record| drop(backwards.place(record.clone())));
    same(&forwards, &backwards, "whatever the order");
    let half = made.len() / 2;
    let mut fewer = Records::begin(genesis).expect("a Genesis");
    made.iter().take(half).for_each(|record| drop(fewer.place(record.clone())));
    meet(&mut fewer, &mut forwards);
    proves_its_members(&forwards);
}

/// Records of one run.
const MOST: usize = 40;

fn same(a: &Records, b: &Records, when: &str) {
    let ids = |of: &Records| of.iter().map(SignedRecord::id).collect::<Vec<_>>();
    assert_eq!(ids(a), ids(b), "{when}");
    assert_eq!(a.tips(&whole(a)), b.tips(&whole(b)), "{when}");
    assert_eq!(Members::fold(a), Members::fold(b), "{when}");
}

fn whole(of: &Records) -> BTreeSet<RecordId> {
    of.iter().map(SignedRecord::id).collect()
}

/// Two members tell each other what the other lacks; then both have all.
fn meet(a: &mut Records, b: &mut Records) {
    for _ in 0..2 {
        let to_b = a.missing(&whole(a), &b.tips(&whole(b)));
        let to_a = b.missing(&whole(b), &a.tips(&whole(a)));
        take(b, to_b);
        take(a, to_a);
    }
    same(a, b, "after they met");
}

fn take(records: &mut Records, sent: Vec<SignedRecord>) {
    for record in sent {
        let placed = records.place(record);
        assert!(matches!(placed, Placed::New(_) | Placed::Known), "each can be placed at once: {placed:?}");
    }
}

/// Every grant that counts can be proved to a stranger, record by record.
fn proves_its_members(records: &Records) {
    let members = Members::fold(records);
    for standing in members.grants() {
        let proof = records.proof(&standing.grant).expect("a line up to Genesis");
        let mut shown = Records::begin(proof[0].clone()).expect("Genesis comes first");
        take(&mut shown, proof[1..].to_vec());
        assert!(Members::fold(&shown).grant(&standing.grant).is_some());
    }
    for key in members.keys() {
        assert!(members.role(&key).is_some() && members.of(&key).next().is_some());
    }
}

/// Everybody who issues, in good faith or not.
struct Office {
    made: Vec<SignedRecord>,
    /// Grants that were issued, with the keys they are said to be for.
    grants: Vec<(GrantId, Secret)>,
}

impl Office {
    fn begin() -> Self {
        let founder = (scene::genesis().id(), secret(scene::FOUNDER));
        Self { made: Vec::new(), grants: vec![founder] }
    }

    fn issue(&mut self, step: u8, script: &mut Script<'_>) {
        let (grant, holder) = script.pick(&self.grants).clone();
        let recovery = step & 0x10 != 0;
        let signer = if recovery { Signer::Recovery } else { Signer::Holder };
        let by = if recovery { secret(scene::RECOVERY) } else { holder };
        let (body, to) = self.body(step, script);
        let (seq, prev) = self.place(grant, signer, script);
        let group = if script.rarely(32) { larder_core::id::GroupId::ZERO } else { scene::group() };
        let record = Record { group, grant, signer, seq, prev, body, remark: None };
        let by = if script.rarely(16) { secret(script.byte()) } else { by };
        let signed = record.sign(&by);
        if let Some(to) = to {
            self.grants.push((signed.id(), to));
        }
        self.made.push(signed);
    }

    /// After the newest record of the chain; sometimes beside or past it.
    fn place(&self, grant: GrantId, signer: Signer, script: &mut Script<'_>) -> (u64, RecordId) {
        let of_chain = |made: &&SignedRecord| {
            let record = made.record();
            (record.grant, record.signer) == (grant, signer)
        };
        let chain: Vec<_> = self.made.iter().filter(of_chain).collect();
        let after = if script.rarely(6) { script.index(chain.len() + 1) } else { chain.len() };
        let place = match after.checked_sub(1).map(|last| chain[last]) {
            Some(last) => (last.record().seq.saturating_add(1), last.id()),
            None => (1, RecordId::ZERO),
        };
        if script.rarely(16) { (script.number(), place.1) } else { place }
    }

    fn body(&self, step: u8, script: &mut Script<'_>) -> (Body, Option<Secret>) {
        let body = match step & 0x0f {
            0..=6 => {
                let to = script.byte() % 16;
                let roles =
                    [Role::Admin, Role::Admin, Role::Operator, Role::Node, Role::Reader, Role::Other(9)];
                let grant = Grant {
                    key: secret(to).node(),
                    role: *script.pick(&roles),
                    alias: String::from_utf8_lossy(script.bytes()).into_owned(),
                    labels: labels(script),
                    invite: script.coin().then(|| InviteId([script.byte(); 32])),
                };
                return (Body::Grant(grant), Some(secret(to)));
            }
            7 | 8 => {
                let what = Revoked::Grant(script.pick(&self.grants).0);
                Body::Revoke(Revoke { what, frontiers: frontiers(script) })
            }
            9 => {
                let what = Revoked::Invite(InviteId([script.byte(); 32]));
                Body::Revoke(Revoke { what, frontiers: Frontiers::default() })
            }
            10 => Body::Admit(Admit { frontiers: frontiers(script) }),
            11 => Body::Forget(Forget { shard: String::from_utf8_lossy(script.bytes()).into_owned() }),
            12 => {
                let key = secret(script.byte()).node();
                let (name, nonce) = (String::from_utf8_lossy(script.bytes()).into_owned(), script.nonce());
                Body::Genesis(Genesis { founder: key, name, nonce, recovery: key })
            }
            _ => Body::Unknown { tag: 8 + u16::from(script.byte()), bytes: script.bytes().to_vec() },
        };
        (body, None)
    }
}

fn labels(script: &mut Script<'_>) -> Vec<(String, String)> {
    let text = |script: &mut Script<'_>| String::from_utf8_lossy(script.bytes()).into_owned();
    (0..script.byte() % 3).map(|_| (text(script), text(script))).collect()
}

fn frontiers(script: &mut Script<'_>) -> Frontiers {
    let record = script.coin().then(|| (script.number(), RecordId([script.byte(); 32])));
    let change = |script: &mut Script<'_>| {
        (larder_core::id::Actor(script.nonce()), script.number(), ChangeId([script.byte(); 32]))
    };
    Frontiers { record, changes: (0..script.byte() % 3).map(|_| change(script)).collect() }
}
