//! Membership records: every body, encoded and signed.

use super::golden::Golden;
use super::scene::{self, founder, recovery};
use crate::id::{Actor, ChangeId, InviteId, RecordId, Secret};
use crate::record::{
    Admit, Body, Forget, Frontiers, Grant, Placed, Record, Records, Remark, Revoke, Revoked, Role,
    SignedRecord, Signer,
};

fn frontiers() -> Frontiers {
    let change = |n: u8| (Actor([n; 16]), u64::from(n) * 1000, ChangeId([n; 32]));
    Frontiers { record: Some((3, RecordId([8; 32]))), changes: vec![change(1), change(2)] }
}

/// The founder's chain of records, which holds every body, in order.
fn bodies() -> Vec<(&'static str, Body)> {
    let bare = Grant {
        key: Secret::from_bytes(&[12; 32]).node(),
        role: Role::Node,
        alias: String::new(),
        labels: vec![],
        invite: None,
    };
    let revoke = |what, frontiers| Body::Revoke(Revoke { what, frontiers });
    vec![
        ("grant", scene::grant().record().body.clone()),
        ("grant.bare", Body::Grant(bare.clone())),
        ("grant.reader", Body::Grant(Grant { role: Role::Reader, ..bare.clone() })),
        ("grant.admin", Body::Grant(Grant { role: Role::Admin, ..bare.clone() })),
        ("grant.newer-role", Body::Grant(Grant { role: Role::Other(9), ..bare })),
        ("revoke.grant", revoke(Revoked::Grant(scene::grant().id()), frontiers())),
        ("revoke.invite", revoke(Revoked::Invite(InviteId([4; 32])), Frontiers::default())),
        ("admit", Body::Admit(Admit { frontiers: frontiers() })),
        ("forget", Body::Forget(Forget { shard: format!("observed/{}", scene::grant().id()) })),
        ("newer", Body::Unknown { tag: 300, bytes: vec![1, 2, 3] }),
    ]
}

#[test]
fn records_are_written_and_read_as_ever() {
    let mut golden = Golden::open(
        "records",
        "Membership records: each as it is sent and stored (record, then 64 bytes of signature), and its id.",
    );
    let genesis = read_back(&mut golden, "genesis", &scene::genesis());
    let mut records = Records::begin(genesis).unwrap();
    let mut prev = RecordId::ZERO;
    for ((name, body), seq) in bodies().into_iter().zip(1..) {
        let signed = scene::record(seq, prev, body).sign(&founder());
        let read = read_back(&mut golden, name, &signed);
        prev = read.id();
        assert_eq!(records.place(read), Placed::New(vec![prev]), "{name}");
    }
    let by_recovery = Record { signer: Signer::Recovery, ..scene::record(1, RecordId::ZERO, grant_again()) };
    let read = read_back(&mut golden, "grant.by-recovery", &by_recovery.sign(&recovery()));
    let id = read.id();
    assert_eq!(records.place(read), Placed::New(vec![id]));
    let remark = Remark { time: 1_700_000_000, user: "root".to_owned(), words: "she left".to_owned() };
    let bodies = [("revoke.remarked", revoke_one()), ("dissolve.remarked", Body::Dissolve)];
    for ((name, body), seq) in bodies.into_iter().zip(11..) {
        let record = Record { remark: Some(remark.clone()), ..scene::record(seq, prev, body) };
        let read = read_back(&mut golden, name, &record.sign(&founder()));
        prev = read.id();
        assert_eq!(records.place(read), Placed::New(vec![prev]), "{name}");
    }
    golden.close();
}

fn revoke_one() -> Body {
    Body::Revoke(Revoke { what: Revoked::Grant(scene::grant().id()), frontiers: frontiers() })
}

fn grant_again() -> Body {
    scene::grant().record().body.clone()
}

fn read_back(golden: &mut Golden, name: &str, signed: &SignedRecord) -> SignedRecord {
    let bytes = golden.fact(name, signed.encode());
    let id = golden.fact(&format!("{name}.id"), signed.id());
    let read = SignedRecord::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read, *signed, "{name}");
    assert_eq!(read.id().as_ref(), id, "{name}");
    read
}

#[test]
fn every_body_is_pinned() {
    let mut tags: Vec<u16> = bodies().iter().map(|(_, body)| body.tag()).collect();
    tags.push(scene::genesis().record().body.tag());
    tags.push(Body::Dissolve.tag());
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, [1, 2, 3, 4, 5, 7, 300]);
}
