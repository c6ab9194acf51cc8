//! Retracting the changes of a removed member, compared with loading the group from its rows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder_core::group::{ChangeNote, Group};
use larder_core::id::{GrantId, Incarnation, RecordId, SecretKey};
use larder_core::record::{
    Frontiers, Grant, Record, RecordBody, RecordSet, Revoke, RevokeTarget, Role, SignedRecord, Signer,
    create_genesis,
};
use larder_core::shard::root::ShardName;
use larder_core::store::{GroupRow, LAYOUT_VERSION, MemoryStore, Row, Table, key};
use larder_core::value::Value;

use crate::{TRIALS, median, ms};

const OWN_CHANGES: u64 = 20_000;
const REMOVED_MEMBER_CHANGES: u64 = 1_000;

fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

fn signed_record(seq: u64, prev: RecordId, under: &SignedRecord, body: RecordBody) -> SignedRecord {
    let group = under.genesis_group_id().expect("a Genesis");
    Record { group, grant: under.id(), signer: Signer::Holder, seq, prev, body, note: None }.sign(&secret(1))
}

fn write(group: &mut Group, store: &mut MemoryStore, author: u8, n: u64) {
    let puts =
        BTreeMap::from([(format!("config/r{} keys.k{}", n % 40, n % 97), Value::Int(n.cast_signed()))]);
    let incarnation = Incarnation([author; 16]);
    let note = ChangeNote { time: 1, ..ChangeNote::default() };
    let written =
        group.write(&secret(author), ShardName::Desired, puts, &note, incarnation).expect("a write");
    store.write(&written.ingest.rows);
}

/// Builds a group of two authors. The second wrote a thousand changes at the end, on which the first did not
/// build. Returns it with the record that revokes the second author's grant and keeps none of its changes.
fn build_group_and_revocation() -> (Group, MemoryStore, SignedRecord) {
    let genesis = create_genesis(&secret(1), "bench", [1; 16], secret(9).node_id());
    let body = RecordBody::Grant(Grant {
        holder: secret(2).node_id(),
        role: Role::Operator,
        alias: String::new(),
        labels: vec![],
        invite: None,
    });
    let grant = signed_record(1, RecordId::ZERO, &genesis, body);
    let mut records = RecordSet::from_genesis(genesis.clone()).expect("a Genesis");
    records.insert(grant.clone());
    let revoked: GrantId = grant.id();
    let revoke =
        RecordBody::Revoke(Revoke { target: RevokeTarget::Grant(revoked), frontiers: Frontiers::default() });
    let revoke = signed_record(2, grant.id(), &genesis, revoke);
    let mut group = Group::new(records);
    let mut store = MemoryStore::default();
    store.write(&group.initial_rows());
    let row = GroupRow { version: LAYOUT_VERSION, genesis: genesis.id(), paused: false, refetching: false };
    store.write(&[Row::put_encoded(Table::Groups, key::for_group(group.id()), &row)]);
    (0..OWN_CHANGES).for_each(|n| write(&mut group, &mut store, 1, n));
    (0..REMOVED_MEMBER_CHANGES).for_each(|n| write(&mut group, &mut store, 2, OWN_CHANGES + n));
    group.flush_documents();
    (group, store, revoke)
}

pub(crate) fn measure_retraction() {
    let (group, store, revoke) = build_group_and_revocation();
    let genesis = group.records().genesis();
    let (mut opened, mut decided, mut slices, mut longest) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TRIALS {
        let begun = Instant::now();
        let mut other = Group::load(&store, group.id(), genesis).expect("a good store");
        other.flush_documents();
        opened.push(begun.elapsed());
        let mut other = group.clone();
        let begun = Instant::now();
        let taken = other.apply_records([revoke.clone()]).ingest;
        decided.push(begun.elapsed());
        assert_eq!(taken.retracted.len() as u64, REMOVED_MEMBER_CHANGES);
        let begun = Instant::now();
        let mut longest_slice = Duration::ZERO;
        while other.shard_states().is_rebuilding() {
            let slice = Instant::now();
            other.flush_documents();
            longest_slice = longest_slice.max(slice.elapsed());
        }
        slices.push(begun.elapsed());
        longest.push(longest_slice);
    }
    let opened = median(&mut opened);
    let row = |what: &str, time: Duration| {
        println!("{what:52} {:9.1} ms  {:5.2}", ms(time), time.as_secs_f64() / opened.as_secs_f64());
    };
    println!(
        "{OWN_CHANGES} changes of one author, {REMOVED_MEMBER_CHANGES} of another that is removed; times of \
         opening the store"
    );
    row("opening the store", opened);
    row("what counts is settled: values and history are right", median(&mut decided));
    row("the Automerge document is made anew, in slices", median(&mut slices));
    row("the longest slice, in which nothing else is done", median(&mut longest));
}
