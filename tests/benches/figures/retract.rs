//! A document that gives up what a removed member wrote, compared with making it from its rows as at a start.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use larder_core::group::{Group, Note};
use larder_core::id::{GrantId, Incarnation, RecordId, Secret};
use larder_core::record::{
    Body, Frontiers, Grant, Record, Records, Revoke, Revoked, Role, SignedRecord, Signer, found,
};
use larder_core::shard::root::ShardName;
use larder_core::store::{GroupRow, LAYOUT, Memory, Row, Table, key};
use larder_core::value::Value;

use crate::{TRIALS, median, ms};

const OWN: u64 = 20_000;
const THEIRS: u64 = 1_000;

fn secret(n: u8) -> Secret {
    Secret::from_bytes(&[n; 32])
}

fn record(seq: u64, prev: RecordId, under: &SignedRecord, body: Body) -> SignedRecord {
    let group = under.founds().expect("a Genesis");
    Record { group, grant: under.id(), signer: Signer::Holder, seq, prev, body, remark: None }
        .sign(&secret(1))
}

fn write(group: &mut Group, store: &mut Memory, author: u8, n: u64) {
    let puts =
        BTreeMap::from([(format!("config/r{} keys.k{}", n % 40, n % 97), Value::Int(n.cast_signed()))]);
    let fresh = Incarnation([author; 16]);
    let note = Note { time: 1, ..Note::default() };
    let written = group.write(&secret(author), ShardName::Desired, puts, &note, fresh).expect("a write");
    store.write(&written.taken.rows);
}

/// A group of two in which one wrote all the time and the other a thousand changes at the end, on which nobody built;
/// and the record that ends its grant with nothing kept.
fn scene() -> (Group, Memory, SignedRecord) {
    let genesis = found(&secret(1), "bench", [1; 16], secret(9).node());
    let body = Body::Grant(Grant {
        key: secret(2).node(),
        role: Role::Operator,
        alias: String::new(),
        labels: vec![],
        invite: None,
    });
    let grant = record(1, RecordId::ZERO, &genesis, body);
    let mut records = Records::begin(genesis.clone()).expect("a Genesis");
    records.place(grant.clone());
    let what: GrantId = grant.id();
    let revoke = Body::Revoke(Revoke { what: Revoked::Grant(what), frontiers: Frontiers::default() });
    let revoke = record(2, grant.id(), &genesis, revoke);
    let mut group = Group::new(records);
    let mut store = Memory::default();
    store.write(&group.rows());
    let row = GroupRow { version: LAYOUT, genesis: genesis.id(), paused: false, refetching: false };
    store.write(&[Row::put_layout(Table::Groups, key::group(group.id()), &row)]);
    (0..OWN).for_each(|n| write(&mut group, &mut store, 1, n));
    (0..THEIRS).for_each(|n| write(&mut group, &mut store, 2, OWN + n));
    group.flush();
    (group, store, revoke)
}

pub(crate) fn of_a_thousand_changes() {
    let (group, store, revoke) = scene();
    let genesis = group.records().genesis();
    let (mut opened, mut decided, mut slices, mut longest) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TRIALS {
        let begun = Instant::now();
        let mut other = Group::load(&store, group.id(), genesis).expect("a good store");
        other.flush();
        opened.push(begun.elapsed());
        let mut other = group.clone();
        let begun = Instant::now();
        let taken = other.record([revoke.clone()]).taken;
        decided.push(begun.elapsed());
        assert_eq!(taken.retracted.len() as u64, THEIRS);
        let begun = Instant::now();
        let mut most = Duration::ZERO;
        while other.is_rebuilding() {
            let slice = Instant::now();
            other.flush();
            most = most.max(slice.elapsed());
        }
        slices.push(begun.elapsed());
        longest.push(most);
    }
    let opened = median(&mut opened);
    let row = |what: &str, time: Duration| {
        println!("{what:52} {:9.1} ms  {:5.2}", ms(time), time.as_secs_f64() / opened.as_secs_f64());
    };
    println!("{OWN} changes of one author, {THEIRS} of another that is removed; times of opening the store");
    row("opening the store", opened);
    row("what counts is settled: values and history are right", median(&mut decided));
    row("the Automerge document is made anew, in slices", median(&mut slices));
    row("the longest slice, in which nothing else is done", median(&mut longest));
}
