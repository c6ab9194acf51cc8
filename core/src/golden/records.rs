//! Membership records: every kind of body, encoded and signed.

use super::fixture::{self, founder, recovery};
use super::golden_file::GoldenFile;
use crate::id::{ChainId, ChangeId, InviteId, RecordId, SecretKey};
use crate::record::{
    Admit, Forget, Frontiers, Grant, Record, RecordBody, RecordInsertion, RecordNote, RecordSet, Revoke,
    RevokeTarget, Role, SignedRecord, Signer,
};

fn frontiers() -> Frontiers {
    let change = |n: u8| (ChainId([n; 16]), u64::from(n) * 1000, ChangeId([n; 32]));
    Frontiers { last_record: Some((3, RecordId([8; 32]))), last_changes: vec![change(1), change(2)] }
}

/// The founder's chain of records, with one of every kind of body.
fn bodies() -> Vec<(&'static str, RecordBody)> {
    let bare = Grant {
        holder: SecretKey::from_bytes(&[12; 32]).node_id(),
        role: Role::Node,
        alias: String::new(),
        labels: vec![],
        invite: None,
    };
    let revoke = |what, frontiers| RecordBody::Revoke(Revoke { target: what, frontiers });
    vec![
        ("grant", fixture::grant().record().body.clone()),
        ("grant.bare", RecordBody::Grant(bare.clone())),
        ("grant.reader", RecordBody::Grant(Grant { role: Role::Reader, ..bare.clone() })),
        ("grant.admin", RecordBody::Grant(Grant { role: Role::Admin, ..bare.clone() })),
        ("grant.newer-role", RecordBody::Grant(Grant { role: Role::Other(9), ..bare })),
        ("revoke.grant", revoke(RevokeTarget::Grant(fixture::grant().id()), frontiers())),
        ("revoke.invite", revoke(RevokeTarget::Invite(InviteId([4; 32])), Frontiers::default())),
        ("admit", RecordBody::Admit(Admit { frontiers: frontiers() })),
        ("forget", RecordBody::Forget(Forget { shard: format!("observed/{}", fixture::grant().id()) })),
        ("newer", RecordBody::Unknown { tag: 300, bytes: vec![1, 2, 3] }),
    ]
}

#[test]
fn records_match_the_pinned_bytes() {
    let mut golden = GoldenFile::open(
        "records",
        "Membership records: each as it is sent and stored (record, then 64 bytes of signature), and its\n\
         id.",
    );
    let genesis = read_back(&mut golden, "genesis", &fixture::genesis());
    let mut records = RecordSet::from_genesis(genesis).unwrap();
    let mut prev = RecordId::ZERO;
    for ((name, body), seq) in bodies().into_iter().zip(1..) {
        let signed = fixture::record(seq, prev, body).sign(&founder());
        let read = read_back(&mut golden, name, &signed);
        prev = read.id();
        assert_eq!(records.insert(read), RecordInsertion::Inserted(vec![prev]), "{name}");
    }
    let by_recovery = Record { signer: Signer::Recovery, ..fixture::record(1, RecordId::ZERO, grant_body()) };
    let read = read_back(&mut golden, "grant.by-recovery", &by_recovery.sign(&recovery()));
    let id = read.id();
    assert_eq!(records.insert(read), RecordInsertion::Inserted(vec![id]));
    let note = RecordNote { time: 1_700_000_000, user: "root".to_owned(), message: "she left".to_owned() };
    let bodies = [("revoke.remarked", revoke_body()), ("dissolve.remarked", RecordBody::Dissolve)];
    for ((name, body), seq) in bodies.into_iter().zip(11..) {
        let record = Record { note: Some(note.clone()), ..fixture::record(seq, prev, body) };
        let read = read_back(&mut golden, name, &record.sign(&founder()));
        prev = read.id();
        assert_eq!(records.insert(read), RecordInsertion::Inserted(vec![prev]), "{name}");
    }
    golden.finish();
}

fn revoke_body() -> RecordBody {
    RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(fixture::grant().id()), frontiers: frontiers() })
}

fn grant_body() -> RecordBody {
    fixture::grant().record().body.clone()
}

fn read_back(golden: &mut GoldenFile, name: &str, signed: &SignedRecord) -> SignedRecord {
    let bytes = golden.check(name, signed.encode());
    let id = golden.check(&format!("{name}.id"), signed.id());
    let read = SignedRecord::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read, *signed, "{name}");
    assert_eq!(read.id().as_ref(), id, "{name}");
    read
}

#[test]
fn every_record_body_type_is_pinned() {
    let mut tags: Vec<u16> = bodies().iter().map(|(_, body)| body.tag()).collect();
    tags.push(fixture::genesis().record().body.tag());
    tags.push(RecordBody::Dissolve.tag());
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, [1, 2, 3, 4, 5, 7, 300]);
}
